"""Runaway agents (F24): a model that loops, forks, sleeps, spews or fills is stopped whole, and by name."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from minion.app import Minion
from minion.config import Home
from minion.store.local_db import read_only
from minion.store.run_history import breaches
from tests.conformance.engine_kit import reach
from tests.faults.kills import GONE_S, Trials, processes_of
from tests.faults.runaways import KINDS, LIMITS, MIB, RATE, WALL_S, run_away, set_loose
from tests.messages_api import MessagesApi, scripted
from tests.waiting import wait_until
from tests.whole.homes import admit_together, at_work, events_of, make_home, run_of, run_once, write_routine

ROUNDS_FULL: Final = 8
AT_ONCE: Final = 3
# The bar is the cap and 5 s. On a machine that others use too, a trial fails only when it is far beyond that.
LATE_S: Final = 20.0
# Of a run's questions and gaps, those beyond which people would no longer read any of them.
INBOX_MOST: Final = 50
SHORT: Final = ("repeats", "is-dear", "forks", "leaves-daemons", "fills-with-one", "drips")


@dataclass
class Figures:
    """What was measured: seconds beyond the cap of time, bytes beyond that of the disk, calls beyond the last."""

    late_s: list[float] = field(default_factory=list)
    over_bytes: list[int] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)

    def told(self) -> str:
        """The figures as one line."""
        late = sorted(self.late_s) or [0.0]
        return (
            f"late p50 {late[len(late) // 2]:.2f} s, most {late[-1]:.2f} s; at most "
            f"{max(self.over_bytes) / MIB:.1f} MiB beyond the cap on the disk; orphans: {self.orphans or 'none'}"
        )


@contextmanager
def loose_in(folder: Path) -> Iterator[tuple[Home, MessagesApi]]:
    """A home with a routine for each kind of running away, and the API of such models."""
    home, over = make_home(folder), threading.Event()
    with scripted(model=run_away) as api:
        set_loose(api, over)
        reach(home, api)
        for name, kind in KINDS.items():
            write_routine(
                home, name, content="Do what you do.", engine="messages", sandbox="required",
                effects=["file:*.md"], limits={**LIMITS, **kind.limits},
                environment={"env": {"MARK": str(home.root)}},
            )  # fmt: skip
        try:
            yield home, api
        finally:
            over.set()


def allow(home: Home, dollars: float) -> None:
    """Let all runs of a day cost so much."""
    said = json.loads(home.config_file.read_text())
    home.config_file.write_text(json.dumps({**said, "dollars_per_day": dollars, "dollars_per_month": 1000}))


async def away(home: Home, names: Sequence[str], trials: Trials, figures: Figures, round_: int) -> None:
    """One round: a run of each kind, some at once; when all have ended nothing of them may be alive."""
    turn, wrong = asyncio.Semaphore(AT_ONCE), dict[str, list[str]]()
    ends: dict[str, str] = {}

    async def one(minion: Minion, name: str) -> None:
        async with turn:
            started = time.monotonic()
            run = run_of(home, await run_once(minion, name))
            late = time.monotonic() - started - WALL_S
        wrong[name] = list(_audit(home, name, run, figures))
        ends[name] = f"{name} {run['state']}"
        if run["state"] == "timed_out":
            figures.late_s.append(late)
            wrong[name] += [f"it went on for {late:.1f} s beyond its cap"] if late > LATE_S else []

    allow(home, 1000.0)
    async with at_work(home) as minion:
        await admit_together(minion)
        await asyncio.gather(*(one(minion, name) for name in names if name != "spends-the-day"))
    if "spends-the-day" in names:
        with read_only(home.store) as db:
            spent = db.execute("SELECT coalesce(sum(json_extract(usage, '$.dollars')), 0) FROM runs").fetchone()[0]
        allow(home, spent + 0.1)
        async with at_work(home) as minion:
            await one(minion, "spends-the-day")
    left = processes_of(home)
    figures.orphans += [words for _, words in left]
    alive = [] if wait_until(lambda: not processes_of(home), GONE_S) else [f"left alive: {processes_of(home)}"]
    for name in names:
        trials.count(f"{name} {round_}", ends[name], wrong[name] + alive)


def _audit(home: Home, name: str, run: dict[str, Any], figures: Figures) -> Iterator[str]:
    kind, usage = KINDS[name], events_of(home, run, "usage")
    limits = {**LIMITS, **kind.limits}
    if run["state"] != kind.state or not any(words in (run["why"] or "") for words in kind.why.split("|")):
        yield f"it ended {run['state']}: {run['why']}"
    if not run["hint"]:
        yield "nothing is said of what to do about it"
    if not run["ended_at"] or (run["state"] != "interrupted" and not run["summary"]):
        yield "no report was filed, or no end"
    calls = [used for used in usage if used.get("turns")]
    for cap in ("turns", "tokens", "dollars"):
        if sum(used[cap] for used in calls[:-1]) >= limits[cap]:
            yield f"{sum(used[cap] for used in calls)} {cap} were used, the cap is {limits[cap]}"
    files = [path.lstat() for path in Path(run["folder"]).rglob("*")]
    over = sum(max(file.st_blocks * 512, 4096) for file in files) - limits["disk_bytes"]
    figures.over_bytes.append(over)
    if over > 5 * RATE:
        yield f"{over // MIB} MiB beyond its cap lie on the disk"
    with read_only(home.store) as db:
        questions = db.execute("SELECT count(*) FROM events WHERE run_id = ? AND type = 'decision'", (run["id"],))
        asked = questions.fetchone()[0]
        yield from (f"the chain {breach.chain} is broken at {breach.position}" for breach in breaches(db))
    if asked > INBOX_MOST or len(run["gaps"]) > INBOX_MOST:
        yield f"it put {asked} questions and {len(run['gaps'])} gaps before people"


def ran(folder: Path, names: Sequence[str], rounds: int) -> tuple[Trials, Figures]:
    """Rounds of these kinds, counted."""
    trials, figures = Trials(), Figures()
    with loose_in(folder) as (home, _):
        for number in range(rounds):
            asyncio.run(away(home, names, trials, figures, number))
    print(trials.told("runaway agents"), figures.told(), sep="\n")
    return trials, figures


@pytest.mark.heavy
@pytest.mark.promise("CAP-1")
def test_a_model_that_runs_away_is_stopped_whole_and_its_record_says_which_cap(tmp_path: Path) -> None:
    trials, _ = ran(tmp_path, SHORT, 1)
    assert trials.wrong == {}


@pytest.mark.faults
@pytest.mark.promise("CAP-1")
def test_two_hundred_runaway_agents_are_stopped_whole_and_their_records_say_which_cap(tmp_path: Path) -> None:
    trials, _ = ran(tmp_path, list(KINDS), ROUNDS_FULL)
    assert trials.wrong == {}
    assert trials.ends.total() == 200
