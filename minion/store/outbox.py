"""Reports that wait for HQ: which runs it has not heard of as they are now, and what those say that were pruned.

A trigger of the store puts a run here with every change of it, in the same transaction, while the minion has
joined an HQ. It leaves when HQ has it on its disk: at least once, and HQ takes each revision once.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from minion.store.run_history import whole_run
from server.contract.run import has_ended

if TYPE_CHECKING:
    from aiosqlite import Connection

# While this stands in `meta`, runs are put here; its value is HQ's address.
JOINED: Final = "hq"
# What is told of a run depends on its routine's `report_to_hq`: nothing, a summary, or its steps and effects too.
_STAYS_HERE: Final = ("lock", "folder", "questions")
_LISTS: Final = ("blocks", "effects", "checks", "sessions")
# A report never holds more of a text than this, in characters.
_LONGEST_TEXT: Final = 65_536


@dataclass(frozen=True, slots=True)
class Waiting:
    """A run that HQ is to hear of, and its report as the wire has it; None where it is not to hear of it."""

    run_id: str
    report: dict[str, Any] | None


async def begin_reporting(db: Connection, url: str) -> None:
    """Have every change of a run reported from now on."""
    await db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (JOINED, url))


async def end_reporting(db: Connection) -> int:
    """Report nothing any more; how many reports were waiting, which nobody hears now."""
    rows = list(await db.execute_fetchall("SELECT count(*) FROM outbox"))
    await db.execute("DELETE FROM outbox")
    await db.execute("DELETE FROM meta WHERE key = ?", (JOINED,))
    return int(rows[0][0])


def joined_hq(db: sqlite3.Connection) -> tuple[str, int] | None:
    """The address of the HQ that was joined, and how many reports wait for it; None where none was."""
    row = db.execute("SELECT value FROM meta WHERE key = ?", (JOINED,)).fetchone()
    if row is None:
        return None
    return str(row["value"]), int(db.execute("SELECT count(*) FROM outbox").fetchone()[0])


def next_reports(db: sqlite3.Connection, *, most: int, largest: int) -> list[Waiting]:
    """The reports that wait longest: at most so many, and no more than `largest` bytes, but always one."""
    found, size = list[Waiting](), 0
    rows = db.execute("SELECT run_id, body FROM outbox ORDER BY position LIMIT ?", (most,)).fetchall()
    for row in rows:
        report = json.loads(row["body"]) if row["body"] is not None else report_of(db, row["run_id"])
        size += 0 if report is None else len(json.dumps(report))
        if found and size > largest:
            break
        found.append(Waiting(row["run_id"], report))
    return found


def report_of(db: sqlite3.Connection, run_id: str) -> dict[str, Any] | None:
    """What HQ is told of a run; None for one that it is not to hear of, or that is not there."""
    row = db.execute(_LEVEL, (run_id,)).fetchone()
    if row is None or row["level"] == "none":
        return None
    said = whole_run(db, run_id)
    for name in _STAYS_HERE if row["level"] == "steps" else (*_STAYS_HERE, *_LISTS):
        said.pop(name, None)
    for name in ("summary", "details", "why"):
        if said.get(name) is not None:
            said[name] = said[name][:_LONGEST_TEXT]
    return said


async def any_unwritten(db: Connection) -> bool:
    """Whether a report is not written down yet."""
    return bool(list(await db.execute_fetchall("SELECT 1 FROM outbox WHERE body IS NULL LIMIT 1")))


def without_body(db: sqlite3.Connection) -> list[tuple[str, str]]:
    """The ended runs whose report is not written down yet, each with it as JSON; none is pruned before."""
    rows = db.execute("SELECT run_id FROM outbox WHERE body IS NULL ORDER BY position").fetchall()
    found = []
    for row in rows:
        run = db.execute("SELECT state FROM runs WHERE id = ?", (row["run_id"],)).fetchone()
        if run is not None and has_ended(run["state"]):
            found.append((row["run_id"], json.dumps(report_of(db, row["run_id"]))))
    return found


async def keep_bodies(db: Connection, bodies: Sequence[tuple[str, str]]) -> None:
    """Keep reports, so that they outlive their runs; a run that changed meanwhile is reported anew."""
    for run_id, body in bodies:
        revision = (json.loads(body) or {}).get("revision")
        await db.execute(
            "UPDATE outbox SET body = ? WHERE run_id = ? AND (? IS NULL OR ? ="
            " (SELECT revision FROM runs WHERE runs.id = outbox.run_id))",
            (body, run_id, revision, revision),
        )


async def settle_reports(db: Connection, done: Mapping[str, int | None]) -> None:
    """Take away what HQ has: by run the revision that it took, None for one that it never will."""
    for run_id, revision in done.items():
        await db.execute(
            "DELETE FROM outbox WHERE run_id = ? AND (? IS NULL OR coalesce("
            " (SELECT revision FROM runs WHERE runs.id = outbox.run_id), ?) <= ?)",
            (run_id, revision, revision, revision),
        )


_LEVEL: Final = """
SELECT coalesce(json_extract(routines.document, '$.report_to_hq'), 'summary') AS level
    FROM runs LEFT JOIN routines ON routines.id = runs.routine_id WHERE runs.id = ?
"""
