"""Schedules: when a routine is due, in its own time zone, as slots that are claimed once each.

Rules: DESIGN §6 and DECISIONS "Store". This is the only place where time zones live.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from difflib import get_close_matches
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from server.contract.cron import FIRST_YEAR, LAST_YEAR, CronFields, parse_cron
from server.contract.refusals import BadDocument

LONGEST_EXPRESSION: Final = 200

SHORTHANDS: Final = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "hourly": "0 * * * *",
    "daily": "0 9 * * *",
    "weekdays": "0 9 * * 1-5",
    "weekly": "0 9 * * 1",
}

_ZONE_KEY = re.compile(r"[A-Z][A-Za-z0-9_+-]*(?:/[A-Z][A-Za-z0-9_+-]*){0,3}")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}.*")
_MOMENT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}(?::[0-9]{2})?(?:[Zz]|[+-][0-9]{2}:?[0-9]{2})?"
)
_DAY: Final = timedelta(days=1)
# A zone's clock can be set by up to a day at once, so a date's slots may fall due two dates away.
_MARGIN: Final = timedelta(days=2)

# When a slot is due (aware, UTC) and the wall-clock time that names it (naive, in the routine's zone).
_Due = tuple[datetime, datetime]


@dataclass(frozen=True, slots=True)
class Slot:
    """One scheduled instant: the unit of "exactly once".

    `key` is stable text to make unique per trigger; `nominal` the local time that the schedule names
    (`YYYY-MM-DDTHH:MM`), which differs from `at` where the clock skipped it. `at` is aware and shows the
    zone's local time and offset, with that offset as its fixed `tzinfo`: two times that share a `ZoneInfo`
    compare by their wall clocks, which is wrong in a repeated hour.
    """

    key: str
    at: datetime
    nominal: str


@dataclass(frozen=True, slots=True)
class Schedule:
    """One schedule trigger, as `parse_schedule` admits it.

    `expression` is five normalised fields, or a one-shot's instant; parsing it again gives an equal schedule.
    `fixed_time`: fires once per nominal local time; otherwise it follows elapsed time. One-shots are fixed.
    """

    expression: str
    zone: str
    fixed_time: bool
    one_shot: bool
    _cron: CronFields | None = field(repr=False, compare=False)
    _once: _Due | None = field(repr=False, compare=False)


def parse_schedule(expression: str, zone: str, *, now: datetime) -> Schedule:
    """The schedule that `expression` says, in the IANA zone `zone`.

    Takes five cron fields, `@hourly @daily @midnight @weekly @monthly @yearly @annually`, the presets `hourly
    daily weekdays weekly` (9:00, Mondays), and a one-shot instant: `2026-12-01T09:00` in the zone, or with an
    offset. A one-shot in a repeated hour is the first of the two unless its offset says otherwise.

    Raises `BadDocument`, naming the field, for what can never fire or says something else than it seems to,
    and for a one-shot not after `now`.
    """
    schedule = restore_schedule(expression, zone)
    if schedule._once is not None:
        slot = _slot(schedule, schedule._once)
        if not slot.at.isoformat().startswith(slot.nominal):
            raise BadDocument(
                "bad_schedule",
                f"The schedule's time {schedule.expression} does not exist in {zone}: the clock skips it.",
                hint=f"choose another: the clock goes on at {slot.at.isoformat(timespec='minutes')}",
            )
        if slot.at <= now:
            raise BadDocument(
                "bad_schedule",
                f"The schedule's time {schedule.expression} ({zone}) is in the past.",
                hint="give an instant that is still to come, or run the routine now",
            )
    return schedule


def restore_schedule(expression: str, zone: str) -> Schedule:
    """A schedule that was admitted before, as `parse_schedule`, but a one-shot may have passed meanwhile.

    A daemon that was down over a one-shot must still be able to load and report it.
    """
    _check_zone(zone)
    if len(expression) > LONGEST_EXPRESSION:
        raise BadDocument(
            "bad_schedule",
            f"The schedule is {len(expression)} characters long, over the {LONGEST_EXPRESSION} allowed.",
            hint="use two triggers, or ranges and steps in place of long lists",
        )
    text = expression.strip().replace("\t", " ")
    if not text.isascii() or not text.isprintable():
        raise BadDocument(
            "bad_schedule",
            f"The schedule {text!a} holds characters other than plain ASCII.",
            hint="write digits as 0 to 9 and separate fields with spaces",
        )
    if _DATE.fullmatch(text):
        return _one_shot(text, zone)
    line = SHORTHANDS.get(text.lower(), text)
    if line.startswith("@"):
        raise BadDocument(
            "bad_schedule",
            f"The schedule {text!r} is no shorthand known here.",
            hint="use @hourly, @daily, @weekly, @monthly, @yearly or five fields",
        )
    cron = parse_cron(line)
    return Schedule(cron.text, zone, cron.fixed_time, one_shot=False, _cron=cron, _once=None)


def is_dated(text: str) -> bool:
    """Whether a schedule's text begins with a date, and so is to be an instant and no cron line."""
    return _DATE.fullmatch(text.strip()) is not None


def next_slots(schedule: Schedule, after: datetime, count: int) -> list[Slot]:
    """The next `count` slots due strictly after the aware time `after`, in order of time; fewer if it ends.

    Where the clock skips several nominal times of a fixed-time schedule, several slots share one instant.
    """
    if schedule._cron is None:
        return slots_between(schedule, after, datetime.max.replace(tzinfo=UTC), count)[0]
    found: list[_Due] = []
    ceiling = date.max
    for day in schedule._cron.dates_from(local_date(schedule, after) - _MARGIN) if count > 0 else ():
        if day > ceiling:
            break
        found += [entry for entry in _due_on(schedule, day, after=after) if entry[0] > after]
        if len(found) >= count and ceiling == date.max:
            # A clock set back over midnight brings slots of the next date before the last ones of this.
            ceiling = day if _steady_offset(schedule, day) is not None else day + _DAY
    return [_slot(schedule, entry) for entry in sorted(found)[:count]]


def slots_between(
    schedule: Schedule, after: datetime, until: datetime, limit: int
) -> tuple[list[Slot], int]:
    """The newest `limit` slots due in (`after`, `until`], in order of time, and the exact number of all.

    The work grows with the number of dates, not of slots: whole dates are counted by arithmetic.
    """
    if until <= after:
        return [], 0
    if schedule._cron is None:
        once = schedule._once
        due = [once] if once is not None and after < once[0] <= until else []
        return [_slot(schedule, entry) for entry in due[: max(limit, 0)]], len(due)
    first, last = local_date(schedule, after) - _MARGIN, local_date(schedule, until) + _MARGIN
    newest: list[_Due] = []
    total, floor = 0, date.max if limit <= 0 else date.min
    for day in schedule._cron.dates_back_from(last):
        if day < first:
            break
        if day < floor and first + 2 * _MARGIN <= day <= last - 2 * _MARGIN:
            total += _count_on(schedule, day)
            continue
        due = [entry for entry in _due_on(schedule, day, after=after) if after < entry[0] <= until]
        total += len(due)
        newest += due
        if len(newest) >= limit and floor == date.min:
            floor = day - _DAY
    newest.sort()
    return [_slot(schedule, entry) for entry in newest[max(len(newest) - max(limit, 0), 0) :]], total


def _check_zone(key: str) -> None:
    if _ZONE_KEY.fullmatch(key) and len(key) <= 64:
        try:
            ZoneInfo(key)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            pass
        else:
            return
    raise BadDocument(
        "unknown_zone",
        f"The schedule's time zone {key[:64]!a} is not known.",
        hint=f"use an IANA name: did you mean {_nearest_zone(key[:64])}?",
    )


def _nearest_zone(key: str) -> str:
    wanted = key.strip().lower().replace(" ", "_")
    known = {name.lower(): name for name in sorted(available_timezones())}
    # The city alone is what people type, and as text it is far from `Area/City`.
    by_city = {lowered.rpartition("/")[2]: name for lowered, name in known.items() if "/" in lowered}
    names = by_city | known
    return names[get_close_matches(wanted, names, n=1, cutoff=0.0)[0]]


def _one_shot(text: str, zone: str) -> Schedule:
    bad = BadDocument(
        "bad_schedule",
        f"The schedule {text!r} is no instant.",
        hint="write a one-shot as 2026-12-01T09:00, with an offset (+01:00, Z) or in the routine's time zone",
    )
    if not _MOMENT.fullmatch(text):
        raise bad
    try:
        moment = datetime.fromisoformat(text.upper().replace(" ", "T"))
    except ValueError:
        raise bad from None
    if not FIRST_YEAR < moment.year < LAST_YEAR:
        raise bad
    local = ZoneInfo(zone)
    if moment.tzinfo is None:
        due, wall = _instants(local, moment, fixed_time=True)[0], moment
        expression = wall.isoformat(timespec="seconds" if wall.second else "minutes")
    else:
        due = moment.astimezone(UTC)
        wall = due.astimezone(local).replace(tzinfo=None, fold=0)
        expression = due.astimezone(local).isoformat(timespec="seconds" if wall.second else "minutes")
    return Schedule(expression, zone, fixed_time=True, one_shot=True, _cron=None, _once=(due, wall))


def _slot(schedule: Schedule, entry: _Due) -> Slot:
    due, wall = entry
    local = due.astimezone(ZoneInfo(schedule.zone))
    at = local.replace(tzinfo=timezone(local.utcoffset() or timedelta()), fold=0)
    nominal = wall.isoformat(timespec="seconds" if wall.second else "minutes")
    if schedule.one_shot:
        return Slot(f"at|{schedule.expression}|{schedule.zone}", at, nominal)
    named = nominal if schedule.fixed_time else at.isoformat(timespec="minutes")
    return Slot(f"{schedule.expression}|{schedule.zone}|{named}", at, nominal)


def local_date(schedule: Schedule, moment: datetime) -> date:
    """The date in the schedule's zone at an aware time."""
    return moment.astimezone(ZoneInfo(schedule.zone)).date()


def _due_on(schedule: Schedule, day: date, *, after: datetime) -> list[_Due]:
    """Every slot that the local date `day` names, in order of time; none if all lie at or before `after`."""
    cron = schedule._cron
    if cron is None:
        return []
    offset = _steady_offset(schedule, day)
    midnight = datetime.combine(day, time())
    if offset is not None and (midnight + _DAY).replace(tzinfo=UTC) - offset <= after:
        return []
    walls = [midnight + timedelta(hours=hour, minutes=at) for hour in cron.hours for at in cron.minutes]
    if offset is not None:
        return [(wall.replace(tzinfo=UTC) - offset, wall) for wall in walls]
    zone, fixed = ZoneInfo(schedule.zone), schedule.fixed_time
    return sorted((due, wall) for wall in walls for due in _instants(zone, wall, fixed_time=fixed))


def _count_on(schedule: Schedule, day: date) -> int:
    cron = schedule._cron
    if cron is not None and (schedule.fixed_time or _steady_offset(schedule, day) is not None):
        return len(cron.hours) * len(cron.minutes)
    return len(_due_on(schedule, day, after=datetime.min.replace(tzinfo=UTC)))


def _steady_offset(schedule: Schedule, day: date) -> timedelta | None:
    """The offset of a date on which the clock is not set, else None.

    Both folds of both midnights are asked: they differ inside and at the edge of a skipped or repeated span.
    """
    zone = ZoneInfo(schedule.zone)
    start = datetime.combine(day, time(), zone)
    edges = (start, start + _DAY / 2, start + _DAY)
    offsets = {edge.replace(fold=fold).utcoffset() for edge in edges for fold in (0, 1)}
    return offsets.pop() if len(offsets) == 1 else None


def _instants(zone: ZoneInfo, wall: datetime, *, fixed_time: bool) -> tuple[datetime, ...]:
    """The UTC instants at which a schedule that names the local time `wall` is due.

    Fixed-time schedules take the first of two and, for a skipped time, the instant at which the gap ends;
    the others take every instant at which the clock really shows `wall`.
    """
    before = wall.replace(tzinfo=zone, fold=0).utcoffset() or timedelta()
    behind = wall.replace(tzinfo=zone, fold=1).utcoffset() or timedelta()
    earlier, later = sorted((wall.replace(tzinfo=UTC) - before, wall.replace(tzinfo=UTC) - behind))
    if before >= behind:
        return (earlier,) if fixed_time or before == behind else (earlier, later)
    return (_gap_end(zone, earlier, later),) if fixed_time else ()


def _gap_end(zone: ZoneInfo, low: datetime, high: datetime) -> datetime:
    """The first second after `low`, up to `high`, at which the zone's offset has changed."""
    before = low.astimezone(zone).utcoffset()
    first, end = 0, int((high - low).total_seconds())
    while end - first > 1:
        middle = (first + end) // 2
        changed = (low + timedelta(seconds=middle)).astimezone(zone).utcoffset() != before
        first, end = (first, middle) if changed else (middle, end)
    return low + timedelta(seconds=end)
