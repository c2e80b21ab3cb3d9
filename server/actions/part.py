"""Minions leave HQ, by their own word or by a person's; what waits for them is called off, their routines stay."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Row

from server.actions.cancel import withdraw
from server.actions.compare import close_run
from server.actions.holding import drop_holds
from server.actions.moving import LEFT, HandedOn, follow, hand_on, let_go_of_all, told_of
from server.actions.watch import end_silence
from server.contract.digest import instant
from server.queue import embedded
from server.storage import definition_store, minion_store, routine_facts, run_store, token_store
from server.storage.access_store import Caller
from server.storage.database import Connection
from server.storage.definition_store import HeldRoutine
from server.storage.event_store import append_event


def forget_minion(connection: Connection, caller: Caller, minion: str, *, now: datetime) -> dict[str, Any]:
    """Have HQ forget a minion, whether it is there or gone for good: it has left, and its tokens end.

    Raises `NotFound`.
    """
    at, row = instant(now), definition_store.find_minion(connection, minion)
    live = [
        each for each in token_store.list_tokens(connection, live_at=at)
        if each.scope == "minion" and each.bound_to == row.name
    ]  # fmt: skip
    for token in live:
        token_store.revoke_token(connection, token.id, by=caller.id, now=at)
    left = leave(connection, row, f"the minion {row.name} was forgotten", actor=caller.id, now=now)
    return {**left, "revoked_tokens": len(live)}


def leave(connection: Connection, row: Row[Any], why: str, *, actor: str, now: datetime) -> dict[str, Any]:
    """Note that a minion has left: its orders and what it asked are withdrawn, its open runs end `interrupted`.

    Its routines stay, without a minion. When it joins again it gets back those that nobody else was given.
    """
    at = instant(now)
    orders = _call_off(connection, row, why, actor=actor, now=at)
    drop_holds(connection, row.id, why, actor=actor, now=at)
    open_runs = minion_store.open_runs(connection, row.id)
    for run in open_runs:
        close_run(connection, run, "interrupted", actor=actor, now=at, why=why)
    end_silence(connection, row, now=at)
    let_go_of_all(connection, row, LEFT, actor=actor, now=at)
    minion_store.left(connection, row.id, now=at)
    held = definition_store.list_routines(connection, minion_id=row.id)
    told = {"minion": row.id, "name": row.name, "why": why, "routines": [each.id for each in held]}
    append_event(connection, "minion.left", told, actor=actor, now=at)
    for routine in held:
        _give(connection, routine, None, actor=actor, now=now)
    return {
        "minion": row.id, "name": row.name, "left_at": at, "seen_at": row.seen_at,
        "routines": [{"id": each.id, "name": each.name} for each in held], "orders_withdrawn": orders,
        "runs_interrupted": open_runs,
    }  # fmt: skip


def return_routines(connection: Connection, row: Row[Any], *, actor: str, now: datetime) -> list[str]:
    """Give a minion that joins again the routines that it had as it left; `row` is how it stood since then.

    Not those that were given to another one or changed meanwhile, nor those of a name that it has by now. What was
    due meanwhile was nobody's.
    """
    returned = []
    for routine in definition_store.left_behind(connection, row.id):
        if routine_facts.named(connection, routine.name, row.id) is None:
            _give(connection, routine, row.id, actor=actor, now=now)
            returned.append(routine.id)
    return returned


def _call_off(connection: Connection, row: Row[Any], why: str, *, actor: str, now: str) -> int:
    """Withdraw all that waits for a minion; how many orders that were."""
    waiting = embedded.unsettled(connection, row.id)
    for order in waiting:
        run = run_store.known_run(connection, order.run_id) if order.run_id is not None else None
        if order.kind == "run" and run is not None and withdraw(connection, run, why, actor=actor, now=now):
            continue
        if embedded.settle(connection, order.id, "cancelled", now=now):
            told = {"order": order.id, "why": why}
            run_id = None if run is None else run.id
            append_event(connection, "order.withdrawn", told, actor=actor, now=now, run_id=run_id)
    return len(waiting)


def _give(
    connection: Connection, routine: HeldRoutine, minion_id: str | None, *, actor: str, now: datetime
) -> None:
    """Keep a routine for another minion, or for none; one that has to let go of it first still has to."""
    document = {**routine.document, "minion_id": minion_id}
    if routine.released_by is not None:
        handed = HandedOn(None, routine.released_by, None)
    else:
        handed = hand_on(connection, routine, document, minion_id, now=now)
    after = definition_store.keep_routine(
        connection, routine.id, document, minion_id=minion_id, by=actor, now=instant(now),
        handled_until=handed.handled_until, released_by=handed.released_by,
    )  # fmt: skip
    told = {"routine": after.id, "name": after.name, "revision": after.revision, "fields": ["minion_id"]}
    append_event(
        connection, "routine.changed", {**told, **told_of(after, handed)}, actor=actor, now=instant(now)
    )
    follow(connection, routine, after, actor=actor, now=now)
