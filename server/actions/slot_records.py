"""How far HQ saw to the slots of routines that it starts, and what came to nothing: in its tables and its log."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from server.contract.digest import instant, parse_instant
from server.contract.schedule import Slot
from server.domain import slots
from server.domain.explanation import known_zone
from server.domain.moving import HQ, starter_of
from server.domain.slots import Due
from server.storage import routine_facts, schedule_store
from server.storage.database import Connection
from server.storage.definition_store import HeldRoutine
from server.storage.event_store import append_event

# Of more slots that came to nothing together, the newest so many are named.
MOST_NAMED: Final = 20
_CHANGED: Final = "its schedule was changed before HQ came to it"


def begins(held: HeldRoutine) -> datetime:
    """From when on the slots of a routine are those of who starts it now."""
    return parse_instant(held.handled_until or held.created_at)


def handled(connection: Connection, held: HeldRoutine) -> dict[str, datetime]:
    """How far HQ saw to each trigger of a routine."""
    return {name: parse_instant(at) for name, at in schedule_store.handled(connection, held.id).items()}


def handled_by_hq(connection: Connection, held: HeldRoutine) -> datetime:
    """Up to when HQ saw to the slots of a routine: to those of all its triggers, whenever it looks."""
    return max([*handled(connection, held).values(), begins(held)])


def zone_of(connection: Connection, held: HeldRoutine) -> str | None:
    """The zone that counts where a routine names none: its minion's; None where nobody knows it."""
    minion = routine_facts.minion_of(connection, held.minion_id) if held.minion_id else None
    return None if minion is None else known_zone(json.loads(minion.said).get("timezone"))


def due_by_hq(connection: Connection, held: HeldRoutine, now: datetime) -> list[Due]:
    """The triggers of a routine of which slots came due that HQ has not come to."""
    return slots.due_of(
        held.document, held.id, zone_of(connection, held), handled(connection, held), begins(held), now
    )


def keep_schedules(connection: Connection, before: HeldRoutine, after: HeldRoutine, *, now: datetime) -> None:
    """Have HQ's schedule follow a routine: a trigger that stays goes on where it was, a new one begins now.

    What came due of one that goes, and HQ had not come to, is written down as missed.
    """
    known = schedule_store.handled(connection, after.id)
    if not (_is_hqs(before) and _is_hqs(after)):
        _keep(connection, after.id, known, {}, now=instant(now))
        return
    reached = instant(handled_by_hq(connection, before))
    old, new = (slots.triggers_of(each.document, zone_of(connection, each)) for each in (before, after))
    if old.keys() == new.keys():
        return
    for due in due_by_hq(connection, before, now):
        if due.trigger not in new:
            left = (*due.arrived.missed_slots, *due.arrived.run)
            count = due.arrived.missed + len(due.arrived.run)
            note_left(connection, before, due.trigger, left, _CHANGED, count=count, now=instant(now))
    until = {name: known.get(name, reached) if name in old else instant(now) for name in new}
    _keep(connection, after.id, known, until, now=instant(now))


def end_schedules(connection: Connection, held: HeldRoutine, *, now: str) -> None:
    """Have HQ know no trigger any more of a routine that is taken out of use."""
    _keep(connection, held.id, schedule_store.handled(connection, held.id), {}, now=now)


def note_handled(connection: Connection, routine_id: str, trigger: str, until: str, *, now: str) -> None:
    """Write down how far HQ saw to the slots of a trigger."""
    schedule_store.advance(connection, routine_id, trigger, until)
    told = {"schedule": f"{routine_id} {trigger}", "until": until}
    append_event(connection, "schedule.handled", told, actor=HQ, now=now)


def note_left(
    connection: Connection, held: HeldRoutine, trigger: str, left: Sequence[Slot], why: str, *, now: str,
    count: int | None = None, word: str = "missed",
) -> None:  # fmt: skip
    """Write down that slots come to nothing: `missed`, or `skipped` because of a run; the newest are named."""
    named = sorted(instant(slot.at) for slot in left)[-MOST_NAMED:]
    number = len(left) if count is None else count
    tell_left(connection, held, trigger, named, why, count=number, now=now, word=word)


def tell_left(
    connection: Connection, held: HeldRoutine, trigger: str, named: Sequence[str], why: str, *, now: str,
    count: int = 1, word: str = "missed", run: str | None = None,
) -> None:  # fmt: skip
    """Write down of slots, by their instants, that they come to nothing; `run` is the one that was called off."""
    told: dict[str, Any] = {
        "routine": held.id, "name": held.name, "trigger": trigger, "slots": list(named), "count": count,
        "why": why, "run": run,
    }  # fmt: skip
    append_event(connection, f"slot.{word}", told, actor=HQ, now=now)


def _is_hqs(held: HeldRoutine) -> bool:
    return starter_of(held.document, held.minion_id) == HQ and held.released_by is None


def _keep(
    connection: Connection, routine_id: str, before: Mapping[str, str], after: Mapping[str, str], *, now: str
) -> None:
    """Have HQ know these triggers of a routine, and no others."""
    if before == after:
        return
    schedule_store.keep_handled(connection, routine_id, after)
    for trigger in sorted(before.keys() - after.keys()):
        append_event(connection, "schedule.ended", {"schedule": f"{routine_id} {trigger}"}, actor=HQ, now=now)
    for trigger in sorted(name for name in after if before.get(name) != after[name]):
        told = {"schedule": f"{routine_id} {trigger}", "until": after[trigger]}
        append_event(connection, "schedule.handled", told, actor=HQ, now=now)
