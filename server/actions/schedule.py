"""HQ starts routines by its own schedule: each slot that came due becomes one order and its run, or a record.

Only those that say `scheduled_by: hq`, and only once the minion that started them before let go. A slot's key is
unique among orders and runs, so that it is started once however often HQ looks, stops or is killed (DESIGN §6).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row

from server.actions.cancel import withdraw
from server.actions.fire import SlotOf, order_run
from server.actions.slot_records import (
    begins,
    due_by_hq,
    handled,
    note_handled,
    note_left,
    tell_left,
    zone_of,
)
from server.contract.digest import instant, new_id, parse_instant
from server.contract.process import Process
from server.contract.schedule import Slot
from server.domain import slots
from server.domain.moving import HQ
from server.domain.slots import ON_TIME_S, Due
from server.queue import embedded
from server.storage import definition_store, routine_facts, run_store, schedule_store
from server.storage.database import Connection
from server.storage.definition_store import HeldRoutine
from server.storage.event_store import append_event

# So many slots are seen to in one transaction: others wait for the writer too.
AT_ONCE: Final = 100
_LONGEST_KEY: Final = 200
_GOING_ON: Final = ("running", "waiting")
_NOT_BEGUN: Final = ("draft", "validated", "queued")


@dataclass(frozen=True, slots=True)
class Look:
    """What HQ's schedule has to do: whether anything just now, and when a slot starts next (UTC)."""

    anything: bool
    next: datetime | None


def look(connection: Connection, *, now: datetime) -> Look:
    """Whether there is anything to do for HQ's schedule, and when there will be (a query)."""
    anything = bool(embedded.held_back(connection)) or any(
        _why_late(connection, order, now) for order in embedded.slots_not_heard_of(connection)
    )
    ahead = []
    for routine in _started_by_hq(connection):
        known, since, zone = handled(connection, routine), begins(routine), zone_of(connection, routine)
        anything = anything or any(at > now for at in known.values())
        anything = anything or bool(slots.due_of(routine.document, routine.id, zone, known, since, now))
        due = slots.next_look(routine.document, routine.id, zone, known, since)
        if due is not None:
            ahead.append(due)
    return Look(anything, min(ahead, default=None))


def start_due(connection: Connection, processes: Mapping[str, Process], *, now: datetime) -> int:
    """Start what is due by HQ's schedule, and give up what is too late; how many slots were seen to.

    When it answers less than `AT_ONCE`, nothing more is due.
    """
    seen = withdraw_late(connection, now=now)
    _let_out(connection, now=now)
    for routine in _started_by_hq(connection):
        if seen >= AT_ONCE:
            break
        _mind_the_clock(connection, routine, now)
        begun = 0
        for due in due_by_hq(connection, routine, now):
            begun += _see_to(connection, processes, routine, due, begun, now)
            note_handled(
                connection, routine.id, due.trigger, instant(due.arrived.handled_until), now=instant(now)
            )
            seen += len(due.arrived.run) + 1
    return seen


def withdraw_late(connection: Connection, *, minion_id: str | None = None, now: datetime) -> int:
    """Give up slots that their minions were not told of in time; of one minion if asked. How many."""
    number = 0
    for order in embedded.slots_not_heard_of(connection, minion_id=minion_id):
        why = _why_late(connection, order, now)
        if why is not None:
            number += _give_up(connection, order, why, now)
    return number


def _started_by_hq(connection: Connection) -> list[HeldRoutine]:
    """The routines that HQ may start now: their minion has not left, and nobody must let go of them first."""
    found = []
    for routine in schedule_store.routines_of_hq(connection):
        minion = routine_facts.minion_of(connection, routine.minion_id) if routine.minion_id else None
        if routine.released_by is None and minion is not None and minion.left_at is None:
            found.append(routine)
    return found


def _see_to(
    connection: Connection, processes: Mapping[str, Process], routine: HeldRoutine, due: Due, begun: int,
    now: datetime,
) -> int:  # fmt: skip
    """Start or leave out the slots of a trigger that came due, with a record of each; how many began."""
    at, number, arrived = instant(now), 0, due.arrived
    if arrived.missed:
        left = arrived.missed_slots
        note_left(connection, routine, due.trigger, left, arrived.why, count=arrived.missed, now=at)
    for slot in arrived.run:
        key = _key(routine.id, slot)
        if run_store.run_of_key(connection, key) is not None:
            continue  # HQ's clock was set back, and it was started before
        _overtake(connection, routine, due.trigger, now)
        caught_up = begun + number > 0 or slots.is_late(routine.document, routine.id, slot.at, now)
        why = _start(connection, processes, routine, due.trigger, slot, key, caught_up=caught_up, now=at)
        if why is None:
            number += 1
        else:
            note_left(connection, routine, due.trigger, (slot,), why, now=at, word="skipped")
    return number


def _start(
    connection: Connection, processes: Mapping[str, Process], routine: HeldRoutine, trigger: str, slot: Slot,
    key: str, *, caught_up: bool, now: str,
) -> str | None:  # fmt: skip
    """Order the run of a slot, or have it wait its turn; why it is skipped, where it is."""
    going_on = [row.id for state in _GOING_ON for row in routine_facts.runs_in(connection, routine.id, state)]
    not_begun = [row.id for state in _NOT_BEGUN for row in routine_facts.runs_in(connection, routine.id, state)]
    turn = slots.turn_of(routine.document, caught_up=caught_up, running=len(going_on), queued=len(not_begun))
    if turn == "skip":
        if routine.document["overlap"] == "skip":
            first = (*going_on, *not_begun)[0]
            return f"its run {first} {'still goes on' if going_on else 'waits for its minion'}"
        return f"{len(not_begun)} runs of it wait already"
    state = embedded.HELD if turn == "queue" else embedded.WAITS
    order_run(
        connection, processes, routine, new_id("run_"), key, trigger="schedule", actor=HQ, now=now,
        slot=SlotOf(trigger, instant(slot.at)), state=state,
    )  # fmt: skip
    return None


def _overtake(connection: Connection, routine: HeldRoutine, trigger: str, now: datetime) -> None:
    """Give up earlier slots of a trigger that no minion was told of, where the newest alone counts."""
    for order in embedded.slots_not_heard_of(connection):
        if (order.routine_id, order.trigger) == (routine.id, trigger):
            why = slots.too_late(routine.document, routine.id, trigger, _due_at(order), now)
            if why is not None:
                _give_up(connection, order, why, now)


def _let_out(connection: Connection, *, now: datetime) -> None:
    """Have the first of those that wait their turn be handed out, of each routine of which no run goes on."""
    waits = embedded.held_back(connection)
    held_runs = {order.run_id for order in waits}
    let_out: set[str] = set()
    for order in waits:
        run = run_store.known_run(connection, order.run_id)
        if run is None or run.state != "queued":
            embedded.settle_cancelled(connection, order.run_id, now=instant(now))
            told = {"order": order.id, "why": "its run has ended"}
            append_event(connection, "order.withdrawn", told, actor=HQ, now=instant(now), run_id=order.run_id)
            continue
        others = [
            row.id for state in (*_GOING_ON, *_NOT_BEGUN)
            for row in routine_facts.runs_in(connection, order.routine_id, state) if row.id not in held_runs
        ]  # fmt: skip
        if not others and order.routine_id not in let_out:
            let_out.add(order.routine_id)
            embedded.let_out(connection, order.id, now=instant(now))
            append_event(
                connection, "order.let_out", {"order": order.id}, actor=HQ, now=instant(now), run_id=order.run_id
            )


def _why_late(connection: Connection, order: Row[Any], now: datetime) -> str | None:
    """Why the slot of an order that no minion was told of yet may not start any more; None while it may."""
    if (now - parse_instant(order.queued_at)).total_seconds() < ON_TIME_S:
        return None  # it was only just put, or let out; its minion may be about to ask
    routine = definition_store.routine_of_id(connection, order.routine_id)
    if routine is None:
        return "its routine is gone"
    return slots.too_late(routine.document, routine.id, order.trigger, _due_at(order), now)


def _give_up(connection: Connection, order: Row[Any], why: str, now: datetime) -> bool:
    """Have a slot be missed whose run nobody was told of."""
    at = instant(now)
    run = run_store.known_run(connection, order.run_id)
    routine = definition_store.routine_of_id(connection, order.routine_id)
    if run is None or not withdraw(connection, run, f"missed: {why}", actor=HQ, now=at):
        return False
    if routine is not None:
        due = json.loads(order.body)["slot"]
        tell_left(connection, routine, order.trigger, (due,), why, now=at, run=run.id)
    return True


def _mind_the_clock(connection: Connection, routine: HeldRoutine, now: datetime) -> None:
    """Go on from now where HQ's clock was set back: what it saw to in its future must not wait until then.

    What was started then is not started again: its key is known.
    """
    for trigger, until in handled(connection, routine).items():
        if until > now:
            note_handled(connection, routine.id, trigger, instant(now), now=instant(now))


def _due_at(order: Row[Any]) -> datetime:
    return parse_instant(json.loads(order.body)["slot"])


def _key(routine_id: str, slot: Slot) -> str:
    """What is unique for a slot: its own key, or a digest of it where that is longer than a key may be."""
    key = f"slot:{routine_id}:{slot.key}"
    if len(key) <= _LONGEST_KEY:
        return key
    return f"slot:{routine_id}:sha256:{hashlib.sha256(slot.key.encode()).hexdigest()}"
