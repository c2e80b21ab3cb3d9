"""F1, F25: the daemon and its runners are killed at random moments while slots fall due and runs are pruned."""

from __future__ import annotations

import contextlib
import json
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from minion.config import Home, holder_of
from minion.daemon_client import connected
from minion.store.local_db import read_only
from minion.store.run_history import breaches
from server.contract.digest import digest_bytes, parse_instant
from server.contract.refusals import Refusal
from server.contract.run import has_ended
from server.contract.schedule import restore_schedule, slots_between
from tests.faults.kills import GONE_S, ROOT, Trials, kill, processes_of
from tests.waiting import wait_until
from tests.whole.homes import make_home, write_routine, write_secrets, write_skill
from tests.whole.webhooks import Webhook, webhook

SHORT, FULL = 12, 1000
UP_S, DONE_S = 30.0, 120.0
# Each trial begins so much later by the daemon's clock: slots of the routines below fall due between.
STEP_S: Final = 150
SEND: Final = """
body = "said " + os.urandom(8).hex()
answer(text=body, effects=[{"kind": "message", "target": "team", "body": body}])
"""
KEPT: Final = 60


@pytest.fixture
def hook() -> Iterator[Webhook]:
    """The webhook that counts what was really sent."""
    with webhook() as server:
        yield server


@pytest.fixture
def home(tmp_path: Path, hook: Webhook) -> Home:
    """A home with a routine every minute that runs all it is owed, one that runs the newest, one on demand."""
    home = make_home(tmp_path)
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


def start(home: Home, ahead_s: float) -> subprocess.Popen[bytes]:
    """A daemon whose clock is ahead."""
    argv = [sys.executable, "-m", "tests.faults.always_on", str(home.root), str(ahead_s)]
    with (home.root / "daemon.err").open("ab") as errors:
        nothing = subprocess.DEVNULL
        return subprocess.Popen(argv, cwd=ROOT, stdin=nothing, stdout=nothing, stderr=errors)


def ask(home: Home, process: subprocess.Popen[bytes], verb: str, **params: Any) -> Any:
    """What this very daemon answers; None when it is not there to answer."""
    holder = holder_of(home)
    client = connected(home) if holder is not None and holder[0] == process.pid else None
    if client is None:
        return None
    with client, contextlib.suppress(Refusal):
        return client.ask(verb, params, timeout_s=UP_S)
    return None


def runners(home: Home) -> list[int]:
    """The runners at work in a home."""
    return [pid for pid, line in processes_of(home) if "minion.runner" in line]


def struck(home: Home, ahead_s: float, chance: random.Random) -> tuple[str, list[str]]:
    """One daemon, killed at a random moment: how, and the runs it had acknowledged to somebody who asked."""
    process, acked = start(home, ahead_s), list[str]()
    pause = threading.Event()
    try:
        if chance.random() < 0.5 and wait_until(lambda: ask(home, process, "live") is not None, UP_S):
            said = ask(home, process, "run", routine="asked", detach=True)
            acked += [said["run"]] if said else []
        pause.wait(chance.uniform(0.0, 1.5))
        how = chance.choice(("daemon", "daemon", "runner and daemon", "told to stop"))
        if how == "runner and daemon":
            for pid in runners(home)[:1]:
                kill(pid)
            pause.wait(chance.uniform(0.0, 0.3))
        if how == "told to stop":
            process.send_signal(signal.SIGTERM)
            pause.wait(chance.uniform(0.0, 1.0))
        kill(process.pid)
    finally:
        kill(process.pid)
        process.wait()
    return how, acked


def come_to_rest(home: Home, ahead_s: float) -> list[str]:
    """A last daemon that nobody kills performs what is left, and ends; what is wrong with that."""
    # A few seconds behind a full minute, so that nothing new falls due while it comes to rest.
    ahead_s += 65 - (time.time() + ahead_s) % 60
    process = start(home, ahead_s)
    try:
        def at_rest() -> bool:
            live = ask(home, process, "live")
            return live is not None and live["looked"] and not live["busy"] and not live["waiting"]

        if not wait_until(at_rest, DONE_S):
            return [f"the last daemon does not come to rest: {ask(home, process, 'live')}"]
        process.send_signal(signal.SIGTERM)
        status = process.wait(DONE_S)
        return [] if status == 0 else [f"the last daemon ended with {status}"]
    finally:
        kill(process.pid)
        process.wait()


def audit(home: Home, hook: Webhook, acked: list[str]) -> list[str]:
    """All that is wrong with what is left; nothing, as promised."""
    with read_only(home.store) as db:
        wrong = [f"the chain {breach.chain} is broken at {breach.position}" for breach in breaches(db)]
        integrity = db.execute("PRAGMA integrity_check").fetchone()[0]
        wrong += [] if integrity == "ok" else [f"integrity: {integrity}"]
        wrong += [*_wrong_slots(db), *_wrong_runs(db, acked), *_wrong_posts(db, hook)]
    if not wait_until(lambda: processes_of(home) == [], GONE_S):
        wrong.append(f"left alive: {processes_of(home)}")
    return wrong


def _wrong_slots(db: sqlite3.Connection) -> Iterator[str]:
    """Each slot since the first start has one record, and none is open."""
    first = parse_instant(db.execute("SELECT value FROM meta WHERE key = 'first_up'").fetchone()[0])
    for row in db.execute("SELECT * FROM schedules").fetchall():
        expression, zone = row["trigger"].split("|")
        until = parse_instant(row["handled_until"])
        schedule = restore_schedule(expression, zone)
        _, due = slots_between(schedule, first, until, 0)
        query = "SELECT coalesce(sum(count), 0), sum(state IN ('due', 'held')) FROM slots WHERE routine_id = ?"
        kept, left_open = db.execute(query, (row["routine_id"],)).fetchone()
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
    if len(runs) > KEPT:
        yield f"{len(runs)} runs are kept, {KEPT} should be"


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


def killed(home: Home, hook: Webhook, number: int, seed: int) -> Trials:
    """So many daemons killed one after another in one home, audited every hundred and at the end."""
    chance, trials, acked = random.Random(seed), Trials(), list[str]()  # noqa: S311 - delays, no secrets
    for trial in range(number):
        how, told = struck(home, trial * STEP_S, chance)
        acked += told
        wrong: list[str] = []
        if trial % 100 == 99 or trial == number - 1:
            wrong = come_to_rest(home, (trial + 1) * STEP_S) + audit(home, hook, acked)
        trials.count(f"{trial} ({how})", how, wrong)
    return trials


@pytest.mark.heavy
@pytest.mark.promise("DMN-6")
@pytest.mark.promise("STO-1")
def test_a_daemon_killed_at_random_moments_loses_no_slot_and_doubles_none(home: Home, hook: Webhook) -> None:
    assert killed(home, hook, SHORT, 1).wrong == {}


@pytest.mark.faults
@pytest.mark.promise("DMN-6")
def test_a_daemon_killed_a_thousand_times_loses_no_slot_and_doubles_none(home: Home, hook: Webhook) -> None:
    trials = killed(home, hook, FULL, 20261122)
    print(trials.told("F1, F25: kills of the daemon and its runners while slots fall due and runs are pruned"))
    assert trials.wrong == {}
