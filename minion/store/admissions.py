"""What the document check admitted, kept by digest so that an unchanged document needs no child process."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from server.contract.digest import canonical_json

if TYPE_CHECKING:
    from aiosqlite import Connection

# (digest of the document, version of the check, kind of document)
Key = tuple[str, int, str]


# Who only reads; one that this module hands on, so that no other room needs to know of SQLite.
Reader = sqlite3.Connection
_QUERY: Final = "SELECT document FROM admissions WHERE digest = ? AND version = ? AND kind = ?"


async def look_up(db: Connection, keys: Sequence[Key]) -> list[dict[str, Any] | None]:
    """The admitted document for each key, None for one that was not admitted by this version."""
    found: list[dict[str, Any] | None] = []
    for key in keys:
        rows = list(await db.execute_fetchall(_QUERY, key))
        found.append(json.loads(rows[0][0]) if rows else None)
    return found


def look_up_now(db: Reader, keys: Sequence[Key]) -> list[dict[str, Any] | None]:
    """`look_up` through a read-only connection."""
    rows = [db.execute(_QUERY, key).fetchone() for key in keys]
    return [json.loads(row[0]) if row is not None else None for row in rows]


async def remember(db: Connection, admitted: Sequence[tuple[Key, dict[str, Any]]]) -> None:
    """Keep admitted documents under their keys."""
    for key, document in admitted:
        await db.execute("INSERT OR REPLACE INTO admissions VALUES (?, ?, ?, ?)", (*key, canonical_json(document)))
