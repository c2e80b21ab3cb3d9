"""Runs are asked for and called off: an order for the routine's minion in the queue, and the run it is for."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row

from server.actions.compare import close_run
from server.actions.ground import ground_of
from server.contract.digest import canonical_json, instant, new_id
from server.contract.orders import Order
from server.contract.process import Process
from server.contract.redaction import Redactor
from server.contract.refusals import BadUse, Refused
from server.contract.run import Truths, has_ended, verdict_of
from server.contract.spelling import LONGEST_CONTENT
from server.queue import embedded
from server.storage import routine_facts, run_store
from server.storage.access_store import Caller, once
from server.storage.database import Connection
from server.storage.definition_store import HeldRoutine, find_routine
from server.storage.event_store import append_event

_REDACTOR: Final = Redactor()


def run_routine(
    connection: Connection, caller: Caller, processes: Mapping[str, Process], routine: str, *,
    text: str = "", client_key: str | None = None, now: datetime,
) -> dict[str, Any]:  # fmt: skip
    """Queue an order to run a routine now, and its run, `queued`; a paused one runs too when it is asked for.

    `text` is handed to the run as words from outside, without secrets. Raises `NotFound`, `BadUse`, and `Refused`
    for a routine that no minion has, or a client key of another call.
    """
    at = instant(now)
    if len(text) > LONGEST_CONTENT:
        says = f"The text has {len(text):,} characters."
        raise BadUse("text_too_long", says, hint=f"shorten it to {LONGEST_CONTENT:,}")

    def do() -> dict[str, Any]:
        held = find_routine(connection, routine)
        minion = _minion_of(connection, held)
        run_id = new_id("run_")
        # A repeated key never comes this far twice; should it, the order's own unique key stops it.
        key = f"run:{caller.client}:{client_key}" if client_key is not None else f"run:{run_id}"
        ahead = len(embedded.waiting_for(connection, minion.id))
        _open(connection, caller, processes, held, run_id, key, at)
        said = _REDACTOR.text(text)
        order_id = f"order_{run_id.removeprefix('run_')}"
        order = Order(
            id=order_id, kind="run", routine=held.name, key=order_id, input=said or None, run=run_id, issued_at=at
        )
        embedded.put(
            connection, order_id, key, minion.id, order.model_dump(mode="json"), routine_id=held.id, run_id=run_id,
            now=at,
        )  # fmt: skip
        told = {"order": order_id, "minion": minion.id, "routine": held.id}
        append_event(connection, "order.queued", told, actor=caller.id, now=at, run_id=run_id)
        return {
            "run": run_id, "state": "queued", "routine": held.name, "routine_id": held.id, "minion": minion.name,
            "order": order_id, "orders_ahead": ahead, "text_redacted": said != text,
        }  # fmt: skip

    request = {"routine": routine, "text": text}
    return once(connection, caller.client, client_key, "run_routine", request, do, now=at)


def cancel_run(
    connection: Connection, caller: Caller, run: str, *, why: str = "", client_key: str | None = None,
    now: datetime,
) -> dict[str, Any]:  # fmt: skip
    """Call a run off: one that waits for its minion, with its order; or one that the caller performs itself.

    Raises `NotFound`, and `Refused` for a run that has ended, that another token opened, or that its minion has
    begun.
    """
    at = instant(now)

    def do() -> dict[str, Any]:
        row = run_store.find_run(connection, run)
        if has_ended(row.state) or (row.deadline_at or "9") <= at:
            word = row.state if has_ended(row.state) else "over its deadline"
            raise Refused("run_over", f"The run {row.id} is {word}.", hint=f"get_run {row.id} shows it")
        reason = _REDACTOR.text(why) or f"{caller.name} cancelled it"
        if row.source == "attested":
            if row.actor != caller.client and caller.scope != "admin":
                says = f"The run {row.id} is another client's."
                raise Refused("other_session", says, hint="cancel it as who opened it")
            close_run(connection, row.id, "cancelled", actor=caller.id, now=at, why=reason)
        elif not {"session", "admin"} & set(caller.scope.split("+")):
            says = f"The run {row.id} is performed by a minion."
            raise Refused("other_session", says, hint="cancel it with a token of scope session")
        elif not withdraw(connection, row, reason, actor=caller.id, now=at):
            says = f"The run {row.id} was taken by its minion."
            raise Refused("run_begun", says, hint=f"cancel it there: minion cancel {row.id}")
        return {"run": row.id, "state": "cancelled", "verdict": "skipped", "why": reason}

    request = {"run": run, "why": why}
    return once(connection, caller.client, client_key, "cancel_run", request, do, now=at)


def withdraw(connection: Connection, run: Row[Any], why: str, *, actor: str, now: str) -> bool:
    """Cancel a run that waits for its minion, and its order; False, and nothing done, once it was taken."""
    if run.state != "queued" or not embedded.settle_cancelled(connection, run.id, now=now):
        return False
    append_event(connection, "order.withdrawn", {"why": why}, actor=actor, now=now, run_id=run.id)
    run_store.move(
        connection, run.id, "queued", "cancelled", actor=actor, now=now, why=why, ended_at=now,
        verdict=verdict_of(Truths("cancelled", run.outcome)),
    )  # fmt: skip
    return True


def refuse_order(connection: Connection, run_id: str, why: str, *, actor: str, now: str) -> None:
    """End the run of an order that its minion will not carry out; nothing where it has ended otherwise."""
    run = run_store.find_run(connection, run_id)
    if run.state == "queued":
        run_store.move(
            connection, run.id, "queued", "failed", actor=actor, now=now, why=why, ended_at=now,
            verdict=verdict_of(Truths("failed", run.outcome)),
        )  # fmt: skip


def _minion_of(connection: Connection, held: HeldRoutine) -> Row[Any]:
    """The minion that is to run a routine. Raises `Refused` where there is none any more, or was none ever."""
    minion = routine_facts.minion_of(connection, held.minion_id) if held.minion_id else None
    if minion is None:
        hint = "give it one, update_routine with `minion`; or perform it in a session of scope ledger"
        raise Refused("no_minion", f"No minion has the routine {held.name}.", hint=hint)
    if minion.left_at is not None:
        says = f"The minion {minion.name}, which has the routine {held.name}, has left."
        raise Refused("minion_left", says, hint="have it join again")
    return minion


def _open(
    connection: Connection, caller: Caller, processes: Mapping[str, Process], held: HeldRoutine, run_id: str,
    key: str, at: str,
) -> None:  # fmt: skip
    """Open the run of an order and have it wait: its minion's runner says later what it did."""
    ground = ground_of(processes, held.document, "manual")
    run: dict[str, Any] = {
        "id": run_id, "order_key": key, "routine_id": held.id, "routine": held.name,
        "minion_id": held.minion_id, "trigger": "manual", "process": ground.process, "variant": ground.variant,
        "source": "observed", "known": canonical_json([list(each) for each in ground.known]),
        "novelty": ground.novelty,
    }  # fmt: skip
    run_store.open_run(connection, run, ground.blocks, ground.names, actor=caller.id, now=at)
    run_store.move(connection, run_id, "draft", "validated", actor="hq", now=at)
    run_store.move(connection, run_id, "validated", "queued", actor="hq", now=at)
