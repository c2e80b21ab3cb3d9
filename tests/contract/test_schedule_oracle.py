"""Slots against a scan of every local minute around the transitions of many zones (F6), and cronsim."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo, available_timezones

import pytest
from cronsim import CronSim, CronSimError
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from server.contract.cron import parse_cron
from server.contract.refusals import BadDocument
from server.contract.schedule import Slot, next_slots, parse_schedule, slots_between
from tests.contract.zone_oracle import DAY, LINES, Line, due_slots, named_minutes, spans

NOW = datetime(1990, 1, 1, tzinfo=UTC)
EVERY = 10**9

# Each shows another kind of transition: whole hours, half an hour, two hours, at midnight, at 00:01, a whole
# skipped day, a daylight saving time that pauses in Ramadan, a change of the base offset.
CASES = (
    ("America/New_York", 2026),
    ("Europe/Berlin", 2026),
    ("Australia/Lord_Howe", 2026),
    ("Pacific/Apia", 2011),
    ("Pacific/Kwajalein", 1993),
    ("Africa/Casablanca", 2026),
    ("Antarctica/Troll", 2026),
    ("America/St_Johns", 2010),
    ("America/Sao_Paulo", 2018),
    ("America/Havana", 2026),
    ("America/Nuuk", 2023),
    ("Asia/Gaza", 2012),
    ("Pacific/Chatham", 2026),
    ("Europe/Volgograd", 2018),
    ("Asia/Kathmandu", 2026),
)


def compared(slots: list[Slot]) -> list[tuple[datetime, str]]:
    """Slots as the oracle writes them."""
    return [(slot.at.astimezone(UTC), slot.nominal) for slot in slots]


def windows(zone: str, year: int) -> list[tuple[datetime, datetime]]:
    """Four days around each transition of a year (and around its start, for zones without one), naive UTC."""
    first = datetime(year, 1, 1)  # noqa: DTZ001  the oracle counts in naive UTC
    stretches = spans(zone, first, first + 365 * DAY)
    middles = [s.end for s in stretches[:-1]] or [first + 9 * DAY]
    return [(middle - 2 * DAY - timedelta(minutes=7), middle + 2 * DAY) for middle in middles]


@pytest.mark.promise("DOC-4")
@pytest.mark.parametrize("line", LINES, ids=lambda line: line.text)
@pytest.mark.parametrize(("zone", "year"), CASES, ids=lambda value: str(value))
def test_slots_around_a_transition_are_those_of_a_minute_scan(zone: str, year: int, line: Line) -> None:
    schedule = parse_schedule(line.text, zone, now=NOW)
    assert schedule.fixed_time is line.fixed
    for after, until in windows(zone, year):
        minutes = named_minutes(line, (after - 3 * DAY).replace(minute=0), until + 3 * DAY)
        stretches = spans(zone, after.replace(minute=0) - 4 * DAY, until + 4 * DAY)
        expected = due_slots(line, minutes, stretches, after, until)
        start, end = after.replace(tzinfo=UTC), until.replace(tzinfo=UTC)

        slots, total = slots_between(schedule, start, end, EVERY)

        assert compared(slots) == expected
        assert total == len(expected)
        assert len({slot.key for slot in slots}) == total
        assert next_slots(schedule, start, total) == slots
        assert [slot.at.utcoffset() for slot in slots] == [
            due.astimezone(ZoneInfo(zone)).utcoffset() for due, _ in expected
        ]
        assert slots_between(schedule, start, end, 3) == (slots[-3:], total)


@pytest.mark.faults
@pytest.mark.promise("DOC-4")
def test_a_year_of_slots_in_every_region_zone_is_that_of_a_minute_scan(
    capsys: pytest.CaptureFixture[str],
) -> None:
    after, until = datetime(2026, 1, 1), datetime(2027, 1, 1)  # noqa: DTZ001  the oracle counts in naive UTC
    start, end = after.replace(tzinfo=UTC), until.replace(tzinfo=UTC)
    minutes = {line.text: named_minutes(line, after - 3 * DAY, until + 3 * DAY) for line in LINES}
    zones = sorted(key for key in available_timezones() if "/" in key and not key.startswith("Etc/"))
    trials, mismatches = 0, []
    for zone in zones:
        stretches = spans(zone, after - 4 * DAY, until + 4 * DAY)
        for line in LINES:
            schedule = parse_schedule(line.text, zone, now=NOW)
            expected = due_slots(line, minutes[line.text], stretches, after, until)
            slots, total = slots_between(schedule, start, end, EVERY)
            _, counted = slots_between(schedule, start, end, 10)
            trials += len(expected)
            if compared(slots) != expected or not total == counted == len(expected):
                mismatches.append(f"{line.text} in {zone}")
    with capsys.disabled():
        print(
            f"\nF6: {len(zones)} zones x {len(LINES)} expressions x 1 year, {trials} slots, "
            f"{len(mismatches)} mismatches, 95% upper bound {3 / trials:.2e}"
        )
    assert mismatches == []


def field(low: int, high: int, longest_step: int) -> st.SearchStrategy[str]:
    """Texts of one cron field: a star, a step of it, and lists of values, ranges and stepped ranges."""
    value = st.integers(low, high).map(str)
    pair = st.lists(st.integers(low, high), min_size=2, max_size=2, unique=True).map(sorted)
    ranges = pair.map(lambda ends: f"{ends[0]}-{ends[1]}")
    stepped = st.tuples(ranges, st.integers(1, longest_step)).map(lambda both: f"{both[0]}/{both[1]}")
    items = st.lists(st.one_of(value, ranges, stepped), min_size=1, max_size=3).map(",".join)
    stars = st.integers(1, longest_step).map(lambda step: f"*/{step}")
    return st.one_of(st.just("*"), items, stars)


@settings(deadline=None, database=None, max_examples=120)
@given(
    minute=field(0, 59, 60),
    hour=field(0, 23, 24),
    day=field(1, 31, 31),
    month=field(1, 12, 12),
    weekday=field(0, 7, 7),
    start=st.datetimes(datetime(2000, 1, 1), datetime(2050, 1, 1)),  # noqa: DTZ001  made UTC below
)
@example("0", "0", "1-31", "*", "5", datetime(2026, 1, 1))  # noqa: DTZ001  made UTC below
@example("0", "0", "29", "2", "*", datetime(2096, 3, 1))  # noqa: DTZ001  made UTC below
@example("0", "0", "31", "2", "1-7/2", datetime(2026, 1, 1))  # noqa: DTZ001  made UTC below
def test_in_utc_every_expression_fires_as_cronsim_says(
    minute: str, hour: str, day: str, month: str, weekday: str, start: datetime
) -> None:
    # cronsim follows cron's code, where a day field that begins with a star restricts the other: `*/13 * 5`
    # is the 1st, 14th and 27th if a Friday. crontab(5) and croniter say OR, and so do we (see the next test).
    assume("*" in (day, weekday) or "*" not in day[0] + weekday[0])
    line = f"{minute} {hour} {day} {month} {weekday}"
    moment = start.replace(tzinfo=UTC)
    try:
        schedule = parse_schedule(line, "UTC", now=NOW)
    except BadDocument as refusal:
        assert "never fires" in refusal.sentence
        assert _cronsim(line, moment) == []
        return
    assert [slot.at for slot in next_slots(schedule, moment, 5)] == _cronsim(line, moment)


def _cronsim(line: str, after: datetime) -> list[datetime]:
    try:
        return list(islice(CronSim(line, after), 5))
    except CronSimError:
        return []


def test_a_stepped_day_of_month_and_a_day_of_week_are_either_or() -> None:
    days = [slot.nominal[:10] for slot in next_slots(parse_schedule("0 0 */13 * 5", "UTC", now=NOW), NOW, 6)]
    assert days == ["1990-01-05", "1990-01-12", "1990-01-14", "1990-01-19", "1990-01-26", "1990-01-27"]


@pytest.mark.parametrize(("position", "low", "high"), [(3, 1, 12), (4, 0, 7), (1, 0, 23)])
def test_every_range_and_step_of_a_field_names_the_values_of_plain_arithmetic(
    position: int, low: int, high: int
) -> None:
    for first in range(low, high + 1):
        for last in range(first, high + 1):
            for step in range(1, 8):
                parts = ["0", "0", "*", "*", "*"]
                parts[position] = f"{first}-{last}/{step}"
                fields = parse_cron(" ".join(parts))
                named = {1: fields.hours, 3: fields.months, 4: fields.weekdays}[position]
                wanted = set(range(first, last + 1, step))
                assert set(named) == ({value % 7 for value in wanted} if position == 4 else wanted), parts
