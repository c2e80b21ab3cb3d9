"""Whether SQLite keeps what it is given on a disk, and whether a store's own pages are sound."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from server.contract.refusals import StoreFailed


@dataclass(frozen=True, slots=True)
class Trial:
    """How a database did that was made as stores are: the journal it really got, what another connection saw."""

    journal: str
    read_back: bool
    integrity: str

    @property
    def works(self) -> bool:
        """Whether a store could live here."""
        return self.journal == "wal" and self.read_back and self.integrity == "ok"


def sqlite_version() -> str:
    """The version of the SQLite library that Python carries."""
    return sqlite3.sqlite_version


def try_out(folder: Path) -> Trial:
    """Make a database in `folder` as stores are made, write to it, and read it over a second connection.

    Raises `StoreFailed` when SQLite cannot; the files are the caller's to remove.
    """
    path = folder / "trial.db"
    try:
        writer = sqlite3.connect(path, isolation_level=None)
        try:
            writer.execute("PRAGMA synchronous = FULL")
            journal = str(writer.execute("PRAGMA journal_mode = WAL").fetchone()[0])
            writer.execute("CREATE TABLE trial (word TEXT NOT NULL) STRICT")
            writer.execute("INSERT INTO trial VALUES ('kept')")
            reader = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
            try:
                seen = reader.execute("SELECT word FROM trial").fetchall() == [("kept",)]
                integrity = str(reader.execute("PRAGMA integrity_check").fetchone()[0])
            finally:
                reader.close()
        finally:
            writer.close()
    except sqlite3.Error as error:
        raise StoreFailed(
            "sqlite_fails", f"SQLite cannot keep a database in {folder}: {error}.", hint="use another disk"
        ) from error
    return Trial(journal, seen, integrity)


def damage(db: sqlite3.Connection) -> str | None:
    """What SQLite finds wrong with a store's pages, None when it finds them sound.

    Begins a read transaction: whatever is read over `db` afterwards is of one moment, so that a run which ends
    meanwhile breaks no chain.
    """
    db.execute("BEGIN")
    said = str(db.execute("PRAGMA quick_check(1)").fetchone()[0])
    return None if said == "ok" else said
