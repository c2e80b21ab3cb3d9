"""An admitted schedule said in plain English, in words that `read_phrase` takes back wherever it can."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from server.contract.cron import CronFields, parse_cron
from server.contract.phrases.words import MONTH_NAMES, WEEKDAY_NAMES, WORKING_WEEK
from server.contract.schedule import Schedule, restore_schedule

# As many times of day as a sentence lists before it counts minutes and hours.
MOST_TIMES: Final = 12
_SHORTEST_RUN: Final = 4
_ALL_DAYS: Final = frozenset(range(1, 32))
_ALL_MONTHS: Final = frozenset(range(1, 13))
_ALL_WEEKDAYS: Final = frozenset(range(7))


def describe(expression: str, zone: str) -> str:
    """An admitted cron line, preset or one-shot in English: `every weekday at 9:00, Europe/Berlin`.

    Every instant it names is said and none besides, to the minute; times are on the 24-hour clock. A line
    that has no short form gets a longer, still exact sentence. Raises `BadDocument` as `restore_schedule`.
    """
    return f"{said(restore_schedule(expression, zone))}, {zone}"


def said(schedule: Schedule) -> str:
    """`describe` without the zone."""
    if schedule.one_shot:
        return _once(schedule)
    fields = parse_cron(schedule.expression)
    every_day = _fires_every_day(fields)
    if fields.fixed_time:
        return _fixed(fields, every_day)
    return f"{_interval(fields, every_day)}{_interval_days(fields, every_day)}"


def clock(hour: int, minute: int) -> str:
    """A time of day as it is said here: `9:05`."""
    return f"{hour}:{minute:02}"


def listed(words: Iterable[str], last: str = "and") -> str:
    """`a, b and c`."""
    *head, tail = words
    return f"{', '.join(head)} {last} {tail}" if head else tail


def ordinal(number: int) -> str:
    """`1st`, `2nd`, `11th`."""
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def runs_of(values: Sequence[int]) -> list[tuple[int, int]]:
    """The runs of at least three values that follow each other, and every other value as a run of its own."""
    found: list[tuple[int, int]] = []
    start = 0
    for place, value in enumerate(values):
        if place + 1 < len(values) and values[place + 1] == value + 1:
            continue
        run = values[start : place + 1]
        found += [(run[0], run[-1])] if len(run) > 2 else [(one, one) for one in run]
        start = place + 1
    return found


def weekday_names(weekdays: Iterable[int]) -> str:
    """`Monday to Thursday`, `Saturday and Sunday`: weekdays in the order of a week that begins on Monday."""
    return _runs(sorted((day - 1) % 7 for day in weekdays), [*WEEKDAY_NAMES[1:], WEEKDAY_NAMES[0]])


def _once(schedule: Schedule) -> str:
    moment = datetime.fromisoformat(schedule.expression)
    wall = moment.replace(tzinfo=None)
    seconds = f":{wall.second:02}" if wall.second else ""
    # An offset is said only where the local time alone would be another instant (the hour that comes twice).
    plain = wall.replace(tzinfo=ZoneInfo(schedule.zone))
    offset = ""
    if moment.tzinfo is not None and plain.utcoffset() != moment.utcoffset():
        offset = f" {moment.isoformat()[-6:]}"
    day = f"{WEEKDAY_NAMES[wall.isoweekday() % 7]} {wall.date().isoformat()}"
    return f"once, on {day} at {clock(wall.hour, wall.minute)}{seconds}{offset}"


def _fires_every_day(fields: CronFields) -> bool:
    by_day, by_weekday = fields.days == _ALL_DAYS, fields.weekdays == _ALL_WEEKDAYS
    return (by_day or by_weekday) if fields.either_day else (by_day and by_weekday)


def _fixed(fields: CronFields, every_day: bool) -> str:
    minutes, hours = fields.minutes, fields.hours
    run = _hour_run(hours, wrap=every_day and fields.months == _ALL_MONTHS)
    if len(minutes) == 1 and run is not None and len(hours) >= _SHORTEST_RUN:
        words = f"every hour {_span(run, minutes[0], minutes[0])}"
        return f"{words}{_interval_days(fields, every_day)}"
    if len(minutes) * len(hours) <= MOST_TIMES:
        times = listed(clock(hour, minute) for hour in hours for minute in minutes)
    else:
        times = f"{_counted('minute', minutes)} past {_counted('hour', hours)}"
    return f"{_days(fields, every_day)} at {times}"


def _interval(fields: CronFields, every_day: bool) -> str:
    """How often a schedule that follows elapsed time fires within the dates it names."""
    minutes, hours = fields.minutes, fields.hours
    if len(hours) == 24:
        return _through_all_hours(minutes)
    step = _even_step(minutes)
    run = _hour_run(hours, wrap=every_day and fields.months == _ALL_MONTHS)
    if step is not None and run is not None:
        often = "every minute" if step == 1 else f"every {step} minutes"
        return f"{often} {_span(run, minutes[0], minutes[-1])}"
    pause = hours[1] - hours[0] if len(hours) > 1 else 1
    if len(minutes) == 1 and pause > 1 and list(hours) == list(range(hours[0], hours[-1] + 1, pause)):
        at = f" at :{minutes[0]:02}" if minutes[0] else ""
        if hours[0] == 0 and hours[-1] + pause == 24:
            return f"every {pause} hours{at}"
        return f"every {pause} hours {_span((hours[0], hours[-1]), minutes[0], minutes[0])}"
    return f"whenever the clock shows {_counted('minute', minutes)} of {_counted('hour', hours)}"


def _span(run: tuple[int, int], first_minute: int, last_minute: int) -> str:
    over_midnight = " the next day" if run[1] < run[0] else ""
    return f"from {clock(run[0], first_minute)} to {clock(run[1], last_minute)}{over_midnight}"


def _through_all_hours(minutes: Sequence[int]) -> str:
    step = _even_step(minutes)
    if step is not None and minutes[0] == 0:
        return "every minute" if step == 1 else f"every {step} minutes"
    marks = "" if list(minutes) == [0] else " at " + listed(f":{minute:02}" for minute in minutes)
    return f"every hour{marks}"


def _even_step(minutes: Sequence[int]) -> int | None:
    """The minutes between two firings if they are the same throughout, over the end of the hour too."""
    step = minutes[1] - minutes[0] if len(minutes) > 1 else 60
    even = len(minutes) > 1 and 60 % step == 0 and list(minutes) == list(range(minutes[0], 60, step))
    return step if even and minutes[0] < step else None


def _hour_run(hours: Sequence[int], *, wrap: bool) -> tuple[int, int] | None:
    """The first and last of hours that follow each other, over midnight if `wrap`."""
    starts = [hour for hour in hours if (hour - 1) % 24 not in hours]
    if list(hours) == list(range(hours[0], hours[-1] + 1)):
        return hours[0], hours[-1]
    return (starts[0], (starts[0] + len(hours) - 1) % 24) if wrap and len(starts) == 1 else None


def _days(fields: CronFields, every_day: bool) -> str:
    """The dates, as a sentence about times of day begins."""
    months = _in_months(fields)
    if every_day:
        return f"every day{months}"
    if fields.either_day:
        return _either(fields)
    if fields.days == _ALL_DAYS:
        return f"every {_weekday_words(fields.weekdays)}{months}"
    if len(fields.days) == len(fields.months) == 1:
        [day], [month] = fields.days, fields.months
        year = "leap year" if (day, month) == (29, 2) else "year"
        return f"every {year} on {MONTH_NAMES[month - 1]} {day}"
    return f"on {_dates(fields)}"


def _interval_days(fields: CronFields, every_day: bool) -> str:
    """The dates, as a sentence that says how often ends."""
    months = _in_months(fields)
    if every_day:
        return months
    if fields.either_day:
        return f" {_either(fields)}"
    if fields.days == _ALL_DAYS:
        weekdays = "weekdays" if fields.weekdays == WORKING_WEEK else weekday_names(fields.weekdays)
        return f" on {weekdays}{months}"
    return f" on {_dates(fields)}"


def _in_months(fields: CronFields) -> str:
    if fields.months == _ALL_MONTHS:
        return ""
    one_run = len(runs_of(sorted(fields.months))) == 1 and len(fields.months) > 1
    return f" {'from' if one_run else 'in'} {_month_names(fields.months)}"


def _either(fields: CronFields) -> str:
    months = _in_months(fields)
    of = "" if months else " of every month"
    days = listed(ordinal(day) for day in sorted(fields.days))
    return f"on the {days}{of} or every {_weekday_words(fields.weekdays)}{months}"


def _dates(fields: CronFields) -> str:
    days = f"the {listed(ordinal(day) for day in sorted(fields.days))} of"
    if fields.months != _ALL_MONTHS:
        return f"{days} {_month_names(fields.months)}"
    some = len(fields.days) == 1 and max(fields.days) > 28
    return f"{days} every month{' that has it' if some else ''}"


def _weekday_words(weekdays: frozenset[int]) -> str:
    return "weekday" if weekdays == WORKING_WEEK else weekday_names(weekdays)


def _month_names(months: Iterable[int]) -> str:
    return _runs([month - 1 for month in sorted(months)], MONTH_NAMES)


def _counted(unit: str, values: Sequence[int]) -> str:
    """`minute 5`, `hours 9 to 16 and 20`."""
    ends = runs_of(values)
    items = [str(low) if low == high else f"{low} to {high}" for low, high in ends]
    return f"{unit}{'s' if len(values) > 1 else ''} {listed(items)}"


def _runs(places: Sequence[int], names: Sequence[str]) -> str:
    ends = runs_of(places)
    return listed(names[low] if low == high else f"{names[low]} to {names[high]}" for low, high in ends)
