"""What runs used: time, turns, tokens and dollars, added up by routine, skill or day, pruned runs included."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo

from server.contract.digest import parse_instant

By = Literal["routine", "skill", "day"]
MEASURES: Final = ("wall_ms", "turns", "tokens", "dollars")


def costs(db: sqlite3.Connection, by: By, *, zone: str) -> list[dict[str, Any]]:
    """One row per routine, skill or day of the minion's `zone` (IANA), each with `runs` and every measure's sum.

    `wall_ms` is milliseconds, `dollars` US dollars. Days come newest first, the others dearest first. A pruned
    run still counts by routine and day, for its tombstone says what it used; its skills are gone.
    """
    sums: dict[str, dict[str, Any]] = {}
    for key, used in _skills(db) if by == "skill" else _runs(db, by, ZoneInfo(zone)):
        row = sums.setdefault(key, {by: key, "runs": 0, **dict.fromkeys(MEASURES, 0)})
        row["runs"] += 1
        for measure in MEASURES:
            row[measure] += _number(used.get(measure))
    rows = sorted(sums.values(), key=lambda row: str(row[by]), reverse=by == "day")
    return rows if by == "day" else sorted(rows, key=lambda row: (-row["dollars"], -row["wall_ms"]))


def total(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The sums of all rows."""
    return {name: sum(row[name] for row in rows) for name in ("runs", *MEASURES)}


def _runs(db: sqlite3.Connection, by: By, zone: ZoneInfo) -> Iterator[tuple[str, Mapping[str, Any]]]:
    kept = db.execute("SELECT routine, coalesce(started_at, created_at) AS at, usage FROM runs").fetchall()
    for row in kept:
        yield _key(by, row["routine"], row["at"], zone), json.loads(row["usage"])
    for row in db.execute("SELECT body FROM home_chain WHERE kind = 'tombstone'").fetchall():
        said = json.loads(row["body"])
        # Tombstones of the first version say nothing of what was used.
        yield _key(by, said["routine"], said["ended_at"], zone), said.get("usage") or {}


def _skills(db: sqlite3.Connection) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for row in db.execute("SELECT data FROM events WHERE type = 'skill.result'").fetchall():
        said = json.loads(row["data"])
        yield said["skill"], {"wall_ms": said["duration_ms"], **(said.get("cost") or {})}


def _key(by: By, routine: str, at: str, zone: ZoneInfo) -> str:
    return routine if by == "routine" else parse_instant(at).astimezone(zone).date().isoformat()


def _number(value: Any) -> float:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else 0
