"""How the home stands as a whole: halted or not, and when it was first up."""

from __future__ import annotations

import json
import sqlite3
from typing import TYPE_CHECKING, Any

from server.contract.digest import canonical_json

if TYPE_CHECKING:
    from aiosqlite import Connection

_READ = "SELECT value FROM meta WHERE key = ?"
# Why a minion is halted when nobody says.
_UNSAID = "a person said so"


async def halt_of(db: Connection) -> dict[str, Any] | None:
    """Why and since when the minion is halted (`why`, `at`); None when it is not."""
    rows = list(await db.execute_fetchall(_READ, ("halted",)))
    return dict(json.loads(rows[0][0])) if rows else None


def halt_now(db: sqlite3.Connection) -> dict[str, Any] | None:
    """`halt_of`, for a reader."""
    row = db.execute(_READ, ("halted",)).fetchone()
    return dict(json.loads(row[0])) if row is not None else None


async def set_halt(db: Connection, why: str | None, *, at: str) -> str:
    """Halt the minion; why it is halted. One that is halted stays so since it was, and because of what it was
    unless another reason is given.
    """
    before = await halt_of(db) or {"why": _UNSAID, "at": at}
    halted = before | ({} if why is None else {"why": why})
    await db.execute("INSERT OR REPLACE INTO meta VALUES ('halted', ?)", (canonical_json(halted),))
    return str(halted["why"])


async def lift_halt(db: Connection) -> None:
    """Let the minion go on."""
    await db.execute("DELETE FROM meta WHERE key = 'halted'")


async def first_up(db: Connection, *, now: str) -> str:
    """When a daemon first ran this home: now, unless it was before."""
    rows = list(await db.execute_fetchall(_READ, ("first_up",)))
    if rows:
        return str(rows[0][0])
    await db.execute("INSERT INTO meta VALUES ('first_up', ?)", (now,))
    return now
