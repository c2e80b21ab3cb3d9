"""The one cron line or instant that the parts of a phrase add up to, or why there is none."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from server.contract.phrases.draft import Clock, Draft, Item, Kind, Unread
from server.contract.phrases.said_back import weekday_names
from server.contract.phrases.times import TWO_TRIGGERS, compact, neighbours, resolved, stepped, time_fields
from server.contract.phrases.words import WEEKDAY_NAMES

_ALL_WEEKDAYS: Final = frozenset(range(7))
# Stands for the words `every day` among weekdays.
_EVERY_DAY: Final[Item] = ("weekday", -1)
# Kinds that may be said in pairs, a pair at a time.
_PAIRED: Final[tuple[tuple[Kind, Kind], ...]] = (("month", "monthday"), ("weekday", "time"))


def expression_of(draft: Draft, zone: str, now: datetime) -> str:
    """The cron line or one-shot instant that `draft` says exactly, not yet checked by `parse_schedule`.

    `zone` is an admitted IANA key, `now` aware. Raises `Unread` with the closest drafts for everything else.
    """
    if draft.unsayable is not None:
        sentence, variants = draft.unsayable
        raise Unread(sentence, *(variant(draft) for variant in variants))
    if draft.is_one_shot():
        return _instant(draft, ZoneInfo(zone), now)
    if draft.once:
        weekdays = draft.numbers("weekday")
        closest = [replace(draft.on(), on_next=min(weekdays))] if len(weekdays) == 1 else []
        raise Unread("`once` needs a date", *closest, replace(draft, once=False))
    if draft.offset is not None:
        raise Unread("an offset from UTC belongs to a date", replace(draft, offset=None))
    draft = _counted(draft)
    _check_pairs(draft)
    day, month, weekday = _date_fields(draft)
    minute, hour = time_fields(draft, any_day=(day, month, weekday) == ("*", "*", "*"))
    return f"{minute} {hour} {day} {month} {weekday}"


def _counted(draft: Draft) -> Draft:
    """`draft` with its count (`twice a day`) found right and done with."""
    if draft.count is None:
        return draft
    number, unit = draft.count
    plain = replace(draft, count=None)
    if unit == "hour":
        return _counted_hourly(plain, number)
    if unit not in ("day", "week", "month", "year"):
        raise Unread(f"{number} times a {unit} is not sayable", plain.each(1, "minute"))
    if not (unit == "day" and draft.numbers("weekday")):
        plain.often = plain.often or unit
    of_unit = {"day": draft.times(), "week": draft.numbers("weekday"), "month": draft.numbers("monthday")}
    given = len(of_unit.get(unit, ()))
    if number == (given or 1):
        return plain
    spread = (
        plain.at(Clock(9), Clock(17)) if number == 2 else plain.each(max(24 // max(number, 1), 1), "hour")
    )
    choices = {
        "day": spread,
        "week": plain.on(weekdays=(1, 4) if number == 2 else (1, 3, 5)),
        "month": plain.on(days=(1, 15)),
    }
    missing = f"and names {given}" if given else "and not when"
    raise Unread(f"it says {number} times a {unit} {missing}", choices.get(unit, plain))


def _counted_hourly(draft: Draft, number: int) -> Draft:
    if draft.every or draft.times() or (draft.marks and len(draft.marks) != number):
        raise Unread(f"{number} times an hour does not fit the rest", draft)
    if draft.marks or number == 1:
        return replace(draft, every=(1, "hour"))
    if not 0 < number <= 60 or 60 % number:
        near = neighbours(60 // min(max(number, 1), 60), 60)
        raise Unread(f"cron cannot say {number} times an hour", *(draft.each(one, "minute") for one in near))
    return replace(draft, every=(60 // number, "minute"))


def _check_pairs(draft: Draft) -> None:
    """Raise `Unread` unless every day named goes with every time and month named.

    `January 1 and July 1` may be said apart, since each day goes with each month; Monday at 9 and Thursday at
    17 may not: a list of days and one of times would fire four times.
    """
    groups: list[tuple[Item, ...]] = []
    for item in _with_every_day(draft):
        if groups and groups[-1][0][0] == item[0]:
            groups[-1] += (item,)
        else:
            groups.append((item,))
    kinds = [group[0][0] for group in groups]
    again = next((place for place, kind in enumerate(kinds) if kind in kinds[:place]), None)
    every_day = any(_EVERY_DAY in group for group in groups)
    if again is None or (not every_day and any(_is_product(groups, pair) for pair in _PAIRED)):
        return
    shared = tuple(item for group in groups if kinds.count(group[0][0]) == 1 for item in group)
    halves = [
        tuple(item for group in half if kinds.count(group[0][0]) > 1 for item in group)
        for half in (groups[:again], groups[again:])
    ]
    apart = [_on_its_days(draft, half + shared) for half in halves]
    raise Unread(f"it goes by different days or times, {TWO_TRIGGERS}", *apart, together=True)


def _with_every_day(draft: Draft) -> tuple[Item, ...]:
    """The items; `every day` is one of them where it goes with times of its own, beside those of a weekday."""
    items, at = draft.items, draft.daily_at
    kinds = [kind for kind, _ in items]
    times = [place for place, kind in enumerate(kinds) if kind == "time"]
    in_a_row = not times or times[-1] - times[0] == len(times) - 1
    told_apart = not in_a_row or (times and times[0] < at <= times[-1])
    if draft.often != "day" or "weekday" not in kinds or not told_apart:
        return items
    return (*items[:at], _EVERY_DAY, *items[at:])


def _on_its_days(draft: Draft, items: tuple[Item, ...]) -> Draft:
    """The draft with these items only; `every day` among them is said as such, unless weekdays are too."""
    plain = tuple(item for item in items if item != _EVERY_DAY)
    if draft.often != "day" or any(kind == "weekday" for kind, _ in plain):
        return replace(draft, items=plain, often=None if draft.often == "day" else draft.often)
    return replace(draft, items=plain)


def _is_product(groups: list[tuple[Item, ...]], pair: tuple[Kind, Kind]) -> bool:
    """Whether all that is repeated are pairs, each half of which goes with each other half."""
    places = [place for place, group in enumerate(groups) if group[0][0] in pair]
    others = [group[0][0] for group in groups if group[0][0] not in pair]
    if not places or len(places) % 2 or len(set(others)) < len(others):
        return False
    if places != list(range(places[0], places[-1] + 1)):
        return False
    paired = [groups[place] for place in places]
    if len({group[0][0] for group in paired[::2]}) != 1:
        return False
    both = {
        frozenset({one, two})
        for left, right in zip(paired[::2], paired[1::2], strict=True)
        for one in left
        for two in right
    }
    first, second = ({item for group in half for item in group} for half in (paired[::2], paired[1::2]))
    return len(both) == len(first) * len(second)


def _date_fields(draft: Draft) -> tuple[str, str, str]:
    """The texts of the fields day of month, month and day of week."""
    weekdays, days, months = (draft.numbers("weekday"), draft.numbers("monthday"), draft.numbers("month"))
    if draft.without:
        if days or weekdays == draft.without:
            raise Unread("`except` leaves no day", replace(draft, without=frozenset()))
        weekdays = (weekdays or _ALL_WEEKDAYS) - draft.without
    if draft.either and not (days and weekdays):
        raise Unread("`or` stands between days of the month and weekdays", replace(draft, either=False))
    if days and weekdays and not draft.either:
        raise Unread(
            f"cron cannot say a {weekday_names(weekdays)} that is also a certain day of the month",
            draft.on(weekdays=weekdays),
            draft.on(days=days),
        )
    if draft.often == "week":
        if days:
            raise Unread("every week and a day of the month exclude each other", draft.on(days=days))
        if (draft.every or draft.marks) and not weekdays:
            raise Unread("it says both how often within a day and weekly", replace(draft, often="day"))
        weekdays = weekdays or frozenset({1})
    elif draft.often in ("month", "months", "year"):
        days, months = _within_year(draft, weekdays, days, months)
    elif draft.often == "day" and days:
        raise Unread("every day and certain days of the month exclude each other", draft.on(days=days))
    elif months and not (days or weekdays or draft.often or draft.every or draft.marks):
        first = replace(draft, items=(("monthday", 1), *draft.items))
        raise Unread("it names a month and no day of it", draft.on(often="day"), first)
    if draft.leap and not (days == {29} and months == {2}):
        raise Unread("leap years matter on February 29 only", replace(draft, leap=False))
    whole = draft.either and (len(days) == 31 or len(weekdays) == 7)
    day = "*" if whole or len(days) % 31 == 0 else stepped(days)
    weekday = "*" if whole or len(weekdays) % 7 == 0 else compact(weekdays)
    return day, "*" if len(months) % 12 == 0 else stepped(months), weekday


def _within_year(
    draft: Draft, weekdays: frozenset[int], days: frozenset[int], months: frozenset[int]
) -> tuple[frozenset[int], frozenset[int]]:
    """The days and months of a phrase that says `monthly`, `quarterly` or `yearly`."""
    plain = replace(draft, often=None)
    if weekdays and not draft.either:
        raise Unread(
            f"cron cannot say one certain {weekday_names(weekdays)} of a month or year",
            plain.on(weekdays=weekdays),
            plain.on(days={1}),
        )
    if (draft.every or draft.marks) and not days:
        raise Unread("it says both how often within a day and within a year", replace(draft, often="day"))
    if draft.often == "month" and months:
        raise Unread("every month and certain months exclude each other", plain.on(days=days or {1}))
    if draft.often == "year" and bool(days) != bool(months):
        item: Item = ("month", 1) if days else ("monthday", 1)
        missing = "the month" if days else "the day"
        raise Unread(f"it says every year and not {missing}", replace(draft, items=(item, *draft.items)))
    if draft.often == "year":
        months = months or frozenset({1})
    return days or frozenset({1}), months


def _instant(draft: Draft, zone: ZoneInfo, now: datetime) -> str:
    """The one-shot expression of a phrase that names a date or a delay."""
    dates = sum(one is not None for one in (draft.on_date, draft.in_days, draft.on_next, draft.delay))
    others = draft.every or draft.marks or draft.often or draft.past or draft.span or draft.count
    weekdays = draft.numbers("weekday")
    if others or dates > 1 or draft.without or draft.either or len(weekdays) > 1:
        raise Unread("it names one date and also a repetition", draft.recurring())
    if draft.numbers("monthday") or draft.numbers("month"):
        raise Unread("it names a date in two ways", draft.recurring(), draft.on())
    try:
        day = _date(draft, now.astimezone(zone).date())
        moment = now + (draft.delay or timedelta())
        if moment.second or moment.microsecond:
            moment = moment.replace(second=0, microsecond=0) + timedelta(minutes=1)
    except OverflowError:
        raise Unread("it is too far ahead", replace(draft.recurring(), in_days=1)) from None
    if draft.delay is not None:
        if draft.items or draft.part or draft.offset:
            raise Unread(
                "it names a time and also a delay", replace(draft.at().on(), offset=None), draft.recurring()
            )
        return moment.astimezone(zone).isoformat(timespec="minutes")
    if weekdays and weekdays != {day.isoweekday() % 7}:
        name = WEEKDAY_NAMES[day.isoweekday() % 7]
        raise Unread(f"{day.isoformat()} is a {name}", draft.on(), draft.recurring())
    times = resolved(draft, any_day=False)
    if len(times) > 1:
        raise Unread(
            f"one date has one time, {TWO_TRIGGERS}", *(draft.at(one) for one in times), together=True
        )
    wall = f"{day.isoformat()}T{times[0].hour:02}:{times[0].minute:02}"
    seconds = f":{times[0].second:02}" if times[0].second else ""
    return f"{wall}{seconds}{_offset_text(draft.offset)}"


def _date(draft: Draft, today: date) -> date:
    if draft.on_date is not None:
        return draft.on_date
    if draft.on_next is not None:
        # On a Friday, the next one is a week away.
        return today + timedelta(days=(draft.on_next - today.isoweekday() - 1) % 7 + 1)
    return today + timedelta(days=draft.in_days or 0)


def _offset_text(offset: timedelta | None) -> str:
    if offset is None:
        return ""
    minutes = int(offset.total_seconds()) // 60
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"
