"""How HQ's store is made and brought up to date: whole under its name, or not there at all."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path
from typing import Final

import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from server.contract.refusals import StoreUnreadable
from server.storage.tables import APPEND_ONLY, METADATA

SCHEMA_VERSION: Final = 1
APPLICATION_ID: Final = 0x48513031  # "HQ01"
_STANDS: Final = """CREATE TRIGGER {table}_stand BEFORE UPDATE ON {table}
    BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"""
_KEEPS: Final = """CREATE TRIGGER {table}_keep BEFORE DELETE ON {table}
    BEGIN SELECT RAISE(ABORT, '{table} is kept for ever'); END"""


def create(path: Path) -> None:
    """Make a new, empty store. Raises `StoreUnreadable` when the folder refuses, or when there is one already."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        if path.exists():
            raise FileExistsError("there is one already")
        draft.unlink(missing_ok=True)
        _fill(draft)
        draft.chmod(0o600)
        os.link(draft, path)  # unlike a rename it never replaces one that came meanwhile
        _sync(path.parent)
    except (OSError, sqlite3.Error, sa.exc.DatabaseError) as error:
        says = f"No store can be made at {path}: {getattr(error, 'strerror', None) or error}."
        hint = "check the disk's free space and the rights of the folder"
        raise StoreUnreadable("store_not_made", says, hint=hint) from error
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)


def examine(path: Path) -> int | None:
    """The schema's version of the store at `path`; None where there is none.

    Raises `StoreUnreadable` for a file that is no store of HQ's, or one of a newer version.
    """
    if not path.exists():
        return None
    try:
        with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
            owner = connection.execute("PRAGMA application_id").fetchone()[0]
            version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    except sqlite3.Error as error:
        raise _unreadable(path, str(error)) from error
    if owner != APPLICATION_ID:
        raise _unreadable(path, "it is not a store of HQ's")
    if version > SCHEMA_VERSION:
        raise _unreadable(path, f"it is of version {version}, and this program knows {SCHEMA_VERSION}")
    return version


def _fill(path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{path}", poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for pragma in ("synchronous = FULL", "journal_mode = DELETE", f"application_id = {APPLICATION_ID}"):
            connection.exec_driver_sql(f"PRAGMA {pragma}")
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        METADATA.create_all(connection)
        for table in APPEND_ONLY:
            for text in (_STANDS, _KEEPS):
                connection.exec_driver_sql(text.format(table=table.name))
        connection.exec_driver_sql(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.exec_driver_sql("COMMIT")
    engine.dispose()


def _unreadable(path: Path, why: str) -> StoreUnreadable:
    hint = "put a backup back with `hq restore`, or move it aside to begin anew; it was left as it is"
    return StoreUnreadable("store_unreadable", f"The store {path} cannot be used: {why}.", hint=hint)


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
