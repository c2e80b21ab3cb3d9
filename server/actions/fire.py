"""Runs are asked for: an order for the routine's minion in the queue, and the run it is for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row

from server.actions.ground import ground_of
from server.actions.ordering import put_order
from server.contract.digest import canonical_json, instant, new_id
from server.contract.orders import Order
from server.contract.process import Process
from server.contract.redaction import Redactor
from server.contract.refusals import BadUse, Refused
from server.contract.run import Truths, verdict_of
from server.contract.spelling import LONGEST_CONTENT
from server.queue import embedded
from server.storage import routine_facts, run_store
from server.storage.access_store import Caller, once
from server.storage.database import Connection
from server.storage.definition_store import HeldRoutine, find_routine

_REDACTOR: Final = Redactor()


@dataclass(frozen=True, slots=True)
class SlotOf:
    """The slot that a run is for: which trigger's, and when it fell due (an instant)."""

    trigger: str
    due: str


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
        said = _REDACTOR.text(text)
        order_id = order_run(
            connection, processes, held, run_id, key, trigger="manual", text=said, actor=caller.id, now=at
        )
        return {
            "run": run_id, "state": "queued", "routine": held.name, "routine_id": held.id, "minion": minion.name,
            "order": order_id, "orders_ahead": ahead, "text_redacted": said != text,
        }  # fmt: skip

    request = {"routine": routine, "text": text}
    return once(connection, caller.client, client_key, "run_routine", request, do, now=at)


def order_run(
    connection: Connection, processes: Mapping[str, Process], held: HeldRoutine, run_id: str, key: str, *,
    trigger: str, actor: str, now: str, text: str = "", slot: SlotOf | None = None, state: str = embedded.WAITS,
) -> str:  # fmt: skip
    """Open a run of a routine that has a minion, and put the order for it there; the order's id.

    The minion's runner says later what it did. Raises `Refused` for a key that was used before.
    """
    ground = ground_of(processes, held.document, trigger)
    run: dict[str, Any] = {
        "id": run_id, "order_key": key, "routine_id": held.id, "routine": held.name,
        "minion_id": held.minion_id, "trigger": trigger, "process": ground.process, "variant": ground.variant,
        "source": "observed", "known": canonical_json([list(each) for each in ground.known]),
        "novelty": ground.novelty,
    }  # fmt: skip
    run_store.open_run(connection, run, ground.blocks, ground.names, actor=actor, now=now)
    run_store.move(connection, run_id, "draft", "validated", actor="hq", now=now)
    run_store.move(connection, run_id, "validated", "queued", actor="hq", now=now)
    order_id = f"order_{run_id.removeprefix('run_')}"
    due = None if slot is None else slot.due
    order = Order(
        id=order_id, kind="run", routine=held.name, key=order_id, input=text or None, run=run_id, slot=due,
        issued_at=now,
    )  # fmt: skip
    put_order(
        connection, order, key=key, minion_id=str(held.minion_id), routine_id=held.id, actor=actor, now=now,
        run_id=run_id, trigger=None if slot is None else slot.trigger, state=state,
    )  # fmt: skip
    return order_id


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

