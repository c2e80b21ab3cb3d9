"""What each version of the store added, as SQL: a fresh store and a migrated one are made by the same steps.

Version 1 stands in `local_db`. A step only adds; what an older version kept is never rewritten.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Final

from server.contract.refusals import StoreFailed

# Slots: a row per due instant, or one with a `count` for many that were missed together; `due` and `held` are
# open, the others final. Schedules: how far each trigger was handled; nothing at or before `floor` is due again.
_SLOTS: Final = """
CREATE TABLE schedules (
    routine_id TEXT NOT NULL, trigger TEXT NOT NULL, handled_until TEXT NOT NULL, floor TEXT,
    PRIMARY KEY (routine_id, trigger)
) STRICT;
CREATE TABLE slots (
    position INTEGER PRIMARY KEY AUTOINCREMENT, routine_id TEXT NOT NULL, routine TEXT NOT NULL,
    trigger TEXT NOT NULL, key TEXT NOT NULL, due_at TEXT NOT NULL, shown TEXT NOT NULL, count INTEGER NOT NULL,
    state TEXT NOT NULL, why TEXT, run_id TEXT, decision_id TEXT, noticed_at TEXT NOT NULL, settled_at TEXT,
    UNIQUE (routine_id, key)
) STRICT;
CREATE INDEX slots_by_due ON slots (routine_id, due_at);
CREATE INDEX slots_open ON slots (state) WHERE state IN ('due', 'held');
CREATE TABLE order_keys (key TEXT PRIMARY KEY, run_id TEXT NOT NULL, at TEXT NOT NULL) STRICT;
"""
# A routine's file as it was when it was admitted, so that a start need not read ten thousand of them.
_FILES: Final = """
CREATE TABLE routine_files (
    name TEXT PRIMARY KEY, file TEXT NOT NULL, signature TEXT NOT NULL, problem TEXT
) STRICT;
CREATE INDEX routine_files_bad ON routine_files (name) WHERE problem IS NOT NULL;
"""
# Locks: what a `lock: strict` routine was last allowed to run with. Decisions: what waits for a person.
_DECISIONS: Final = """
CREATE TABLE locks (
    routine_id TEXT PRIMARY KEY, lock TEXT NOT NULL, accepted_at TEXT NOT NULL, accepted_by TEXT NOT NULL
) STRICT;
CREATE TABLE decisions (
    id TEXT PRIMARY KEY, kind TEXT NOT NULL, routine_id TEXT NOT NULL, routine TEXT NOT NULL,
    question TEXT NOT NULL, subject TEXT NOT NULL, opened_at TEXT NOT NULL,
    answer TEXT, answered_at TEXT, answered_by TEXT
) STRICT;
CREATE INDEX decisions_open ON decisions (answer) WHERE answer IS NULL;
"""
# Alerts: open until what they tell of is over; `ref` is the run or decision it is about, `tally` how many slots or
# runs. Notices: an alert, or its end, that is to reach somebody one way; a `next_try_at` until it is sent or given
# up. Watches: what was counted of each routine's runs, and whether it paused itself.
_ALERTS: Final = """
CREATE TABLE alerts (
    position INTEGER PRIMARY KEY AUTOINCREMENT, routine TEXT NOT NULL, kind TEXT NOT NULL, text TEXT NOT NULL,
    ref TEXT, tally INTEGER NOT NULL, opened_at TEXT NOT NULL, closed_at TEXT, closing TEXT
) STRICT;
CREATE UNIQUE INDEX alerts_open ON alerts (routine, kind) WHERE closed_at IS NULL;
CREATE TABLE notices (
    position INTEGER PRIMARY KEY AUTOINCREMENT, alert INTEGER NOT NULL, over INTEGER NOT NULL, way TEXT NOT NULL,
    made_at TEXT NOT NULL, tries INTEGER NOT NULL, next_try_at TEXT, sent_at TEXT, problem TEXT
) STRICT;
CREATE INDEX notices_of_alert ON notices (alert);
CREATE INDEX notices_waiting ON notices (next_try_at) WHERE next_try_at IS NOT NULL;
CREATE INDEX notices_sent ON notices (way, sent_at) WHERE sent_at IS NOT NULL;
CREATE TABLE watches (
    routine TEXT PRIMARY KEY, failures INTEGER NOT NULL, newest TEXT, paused TEXT NOT NULL, costs TEXT NOT NULL
) STRICT;
"""

# Plans: what each routine's schedules promised for a week, so that another version can be held against it.
_PLANS: Final = """
CREATE TABLE plans (
    routine_id TEXT PRIMARY KEY, routine_digest TEXT NOT NULL, zone TEXT NOT NULL, begins_at TEXT NOT NULL,
    ends_at TEXT NOT NULL, slots INTEGER NOT NULL, digest TEXT NOT NULL, first_slots TEXT NOT NULL,
    version TEXT NOT NULL
) STRICT;
"""

# Outbox: the runs that HQ has not heard of as they are, the one that changed first in front; `body` is the report
# of one that has ended, so that it may be pruned. Nothing is put there while no HQ was joined.
_OUTBOX: Final = """
CREATE TABLE outbox (
    position INTEGER PRIMARY KEY AUTOINCREMENT, run_id TEXT NOT NULL UNIQUE, body TEXT
) STRICT;
CREATE TRIGGER runs_are_reported AFTER UPDATE OF revision ON runs
    WHEN EXISTS (SELECT 1 FROM meta WHERE key = 'hq')
    BEGIN INSERT INTO outbox (run_id) VALUES (NEW.id) ON CONFLICT (run_id) DO UPDATE SET body = NULL; END;
"""

STEPS: Final[dict[int, str]] = {2: _SLOTS + _FILES + _DECISIONS + _ALERTS + _PLANS, 3: _OUTBOX}


def stored_version(path: Path) -> int:
    """The schema version of a store's file."""
    db = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
    try:
        return int(db.execute("PRAGMA user_version").fetchone()[0])
    finally:
        db.close()


def back_up(path: Path, backup: Path) -> None:
    """Write a whole, consistent copy of a store, on the disk when this returns; its owner may go on writing.

    Raises `StoreFailed`; no half copy stays.
    """
    draft = backup.with_name(backup.name + ".part")
    try:
        backup.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft.unlink(missing_ok=True)
        db = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
        try:
            db.execute("VACUUM INTO ?", (str(draft),))
        finally:
            db.close()
        draft.chmod(0o600)
        fd = os.open(draft, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
        draft.rename(backup)
    except (sqlite3.Error, OSError) as error:
        draft.unlink(missing_ok=True)
        hint = "check the disk's free space and the rights of its folder"
        raise StoreFailed("backup_failed", f"The store could not be backed up: {error}.", hint=hint) from error


def migrate(path: Path, version: int, look: Callable[[sqlite3.Connection], None]) -> None:
    """Bring a store of an older version to `version` in one transaction; only its owner may.

    `look` sees the migrated store before it is committed; what it raises undoes everything. Raises `StoreFailed`;
    whatever fails, the store stays as it was.
    """
    try:
        db = sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, isolation_level=None)
        try:
            db.row_factory = sqlite3.Row
            db.execute("PRAGMA synchronous = FULL")
            before = int(db.execute("PRAGMA user_version").fetchone()[0])
            steps = "".join(STEPS[number] for number in range(before + 1, version + 1))
            db.executescript(f"BEGIN IMMEDIATE;{steps}PRAGMA user_version = {version};")
            look(db)
            db.execute("COMMIT")
        finally:
            db.close()  # which undoes what was not committed
    except sqlite3.Error as error:
        hint = "check the disk's free space and rights; the store is as it was"
        raise StoreFailed("migration_failed", f"The store could not be upgraded: {error}.", hint=hint) from error
