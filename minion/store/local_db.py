"""The minion's database file: its tables, how it is opened, and why it is refused rather than replaced.

One read-write connection (the writer's) per file, everyone else `mode=ro` (DESIGN §4 "Minion store").
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from minion.store.migrations import STEPS
from server.contract.refusals import NotFound, StoreUnreadable
from server.contract.run import has_ended

SCHEMA_VERSION: Final = 3
APPLICATION_ID: Final = 0x4D494E31  # "MIN1"
BUSY_MS: Final = 5000

_APPEND_ONLY: Final = ("events", "step_logs")
_TABLES: Final = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE admissions (
    digest TEXT NOT NULL, version INTEGER NOT NULL, kind TEXT NOT NULL, document TEXT NOT NULL,
    PRIMARY KEY (digest, version, kind)
) STRICT;
CREATE TABLE routines (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, revision INTEGER NOT NULL, document TEXT NOT NULL,
    digest TEXT NOT NULL, source TEXT NOT NULL, created_at TEXT NOT NULL, changed_at TEXT NOT NULL,
    removed_at TEXT, last_delivered_at TEXT
) STRICT;
CREATE UNIQUE INDEX routines_by_name ON routines (name);
CREATE TABLE routine_history (
    routine_id TEXT NOT NULL, name TEXT NOT NULL, revision INTEGER NOT NULL, document TEXT,
    digest TEXT, at TEXT NOT NULL, PRIMARY KEY (routine_id, revision)
) STRICT;
CREATE TABLE runs (
    ordinal INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, order_key TEXT NOT NULL UNIQUE,
    routine_id TEXT NOT NULL, routine TEXT NOT NULL, trigger TEXT NOT NULL,
    state TEXT NOT NULL, outcome TEXT NOT NULL, delivery TEXT NOT NULL, verdict TEXT NOT NULL,
    summary TEXT, details TEXT, why TEXT, hint TEXT, engine TEXT NOT NULL, sandbox TEXT,
    process TEXT NOT NULL, variant TEXT NOT NULL, canonical TEXT NOT NULL, topology TEXT NOT NULL,
    fingerprint TEXT, canonical_fingerprint TEXT NOT NULL, conformance TEXT, first_difference TEXT,
    lock TEXT NOT NULL, usage TEXT NOT NULL, delivery_target TEXT,
    created_at TEXT NOT NULL, started_at TEXT, ended_at TEXT,
    runner_pid INTEGER, runner_started TEXT, boot_id TEXT, folder TEXT NOT NULL,
    revision INTEGER NOT NULL
) STRICT;
CREATE INDEX runs_by_routine ON runs (routine, ordinal);
CREATE INDEX runs_by_state ON runs (state, ordinal);
CREATE TABLE sessions (
    id TEXT PRIMARY KEY, run_id TEXT NOT NULL, engine TEXT NOT NULL, sandbox TEXT NOT NULL, opened_at TEXT NOT NULL
) STRICT;
CREATE TABLE block_runs (
    run_id TEXT NOT NULL, ordinal INTEGER NOT NULL, code TEXT NOT NULL, name TEXT NOT NULL, kind TEXT NOT NULL,
    state TEXT NOT NULL, why TEXT, started_at TEXT, ended_at TEXT, PRIMARY KEY (run_id, code)
) STRICT;
CREATE TABLE events (
    run_id TEXT NOT NULL, ordinal INTEGER NOT NULL, seq INTEGER, at TEXT NOT NULL, type TEXT NOT NULL,
    block TEXT, data TEXT NOT NULL, hash TEXT NOT NULL, PRIMARY KEY (run_id, ordinal), UNIQUE (run_id, seq)
) STRICT;
CREATE TABLE step_logs (
    run_id TEXT NOT NULL, ordinal INTEGER NOT NULL, number INTEGER NOT NULL, block TEXT, code TEXT NOT NULL,
    kind TEXT NOT NULL, state TEXT NOT NULL, why TEXT, agent TEXT NOT NULL, started_at TEXT,
    ended_at TEXT NOT NULL, cost TEXT NOT NULL, digest_in TEXT, digest_out TEXT, hash TEXT NOT NULL,
    PRIMARY KEY (run_id, ordinal), UNIQUE (run_id, number)
) STRICT;
CREATE TABLE effects (
    id TEXT PRIMARY KEY, run_id TEXT NOT NULL, ordinal INTEGER NOT NULL, key TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL, target TEXT NOT NULL, title TEXT, digest TEXT NOT NULL, bytes INTEGER NOT NULL,
    state TEXT NOT NULL, detail TEXT, destination TEXT, reverse TEXT,
    staged_at TEXT NOT NULL, intended_at TEXT, settled_at TEXT
) STRICT;
CREATE INDEX effects_by_run ON effects (run_id, ordinal);
CREATE TABLE gaps (
    id TEXT PRIMARY KEY, run_id TEXT NOT NULL, routine TEXT NOT NULL, gap_type TEXT NOT NULL,
    requested_code TEXT NOT NULL, description TEXT NOT NULL, at TEXT NOT NULL
) STRICT;
CREATE INDEX gaps_by_run ON gaps (run_id);
CREATE TABLE home_chain (
    position INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, ref TEXT NOT NULL, body TEXT NOT NULL,
    hash TEXT NOT NULL
) STRICT;
CREATE INDEX home_chain_by_ref ON home_chain (ref, kind);
CREATE TRIGGER home_chain_keeps BEFORE DELETE ON home_chain
    BEGIN SELECT RAISE(ABORT, 'the home chain is kept for ever'); END;
CREATE TRIGGER home_chain_stands BEFORE UPDATE ON home_chain
    BEGIN SELECT RAISE(ABORT, 'the home chain is append-only'); END;
"""


_TRIGGERS: Final = """
CREATE TRIGGER {table}_stand BEFORE UPDATE ON {table}
    BEGIN SELECT RAISE(ABORT, '{table} are append-only'); END;
CREATE TRIGGER {table}_keep BEFORE DELETE ON {table}
    WHEN NOT EXISTS (SELECT 1 FROM home_chain WHERE ref = OLD.run_id AND kind = 'tombstone')
    BEGIN SELECT RAISE(ABORT, '{table} are kept until the run is pruned'); END;
"""


def create(path: Path, minion_id: str) -> None:
    """Make a new, empty store for a minion: whole under its name, or not there at all.

    Raises `StoreUnreadable` when the folder cannot be written, or when there is a store already.
    """
    draft = path.with_name(path.name + ".new")
    try:
        if path.exists():
            raise FileExistsError("there is one already")
        draft.unlink(missing_ok=True)
        connection = sqlite3.connect(draft, isolation_level=None)
        try:
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            triggers = "".join(_TRIGGERS.format(table=table) for table in _APPEND_ONLY)
            steps = "".join(STEPS[number] for number in sorted(STEPS))
            tables = _TABLES + triggers + steps
            connection.executescript(f"BEGIN;{tables}PRAGMA user_version = {SCHEMA_VERSION};COMMIT;")
            connection.execute("INSERT INTO meta VALUES ('minion_id', ?)", (minion_id,))
        finally:
            connection.close()
        draft.chmod(0o600)
        draft.rename(path)
    except (sqlite3.Error, OSError) as error:
        words = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise StoreUnreadable(
            "store_not_made",
            f"No run store could be made at {path} ({words}).",
            hint="check the disk's free space and the rights of its folder",
        ) from error


def examine(path: Path, *, minion_id: str, runs_dir: Path) -> bool:
    """Whether the store exists and may be used; False when there is none yet.

    Raises `StoreUnreadable` when the file cannot be read, was cut short, is empty or gone although runs were
    kept, belongs to another minion or was written by a newer version. The file is never changed here.
    """
    if not path.exists() or path.stat().st_size == 0:
        if path.exists() or _had_runs(runs_dir):
            raise _missing(path)
        return False
    try:
        connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
        try:
            _check_identity(connection, path, minion_id)
            _check_length(connection, path)
        finally:
            connection.close()
    except sqlite3.DatabaseError as error:
        raise _unreadable(path, str(error)) from error
    return True


@contextmanager
def read_only(path: Path) -> Iterator[sqlite3.Connection]:
    """A read-only connection with named columns; whole results only, no cursor outlives the block.

    Raises `NotFound` when there is no store yet, `StoreUnreadable` when it cannot be read or is gone.
    """
    if path.exists() and path.stat().st_size == 0:
        raise _missing(path)
    if not path.exists():
        if _had_runs(path.parent / "runs"):
            raise _missing(path)
        hint = "minion routine new --list"
        raise NotFound("no_store", f"Nothing was added or run in {path.parent} yet.", hint=hint)
    connection: sqlite3.Connection | None = None
    try:
        connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=BUSY_MS / 1000)
        connection.row_factory = sqlite3.Row
        if _check_identity(connection, path, None) < SCHEMA_VERSION:
            says = f"The run store {path} is of an older version of this program."
            raise StoreUnreadable("store_older", says, hint="minion upgrade")
        _tell_the_abandoned(connection, path)
        yield connection
    except sqlite3.DatabaseError as error:
        raise _unreadable(path, str(error)) from error
    finally:
        if connection is not None:
            connection.close()


def _had_runs(runs_dir: Path) -> bool:
    return runs_dir.is_dir() and any(runs_dir.iterdir())


def _missing(path: Path) -> StoreUnreadable:
    state = "empty" if path.exists() else "gone although runs were kept beside it"
    hint = f"put a backup back, or move {path.parent} aside to begin anew"
    return StoreUnreadable("store_missing", f"The run store {path} is {state}.", hint=hint)


def _tell_the_abandoned(connection: sqlite3.Connection, path: Path) -> None:
    """Teach a reader `state_now(state)` and `verdict_now(state, verdict)`: a run whose owner died runs no more.

    Its row says `running` until the next owner of the home closes it.
    """
    abandoned = not _is_owned(path.with_name("lock"))

    def state_now(state: str) -> str:
        return "interrupted" if abandoned and not has_ended(state) else state  # type: ignore[arg-type]

    def verdict_now(state: str, verdict: str) -> str:
        return "unknown" if state_now(state) != state else verdict

    connection.create_function("state_now", 1, state_now, deterministic=True)
    connection.create_function("verdict_now", 2, verdict_now, deterministic=True)


def _is_owned(lock: Path) -> bool:
    """Whether the process that the home's lock names is there; also where there is no lock to tell."""
    try:
        said = json.loads(lock.read_bytes() or b"{}")
        os.kill(said["pid"], 0)
    except FileNotFoundError:
        return True
    except (KeyError, ProcessLookupError):
        return False
    except (OSError, ValueError, TypeError, OverflowError):
        return True
    return True


def _check_identity(connection: sqlite3.Connection, path: Path, minion_id: str | None) -> int:
    """The store's schema version, once it is known to be this minion's and no newer than this program."""
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    if application != APPLICATION_ID:
        raise _unreadable(path, "it is no store of a minion")
    if version > SCHEMA_VERSION:
        raise StoreUnreadable(
            "store_newer",
            f"The run store {path} is of a newer version (schema {version}; this one reads {SCHEMA_VERSION}).",
            hint="install the newer version; nothing was changed",
        )
    owner = connection.execute("SELECT value FROM meta WHERE key = 'minion_id'").fetchone()
    if minion_id is not None and (owner is None or owner[0] != minion_id):
        raise StoreUnreadable(
            "store_of_another",
            f"The run store {path} belongs to another minion.",
            hint="put this minion's own minion.json back, or use another --home",
        )
    return version


def _check_length(connection: sqlite3.Connection, path: Path) -> None:
    """SQLite itself misses a last page that is only half there: it reads the rest as zeros."""
    log = path.with_name(path.name + "-wal")
    if log.exists() and log.stat().st_size > 0:
        return  # pages may lie in the log still
    pages, size = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
    if path.stat().st_size < pages * size:
        raise _unreadable(path, "its end is missing")


def _unreadable(path: Path, words: str) -> StoreUnreadable:
    return StoreUnreadable(
        "store_unreadable",
        f"The run store {path} cannot be read: {words}.",
        hint="put a backup back, or move it aside to begin anew; it was left as it is",
    )
