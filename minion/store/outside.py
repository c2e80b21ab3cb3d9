"""Reads what runs did outside the home and may still stand there: for somebody who takes leave of a minion."""

from __future__ import annotations

import sqlite3
from typing import Any, Final

# A file lies in the home's outbox. One whose intent has no result may have happened.
_DONE: Final = """
SELECT e.kind, e.target, e.state, e.destination, e.reverse, count(*) AS times, r.routine, max(r.ordinal) AS newest
FROM effects AS e JOIN runs AS r ON r.id = e.run_id
WHERE e.kind <> 'file' AND e.state IN ('delivered', 'accepted', 'unknown', 'intended')
GROUP BY e.kind, e.target, e.state, e.destination, e.reverse, r.routine ORDER BY newest DESC, e.kind, e.target
"""


def effects_outside(db: sqlite3.Connection) -> list[dict[str, Any]]:
    """Pushes, pull requests, comments and messages of the runs kept, newest first, like ones counted together."""
    names = ("kind", "target", "state", "destination", "reverse", "times", "routine")
    return [{name: row[name] for name in names} for row in db.execute(_DONE).fetchall()]


def counted(db: sqlite3.Connection) -> dict[str, int]:
    """How many routines are in use and how many runs are kept."""
    routines = db.execute("SELECT count(*) FROM routines WHERE removed_at IS NULL").fetchone()[0]
    return {"routines": routines, "runs": db.execute("SELECT count(*) FROM runs").fetchone()[0]}
