"""Minions that have joined an HQ of a test, and what is asked of its actions without a door between."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any

from sqlalchemy import insert, update

from server.actions.desk import Desk
from server.contract.digest import instant
from server.storage.access_store import Caller
from server.storage.tables import EVENTS, MINIONS
from tests.server.desks import SESSION


async def join_minion(desk: Desk, name: str, **said: Any) -> str:
    """A minion that has joined and said this of itself; its id."""
    row = {
        "id": str(uuid.uuid5(uuid.NAMESPACE_DNS, name)), "name": name, "roles": "[]", "said": json.dumps(said),
        "joined_at": instant(desk.clock()),
    }  # fmt: skip
    await desk.database.transact(lambda db: db.execute(insert(MINIONS), row))
    return row["id"]


async def leave(desk: Desk, name: str) -> None:
    """Have a minion leave."""
    gone = update(MINIONS).where(MINIONS.c.name == name).values(left_at=instant(desk.clock()))
    await desk.database.transact(lambda db: db.execute(gone))


async def act(desk: Desk, action: Callable[..., Any], *args: Any, who: Caller = SESSION, **said: Any) -> Any:
    """What an action answers that somebody asks for at a desk."""
    return await desk.database.transact(action, who, *args, **said, now=desk.clock())


async def rows(desk: Desk, table: Any) -> list[Any]:
    """All rows of a table."""
    return await desk.read(lambda db: list(db.execute(table.select())))


async def events(desk: Desk) -> list[tuple[str, dict[str, Any]]]:
    """Type and data of every event, in order."""
    found = await rows(desk, EVENTS)
    return [(row.type, json.loads(row.data)) for row in sorted(found, key=lambda row: row.position)]
