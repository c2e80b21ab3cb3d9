"""What is looked at before a run, or asked about the next ones: earlier runs, what is spent, what was allowed.

Read-only connections only.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from minion.store.decisions import ANSWERED
from minion.store.spending import KEPT, beginnings

# A connection to read by; one that this module hands on, so that no other room needs to know of SQLite.
Reader = sqlite3.Connection
# So many of the newest completed runs say what the next one will be like.
MOST_RUNS: Final = 50
_COMPLETED: Final = """
SELECT id, engine, usage, json_extract(lock, '$.model') AS model, ended_at FROM runs
    WHERE routine_id = ? AND state = 'completed' ORDER BY ordinal DESC LIMIT ?
"""
_PRUNED: Final = (
    "SELECT coalesce(sum(json_extract(body, '$.usage.dollars')), 0) FROM home_chain"
    " WHERE kind = 'tombstone' AND json_extract(body, '$.ended_at') >= ?"
)


@dataclass(frozen=True, slots=True)
class PastRun:
    """A completed run: its engine, its model (text; of several models, all), and what it used."""

    id: str
    engine: str
    model: str
    seconds: float
    dollars: float
    turns: int
    tokens: int


def completed_runs(db: Reader, routine_id: str) -> list[PastRun]:
    """The newest completed runs of a routine that are kept, at most 50, newest first."""
    found = []
    for row in db.execute(_COMPLETED, (routine_id, MOST_RUNS)).fetchall():
        used = json.loads(row["usage"])
        found.append(
            PastRun(
                row["id"], row["engine"], str(row["model"]), used.get("wall_ms", 0) / 1000,
                used.get("dollars", 0.0), int(used.get("turns", 0)), int(used.get("tokens", 0)),
            )
        )  # fmt: skip
    return found


def spent_so_far(db: Reader, *, zone: str, now: datetime) -> tuple[float, float]:
    """What the minion's runs cost in US dollars on this day and in this month of its zone (IANA)."""
    spans = dict(zip(("day", "month"), beginnings(zone, now), strict=True))
    spent = {row["span"]: float(row["dollars"]) for row in db.execute(KEPT, spans).fetchall()}
    for span, start in spans.items():
        spent[span] += float(db.execute(_PRUNED, (start,)).fetchone()[0])
    return spent["day"], spent["month"]


def accepted_lock_now(db: Reader, routine_id: str) -> dict[str, str] | None:
    """What a routine was last allowed to run with; None before its first run."""
    row = db.execute("SELECT lock FROM locks WHERE routine_id = ?", (routine_id,)).fetchone()
    return dict(json.loads(row["lock"])) if row is not None else None


def answers_now(db: Reader, routine_id: str) -> list[dict[str, Any]]:
    """The answered questions that a routine's next run would be told of."""
    rows = db.execute(ANSWERED, (routine_id,)).fetchall()
    return [{"question": row["question"], "answer": row["answer"]} for row in rows]
