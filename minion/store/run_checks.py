"""The checks of a run as they stand: what its runner saw, and what was confirmed after it had ended."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from minion.store.run_log import append_event

if TYPE_CHECKING:
    from aiosqlite import Connection

# The runner's own have a number, what was confirmed afterwards has none.
CHECKS: Final = "SELECT seq, data FROM events WHERE run_id = ? AND type = 'check' ORDER BY ordinal"


def checks_in(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The checks in these events, in order; what was confirmed afterwards takes the place of what it was."""
    found: list[dict[str, Any]] = []
    for row in rows:
        check = json.loads(row["data"])
        if row["seq"] is not None:
            found.append(check)
            continue
        found = [check if _same(check, other) else other for other in found]
    return found


async def confirm_delivery(db: Connection, run_id: str, effect_id: str, *, at: str) -> None:
    """Have the expectations that wait for an effect's delivery hold: it was delivered after the run had ended."""
    query = "SELECT kind, target FROM effects WHERE id = ?"
    ((kind, target),) = [tuple(row) for row in await db.execute_fetchall(query, (effect_id,))]
    rows = [dict(row) for row in await db.execute_fetchall(CHECKS, (run_id,))]
    for check in checks_in(rows):
        # As the runner compares them: with its kind or without, `*` for any text.
        named = any(fnmatch.fnmatchcase(name, check["expected"]) for name in (target, f"{kind}:{target}"))
        if check["kind"] == "delivered" and check["state"] == "failed" and named:
            held = {**check, "state": "passed", "detail": "confirmed after the run"}
            await append_event(db, run_id, "check", held, at=at)


def _same(check: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return all(check[name] == other[name] for name in ("kind", "expected"))
