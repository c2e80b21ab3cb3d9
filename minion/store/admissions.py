"""What the document check admitted, kept by digest so that an unchanged document needs no child process."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from server.contract.digest import canonical_json

if TYPE_CHECKING:
    from aiosqlite import Connection

# (digest of the document, version of the check, kind of document)
Key = tuple[str, int, str]


async def look_up(db: Connection, keys: Sequence[Key]) -> list[dict[str, Any] | None]:
    """The admitted document for each key, None for one that was not admitted by this version."""
    query = "SELECT document FROM admissions WHERE digest = ? AND version = ? AND kind = ?"
    found: list[dict[str, Any] | None] = []
    for key in keys:
        rows = list(await db.execute_fetchall(query, key))
        found.append(json.loads(rows[0][0]) if rows else None)
    return found


async def remember(db: Connection, admitted: Sequence[tuple[Key, dict[str, Any]]]) -> None:
    """Keep admitted documents under their keys."""
    for key, document in admitted:
        await db.execute("INSERT OR REPLACE INTO admissions VALUES (?, ?, ?, ?)", (*key, canonical_json(document)))
