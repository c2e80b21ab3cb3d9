"""A home with slots to fall due, daemons on it with any clock and any tracer, and the audit of what is left."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from minion.config import Home
from minion.daemon_client import connected
from minion.store.local_db import read_only
from minion.store.run_history import breaches
from server.contract.digest import digest_bytes, parse_instant
from server.contract.refusals import Refusal
from server.contract.run import has_ended
from server.contract.schedule import restore_schedule, slots_between
from tests.faults.kills import GONE_S, ROOT, kill, processes_of
from tests.waiting import wait_until
from tests.whole.homes import make_home, write_routine, write_secrets, write_skill
from tests.whole.webhooks import Webhook

UP_S, DONE_S = 30.0, 120.0
KEPT: Final = 60
SEND: Final = """
body = "said " + os.urandom(8).hex()
answer(text=body, effects=[{"kind": "message", "target": "team", "body": body}])
"""


def home_with_slots(folder: Path, hook: Webhook) -> Home:
    """A home with a routine every minute that runs all it is owed, one that runs the newest, one on demand."""
    home = make_home(folder)
    write_skill(home, "send", SEND)
    write_secrets(home, {"team_webhook": hook.url("/ok")})
    common: dict[str, Any] = {"effects": ["message:team"], "environment": {"env": {"MARK": str(home.root)}}}
    minutely = {"cron_expression": "* * * * *", "timezone": "UTC"}
    write_routine(
        home, "every", "send", overlap="allow", catch_up="window", catch_up_window_s=600, **minutely, **common
    )
    write_routine(home, "newest", "send", **minutely, **common)
    write_routine(home, "asked", "send", **common)
    config = json.loads(home.config_file.read_text())
    home.config_file.write_text(json.dumps(config | {"keep_runs": KEPT, "grace_s": 1}))
    return home


def start(home: Home, ahead_s: float, tracer: Sequence[str] = ()) -> subprocess.Popen[bytes]:
    """A daemon whose clock is ahead, under a tracer's command line if one is given."""
    argv = [*tracer, sys.executable, "-m", "tests.faults.always_on", str(home.root), str(ahead_s)]
    with (home.root / "daemon.err").open("ab") as errors:
        nothing = subprocess.DEVNULL
        return subprocess.Popen(argv, cwd=ROOT, stdin=nothing, stdout=nothing, stderr=errors)


def ask(home: Home, verb: str, **params: Any) -> Any:
    """What the daemon answers; None when it is not there to answer."""
    client = connected(home)
    if client is None:
        return None
    with client, contextlib.suppress(Refusal):
        return client.ask(verb, params, timeout_s=UP_S)
    return None


def runners(home: Home) -> list[int]:
    """The runners at work in a home."""
    return [pid for pid, line in processes_of(home) if "minion.runner" in line]


def kill_daemon(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL to a daemon, and to its tracer, which may be gone already."""
    if process.poll() is None:
        # A traced daemon is its tracer's only child; the lock may name an earlier one, whose id is another's now.
        for pid in _traced_by(process.pid):
            kill(pid)
    kill(process.pid)
    process.wait()


def _traced_by(pid: int) -> Iterator[int]:
    """The daemons among a process's children, any of which may end while it is looked at."""
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with contextlib.suppress(OSError):
            if b"tests.faults.always_on" in Path(f"/proc/{child}/cmdline").read_bytes():
                yield int(child)


def come_to_rest(home: Home, ahead_s: float, tracer: Sequence[str] = ()) -> list[str]:
    """A last daemon that nobody kills performs what is left, and ends; what is wrong with that."""
    # A few seconds behind a full minute, so that nothing new falls due while it comes to rest.
    ahead_s += 65 - (time.time() + ahead_s) % 60
    process = start(home, ahead_s, tracer)
    try:
        def at_rest() -> bool:
            live = ask(home, "live")
            return live is not None and live["looked"] and not live["busy"] and not live["waiting"]

        if not wait_until(at_rest, DONE_S):
            return [f"the last daemon does not come to rest: {ask(home, 'live')}"]
        ask(home, "stop")
        status = process.wait(DONE_S)
        return [] if status == 0 else [f"the last daemon ended with {status}"]
    finally:
        kill_daemon(process)


def audit(home: Home, hook: Webhook, acked: list[str]) -> list[str]:
    """All that is wrong with what is left; nothing, as promised."""
    with read_only(home.store) as db:
        wrong = [f"the chain {breach.chain} is broken at {breach.position}" for breach in breaches(db)]
        integrity = db.execute("PRAGMA integrity_check").fetchone()[0]
        wrong += [] if integrity == "ok" else [f"integrity: {integrity}"]
        wrong += [*slots_without_a_record(db), *_wrong_runs(db, acked), *_wrong_posts(db, hook)]
    if not wait_until(lambda: processes_of(home) == [], GONE_S):
        wrong.append(f"left alive: {processes_of(home)}")
    return wrong


def slots_without_a_record(db: sqlite3.Connection) -> Iterator[str]:
    """Each slot since the first start has one record, and none is open."""
    first = parse_instant(db.execute("SELECT value FROM meta WHERE key = 'first_up'").fetchone()[0])
    for row in db.execute("SELECT * FROM schedules").fetchall():
        expression, zone = row["trigger"].split("|")
        until = parse_instant(row["handled_until"])
        schedule = restore_schedule(expression, zone)
        _, due = slots_between(schedule, first, until, 0)
        # The home's chain has those that were pruned too; one that a wrong clock missed may be in it twice.
        query = "SELECT ref, body FROM home_chain WHERE kind = 'slot' AND substr(ref, 1, ?) = ? ORDER BY position"
        owner = f"{row['routine_id']} "
        links = db.execute(query, (len(owner), owner)).fetchall()
        sealed = {link["ref"]: json.loads(link["body"])["count"] for link in links}
        kept = sum(sealed.values())
        query = "SELECT count(*) FROM slots WHERE routine_id = ? AND state IN ('due', 'held')"
        left_open = db.execute(query, (row["routine_id"],)).fetchone()[0]
        if due != kept or left_open:
            yield f"{row['routine_id']}: {due} slots were due, {kept} have a record, {left_open} are open"


def _wrong_runs(db: sqlite3.Connection, acked: list[str]) -> Iterator[str]:
    """Every started slot has its own run, every run has ended, none that was acknowledged is gone."""
    stones = {row[0] for row in db.execute("SELECT ref FROM home_chain WHERE kind = 'tombstone'").fetchall()}
    runs = {row["id"]: dict(row) for row in db.execute("SELECT id, state, order_key FROM runs").fetchall()}
    started = [
        row["run_id"] for row in db.execute("SELECT run_id FROM slots WHERE state IN ('ran', 'late')").fetchall()
    ]
    twice = [run for run, number in Counter(started).items() if number > 1]
    if twice:
        yield f"several slots share a run: {twice}"
    if lost := [run for run in (*started, *acked) if run not in runs and run not in stones]:
        yield f"runs are lost: {lost}"
    if unended := [run for run, row in runs.items() if not has_ended(row["state"])]:
        yield f"runs without an end: {unended}"
    of_slots = [run for run, row in runs.items() if row["order_key"].startswith("slot:")]
    if strays := sorted(set(of_slots) - set(started)):
        yield f"runs without a slot: {strays}"
    query = "SELECT count(DISTINCT run_id) FROM effects WHERE state = 'unknown'"
    unsettled = db.execute(query).fetchone()[0]
    if len(runs) - unsettled > KEPT or unsettled > KEPT:
        yield f"{len(runs)} runs are kept, {unsettled} of them with an unknown effect; {KEPT} of each should be"


def _wrong_posts(db: sqlite3.Connection, hook: Webhook) -> Iterator[str]:
    """No message was sent twice, and each that arrived is known to have, or to be unknown."""
    posts = Counter(digest_bytes(text.encode()) for text in hook.texts("/ok"))
    if twice := [digest for digest, number in posts.items() if number > 1]:
        yield f"{len(twice)} messages were sent twice"
    effects = {row["digest"]: row["state"] for row in db.execute("SELECT digest, state FROM effects").fetchall()}
    for digest, state in effects.items():
        if state == "delivered" and digest not in posts:
            yield "a message that never came counts as delivered"
        if digest in posts and state not in ("delivered", "unknown"):
            yield f"a message that came is {state}"
