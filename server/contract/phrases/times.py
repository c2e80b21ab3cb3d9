"""The minute and hour fields that the times and pauses of a phrase add up to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from server.contract.phrases.draft import Clock, Draft, Unread
from server.contract.phrases.said_back import clock, listed, runs_of

TWO_TRIGGERS: Final = "so it takes more than one trigger"
# When something is due if the phrase names days and no time (9:00 as the presets of `schedule`).
_USUAL: Final = {None: Clock(9), "morning": Clock(9), "evening": Clock(18), "night": Clock(2)}
_PART_HOURS: Final = {
    "morning": frozenset(range(1, 12)),
    "afternoon": frozenset(range(12, 18)),
    "evening": frozenset(range(16, 24)),
    "night": frozenset({*range(18, 24), *range(6)}),
}
# From as many values on that keep one distance, a step is written in place of the list.
_LONG_LIST: Final = 7


def compact(values: Iterable[int]) -> str:
    """A cron list without steps: `0,9-17`; three values in a row become a range."""
    runs = runs_of(sorted(values))
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in runs)


def stepped(values: Iterable[int]) -> str:
    """As `compact`, but a long list of values at one distance is written with a step: `1-31/2`."""
    ordered = sorted(values)
    step = ordered[1] - ordered[0] if len(ordered) >= _LONG_LIST else 1
    if step > 1 and ordered == list(range(ordered[0], ordered[-1] + 1, step)):
        return f"{ordered[0]}-{ordered[-1]}/{step}"
    return compact(ordered)


def neighbours(number: int, whole: int) -> list[int]:
    """The divisors of `whole` next below and next above `number`, itself if it is one."""
    divisors = [one for one in range(1, whole + 1) if whole % one == 0]
    near = {max((one for one in divisors if one <= number), default=1)}
    return sorted(near | {min((one for one in divisors if one >= number), default=whole)})


def time_fields(draft: Draft, *, any_day: bool) -> tuple[str, str]:
    """The texts of the minute and hour fields; `any_day`: no day, weekday or month is left out.

    Fixed times are plain lists and pauses hold `*` or `/`, so that `Schedule.fixed_time` is what was said.
    """
    times = draft.times()
    if draft.past is not None:
        if times or draft.every or draft.marks or draft.span or draft.part:
            raise Unread("it says its times in two ways", replace(draft.at(), past=draft.past))
        return compact(draft.past[0]), compact(draft.past[1])
    if draft.every is not None or draft.marks:
        every = draft.every or (1, "hour")
        if times:
            fixed = replace(draft.at(*times), part=draft.part)
            raise Unread("it says both how often and at which time of day", draft.each(*every), fixed)
        if draft.part:
            raise Unread(f"when the {draft.part} begins and ends is not said", draft.each(*every))
        return _pauses(draft, *every, any_day=any_day)
    if draft.span:
        hourly, ends = draft.each(1, "hour"), draft.at(*draft.span)
        raise Unread("it names a span of the day and not how often within it", hourly, ends)
    walls = {(time.hour, time.minute) for time in resolved(draft, any_day=any_day)}
    if any(time.second for time in times):
        raise Unread("seconds are not scheduled", draft.at(*(Clock(*wall) for wall in sorted(walls))))
    hours, minutes = {hour for hour, _ in walls}, {minute for _, minute in walls}
    if len(walls) < len(hours) * len(minutes):
        said = listed(clock(*wall) for wall in sorted(walls))
        parts = [[Clock(*wall) for wall in sorted(walls) if wall[1] == minute] for minute in sorted(minutes)]
        closest = [draft.at(*part) for part in sorted(parts, key=lambda part: part[0].hour)]
        raise Unread(f"cron cannot say {said} in one line, {TWO_TRIGGERS}", *closest, together=True)
    return compact(minutes), compact(hours)


def resolved(draft: Draft, *, any_day: bool) -> list[Clock]:
    """The times of day meant, with the part of the day (`in the evening`) taken into account.

    A night belongs to two dates, so on certain days it needs a time before midnight.
    """
    part = draft.part
    times = list(draft.times())
    if not times:
        if part == "afternoon":
            raise Unread("an afternoon has no usual time", draft.at(Clock(15)))
        if part == "night" and not any_day:
            raise Unread("a night lies on two dates, so it needs a time", draft.at(Clock(22)))
        times = [_USUAL[part]]
    if part is None:
        return times
    found = []
    for time in times:
        hours = {time.hour, time.hour % 12, time.hour % 12 + 12} if time.either else {time.hour}
        fitting = hours & _PART_HOURS[part]
        if len(fitting) != 1:
            said = clock(time.hour, time.minute)
            usual = [draft.at(_USUAL[part])] if part in _USUAL else []
            raise Unread(f"{said} is no time of the {part}", draft.at(*draft.times()), *usual)
        found.append(replace(time, hour=min(fitting), either=False))
    if part == "night" and not any_day and any(time.hour < 6 for time in found):
        raise Unread("a night lies on two dates: it is not sure which one is meant", draft.at(*found))
    return found


def _pauses(draft: Draft, number: int, unit: str, *, any_day: bool) -> tuple[str, str]:
    if unit == "minute" and number % 60 == 0:
        number, unit = number // 60, "hour"
    if unit == "minute" and draft.marks:
        raise Unread("a minute of the hour goes with hours", draft.each(1, "hour"), draft.each(number, unit))
    if draft.span is not None:
        return _within_span(draft, number, unit, any_day=any_day)
    whole = 60 if unit == "minute" else 24
    if number > whole or whole % number:
        raise Unread(
            f"cron cannot say every {number} {unit}s evenly",
            *_nearest_pauses(draft, number, unit),
        )
    if unit == "minute":
        return ("*" if number == 1 else f"*/{number}"), "*"
    return stepped(draft.marks or {0}), {1: "*", 24: "0"}.get(number, f"*/{number}")


def _nearest_pauses(draft: Draft, number: int, unit: str) -> list[Draft]:
    if unit == "hour":
        return [draft.each(one, "hour") for one in neighbours(number, 24)]
    if number < 60:
        return [draft.each(one, "minute") for one in neighbours(number, 60)]
    return [draft.each(one, "hour") for one in neighbours(min(number // 60, 24), 24)] + [
        draft.each(one, "hour") for one in neighbours(number // 60 + 1, 24)[-1:]
    ]


def _within_span(draft: Draft, number: int, unit: str, *, any_day: bool) -> tuple[str, str]:
    """The fields of `every 30 minutes between 9 and 17`: the firings are counted out and must be a product.

    The last one goes where it alone stands in the way: 17:00 of 9:00, 9:30 … 16:30, 17:00.
    """
    low, high = _checked_span(draft, any_day=any_day)
    firings = _firings(draft, number, unit, low, high)
    for last in (len(firings), len(firings) - 1):
        kept = firings[: max(last, 0)]
        hours, minutes = {at // 60 % 24 for at in kept}, {at % 60 for at in kept}
        if kept and len(kept) == len(hours) * len(minutes):
            return _span_texts(kept, hours, minutes, number, unit)
    whole = replace(draft, span=(Clock(low // 60), Clock(high // 60 % 24)))
    nearest = [whole.each(number, unit)]
    if unit == "minute" and 60 % number:
        nearest = _nearest_pauses(whole, number, unit)
    raise Unread(
        f"cron cannot say every {number} {unit}s from {clock(*divmod(low, 60))} to"
        f" {clock(high // 60 % 24, high % 60)} in one line",
        *nearest,
        draft.each(1, "hour"),
    )


def _checked_span(draft: Draft, *, any_day: bool) -> tuple[int, int]:
    """The first and last minute of the span, counted from midnight; over 1,440 on the next date."""
    low_clock, high_clock = draft.span or (Clock(0), Clock(0))
    low, high = (time.hour * 60 + time.minute for time in (low_clock, high_clock))
    if draft.overnight and high >= low:
        raise Unread("the span is longer than a day", replace(draft, overnight=False))
    if high >= low:
        return low, high
    if high_clock.bare and high_clock.either and high + 720 > low and not draft.overnight:
        later = replace(high_clock, hour=high_clock.hour + 12, either=False)
        raise Unread(
            f"whether the span ends at {high_clock.hour}:00 or {later.hour}:00 is not sure",
            replace(draft, span=(low_clock, later)),
            replace(draft, overnight=True),
        )
    if not any_day:
        evening = replace(draft, span=(low_clock, Clock(23)), overnight=False)
        raise Unread(
            "a span over midnight lies on two dates, so it goes with every day only",
            replace(draft.on(often="day"), items=()),
            evening,
        )
    return low, high + 1440


def _firings(draft: Draft, number: int, unit: str, low: int, high: int) -> list[int]:
    if unit == "minute" or not draft.marks:
        return list(range(low, high + 1, number * (60 if unit == "hour" else 1)))
    hours = range(low // 60 * 60, high + 1, number * 60)
    return [hour + mark for hour in hours for mark in sorted(draft.marks) if low <= hour + mark <= high]


def _span_texts(
    firings: list[int], hours: set[int], minutes: set[int], number: int, unit: str
) -> tuple[str, str]:
    first = min(minutes)
    if unit == "minute" and len(minutes) > 1 and minutes == set(range(first, 60, number)):
        even = "*" if number == 1 else f"{first or '*'}/{number}"
        return (even if 60 % number == 0 else compact(minutes)), compact(hours)
    if unit == "hour" and number > 1 and len(hours) > 1 and firings[-1] < 1440:
        return compact(minutes), f"{min(hours)}-{max(hours)}/{number}"
    return compact(minutes), compact(hours)
