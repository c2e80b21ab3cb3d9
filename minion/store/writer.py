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

from server.contract.refusals import Refusal, StoreUnreadable

T = TypeVar("T")
Connection = aiosqlite.Connection
Transaction = Callable[[Connection], Awaitable[T]]
# A bound on one commit's wait: with more callers than this the rest goes into the next group.
GROUP: Final = 256


class StoreFailed(Exception):
    """The disk refused a write: nothing of the transaction was kept and nothing may be acknowledged."""


class Writer:
    """Hands transactions to the one task that owns the read-write connection."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection
        self._waiting: asyncio.Queue[tuple[Transaction[Any], asyncio.Future[Any]] | None] = asyncio.Queue()
        self._task = asyncio.create_task(self._work(), name="store writer")

    async def transact(self, transaction: Transaction[T]) -> T:
        """Run `transaction` on the connection, commit, and answer with its result.

        What it raises reaches the caller and nothing of it is kept. Raises `StoreFailed` when the commit fails.
        """
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        if self._task.done():
            raise StoreFailed("the store is closed")
        self._waiting.put_nowait((transaction, answer))
        return await asyncio.shield(answer)

    async def close(self) -> None:
        """Finish what was handed in, then close the connection."""
        if not self._task.done():
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
            await self._connection.close()

    async def _commit(self, group: list[tuple[Transaction[Any], asyncio.Future[Any]]]) -> None:
        outcomes: list[tuple[asyncio.Future[Any], Any, BaseException | None]] = []
        try:
            await self._connection.execute("BEGIN IMMEDIATE")
            for transaction, answer in group:
                outcomes.append(await self._one(transaction, answer))
            await self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            await self._roll_back()
            failed = StoreFailed(f"the store could not be written: {error}")
            outcomes = [(answer, None, failed) for _, answer in group]
        except BaseException:
            # A defect in a transaction ends the writer, but never leaves a caller waiting for ever.
            await self._roll_back()
            for _, answer in group:
                answer.cancel()
            raise
        for answer, result, problem in outcomes:
            if answer.done():
                continue
            if problem is not None:
                answer.set_exception(problem)
                answer.exception()  # a caller that was cancelled never asks: not a warning then
            else:
                answer.set_result(result)

    async def _one(
        self, transaction: Transaction[Any], answer: asyncio.Future[Any]
    ) -> tuple[asyncio.Future[Any], Any, BaseException | None]:
        """One transaction inside the group: its failure undoes itself and not its neighbours."""
        await self._connection.execute("SAVEPOINT one")
        try:
            result = await transaction(self._connection)
        except sqlite3.OperationalError:
            raise  # the disk, not this transaction: nothing of the group can be trusted
        except (Refusal, sqlite3.Error, ValueError, KeyError, TypeError) as error:
            await self._connection.execute("ROLLBACK TO one")
            await self._connection.execute("RELEASE one")
            return answer, None, error
        await self._connection.execute("RELEASE one")
        return answer, result, None

    async def _roll_back(self) -> None:
        if self._connection.in_transaction:
            await self._connection.execute("ROLLBACK")


@asynccontextmanager
async def open_writer(path: Path) -> AsyncIterator[Writer]:
    """The writer of an existing store; closed, with everything handed in committed, on the way out.

    Raises `StoreUnreadable` when the file cannot be opened for writing.
    """
    connection = aiosqlite.connect(path, isolation_level=None)
    try:
        await connection
        for pragma in ("busy_timeout = 5000", "journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            await connection.execute(f"PRAGMA {pragma}")
        connection.row_factory = sqlite3.Row
    except sqlite3.Error as error:
        await connection.close()
        raise StoreUnreadable(
            "store_unreadable",
            f"The run store {path} cannot be opened: {error}.",
            hint="it was left as it is: put a backup back, or move it aside to begin anew",
        ) from error
    writer = Writer(connection)
    try:
        yield writer
    finally:
        await writer.close()
