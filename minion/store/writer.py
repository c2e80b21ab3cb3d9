"""The one writer of a minion's store: takes whole transactions, commits those that wait together.

An answer (and so an ack) follows its commit. A transaction once handed in is finished even when its caller is
cancelled; the connection is closed on every path out (DESIGN §4 "Minion store").
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import aiosqlite

from server.contract.refusals import Refusal, StoreFailed, StoreUnreadable

T = TypeVar("T")
Connection = aiosqlite.Connection
Transaction = Callable[[Connection], Awaitable[T]]
# A bound on one commit's wait: with more callers than this the rest goes into the next group.
GROUP: Final = 256
# What a transaction can bring upon itself; any other failure of SQLite is the store's, and so the whole group's.
_OWN_FAILURES: Final = (
    Refusal, ValueError, KeyError, TypeError, OverflowError,
    sqlite3.IntegrityError, sqlite3.DataError, sqlite3.ProgrammingError, sqlite3.InterfaceError,
)  # fmt: skip


class Writer:
    """Hands transactions to the one task that owns the read-write connection."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection
        self._waiting: asyncio.Queue[tuple[Transaction[Any], asyncio.Future[Any]] | None] = asyncio.Queue()
        self._closed = False
        # Told after each commit, which it must not hold up.
        self.on_commit: Callable[[], None] = lambda: None
        self._task = asyncio.create_task(self._work(), name="store writer")

    async def transact(self, transaction: Transaction[T]) -> T:
        """Run `transaction` on the connection, commit, and answer with its result.

        What it raises reaches the caller and nothing of it is kept. Raises `StoreFailed` when the commit fails
        or the store was closed before it.
        """
        if self._closed:
            raise _failed("it is closed")
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.put_nowait((transaction, answer))
        return await asyncio.shield(answer)

    async def ended(self) -> None:
        """Wait until the writer has ended, by `close` or by a defect; a defect is raised."""
        await asyncio.shield(self._task)

    async def close(self) -> None:
        """Finish what was handed in, then close the connection."""
        if not self._closed:
            self._closed = True
            self._waiting.put_nowait(None)
        await asyncio.shield(self._task)

    async def _work(self) -> None:
        try:
            while True:
                group = [await self._waiting.get()]
                while not self._waiting.empty() and len(group) < GROUP:
                    group.append(self._waiting.get_nowait())
                todo = [item for item in group if item is not None]
                if todo:
                    await self._commit(todo)
                if len(todo) < len(group):
                    return
        finally:
            self._closed = True
            while not self._waiting.empty():
                left = self._waiting.get_nowait()
                if left is not None:
                    _settle(left[1], None, _failed("it is closed"))
            await self._connection.close()

    async def _commit(self, group: list[tuple[Transaction[Any], asyncio.Future[Any]]]) -> None:
        try:
            outcomes = await self._outcomes([transaction for transaction, _ in group])
        except BaseException as defect:
            # A defect in a transaction ends the writer, and closing undoes what it had begun; but it never leaves
            # a caller waiting for ever.
            for _, answer in group:
                _settle(answer, None, _failed(f"a defect stopped it, {type(defect).__name__}"))
            raise
        for (_, answer), (result, problem) in zip(group, outcomes, strict=True):
            _settle(answer, result, problem)
        self.on_commit()

    async def _outcomes(self, group: list[Transaction[Any]]) -> list[tuple[Any, Exception | None]]:
        """Result or problem of each transaction, all of them committed together or, if that fails, none."""
        try:
            await self._connection.execute("BEGIN IMMEDIATE")
            outcomes = [await self._one(transaction) for transaction in group]
            await self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            if self._connection.in_transaction:
                await self._connection.execute("ROLLBACK")
            return [(None, _failed(str(error))) for _ in group]
        return outcomes

    async def _one(self, transaction: Transaction[Any]) -> tuple[Any, Exception | None]:
        """One transaction inside the group: its failure undoes itself and not its neighbours."""
        await self._connection.execute("SAVEPOINT one")
        try:
            result = await transaction(self._connection)
        except _OWN_FAILURES as error:
            await self._connection.execute("ROLLBACK TO one")
            await self._connection.execute("RELEASE one")
            return None, error
        await self._connection.execute("RELEASE one")
        return result, None


def _settle(answer: asyncio.Future[Any], result: Any, problem: Exception | None) -> None:
    if answer.done():
        return
    if problem is None:
        answer.set_result(result)
        return
    answer.set_exception(problem)
    answer.exception()  # a caller that was cancelled never asks: not a warning then


def _failed(words: str) -> StoreFailed:
    return StoreFailed(
        "store_failed",
        f"The run store could not be written: {words}.",
        hint="check the disk's free space and rights, then try again; nothing of it was kept",
    )


def _unreadable(path: Path, error: sqlite3.Error) -> StoreUnreadable:
    return StoreUnreadable(
        "store_unreadable",
        f"The run store {path} cannot be opened: {error}.",
        hint="put a backup back, or move it aside to begin anew; it was left as it is",
    )


@asynccontextmanager
async def open_writer(path: Path) -> AsyncIterator[Writer]:
    """The writer of an existing store; closed, with everything handed in committed, on the way out.

    Raises `StoreUnreadable` when the file cannot be opened for writing.
    """
    try:
        # Never `rwc`: a store that is gone must not be replaced by an empty one. Opened here and handed over,
        # because aiosqlite's thread outlives a connection that it could not open.
        opened = sqlite3.connect(
            f"{path.as_uri()}?mode=rw", uri=True, isolation_level=None, check_same_thread=False
        )
    except sqlite3.Error as error:
        raise _unreadable(path, error) from error
    connection = await aiosqlite.Connection(lambda: opened, iter_chunk_size=64)
    try:
        for pragma in ("busy_timeout = 5000", "journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            await connection.execute(f"PRAGMA {pragma}")
        connection.row_factory = sqlite3.Row
    except sqlite3.Error as error:
        await connection.close()
        raise _unreadable(path, error) from error
    writer = Writer(connection)
    try:
        yield writer
    finally:
        await writer.close()
