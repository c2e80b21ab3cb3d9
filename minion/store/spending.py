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

_KEPT: Final = (
    "SELECT coalesce(started_at, created_at) AS at, json_extract(usage, '$.dollars') AS dollars FROM runs"
    " WHERE coalesce(started_at, created_at) >= ? AND json_extract(usage, '$.dollars') > 0"
)
_PRUNED: Final = (
    "SELECT position, body FROM home_chain WHERE kind = 'tombstone' AND position > ? ORDER BY position"
)


class Purse:
    """The spending of one home, in US dollars by the days and months of `zone` (IANA)."""

    def __init__(self) -> None:
        self._position = 0
        self._pruned: list[tuple[str, float]] = []

    async def spent(self, db: Connection, *, zone: str, now: datetime) -> tuple[float, float]:
        """What runs of this day and of this month cost, by the instant at which they began."""
        midnight = now.astimezone(ZoneInfo(zone)).replace(hour=0, minute=0, second=0, microsecond=0)
        day, month = instant(midnight), instant(midnight.replace(day=1))
        await self._take_in(db, month)
        costs = [*self._pruned]
        for row in await db.execute_fetchall(_KEPT, (month,)):
            costs.append((row["at"], float(row["dollars"])))
        of_month = sum(dollars for _, dollars in costs)
        of_day = sum(dollars for at, dollars in costs if at >= day)
        return of_day, of_month

    async def _take_in(self, db: Connection, since: str) -> None:
        """Read the tombstones that were set since the last look, and forget those of earlier months."""
        self._pruned = [each for each in self._pruned if each[0] >= since]
        for row in await db.execute_fetchall(_PRUNED, (self._position,)):
            said: Mapping[str, Any] = json.loads(row["body"])
            self._position = row["position"]
            dollars = (said.get("usage") or {}).get("dollars")
            if isinstance(dollars, int | float) and not isinstance(dollars, bool) and said["ended_at"] >= since:
                self._pruned.append((said["ended_at"], float(dollars)))


async def spent_by_run(db: Connection, run_id: str) -> dict[str, Any]:
    """What one run used so far, by name."""
    rows = list(await db.execute_fetchall("SELECT usage FROM runs WHERE id = ?", (run_id,)))
    return dict(json.loads(rows[0]["usage"])) if rows else {}
