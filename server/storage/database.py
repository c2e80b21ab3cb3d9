"""The one async boundary of HQ's storage: actions go in as plain functions, answers come out after their commit.

One writer has the only read-write connection and commits together what waits together (DESIGN §4): an answer
follows its commit at `synchronous=FULL`. Readers have connections of their own that cannot write.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

import sqlalchemy as sa
from sqlalchemy.pool import QueuePool, StaticPool

from server.contract.refusals import StoreUnreadable
from server.storage.committed import Happened, Listener
from server.storage.opening import uri_to_read, uri_to_write
from server.storage.soundness import damage_of, probe
from server.storage.writing import Writer, is_the_stores, store_failed, words_of

P = ParamSpec("P")
T = TypeVar("T")
Connection = sa.Connection
READERS: Final = 4
BUSY_MS: Final = 5000
log = logging.getLogger(__name__)


class Database:
    """A store that exists, opened by its one owner, on one event loop. `close` finishes what was handed in."""

    def __init__(self, path: Path) -> None:
        """Open the store at `path`. Raises `StoreUnreadable`."""
        self._path = path
        self._closed = False
        self._damage: str | None = None
        self._listeners: dict[object, tuple[asyncio.AbstractEventLoop, Listener]] = {}
        self._writing = _engine(path, "rw", StaticPool)
        self._reading = _engine(path, "ro", QueuePool, pool_size=READERS, max_overflow=0)
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="hq reader")
        self._connection = self._open()
        self._writer = Writer(self._connection, self._tell, busy_ms=BUSY_MS)

    async def transact(
        self, action: Callable[Concatenate[Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `action(connection, …)` in a transaction, commit it, and answer with its result.

        It is run on the event loop: what it does must be short. A `Refusal` that it raises reaches the caller;
        anything else it raises is a `Defect`, and is logged. Nothing of it is kept then. Raises `StoreFailed` when
        the commit fails or the store was closed. Once handed in it is finished even when the caller is cancelled.
        """
        if self._closed:
            raise store_failed("it is closed")
        answer: asyncio.Future[T] = self._writer.ask(lambda connection: action(connection, *args, **kwargs))
        return await asyncio.shield(answer)

    async def read(
        self, query: Callable[Concatenate[Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `query(connection, …)` on a connection that cannot write; all it sees is of one moment.

        Raises `StoreUnreadable` where SQLite cannot read the store, and whatever the query raises.
        """

        def work() -> T:
            try:
                with self._reading.connect() as connection:
                    connection.exec_driver_sql("BEGIN")
                    try:
                        return query(connection, *args, **kwargs)
                    finally:
                        _roll_back(connection)
            except (sa.exc.DatabaseError, sqlite3.Error) as error:
                if not is_the_stores(error):
                    raise
                hint = "look with `hq verify` what is wrong; a backup can be put back with `hq restore`"
                says = f"The store {self._path} cannot be read: {words_of(error)}."
                raise StoreUnreadable("store_unreadable", says, hint=hint) from error

        return await asyncio.get_running_loop().run_in_executor(self._readers, work)

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Have `listener` told, on the running loop, what each commit wrote into the log; answers how to end it.

        It hears of a commit before those hear who asked for it.
        """
        key = object()
        # A new mapping each time: somebody may be going through the old one.
        self._listeners = {**self._listeners, key: (asyncio.get_running_loop(), listener)}

        def end() -> None:
            self._listeners = {each: said for each, said in self._listeners.items() if each is not key}

        return end

    @property
    def trouble(self) -> str | None:
        """Why the store could not be written the last time; None since something was written again."""
        return self._writer.trouble

    async def look_through(self) -> None:
        """Look through the whole file for damage, beside all else; what is found is logged, and kept in mind."""
        try:
            self._damage = await damage_of(self._path)
        except sqlite3.Error as error:
            self._damage = str(error)
        if self._damage is not None:
            log.error("the store is damaged: %s", self._damage)

    async def be_sound(self) -> None:
        """Raises `StoreUnreadable` where damage was found, `StoreFailed` while the disk refuses what is written.

        After a write that was refused it is tried with one row, so that trouble that is over ends by itself.
        """
        if self._damage is not None:
            hint = "look with `hq verify` what is lost; a backup can be put back with `hq restore`"
            says = f"The store {self._path} is damaged: {self._damage}."
            raise StoreUnreadable("store_damaged", says, hint=hint)
        if self.trouble is not None:
            await self.transact(probe)

    def close(self) -> None:
        """Finish what was handed in, then close all connections."""
        if not self._closed:
            self._closed = True
            self._writer.finish()
            self._readers.shutdown()
            self._reading.dispose()
            self._connection.close()
            self._writing.dispose()

    def _open(self) -> Connection:
        try:
            connection = self._writing.connect()
            for pragma in (f"busy_timeout = {BUSY_MS}", "journal_mode = WAL", "synchronous = FULL",
                           "foreign_keys = ON"):  # fmt: skip
                connection.exec_driver_sql(f"PRAGMA {pragma}")
        except (sa.exc.DatabaseError, sqlite3.Error) as error:
            self._writing.dispose()
            hint = "put a backup back with `hq restore`, or move it aside to begin anew; it was left as it is"
            says = f"The store {self._path} cannot be opened: {words_of(error)}."
            raise StoreUnreadable("store_unreadable", says, hint=hint) from error
        return connection

    def _tell(self, happened: list[Happened]) -> None:
        for loop, listener in self._listeners.values() if happened else ():
            if not loop.is_closed():
                loop.call_soon_threadsafe(listener, tuple(happened))


def _roll_back(connection: Connection) -> None:
    # SQLite ends a transaction by itself on some failures; another end would hide what happened.
    raw = connection.connection.dbapi_connection
    if raw is not None and raw.in_transaction:
        connection.exec_driver_sql("ROLLBACK")


def _engine(path: Path, mode: str, pool: type[sa.Pool], **options: Any) -> sa.Engine:
    """An engine whose transactions are begun by hand; never one that makes a file that is not there."""
    uri = uri_to_write(path) if mode == "rw" else uri_to_read(path)

    def connect() -> sqlite3.Connection:
        opened = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
        opened.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
        return opened

    # What was to be written is nobody's business in a log.
    return sa.create_engine(
        "sqlite://", creator=connect, poolclass=pool, isolation_level="AUTOCOMMIT", hide_parameters=True,
        **options,
    )  # fmt: skip
