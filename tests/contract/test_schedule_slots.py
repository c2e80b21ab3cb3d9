"""Slots by name: what happens at skipped and repeated hours, how keys look, and what counting costs."""

from __future__ import annotations

import tracemalloc
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from server.contract.catch_up import stagger_s
from server.contract.schedule import Schedule, Slot, next_slots, parse_schedule, slots_between

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PAST = datetime(2000, 1, 1, tzinfo=UTC)


def schedule(expression: str, zone: str) -> Schedule:
    """An admitted schedule."""
    return parse_schedule(expression, zone, now=PAST)


def on(expression: str, zone: str, day: str) -> list[Slot]:
    """The slots due from that UTC date's noon before to its noon after."""
    noon = datetime.fromisoformat(day).replace(hour=12, tzinfo=UTC)
    slots, total = slots_between(schedule(expression, zone), noon - timedelta(days=1), noon, 1000)
    assert total == len(slots)
    return slots


def times(slots: list[Slot]) -> list[str]:
    """When the slots are due, as local text with the offset."""
    return [slot.at.isoformat(timespec="minutes") for slot in slots]


@pytest.mark.promise("DOC-4")
def test_a_fixed_time_that_the_clock_skips_fires_once_right_after_the_gap() -> None:
    [slot] = on("30 2 * * *", "America/New_York", "2026-03-08")
    assert slot == Slot(
        "30 2 * * *|America/New_York|2026-03-08T02:30",
        datetime.fromisoformat("2026-03-08T03:00-04:00"),
        "2026-03-08T02:30",
    )


@pytest.mark.promise("DOC-4")
def test_a_fixed_time_that_the_clock_repeats_fires_the_first_time_only() -> None:
    assert times(on("30 1 * * *", "America/New_York", "2026-11-01")) == ["2026-11-01T01:30-04:00"]


def test_two_times_a_day_are_two_slots_a_day() -> None:
    slots = next_slots(schedule("0 9,18 * * *", "Europe/Berlin"), datetime(2026, 3, 29, tzinfo=UTC), 3)
    assert [slot.key for slot in slots] == [
        "0 9,18 * * *|Europe/Berlin|2026-03-29T09:00",
        "0 9,18 * * *|Europe/Berlin|2026-03-29T18:00",
        "0 9,18 * * *|Europe/Berlin|2026-03-30T09:00",
    ]


def test_each_skipped_nominal_time_is_a_slot_of_its_own_at_the_end_of_the_gap() -> None:
    slots = on("0,30 2,3 * * *", "Europe/Berlin", "2026-03-29")
    assert [(slot.nominal[11:], slot.at.isoformat()[11:16]) for slot in slots] == [
        ("02:00", "03:00"),
        ("02:30", "03:00"),
        ("03:00", "03:00"),
        ("03:30", "03:30"),
    ]


@pytest.mark.promise("DOC-4")
def test_an_interval_job_fires_at_each_real_half_hour_of_a_repeated_hour() -> None:
    slots = on("*/30 2 * * *", "Europe/Berlin", "2026-10-25")
    assert [slot.key for slot in slots] == [
        "*/30 2 * * *|Europe/Berlin|2026-10-25T02:00+02:00",
        "*/30 2 * * *|Europe/Berlin|2026-10-25T02:30+02:00",
        "*/30 2 * * *|Europe/Berlin|2026-10-25T02:00+01:00",
        "*/30 2 * * *|Europe/Berlin|2026-10-25T02:30+01:00",
    ]
    assert {later.at - sooner.at for sooner, later in pairwise(slots)} == {timedelta(minutes=30)}


@pytest.mark.promise("DOC-4")
def test_an_interval_job_has_no_slot_in_the_gap() -> None:
    assert on("*/30 2 * * *", "Europe/Berlin", "2026-03-29") == []
    around = times(on("*/30 1-3 * * *", "Europe/Berlin", "2026-03-29"))
    assert around == [
        "2026-03-29T01:00+01:00",
        "2026-03-29T01:30+01:00",
        "2026-03-29T03:00+02:00",
        "2026-03-29T03:30+02:00",
    ]


def test_in_lord_howe_the_clock_moves_by_half_an_hour() -> None:
    assert times(on("15 2 * * *", "Australia/Lord_Howe", "2026-10-04")) == ["2026-10-04T02:30+11:00"]
    assert times(on("*/15 1 * * *", "Australia/Lord_Howe", "2026-04-05")) == [
        "2026-04-05T01:00+11:00",
        "2026-04-05T01:15+11:00",
        "2026-04-05T01:30+11:00",
        "2026-04-05T01:45+11:00",
        "2026-04-05T01:30+10:30",
        "2026-04-05T01:45+10:30",
    ]


def test_in_apia_the_day_that_never_was_is_run_at_its_end() -> None:
    after = datetime(2011, 12, 29, 12, tzinfo=UTC)
    assert times(next_slots(schedule("0 9 * * *", "Pacific/Apia"), after, 3)) == [
        "2011-12-29T09:00-10:00",
        "2011-12-31T00:00+14:00",
        "2011-12-31T09:00+14:00",
    ]
    hourly = next_slots(schedule("@hourly", "Pacific/Apia"), datetime(2011, 12, 30, 8, tzinfo=UTC), 3)
    assert times(hourly) == ["2011-12-29T23:00-10:00", "2011-12-31T00:00+14:00", "2011-12-31T01:00+14:00"]


def test_in_casablanca_daylight_saving_pauses_for_ramadan() -> None:
    assert times(on("30 2 * * *", "Africa/Casablanca", "2026-02-15")) == ["2026-02-15T02:30+01:00"]
    assert times(on("30 2 * * *", "Africa/Casablanca", "2026-03-22")) == ["2026-03-22T03:00+01:00"]


def test_in_troll_two_hours_are_skipped_and_repeated() -> None:
    assert times(on("30 1 * * *", "Antarctica/Troll", "2026-03-29")) == ["2026-03-29T03:00+02:00"]
    assert times(on("*/60 1-3 * * *", "Antarctica/Troll", "2026-10-25")) == [
        "2026-10-25T01:00+02:00",
        "2026-10-25T02:00+02:00",
        "2026-10-25T01:00+00:00",
        "2026-10-25T02:00+00:00",
        "2026-10-25T03:00+00:00",
    ]


def test_a_clock_set_back_over_midnight_keeps_the_slots_in_order_of_time() -> None:
    half_hours = "*/30 0,1,23 * * *"
    slots = on(half_hours, "America/St_Johns", "2010-11-07")
    assert times(slots) == [
        "2010-11-06T23:00-02:30",
        "2010-11-06T23:30-02:30",
        "2010-11-07T00:00-02:30",
        "2010-11-06T23:30-03:30",
        "2010-11-07T00:00-03:30",
        "2010-11-07T00:30-03:30",
        "2010-11-07T01:00-03:30",
        "2010-11-07T01:30-03:30",
    ]
    one_by_one: list[Slot] = []
    moment = slots[0].at - timedelta(seconds=1)
    while len(one_by_one) < len(slots):
        one_by_one += next_slots(schedule(half_hours, "America/St_Johns"), moment, 1)
        moment = one_by_one[-1].at
    assert one_by_one == slots


def test_the_newest_slots_are_the_tail_of_all_whatever_the_limit() -> None:
    half_hours = schedule("*/30 0,1,23 * * *", "America/St_Johns")
    start, end = datetime(2010, 10, 28, 5, tzinfo=UTC), datetime(2010, 11, 16, 5, tzinfo=UTC)
    everything, total = slots_between(half_hours, start, end, 10**6)
    assert total == len(everything) == 19 * 6 + 2
    for limit in range(total + 2):
        assert slots_between(half_hours, start, end, limit) == (everything[max(total - limit, 0) :], total)


def test_slots_compare_by_real_time_in_a_repeated_hour() -> None:
    _, first, second, _ = on("*/30 2 * * *", "Europe/Berlin", "2026-10-25")
    assert (first.nominal, second.nominal) == ("2026-10-25T02:30", "2026-10-25T02:00")
    assert first.at < second.at
    assert second.at == second.at.astimezone(UTC)


def test_the_start_is_left_out_and_the_end_is_taken_in() -> None:
    nine = datetime(2026, 1, 5, 9, tzinfo=UTC)
    daily = schedule("0 9 * * *", "UTC")
    assert next_slots(daily, nine, 1)[0].at == nine + timedelta(days=1)
    assert slots_between(daily, nine, nine + timedelta(days=1), 9) == (next_slots(daily, nine, 1), 1)
    assert slots_between(daily, nine, nine, 9) == ([], 0)
    assert slots_between(daily, nine, nine - timedelta(days=9), 9) == ([], 0)


def test_no_slots_are_asked_for_and_none_are_given() -> None:
    hourly = schedule("@hourly", "UTC")
    assert next_slots(hourly, NOW, 0) == []
    assert slots_between(hourly, NOW, NOW + timedelta(days=30), 0) == ([], 720)


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Antarctica/Troll", "Asia/Kathmandu"])
@pytest.mark.parametrize("minutes", [1, 59, 60 * 24, 60 * 24 * 11 + 3, 60 * 24 * 365])
def test_an_every_minute_job_counts_the_minutes_that_passed(zone: str, minutes: int) -> None:
    every = schedule("* * * * *", zone)
    end = NOW + timedelta(minutes=minutes)
    slots, total = slots_between(every, NOW, end, 100)
    assert total == minutes
    newest = [end - timedelta(minutes=back) for back in range(min(minutes, 100))]
    assert [slot.at for slot in slots] == newest[::-1]


def test_a_year_of_minutes_is_counted_without_building_it() -> None:
    every = schedule("* * * * *", "Europe/Berlin")
    tracemalloc.start()
    try:
        _, total = slots_between(every, NOW, NOW + timedelta(days=365), 100)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert total == 525_600
    # Half a million slots would take over 100 MB.
    assert peak < 10_000_000


def test_a_stagger_is_stable_and_spread_over_its_range() -> None:
    delays = [stagger_s(f"trig_{number}", 300) for number in range(3000)]
    assert delays == [stagger_s(f"trig_{number}", 300) for number in range(3000)]
    assert (min(delays), max(delays)) == (0, 300)
    assert 140 < sum(delays) / len(delays) < 160
    assert stagger_s("trig_1", 0) == 0
    with pytest.raises(ValueError, match="negative"):
        stagger_s("trig_1", -1)
