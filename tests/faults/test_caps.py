"""Caps (F24): skills that loop, fork, sleep, spew, fill the disk and eat memory are stopped whole, and by name."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from minion.config import Home
from minion.daemon.cgroups import find_ground
from tests.faults.kills import Trials, processes_of, start_driver
from tests.faults.takers import (
    GONE_S,
    ROUND,
    TAKERS,
    Figures,
    count,
    home_to_take_from,
    take,
    without_groups,
)
from tests.waiting import wait_until
from tests.whole.daemons import daemon_up
from tests.whole.homes import at_work, run_of

# 19 kinds of taking a round, every other round without the kernel's groups.
ROUNDS_FULL = 11
LONGEST_S = 60.0


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home whose skills take what is not theirs."""
    return home_to_take_from(tmp_path)


async def taken(home: Home, rounds: int, trials: Trials, figures: Figures) -> None:
    """All kinds of taking, so many rounds of them, each round under an owner of its own."""
    for number in range(rounds):
        async with at_work(home) as minion:
            if number % 2:
                without_groups(minion)
            for kind, sandbox in ROUND:
                if number % 2 and kind == "breaks out":
                    continue  # who killed the tool host is then ended by a daemon alone, which this owner is not
                count(trials, kind, sandbox, number, await take(minion, kind, sandbox, figures))


@pytest.mark.heavy
@pytest.mark.promise("CAP-1")
def test_whatever_a_skill_takes_it_is_stopped_whole_and_its_record_says_which_cap(home: Home) -> None:
    trials, figures = Trials(), Figures()
    asyncio.run(taken(home, 1, trials, figures))
    print(trials.told("takers"), figures.told(), sep="\n")
    assert trials.wrong == {}


@pytest.mark.heavy
@pytest.mark.promise("CAP-1")
def test_a_fork_bomb_is_stopped_where_no_group_may_be_used(home: Home) -> None:
    async def story() -> tuple[str, list[str]]:
        async with at_work(home) as minion:
            without_groups(minion)
            return await take(minion, "bombs", "none", Figures())

    assert asyncio.run(story()) == ("failed", [])


@pytest.mark.faults
@pytest.mark.promise("CAP-1")
def test_two_hundred_takers_are_stopped_whole_and_their_records_say_which_cap(home: Home) -> None:
    trials, figures = Trials(), Figures()
    asyncio.run(taken(home, ROUNDS_FULL, trials, figures))
    print(trials.told("takers"), figures.told(), sep="\n")
    assert trials.wrong == {}
    assert trials.ends.total() >= 200


@pytest.mark.heavy
@pytest.mark.promise("CAP-1")
def test_a_daemon_answers_while_a_fork_bomb_is_stopped_and_leaves_nothing_of_it(home: Home) -> None:
    with daemon_up(home) as daemon:
        runs = [daemon.begin(name) for name in ("bombs-none", "breaks-out-none", "fills-with-many-none")]
        answers = 0
        while {*runs} & {*daemon.ask("live")["running"]}:
            answers += 1
        ended = [run_of(home, run) for run in runs]
        assert answers > 0
        assert [(run["state"], run["why"]) for run in ended if "bombs" in run["routine"]] == [
            ("failed", TAKERS["bombs"].why)
        ]
        assert {run["state"] for run in ended} == {"failed"}
        assert wait_until(lambda: [words for _, words in processes_of(home) if "run.py" in words] == [], GONE_S)
        assert run_of(home, daemon.run("harmless"))["state"] == "completed"


@pytest.mark.heavy
@pytest.mark.promise("RUN-8")
@pytest.mark.skipif(find_ground(divide=False).hierarchies == (), reason="no group may be used here")
def test_what_broke_out_of_a_dead_owners_run_is_ended_by_the_next_owner(home: Home) -> None:
    driver = start_driver(home, "", 0, routine="breaks-out-none")
    try:
        assert wait_until(lambda: _broken_out(home), LONGEST_S)
        driver.kill()
        driver.wait(LONGEST_S)
        assert _broken_out(home)
        asyncio.run(_opened(home))
        assert wait_until(lambda: not processes_of(home), GONE_S), processes_of(home)
    finally:
        driver.kill()
        driver.wait(LONGEST_S)


def _broken_out(home: Home) -> bool:
    """Whether a skill's process is there whose tool host is not."""
    words = [words for _, words in processes_of(home)]
    return any("run.py" in line for line in words) and not any("tool_host.py" in line for line in words)


async def _opened(home: Home) -> None:
    async with at_work(home):
        pass
