"""What runs are likely to cost: percentiles of earlier ones; without any, what prices and assumptions come to.

Whatever is assumed here was not measured, and is said to be assumed wherever a figure rests on it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from server.contract.prices import Price, Tokens
from server.contract.quota import Limits
from server.contract.refusals import BadDocument
from server.contract.schedule import Schedule, restore_schedule, slots_between

# Assumed of a run that nobody has seen yet: characters of a prompt to a token; model calls that a task takes, and
# that one takes which goes badly; what each writes, and what it then reads of a tool's answer (tokens); seconds.
CHARACTERS: Final = 4
TURNS: Final = 6
MANY_TURNS: Final = 18
WRITTEN: Final = 400
READ: Final = 1_200
SECONDS: Final = 8.0
# What stands before the first task where nobody can look: the system prompt and the tools; and a skill (tokens).
FRAME: Final = 4_000
SKILL: Final = 1_000
# A month, as it is estimated.
DAYS: Final = 30


@dataclass(frozen=True, slots=True)
class Task:
    """What a session is told for one task (tokens), by the price of the model that performs it."""

    tokens: int
    price: Price


@dataclass(frozen=True, slots=True)
class Assumed:
    """What a run would use if all is as assumed: US dollars, seconds, turns, tokens; `capped` by its limits."""

    dollars: float
    seconds: float
    turns: int
    tokens: int
    capped: bool


@dataclass(frozen=True, slots=True)
class Due:
    """How often schedules are due in the next 30 days, and on the busiest of their local days."""

    month: int
    busiest_day: int


def tokens_in(*texts: str) -> int:
    """Roughly how many tokens texts are: four characters to each."""
    return math.ceil(sum(len(text) for text in texts) / CHARACTERS)


def percentile(values: Iterable[float], share: float) -> float:
    """The smallest value that at least so large a `share` of all is not above (nearest rank).

    Raises `ValueError` without a value.
    """
    ordered = sorted(values)
    if not ordered:
        raise ValueError("no values have no percentile")
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def assumed(tasks: Sequence[Task], limits: Limits, *, turns: int = TURNS) -> Assumed:
    """What a session costs that takes so many turns for each task, and one for its report.

    Each turn reads all before it from the cache, at the price of that, and writes what is new into it; another
    model has a cache of its own. It ends where the run's limits end it.
    """
    spent, used, made, cached, new = 0.0, 0, 0, 0, 0
    model: Price | None = None
    for place, task in enumerate(tasks):
        last = place == len(tasks) - 1
        if model is not None and task.price != model:
            cached, new = 0, cached + new
        model, new = task.price, new + task.tokens
        for _ in range(turns + last):
            call = Tokens(output=WRITTEN, cache_write=new, cache_read=cached)
            if made >= limits.turns or used >= limits.tokens or spent >= limits.dollars:
                break
            spent, used, made = spent + task.price.dollars(call), used + call.total, made + 1
            cached, new = cached + new, WRITTEN + READ
    seconds = made * SECONDS
    capped = made < turns * len(tasks) + 1 or spent > limits.dollars or seconds > limits.wall_clock_s
    return Assumed(
        round(min(spent, limits.dollars), 6), min(seconds, limits.wall_clock_s), made, used, capped
    )


def due_in_a_month(schedules: Sequence[Schedule], now: datetime) -> Due:
    """How often the schedules of a routine are due in the next 30 days; paused ones count as if they were not."""
    until = now + timedelta(days=DAYS)
    month = sum(slots_between(schedule, now, until, 0)[1] for schedule in schedules)
    days = _days(ZoneInfo(schedules[0].zone), now, until) if schedules else []
    of_days = [sum(slots_between(each, begin, end, 0)[1] for each in schedules) for begin, end in days]
    return Due(month, max(of_days, default=0))


def schedules_of(document: Mapping[str, Any], zone: str) -> list[Schedule]:
    """The schedules of an admitted routine; `zone` is for those that name none."""
    found = []
    for trigger in document["triggers"]:
        expression = trigger["at"] if trigger["type"] == "once" else trigger["cron"]
        try:
            found.append(restore_schedule(expression, trigger["timezone"] or zone))
        except BadDocument:  # a zone that this machine lost
            continue
    return found


def _days(zone: ZoneInfo, now: datetime, until: datetime) -> list[tuple[datetime, datetime]]:
    """The local days from now on, each from just before its midnight to just before the next one."""
    midnight = now.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0)
    found = []
    while midnight.astimezone(UTC) < until:
        following = midnight + timedelta(days=1)  # by the wall clock: a day may have 23 or 25 hours
        instant = timedelta(microseconds=1)
        found.append((midnight.astimezone(UTC) - instant, following.astimezone(UTC) - instant))
        midnight = following
    return found
