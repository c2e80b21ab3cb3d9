"""Counts the slots that schedules should have had, piece by piece as they were in force, against the records.

Pure: what was told and recorded comes in, and `now`. What nobody can know any more is not counted, and is said.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from minion.daemon.timetable import ON_TIME_S, Schedules
from server.contract.catch_up import stagger_s
from server.contract.digest import instant, parse_instant
from server.contract.refusals import BadDocument
from server.contract.schedule import Schedule, slots_between

# So many slots of a schedule are looked at one by one; older ones are only counted.
MOST: Final = 2000
_MOMENT: Final = timedelta(microseconds=1)
_LOST: Final = "it was seen to, but no record is kept"
_UNSEEN: Final = "not seen to: no daemon was up since"


@dataclass(frozen=True, slots=True)
class Piece:
    """A schedule while it was in force: after `begins`, up to `ends` (None: it is in force still)."""

    schedule: Schedule
    begins: datetime
    ends: datetime | None = None

    @property
    def trigger(self) -> str:
        """What names it among those of its routine, as its slots do."""
        return f"{self.schedule.expression}|{self.schedule.zone}"


# An instant, as a time and as it is written down.
_Moment = tuple[datetime, str]


class _Due(NamedTuple):
    at: datetime
    instant: str
    trigger: str
    why: str


@dataclass(frozen=True, slots=True)
class Fate:
    """An instant at which a routine was due, and its record; None: there is none, `why` says what is known."""

    at: datetime
    slot: Mapping[str, Any] | None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Account:
    """One routine's slots: how many were `expected` and what is recorded of them, by state.

    `lacking` have no record although they should; `beside` are recorded and were not expected. `fates` are the
    newest ones, oldest first, from `known` on; it is counted from `since` on. `notes` say what else to know.
    """

    routine_id: str
    routine: str
    expected: int
    recorded: Mapping[str, int]
    lacking: int
    beside: int
    fates: Sequence[Fate]
    since: datetime
    known: datetime
    notes: Sequence[str] = ()


@dataclass(slots=True)
class Memory:
    """Slots that were counted in this minute, so that reading again costs little."""

    minute: datetime | None = None
    counted: dict[tuple[Any, ...], tuple[list[_Moment], int]] = field(default_factory=dict)
    schedules: Schedules = field(default_factory=Schedules)

    def between(self, schedule: Schedule, after: datetime, until: datetime) -> tuple[list[_Moment], int]:
        """When the newest `MOST` slots of a time are due, the oldest first, and how many there are in all."""
        key = (schedule.expression, schedule.zone, after, until)
        if key not in self.counted:
            slots, total = slots_between(schedule, after, until, MOST)
            times = [slot.at.astimezone(UTC) for slot in slots]
            self.counted[key] = [(at, instant(at)) for at in times], total
        return self.counted[key]


@dataclass(frozen=True, slots=True)
class Known:
    """What the store knows of all routines: their revisions and slots, how far triggers were handled.

    `zone` is that of schedules which name none, `up` when a daemon first ran (None: never), `begun` from when on
    HQ's routines are this minion's.
    """

    revisions: Mapping[str, Sequence[Mapping[str, Any]]]
    slots: Sequence[Mapping[str, Any]]
    handled: Mapping[str, Mapping[str, tuple[str, str | None]]]
    zone: str
    up: str | None
    begun: Mapping[str, str] = field(default_factory=dict)


def accounts(known: Known, *, since: datetime, now: datetime, memory: Memory) -> list[Account]:
    """The account of every routine that has a schedule, or had slots, from `since` to `now`; by name."""
    minute = now.replace(second=0, microsecond=0)
    if memory.minute != minute:
        memory.minute, memory.counted = minute, {}
    slots: dict[str, list[Mapping[str, Any]]] = {}
    for slot in known.slots:
        slots.setdefault(slot["routine_id"], []).append(slot)
    found = []
    for routine_id, revisions in known.revisions.items():
        made = _account(known, routine_id, revisions, slots.get(routine_id, []), (since, now), memory)
        if made is not None:
            found.append(made)
    return sorted(found, key=lambda account: account.routine)


def pieces_of(
    revisions: Sequence[Mapping[str, Any]], *, zone: str, up: datetime, begun: datetime | None,
    schedules: Schedules,
) -> list[Piece]:  # fmt: skip
    """The schedules of a routine as each was in force; one that a change leaves alone is one piece.

    Paused, removed or at HQ it has none. Raises `BadDocument` for a schedule or zone that is not known any more.
    """
    open_: dict[tuple[str, str], datetime] = {}
    found = []
    for number, said in enumerate(revisions):
        at = begun if number == 0 and begun is not None else max(parse_instant(said["at"]), up)
        wanted = in_force(said, zone)
        for key in [key for key in open_ if key not in wanted]:
            found.append(Piece(schedules.of(*key), open_.pop(key), at))
        for key in wanted:
            open_.setdefault(key, at)
    for key, at in open_.items():
        found.append(Piece(schedules.of(*key), max(at, begun or at)))
    return found


def in_force(said: Mapping[str, Any], zone: str) -> list[tuple[str, str]]:
    """The schedules that a revision has fire by themselves here, as (expression, zone), each once."""
    if said["triggers"] is None or said["paused"] or said["scheduled_by"] != "minion":
        return []
    named = said["timezone"] or zone
    return list(dict.fromkeys((t.get("cron") or t["at"], t["timezone"] or named) for t in said["triggers"]))


def _account(
    known: Known, routine_id: str, revisions: Sequence[Mapping[str, Any]], slots: Sequence[Mapping[str, Any]],
    span: tuple[datetime, datetime], memory: Memory,
) -> Account | None:  # fmt: skip
    since, now = span
    name, notes = str(revisions[-1]["name"]), _notes(revisions, known.zone, span)
    up = now if known.up is None else parse_instant(known.up)
    begun, broken = known.begun.get(routine_id), False
    try:
        pieces = pieces_of(
            revisions, zone=known.zone, up=up, begun=None if begun is None else parse_instant(begun),
            schedules=memory.schedules,
        )  # fmt: skip
    except BadDocument as problem:
        pieces, notes = [], [problem.sentence]
        broken = True
    pieces = [piece for piece in pieces if piece.ends is None or piece.ends > since]
    if not pieces and not slots and not broken:
        return None
    handled = known.handled.get(routine_id, {})
    floors = {trigger: parse_instant(floor) for trigger, (_, floor) in handled.items() if floor is not None}
    wait = timedelta(seconds=stagger_s(routine_id, revisions[-1]["stagger_s"] or 0))
    reckoning = _Reckoning(slots, floors)
    for piece in pieces:
        after = max(piece.begins, since - _MOMENT, floors.get(piece.trigger, since - _MOMENT))
        until = (piece.ends or now.replace(second=0, microsecond=0)) - wait
        # Who wrote a record down had seen to all that was due before it.
        looked = [handled.get(piece.trigger, ("", None))[0], *(slot["due_at"] for slot in slots)]
        reckoning.take(piece, *memory.between(piece.schedule, after, until), max(looked))
    begins = max(since, min((piece.begins for piece in pieces), default=since))
    if any(floor > since for floor in floors.values()):
        begins, notes = max(begins, *floors.values()), [*notes, "older ones pruned"]
    return reckoning.settled(routine_id, name, begins, notes, now - wait - timedelta(seconds=ON_TIME_S))


def _notes(
    revisions: Sequence[Mapping[str, Any]], zone: str, span: tuple[datetime, datetime]
) -> list[str]:
    """What a routine's revisions say that bears on how often it was due."""
    since, now = span
    last, paused, changes = revisions[-1], timedelta(), 0
    ends = [parse_instant(said["at"]) for said in revisions[1:]] + [now]
    before: list[tuple[str, str]] = []
    for said, end in zip(revisions, ends, strict=True):
        at = parse_instant(said["at"])
        if said["triggers"] is not None and said["paused"]:
            paused += max(end - max(at, since), timedelta())
        wanted = in_force(said, zone)
        changes += bool(before) and bool(wanted) and before != wanted and at > since
        before = wanted or before
    found = []
    if last["triggers"] is None:
        found.append("removed")
    elif last["paused"]:
        found.append("paused")
    elif last["scheduled_by"] != "minion":
        found.append("at HQ")
    elif paused >= timedelta(minutes=1):
        hours = paused.total_seconds() / 3600
        found.append(f"was paused {hours / 24:.0f}d" if hours >= 24 else f"was paused {max(1, round(hours))}h")
    return found + ([f"schedule changed {changes}×"] if changes else [])


class _Reckoning:
    """Holds the expected slots of one routine against the records, the newest first."""

    def __init__(self, slots: Sequence[Mapping[str, Any]], floors: Mapping[str, datetime]) -> None:
        self._single: dict[str, list[Mapping[str, Any]]] = {}
        self._merged: list[Mapping[str, Any]] = []
        self._due: list[_Due] = []
        self._older = 0
        self._known: datetime | None = None
        for slot in slots:
            if slot["trigger"] in floors and parse_instant(slot["due_at"]) <= floors[slot["trigger"]]:
                continue  # of these some were pruned
            if slot["count"] > 1:
                self._merged.append(slot)
            else:
                self._single.setdefault(slot["due_at"], []).append(slot)

    def take(self, piece: Piece, slots: Sequence[_Moment], total: int, handled: str) -> None:
        """The newest slots of a piece, how many it had in all, and the instant up to which it was seen to."""
        trigger = piece.trigger
        for at, written in slots:
            looked = piece.ends is not None or written <= handled
            self._due.append(_Due(at, written, trigger, _LOST if looked else _UNSEEN))
        if total > len(slots):
            self._older += total - len(slots)
            self._known = max(self._known or slots[0][0], slots[0][0])

    def settled(
        self, routine_id: str, name: str, since: datetime, notes: Sequence[str], settled_by: datetime
    ) -> Account:
        """The account; what came due after `settled_by` need not have its record yet."""
        self._due.sort(key=lambda due: due.at, reverse=True)
        fates, bare = self._matched()
        covered, bare, over = self._covered(bare)
        lacking = [Fate(due.at, None, due.why) for due in bare if due.at <= settled_by]
        beside = [Fate(parse_instant(at), slot) for at, rows in self._single.items() for slot in rows]
        fates += covered
        recorded = Counter(fate.slot["state"] for fate in (*fates, *beside) if fate.slot is not None)
        recorded["missed"] += min(self._older, over)
        return Account(
            routine_id, name,
            expected=len(fates) + len(lacking) + self._older, recorded=+recorded,
            lacking=len(lacking) + max(0, self._older - over), beside=len(beside),
            fates=sorted([*fates, *lacking, *beside], key=lambda fate: fate.at), since=since,
            known=max(since, self._known or since), notes=tuple(notes),
        )  # fmt: skip

    def _matched(self) -> tuple[list[Fate], list[_Due]]:
        """The due instants that have a record of their own, and the others."""
        found, bare = [], []
        for due in self._due:
            rows = self._single.get(due.instant)
            if rows:
                found.append(Fate(due.at, rows.pop()))
            else:
                bare.append(due)
        return found, bare

    def _covered(self, bare: list[_Due]) -> tuple[list[Fate], list[_Due], int]:
        """Those that a record of slots missed together covers, the others, and how many it covers before all."""
        found, over = [], 0
        for slot in self._merged:
            until = parse_instant(slot["due_at"])
            before = [due for due in bare if due.at <= until]
            same = [due for due in before if due.trigger == slot["trigger"]]
            chosen = (same or before)[: slot["count"]]
            found += [Fate(due.at, slot) for due in chosen]
            taken = set(map(id, chosen))
            bare = [due for due in bare if id(due) not in taken]
            over += slot["count"] - len(chosen)
        return found, bare, over
