"""Routines go from one that starts them to another: the next begins where the one before says that it let go.

A minion lets go by going by the definitions in which a routine is not its own to start any more, and saying so
with its beat; until then nobody else starts the routine by itself (DECISIONS "HQ"). HQ lets go at once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row

from server.actions.slot_records import handled_by_hq, keep_schedules
from server.contract.digest import instant
from server.contract.joining import Beat
from server.contract.refusals import Refused
from server.domain.moving import HQ, is_rescheduled, let_go_at, starter_of
from server.queue import embedded
from server.storage import minion_store, run_store, schedule_store
from server.storage.database import Connection
from server.storage.definition_store import HeldRoutine
from server.storage.epoch import epoch, seq_of
from server.storage.event_store import append_event

# Why nobody waits until a minion lets go of a routine, or no more.
NEVER_TOLD: Final = "never told of it"
LEFT: Final = "it has left"
LOST: Final = "given up for lost"
ACKNOWLEDGED: Final = "it let go"


@dataclass(frozen=True, slots=True)
class HandedOn:
    """How a changed routine is to be kept: since when its slots are its starter's, and who must let go first.

    `handled_until` None: as it was. `at_once` is why whoever started it before need not let go first.
    """

    handled_until: str | None = None
    released_by: str | None = None
    at_once: str | None = None


def hand_on(
    connection: Connection, held: HeldRoutine, document: Mapping[str, Any], minion_id: str | None, *,
    lost: bool = False, now: datetime,
) -> HandedOn:  # fmt: skip
    """How a routine is kept that becomes `document`, of this minion. `lost`: whoever starts it is gone for good.

    Raises `Refused` for one that is on its way already, and one that would be due at other times with its move.
    """
    before, after = starter_of(held.document, held.minion_id), starter_of(document, minion_id)
    rescheduled = is_rescheduled(held.document, document)
    if held.released_by is not None:
        if after == held.released_by:  # given back before HQ heard that it let go
            return HandedOn(_went_by(connection, held, after))
        if rescheduled or (after, minion_id) != (before, held.minion_id):
            raise _on_its_way(connection, held)
        return HandedOn(released_by=held.released_by)
    if before == after:
        return HandedOn(instant(now) if rescheduled else None)
    if before is None:
        return HandedOn(instant(now))
    if before == HQ:
        return HandedOn(instant(handled_by_hq(connection, held)))
    handed = _let_go_first(connection, held, before, lost=lost)
    if handed.released_by is not None and rescheduled:
        says = f"The routine {held.name} cannot be given to another one and be due at other times in one change."
        hint = "give it on first, and change its schedule when the other one has it"
        raise Refused("move_and_change", says, hint=hint)
    return handed


def told_of(held: HeldRoutine, handed: HandedOn) -> dict[str, Any]:
    """What the log says of how a routine is kept, so that its row follows from the log."""
    at_once = {"at_once": handed.at_once} if handed.at_once is not None else {}
    return {
        "minion": held.minion_id, "digest": held.digest, "handled_until": held.handled_until,
        "released_by": held.released_by, **at_once,
    }  # fmt: skip


def follow(
    connection: Connection, before: HeldRoutine, after: HeldRoutine, *, actor: str, now: datetime
) -> int:
    """Have what waits, and HQ's own schedule, follow a routine that was changed; how many runs went along.

    What its minion was told of already stays there: it may have begun.
    """
    keep_schedules(connection, before, after, now=now)
    if before.minion_id is None or after.minion_id in (None, before.minion_id):
        return 0
    orders = embedded.readdress(connection, after.id, before=before.minion_id, after=str(after.minion_id))
    for order in orders:
        run_store.set_run(connection, order.run_id, minion_id=after.minion_id)
        told = {"order": order.id, "minion": after.minion_id}
        append_event(connection, "order.moved", told, actor=actor, now=instant(now), run_id=order.run_id)
    return len(orders)


def acknowledge(connection: Connection, minion: Row[Any], said: Beat, *, actor: str, now: datetime) -> None:
    """Note how far a minion goes by HQ's definitions; what it let go of is its next starter's from now on."""
    reached = seq_of(said.cursor, epoch(connection))
    for routine in () if reached is None else schedule_store.waiting_for(connection, minion.id):
        if routine.released_seq is not None and reached is not None and routine.released_seq <= reached:
            word = said.released.get(routine.id)
            begins = _begins(routine) if word is not None else _went_by(connection, routine, minion.id)
            until = let_go_at(begins, word, now)
            let_go(connection, routine, until, ACKNOWLEDGED, actor=actor, now=instant(now))
    # Last: what it went by before says whether it ever had what it lets go of.
    if said.cursor != minion.acked:
        minion_store.acked(connection, minion.id, said.cursor)


def let_go_of_all(connection: Connection, minion: Row[Any], why: str, *, actor: str, now: str) -> None:
    """Have nobody wait any more until a minion lets go of routines: it has left, or is given up for lost."""
    for routine in schedule_store.waiting_for(connection, minion.id):
        let_go(connection, routine, seen_until(routine, minion), why, actor=actor, now=now)


def let_go(connection: Connection, routine: HeldRoutine, until: str, why: str, *, actor: str, now: str) -> None:
    """Have a routine be let go of, its slots seen to up to `until` (an instant); its next starter may begin."""
    schedule_store.release(connection, routine.id, handled_until=until)
    told = {"routine": routine.id, "name": routine.name, "by": routine.released_by, "handled_until": until}
    append_event(connection, "routine.released", {**told, "why": why}, actor=actor, now=now)


def seen_until(routine: HeldRoutine, minion: Row[Any]) -> str:
    """Up to when a minion that says no more saw to the slots of a routine: at least while it was heard of.

    Its last beat may have said that it had let go of it before.
    """
    return max(_begins(routine), _released(minion).get(routine.id, minion.seen_at or ""))


def _let_go_first(connection: Connection, held: HeldRoutine, minion_id: str, *, lost: bool) -> HandedOn:
    """Whether the minion that starts a routine must let go of it first."""
    minion = minion_store.minion_of_id(connection, minion_id)
    if minion is None:
        return HandedOn(_begins(held), at_once=LEFT)
    if lost or minion.left_at is not None:
        return HandedOn(seen_until(held, minion), at_once=LOST if lost else LEFT)
    told = seq_of(minion.told, epoch(connection))
    # Of a store that was put back nobody knows what was told since: it must say itself that it let go.
    if told is not None and told < held.given_seq:
        return HandedOn(_begins(held), at_once=NEVER_TOLD)
    return HandedOn(released_by=minion_id)


def _went_by(connection: Connection, held: HeldRoutine, minion_id: str) -> str:
    """Up to when a minion surely saw to the slots of a routine that it is to let go of, by its beats alone."""
    minion = minion_store.minion_of_id(connection, minion_id)
    if minion is None:
        return _begins(held)
    acked = seq_of(minion.acked, epoch(connection))
    had_it = acked is not None and acked >= held.given_seq
    return seen_until(held, minion) if had_it or held.id in _released(minion) else _begins(held)


def _released(minion: Row[Any]) -> Mapping[str, str]:
    """What a minion did not start any more as it was last heard of, and up to when it saw to it."""
    found: Mapping[str, str] = json.loads(minion.live).get("released") or {}
    return found


def _begins(held: HeldRoutine) -> str:
    return held.handled_until or held.created_at


def _on_its_way(connection: Connection, held: HeldRoutine) -> Refused:
    old = minion_store.minion_of_id(connection, str(held.released_by))
    name = held.released_by if old is None else old.name
    says = f"The routine {held.name} is on its way already: {name} has not let go of it yet."
    hint = f"wait until {name} is heard of; or give it back; or, if it is gone for good: --lost {name}"
    return Refused("routine_moving", says, hint=f"{hint}, with hq routine move {held.name}")
