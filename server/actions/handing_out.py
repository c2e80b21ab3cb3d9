"""What minions are told: orders, of which HQ notes that they were; and how far they know its definitions."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Row

from server.actions.joining import joined_minion
from server.actions.schedule import withdraw_late
from server.contract.digest import instant
from server.contract.joining import Answers, Beat, Have, News
from server.contract.orders import Order
from server.queue import embedded
from server.storage import minion_store, schedule_store
from server.storage.access_store import Caller
from server.storage.database import Connection
from server.storage.epoch import cursor


def news(connection: Connection, caller: Caller, said: Beat) -> tuple[dict[str, Any], bool]:
    """What HQ has for a minion, and whether it was told of all of it before (a query). Raises `Refused`."""
    row = joined_minion(connection, caller, said.minion)
    orders = _orders_for(connection, row)
    return _news(connection, orders), all(order.claimed_at is not None for order in orders)


def hand_out(connection: Connection, caller: Caller, said: Beat, *, now: datetime) -> dict[str, Any]:
    """What HQ has for a minion, noting that it is told of it: it may begin any of it from now on.

    A slot that it asks for too late is not handed out any more. Raises `Refused`.
    """
    row = joined_minion(connection, caller, said.minion)
    withdraw_late(connection, minion_id=row.id, now=now)
    orders = _orders_for(connection, row)
    embedded.hand_out(connection, row.id, [order.id for order in orders], now=instant(now))
    return _news(connection, orders)


def told(connection: Connection, caller: Caller, have: Have, at: str, *, now: datetime) -> bool:  # noqa: ARG001
    """Note that a minion is told of all definitions up to `at`, a cursor; False where they have gone on since.

    What it was never told it can never have begun to start (`moving`). Raises `Refused`.
    """
    row = joined_minion(connection, caller, have.minion)
    if at != cursor(connection):
        return False
    if row.told != at:
        minion_store.told(connection, row.id, at)
    return True


def answering(connection: Connection, caller: Caller, said: Answers) -> str:
    """The id of the minion that answers HQ's questions (a query). Raises `Refused`."""
    return str(joined_minion(connection, caller, said.minion).id)


def _orders_for(connection: Connection, row: Row[Any]) -> list[Row[Any]]:
    """The orders that wait for a minion, without runs of routines that it has not been given yet."""
    waiting = embedded.waiting_for(connection, row.id)
    not_yet = schedule_store.on_their_way(connection, but_by=row.id) if waiting else set()
    return [order for order in waiting if order.kind != "run" or order.routine_id not in not_yet]


def _news(connection: Connection, orders: list[Row[Any]]) -> dict[str, Any]:
    said = tuple(Order.model_validate_json(order.body) for order in orders)
    return News(cursor=cursor(connection), orders=said).model_dump(mode="json")
