"""Runs that are killed on purpose, and the audit of what is left of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from minion.config import Home
from minion.daemon.closing import read_events
from minion.store.local_db import read_only
from minion.store.run_history import breaches, list_runs
from minion.wire import Event
from tests.waiting import wait_until
from tests.whole.homes import make_home, run_of, write_routine, write_secrets, write_skill
from tests.whole.webhooks import Webhook

ROOT: Final = Path(__file__).parents[2]
GONE_S: Final = 15.0

# Leaves a process behind that has its own session and outlives its parent, then stages a file.
DRAFT: Final = """
import subprocess
null = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
subprocess.Popen(["sleep", "600"], start_new_session=True, **null)
answer(text="drafted", effects=[{"kind": "file", "target": task["input"] + ".md", "body": task["input"]}])
"""
SEND: Final = """
answer(text="sent", effects=[{"kind": "message", "target": "team", "body": task["input"]}])
"""


def home_to_kill(folder: Path, hook: Webhook, *, sandbox: str) -> Home:
    """A home whose routine `work` has two skills, and a file and a message named by the run's input."""
    home = make_home(folder)
    write_skill(home, "draft", DRAFT)
    write_skill(home, "send", SEND)
    write_secrets(home, {"team_webhook": hook.url("/ok")})
    # The mark by which the processes of a run are found: it is in the environment of all that skills start.
    write_routine(
        home, "work", "draft", "send",
        sandbox=sandbox, effects=["file:*.md", "message:team"], environment={"env": {"MARK": str(home.root)}},
    )  # fmt: skip
    return home


def processes_of(home: Home) -> list[tuple[int, str]]:
    """The living processes that work in a home, or have its path in their argv or their environment."""
    mark, found = os.fsencode(home.root), []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            line = (entry / "cmdline").read_bytes()
            told = line + (entry / "environ").read_bytes() + os.fsencode((entry / "cwd").readlink())
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if mark in told and state not in ("Z", "X"):
            found.append((int(entry.name), line.replace(b"\0", b" ").decode("utf-8", "replace")[:200]))
    return found


def runner_of(run_dir: Path) -> int | None:
    """The process id of the runner that works in a run folder."""
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "cwd").readlink() == run_dir:
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if b"minion.runner" in words:
                    return int(entry.name)
        except OSError:
            continue
    return None


def start_driver(home: Home, given: str, last: int, *, routine: str = "work") -> subprocess.Popen[bytes]:
    """A process that owns the home and performs a routine, killing itself at event `last`."""
    argv = [sys.executable, "-m", "tests.faults.driver", str(home.root), routine, given, str(last)]
    return subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def newest_run(home: Home) -> dict[str, Any] | None:
    """The newest run that the store knows."""
    with read_only(home.store) as db:
        runs = list_runs(db, limit=1)
    return run_of(home, runs[0]["id"]) if runs else None


def audit(home: Home, run: dict[str, Any], given: str, hook: Webhook) -> list[str]:
    """What is wrong with a run that was killed at some point; nothing, as promised."""
    events = read_events(Path(run["folder"]) / "events.ndjson")
    wrong = [*_wrong_end(run, events), *_wrong_steps(run, events), *_wrong_effects(run, events)]
    if not Path(run["folder"]).is_dir():
        wrong.append("the run's folder is gone")
    with read_only(home.store) as db:
        stored = [row[0] for row in db.execute(
            "SELECT seq FROM events WHERE run_id = ? AND seq IS NOT NULL ORDER BY seq", (run["id"],)
        ).fetchall()]  # fmt: skip
        broken = breaches(db)
    if stored != [event.seq for event in events]:
        wrong.append(f"the store has the events {stored}, the folder {len(events)}")
    wrong += [f"the chain {breach.chain} is broken at {breach.position}" for breach in broken]
    posts = hook.texts("/ok").count(given)
    told = {effect["target"]: effect["state"] for effect in run["effects"]}
    if posts > 1 or (posts == 1 and told.get("team") not in ("delivered", "unknown")):
        wrong.append(f"{posts} messages were sent, the store says {told.get('team')}")
    if posts == 0 and told.get("team") == "delivered":
        wrong.append("a message that never came counts as delivered")
    if not wait_until(lambda: not processes_of(home), GONE_S):
        wrong.append(f"left alive: {processes_of(home)}")
    return wrong


def _wrong_end(run: dict[str, Any], events: list[Event]) -> Iterator[str]:
    said = next((event.data["state"] for event in events if event.type == "run.finished"), None)
    if run["state"] != (said or "interrupted"):
        yield f"the run is {run['state']}, its runner said {said}"
    if said is None and run["verdict"] != "unknown":
        yield f"an interrupted run has the verdict {run['verdict']}"
    if not run["summary"] or not run["ended_at"]:
        yield "no report was filed, or no end"


def _wrong_steps(run: dict[str, Any], events: list[Event]) -> Iterator[str]:
    """Every step that was begun has an end in the store: its own, or `interrupted`."""
    ends = {event.data["number"]: event.data["state"] for event in events if event.type == "step.finished"}
    begun = [event.data["number"] for event in events if event.type == "step.started"]
    expected = ends | {number: "interrupted" for number in begun if number not in ends}
    codes = {
        event.data["number"]: event.data["code"]
        for event in events
        if event.type in ("step.started", "step.finished")
    }
    wanted = Counter((codes[number], state) for number, state in expected.items())
    kept = Counter((step["code"], step["state"]) for block in run["blocks"] for step in block["steps"])
    if kept != wanted:
        yield f"steps kept {dict(kept)}, events say {dict(wanted)}"
    open_blocks = [block["code"] for block in run["blocks"] if block["state"] == "running"]
    if open_blocks:
        yield f"blocks still running: {open_blocks}"


def _wrong_effects(run: dict[str, Any], events: list[Event]) -> Iterator[str]:
    """With an intent: its recorded result, or `unknown`. Staged only: withheld."""
    expected: dict[str, str] = {}
    for event in events:
        if event.type == "effect.staged":
            expected[event.data["id"]] = "withheld"
        elif event.type == "effect.intent":
            expected[event.data["id"]] = "unknown"
        elif event.type == "effect.result":
            expected[event.data["id"]] = event.data["state"]
    kept = {effect["id"]: effect["state"] for effect in run["effects"]}
    if kept != expected:
        yield f"effects kept {kept}, events say {expected}"


def kill(pid: int | None) -> None:
    """SIGKILL to a process of a test that may be gone already."""
    if pid is None:
        return
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


@dataclass(slots=True)
class Trials:
    """What came of many kills: how the runs ended, and what was wrong, by trial."""

    ends: Counter[str] = field(default_factory=Counter)
    wrong: dict[str, list[str]] = field(default_factory=dict)

    def count(self, trial: str, end: str, wrong: list[str]) -> None:
        """Take in one trial."""
        self.ends[end] += 1
        if wrong:
            self.wrong[trial] = wrong

    def told(self, title: str) -> str:
        """Trials, failures and, where there was none, the 95 % upper bound of their rate."""
        trials = self.ends.total()
        ends = ", ".join(f"{count} {end}" for end, count in sorted(self.ends.items()))
        bound = "" if self.wrong else f", bound {3 / trials:.2%}"
        return f"{title}: {trials} trials ({ends}), {len(self.wrong)} failures{bound}"
