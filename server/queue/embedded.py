"""The queue on HQ's own store: orders for minions, put once per key, waiting in the order in which they came.

Plain functions on the connection of an action's transaction: an order is there when what asked for it is.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from sqlalchemy import Row, bindparam, func, insert, select, update

from server.contract.digest import canonical_json
from server.contract.refusals import Refused
from server.storage.database import Connection
from server.storage.tables import ORDERS

WAITS: Final = "queued"
# It is not handed out yet: a run of its routine that came before it goes on.
HELD: Final = "held"
_TAKEN: Final = select(ORDERS.c.id).where(ORDERS.c.key == bindparam("key"))
_PUT: Final = insert(ORDERS)
_WAITING: Final = (
    select(ORDERS)
    .where(ORDERS.c.minion_id == bindparam("minion"), ORDERS.c.state == WAITS)
    .order_by(ORDERS.c.position)
)
_COUNT: Final = (
    select(func.count()).select_from(ORDERS)
    .where(ORDERS.c.minion_id == bindparam("minion"), ORDERS.c.state == WAITS)
)  # fmt: skip
_BY_ID: Final = select(ORDERS).where(ORDERS.c.id == bindparam("order"))
_SETTLE: Final = update(ORDERS).where(ORDERS.c.id == bindparam("order"), ORDERS.c.state == WAITS)
_WITHDRAW: Final = update(ORDERS).where(
    ORDERS.c.run_id == bindparam("run"), ORDERS.c.kind == "run", ORDERS.c.state.in_((WAITS, HELD))
)
_HAND_OUT: Final = update(ORDERS).where(
    ORDERS.c.minion_id == bindparam("minion"), ORDERS.c.state == WAITS, ORDERS.c.claimed_at.is_(None)
)
_SLOTS: Final = (
    select(ORDERS)
    .where(ORDERS.c.state == WAITS, ORDERS.c.trigger.is_not(None), ORDERS.c.claimed_at.is_(None))
    .order_by(ORDERS.c.position)
)
_HELD_BACK: Final = select(ORDERS).where(ORDERS.c.state == HELD).order_by(ORDERS.c.position)
_ABOUT: Final = (
    select(ORDERS)
    .where(ORDERS.c.run_id == bindparam("run"), ORDERS.c.kind == bindparam("kind"))
    .order_by(ORDERS.c.position)
)


def put(
    connection: Connection, order_id: str, key: str, minion_id: str, body: Mapping[str, Any], *,
    routine_id: str, run_id: str | None, now: str, trigger: str | None = None, state: str = WAITS,
) -> None:  # fmt: skip
    """Queue an order for a minion; `body` is the order as the wire has it, its `kind` and all.

    `run_id` is the run that it is for; None for one about something else. `trigger` is that of the slot that a run
    is for, `state` whether it may be handed out yet.
    Raises `Refused` for a key that was put before, whatever became of that order.
    """
    before = connection.execute(_TAKEN, {"key": key}).scalar()
    if before is not None:
        says = f"The order {key[:200]} was put before: it is {before}."
        raise Refused("order_taken", says, hint="give another key: an order is carried out once")
    connection.execute(_PUT, {
        "id": order_id, "key": key, "minion_id": minion_id, "kind": body["kind"], "routine_id": routine_id,
        "run_id": run_id, "body": canonical_json(dict(body)), "trigger": trigger, "state": state, "queued_at": now,
    })  # fmt: skip


def waiting_for(connection: Connection, minion_id: str, *, limit: int = 100) -> list[Row[Any]]:
    """The orders that wait for a minion, the one that came first in front."""
    return list(connection.execute(_WAITING.limit(limit), {"minion": minion_id}))


def unsettled(connection: Connection, minion_id: str) -> list[Row[Any]]:
    """All orders that wait for a minion, or for their turn there, the one that came first in front."""
    mine = (ORDERS.c.minion_id == minion_id, ORDERS.c.state.in_((WAITS, HELD)))
    return list(connection.execute(select(ORDERS).where(*mine).order_by(ORDERS.c.position)))


def count_waiting(connection: Connection, minion_id: str) -> int:
    """How many orders wait for a minion."""
    return int(connection.execute(_COUNT, {"minion": minion_id}).scalar() or 0)


def find(connection: Connection, order_id: str) -> Row[Any] | None:
    """The order of this id, whatever became of it."""
    return connection.execute(_BY_ID, {"order": order_id}).one_or_none()


def settle(connection: Connection, order_id: str, state: str, *, now: str) -> bool:
    """Note what became of an order that waited (`taken`, `refused`); False where it waits no more."""
    return connection.execute(_SETTLE.values(state=state, ended_at=now), {"order": order_id}).rowcount > 0


def taken_after_all(connection: Connection, order_id: str, *, now: str) -> bool:
    """Note that a minion took an order that had been withdrawn meanwhile; False for one that was not."""
    query = update(ORDERS).where(ORDERS.c.id == order_id, ORDERS.c.state == "cancelled")
    return connection.execute(query.values(state="taken", ended_at=now)).rowcount > 0


def hand_out(connection: Connection, minion_id: str, order_ids: Collection[str], *, now: str) -> None:
    """Note that a minion is told of these orders: it may begin each of them from now on."""
    told = ORDERS.c.id.in_(list(order_ids))
    connection.execute(_HAND_OUT.where(told).values(claimed_at=now), {"minion": minion_id})


def slots_not_heard_of(connection: Connection, *, minion_id: str | None = None) -> list[Row[Any]]:
    """The orders for slots of which no minion was told yet, the oldest first; those of one minion if asked."""
    return list(connection.execute(_SLOTS if minion_id is None else _SLOTS.where(ORDERS.c.minion_id == minion_id)))


def held_back(connection: Connection) -> list[Row[Any]]:
    """The orders that wait for their turn, the one that came first in front."""
    return list(connection.execute(_HELD_BACK))


def let_out(connection: Connection, order_id: str, *, now: str) -> None:
    """Have an order that waited for its turn be handed out."""
    query = update(ORDERS).where(ORDERS.c.id == order_id, ORDERS.c.state == HELD)
    connection.execute(query.values(state=WAITS, queued_at=now))


def readdress(connection: Connection, routine_id: str, *, before: str, after: str) -> list[Row[Any]]:
    """Have another minion carry out what a routine's minion was not told of yet; those orders."""
    mine = (
        ORDERS.c.routine_id == routine_id, ORDERS.c.minion_id == before, ORDERS.c.kind == "run",
        ORDERS.c.state.in_((WAITS, HELD)), ORDERS.c.claimed_at.is_(None),
    )  # fmt: skip
    found = list(connection.execute(select(ORDERS).where(*mine).order_by(ORDERS.c.position)))
    connection.execute(update(ORDERS).where(*mine).values(minion_id=after))
    return found


def orders_about(connection: Connection, run_id: str, kind: str) -> list[Row[Any]]:
    """The orders of a kind that are about a run, whatever became of them, the oldest first."""
    return list(connection.execute(_ABOUT, {"run": run_id, "kind": kind}))


def settle_cancelled(connection: Connection, run_id: str, *, now: str) -> bool:
    """Withdraw the order that opens a run, so that no minion takes it; False where none waits any more."""
    done = connection.execute(_WITHDRAW.values(state="cancelled", ended_at=now), {"run": run_id})
    return done.rowcount > 0
