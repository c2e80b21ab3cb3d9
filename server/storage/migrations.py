"""How HQ's store is made and brought up to date: whole under its name, or not there at all."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from server.contract.refusals import BadDocument, NotFound, Refusal, Refused, StoreFailed, StoreUnreadable
from server.storage.epoch import begin_epoch
from server.storage.opening import uri_to_read, uri_to_write
from server.storage.tables import APPEND_ONLY, META, METADATA
from server.storage.version_2 import to_version_2

Step = Callable[[sqlite3.Connection], None]
SCHEMA_VERSION: Final = 2
APPLICATION_ID: Final = 0x48513031  # "HQ01"
# What takes a store from each version to the next.
STEPS: Final[Mapping[int, Step]] = {1: to_version_2}
# A step may add to what a store says of itself; of everything else it keeps each row.
_ABOUT_ITSELF: Final = META.name
_BUSY_MS: Final = 5000
_A_BACKUP: Final = "give a file that hq backup made"
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
        sync(path.parent)
    except (OSError, sqlite3.Error, sa.exc.DatabaseError) as error:
        says = f"No store can be made at {path}: {getattr(error, 'strerror', None) or error}."
        hint = "check the disk's free space and the rights of the folder"
        raise StoreUnreadable("store_not_made", says, hint=hint) from error
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)


def examine(path: Path, known: int = SCHEMA_VERSION) -> int | None:
    """The schema's version of the store at `path`; None where there is none.

    Raises `StoreUnreadable` for a file that is no store of HQ's, or one of a newer version.
    """
    return _examined(path, known, _unreadable) if path.exists() else None


def examine_backup(path: Path, known: int = SCHEMA_VERSION) -> int:
    """The schema's version of a backup. Raises `NotFound`, and `BadDocument` for a file that is none."""
    if not path.exists():
        raise NotFound("no_such_backup", f"There is no backup {path}.", hint=_A_BACKUP)
    return _examined(path, known, _no_backup)


def _examined(path: Path, known: int, refused: Callable[[Path, str], Refusal]) -> int:
    try:
        with contextlib.closing(sqlite3.connect(uri_to_read(path), uri=True)) as connection:
            owner = connection.execute("PRAGMA application_id").fetchone()[0]
            version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    except sqlite3.Error as error:
        raise refused(path, str(error)) from error
    if owner != APPLICATION_ID:
        raise refused(path, "it is not a store of HQ's")
    if version > known:
        raise refused(path, f"it is of version {version}, and this program knows {known}")
    return version


def guards() -> dict[str, str]:
    """The triggers that refuse to change or remove what was logged, by name, as the store keeps their text."""
    return {
        f"{table.name}_{name}": text.format(table=table.name)
        for table in APPEND_ONLY for name, text in (("stand", _STANDS), ("keep", _KEEPS))
    }  # fmt: skip


def migrate(
    path: Path, folder: Path, *, now: datetime, steps: Mapping[int, Step] = STEPS, to: int = SCHEMA_VERSION
) -> Path | None:
    """Bring a store of an older version to this one, all of it or nothing; the backup it made before, if it did.

    Only the store's owner may. Whatever tables there were hold as many rows after as before. Raises `StoreFailed`
    and `StoreUnreadable`; the store is as it was then.
    """
    version = examine(path, to)
    if version is None or version == to:
        return None
    kept = folder / f"hq-v{version}-{now.astimezone(UTC):%Y%m%dT%H%M%SZ}.db"
    folder.mkdir(mode=0o700, exist_ok=True)
    back_up(path, kept)
    try:
        with contextlib.closing(sqlite3.connect(uri_to_write(path), uri=True, isolation_level=None)) as db:
            db.execute("PRAGMA synchronous = FULL")
            db.execute("BEGIN EXCLUSIVE")
            before = _counts(db)
            for number in range(version, to):
                steps[number](db)
            after = _counts(db)
            lost = [name for name, count in before.items() if name != _ABOUT_ITSELF and after.get(name) != count]
            if lost:
                raise _not_migrated(f"it would have changed how many rows {', '.join(lost)} has")
            db.execute(f"PRAGMA user_version = {to}")
            db.execute("COMMIT")
    except (sqlite3.Error, KeyError) as error:
        raise _not_migrated(str(error)) from error
    return kept


def back_up(path: Path, backup: Path) -> None:
    """Write a whole copy of a store, of one moment, on the disk when this returns; its owner may go on writing.

    Raises `StoreFailed`, and where there is a file of that name already `Refused`; no half copy stays.
    """
    draft = backup.with_name(f".{backup.name}.{os.getpid()}.part")
    try:
        draft.unlink(missing_ok=True)
        copy(path, draft)
        os.link(draft, backup)  # unlike a rename it never replaces one that is there
        sync(backup.parent)
    except FileExistsError as error:
        says = f"There is a file {backup} already."
        raise Refused("backup_exists", says, hint="give another name: no backup is replaced") from error
    except (OSError, sqlite3.Error) as error:
        why = getattr(error, "strerror", None) or error
        hint = "check the disk's free space and the rights of its folder; no half backup stays"
        raise StoreFailed("backup_failed", f"No backup could be made at {backup}: {why}.", hint=hint) from error
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)


def copy(path: Path, draft: Path) -> None:
    """Write a store's copy as one file, on the disk when this returns. Raises `OSError`, `sqlite3.Error`."""
    os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    with (
        contextlib.closing(sqlite3.connect(uri_to_read(path), uri=True)) as held,
        contextlib.closing(sqlite3.connect(draft)) as written,
    ):
        held.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
        # In one step: in several, a writer would make it begin again and again.
        held.backup(written)
        # So that it is one file, which can be opened where nobody may write.
        written.execute("PRAGMA journal_mode = DELETE")
    sync(draft)


def _counts(db: sqlite3.Connection) -> dict[str, int]:
    """How many rows each table has."""
    tables = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    names = db.execute(tables).fetchall()
    return {name: int(db.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0]) for (name,) in names}  # noqa: S608


def _not_migrated(why: str) -> StoreFailed:
    hint = "use the program it came from, which goes on with it: the store is as it was"
    return StoreFailed("migration_failed", f"The store could not be brought to this version: {why}.", hint=hint)


def _fill(path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{path}", poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for pragma in ("synchronous = FULL", "journal_mode = DELETE", f"application_id = {APPLICATION_ID}"):
            connection.exec_driver_sql(f"PRAGMA {pragma}")
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        METADATA.create_all(connection)
        for text in guards().values():
            connection.exec_driver_sql(text)
        begin_epoch(connection)
        connection.exec_driver_sql(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.exec_driver_sql("COMMIT")
    engine.dispose()


def _unreadable(path: Path, why: str) -> StoreUnreadable:
    hint = "put a backup back with `hq restore`, or move it aside to begin anew; it was left as it is"
    return StoreUnreadable("store_unreadable", f"The store {path} cannot be used: {why}.", hint=hint)


def _no_backup(path: Path, why: str) -> BadDocument:
    return BadDocument("no_backup", f"{str(path)!r} is no backup of HQ's: {why}.", hint=_A_BACKUP)


def sync(path: Path) -> None:
    """Have a file, or what a folder lists, on the disk. Raises `OSError`."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
