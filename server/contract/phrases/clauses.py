"""The clauses of a phrase that say how often and at which times: each takes its tokens or leaves them."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from server.contract.phrases.cursor import Cursor
from server.contract.phrases.draft import Clock, Draft, Variant
from server.contract.phrases.times import neighbours
from server.contract.phrases.words import FREQUENCIES, PARTS, WEEKDAY_SETS

_TIMES_WORDS: Final = {"once": 1, "twice": 2, "thrice": 3}
DETERMINERS: Final = ("the", "each", "every")
_PARTS_OF_AN_HOUR: Final = {
    ("half", "hour"): 30, ("half", "an", "hour"): 30,
    ("quarter", "hour"): 15, ("quarter", "of", "an", "hour"): 15,
}  # fmt: skip


def on(weekdays: frozenset[int] | set[int] = frozenset(), days: set[int] | None = None) -> Variant:
    """The draft on other days, as a closest reading."""
    return lambda draft: draft.on(weekdays, days or ())


def often(unit: str) -> Variant:
    """The draft every `unit`, as a closest reading."""
    return lambda draft: draft.on(often=unit)


def each(number: int, unit: str) -> Variant:
    """The draft every so many minutes or hours, as a closest reading."""
    return lambda draft: draft.each(number, unit)


def every(cursor: Cursor) -> bool:
    """`every 2 hours`, `each weekday`, `every other day`, `every half hour`, `every quarter`."""
    if cursor.word() not in ("every", "each"):
        return False
    following = tuple(cursor.word(ahead) for ahead in range(1, 5))
    for words, minutes in _PARTS_OF_AN_HOUR.items():
        if following[: len(words)] == words:
            cursor.place += 1 + len(words)
            return pause(cursor, minutes, "minute")
    if following[:2] == ("leap", "year"):
        cursor.place += 3
        cursor.draft.leap = True
        return pause(cursor, 1, "year")
    if cursor.peek(1).kind == "ordinal" and (cursor.word(3) == "of" or cursor.peek(1).values == (1,)):
        # `every first Monday`, `every 3rd day of the month`: a day of the month, for its own clause.
        cursor.place += 1
        return True
    number, length = _how_many(cursor)
    if unit := cursor.unit(length):
        cursor.place += length + 1
        return pause(cursor, number, unit)
    if weekdays := weekdays_at(cursor, length):
        if number > 1:
            cursor.cannot("cron cannot count weeks", on(weekdays), on(days={1, 15}))
        cursor.place += length
        return True
    if following[0] == "second":
        cursor.place += 2
        return cursor.cannot("a schedule has no seconds", each(1, "minute"))
    if part := PARTS.get(following[0]):
        cursor.place += 2
        return say_part(cursor, part) and pause(cursor, 1, "day")
    if cursor.month(1) or cursor.peek(1).kind == "ordinal" or following[0] in ("working", "business"):
        cursor.place += 1
        return True
    return False


def _how_many(cursor: Cursor) -> tuple[int, int]:
    """The number after `every`, 1 if none is said, and how many tokens it takes with it."""
    after = cursor.peek(1)
    if after.text == "other":
        return 2, 2
    ordinal = after.kind == "ordinal" and (cursor.unit(2) or weekdays_at(cursor, 2))
    return (after.values[0], 2) if after.kind == "number" or ordinal else (1, 1)


def weekdays_at(cursor: Cursor, ahead: int) -> frozenset[int]:
    """The weekdays that one word names: `monday`, `weekends`; empty for any other word."""
    day = cursor.weekday(ahead)
    return WEEKDAY_SETS.get(cursor.word(ahead), frozenset()) if day is None else frozenset({day})


def frequency(cursor: Cursor) -> bool:
    """`daily`, `weekly`, `nightly`, `half-hourly`; what counts weeks or could mean two things is refused."""
    if cursor.take("half", "hourly"):
        return pause(cursor, 30, "minute")
    if cursor.take("nightly"):
        return say_part(cursor, "night") and pause(cursor, 1, "day")
    named = FREQUENCIES.get(cursor.word())
    if named is None:
        return False
    word = cursor.take_any(*FREQUENCIES)
    if word == "bimonthly":
        return cursor.cannot("`bimonthly` means two things", on(days={1, 15}), _monthly(2))
    return pause(cursor, *named)


def count(cursor: Cursor) -> bool:
    """`twice a day`, `3 times per week`, `once daily`; also `once` alone, which needs a date."""
    number, length = _TIMES_WORDS.get(cursor.word(), 0), 1
    if cursor.peek().kind == "number" and cursor.word(1) == "times":
        number, length = cursor.peek().values[0], 2
    if not number:
        return False
    named = FREQUENCIES.get(cursor.word(length))
    apiece = cursor.word(length) in ("a", "an", "per", "each", "every")
    unit = cursor.unit(length + 1) if apiece else None
    if named is not None and named[0] == 1:
        unit, through = named[1], length + 1
    elif unit is not None:
        through = length + 2
    elif apiece and weekdays_at(cursor, length + 1):
        unit, through = "day", length
    elif number == 1:
        cursor.place += length
        cursor.draft.once = not apiece
        return True
    else:
        return False
    cursor.place += through
    if cursor.draft.count is not None:
        return cursor.cannot("it says twice how many times", Draft.sayable)
    cursor.draft.count = (number, unit)
    return True


def pause(cursor: Cursor, number: int, unit: str) -> bool:
    """Note `every NUMBER UNIT`, or why cron cannot say it."""
    if number == 0:
        return cursor.cannot(f"every 0 {unit}s is no pause", often("day"))
    if unit in ("minute", "hour"):
        if cursor.draft.every not in (None, (number, unit)):
            return cursor.cannot("it says twice how often", Draft.sayable, each(number, unit))
        cursor.draft.every = (number, unit)
        return True
    if unit == "quarter":
        number, unit = 3 * number, "month"
    if unit == "second":
        return cursor.cannot("a schedule has no seconds", each(1, "minute"))
    if unit == "month" and number > 1:
        return _months_apart(cursor, number)
    if number > 1:
        thrice = on({1, 3, 5}) if number == 2 else on({1})
        closest = {
            "day": (often("day"), thrice),
            "week": (on({1}), on(days={1, 15})),
            "year": (_frequent("year"),),
        }
        return cursor.cannot(
            f"cron cannot count {number} {unit}s on from one run to the next", *closest[unit]
        )
    if cursor.draft.often not in (None, unit):
        return cursor.cannot("it says twice how often", Draft.sayable, _frequent(unit))
    cursor.draft.often, cursor.draft.daily_at = unit, len(cursor.draft.items)
    return True


def _frequent(unit: str) -> Variant:
    return lambda draft: replace(draft, often=unit, unsayable=None)


def _monthly(number: int) -> Variant:
    def apart(draft: Draft) -> Draft:
        plain = replace(draft, unsayable=None, often="months")
        plain.items = tuple(item for item in draft.items if item[0] != "month")
        plain.add("month", *range(1, 13, number))
        return plain

    return apart


def _months_apart(cursor: Cursor, number: int) -> bool:
    if number > 12 or 12 % number:
        near = neighbours(min(number, 12), 12)
        return cursor.cannot(
            f"cron cannot say every {number} months evenly", *(_monthly(one) for one in near)
        )
    if cursor.draft.often is not None or cursor.draft.numbers("month"):
        return cursor.cannot("it says twice in which months", _monthly(number))
    cursor.draft.often = "months"
    cursor.draft.items = (*(("month", month) for month in range(1, 13, number)), *cursor.draft.items)
    return True


def say_part(cursor: Cursor, part: str) -> bool:
    """Note the part of the day meant."""
    if cursor.draft.part not in (None, part):
        cursor.cannot("it names two parts of the day", Draft.sayable)
    cursor.draft.part = part
    return True


def part_of_day(cursor: Cursor) -> bool:
    """`in the morning`, `at night`, `Monday evenings`."""
    length = 2 if cursor.word() == "in" and cursor.word(1) == "the" else 0
    part = PARTS.get(cursor.word(length))
    if part is None:
        return False
    cursor.place += length + 1
    return say_part(cursor, part)


def span(cursor: Cursor) -> bool:
    """`between 9 and 17`, `from 9:00 to 16:30`, `9am-5pm`, and `the next day` after it."""
    opened = cursor.word() in ("between", "from")
    first = cursor.clock(int(opened))
    if first is None or (first[0].bare and not (opened or _hour_may_follow(cursor))):
        return False
    joint = int(opened) + first[1]
    if not (cursor.is_connector(joint) or (cursor.word() == "between" and cursor.word(joint) == "and")):
        return False
    second = cursor.clock(joint + 1)
    if second is None:
        return False
    cursor.place += joint + 1 + second[1]
    overnight = cursor.take("the", "next", "day")
    if cursor.draft.span is not None:
        return cursor.cannot("it names two spans of the day", Draft.sayable)
    cursor.draft.span, cursor.draft.overnight = (first[0], second[0]), overnight
    return True


def past_hours(cursor: Cursor) -> bool:
    """`minutes 0 and 30 past hours 9 to 16`: the fields of a cron line as numbers."""
    if cursor.unit(0) != "minute":
        return False
    minutes = _numbers(cursor, 1, 59)
    if minutes is None or cursor.word(minutes[1]) != "past" or cursor.unit(minutes[1] + 1) != "hour":
        return False
    hours = _numbers(cursor, minutes[1] + 2, 23)
    if hours is None:
        return False
    cursor.place += hours[1]
    if cursor.draft.past is not None:
        return cursor.cannot("it says its times twice", Draft.sayable)
    cursor.draft.past = (minutes[0], hours[0])
    return True


def _numbers(cursor: Cursor, ahead: int, most: int) -> tuple[frozenset[int], int] | None:
    """A list of numbers and ranges up to `most`, and the place after it."""
    found: set[int] = set()
    for _ in range(most + 1):
        if cursor.peek(ahead).kind != "number" or cursor.peek(ahead).values[0] > most:
            break
        low = high = cursor.peek(ahead).values[0]
        ahead += 1
        if cursor.word(ahead) == "to" and cursor.peek(ahead + 1).kind == "number":
            high = cursor.peek(ahead + 1).values[0]
            ahead += 2
        if not low <= high <= most:
            return None
        found |= set(range(low, high + 1))
        apart = cursor.separated(ahead)
        if not apart or cursor.peek(ahead + apart).kind != "number":
            break
        ahead += apart
    return (frozenset(found), ahead) if found else None


def end_of(cursor: Cursor, *units: str) -> str:
    """Go past `end of the UNIT` for one of the units and tell which."""
    determined = int(cursor.word(2) in DETERMINERS)
    unit = cursor.word(2 + determined)
    if (cursor.word(), cursor.word(1)) != ("end", "of") or unit not in units:
        return ""
    cursor.place += 3 + determined
    return unit


def marks(cursor: Cursor) -> bool:
    """`:15`, `quarter past the hour`, `20 minutes past each hour`, `on the hour`: minutes of each hour."""
    if cursor.peek().kind == "mark":
        cursor.draft.marks |= set(cursor.peek().values)
        cursor.place += 1
        return True
    if cursor.take("on", "the", "hour"):
        cursor.draft.marks |= {0}
        return True
    token = cursor.peek()
    minutes = {"half": 30, "quarter": 15}.get(token.text, token.values[0] if token.kind == "number" else 60)
    joint = 2 if cursor.unit(1) == "minute" else 1
    if minutes > 59 or cursor.word(joint) != "past" or cursor.clock(joint + 1) is not None:
        return False
    of_hour = cursor.word(joint + 1) in DETERMINERS and cursor.unit(joint + 2) == "hour"
    # `every day at 9 past` is no minute of each hour, but an hour that somebody did not finish.
    if not (of_hour or joint == 2 or (cursor.draft.every or ("", ""))[1] == "hour"):
        return False
    cursor.draft.marks |= {minutes}
    cursor.place += joint + 1 + 2 * of_hour
    return True


def time(cursor: Cursor) -> bool:
    """`9am`, `17:30`, `noon`, `half past 9`, `end of day`, and a bare `9` where it can only be an hour."""
    if end_of(cursor, "day") or cursor.take("eod"):
        return cursor.say("time", Clock(17), through=0)
    found = cursor.clock(0)
    if found is None or (found[0].bare and not _hour_may_follow(cursor)):
        return False
    return cursor.say("time", found[0], through=found[1])


def _hour_may_follow(cursor: Cursor) -> bool:
    """Whether a bare number here is an hour: after `at` or another time, not after a date."""
    before = cursor.peek(-1)
    if before.text == "at" or before.kind == "clock":
        return True
    listed = cursor.peek(1).kind == "comma" or cursor.word(1) == "and"
    if listed and cursor.peek(2).kind == "ordinal":
        return False
    return before.text not in ("on", "the", "day") and cursor.last not in ("monthday", "month")
