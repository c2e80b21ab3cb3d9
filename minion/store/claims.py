"""The report that a run's session made over the socket: kept at once, taken up by the runner, filed if it dies."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from minion.store.run_log import append_event
from server.contract.refusals import Refused
from server.contract.run import has_ended

if TYPE_CHECKING:
    from aiosqlite import Connection


async def take_claim(db: Connection, run_id: str, claim: Mapping[str, Any], *, now: str) -> bool:
    """Keep a session's report before its run ends; False when the same one was kept before.

    Raises `Refused` when the run has ended, or has another report.
    """
    rows = list(await db.execute_fetchall("SELECT state FROM runs WHERE id = ?", (run_id,)))
    if not rows or has_ended(rows[0]["state"]):
        raise Refused("run_over", f"The run {run_id} has ended.", hint=f"minion show {run_id}")
    query = "SELECT type, data FROM events WHERE run_id = ? AND type IN ('report', 'report.claimed')"
    for row in await db.execute_fetchall(query, (run_id,)):
        if row["type"] == "report.claimed" and json.loads(row["data"]) == dict(claim):
            return False
        raise Refused("report_taken", f"The run {run_id} has its report.", hint="make one report, at the end")
    await append_event(db, run_id, "report.claimed", claim, at=now)
    return True


async def claim_of(db: Connection, run_id: str) -> dict[str, Any] | None:
    """The report that a run's session made over the socket; None when it made none."""
    query = "SELECT data FROM events WHERE run_id = ? AND type = 'report.claimed'"
    rows = list(await db.execute_fetchall(query, (run_id,)))
    return dict(json.loads(rows[0]["data"])) if rows else None
