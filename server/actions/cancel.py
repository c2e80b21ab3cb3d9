"""Runs are called off: one that waits with its order, one that a session performs, one under way by an order."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row

from server.actions.compare import close_run
from server.actions.ordering import put_order
from server.contract.digest import instant
from server.contract.orders import Order
from server.contract.redaction import Redactor
from server.contract.refusals import Refused
from server.contract.run import RunState, Truths, has_ended, verdict_of
from server.queue import embedded
from server.storage import routine_facts, run_store
from server.storage.access_store import Caller, once
from server.storage.database import Connection
from server.storage.event_store import append_event

_REDACTOR: Final = Redactor()
_CANCEL: Final = "cancel"


def cancel_run(
    connection: Connection, caller: Caller, run: str, *, why: str = "", client_key: str | None = None,
    now: datetime,
) -> dict[str, Any]:  # fmt: skip
    """Call a run off: one that waits for its minion, one under way there, or one that the caller performs itself.

    One of which its minion was told may have begun: it is ordered to stop it, the answer is `cancelling`, and how
    the run ends its report says. Asking again orders nothing twice. Raises `NotFound`, and `Refused` for a run
    that has ended, that another token opened, or whose minion has left.
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
        else:
            return call_off(connection, row, reason, actor=caller.id, now=at)
        return {"run": row.id, "state": "cancelled", "verdict": "skipped", "why": reason}

    request = {"run": run, "why": why}
    return once(connection, caller.client, client_key, "cancel_run", request, do, now=at)


def call_off(connection: Connection, run: Row[Any], why: str, *, actor: str, now: str) -> dict[str, Any]:
    """Call off a run that a minion performs: at once if it was never told of it, else by an order.

    Raises `Refused` where that minion has left.
    """
    orders = embedded.orders_about(connection, run.id, "run")
    if not any(order.claimed_at for order in orders) and withdraw(connection, run, why, actor=actor, now=now):
        return {"run": run.id, "state": "cancelled", "verdict": "skipped", "why": why}
    minion = routine_facts.minion_of(connection, run.minion_id) if run.minion_id else None
    if minion is None or minion.left_at is not None:
        name = "which performs it" if minion is None else minion.name
        says = f"The minion of the run {run.id}, {name}, has left."
        raise Refused("minion_left", says, hint="have it join again, or cancel it there: minion cancel RUN")
    earlier = embedded.orders_about(connection, run.id, _CANCEL)
    # One that it refused may have come before the run; one that it took is on its way.
    if not earlier or earlier[-1].state == "refused":
        _order(connection, run, minion, why, len(earlier) + 1, actor=actor, now=now)
    return {
        "run": run.id, "state": "cancelling", "verdict": run.verdict, "why": why, "minion": minion.name,
        "seen_at": minion.seen_at, "note": f"{minion.name} stops it; get_run {run.id} shows how it ended.",
    }  # fmt: skip


def withdraw(connection: Connection, run: Row[Any], why: str, *, actor: str, now: str) -> bool:
    """Cancel a run that waits for its minion, and its order; False, and nothing done, once it was taken."""
    if run.state != "queued" or not _withdrawn(connection, run, why, actor=actor, now=now):
        return False
    _end(connection, run, "cancelled", why, actor=actor, now=now)
    return True


def cancel_settled(connection: Connection, order: Row[Any], state: str, *, actor: str, now: str) -> None:
    """Note what a minion says of an order to stop a run; nothing for another order.

    Where it refuses, it has no such run going on: it did not take it, or it ended there and the report is on its
    way. So the run ends `interrupted`, from which a report may still take it where it really came to.
    """
    if order.kind != _CANCEL or state != "refused" or order.run_id is None:
        return
    run = run_store.known_run(connection, order.run_id)
    taken = any(each.state == "taken" for each in embedded.orders_about(connection, order.run_id, "run"))
    if run is not None and run.state == "queued" and not taken:
        why = "it was called off, and its minion knows of no such run"
        _end(connection, run, "interrupted", why, actor=actor, now=now)


def _order(
    connection: Connection, run: Row[Any], minion: Row[Any], why: str, number: int, *, actor: str, now: str
) -> None:
    """Order a minion to stop a run; an order to begin it is not handed out again."""
    _withdrawn(connection, run, why, actor=actor, now=now)
    order_id = f"order_{_CANCEL}_{run.id.removeprefix('run_')}_{number}"
    order = Order(
        id=order_id, kind="cancel", routine=run.routine, key=order_id, run=run.id, input=why, issued_at=now
    )
    put_order(
        connection, order, key=f"{_CANCEL}:{run.id}:{number}", minion_id=minion.id, routine_id=run.routine_id,
        actor=actor, now=now, run_id=run.id, why=why,
    )  # fmt: skip


def _withdrawn(connection: Connection, run: Row[Any], why: str, *, actor: str, now: str) -> bool:
    """Withdraw the order to begin a run; False where none waits any more."""
    if not embedded.settle_cancelled(connection, run.id, now=now):
        return False
    order = embedded.orders_about(connection, run.id, "run")[-1]
    append_event(
        connection, "order.withdrawn", {"order": order.id, "why": why}, actor=actor, now=now, run_id=run.id
    )
    return True


def _end(connection: Connection, run: Row[Any], state: RunState, why: str, *, actor: str, now: str) -> None:
    """End a run that is queued."""
    run_store.move(
        connection, run.id, "queued", state, actor=actor, now=now, why=why, ended_at=now,
        verdict=verdict_of(Truths(state, run.outcome)),
    )  # fmt: skip
