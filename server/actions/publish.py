"""Routines as HQ keeps them: created, changed and taken out of use, each version kept, each time with an event."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row

from server.actions.cancel import call_off, withdraw
from server.actions.moving import HandedOn, follow, hand_on, told_of
from server.actions.preflight import facts_of, preflight, said_of
from server.actions.slot_records import end_schedules
from server.contract.digest import instant, new_id
from server.contract.documents import admit
from server.contract.redaction import Redactor
from server.contract.refusals import BadDocument, BadUse, Refused
from server.contract.routine import Routine, admitted, check_schedules
from server.domain import explanation, revision
from server.storage import definition_store, routine_facts, token_store
from server.storage.access_store import Caller, once
from server.storage.database import Connection
from server.storage.definition_store import HeldRoutine
from server.storage.event_store import append_event

_REDACTOR: Final = Redactor()
_DELETED: Final = "the routine was deleted"


def create_routine(
    connection: Connection, caller: Caller, fields: Mapping[str, Any], *, minion: str | None = None,
    client_key: str | None = None, now: datetime,
) -> dict[str, Any]:  # fmt: skip
    """Keep a new routine of these fields of its document, and answer whether it will fire and when.

    `minion` is a name or id; without it, it is for the one minion there is. Raises `BadDocument` that names the
    field, `NotFound`, `BadUse` where several minions have joined, `Refused` for a name that is taken.
    """
    at = instant(now)

    def do() -> dict[str, Any]:
        if fields.get("id") is not None:
            raise BadUse("fixed_field", "The id of a new routine is made here.", hint="leave it out")
        owner = _owner(connection, minion or fields.get("minion_id"))
        routine_id, owner_id = new_id("trig_"), None if owner is None else owner.id
        document = _admitted({**fields, "id": routine_id, "minion_id": owner_id}, owner, now=now)
        _refuse_taken(connection, document["name"], owner)
        fresh = HandedOn()
        held = _keep(connection, routine_id, document, owner_id, fresh, caller, at)
        told = {"routine": held.id, "name": held.name, **told_of(held, fresh)}
        append_event(connection, "routine.created", told, actor=caller.id, now=at)
        return preflight(connection, held, now=now)

    request = {"fields": dict(fields), "minion": minion}
    return once(connection, caller.client, client_key, "create_routine", request, do, now=at)


def update_routine(
    connection: Connection, caller: Caller, routine: str, changes: Mapping[str, Any], *, minion: str | None = None,
    client_key: str | None = None, now: datetime,
) -> dict[str, Any]:  # fmt: skip
    """Change these fields of a routine and keep the version; `limits`, `environment`, `watch` key by key.

    `minion` is another one that is to have it: it begins when the one before has let go (`moving`). Answers as
    `create_routine`, and what changed. Raises `BadDocument` that names the field, `BadUse`, `NotFound`, `Refused`.
    """

    def do() -> dict[str, Any]:
        held = definition_store.find_routine(connection, routine)
        owner = definition_store.find_minion(connection, minion) if minion else None
        after, fields = change(connection, caller, held, changes, owner, now=now)
        return {**preflight(connection, after, now=now), "changed": fields}

    request = {"routine": routine, "changes": dict(changes), "minion": minion}
    return once(connection, caller.client, client_key, "update_routine", request, do, now=instant(now))


def change(
    connection: Connection, caller: Caller, held: HeldRoutine, changes: Mapping[str, Any],
    owner: Row[Any] | None, *, lost: bool = False, now: datetime,
) -> tuple[HeldRoutine, list[str]]:  # fmt: skip
    """Keep a routine with these changes, for another minion if one is given; it, and the fields that differ.

    `lost`: whoever starts it by itself is gone for good. Raises as `update_routine`.
    """
    at, owner_id = instant(now), held.minion_id if owner is None else owner.id
    said = {**revision.changed(held.document, changes), "id": held.id, "minion_id": owner_id}
    zone_of = routine_facts.minion_of(connection, owner_id) if owner_id else None
    document = _admitted(said, zone_of, now=now, past=not revision.reschedules(changes))
    if owner_id != held.minion_id:
        _refuse_taken(connection, held.name, owner)
    handed = hand_on(connection, held, document, owner_id, lost=lost, now=now)
    after = _keep(connection, held.id, document, owner_id, handed, caller, at)
    fields = [name for name in revision.differing(held.document, document) if name != "id"]
    if after.revision != held.revision:
        told = {"routine": held.id, "name": held.name, "revision": after.revision, "fields": fields}
        append_event(connection, "routine.changed", {**told, **told_of(after, handed)}, actor=caller.id, now=at)
        follow(connection, held, after, actor=caller.id, now=now)
    return after, fields


def pause_routine(connection: Connection, caller: Caller, routine: str, *, now: datetime) -> dict[str, Any]:
    """Have a routine not start by itself until it is resumed; twice is as good as once. Raises `NotFound`."""
    return update_routine(connection, caller, routine, {"paused": True}, now=now)


def resume_routine(connection: Connection, caller: Caller, routine: str, *, now: datetime) -> dict[str, Any]:
    """Have a paused routine start by itself again, from now on. Raises `NotFound`."""
    return update_routine(connection, caller, routine, {"paused": False}, now=now)


def delete_routine(
    connection: Connection, caller: Caller, routine: str, *, client_key: str | None = None, now: datetime
) -> dict[str, Any]:
    """Take a routine out of use: its runs and versions stay, what waits of it is cancelled, its tokens end.

    Raises `NotFound`, `Refused` where several routines fit.
    """
    at = instant(now)

    def do() -> dict[str, Any]:
        held = definition_store.find_routine(connection, routine)
        facts = facts_of(connection, held)
        due = explanation.next_instants(facts, held.id, now)
        waiting = routine_facts.runs_in(connection, held.id, "queued")
        cancelled = [row.id for row in waiting if _called_off(connection, row, caller, at)]
        live = [row for row in token_store.list_tokens(connection, live_at=at) if row.bound_to == held.id]
        for token in live:
            token_store.revoke_token(connection, token.id, by=caller.id, now=at)
        definition_store.remove_routine(connection, held, by=caller.id, now=at)
        end_schedules(connection, held, now=at)
        told = {"routine": held.id, "name": held.name, "minion": held.minion_id, "revision": held.revision + 1}
        append_event(connection, "routine.deleted", told, actor=caller.id, now=at)
        return {
            "id": held.id, "name": held.name, "revision": held.revision + 1, "deleted": True, "will_fire": False,
            "why_not": "It is deleted.", "next": [], "would_have_been_due": due,
            "cancelled_runs": cancelled, "revoked_tokens": len(live),
            "runs_kept": routine_facts.count_runs(connection, held.id),
        }  # fmt: skip

    return once(connection, caller.client, client_key, "delete_routine", {"routine": routine}, do, now=at)


def _admitted(
    said: Mapping[str, Any], owner: Row[Any] | None, *, now: datetime, past: bool = False
) -> dict[str, Any]:
    """The plain JSON of a routine, its schedules good. Raises `BadDocument` that names the field."""
    routine = admit(Routine, dict(said), source="The routine")
    zone = explanation.known_zone(_zone(owner)) or "UTC"
    check_schedules(routine, default_zone=zone, now=now, past=past)
    document = admitted(routine)
    secret = next((name for name, value in document.items() if _REDACTOR.data(value) != value), None)
    if secret is not None:
        says = f"The routine: `{secret}` holds what looks like a secret."
        hint = "keep the secret on the minion, and say its name here"
        raise BadDocument("secret_in_routine", says, hint=hint)
    return document


def _keep(
    connection: Connection, routine_id: str, document: Mapping[str, Any], owner_id: str | None, handed: HandedOn,
    caller: Caller, at: str,
) -> HeldRoutine:  # fmt: skip
    return definition_store.keep_routine(
        connection, routine_id, document, minion_id=owner_id, by=caller.id, now=at,
        handled_until=handed.handled_until, released_by=handed.released_by,
    )  # fmt: skip


def _called_off(connection: Connection, run: Row[Any], caller: Caller, at: str) -> bool:
    """Call off a run that waits, as its routine is deleted; False where its minion may have begun it."""
    try:
        return bool(call_off(connection, run, _DELETED, actor=caller.id, now=at)["state"] == "cancelled")
    except Refused:  # its minion has left, and will not take it any more
        return withdraw(connection, run, _DELETED, actor=caller.id, now=at)


def _owner(connection: Connection, minion: str | None) -> Row[Any] | None:
    """The minion that is named, else the only one; None while none has joined. Raises `NotFound`, `BadUse`."""
    if minion:
        return definition_store.find_minion(connection, minion)
    joined = definition_store.list_minions(connection)
    if len(joined) > 1:
        names = ", ".join(row.name for row in joined[:10])
        hint = f"name one of them as `minion`: {names}"
        raise BadUse("which_minion", f"There are {len(joined)} minions to choose from.", hint=hint)
    return joined[0] if joined else None


def _refuse_taken(connection: Connection, name: str, owner: Row[Any] | None) -> None:
    taken = routine_facts.named(connection, name, None if owner is None else owner.id)
    if taken is not None:
        whose = "that no minion has" if owner is None else f"of the minion {owner.name}"
        hint = f"change it with update_routine {taken}, or choose another name"
        raise Refused("routine_exists", f"There already is a routine {name} {whose}.", hint=hint)


def _zone(owner: Row[Any] | None) -> object:
    return None if owner is None else said_of(owner).get("timezone")
