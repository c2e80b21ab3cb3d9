"""A backup put in the store's place: looked through first, and what was there is kept beside it."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from server.contract.digest import instant
from server.contract.refusals import Refused, StoreFailed
from server.storage.audit import audit, read_only
from server.storage.database import Connection
from server.storage.epoch import begin_epoch
from server.storage.event_store import Checkpoint, append_event
from server.storage.migrations import copy, examine_backup, migrate, sync
from server.storage.token_store import list_tokens, revoke_token

_WITH_IT: Final = ("-wal", "-shm")


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restoring did.

    `kept` is where the store lies that was there before, `end` how far the log of the backup had come, `revoked`
    how many of its tokens were revoked anew.
    """

    kept: Path | None
    end: Checkpoint
    revoked: int


def restore(store: Path, backup: Path, *, folder: Path, by: str, now: datetime) -> Restored:
    """Put a backup in the place of a home's store; only the home's owner may. `folder` is for backups.

    A token that was revoked since the backup stays revoked. Raises `NotFound`, `BadDocument` for a file
    that is no backup, `Refused` for one whose log is broken and for the store itself, `StoreUnreadable`,
    `StoreFailed`; then the store is as it was.
    """
    if store.exists() and backup.exists() and store.samefile(backup):
        says = f"{str(backup)!r} is the store itself, and no backup of it."
        raise Refused("same_file", says, hint="give a file that hq backup made")
    examine_backup(backup)
    looked = audit(backup)
    if not looked.intact:
        first = looked.breaches[0]
        says = f"The backup {backup} is not whole: {first.chain}: {first.what}."
        raise Refused("backup_broken", says, hint="take another one; hq verify --backup FILE looks one through")
    draft = store.with_name(f".{store.name}.{os.getpid()}.part")
    try:
        draft.unlink(missing_ok=True)
        copy(backup, draft)
        migrate(draft, folder, now=now)
        revoked = _as_it_must_be(draft, _revoked(store), backup, looked.end, by=by, now=now)
        sync(draft)
        kept = _set_aside(store, now) if store.exists() else None
        draft.replace(store)
        sync(store.parent)
    except (OSError, sqlite3.Error, sa.exc.DatabaseError) as error:
        why = getattr(error, "strerror", None) or error
        hint = "check the disk's free space and the rights of the folder; the store is as it was"
        raise StoreFailed("restore_failed", f"The backup could not be put back: {why}.", hint=hint) from error
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
    return Restored(kept, looked.end, revoked)


def _as_it_must_be(
    draft: Path, revoked: set[str], backup: Path, end: Checkpoint, *, by: str, now: datetime
) -> int:
    """Revoke in a copy what was revoked since, and write down that it was put back; how many tokens it were."""
    with _writing(draft) as connection:
        again = [row.id for row in list_tokens(connection) if row.revoked_at is None and row.id in revoked]
        for token in again:
            revoke_token(connection, token, by=by, now=instant(now))
        begin_epoch(connection)
        said = {"backup": backup.name, "position": end.position, "hash": end.hash, "revoked": again}
        append_event(connection, "store.restored", said, actor=by, now=instant(now))
    return len(again)


def _revoked(store: Path) -> set[str]:
    """The tokens that the store, as it is now, says are revoked; none where it cannot be read."""
    with contextlib.suppress(sqlite3.Error), contextlib.closing(read_only(store)) as db:
        return {row[0] for row in db.execute("SELECT id FROM tokens WHERE revoked_at IS NOT NULL")}
    return set()


def _set_aside(store: Path, now: datetime) -> Path:
    """Give the store that is there a name beside it; it keeps its own until another takes it."""
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(store)) as db:
        # So that the one file is all of it: its log must never meet another store.
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    stamp = f"{store.name}.before-{now.astimezone(UTC):%Y%m%dT%H%M%SZ}"
    kept = next(path for path in _names(store.with_name(stamp)) if not path.exists())
    os.link(store, kept)
    for end in _WITH_IT:
        with contextlib.suppress(FileNotFoundError):
            store.with_name(store.name + end).rename(kept.with_name(kept.name + end))
    return kept


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[Connection]:
    """A transaction on a store that nobody else has open."""
    engine = sa.create_engine(f"sqlite:///{path}", poolclass=NullPool, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA synchronous = FULL")
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection
            connection.exec_driver_sql("COMMIT")
    finally:
        engine.dispose()


def _names(path: Path) -> Iterator[Path]:
    """A name, and others for a second one of the same second."""
    yield path
    number = 2
    while True:
        yield path.with_name(f"{path.name}-{number}")
        number += 1
