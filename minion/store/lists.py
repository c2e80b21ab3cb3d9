"""Reads the long lists that people look through: runs, slots, effects, and what routines were told when.

Read-only connections of `local_db.read_only` only.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from minion.store.overview import Reader
from server.contract.digest import instant

# A home keeps this many ended runs (DESIGN §5); those that go on come on top.
NEWEST: Final = 200
# So much of a text stands in a list: the rest is read where one thing is looked at.
_WORDS: Final = 500
_RUNS: Final = f"""
SELECT id, routine, state_now(state) AS state, verdict_now(state, verdict) AS verdict, trigger, engine,
    substr(summary, 1, {_WORDS}) AS summary,
    CASE WHEN state_now(state) <> state THEN 'the minion stopped while it was running'
        ELSE substr(why, 1, {_WORDS}) END AS why,
    created_at, started_at, ended_at,
    (SELECT e.target || coalesce(': ' || e.detail, '') FROM effects e
        WHERE e.run_id = runs.id AND e.state = 'failed' ORDER BY e.ordinal LIMIT 1) AS lost
FROM runs WHERE :routine IS NULL OR routine = :routine OR routine_id = :routine
ORDER BY ordinal DESC
"""  # noqa: S608 - our number
_SLOTS: Final = f"""
SELECT s.routine_id, s.routine, s.trigger, s.key, s.due_at, s.shown AS due, s.state, s.count,
    substr(s.why, 1, {_WORDS}) AS why, s.run_id AS run, s.settled_at, r.id IS NOT NULL AS kept,
    CASE WHEN r.id IS NOT NULL THEN verdict_now(r.state, r.verdict) ELSE
        (SELECT json_extract(h.body, '$.verdict') FROM home_chain h
            WHERE h.ref = s.run_id AND h.kind = 'tombstone' LIMIT 1) END AS verdict
FROM slots s LEFT JOIN runs r ON r.id = s.run_id WHERE s.due_at >= ? ORDER BY s.due_at DESC, s.position DESC
"""  # noqa: S608 - our number
# An intent whose owner died stays `intended` until the next owner closes its run: nobody knows its end.
_EFFECTS: Final = f"""
SELECT e.id, e.run_id AS run, r.routine, e.kind, e.target, e.title, substr(e.detail, 1, {_WORDS}) AS detail,
    e.destination, e.reverse, e.bytes, coalesce(e.settled_at, e.intended_at, e.staged_at) AS at,
    CASE WHEN e.state = 'intended'
        AND state_now(r.state) NOT IN ('draft', 'validated', 'queued', 'running', 'waiting')
        THEN 'unknown' ELSE e.state END AS stands
FROM effects e JOIN runs r ON r.id = e.run_id WHERE :run IS NULL OR e.run_id = :run
ORDER BY stands = 'unknown' DESC, r.ordinal DESC, e.ordinal
"""  # noqa: S608 - our number
_REVISIONS: Final = """
SELECT routine_id, name, at, document IS NULL AS removed, json_extract(document, '$.triggers') AS triggers,
    json_extract(document, '$.timezone') AS timezone, json_extract(document, '$.paused') AS paused,
    json_extract(document, '$.scheduled_by') AS scheduled_by, json_extract(document, '$.stagger_s') AS stagger_s
FROM routine_history ORDER BY routine_id, revision
"""


def newest_runs(
    db: Reader, *, routine: str | None = None, limit: int = NEWEST
) -> tuple[list[dict[str, Any]], int]:
    """The newest runs first, at most `limit`, of one routine (name or id) or of all; and how many are kept.

    `lost` is the first effect that failed: its target, and what was seen of it. Long texts are cut.
    """
    rows = db.execute(_RUNS, {"routine": routine}).fetchall()
    return [dict(row) for row in rows[:limit]], len(rows)


def slots_with_runs(db: Reader, since: datetime) -> list[dict[str, Any]]:
    """The recorded slots that were due from an instant on, newest first, each with what became of its run.

    `due` is the instant with its zone's offset; `count` is over 1 for slots that were missed together; `kept` says
    whether the run is there still: of a pruned one the `verdict` is that of its tombstone.
    """
    return [dict(row) for row in db.execute(_SLOTS, (instant(since),)).fetchall()]


def kept_effects(db: Reader, run: str | None = None) -> list[dict[str, Any]]:
    """The effects of the runs that are kept, or of one: the unknown ones first, then those of the newest runs.

    Each with `id run routine kind target title state detail destination reverse bytes at`; `at` is when it came to
    be as it is (a UTC instant).
    """
    rows = [dict(row) for row in db.execute(_EFFECTS, {"run": run}).fetchall()]
    return [{**row, "state": row.pop("stands")} for row in rows]


def schedules_told(db: Reader) -> dict[str, list[dict[str, Any]]]:
    """What each routine's revisions said of its schedules, by its id, oldest first.

    Each with `name at triggers timezone paused scheduled_by stagger_s`; `triggers` None where it was removed.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for row in db.execute(_REVISIONS).fetchall():
        said = dict(row)
        triggers = None if said.pop("removed") else json.loads(said["triggers"] or "[]")
        found.setdefault(said.pop("routine_id"), []).append({**said, "triggers": triggers})
    return found


def begun_for_hq(db: Reader) -> dict[str, str]:
    """From when on the slots of HQ's routines are this minion's, by the routine's id (UTC instants)."""
    row: Sequence[str] | None = db.execute("SELECT value FROM meta WHERE key = 'hq_begins'").fetchone()
    return dict(json.loads(row[0])) if row is not None else {}
