"""Resumes: runners and owners die at every event of a run that may go on, and again of what is left of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from minion.app import Minion
from minion.daemon.closing import read_events
from minion.wire import Event
from tests.faults.kills import Trials, kill, newest_run, runner_of, start_driver
from tests.faults.resumed_runs import audit_resumed, home_to_resume, open_and_go_on, start_resuming_driver
from tests.whole.homes import at_work, performed, run_once
from tests.whole.webhooks import Webhook, webhook

SANDBOXES = ("none", "required")
LONGEST_S = 60.0
# The short version takes every seventeenth boundary, each kind of death others than the next.
STRIDE = 17
# So many events after the first death comes the second one.
SOON = 3
Strike = Callable[[Minion, str], None]


class Place:
    """A home to kill runs in, the repository it pushes to, the webhook it posts to; and what came of it."""

    def __init__(self, folder: Path, hook: Webhook, sandbox: str) -> None:
        self.home, self.shop = home_to_resume(folder, hook, sandbox=sandbox)
        self.hook = hook
        self.trials = Trials()
        run = performed(self.home, "work", given="first")
        assert (run["state"], run["verdict"]) == ("completed", "ok"), run["why"]
        self.last = len(read_events(Path(run["folder"]) / "events.ndjson"))

    def boundaries(self, offset: int, stride: int) -> list[int]:
        """The events of a normal run at which to kill: every `stride`th from `offset` on, and the last."""
        return sorted({*range(1 + offset % stride, self.last + 1, stride), self.last})

    def count(self, run_id: str, given: str, more: list[str]) -> None:
        """Take in one trial, whose run is this one."""
        wrong = audit_resumed(self.home, self.shop, run_id, given, self.hook)
        run = newest_run(self.home)
        self.trials.count(given, run["state"] if run is not None else "gone", wrong + more)


@pytest.fixture(params=SANDBOXES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """A place of this kind of sandbox."""
    with webhook() as hook:
        yield Place(tmp_path, hook, request.param)


def kill_the_runner(minion: Minion, run_id: str) -> None:
    """SIGKILL to the runner's process."""
    kill(runner_of(minion.home.runs / run_id))


def close_the_daemons_side(minion: Minion, run_id: str) -> None:
    """The runner's stdin is closed, as by a daemon that is gone."""
    stdin = minion.supervisor._flights[run_id].process.stdin
    assert stdin is not None
    stdin.close()


async def runners_killed(place: Place, ks: list[int], strike: Strike, *, twice: bool) -> None:
    """One owner performs a run for each of `ks`; at its event k, and if asked soon again, its runner dies."""
    due: list[int] = []
    owner: list[Minion] = []

    def on_event(run_id: str, event: Event) -> None:
        if due and event.seq >= due[0]:
            del due[0]
            strike(owner[0], run_id)

    async with at_work(place.home, on_event=on_event) as minion:
        owner.append(minion)
        for k in ks:
            due[:] = [k, k + SOON] if twice else [k]
            given = f"{strike.__name__}-{k}{'-twice' if twice else ''}".replace("_", "-")
            run_id = await run_once(minion, "work", given=given)
            left = [f"event {due[0]} never came"] if due and due[0] <= place.last else []
            await asyncio.to_thread(place.count, run_id, given, left)


def owners_killed(place: Place, ks: list[int], *, twice: bool) -> None:
    """Another process owns the home and kills itself at event k, one that goes on soon after; then this one."""
    for k in ks:
        given, before = f"owner-{k}{'-twice' if twice else ''}", newest_run(place.home)
        start_driver(place.home, given, k).wait(LONGEST_S)
        if twice:
            start_resuming_driver(place.home, k + SOON).wait(LONGEST_S)
        asyncio.run(open_and_go_on(place.home))
        run = newest_run(place.home)
        if run is None or before is None or run["id"] == before["id"]:
            place.trials.count(given, "not begun", [])
            continue
        place.count(run["id"], given, [])


def at_boundaries(place: Place, stride: int) -> Trials:
    """All deaths at every `stride`th boundary, once and twice."""
    for offset, twice in ((0, False), (2, True)):
        ks = place.boundaries(offset, stride)
        asyncio.run(runners_killed(place, ks, kill_the_runner, twice=twice))
        ks = place.boundaries(offset + 1, stride)
        asyncio.run(runners_killed(place, ks, close_the_daemons_side, twice=twice))
        owners_killed(place, place.boundaries(offset + 3, stride), twice=twice)
    return place.trials


@pytest.mark.heavy
@pytest.mark.promise("RES-1")
@pytest.mark.promise("EFF-1")
def test_runs_killed_at_event_boundaries_go_on_and_have_each_effect_once(place: Place) -> None:
    trials = at_boundaries(place, STRIDE)
    print(trials.told("resumes at event boundaries"))
    assert trials.wrong == {}


@pytest.mark.faults
@pytest.mark.promise("RES-1")
@pytest.mark.promise("EFF-1")
def test_runs_killed_at_every_event_boundary_go_on_and_have_each_effect_once(place: Place) -> None:
    trials = at_boundaries(place, 1)
    print(trials.told("resumes at every event boundary"))
    assert trials.wrong == {}
