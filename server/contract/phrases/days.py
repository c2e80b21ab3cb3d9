"""The clauses of a schedule phrase that say on which days and in which zone."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import Final

from server.contract.phrases.clauses import DETERMINERS, end_of, on, pause, say_part, weekdays_at
from server.contract.phrases.cursor import MOST_GUESSED, Cursor
from server.contract.phrases.draft import Draft
from server.contract.phrases.said_back import listed
from server.contract.phrases.words import PARTS, WEEKDAY_NAMES, WORKING_WEEK
from server.contract.phrases.zones import ABBREVIATIONS, MOST_WORDS, nearest_zone, zone_named

_MONTH_LENGTHS: Final = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_LAST_DAY: Final = "cron cannot say the last day of a month, which is the 28th to the 31st"


def working_days(cursor: Cursor) -> bool:
    """`business days`, `working days`, `week days`."""
    if cursor.word() not in ("business", "working", "week") or cursor.unit(1) != "day":
        return False
    return cursor.say("weekday", *sorted(WORKING_WEEK), through=2)


def weekday(cursor: Cursor) -> bool:
    """`Monday`, `Mon-Fri`, `Friday to Monday`, `from Monday to Friday`, `weekends`."""
    opened = int(cursor.word() == "from")
    first = cursor.weekday(opened)
    if first is None:
        days = weekdays_at(cursor, 0)
        return bool(days) and cursor.say("weekday", *sorted(days), through=1)
    last = cursor.weekday(opened + 2) if cursor.is_connector(opened + 1) else None
    if last is None:
        return not opened and cursor.say("weekday", first, through=1)
    run = [(first + ahead) % 7 for ahead in range((last - first) % 7 + 1)]
    return cursor.say("weekday", *run, through=opened + 3)


def month(cursor: Cursor) -> bool:
    """`in January`, `from June to August`, `March 1`, `1 and 15 March`, `December 1, 2026`."""
    if _days_before_month(cursor):
        return True
    opened = int(cursor.word() in ("in", "from", "of"))
    first = cursor.month(opened)
    if first is None:
        return False
    last = cursor.month(opened + 2) if cursor.is_connector(opened + 1) else None
    if last is not None:
        run = [(first + ahead - 1) % 12 + 1 for ahead in range((last - first) % 12 + 1)]
        return cursor.say("month", *run, through=opened + 3)
    if cursor.word() == "from":
        return False
    cursor.say("month", first, through=opened + 1)
    while _is_day(cursor, ahead := cursor.separated(0) if cursor.last == "monthday" else 0):
        cursor.place += ahead
        cursor.say("monthday", cursor.peek().values[0], through=1)
    return _year(cursor)


def _is_day(cursor: Cursor, ahead: int) -> bool:
    token = cursor.peek(ahead)
    between = [cursor.word(place) for place in range(ahead)]
    return token.kind == "number" and 1 <= token.values[0] <= 31 and "at" not in between


def _days_before_month(cursor: Cursor) -> bool:
    if cursor.peek(-1).text == "at":
        return False
    days: list[int] = []
    ahead = 0
    while _is_day(cursor, ahead) and len(days) < 31:
        days.append(cursor.peek(ahead).values[0])
        ahead += 1
        apart = cursor.separated(ahead)
        if not apart or not _is_day(cursor, ahead + apart):
            break
        ahead += apart
    if not days or cursor.month(ahead) is None:
        return False
    return cursor.say("monthday", *days, through=ahead)


def _year(cursor: Cursor) -> bool:
    """A year after a month and one day makes it the date of a one-shot."""
    comma = int(cursor.peek().kind == "comma")
    token = cursor.peek(comma)
    if token.kind != "number" or len(token.text) != 4 or not token.text.isdecimal():
        return True
    days, months = cursor.draft.numbers("monthday"), cursor.draft.numbers("month")
    if len(days) != 1 or len(months) != 1:
        return True
    cursor.place += comma + 1
    cursor.draft.items = tuple(item for item in cursor.draft.items if item[0] not in ("month", "monthday"))
    cursor.last = None
    return _dated(cursor, token.values[0], *months, *days)


def _dated(cursor: Cursor, *parts: int) -> bool:
    try:
        cursor.draft.on_date = date(*parts)
    except ValueError:
        near = (*parts[:1], min(max(parts[1], 1), 12), 28)
        shown = "-".join(f"{part:02}" for part in parts)
        closest = date(*near) if 1 <= parts[0] <= 9999 else None
        cursor.draft.in_days = 0
        return cursor.cannot(
            f"{shown} is no date", lambda draft: replace(draft.sayable(), on_date=closest, in_days=None)
        )
    return True


def ordinal(cursor: Cursor) -> bool:
    """`the 1st`, `1st to 5th`, `first day of the month`; `first Monday` is refused."""
    token = cursor.peek()
    if token.kind != "ordinal":
        return cursor.word() == "day" and _day_number(cursor)
    number = token.values[0]
    days = weekdays_at(cursor, 1)
    working = cursor.word(1) in ("business", "working", "week") and cursor.unit(2) == "day"
    if days or working:
        cursor.place += 2 + working
        _of(cursor)
        return _one_weekday(cursor, days or WORKING_WEEK, 7 * min(number - 1, 3) + 1)
    if not 1 <= number <= 31:
        return False
    if cursor.is_connector(1) and cursor.peek(2).kind == "ordinal":
        last = cursor.peek(2).values[0]
        if not number < last <= 31:
            return False
        return cursor.say("monthday", *range(number, last + 1), through=3)
    if cursor.unit(1) == "day":
        if cursor.word(2) != "of":
            return False
        cursor.place += 1
        if cursor.word(2) in DETERMINERS and cursor.unit(3) == "week":
            cursor.place += 4
            cursor.cannot("a week begins on Sunday for some and on Monday for others", on({number % 7}))
            return True
    return cursor.say("monthday", number, through=1)


def _day_number(cursor: Cursor) -> bool:
    token = cursor.peek(1)
    if token.kind != "number" or not 1 <= token.values[0] <= 31:
        return False
    return cursor.say("monthday", token.values[0], through=2)


def _one_weekday(cursor: Cursor, days: frozenset[int], near: int) -> bool:
    names = "weekday" if days == WORKING_WEEK else listed(WEEKDAY_NAMES[day] for day in sorted(days))
    return cursor.cannot(
        f"cron cannot say one certain {names} of a month: it joins weekdays and days by `or`",
        on(days),
        on(days={near}),
    )


def last_day(cursor: Cursor) -> bool:
    """`last day of March` is the 31st; the last day of the month or its last Friday is refused."""
    if unit := end_of(cursor, "month", "week"):
        if unit == "month":
            return cursor.cannot(_LAST_DAY, on(days={28}), on(days={1}))
        return cursor.cannot("whether a week ends on Friday or Sunday is not sure", on({5}), on({0}))
    if cursor.word() != "last":
        return False
    days = weekdays_at(cursor, 1)
    working = cursor.word(1) in ("business", "working", "week") and cursor.unit(2) == "day"
    if days or working:
        cursor.place += 2 + working
        _of(cursor)
        return _one_weekday(cursor, days or WORKING_WEEK, 28)
    if cursor.unit(1) != "day":
        return False
    named = cursor.month(3) if cursor.word(2) == "of" else None
    if named is not None and named != 2:
        cursor.say("monthday", _MONTH_LENGTHS[named - 1], through=3)
        return cursor.say("month", named, through=1)
    cursor.place += 2
    if cursor.take("of", "the", "year"):
        cursor.say("month", 12, through=0)
        return cursor.say("monthday", 31, through=0)
    _of(cursor)
    return cursor.cannot(_LAST_DAY, on(days={28}), on(days={1}))


def of_month(cursor: Cursor) -> bool:
    """`of the month`, `of each month`, `of every quarter`, after a day."""
    return cursor.last == "monthday" and _of(cursor)


def _of(cursor: Cursor) -> bool:
    if cursor.word() != "of":
        return False
    determined = int(cursor.word(1) in DETERMINERS)
    unit = cursor.unit(1 + determined)
    if unit not in ("month", "quarter", "year"):
        return False
    cursor.place += 2 + determined
    if unit == "month":
        cursor.take("that", "has", "it")
        return cursor.draft.often in ("month", "months") or pause(cursor, 1, "month")
    if unit == "year" and not cursor.draft.numbers("month"):
        if cursor.draft.numbers("monthday") - {1}:
            return cursor.cannot("days are counted within a month", on(days={1}))
        cursor.say("month", 1, through=0)
        return True
    return cursor.draft.often is not None or pause(cursor, 1, unit)


def excepted(cursor: Cursor) -> bool:
    """`except Sunday`, `except on weekends`, `but not on Friday`."""
    if cursor.word() not in ("except", "but", "not"):
        return False
    opened = 2 if (cursor.word(), cursor.word(1)) == ("but", "not") else 1
    ahead = opened + cursor.separated(opened)
    days = weekdays_at(cursor, ahead)
    if not days:
        return False
    while days:
        cursor.draft.without |= days
        cursor.place += ahead + 1
        ahead = cursor.separated(0)
        days = weekdays_at(cursor, ahead)
    return True


def either(cursor: Cursor) -> bool:
    """`or` between a day of the month and a weekday, which is what cron makes of the two."""
    if cursor.word() != "or" or cursor.last not in ("monthday", "weekday"):
        return False
    cursor.place += 1
    cursor.draft.either = True
    return True


def one_date(cursor: Cursor) -> bool:
    """`2026-12-01`, `today`, `tomorrow evening`, `tonight`, `day after tomorrow`, `next Friday`."""
    draft, token = cursor.draft, cursor.peek()
    first = (draft.on_date, draft.in_days, draft.on_next) if draft.is_one_shot() else None
    found = _one_date(cursor)
    if found and first is not None and token.kind != "offset":
        draft.on_date, draft.in_days, draft.on_next = first
        cursor.cannot("it names two dates, and a one-shot has one", Draft.sayable)
    return found


def _one_date(cursor: Cursor) -> bool:
    draft, token = cursor.draft, cursor.peek()
    if token.kind == "date":
        cursor.place += 1
        return _dated(cursor, *token.values)
    if token.kind == "offset" and draft.offset is None:
        cursor.place += 1
        draft.offset = timedelta(minutes=token.values[0])
        return True
    if cursor.take("day", "after", "tomorrow"):
        draft.in_days = 2
        return True
    if cursor.take("tonight"):
        draft.in_days = 0
        return say_part(cursor, "night")
    if word := cursor.take_any("today", "tomorrow"):
        draft.in_days = int(word == "tomorrow")
        return True
    if _is_next(cursor):
        draft.on_next = cursor.weekday(1)
        cursor.place += 2
        return True
    if cursor.word() == "this" and PARTS.get(cursor.word(1)):
        draft.in_days = 0
        cursor.place += 2
        return say_part(cursor, PARTS[cursor.word(-1)])
    return False


def _is_next(cursor: Cursor) -> bool:
    return cursor.word() in ("next", "this", "coming") and cursor.weekday(1) is not None


def delay(cursor: Cursor) -> bool:
    """`in 2 hours`, `in half an hour`, `in 3 days`: a one-shot so long from now."""
    if cursor.word() != "in":
        return False
    if cursor.take("in", "half", "an", "hour"):
        cursor.draft.delay = timedelta(minutes=30)
        return True
    token = cursor.peek(1)
    number = 1 if cursor.word(1) in ("a", "an") else token.values[0] if token.kind == "number" else 0
    unit = cursor.unit(2)
    if not number or unit is None:
        return False
    cursor.place += 3
    if unit in ("second", "month", "quarter", "year"):
        return cursor.cannot(
            f"a delay is counted in minutes, hours, days or weeks, not in {unit}s",
            lambda draft: replace(
                draft.sayable(), delay=timedelta(minutes=1 if unit == "second" else 43_200)
            ),
        )
    if unit in ("day", "week"):
        cursor.draft.in_days = number * (7 if unit == "week" else 1)
        return True
    cursor.draft.delay = timedelta(**{f"{unit}s": number})
    return True


def zone(cursor: Cursor) -> bool:
    """`in Berlin`, `Europe/Berlin`, `UTC`, `Tokyo time`; abbreviations are refused with a zone each."""
    start = int(cursor.word() == "in")
    words = [cursor.word(start + ahead) for ahead in range(MOST_WORDS)]
    words = words[: words.index("")] if "" in words else words
    if not words:
        return False
    found = zone_named(words)
    if words[0] == cursor.zone.lower():
        found = cursor.zone, 1
    elif words[0] in ABBREVIATIONS:
        meant = ABBREVIATIONS[words[0]]
        why = f"{words[0].upper()} is ambiguous as a time zone, so name a city or a zone such as {meant}"
        return cursor.fault(start + 1, instead=meant, why=why)
    if found is None:
        return bool(start) and _unknown_place(cursor, words)
    cursor.place += start + found[1]
    cursor.take("time")
    if cursor.draft.zone not in (None, found[0]):
        return cursor.cannot("it names two time zones", Draft.sayable)
    cursor.draft.zone = found[0]
    return True


def _unknown_place(cursor: Cursor, words: list[str]) -> bool:
    guess = None
    if len(cursor.faults) < MOST_GUESSED:
        guess = nearest_zone(" ".join(words[:2])) or nearest_zone(words[0])
    return cursor.fault(2, instead=guess)
