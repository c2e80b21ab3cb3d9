"""What an upgrade asks of a store: a look at an older one, what it holds, its soundness; a copy is put back."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from minion.store.run_history import breaches
from server.contract.refusals import StoreFailed, StoreUnreadable

# What rooms without SQL of their own hold in their hands.
Reader = sqlite3.Connection


@dataclass(frozen=True, slots=True)
class Holdings:
    """What a store holds: the number of rows of each table, and which of its log's chains are broken."""

    rows: dict[str, int]
    broken: frozenset[tuple[str, int]]


@dataclass(frozen=True, slots=True)
class Loss:
    """What a store has and an earlier copy of it has not: runs, newest first, settled slots, decisions."""

    runs: tuple[str, ...]
    slots: int
    decisions: int


@contextmanager
def older(path: Path) -> Iterator[Reader]:
    """A read-only connection to a store of this version or an older one; all reads are of one moment.

    Raises `StoreUnreadable` when it cannot be read.
    """
    connection: sqlite3.Connection | None = None
    try:
        connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, isolation_level=None)
        connection.row_factory = sqlite3.Row
        connection.execute("BEGIN")
        yield connection
    except sqlite3.DatabaseError as error:
        raise _damaged(path, str(error)) from error
    finally:
        if connection is not None:
            connection.close()


def holdings(db: Reader, path: Path) -> Holdings:
    """What a store holds, once its pages are found sound. Raises `StoreUnreadable` naming what is not."""
    said = str(db.execute("PRAGMA integrity_check(1)").fetchone()[0])
    if said != "ok":
        raise _damaged(path, said)
    names = [row[0] for row in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()]
    rows = {name: db.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for name in names}  # noqa: S608
    return Holdings(rows, frozenset((breach.chain, breach.position) for breach in breaches(db)))


def check_kept(was: Holdings, is_: Holdings) -> None:
    """Nothing was lost on the way from one to the other, and no chain broke. Raises `StoreFailed`."""
    lost = sorted(name for name, number in was.rows.items() if is_.rows.get(name, 0) < number)
    broken = sorted(is_.broken - was.broken)
    if lost or broken:
        what = f"rows of {lost[0]}" if lost else f"the chain {broken[0][0]}"
        says = f"The upgrade would have lost {what}: the store was left as it is."
        raise StoreFailed("upgrade_loses", says, hint="go on with the earlier version, and report this")


def admitted_before(db: Reader, digest: str) -> dict[str, Any] | None:
    """The document that an earlier version's check made of a routine file's bytes; None when it never saw them."""
    query = "SELECT document FROM admissions WHERE digest = ? AND kind = 'routine' ORDER BY version DESC LIMIT 1"
    row = db.execute(query, (digest,)).fetchone()
    return json.loads(row[0]) if row is not None else None


def loss(path: Path, copy: Path) -> Loss:
    """What a store would lose if the copy were put in its place. Raises `StoreUnreadable`."""
    with older(copy) as db:
        kept = {row[0] for row in db.execute("SELECT id FROM runs").fetchall()}
        before = {name: _count(db, name) for name in (_SETTLED, _ANSWERED)}
    with older(path) as db:
        runs = [row[0] for row in db.execute("SELECT id FROM runs ORDER BY ordinal DESC").fetchall()]
        after = {name: _count(db, name) for name in (_SETTLED, _ANSWERED)}
    more = {name: max(0, after[name] - before[name]) for name in after}
    return Loss(tuple(run for run in runs if run not in kept), more[_SETTLED], more[_ANSWERED])


def put_back(copy: Path, path: Path) -> None:
    """Have a store hold what a copy holds, in one transaction; only its owner may. Raises `StoreFailed`.

    Never by renaming: what still lies in the log beside the store would then be taken for the copy's.
    """
    try:
        source = sqlite3.connect(f"{copy.as_uri()}?mode=ro", uri=True)
        try:
            target = sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, isolation_level=None)
            try:
                target.execute("PRAGMA synchronous = FULL")
                source.backup(target)
            finally:
                target.close()
        finally:
            source.close()
    except sqlite3.Error as error:
        hint = "check the disk's free space and rights; what was there is as it was"
        raise StoreFailed("put_back_failed", f"The copy {copy} was not put back: {error}.", hint=hint) from error


_SETTLED: Final = "slots WHERE settled_at IS NOT NULL"
_ANSWERED: Final = "decisions WHERE answer IS NOT NULL"


def _count(db: Reader, what: str) -> int:
    """How many rows there are; none where there is no such table yet."""
    table = what.partition(" ")[0]
    if db.execute("SELECT 1 FROM sqlite_schema WHERE name = ?", (table,)).fetchone() is None:
        return 0
    return int(db.execute(f"SELECT count(*) FROM {what}").fetchone()[0])  # noqa: S608 - our own words


def _damaged(path: Path, words: str) -> StoreUnreadable:
    return StoreUnreadable(
        "store_damaged",
        f"The run store {path} is damaged: {words}.",
        hint="put a backup back, or move it aside to begin anew; it was left as it is",
    )
