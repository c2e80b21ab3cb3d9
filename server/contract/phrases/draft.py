"""What a phrase has said so far, part by part, before it is known to add up to one schedule."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import Literal

Kind = Literal["time", "weekday", "monthday", "month"]
Variant = Callable[["Draft"], "Draft"]


class Unread(Exception):
    """A phrase that no one schedule says: why, and the drafts that come closest, the best first.

    `together`: the drafts are triggers that say it all between them, not alternatives.
    """

    def __init__(self, sentence: str, *closest: Draft, together: bool = False) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.closest = closest
        self.together = together


@dataclass(frozen=True, slots=True)
class Clock:
    """A time of day. `either`: its hour may be am or pm; `bare`: only the number of an hour was said."""

    hour: int
    minute: int = 0
    second: int = 0
    either: bool = False
    bare: bool = False


Item = tuple[Kind, int | Clock]


@dataclass(slots=True)
class Draft:
    """The parts of a phrase.

    `items`, in the order they were said: times (`Clock`), weekdays, days of the month and months (numbers as
    in cron). `every`: a number of `minute` or `hour`. `often`: `day week month year`, or `months` when
    `items` holds an even choice of them. `marks`: minutes of each hour. `past`: minutes and hours as lists.
    `either`: a day of the month or a weekday is enough. `count`: so many times in a unit. `unsayable`: why
    cron cannot say it, and what comes closest. `daily_at`: how many items were said before `every day`.
    """

    items: tuple[Item, ...] = ()
    every: tuple[int, str] | None = None
    often: str | None = None
    marks: frozenset[int] = frozenset()
    past: tuple[frozenset[int], frozenset[int]] | None = None
    span: tuple[Clock, Clock] | None = None
    overnight: bool = False
    part: str | None = None
    without: frozenset[int] = frozenset()
    either: bool = False
    leap: bool = False
    count: tuple[int, str] | None = None
    once: bool = False
    on_date: date | None = None
    in_days: int | None = None
    on_next: int | None = None
    delay: timedelta | None = None
    offset: timedelta | None = None
    zone: str | None = None
    unsayable: tuple[str, tuple[Variant, ...]] | None = field(default=None, repr=False)
    daily_at: int = field(default=0, compare=False, repr=False)

    def add(self, kind: Kind, *values: int | Clock) -> None:
        """Say more times, weekdays, days of the month or months."""
        self.items += tuple((kind, value) for value in values)

    def numbers(self, kind: Kind) -> frozenset[int]:
        """The weekdays, days of the month or months said."""
        return frozenset(value for said, value in self.items if said == kind and isinstance(value, int))

    def times(self) -> tuple[Clock, ...]:
        """The times of day said."""
        return tuple(value for _, value in self.items if isinstance(value, Clock))

    def on(
        self, weekdays: Iterable[int] = (), days: Iterable[int] = (), *, often: str | None = None
    ) -> Draft:
        """This draft, its months included, on these days instead of its own."""
        said: tuple[Item, ...] = tuple(("weekday", day) for day in weekdays)
        said += tuple(("monthday", day) for day in days)
        kept = tuple(item for item in self.items if item[0] in ("month", "time"))
        return replace(
            self,
            items=said + kept,
            often=often,
            without=frozenset(),
            either=False,
            leap=False,
            count=None,
            unsayable=None,
        )

    def at(self, *times: Clock) -> Draft:
        """This draft at these times of day, instead of its own and of how often it goes within a day."""
        said: tuple[Item, ...] = tuple(("time", time) for time in times)
        return replace(
            self,
            items=tuple(item for item in self.items if item[0] != "time") + said,
            every=None,
            marks=frozenset(),
            past=None,
            span=None,
            overnight=False,
            part=None,
            count=None,
            unsayable=None,
        )

    def each(self, number: int, unit: str) -> Draft:
        """This draft every so many minutes or hours instead of at its times of day."""
        marks = self.marks if unit == "hour" else frozenset()
        return replace(self.at(), every=(number, unit), marks=marks, span=self.span, overnight=self.overnight)

    def sayable(self) -> Draft:
        """This draft without the reason why cron cannot say it."""
        return replace(self, unsayable=None)

    def is_one_shot(self) -> bool:
        """Whether a single date or instant was said."""
        wanted = (self.on_date, self.in_days, self.on_next, self.delay)
        return any(part is not None for part in wanted)

    def recurring(self) -> Draft:
        """This draft without the single date or instant that it also names."""
        return replace(
            self,
            once=False,
            on_date=None,
            in_days=None,
            on_next=None,
            delay=None,
            offset=None,
            unsayable=None,
        )
