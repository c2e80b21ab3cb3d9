"""Reads that tell how things stand now: what runs and waits, how last runs ended, what became of slots.

Read-only connections of `local_db.read_only` only: it is they that know of runs whose owner died.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any, Final

# What rooms without SQL of their own hold in their hands: a connection of `local_db.read_only`.
Reader = sqlite3.Connection
_UNDER_WAY: Final = "state_now(state) IN ('draft', 'validated', 'queued', 'running', 'waiting')"
# An intent whose owner died stays `intended` until the next owner closes its run.
_UNSETTLED: Final = """
SELECT e.id, e.run_id AS run, r.routine, e.kind, e.target, e.destination, e.intended_at AS since, e.detail
FROM effects AS e JOIN runs AS r ON r.id = e.run_id
WHERE e.state IN ('unknown', 'intended')
    AND state_now(r.state) NOT IN ('draft', 'validated', 'queued', 'running', 'waiting')
ORDER BY r.ordinal, e.ordinal
"""
_SLOT: Final = ("routine_id", "routine", "trigger", "key", "due_at", "shown", "count", "state", "why", "run_id",
                "decision_id", "noticed_at", "settled_at")  # fmt: skip


def runs_under_way(db: Reader) -> list[dict[str, Any]]:
    """The runs that go on or wait for their place, oldest first: `run`, `routine`, `state`, `trigger`, `since`."""
    began = "coalesce(started_at, created_at) AS since"
    query = f"SELECT id AS run, routine, state, trigger, {began} FROM runs WHERE {_UNDER_WAY} ORDER BY ordinal"  # noqa: S608
    return [dict(row) for row in db.execute(query).fetchall()]


def last_ended_runs(db: Reader) -> dict[str, dict[str, Any]]:
    """How the newest run of each routine that has ended did so, by the routine's name: `id`, `verdict`, times."""
    told = "routine, max(ordinal), id, verdict_now(state, verdict) AS verdict, created_at, ended_at"
    query = f"SELECT {told} FROM runs WHERE NOT {_UNDER_WAY} GROUP BY routine"  # noqa: S608 - our words
    names = ("id", "verdict", "created_at", "ended_at")
    return {row["routine"]: {name: row[name] for name in names} for row in db.execute(query).fetchall()}


def unsettled_effects(db: Reader) -> list[dict[str, Any]]:
    """The effects of ended runs that nobody knows the end of, oldest first.

    Each with `id run routine kind target destination since detail`; `since` is when it was about to be performed.
    """
    return [dict(row) for row in db.execute(_UNSETTLED).fetchall()]


def unsettled_slots(db: Reader) -> list[dict[str, Any]]:
    """The slots that wait: `due` for their turn, `held` for a person; oldest first."""
    rows = db.execute("SELECT * FROM slots WHERE state IN ('due', 'held') ORDER BY due_at, position").fetchall()
    return [_slot(row) for row in rows]


def newest_slot(db: Reader, routine_id: str) -> dict[str, Any] | None:
    """The slot of a routine that was due last, as it is recorded; None without any."""
    query = "SELECT * FROM slots WHERE routine_id = ? ORDER BY due_at DESC, position DESC LIMIT 1"
    row = db.execute(query, (routine_id,)).fetchone()
    return _slot(row) if row is not None else None


def slot_keyed(db: Reader, routine_id: str, key: str) -> dict[str, Any] | None:
    """The record of a slot by its key, from the home's chain where the row was pruned; None when there is none."""
    row = db.execute("SELECT * FROM slots WHERE routine_id = ? AND key = ?", (routine_id, key)).fetchone()
    if row is not None:
        return _slot(row)
    query = "SELECT body FROM home_chain WHERE ref = ? AND kind = 'slot' ORDER BY position DESC LIMIT 1"
    sealed = db.execute(query, (f"{routine_id} {key}",)).fetchone()
    if sealed is None:
        return None
    found: dict[str, Any] = dict.fromkeys(_SLOT)
    found.update({"routine_id": routine_id, "key": key}, **json.loads(sealed["body"]))
    return found


def slots_due(db: Reader, routine_id: str, since: str, until: str) -> list[dict[str, Any]]:
    """The recorded slots of a routine that were due from `since` to `until` (UTC instants), oldest first."""
    query = "SELECT * FROM slots WHERE routine_id = ? AND due_at BETWEEN ? AND ? ORDER BY due_at, position"
    return [_slot(row) for row in db.execute(query, (routine_id, since, until)).fetchall()]


def missed_with(db: Reader, routine_id: str, due_at: str) -> dict[str, Any] | None:
    """The record of slots that were missed together, if one that was due at `due_at` may be among them."""
    query = "SELECT * FROM slots WHERE routine_id = ? AND due_at >= ? ORDER BY due_at LIMIT 1"
    row = db.execute(query, (routine_id, due_at)).fetchone()
    return _slot(row) if row is not None and row["count"] > 1 else None


def handled_until(db: Reader, routine_id: str | None = None) -> dict[str, dict[str, Any]]:
    """How far triggers were handled, and their floors, by routine id and trigger."""
    found: dict[str, dict[str, Any]] = {}
    where, values = ("", ()) if routine_id is None else ("WHERE routine_id = ?", (routine_id,))
    for row in db.execute(f"SELECT * FROM schedules {where}", values).fetchall():  # noqa: S608 - our words
        found.setdefault(row["routine_id"], {})[row["trigger"]] = (row["handled_until"], row["floor"])
    return found


def run_going_on(db: Reader, routine_id: str, at: str) -> dict[str, Any] | None:
    """The run of a routine that was under way at an instant: its id, and whether it still is (`now`)."""
    then = "created_at <= ? AND (ended_at IS NULL OR ended_at >= ?)"
    where = f"WHERE routine_id = ? AND {then} ORDER BY ordinal DESC LIMIT 1"
    query = f"SELECT id, {_UNDER_WAY} AS now FROM runs {where}"  # noqa: S608 - our words
    row = db.execute(query, (routine_id, at, at)).fetchone()
    return {"id": row["id"], "now": bool(row["now"])} if row is not None else None


def newest_run(db: Reader, routine_id: str) -> str | None:
    """The id of a routine's newest run."""
    query = "SELECT id FROM runs WHERE routine_id = ? ORDER BY ordinal DESC LIMIT 1"
    row = db.execute(query, (routine_id,)).fetchone()
    return row["id"] if row is not None else None


def began_at(db: Reader, run_id: str) -> str:
    """When a run that is kept was opened."""
    return str(db.execute("SELECT created_at FROM runs WHERE id = ?", (run_id,)).fetchone()["created_at"])


def is_kept(db: Reader, run_id: str) -> bool:
    """Whether a run's record is there still; older ones are pruned."""
    return db.execute("SELECT 1 FROM runs WHERE id = ?", (run_id,)).fetchone() is not None


def verdicts_of(db: Reader, run_ids: Sequence[str]) -> dict[str, str]:
    """The verdicts of runs by their id; of a pruned one its tombstone's."""
    found = {}
    for run_id in run_ids:
        query = "SELECT verdict_now(state, verdict) AS verdict FROM runs WHERE id = ?"
        row = db.execute(query, (run_id,)).fetchone()
        if row is not None:
            found[run_id] = row["verdict"]
            continue
        query = "SELECT body FROM home_chain WHERE ref = ? AND kind = 'tombstone'"
        stone = db.execute(query, (run_id,)).fetchone()
        if stone is not None:
            found[run_id] = json.loads(stone["body"])["verdict"]
    return found


def revision_at(db: Reader, routine_id: str, at: str) -> tuple[Mapping[str, Any] | None, str] | None:
    """The routine's document as it was in force at an instant (None: removed) and since when; None before all."""
    query = (
        "SELECT document, at FROM routine_history WHERE routine_id = ? AND at <= ? ORDER BY revision DESC LIMIT 1"
    )
    row = db.execute(query, (routine_id, at)).fetchone()
    if row is None:
        return None
    return (json.loads(row["document"]) if row["document"] is not None else None), row["at"]


def added_at(db: Reader, routine_id: str) -> str | None:
    """When a routine was first kept."""
    row = db.execute("SELECT min(at) AS at FROM routine_history WHERE routine_id = ?", (routine_id,)).fetchone()
    return row["at"] if row is not None else None


def paused_since(db: Reader, routine_id: str) -> str | None:
    """Since when a routine that is paused now is paused."""
    query = "SELECT document, at FROM routine_history WHERE routine_id = ? ORDER BY revision DESC"
    since = None
    for row in db.execute(query, (routine_id,)).fetchall():
        if row["document"] is None or not json.loads(row["document"])["paused"]:
            break
        since = row["at"]
    return since


def pausing_itself(db: Reader, routine: str) -> tuple[int, str | None] | None:
    """How often in a row a routine went wrong, and what is said of its newest run, while it is to pause itself.

    None when it is not, or did so and people were told: a daemon that was stopped on the way tells them later.
    """
    query = "SELECT failures, newest FROM watches WHERE routine = ? AND paused = 'due'"
    row = db.execute(query, (routine,)).fetchone()
    return (row["failures"], row["newest"]) if row is not None else None


def first_up_at(db: Reader) -> str | None:
    """When a daemon first ran this home; None when none ever did."""
    row = db.execute("SELECT value FROM meta WHERE key = 'first_up'").fetchone()
    return str(row["value"]) if row is not None else None


def _slot(row: sqlite3.Row) -> dict[str, Any]:
    return {name: row[name] for name in _SLOT}
