"""When every routine is due next: a heap of instants, so that an empty tick costs nothing however many there are.

Pure: `now` is an argument, and nothing is written here. Whoever asks what is due writes it down, and only then
has the timetable go on (`advance`).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from server.contract.catch_up import CatchUp, CatchUpPolicy, OverlapPolicy, catch_up, stagger_s
from server.contract.digest import parse_instant
from server.contract.schedule import Schedule, next_slots, restore_schedule

# A slot that is noticed within this many seconds is on time; a later one is a matter of catching up.
ON_TIME_S: Final = 60


@dataclass(frozen=True, slots=True)
class Rules:
    """What a routine says about its slots, as far as the scheduler goes by it."""

    routine_id: str
    routine: str
    overlap: OverlapPolicy
    catch_up: CatchUpPolicy
    window_s: int
    stagger: int


@dataclass(slots=True, eq=False)
class Entry:
    """One trigger of a routine: `last` is how far it was handled, `due` when it must be looked at next."""

    rules: Rules
    schedule: Schedule
    last: datetime
    floor: datetime | None = None
    due: datetime | None = None
    listed: bool = True

    @property
    def trigger(self) -> str:
        """What names the trigger among those of its routine."""
        return f"{self.schedule.expression}|{self.schedule.zone}"


@dataclass(frozen=True, slots=True)
class Due:
    """An entry of which slots came due, and what becomes of them."""

    entry: Entry
    arrived: CatchUp


@dataclass(slots=True)
class Timetable:
    """All entries, by routine, and a heap of their next instants."""

    _routines: dict[str, tuple[Entry, ...]] = field(default_factory=dict)
    _heap: list[tuple[datetime, int, Entry]] = field(default_factory=list)
    _count: int = 0

    def put(self, routine_id: str, entries: Iterable[Entry]) -> None:
        """Replace a routine's entries by these; its other ones are forgotten."""
        self.drop(routine_id)
        listed = tuple(entries)
        if listed:
            self._routines[routine_id] = listed
        for entry in listed:
            self._enter(entry)

    def drop(self, routine_id: str) -> None:
        """Forget a routine; nothing happens if it is not there."""
        for entry in self._routines.pop(routine_id, ()):
            entry.listed = False

    def entries(self, routine_id: str) -> Sequence[Entry]:
        """A routine's entries; none for one that is paused, on demand or unknown."""
        return self._routines.get(routine_id, ())

    def listed(self) -> list[str]:
        """The ids of the routines that have entries."""
        return list(self._routines)

    def __len__(self) -> int:
        """How many routines have entries."""
        return len(self._routines)

    def next_due(self) -> datetime | None:
        """The next instant at which something is due (UTC); None when nothing ever is."""
        found = self.next_entry()
        return None if found is None else found[0]

    def next_entry(self) -> tuple[datetime, Entry] | None:
        """The next instant at which something is due (UTC), and what; None when nothing ever is."""
        while self._heap and not self._is_current(self._heap[0]):
            heapq.heappop(self._heap)
        return (self._heap[0][0], self._heap[0][2]) if self._heap else None

    def due(self, now: datetime) -> list[Due]:
        """Everything that came due by `now`; asking again gives the same until `advance`."""
        found = []
        for entry in self._due_entries(now):
            rules = entry.rules
            found.append(
                Due(entry, catch_up(
                    entry.schedule, max(entry.last, entry.floor or entry.last), now, policy=rules.catch_up,
                    window_s=rules.window_s, stagger=rules.stagger, on_time_s=ON_TIME_S,
                ))
            )  # fmt: skip
        return found

    def advance(self, due: Due) -> None:
        """Go on behind what was due and is written down by now."""
        due.entry.last = due.arrived.handled_until
        if due.entry.listed:
            self._enter(due.entry)

    def set_back(self, now: datetime) -> list[Entry]:
        """Go back to `now` with every entry that was handled further: the clock was set back. Which ones."""
        ahead = [
            entry
            for entries in self._routines.values()
            for entry in entries
            if entry.last > now
        ]
        for entry in ahead:
            entry.last = now
            self._enter(entry)
        return ahead

    def _enter(self, entry: Entry) -> None:
        after = max(entry.last, entry.floor or entry.last)
        slots = next_slots(entry.schedule, after, 1)
        if not slots:
            entry.due = None
            return
        entry.due = slots[0].at.astimezone(UTC) + timedelta(seconds=entry.rules.stagger)
        self._count += 1
        heapq.heappush(self._heap, (entry.due, self._count, entry))

    def _due_entries(self, now: datetime) -> list[Entry]:
        """Entries whose instant has come, taken off the heap and put back: they stay due until they advance."""
        taken: dict[Entry, tuple[datetime, int, Entry]] = {}
        while self._heap and self._heap[0][0] <= now:
            item = heapq.heappop(self._heap)
            if self._is_current(item):
                taken.setdefault(item[2], item)
        for item in taken.values():
            heapq.heappush(self._heap, item)
        return list(taken)

    def _is_current(self, item: tuple[datetime, int, Entry]) -> bool:
        return item[2].listed and item[2].due == item[0]


class Schedules:
    """Parses schedules once: ten thousand routines at nine o'clock share one."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Schedule] = {}

    def of(self, expression: str, zone: str) -> Schedule:
        """The schedule that was admitted as this expression in this zone."""
        key = (expression, zone)
        if key not in self._known:
            self._known[key] = restore_schedule(expression, zone)
        return self._known[key]


def entries_of(
    routine_id: str, document: Mapping[str, Any], *, default_zone: str, since: datetime,
    handled: Mapping[str, tuple[str, str | None]], schedules: Schedules,
) -> list[Entry]:  # fmt: skip
    """The entries of an admitted routine; none when it is paused, scheduled by HQ, or on demand.

    `handled` is how far each of its triggers was handled before; one that is not in it begins at `since`.
    """
    if document["paused"] or document["scheduled_by"] != "minion":
        return []
    rules = Rules(
        routine_id, document["name"], document["overlap"], document["catch_up"],
        document["catch_up_window_s"] or 0, stagger_s(routine_id, document["stagger_s"]),
    )  # fmt: skip
    found = []
    for trigger in document["triggers"]:
        zone = trigger["timezone"] or document["timezone"] or default_zone
        entry = Entry(rules, schedules.of(trigger.get("cron") or trigger["at"], zone), since)
        until, floor = handled.get(entry.trigger, (None, None))
        entry.last = since if until is None else parse_instant(until)
        entry.floor = None if floor is None else parse_instant(floor)
        found.append(entry)
    return found
