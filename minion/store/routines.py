"""Admitted routines in the store: kept by name with their history, as the daemon schedules and runs them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from server.contract.digest import begins_id, canonical_json, digest_of, new_id
from server.contract.refusals import BadUse, NotFound, Refused

if TYPE_CHECKING:
    from aiosqlite import Connection

# A first report looks back this far (DECISIONS "Store").
FIRST_SINCE_DAYS: Final = 7


@dataclass(frozen=True, slots=True)
class KeptRoutine:
    """A routine as admitted: `document` is its canonical content, id and minion_id included."""

    id: str
    name: str
    revision: int
    document: Mapping[str, Any]
    digest: str
    source: str
    changed_at: str
    last_delivered_at: str | None


async def keep_routine(
    db: Connection, document: Mapping[str, Any], *, source: str, replace: bool, now: str
) -> KeptRoutine:
    """Keep an admitted routine under its name: a new one, a changed one (`replace`), or the same one again.

    A name that was used before gets its old id, history and last delivery back, unless the document carries an id
    of its own, as those of HQ do. Raises `Refused` when the name is taken by another content and `replace` is
    false, or the document carries another routine's id.
    """
    name = document["name"]
    await _free(db, document)
    query = "SELECT * FROM routines WHERE name = ? OR (id = ? AND removed_at IS NOT NULL) ORDER BY name = ? DESC"
    rows = list(await db.execute_fetchall(query, (name, document["id"], name)))
    old = rows[0] if rows else None
    routine_id = old["id"] if old is not None else document["id"] or new_id("trig_")
    if document["id"] not in (None, routine_id):
        raise Refused("routine_id", f"The routine {name} is kept under another id.", hint="leave `id` out")
    query = "SELECT name FROM routines WHERE id = ? AND name <> ? AND removed_at IS NULL"
    others = await db.execute_fetchall(query, (routine_id, name))
    for other in others:
        raise Refused("routine_id", f"The id of {name} is that of {other['name']}.", hint="leave `id` out")
    full = {**document, "id": routine_id}
    digest = digest_of(full)
    if old is not None and old["removed_at"] is None and old["digest"] != digest and not replace:
        raise Refused(
            "routine_exists", f"There is a routine {name} with other content.", hint="add --replace to change it"
        )
    if old is not None and old["digest"] == digest and old["removed_at"] is None:
        return _kept(old)
    revision = (old["revision"] if old is not None else 0) + 1
    text = canonical_json(full)
    await db.execute(
        "INSERT INTO routines (id, name, revision, document, digest, source, created_at, changed_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET name = excluded.name,"
        " revision = excluded.revision, document = excluded.document, digest = excluded.digest,"
        " source = excluded.source,"
        " changed_at = excluded.changed_at, removed_at = NULL",
        (routine_id, name, revision, text, digest, source, now, now),
    )
    await _remember(db, routine_id, name, revision, text, digest, now)
    # One of HQ's that was out of use has another name now: had it been elsewhere, it would begin anew.
    gone = old is not None and old["removed_at"] is not None and document["id"] is None
    if old is not None and (gone or json.loads(old["document"]).get("paused")):
        # What fell due while it was paused, or not there, is not due now.
        await db.execute("UPDATE schedules SET handled_until = ? WHERE routine_id = ?", (now, routine_id))
    rows = list(await db.execute_fetchall("SELECT * FROM routines WHERE id = ?", (routine_id,)))
    return _kept(rows[0])


async def _free(db: Connection, document: Mapping[str, Any]) -> None:
    """Have a routine that is out of use give its name to another one, that comes with an id of its own."""
    if document["id"] is None:
        return
    await db.execute(
        "UPDATE routines SET name = name || '~' || substr(id, -6)"
        " WHERE name = ? AND id <> ? AND removed_at IS NOT NULL",
        (document["name"], document["id"]),
    )


async def remove_routine(db: Connection, name: str, *, now: str) -> None:
    """Take a routine out of use; its runs, id and history stay. Raises `NotFound`."""
    rows = list(
        await db.execute_fetchall("SELECT * FROM routines WHERE name = ? AND removed_at IS NULL", (name,))
    )
    if not rows:
        raise NotFound("no_such_routine", f"There is no routine {name}.", hint="minion routine list")
    revision = rows[0]["revision"] + 1
    await db.execute(
        "UPDATE routines SET removed_at = ?, revision = ? WHERE name = ?", (now, revision, name)
    )
    await _remember(db, rows[0]["id"], name, revision, None, None, now)


async def _remember(
    db: Connection, routine_id: str, name: str, revision: int, text: str | None, digest: str | None, now: str
) -> None:
    await db.execute(
        "INSERT INTO routine_history VALUES (?, ?, ?, ?, ?, ?)", (routine_id, name, revision, text, digest, now)
    )


async def forget_files(db: Connection, names: Sequence[str]) -> None:
    """Forget the files of routines that have none any more."""
    for name in names:
        await db.execute("DELETE FROM routine_files WHERE name = ?", (name,))


async def note_file(db: Connection, name: str, file: str, signature: str, problem: str | None) -> None:
    """Note how a routine's file was when it was last looked at, and what was wrong with it then."""
    await db.execute("INSERT OR REPLACE INTO routine_files VALUES (?, ?, ?, ?)", (name, file, signature, problem))


async def noted_files(db: Connection) -> dict[str, tuple[str, str | None]]:
    """The (signature, problem) of each routine's file as it was last looked at, by path."""
    rows = await db.execute_fetchall("SELECT * FROM routine_files")
    return {row["file"]: (row["signature"], row["problem"]) for row in rows}


async def kept_named(db: Connection, names: Sequence[str] | None = None) -> list[KeptRoutine]:
    """The routines in use of these names, or all of them."""
    if names is None:
        rows = await db.execute_fetchall("SELECT * FROM routines WHERE removed_at IS NULL ORDER BY name")
        return [_kept(row) for row in rows]
    found = []
    for name in names:
        query = "SELECT * FROM routines WHERE removed_at IS NULL AND name = ?"
        found += [_kept(row) for row in await db.execute_fetchall(query, (name,))]
    return found


def problem_files(db: sqlite3.Connection) -> dict[str, str]:
    """What is wrong with routine files, by the routine's name: their last good version is in force."""
    rows = db.execute("SELECT name, problem FROM routine_files WHERE problem IS NOT NULL ORDER BY name").fetchall()
    return {row["name"]: row["problem"] for row in rows}


def list_routines(db: sqlite3.Connection) -> list[KeptRoutine]:
    """All routines in use, by name."""
    rows = db.execute("SELECT * FROM routines WHERE removed_at IS NULL ORDER BY name").fetchall()
    return [_kept(row) for row in rows]


def find_routine(db: sqlite3.Connection, text: str) -> KeptRoutine:
    """The routine in use that `text` names: its name, its id or the id's unique beginning.

    Raises `NotFound` (the nearest name in the hint) or `BadUse` when a beginning fits several.
    """
    kept = list_routines(db)
    found = [item for item in kept if item.name == text] or [
        item for item in kept if begins_id(text, "trig_") and item.id.startswith(text)
    ]
    if len(found) > 1:
        hint = "give more of the id, or the name; `minion routine list` shows both"
        raise BadUse("ambiguous", f"Several routines begin with {text}.", hint=hint)
    if not found:
        hint = _others([item.name for item in kept], text)
        raise NotFound("no_such_routine", f"There is no routine {text}.", hint=hint)
    return found[0]


def _others(names: list[str], text: str) -> str:
    """What to say instead of a name that is not there: the nearest one, else which there are."""
    if not names:
        return "begin one with `minion routine new --list` or `minion routine add FILE`"
    near = nearest_name(names, text)
    if near is not None:
        return f"did you mean {near}? `minion routine list` shows them all"
    left = len(names) - _NAMED
    more = f" and {left} more, which `minion routine list` shows" if left > 0 else ""
    return f"name one of: {', '.join(names[:_NAMED])}{more}"


def nearest_name(names: Sequence[str], text: str) -> str | None:
    """The name that `text` is most likely a slip of; None when none is near."""
    from difflib import get_close_matches  # only who mistypes a name pays for it

    # A slip is also looked for in a name's parts: `evning` means evening-review.
    parts = {part: name for name in reversed(names) for part in name.split("-")} | {name: name for name in names}
    typed = text[:64].lower()
    begun = [name for name in names if typed and name.startswith(typed)]
    near = begun[:1] or [parts[part] for part in get_close_matches(typed, parts, n=1, cutoff=0.7)]
    return near[0] if near else None


# So many names still make a hint that is read.
_NAMED: Final = 8


def last_run_of(db: sqlite3.Connection, name: str) -> dict[str, Any] | None:
    """The newest run of a routine: id, verdict, when it ended; None when it never ran."""
    query = (
        "SELECT id, verdict_now(state, verdict) AS verdict, created_at, ended_at FROM runs"
        " WHERE routine = ? ORDER BY ordinal DESC LIMIT 1"
    )
    row = db.execute(query, (name,)).fetchone()
    return dict(row) if row is not None else None


def _kept(row: sqlite3.Row) -> KeptRoutine:
    names = ("id", "name", "revision", "digest", "source", "changed_at", "last_delivered_at")
    return KeptRoutine(document=json.loads(row["document"]), **{name: row[name] for name in names})
