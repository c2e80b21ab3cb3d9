"""What a minion's runs have cost today and this month, as one that goes on has to know after each model call.

Runs that were pruned since are counted from their tombstones, each read once: a home keeps those for ever.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

from server.contract.digest import instant

if TYPE_CHECKING:
    from aiosqlite import Connection

# What runs that are kept cost since :day and since :month. Of one that began before, the calls since then count:
# it goes on past midnight, or was gone on with.
KEPT: Final = """
WITH paid AS (SELECT id, coalesce(started_at, created_at) AS at, coalesce(ended_at, '9') AS ended,
        json_extract(usage, '$.dollars') AS dollars FROM runs WHERE json_extract(usage, '$.dollars') > 0),
    since(span, start) AS (VALUES ('day', :day), ('month', :month))
SELECT span, coalesce(sum(CASE WHEN at >= start THEN dollars ELSE (
        SELECT sum(json_extract(data, '$.dollars')) FROM events
        WHERE run_id = paid.id AND type = 'usage' AND events.at >= start) END), 0.0) AS dollars
    FROM since LEFT JOIN paid ON paid.at >= start OR paid.ended >= start GROUP BY span
"""
_PRUNED: Final = (
    "SELECT position, body FROM home_chain WHERE kind = 'tombstone' AND position > ? ORDER BY position"
)


class Purse:
    """The spending of one home, in US dollars by the days and months of `zone` (IANA)."""

    def __init__(self) -> None:
        self._position = 0
        self._pruned: list[tuple[str, float]] = []

    async def spent(self, db: Connection, *, zone: str, now: datetime) -> tuple[float, float]:
        """What was spent on this day and in this month; pruned runs count when they ended."""
        day, month = beginnings(zone, now)
        await self._take_in(db, month)
        rows = await db.execute_fetchall(KEPT, {"day": day, "month": month})
        kept = {row["span"]: float(row["dollars"]) for row in rows}
        of_month = sum(dollars for _, dollars in self._pruned)
        of_day = sum(dollars for at, dollars in self._pruned if at >= day)
        return of_day + kept["day"], of_month + kept["month"]

    async def _take_in(self, db: Connection, since: str) -> None:
        """Read the tombstones that were set since the last look, and forget those of earlier months."""
        self._pruned = [each for each in self._pruned if each[0] >= since]
        for row in await db.execute_fetchall(_PRUNED, (self._position,)):
            said: Mapping[str, Any] = json.loads(row["body"])
            self._position = row["position"]
            dollars = (said.get("usage") or {}).get("dollars")
            if isinstance(dollars, int | float) and not isinstance(dollars, bool) and said["ended_at"] >= since:
                self._pruned.append((said["ended_at"], float(dollars)))


def beginnings(zone: str, now: datetime) -> tuple[str, str]:
    """The instants at which this day and this month began in a zone (IANA)."""
    midnight = now.astimezone(ZoneInfo(zone)).replace(hour=0, minute=0, second=0, microsecond=0)
    return instant(midnight), instant(midnight.replace(day=1))


async def spent_by_run(db: Connection, run_id: str) -> dict[str, Any]:
    """What one run used so far, by name."""
    rows = list(await db.execute_fetchall("SELECT usage FROM runs WHERE id = ?", (run_id,)))
    return dict(json.loads(rows[0]["usage"])) if rows else {}
