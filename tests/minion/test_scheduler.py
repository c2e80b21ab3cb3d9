"""The scheduler's rules on a fixed clock and a real store: due, late, skipped, missed, never twice."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from minion.store.local_db import read_only
from minion.store.run_history import breaches
from minion.store.slots import prune_slots
from tests.minion.clockwork import START, Clockwork, at, count, minutes, routine


def played(folder: Path, *routines: dict[str, Any], **said: Any) -> Callable[[Any], Clockwork]:
    """Plays a scene on a fresh clockwork; what is left of it."""

    def play(scene: Callable[[Clockwork], Awaitable[None]]) -> Clockwork:
        works = Clockwork(folder, *routines, **said)

        async def act() -> None:
            await works.up()
            try:
                await scene(works)
            finally:
                await works.die()

        asyncio.run(act())
        return works

    return play


async def hours_pass(works: Clockwork) -> None:
    """Three hours awake; every run ends at once."""
    for hour in range(1, 4):
        await works.run_until(START + timedelta(hours=hour))
        while works.going:
            await works.end()


@pytest.mark.promise("DMN-4")
def test_an_awake_scheduler_starts_each_slot_on_time_and_writes_it_down(tmp_path: Path) -> None:
    works = played(tmp_path, routine("hourly", "0 * * * *"))(hours_pass)
    assert works.slots() == [(f"2026-03-01T0{hour}:00+00:00", "ran") for hour in (1, 2, 3)]


@pytest.mark.promise("DMN-4")
def test_a_slot_that_falls_due_while_a_run_goes_on_is_skipped_and_says_why(tmp_path: Path) -> None:
    async def scene(works: Clockwork) -> None:
        await works.run_until(START + timedelta(hours=2))
        await works.end()
        await works.run_until(START + timedelta(hours=3))

    works = played(tmp_path, routine("hourly", "0 * * * *"))(scene)
    assert works.states() == ["ran", "skipped", "ran"]
    with read_only(works.path) as db:
        assert db.execute("SELECT why FROM slots WHERE state = 'skipped'").fetchone()[0] == (
            "its run before was still going"
        )


@pytest.mark.parametrize(("overlap", "ran"), [("skip", 1), ("queue", 1), ("allow", 3)])
def test_how_many_runs_of_a_routine_go_on_at_once_is_what_its_overlap_says(
    tmp_path: Path, overlap: str, ran: int
) -> None:
    async def scene(works: Clockwork) -> None:
        await works.run_until(START + timedelta(hours=3))
        assert len(works.going) == ran

    works = played(tmp_path, routine("hourly", "0 * * * *", overlap=overlap))(scene)
    assert len(works.slots()) == 3


def test_queued_slots_run_one_after_another_in_their_order(tmp_path: Path) -> None:
    begun: list[str] = []

    async def scene(works: Clockwork) -> None:
        await works.run_until(START + timedelta(hours=4))
        while works.going:
            begun.append(works.going[0].slot.shown[11:16])
            await works.end()

    works = played(tmp_path, routine("hourly", "0 * * * *", overlap="queue"))(scene)
    assert begun == ["01:00", "02:00", "03:00", "04:00"]
    assert set(works.states()) == {"ran"}


@pytest.mark.promise("DMN-5")
def test_one_long_run_starves_no_other_routine_and_one_routine_takes_half_the_places_at_most(
    tmp_path: Path,
) -> None:
    async def scene(works: Clockwork) -> None:
        await works.run_until(START + timedelta(hours=9))
        names = [going.slot.routine for going in works.going]
        assert names.count("greedy") == 2
        assert names.count("modest") == 1

    greedy = routine("greedy", "0 * * * *", overlap="allow")
    works = played(tmp_path, greedy, routine("modest", "0 8 * * *"), most=4)(scene)
    assert works.states("modest") == ["ran"]


@pytest.mark.promise("DMN-4")
@pytest.mark.parametrize(
    ("catch_up", "ran", "missed"), [("latest", ["late"], 4), ("window", ["late"] * 3, 2), ("none", [], 5)]
)
def test_after_a_sleep_late_slots_are_caught_up_as_the_routine_says_and_the_rest_is_counted(
    tmp_path: Path, catch_up: str, ran: list[str], missed: int
) -> None:
    async def scene(works: Clockwork) -> None:
        await works.sleep_until(START + timedelta(hours=5, minutes=30))
        while works.going:
            await works.end()

    window = 3 * 3600 if catch_up == "window" else None
    works = played(tmp_path, routine("hourly", "0 * * * *", catch_up=catch_up, catch_up_window_s=window))(scene)
    assert [state for state in works.states() if state != "missed"] == ran
    assert count(works.states(), "missed") == missed


def test_a_slot_of_a_day_that_is_over_is_missed_and_the_next_one_runs(tmp_path: Path) -> None:
    async def scene(works: Clockwork) -> None:
        await works.sleep_until(START + timedelta(days=1, hours=2))
        await works.run_until(START + timedelta(days=1, hours=10))

    works = played(tmp_path, routine("daily", "0 9 * * *"))(scene)
    assert works.states() == ["missed", "ran"]


@pytest.mark.promise("DMN-4")
def test_over_a_hundred_missed_slots_are_one_run_and_one_record_with_their_number(tmp_path: Path) -> None:
    async def scene(works: Clockwork) -> None:
        await works.sleep_until(START + timedelta(hours=10))

    works = played(tmp_path, routine("often", "* * * * *"))(scene)
    assert sorted(works.states()) == ["missed 599", "ran"]


@pytest.mark.promise("DMN-6")
def test_a_restart_fires_no_slot_again_and_loses_none(tmp_path: Path) -> None:
    async def scene(works: Clockwork) -> None:
        await works.run_until(START + timedelta(hours=2))
        await works.die()
        await works.up()
        await works.tick()
        assert works.going == []
        works.now += timedelta(hours=2, minutes=10)
        await works.die()
        await works.up()
        await works.tick()

    works = played(tmp_path, routine("hourly", "0 * * * *", overlap="allow"))(scene)
    assert works.states() == ["ran", "ran", "missed", "late"]


@pytest.mark.promise("DMN-6")
def test_what_waited_its_turn_when_the_minion_stopped_runs_after_the_restart(tmp_path: Path) -> None:
    async def scene(works: Clockwork) -> None:
        await works.run_until(START + timedelta(hours=3))
        works.line.close()
        await works.die()
        works.now += minutes(30)
        await works.up()
        assert len(works.going) == 1
        await works.end()

    works = played(tmp_path, routine("hourly", "0 * * * *", overlap="queue"))(scene)
    assert works.states() == ["ran", "late", "late"]


def test_a_window_owes_the_newest_slot_too_though_it_is_on_time_and_the_one_before_it_runs(tmp_path: Path) -> None:
    async def scene(works: Clockwork) -> None:
        await works.sleep_until(at("2026-03-01T00:02:30"))
        await works.end()
        await works.end()

    said = routine("minutely", "* * * * *", catch_up="window", catch_up_window_s=120)
    assert played(tmp_path, said)(scene).states() == ["late", "ran"]


@pytest.mark.promise("DMN-4")
def test_of_what_an_earlier_owner_left_and_what_came_since_only_the_newest_runs(tmp_path: Path) -> None:
    async def scene(works: Clockwork) -> None:
        await works.run_until(START + minutes(1))  # one of the two has the only place, the other one waits
        assert [going.slot.routine for going in works.going] == ["a"]
        await works.die()
        works.now = START + minutes(2)
        await works.up()
        await works.tick()
        while works.going:
            await works.end()

    works = played(tmp_path, routine("a", "1 0 * * *"), routine("b", "* * * * *"), most=1)(scene)
    assert works.states("b") == ["missed", "ran"]
    with read_only(works.path) as db:
        (why,) = db.execute("SELECT why FROM slots WHERE state = 'missed'").fetchone()
    assert why == "the minion stopped before it started, and a newer one came due meanwhile"


@pytest.mark.promise("DMN-4")
def test_what_waited_when_the_minion_stopped_is_missed_once_it_is_too_late(tmp_path: Path) -> None:
    async def scene(works: Clockwork) -> None:
        await works.run_until(START + timedelta(hours=3))
        await works.die()
        works.now += timedelta(days=1)
        await works.up()

    works = played(tmp_path, routine("hourly", "0 * * * *", overlap="queue"))(scene)
    assert works.states()[:3] == ["ran", "missed", "missed"]
    with read_only(works.path) as db:
        why = db.execute("SELECT why FROM slots WHERE state = 'missed' LIMIT 1").fetchone()[0]
    assert why == "the minion stopped before it started, and its local day is over"


@pytest.mark.promise("DMN-7")
def test_a_clock_set_back_by_hours_fires_nothing_twice(tmp_path: Path) -> None:
    async def scene(works: Clockwork) -> None:
        await works.run_until(START + timedelta(hours=4))
        await works.sleep_until(START + timedelta(hours=1, minutes=30))
        await works.run_until(START + timedelta(hours=6))

    works = played(tmp_path, routine("hourly", "0 * * * *", overlap="allow"))(scene)
    assert sorted(works.slots()) == [(f"2026-03-01T0{hour}:00+00:00", "ran") for hour in range(1, 7)]


@pytest.mark.promise("DMN-7")
def test_after_a_clock_was_a_year_ahead_by_mistake_slots_go_on_from_now(tmp_path: Path) -> None:
    async def scene(works: Clockwork) -> None:
        await works.run_until(START + timedelta(hours=1))
        await works.sleep_until(START + timedelta(days=365))
        await works.sleep_until(START + timedelta(hours=1, minutes=10))
        await works.run_until(START + timedelta(hours=3))

    works = played(tmp_path, routine("hourly", "0 * * * *", overlap="allow"))(scene)
    ran = sorted(shown for shown, state in works.slots() if state in ("ran", "late"))
    assert ran == [f"2026-03-01T0{hour}:00+00:00" for hour in (1, 2, 3)] + ["2027-03-01T00:00+00:00"]


def test_a_missed_slot_may_still_run_when_the_clock_was_wrong(tmp_path: Path) -> None:
    async def scene(works: Clockwork) -> None:
        await works.sleep_until(START + timedelta(days=3))
        await works.sleep_until(START + timedelta(hours=1))
        await works.run_until(START + timedelta(hours=10))

    works = played(tmp_path, routine("daily", "0 9 * * *"))(scene)
    assert works.slots()[0] == ("2026-03-01T09:00+00:00", "ran")


def test_nothing_is_due_at_or_before_the_newest_slot_that_was_pruned(tmp_path: Path) -> None:
    async def scene(works: Clockwork) -> None:
        await works.run_until(START + timedelta(hours=5))
        assert await works.writer.transact(lambda db: prune_slots(db, "trig_hourly", keep=2)) == 3
        await works.die()
        works.now = START + timedelta(hours=1, minutes=30)
        await works.up()
        await works.tick()
        await works.run_until(START + timedelta(hours=3, minutes=30))

    works = played(tmp_path, routine("hourly", "0 * * * *", overlap="allow"))(scene)
    assert [shown[11:16] for shown, _ in works.slots()] == ["04:00", "05:00"]


@pytest.mark.promise("DMN-8")
def test_a_halted_minion_starts_nothing_and_says_so_of_every_slot(tmp_path: Path) -> None:
    async def scene(works: Clockwork) -> None:
        works.halted = "the minion was halted: the disk is being moved"
        await works.run_until(START + timedelta(hours=2))
        works.halted = None
        await works.run_until(START + timedelta(hours=3))

    works = played(tmp_path, routine("hourly", "0 * * * *"))(scene)
    assert works.states() == ["skipped", "skipped", "ran"]


def test_stagger_moves_when_a_slot_starts_and_not_which_slot_it_is(tmp_path: Path) -> None:
    noticed: list[str] = []

    async def scene(works: Clockwork) -> None:
        (entry,) = works.timetable.entries("trig_hourly")
        assert 0 < entry.rules.stagger <= 600
        await works.run_until(START + timedelta(hours=1, seconds=entry.rules.stagger - 1))
        assert works.slots() == []
        await works.run_until(START + timedelta(hours=1, seconds=entry.rules.stagger))
        noticed.append(works.slots()[0][0])

    played(tmp_path, routine("hourly", "0 * * * *", stagger_s=600))(scene)
    assert noticed == ["2026-03-01T01:00+00:00"]


@pytest.mark.promise("DOC-4")
def test_a_fixed_time_skipped_by_the_clock_runs_right_after_the_gap_and_a_repeated_one_once(
    tmp_path: Path,
) -> None:
    async def scene(works: Clockwork) -> None:
        await works.run_until(at("2026-03-30T00:00"))
        await works.sleep_until(at("2026-10-24T12:00"))
        await works.run_until(at("2026-10-26T00:00"))

    berlin = routine("night", "30 2 * * *", timezone="Europe/Berlin", overlap="allow")
    works = played(tmp_path, berlin, now=at("2026-03-28T12:00"))(scene)
    ran = [shown for shown, state in works.slots() if state == "ran"]
    assert ran == ["2026-03-29T03:00+02:00", "2026-10-25T02:30+02:00"]


def test_every_settled_slot_is_sealed_in_the_home_chain(tmp_path: Path) -> None:
    async def scene(works: Clockwork) -> None:
        await works.run_until(START + timedelta(hours=3))

    works = played(tmp_path, routine("hourly", "0 * * * *", overlap="allow"))(scene)
    with read_only(works.path) as db:
        sealed = [row[0] for row in db.execute("SELECT ref FROM home_chain WHERE kind = 'slot'").fetchall()]
        assert breaches(db) == []
    assert len(sealed) == len(works.slots()) == 3


@pytest.mark.heavy
def test_a_thousand_slots_due_at_once_are_all_written_down_in_one_tick(tmp_path: Path) -> None:
    async def scene(works: Clockwork) -> None:
        await works.run_until(START + timedelta(hours=1))
        assert len(works.going) == 8
        assert works.line.waiting == 992

    works = played(tmp_path, *(routine(f"r{n}", "0 * * * *") for n in range(1000)), most=8)(scene)
    assert len(works.slots()) == 1000
