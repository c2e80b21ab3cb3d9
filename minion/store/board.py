"""Reads what a board of all routines shows: newest runs, spending, slots, gaps. Read-only connections."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from minion.store.overview import Reader
from server.contract.digest import instant, parse_instant

# So many runs of each routine stand in its row.
SHOWN_RUNS: Final = 20
_RECENT: Final = """
SELECT id, routine, state_now(state) AS state, verdict_now(state, verdict) AS verdict, trigger, delivery, summary,
    why, created_at, started_at, ended_at, json_extract(usage, '$.dollars') AS dollars,
    (SELECT e.target || coalesce(': ' || e.detail, '') FROM effects e
        WHERE e.run_id = newest.id AND e.state = 'failed' ORDER BY e.ordinal LIMIT 1) AS lost
FROM (
        SELECT *, row_number() OVER (PARTITION BY routine ORDER BY ordinal DESC) AS place FROM runs) AS newest
WHERE place <= ? ORDER BY ordinal
"""
_SPENT: Final = """
SELECT routine, coalesce(started_at, created_at) AS at, usage FROM runs
WHERE coalesce(started_at, created_at) >= :since
UNION ALL
SELECT json_extract(body, '$.routine'), json_extract(body, '$.ended_at'), json_extract(body, '$.usage')
FROM home_chain WHERE kind = 'tombstone' AND json_extract(body, '$.ended_at') >= :since
"""
_UNDER_WAY: Final = """
SELECT r.id, r.engine, r.usage, json_array_length(r.canonical) AS blocks,
    (SELECT count(*) FROM block_runs b WHERE b.run_id = r.id) AS entered,
    (SELECT json_extract(e.data, '$.code') FROM events e WHERE e.run_id = r.id AND e.type = 'step.started'
        AND json_extract(e.data, '$.kind') = 'step' ORDER BY e.ordinal DESC LIMIT 1) AS step,
    (SELECT json_extract(t.document, '$.limits.dollars') FROM routines t WHERE t.id = r.routine_id) AS cap
FROM runs r WHERE state_now(r.state) IN ('running', 'waiting')
"""
_SLOTS: Final = """
SELECT s.routine, s.due_at, s.shown AS due, s.state, s.count, s.why, s.run_id,
    CASE WHEN r.id IS NULL THEN NULL ELSE verdict_now(r.state, r.verdict) END AS verdict
FROM slots s LEFT JOIN runs r ON r.id = s.run_id WHERE s.due_at >= ? ORDER BY s.due_at, s.position
"""
_GAPS: Final = """
SELECT gap_type, requested_code, count(DISTINCT run_id) AS runs, min(at) AS first_at, max(at) AS last_at
FROM gaps GROUP BY gap_type, requested_code ORDER BY runs DESC, last_at DESC
"""
_NEWEST_GAP: Final = """
SELECT run_id, routine, description FROM gaps WHERE gap_type = ? AND requested_code = ?
ORDER BY at DESC, id DESC LIMIT 1
"""
_BLOCKED: Final = """
SELECT DISTINCT routine FROM gaps WHERE gap_type = ? AND requested_code = ? ORDER BY routine
"""


@dataclass(frozen=True, slots=True)
class Spending:
    """US dollars that runs cost: of the minion's day so far, of its month so far, and of the month by routine."""

    today: float = 0.0
    month: float = 0.0
    by_routine: Mapping[str, float] = field(default_factory=dict)


def recent_runs(db: Reader, *, each: int = SHOWN_RUNS) -> dict[str, list[dict[str, Any]]]:
    """The newest runs of every routine by its name, oldest first, at most `each` of one.

    `lost` is the first effect that failed: its target, and what was seen of it.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for row in db.execute(_RECENT, (each,)).fetchall():
        found.setdefault(row["routine"], []).append(dict(row))
    return found


def progress(db: Reader) -> dict[str, dict[str, Any]]:
    """How far the runs have come that are under way, by their ids.

    Each with `blocks` there are and how many it `entered`, the `step` begun last, its `engine`, the `dollars` it
    used and their `cap` (US dollars, None where its routine names none).
    """
    found = {}
    for row in db.execute(_UNDER_WAY).fetchall():
        used = json.loads(row["usage"]).get("dollars") or 0.0
        found[row["id"]] = {name: row[name] for name in ("engine", "blocks", "entered", "step", "cap")}
        found[row["id"]]["dollars"] = used
    return found


def spending(db: Reader, *, zone: str, now: datetime) -> Spending:
    """What runs of this day and month of `zone` (IANA) cost, those that were pruned since among them."""
    local = now.astimezone(ZoneInfo(zone))
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
    day = parse_instant(instant(midnight))
    today, month, routines = 0.0, 0.0, dict[str, float]()
    for row in db.execute(_SPENT, {"since": instant(midnight.replace(day=1))}).fetchall():
        said = json.loads(row["usage"] or "{}").get("dollars")
        dollars = float(said) if isinstance(said, int | float) and not isinstance(said, bool) else 0.0
        month += dollars
        today += dollars if parse_instant(row["at"]) >= day else 0.0
        routines[row["routine"]] = routines.get(row["routine"], 0.0) + dollars
    return Spending(today, month, routines)


def slots_since(db: Reader, since: datetime) -> list[dict[str, Any]]:
    """The recorded slots that were due from an instant on, oldest first, with the verdict of the run of each.

    `due` is the instant with its zone's offset; `count` is over 1 for slots that were missed together.
    """
    return [dict(row) for row in db.execute(_SLOTS, (instant(since),)).fetchall()]


def gaps_found(db: Reader) -> list[dict[str, Any]]:
    """The gaps that kept runs met, merged by type and code, most runs first.

    Each with `gap_type requested_code runs first_at last_at routines run routine description`, the last three of
    its newest.
    """
    found = []
    for row in db.execute(_GAPS).fetchall():
        which = (row["gap_type"], row["requested_code"])
        newest = db.execute(_NEWEST_GAP, which).fetchone()
        routines = [each["routine"] for each in db.execute(_BLOCKED, which).fetchall()]
        found.append({
            **dict(row), "routines": routines, "run": newest["run_id"], "routine": newest["routine"],
            "description": newest["description"],
        })  # fmt: skip
    return found
