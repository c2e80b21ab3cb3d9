"""Reads a store beside its owner, or where it has none: one query, of one moment; nothing is ever written."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from server.contract.refusals import NotFound, Refused, StoreUnreadable
from server.storage.database import BUSY_MS, Connection
from server.storage.migrations import SCHEMA_VERSION, examine
from server.storage.opening import uri_to_read

T = TypeVar("T")


def read_once(path: Path, query: Callable[[Connection], T]) -> T:
    """What `query(connection)` answers. Raises `NotFound` where there is no store yet, `StoreUnreadable`.

    And `Refused` for a store of an older version, which lacks what is asked of it; only its owner changes it.
    """
    version = examine(path)
    if version is not None and version < SCHEMA_VERSION:
        says = f"The store {path} is of version {version}, and this program goes by {SCHEMA_VERSION}."
        raise Refused("store_older", says, hint="hq serve brings it up to date, with a backup before")
    if version is None:
        hint = "hq serve makes it, and so does hq token create"
        raise NotFound("no_store", f"There is no store at {path} yet.", hint=hint)
    uri = uri_to_read(path)
    engine = sa.create_engine(
        "sqlite://", creator=lambda: sqlite3.connect(uri, uri=True, isolation_level=None, timeout=BUSY_MS / 1000),
        poolclass=NullPool, isolation_level="AUTOCOMMIT",
    )  # fmt: skip
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql("BEGIN")
            return query(connection)
    except (sa.exc.DatabaseError, sqlite3.Error) as error:
        says = f"The store {path} cannot be read: {getattr(error, 'orig', None) or error}."
        hint = "hq verify says what is wrong; a backup can be put back with hq restore"
        raise StoreUnreadable("store_unreadable", says, hint=hint) from error
    finally:
        engine.dispose()
