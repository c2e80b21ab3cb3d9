"""A slow second opinion on schedules: looks at every local minute, asks the zone's transitions when it was.

It shares nothing with the code under test but the zone data: expressions are predicates written by hand, and
transitions are found by stepping through UTC (reliability F6).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
NIGHT = (0, 1, 2, 3, 23)


@dataclass(frozen=True, slots=True)
class Line:
    """A cron line, whether it is fixed-time, and the local minutes it names."""

    text: str
    fixed: bool
    names: Callable[[datetime], bool]


LINES = (
    Line("30 2 * * *", True, lambda t: (t.hour, t.minute) == (2, 30)),
    Line("0 9 * * 1-5", True, lambda t: (t.hour, t.minute) == (9, 0) and t.isoweekday() <= 5),
    Line("0,1 0 1-31 * *", True, lambda t: t.hour == 0 and t.minute in (0, 1)),
    Line("15,45 1-3,23 * * *", True, lambda t: t.hour in (1, 2, 3, 23) and t.minute in (15, 45)),
    Line("*/30 * * * *", False, lambda t: t.minute in (0, 30)),
    Line("*/20 0-3,23 * * 0,6", False, lambda t: t.hour in NIGHT and t.minute % 20 == 0 and t.weekday() > 4),
)


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of constant offset: its start and end in UTC (naive) and the offset."""

    start: datetime
    end: datetime
    offset: timedelta


def spans(zone: str, first: datetime, last: datetime) -> list[Span]:
    """The stretches of constant offset of `zone` between two naive UTC times, whole hours."""
    local = ZoneInfo(zone)
    found: list[Span] = []
    start, moment = first, first
    offset = _offset(local, first)
    while moment < last:
        later = moment + timedelta(hours=1)
        if _offset(local, later) != offset:
            change = next(
                moment + timedelta(seconds=second)
                for second in range(1, 3601)
                if _offset(local, moment + timedelta(seconds=second)) != offset
            )
            found.append(Span(start, change, offset))
            start, offset = change, _offset(local, change)
        moment = later
    return [*found, Span(start, last, offset)]


def named_minutes(line: Line, first: datetime, last: datetime) -> list[datetime]:
    """The local minutes in [first, last) that the line names, each of them looked at."""
    count = int((last - first) / MINUTE)
    return [moment for index in range(count) if line.names(moment := first + index * MINUTE)]


def due_slots(
    line: Line, minutes: list[datetime], stretches: list[Span], after: datetime, until: datetime
) -> list[tuple[datetime, str]]:
    """What is due in (after, until], naive UTC: (aware UTC instant, nominal local time), in order.

    `minutes` and `stretches` must reach two days beyond both ends.
    """
    found = []
    for wall in minutes:
        shown = [s for s in stretches if s.start + s.offset <= wall < s.end + s.offset]
        instants = [wall - s.offset for s in shown]
        if line.fixed and shown:
            instants = instants[:1]
        elif line.fixed:
            instants = [s.end for s in stretches[:-1] if s.end + s.offset <= wall][-1:]
        nominal = wall.isoformat()[:16]
        found += [(due.replace(tzinfo=UTC), nominal) for due in instants if after < due <= until]
    return sorted(found)


def _offset(zone: ZoneInfo, moment: datetime) -> timedelta:
    offset = moment.replace(tzinfo=UTC).astimezone(zone).utcoffset()
    assert offset is not None
    return offset
