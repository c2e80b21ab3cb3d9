"""What a store holds, in numbers."""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, select

from server.storage.database import Connection
from server.storage.notice_store import notices_overview
from server.storage.tables import DECISIONS, EVENTS, GAPS, MINIONS, ROUTINES, RUNS, STEP_LOG, TOKENS


def overview(connection: Connection) -> dict[str, Any]:
    """How many of each there are: runs, gaps and decisions by their state."""
    found: dict[str, Any] = {}
    for table in (RUNS, GAPS, DECISIONS):
        query = select(table.c.state, func.count()).group_by(table.c.state)
        found[table.name] = {str(state): int(number) for state, number in connection.execute(query)}
    for name, table in (("events", EVENTS), ("steps", STEP_LOG)):
        # The newest position: counting a million rows takes a tenth of a second.
        found[name] = int(connection.execute(select(func.max(table.c.position))).scalar() or 0)
    for name, column in (("routines", ROUTINES.c.removed_at), ("tokens", TOKENS.c.revoked_at)):
        query = select(func.count()).where(column.is_(None))
        found[name] = int(connection.execute(query).scalar() or 0)
    joined = select(MINIONS.c.name, MINIONS.c.silent_since, MINIONS.c.seen_at).where(MINIONS.c.left_at.is_(None))
    rows = list(connection.execute(joined.order_by(MINIONS.c.name)))
    silent = [row.name for row in rows if row.silent_since is not None and (row.seen_at or "") <= row.silent_since]
    found["minions"] = {"joined": len(rows), "silent": silent}
    found["notices"] = notices_overview(connection)
    return found
