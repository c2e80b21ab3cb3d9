"""Finds what is asked about: a recorded slot, an instant without a record, the next one, or why there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from minion.daemon.timetable import Schedules, entries_of
from minion.standing import next_instant, scheduling
from minion.store.overview import (
    Reader,
    added_at,
    first_up_at,
    handled_until,
    missed_with,
    newest_slot,
    revision_at,
    slot_keyed,
    slots_due,
)
from minion.why.chain import Facts, Link, day_and_time, zone_of
from server.contract.catch_up import stagger_s
from server.contract.digest import instant, parse_instant
from server.contract.schedule import Slot, slots_between

if TYPE_CHECKING:
    from minion.daemon.timetable import Entry
    from minion.store.routines import KeptRoutine
    from minion.why.asked import Asked

# A clock that is set does not move an instant further than this from the wall time that names it.
_AROUND: Final = timedelta(hours=26)
_MINUTE: Final = timedelta(minutes=1)
_MOST: Final = 5000


@dataclass(frozen=True, slots=True)
class Occasion:
    """One instant of a routine: when it was due, and its record. Without a record it is still to come, or overdue.

    `when` is the instant in words. `entry` is the schedule it belongs to, as far as that is in force still.
    """

    due: datetime
    when: str
    record: Mapping[str, Any] | None = None
    entry: Entry | None = None
    ahead: bool = False


def entries(db: Reader, kept: KeptRoutine, facts: Facts) -> list[Entry]:
    """The routine's schedules as a daemon would go by them; none when it is paused or HQ's."""
    up = first_up_at(db)
    since = max(parse_instant(kept.changed_at), parse_instant(up or kept.changed_at))
    return entries_of(
        kept.id, kept.document, default_zone=facts.zone, since=since,
        handled=handled_until(db, kept.id).get(kept.id, {}), schedules=Schedules(),
    )  # fmt: skip


def newest(db: Reader, kept: KeptRoutine, facts: Facts) -> Occasion | Link:
    """The newest instant at which a routine was due, else the next one; a `Link` when there is neither."""
    zone = zone_of(kept.document, facts.zone)
    record, overdue = newest_slot(db, kept.id), _overdue(entries(db, kept, facts), facts.now)
    if overdue is not None and (record is None or overdue[0].at > parse_instant(record["due_at"])):
        slot, entry = overdue
        return Occasion(slot.at, day_and_time(slot.at, zone), None, entry)
    if record is not None:
        due = parse_instant(record["due_at"])
        return Occasion(due, day_and_time(due, zone), record)
    ahead = next_instant(entries(db, kept, facts), facts.now)
    if ahead is None:
        says = "It is never due again: its one time is over, and was over when the minion came to know it."
        return Link("due", "off", says, scheduling(kept.name))
    due = datetime.fromisoformat(ahead)
    return Occasion(due, day_and_time(due, zone), ahead=True)


def _overdue(listed: Sequence[Entry], now: datetime) -> tuple[Slot, Entry] | None:
    """The newest slot that came due and that nobody has handled."""
    found = []
    for entry in listed:
        after = max(entry.last, entry.floor or entry.last)
        slots, _ = slots_between(entry.schedule, after, now - timedelta(seconds=entry.rules.stagger), 1)
        found += [(slot, entry) for slot in slots]
    return max(found, key=lambda pair: pair[0].at, default=None)


def at_the_time(db: Reader, kept: KeptRoutine, facts: Facts, asked: Asked) -> Occasion | Link:
    """The instant of a routine that was asked about; a `Link` that says why it was not due then."""
    zone = zone_of(kept.document, facts.zone)
    recorded = _recorded(db, kept.id, asked)
    if recorded is not None:
        due = parse_instant(recorded["due_at"])
        return Occasion(due, day_and_time(due, zone), recorded)
    found = _named(_unpaused(kept, facts), asked, facts.now)
    if found is None:
        return _never_then(db, kept, facts, asked)
    slot, entry = found
    when = day_and_time(slot.at, zone)
    if slot.at + timedelta(seconds=entry.rules.stagger) > facts.now:
        return Occasion(slot.at, when, None, entry, ahead=True)
    record = slot_keyed(db, kept.id, slot.key) or missed_with(db, kept.id, instant(slot.at.astimezone(UTC)))
    if record is not None:
        return Occasion(slot.at, when, record, entry)
    other = _as_it_was(db, kept, slot, when, zone)
    return other if other is not None else Occasion(slot.at, when, None, entry)


def _recorded(db: Reader, routine_id: str, asked: Asked) -> dict[str, Any] | None:
    """The record of a slot that was due then, or that the clock moved away from then; of two the newest."""
    since, until = asked.instants[0] - _AROUND, asked.instants[-1] + _AROUND
    found = None
    for slot in slots_due(db, routine_id, instant(since), instant(until)):
        due = parse_instant(slot["due_at"])
        meant = any(at <= due < at + _MINUTE for at in asked.instants)
        if meant or slot["key"].endswith(f"|{asked.wall.isoformat(timespec='minutes')}"):
            found = slot
    return found


def _named(listed: Sequence[Entry], asked: Asked, now: datetime) -> tuple[Slot, Entry] | None:
    """The slot of the schedules in force that the asked minute names; of several the newest that came due."""
    found = []
    since, until = asked.instants[0] - _AROUND, asked.instants[-1] + _AROUND
    for entry in listed:
        for slot in slots_between(entry.schedule, since, until, _MOST)[0]:
            meant = any(at <= slot.at < at + _MINUTE for at in asked.instants)
            if meant or slot.nominal[:16] == asked.wall.isoformat(timespec="minutes"):
                found.append((slot, entry))
    past = [pair for pair in found if pair[0].at <= now]
    return max(past, key=lambda pair: pair[0].at) if past else min(found, key=lambda p: p[0].at, default=None)


def _unpaused(kept: KeptRoutine, facts: Facts) -> list[Entry]:
    """The schedules of a routine whether or not it is paused, or HQ's."""
    document = {**kept.document, "paused": False, "scheduled_by": "minion"}
    return entries_of(
        kept.id, document, default_zone=facts.zone, since=facts.now, handled={}, schedules=Schedules()
    )  # fmt: skip


def _never_then(db: Reader, kept: KeptRoutine, facts: Facts, asked: Asked) -> Link:
    """It is due at other times: the ones around the asked one, as far as the routine was there already."""
    zone = zone_of(kept.document, facts.zone)
    listed, moment = _unpaused(kept, facts), asked.instants[0]
    since = max(moment - timedelta(days=400), parse_instant(added_at(db, kept.id) or kept.changed_at))
    before = [slot for entry in listed for slot in slots_between(entry.schedule, since, moment, 1)[0]]
    after = next_instant(listed, moment + timedelta(seconds=stagger_s(kept.id, kept.document["stagger_s"])))
    said = [f"It is not due at {asked.wall:%a %Y-%m-%d %H:%M}."]
    fix = f"minion next {kept.name}"
    if before:
        last = max(slot.at for slot in before)
        said.append(f"Before that it was due {day_and_time(last, zone)}.")
        fix = f"minion why {kept.name} --at {last.astimezone(zone):%Y-%m-%dT%H:%M}"
    if after is not None:
        said.append(f"After it, it is due {day_and_time(datetime.fromisoformat(after), zone)}.")
    return Link("due", "off", " ".join(said), fix)


def _as_it_was(
    db: Reader, kept: KeptRoutine, slot: Slot, when: str, zone: Any
) -> Link | None:
    """Why an instant has no record although the schedule of today has it: the routine was another one then."""
    then = revision_at(db, kept.id, instant(slot.at.astimezone(UTC)))
    if then is None:
        added = added_at(db, kept.id)
        began = f" {day_and_time(parse_instant(added), zone)}" if added is not None else ""
        says = f"At {when} it was not there yet: it was added{began}."
        return Link("due", "off", says, f"minion next {kept.name}")
    document, _ = then
    if document is None:
        return Link("due", "off", f"At {when} it was removed.", f"minion next {kept.name}")
    if document["paused"]:
        return Link("due", "off", f"At {when} it was paused.", f"minion next {kept.name}")
    if document["triggers"] != kept.document["triggers"] or document["timezone"] != kept.document["timezone"]:
        says = f"At {when} its schedule was another one: it was changed later."
        return Link("due", "off", says, f"minion slots {kept.name}")
    return None
