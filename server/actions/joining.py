"""Minions join HQ, are told what it has for them, and say how they stand; each verb one transaction."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row

from server.actions.holding import keep_holds
from server.actions.moving import acknowledge
from server.actions.part import leave, return_routines
from server.actions.settling import settle_order
from server.contract.digest import digest_of, instant
from server.contract.joining import Beat, Differences, Goodbye, Have, Hello, Welcome
from server.contract.redaction import Redactor
from server.contract.refusals import Refused
from server.storage import definition_store, minion_store, schedule_store
from server.storage.access_store import Caller
from server.storage.database import Connection
from server.storage.epoch import cursor, epoch
from server.storage.event_store import append_event

_REDACTOR: Final = Redactor()


def join(
    connection: Connection, caller: Caller, said: Hello, *, version: str, now: datetime
) -> dict[str, Any]:
    """Have a minion join, or say anew who it is. Raises `Refused` for a token or a name that is another's."""
    at = instant(now)
    if caller.bound_to != said.name:
        says = f"This token was made for the minion {caller.bound_to}, not {said.name}."
        raise Refused("not_this_minion", says, hint=f"hq token create --scope minion --name {said.name}")
    other = minion_store.minion_of_name(connection, said.name)
    if other is not None and other.id != said.minion:
        says = f"Another minion has joined as {said.name}."
        hint = f"give this one another name, or have that one leave: hq minions forget {said.name}"
        raise Refused("minion_name_taken", says, hint=hint)
    kept: dict[str, Any] = {
        "version": said.version, "timezone": said.timezone, "engine": said.engine, "notify": list(said.notify),
    }  # fmt: skip
    # What it does not say of itself is unknown, and not nothing.
    has = {"engines": said.engines, "skills": said.skills, "connectors": said.connectors}
    kept |= {name: list(each) for name, each in has.items() if each is not None}
    kept = _REDACTOR.data(kept)
    before = minion_store.minion_of_id(connection, said.minion)
    new = minion_store.keep_minion(connection, said.minion, said.name, kept, roles=said.roles, now=at)
    told = {"minion": said.minion, "name": said.name, "version": said.version, "said": digest_of(kept)}
    if before is None:
        minion_store.told(connection, said.minion, f"{epoch(connection)}:0")
    if new:
        append_event(connection, "minion.joined", told, actor=caller.id, now=at)
        if before is not None:
            return_routines(connection, before, actor=caller.id, now=now)
    elif before is not None and (json.loads(before.said), before.name) != (kept, said.name):
        append_event(connection, "minion.changed", told, actor=caller.id, now=at)
    row = joined_minion(connection, caller, said.minion)
    welcome = Welcome(hq_version=version, epoch=epoch(connection), joined_at=row.joined_at)
    return welcome.model_dump(mode="json")


def differences(connection: Connection, caller: Caller, have: Have) -> dict[str, Any]:
    """What a minion must change to have what HQ has for it (a query). Raises `Refused`."""
    row = joined_minion(connection, caller, have.minion)
    held = [
        each for each in definition_store.list_routines(connection, minion_id=row.id)
        # Whoever starts it now has not let go of it yet.
        if each.released_by in (None, row.id)
    ]  # fmt: skip
    named = sorted({skill for routine in held for skill in routine.document["pipeline"]})
    skills, missing = [], []
    for name in named:
        kept = definition_store.newest_skill(connection, name)
        if kept is None:
            missing.append(name)
        elif have.skills.get(name) != kept.digest:
            skills.append({
                "name": name, "version": kept.version, "digest": kept.digest, "files": json.loads(kept.archive),
            })  # fmt: skip
    routines = [
        {"id": each.id, "document": each.document, "digest": each.digest, "revision": each.revision,
         "handled_until": each.handled_until}
        for each in held if have.routines.get(each.id) != each.digest
    ]  # fmt: skip
    ids = {each.id for each in held}
    return Differences.model_validate_json(json.dumps({
        "cursor": cursor(connection), "routines": routines, "skills": skills,
        "gone": sorted(set(have.routines) - ids), "missing": missing,
    })).model_dump(mode="json")  # fmt: skip


def beat(connection: Connection, caller: Caller, said: Beat, *, now: datetime) -> dict[str, Any]:
    """Note how a minion stands and what became of its orders. Raises `Refused`."""
    at, row = instant(now), joined_minion(connection, caller, said.minion)
    for each in said.settled:
        settle_order(connection, row, each, actor=caller.id, now=at)
    acknowledge(connection, row, said, actor=caller.id, now=now)
    live: Mapping[str, Any] = said.model_dump(mode="json", include={"running", "next_due", "health", "troubles"})
    own = schedule_store.concerning(connection, row.id, said.released)
    released = {key: said.released[key] for key in own}
    minion_store.seen(connection, row.id, {**_REDACTOR.data(live), "released": released}, now=at)
    keep_holds(connection, caller, row, said, now=at)
    return {}


def goodbye(connection: Connection, caller: Caller, said: Goodbye, *, now: datetime) -> dict[str, Any]:
    """Have a minion leave that says so; saying it again changes nothing. Raises `Refused`.

    Its token stays good, for joining again and nothing else: who holds it has just shown that it is theirs.
    """
    row = minion_store.minion_of_id(connection, said.minion)
    if row is None or row.left_at is None or row.name != caller.bound_to:
        row = joined_minion(connection, caller, said.minion)
        leave(connection, row, f"the minion {row.name} left", actor=caller.id, now=now)
    return {}


def joined_minion(connection: Connection, caller: Caller, minion_id: str) -> Row[Any]:
    """The minion that a caller is. Raises `Refused` for one that never joined, has left, or is another."""
    row = minion_store.minion_of_id(connection, minion_id)
    if row is None or row.left_at is not None:
        says = f"The minion {minion_id} has not joined."
        raise Refused("not_joined", says, hint="say hello first: minion join URL")
    if row.name != caller.bound_to:
        says = f"This token was made for the minion {caller.bound_to}, not {row.name}."
        raise Refused("not_this_minion", says, hint=f"hq token create --scope minion --name {row.name}")
    return row
