"""Whether a store is sound: whether it can be written, tried with one row, and whether its file is whole."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from server.storage.opening import uri_to_read
from server.storage.tables import META

# Who looks through a file is told this often to stop, until it has: SQLite hears it only while it is at work.
_AGAIN_S: Final = 0.05
_PROBE: Final = insert(META).values(key="probe", value="written")
_WRITE: Final = _PROBE.on_conflict_do_update(index_elements=["key"], set_={"value": _PROBE.excluded.value})


def probe(connection: sa.Connection) -> None:
    """Write a row that means nothing: whether the disk takes it is what is asked (an action)."""
    connection.execute(_WRITE)


async def damage_of(path: Path) -> str | None:
    """What is wrong with a store's file, by SQLite's own look through its pages; None where nothing is.

    A connection of its own reads it: nobody waits for it. Cancelled, it stops soon.
    """
    db = sqlite3.connect(uri_to_read(path), uri=True, check_same_thread=False)
    looking = asyncio.ensure_future(asyncio.to_thread(_looked_through, db))
    try:
        return await asyncio.shield(looking)
    finally:
        while not looking.done():
            db.interrupt()
            await asyncio.wait((looking,), timeout=_AGAIN_S)
        db.close()


def _looked_through(db: sqlite3.Connection) -> str | None:
    try:
        (said,) = db.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.DatabaseError as error:
        # It was told to stop, or the store is just being held: that says nothing of its file.
        if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_BUSY):
            return None
        return str(error)
    return None if said == "ok" else " ".join(str(said).split())
