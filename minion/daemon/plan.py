"""What schedules promise for a week, and where two such promises differ: how a change of program is noticed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import zip_longest
from typing import Final

from minion.store.plans import Plan
from server.contract.digest import instant
from server.contract.schedule import Schedule, Slot, next_slots, slots_between

WEEK: Final = timedelta(days=7)
# So many slots of a routine are counted and digested, and so many are kept to be shown.
MOST_SLOTS: Final = 200
SHOWN: Final = 10


@dataclass(slots=True)
class Planner:
    """Makes the plans of one span of time; routines that are due alike cost one calculation."""

    begins: datetime
    ends: datetime
    _known: dict[tuple[tuple[str, str], ...], Plan] = field(default_factory=dict)

    def plan(self, schedules: Iterable[Schedule]) -> Plan:
        """The plan of a routine with these schedules; an empty one if it has none."""
        listed = sorted(schedules, key=_name)
        key = tuple(map(_name, listed))
        if key not in self._known:
            self._known[key] = self._made(listed)
        return self._known[key]

    def _made(self, schedules: Sequence[Schedule]) -> Plan:
        slots = [slot for schedule in schedules for slot in self._first(schedule)]
        slots.sort(key=lambda slot: slot.at)
        told = [instant(slot.at.astimezone(UTC)) for slot in slots[:MOST_SLOTS]]
        first = tuple(slot.at.isoformat(timespec="minutes") for slot in slots[:SHOWN])
        digest = "sha256:" + hashlib.sha256("\n".join(told).encode()).hexdigest()
        return Plan(instant(self.begins), instant(self.ends), len(told), digest, first)

    def _first(self, schedule: Schedule) -> list[Slot]:
        """The first slots of the span; what is due once a year is not looked for beyond it."""
        newest, number = slots_between(schedule, self.begins, self.ends, MOST_SLOTS)
        return newest if number <= MOST_SLOTS else next_slots(schedule, self.begins, MOST_SLOTS)


def difference(was: Plan, is_: Plan) -> tuple[str | None, str | None] | None:
    """The first instant at which two plans of one span differ, as (in the one, in the other); None if alike.

    None on one side: nothing is due there any more. Where they differ beyond what is kept of them, both sides say
    the last instant that they share.
    """
    if (was.slots, was.digest) == (is_.slots, is_.digest):
        return None
    for one, other in zip_longest(was.first, is_.first):
        if one is None or other is None or datetime.fromisoformat(one) != datetime.fromisoformat(other):
            return one, other
    return was.first[-1], is_.first[-1]


def _name(schedule: Schedule) -> tuple[str, str]:
    return schedule.expression, schedule.zone
