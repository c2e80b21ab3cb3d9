"""What minions say became of their orders: taken or refused, each noted once."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Row

from server.actions.cancel import cancel_settled
from server.actions.fire import refuse_order
from server.actions.holding import hold_settled
from server.contract.joining import Settled
from server.contract.redaction import Redactor
from server.queue import embedded
from server.storage.database import Connection
from server.storage.event_store import append_event

_REDACTOR: Final = Redactor()


def settle_order(connection: Connection, minion: Row[Any], said: Settled, *, actor: str, now: str) -> None:
    """Note what a minion says of one order; nothing for one that is not its own, or of which it said so before.

    One that was withdrawn when the minion had taken it already is taken: its run goes on there.
    """
    order = embedded.find(connection, said.order)
    if order is None or order.minion_id != minion.id:
        return
    if order.state == embedded.WAITS:
        embedded.settle(connection, order.id, said.state, now=now)
    elif said.state != "taken" or not embedded.taken_after_all(connection, order.id, now=now):
        return
    why = None if said.why is None else _REDACTOR.text(said.why)
    told = {"order": order.id, "state": said.state, "why": why, "kind": order.kind}
    append_event(connection, "order.settled", told, actor=actor, now=now, run_id=order.run_id)
    if said.state == "refused" and order.run_id is not None and order.kind == "run":
        refuse_order(connection, order.run_id, why or "its minion refused it", actor=actor, now=now)
    cancel_settled(connection, order, said.state, actor=actor, now=now)
    hold_settled(connection, order, said.state, why, actor=actor, now=now)
