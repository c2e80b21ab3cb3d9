"""Moves a routine to another minion, and says what may still fire where until the one before has let go of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row

from server.actions.moving import LOST, let_go, seen_until
from server.actions.preflight import facts_of, preflight, said_of
from server.actions.publish import change
from server.contract.digest import instant, parse_instant
from server.contract.refusals import BadUse, Refused
from server.domain import slots
from server.domain.decision import PERSONAL_DOORS
from server.domain.moving import HQ, lost_words, starter_of
from server.storage import definition_store, minion_store
from server.storage.access_store import Caller
from server.storage.database import Connection
from server.storage.definition_store import HeldRoutine

_MOST_NAMED: Final = 5


def move_routine(
    connection: Connection, caller: Caller, routine: str, to: str, *, lost: str | None = None, now: datetime
) -> dict[str, Any]:
    """Give a routine to another minion; `lost` names the one that has it and is gone for good.

    Without `lost` the new one begins when the one before has let go. With it, it begins at once, and the answer
    says which slots may fire twice if the other is alive after all: that is for a person alone to say. Raises
    `NotFound`, `BadUse`, and `Refused` for one that is on its way already, or whose name is taken there.
    """
    held, new = definition_store.find_routine(connection, routine), definition_store.find_minion(connection, to)
    if lost is not None:
        return _from_lost(connection, caller, held, new, lost, now=now)
    if held.minion_id == new.id:
        says = f"The minion {new.name} has the routine {held.name} already."
        raise Refused("is_there", says, hint=f"hq routine show {held.name} says how it stands")
    after, _ = change(connection, caller, held, {}, new, now=now)
    return _answer(connection, held, after, new, now=now)


def _from_lost(
    connection: Connection, caller: Caller, held: HeldRoutine, new: Row[Any], lost: str, *, now: datetime
) -> dict[str, Any]:
    """Take a routine over at once from a minion that is gone for good."""
    if caller.door not in PERSONAL_DOORS:
        hint = f"have a person say so: hq routine move {held.name} --to {new.name} --lost {lost[:60]}"
        raise Refused("not_a_person", "That a minion is gone for good is for a person to say.", hint=hint)
    starter = held.released_by or starter_of(held.document, held.minion_id)
    old = definition_store.find_minion(connection, lost)
    if old.id == new.id:
        says = f"The minion {new.name} cannot take over from itself."
        raise BadUse("lost_itself", says, hint="name another one with --to")
    if starter != old.id:
        says = f"The minion {old.name} does not start the routine {held.name}."
        raise Refused("not_its_minion", says, hint=f"hq routine show {held.name} says who does")
    if held.released_by is not None:
        until = seen_until(held, old)
        let_go(connection, held, until, LOST, actor=caller.id, now=instant(now))
        held = definition_store.find_routine(connection, held.id)
    after = held
    if held.minion_id != new.id:
        after, _ = change(connection, caller, held, {}, new, lost=True, now=now)
    answer = _answer(connection, held, after, new, now=now)
    past = _due_meanwhile(connection, after, now)
    says = lost_words(old.name, old.seen_at, new.name, past, answer["next"], now)
    return {**answer, "from": old.name, "may_fire_twice": [*past, *answer["next"]], "says": says}


def _answer(
    connection: Connection, before: HeldRoutine, after: HeldRoutine, new: Row[Any], *, now: datetime
) -> dict[str, Any]:
    """Where a routine is and goes to, and what may still fire where."""
    said = preflight(connection, after, now=now)
    old = None if before.minion_id is None else minion_store.minion_of_id(connection, before.minion_id)
    state = "moved" if after.released_by is None else "moving"
    says = said["moving"]["says"] if said["moving"] is not None else _begins(after, new)
    return {
        **said, "from": None if old is None else old.name, "to": new.name, "state": state,
        "handled_until": after.handled_until, "says": f"{says}{_other_zone(before, after, old, new)}",
    }  # fmt: skip


def _begins(after: HeldRoutine, new: Row[Any]) -> str:
    if starter_of(after.document, after.minion_id) == HQ:
        return f"HQ starts it, on {new.name} from now on."
    return f"{new.name} starts it from now on, with what is due after {after.handled_until}."


def _other_zone(before: HeldRoutine, after: HeldRoutine, old: Row[Any] | None, new: Row[Any]) -> str:
    """What to say of a routine that names no zone and comes to a minion in another one."""
    was, is_ = ("" if row is None else said_of(row).get("timezone") for row in (old, new))
    own = all(trigger["timezone"] for trigger in after.document["triggers"])
    if own or not was or was == is_ or before.minion_id == after.minion_id:
        return ""
    return f" It names no time zone of its own: {new.name} starts it by the clock of {is_}, not of {was}."


def _due_meanwhile(connection: Connection, held: HeldRoutine, now: datetime) -> Sequence[str]:
    """The newest slots since the minion before was last heard of: it may have started them already."""
    facts, since = facts_of(connection, held), parse_instant(held.handled_until or held.created_at)
    found = slots.due_of(held.document, held.id, facts.zone, {}, since, now)
    due = [slot.at for each in found for slot in (*each.arrived.missed_slots, *each.arrived.run)]
    return [at.isoformat() for at in sorted(due)[-_MOST_NAMED:]]


