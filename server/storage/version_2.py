"""What takes a store of version 1 to version 2: minions join it, hold things, let go of routines, and are watched.

It says what the tables were to become then, and stays as it is when they change again.
"""

from __future__ import annotations

import sqlite3
from typing import Final

_STATEMENTS: Final = (
    "ALTER TABLE runs ADD COLUMN reported INTEGER",
    "ALTER TABLE gaps ADD COLUMN sent_back TEXT",
    "ALTER TABLE decisions ADD COLUMN minion_id TEXT",
    "ALTER TABLE decisions ADD COLUMN carried TEXT",
    "ALTER TABLE decisions ADD COLUMN carried_why TEXT",
    "CREATE INDEX decisions_held ON decisions (minion_id, position) WHERE minion_id IS NOT NULL",
    'ALTER TABLE orders ADD COLUMN "trigger" TEXT',
    "ALTER TABLE routines ADD COLUMN changed_seq INTEGER DEFAULT '0' NOT NULL",
    "ALTER TABLE routines ADD COLUMN given_seq INTEGER DEFAULT '0' NOT NULL",
    "ALTER TABLE routines ADD COLUMN scheduled_by TEXT DEFAULT 'minion' NOT NULL",
    "ALTER TABLE routines ADD COLUMN handled_until TEXT",
    "ALTER TABLE routines ADD COLUMN released_by TEXT",
    "ALTER TABLE routines ADD COLUMN released_seq INTEGER",
    "CREATE INDEX routines_of_hq ON routines (id) WHERE scheduled_by = 'hq'",
    "CREATE INDEX routines_moving ON routines (released_by) WHERE released_by IS NOT NULL",
    # What was due before was nobody's: no minion could join.
    """UPDATE routines SET handled_until = changed_at, scheduled_by = CASE
        WHEN json_valid(document) AND json_extract(document, '$.scheduled_by') = 'hq' THEN 'hq'
        ELSE 'minion' END""",
    """CREATE TABLE schedules (
        routine_id TEXT NOT NULL, "trigger" TEXT NOT NULL, handled_until TEXT NOT NULL,
        PRIMARY KEY (routine_id, "trigger"))""",
    # A name may be taken again once its minion has left: SQLite drops no constraint, so the table is made anew.
    """CREATE TABLE minions_2 (
        id TEXT NOT NULL, name TEXT NOT NULL, roles TEXT NOT NULL, said TEXT NOT NULL, joined_at TEXT NOT NULL,
        seen_at TEXT, live TEXT DEFAULT '{}' NOT NULL, acked TEXT, told TEXT, left_at TEXT, silent_since TEXT,
        PRIMARY KEY (id))""",
    """INSERT INTO minions_2 (id, name, roles, said, joined_at, seen_at, left_at)
        SELECT id, name, roles, said, joined_at, seen_at, left_at FROM minions""",
    "DROP TABLE minions",
    "ALTER TABLE minions_2 RENAME TO minions",
    "CREATE UNIQUE INDEX minions_by_name ON minions (name) WHERE left_at IS NULL",
    """CREATE TABLE notices (
        position INTEGER NOT NULL, "key" TEXT NOT NULL, way TEXT NOT NULL, text TEXT NOT NULL, state TEXT NOT NULL,
        made_at TEXT NOT NULL, next_at TEXT NOT NULL, tries INTEGER NOT NULL, problem TEXT, ended_at TEXT,
        PRIMARY KEY (position), UNIQUE ("key", way))""",
    "CREATE INDEX notices_waiting ON notices (state, position)",
    # Which store this is (`server/storage/epoch.py`).
    "INSERT INTO meta (key, value) VALUES ('epoch', lower(hex(randomblob(8))))",
)


def to_version_2(db: sqlite3.Connection) -> None:
    """Take a store of version 1 to version 2, in the transaction that is open. Raises `sqlite3.Error`."""
    for statement in _STATEMENTS:
        db.execute(statement)
