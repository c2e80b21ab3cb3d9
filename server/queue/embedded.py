"""The queue on HQ's own store: orders for minions, put once per key, waiting in the order in which they came.

Plain functions on the connection of an action's transaction: an order is there when what asked for it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Row, bindparam, insert, select, update

from server.contract.digest import canonical_json
from server.contract.refusals import Refused
from server.storage.database import Connection
from server.storage.tables import ORDERS

WAITS: Final = "queued"
_TAKEN: Final = select(ORDERS.c.id).where(ORDERS.c.key == bindparam("key"))
_PUT: Final = insert(ORDERS)
_WAITING: Final = (
    select(ORDERS)
    .where(ORDERS.c.minion_id == bindparam("minion"), ORDERS.c.state == WAITS)
    .order_by(ORDERS.c.position)
)
_BY_ID: Final = select(ORDERS).where(ORDERS.c.id == bindparam("order"))
_SETTLE: Final = update(ORDERS).where(ORDERS.c.id == bindparam("order"), ORDERS.c.state == WAITS)
_WITHDRAW: Final = update(ORDERS).where(ORDERS.c.run_id == bindparam("run"), ORDERS.c.state == WAITS)


def put(
    connection: Connection, order_id: str, key: str, minion_id: str, body: Mapping[str, Any], *,
    routine_id: str, run_id: str, now: str,
) -> None:  # fmt: skip
    """Queue an order for a minion; `body` is the order as the wire has it, its `kind` and all.

    Raises `Refused` for a key that was put before, whatever became of that order.
    """
    before = connection.execute(_TAKEN, {"key": key}).scalar()
    if before is not None:
        says = f"The order {key[:200]} was put before: it is {before}."
        raise Refused("order_taken", says, hint="give another key: an order is carried out once")
    connection.execute(_PUT, {
        "id": order_id, "key": key, "minion_id": minion_id, "kind": body["kind"], "routine_id": routine_id,
        "run_id": run_id, "body": canonical_json(dict(body)), "state": WAITS, "queued_at": now,
    })  # fmt: skip


def waiting_for(connection: Connection, minion_id: str, *, limit: int = 100) -> list[Row[Any]]:
    """The orders that wait for a minion, the one that came first in front."""
    return list(connection.execute(_WAITING.limit(limit), {"minion": minion_id}))


def find(connection: Connection, order_id: str) -> Row[Any] | None:
    """The order of this id, whatever became of it."""
    return connection.execute(_BY_ID, {"order": order_id}).one_or_none()


def settle(connection: Connection, order_id: str, state: str, *, now: str) -> bool:
    """Note what became of an order that waited (`taken`, `refused`); False where it waits no more."""
    return connection.execute(_SETTLE.values(state=state, ended_at=now), {"order": order_id}).rowcount > 0


def settle_cancelled(connection: Connection, run_id: str, *, now: str) -> bool:
    """Withdraw the order of a run, so that no minion takes it; False where none waits any more."""
    done = connection.execute(_WITHDRAW.values(state="cancelled", ended_at=now), {"run": run_id})
    return done.rowcount > 0
