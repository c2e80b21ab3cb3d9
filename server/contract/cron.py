"""Cron fields: the grammar that is accepted, the sentences that refuse the rest, and the dates they name."""

from __future__ import annotations

import platform
import re
import sys
from calendar import monthrange
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Final

from server.contract.refusals import BadDocument

# Importing croniter asks `platform.architecture()` whether this Python has 32 bits, and that runs the program
# `file`, whichever PATH finds: a process more, and 10 ms later, before a daemon can say that it is up.
_asked = platform.architecture
platform.architecture = lambda *_, **__: ("64bit" if sys.maxsize > 2**32 else "32bit", "")
try:
    from croniter import croniter
finally:
    platform.architecture = _asked

FIRST_YEAR: Final = 1900
LAST_YEAR: Final = 9000

# What Quartz, Jenkins and others add to cron. Names (JUL, WED) are looked up before this is asked.
_EXTENSION = re.compile(r".*[#?~()].*|[0-9]*(?:L|W|LW|H|R)[0-9]*", re.IGNORECASE)
_NUMBER = re.compile(r"[0-9]+")
_LONGEST_MONTH_DAYS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()

    def value(self, text: str) -> int:
        """The number that `text` (digits or a name) stands for; `BadDocument` on anything else."""
        if _NUMBER.fullmatch(text):
            number = int(text)
            if not self.low <= number <= self.high:
                raise self.refusal(
                    f"has {text[:20]}, which is out of range", f"use {self.low} to {self.high}"
                )
            return number
        if text.upper() in self.names:
            return self.names.index(text.upper()) + self.low
        if _EXTENSION.fullmatch(text):
            raise self.refusal(
                f"uses {text!r}, an extension of other schedulers",
                "use numbers, names, lists, ranges and steps: `*`, `5`, `1,15`, `1-5`, `*/10`",
            )
        raise self.refusal(f"has {text!r}, which it does not take", self.allowed())

    def allowed(self) -> str:
        """A hint that says which values this field takes."""
        names = f" or {self.names[0]} to {self.names[-1]}" if self.names else ""
        return f"use {self.low} to {self.high}{names}, as `*`, a list, a range or a step"

    def refusal(self, problem: str, hint: str) -> BadDocument:
        """A refusal whose sentence names this field."""
        return BadDocument("bad_schedule", f"The schedule's {self.name} field {problem}.", hint=hint)


_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_MINUTE = _Field("minute", 0, 59)
_HOUR = _Field("hour", 0, 23)
_DAY = _Field("day of month", 1, 31)
_MONTH = _Field("month", 1, 12, _MONTHS)
_WEEKDAY = _Field("day of week", 0, 7, _WEEKDAYS)
_FIELDS = (_MINUTE, _HOUR, _DAY, _MONTH, _WEEKDAY)


@dataclass(frozen=True, slots=True)
class CronFields:
    """The five fields of a cron line as values.

    `text` is the line with single spaces, numbers for names and no leading zeros; parsing it again gives the
    same fields. `weekdays` counts from Sunday = 0. `either_day`: day of month and day of week are both
    restricted, so a date that matches one of the two is enough. `fixed_time`: minute and hour hold neither
    `*` nor `/` (DECISIONS "Store").
    """

    text: str
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool
    fixed_time: bool

    def fires_on(self, day: date) -> bool:
        """Whether `day`, a date of the routine's zone, is one the fields name."""
        if day.month not in self.months:
            return False
        by_day, by_weekday = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return (by_day or by_weekday) if self.either_day else (by_day and by_weekday)

    def dates_from(self, first: date) -> Iterator[date]:
        """The matching dates from `first` on, ascending, until the end of year 9000."""
        year, month = first.year, first.month
        while year <= LAST_YEAR:
            for day in self._dates_in(year, month):
                if day >= first:
                    yield day
            year, month = (year, month + 1) if month < 12 else (year + 1, 1)

    def dates_back_from(self, last: date) -> Iterator[date]:
        """The matching dates from `last` back, descending, until the start of year 1900."""
        year, month = last.year, last.month
        while year >= FIRST_YEAR:
            for day in reversed(self._dates_in(year, month)):
                if day <= last:
                    yield day
            year, month = (year, month - 1) if month > 1 else (year - 1, 12)

    def _dates_in(self, year: int, month: int) -> list[date]:
        if month not in self.months:
            return []
        length = monthrange(year, month)[1]
        return [day for number in range(1, length + 1) if self.fires_on(day := date(year, month, number))]


def parse_cron(line: str) -> CronFields:
    """The fields of a five-field cron line.

    Raises `BadDocument` naming the field for a wrong count, a value out of range, a reversed range, a zero or
    too long step, an extension (`L W # ?`), or days that never come (DESIGN §6).
    """
    parts = line.split()
    if len(parts) in (6, 7):
        raise BadDocument(
            "bad_schedule",
            f"The schedule has {len(parts)} fields, and fields for seconds or years are not taken.",
            hint="write five: minute, hour, day of month, month, day of week",
        )
    if len(parts) != 5:
        raise BadDocument(
            "bad_schedule",
            f"The schedule has {len(parts)} field{'' if len(parts) == 1 else 's'} where five are needed.",
            hint="write minute, hour, day of month, month, day of week, such as `0 9 * * 1-5`",
        )
    checked = [_checked(field, part) for field, part in zip(_FIELDS, parts, strict=True)]
    texts, plain = zip(*checked, strict=True)
    values = _expanded(" ".join(plain))
    fields = CronFields(
        text=" ".join(texts),
        minutes=values[0],
        hours=values[1],
        days=frozenset(values[2]),
        months=frozenset(values[3]),
        weekdays=frozenset(values[4]),
        # crontab(5) says OR when both are restricted. Cron's code, and cronsim after it, takes `*/13` for
        # unrestricted too because it begins with a star; we follow the manual page, as croniter does.
        either_day=texts[2] != "*" and texts[4] != "*",
        fixed_time=not set("*/") & set(texts[0] + texts[1]),
    )
    _refuse_never(fields, texts[4])
    return fields


def _checked(field: _Field, text: str) -> tuple[str, str]:
    """A field's normalised text, and the same as croniter must be given it to read it rightly."""
    items = text.split(",")
    if "" in items:
        raise field.refusal(f"has an empty place in its list {text!r}", "separate values with one comma")
    pairs = [_checked_item(field, item) for item in items]
    if len(pairs) > 1 and any(normalised == "*" for normalised, _ in pairs):
        raise field.refusal(f"has `*` inside the list {text!r}", "let `*` stand alone: it means every value")
    return ",".join(pair[0] for pair in pairs), ",".join(pair[1] for pair in pairs)


def _checked_item(field: _Field, item: str) -> tuple[str, str]:
    body, slash, step_text = item.partition("/")
    step = _checked_step(field, step_text) if slash else 1
    suffix = f"/{step}" if slash else ""
    if body == "*":
        text = "*" if step == 1 else f"*/{step}"
        return text, text
    if body.count("-") > 1:
        raise field.refusal(f"has {item!r}, which is no range", field.allowed())
    low_text, dash, high_text = body.partition("-")
    low = field.value(low_text)
    # A step after one value runs to the field's end; Sunday's second number 7 does not lengthen the week.
    open_end = max(low, 6) if field is _WEEKDAY else field.high
    high = field.value(high_text) if dash else (open_end if slash else low)
    if high < low:
        raise field.refusal(f"has the reversed range {body!r}", _unreversed(field, low, high))
    text = f"{low}-{high}{suffix}" if dash else f"{low}{suffix}"
    # croniter reads `9-9` as the whole cycle and `7/2` as `0/2`: a range that holds one value goes in as it.
    plain = f"{low}" if low + step > high else f"{low}-{high}/{step}"
    return ("0" if field is _WEEKDAY and text == "7" else text), plain


def _checked_step(field: _Field, text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise field.refusal(f"has the step {text!r}, which is no number", "write a step as in `*/10`")
    step, most = int(text), 7 if field is _WEEKDAY else field.high - field.low + 1
    if step == 0:
        raise field.refusal("has a step of zero", "write a step of at least 1, as in `*/10`")
    if step > most:
        raise field.refusal(
            f"has the step {text[:20]}, which is out of range",
            f"use a step of at most {most}; a longer pause needs the next field or a list of times",
        )
    return step


def _unreversed(field: _Field, low: int, high: int) -> str:
    if field is _WEEKDAY and high == 0:
        return f"for a range that ends on Sunday write `{low}-7`"
    top = 6 if field is _WEEKDAY else field.high
    return f"write it in two parts: `{low}-{top},{field.low}-{high}`"


def _expanded(line: str) -> list[tuple[int, ...]]:
    """The sorted values of each field, as croniter expands the checked line."""
    expanded, _ = croniter.expand(line)
    whole = [range(field.low, (6 if field is _WEEKDAY else field.high) + 1) for field in _FIELDS]
    return [
        tuple(sorted({int(value) for value in (every if values == ["*"] else values)}))
        for every, values in zip(whole, expanded, strict=True)
    ]


def _refuse_never(fields: CronFields, weekday_text: str) -> None:
    if weekday_text != "*":
        return
    longest = max(_LONGEST_MONTH_DAYS[month - 1] for month in fields.months)
    if min(fields.days) > longest:
        raise _DAY.refusal(
            f"names day {min(fields.days)}, which its months never have, so it never fires",
            f"use a day up to {longest}, or other months",
        )
