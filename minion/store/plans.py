"""Plans in the store: what the schedules of each routine promised for a week, as the daemon noted it last."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from aiosqlite import Connection

_COMPARABLE: Final = """
SELECT p.*, r.name FROM plans AS p JOIN routines AS r ON r.id = p.routine_id AND r.digest = p.routine_digest
WHERE r.removed_at IS NULL AND p.zone = ? AND p.ends_at > ? AND p.routine_id > ? ORDER BY p.routine_id LIMIT ?
"""


@dataclass(frozen=True, slots=True)
class Plan:
    """When a routine is due from `begins_at` to `ends_at` (UTC instants), as far as it is told.

    `slots` counts them up to a bound, `digest` is over all of those, and `first` are the first few of them in
    their zone's time, with its offset.
    """

    begins_at: str
    ends_at: str
    slots: int
    digest: str
    first: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NotedPlan:
    """A plan as the program of some `version` noted it, of a routine that has not been changed since."""

    routine_id: str
    routine: str
    plan: Plan
    version: str


async def note_plans(db: Connection, plans: Sequence[tuple[str, Plan]], *, zone: str, version: str) -> None:
    """Note the plans of routines (id, plan) in place of their earlier ones; `zone` is that of routines without."""
    await db.executemany(
        "INSERT OR REPLACE INTO plans SELECT id, digest, ?, ?, ?, ?, ?, ?, ? FROM routines WHERE id = ?",
        [
            (zone, plan.begins_at, plan.ends_at, plan.slots, plan.digest, json.dumps(plan.first), version, routine)
            for routine, plan in plans
        ],
    )


async def forget_plans(db: Connection, *, but: str) -> None:
    """Forget the plans that do not begin at the instant `but`: of routines that have no schedule any more."""
    await db.execute("DELETE FROM plans WHERE begins_at <> ?", (but,))


async def some_noted(db: Connection, *, zone: str, now: str, after: str, most: int) -> list[NotedPlan]:
    """At most so many noted plans that can be compared, by routine id behind `after`."""
    return [_noted(row) for row in await db.execute_fetchall(_COMPARABLE, (zone, now, after, most))]


def all_noted(db: sqlite3.Connection, *, zone: str, now: str) -> list[NotedPlan]:
    """Every noted plan that can be compared and is not over: its routine and the minion's zone are as they were.

    None in a store that is too old to have any.
    """
    if db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'plans'").fetchone() is None:
        return []
    return [_noted(row) for row in db.execute(_COMPARABLE, (zone, now, "", -1)).fetchall()]


def _noted(row: Any) -> NotedPlan:
    first = tuple(json.loads(row["first_slots"]))
    plan = Plan(row["begins_at"], row["ends_at"], row["slots"], row["digest"], first)
    return NotedPlan(row["routine_id"], row["name"], plan, row["version"])
