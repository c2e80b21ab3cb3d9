"""The one async boundary of HQ's storage: actions go in as plain functions, answers come out after their commit.

One writer thread owns the only read-write connection and commits what waits together (DESIGN §4): an answer
follows its commit at `synchronous=FULL`. Readers have connections of their own that cannot write.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

import sqlalchemy as sa
from sqlalchemy.pool import QueuePool, StaticPool

from server.contract.refusals import Defect, Refusal, StoreFailed, StoreUnreadable
from server.storage.committed import Happened, Listener, begin_notes, notes_of

P = ParamSpec("P")
T = TypeVar("T")
Connection = sa.Connection
# A bound on one commit's wait: with more callers than this the rest goes into the next group.
GROUP: Final = 256
READERS: Final = 4
log = logging.getLogger(__name__)
BUSY_MS: Final = 5000
# What SQLite says of a statement that is wrong by itself: any other failure of it is the store's.
_WRONGLY_ASKED: Final = (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.ProgrammingError)


@dataclass(slots=True)
class _Asked:
    """An action that waits for the writer, and where its answer goes."""

    run: Callable[[Connection], Any]
    loop: asyncio.AbstractEventLoop
    answer: asyncio.Future[Any]


class Database:
    """A store that exists, opened by its one owner. `close` finishes what was handed in."""

    def __init__(self, path: Path) -> None:
        """Open the store at `path`. Raises `StoreUnreadable`."""
        self._path = path
        self._asked: queue.SimpleQueue[_Asked | None] = queue.SimpleQueue()
        self._closed = False
        self._listeners: dict[object, tuple[asyncio.AbstractEventLoop, Listener]] = {}
        self._writing = _engine(path, "rw", StaticPool)
        # Made by the writer's own thread, which alone uses it.
        self._reading = _engine(path, "ro", QueuePool, pool_size=READERS, max_overflow=0)
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="hq reader")
        self._open()
        self._writer = threading.Thread(target=self._work, name="hq writer", daemon=True)
        self._writer.start()

    async def transact(
        self, action: Callable[Concatenate[Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `action(connection, …)` in a transaction, commit it, and answer with its result.

        A `Refusal` that it raises reaches the caller; anything else it raises is a `Defect`, and is logged.
        Nothing of it is kept then. Raises `StoreFailed` when the commit fails or the store was closed. Once handed
        in it is finished even when the caller is cancelled.
        """
        if self._closed:
            raise _failed("it is closed")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        self._asked.put(_Asked(lambda connection: action(connection, *args, **kwargs), loop, answer))
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
                if not _is_the_stores(error):
                    raise
                hint = "look with `hq verify` what is wrong; a backup can be put back with `hq restore`"
                says = f"The store {self._path} cannot be read: {_words(error)}."
                raise StoreUnreadable("store_unreadable", says, hint=hint) from error

        return await asyncio.get_running_loop().run_in_executor(self._readers, work)

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Have `listener` told, on the running loop, what each commit wrote into the log; answers how to end it.

        It hears of a commit before those hear who asked for it.
        """
        key = object()
        # A new mapping each time: the writer's thread may be going through the old one.
        self._listeners = {**self._listeners, key: (asyncio.get_running_loop(), listener)}

        def end() -> None:
            self._listeners = {each: said for each, said in self._listeners.items() if each is not key}

        return end

    def close(self) -> None:
        """Finish what was handed in, then close all connections."""
        if not self._closed:
            self._closed = True
            self._asked.put(None)
            self._writer.join()
            self._readers.shutdown()
            self._reading.dispose()
            self._writing.dispose()

    def _open(self) -> None:
        try:
            with self._writing.connect() as connection:
                for pragma in (f"busy_timeout = {BUSY_MS}", "journal_mode = WAL", "synchronous = FULL",
                               "foreign_keys = ON"):  # fmt: skip
                    connection.exec_driver_sql(f"PRAGMA {pragma}")
        except (sa.exc.DatabaseError, sqlite3.Error) as error:
            self._writing.dispose()
            hint = "put a backup back with `hq restore`, or move it aside to begin anew; it was left as it is"
            says = f"The store {self._path} cannot be opened: {_words(error)}."
            raise StoreUnreadable("store_unreadable", says, hint=hint) from error

    def _work(self) -> None:
        """The writer's life: what waits is taken together and committed together."""
        with self._writing.connect() as connection:
            while True:
                group = [self._asked.get()]
                while len(group) < GROUP:
                    try:
                        group.append(self._asked.get_nowait())
                    except queue.Empty:
                        break
                todo = [asked for asked in group if asked is not None]
                if todo:
                    outcomes = _outcomes(connection, todo)
                    self._tell(notes_of(connection))
                    _answer(todo, outcomes)
                if len(todo) < len(group):
                    break
        self._refuse_the_rest()

    def _tell(self, happened: list[Happened]) -> None:
        for loop, listener in self._listeners.values() if happened else ():
            if not loop.is_closed():
                loop.call_soon_threadsafe(listener, tuple(happened))

    def _refuse_the_rest(self) -> None:
        while True:  # handed in while it was being closed
            try:
                left = self._asked.get_nowait()
            except queue.Empty:
                return
            if left is not None:
                _answer([left], [(None, _failed("it is closed"))])


def _outcomes(connection: Connection, group: list[_Asked]) -> list[tuple[Any, BaseException | None]]:
    """Result or problem of each action, all of them committed together or, if that fails, none."""
    try:
        begin_notes(connection)
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        outcomes = [_one(connection, asked.run) for asked in group]
        connection.exec_driver_sql("COMMIT")
    except (sa.exc.DatabaseError, sqlite3.Error) as error:
        _undo(connection)
        return [(None, _failed(_words(error))) for _ in group]
    except Exception as defect:
        # A defect of ours is no reason to leave anybody waiting, or to keep half of anything.
        log.exception("the writer has a defect")
        _undo(connection)
        return [(None, _defect(defect)) for _ in group]
    return outcomes


def _one(connection: Connection, run: Callable[[Connection], Any]) -> tuple[Any, BaseException | None]:
    """One action inside the group: its refusal or defect undoes itself and not its neighbours."""
    connection.exec_driver_sql("SAVEPOINT one")
    noted = len(notes_of(connection))
    try:
        result = run(connection)
    except Exception as problem:
        if _is_the_stores(problem):
            raise
        if not isinstance(problem, Refusal):
            log.exception("an action has a defect")
            problem = _defect(problem)
        connection.exec_driver_sql("ROLLBACK TO one")
        connection.exec_driver_sql("RELEASE one")
        del notes_of(connection)[noted:]
        return None, problem
    connection.exec_driver_sql("RELEASE one")
    return result, None


def _is_the_stores(error: BaseException) -> bool:
    """Whether SQLite failed at the store, and not at what it was asked: then nobody's work can be kept."""
    said = getattr(error, "orig", None) or error
    if not isinstance(said, sqlite3.DatabaseError) or isinstance(said, _WRONGLY_ASKED):
        return False
    # Without a code it is the module's own finding: bytes where a text was, in a damaged page.
    code: int | None = getattr(said, "sqlite_errorcode", None)
    return code is None or code & 0xFF != sqlite3.SQLITE_ERROR


def _undo(connection: Connection) -> None:
    begin_notes(connection)
    _roll_back(connection)


def _roll_back(connection: Connection) -> None:
    # SQLite ends a transaction by itself on some failures; another end would hide what happened.
    raw = connection.connection.dbapi_connection
    if raw is not None and raw.in_transaction:
        connection.exec_driver_sql("ROLLBACK")


def _answer(group: list[_Asked], outcomes: list[tuple[Any, BaseException | None]]) -> None:
    """Hand every outcome to the loop that waits for it; one call for each loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Any, BaseException | None]]] = {}
    for asked, (result, problem) in zip(group, outcomes, strict=True):
        by_loop.setdefault(asked.loop, []).append((asked.answer, result, problem))
    for loop, answers in by_loop.items():
        if not loop.is_closed():
            loop.call_soon_threadsafe(_settle, answers)


def _settle(answers: list[tuple[asyncio.Future[Any], Any, BaseException | None]]) -> None:
    for answer, result, problem in answers:
        if answer.done():
            continue
        if problem is None:
            answer.set_result(result)
        else:
            answer.set_exception(problem)
            answer.exception()  # a caller that was cancelled never asks: not a warning then


def _engine(path: Path, mode: str, pool: type[sa.Pool], **options: Any) -> sa.Engine:
    """An engine whose transactions are begun by hand; never one that makes a file that is not there."""
    uri = f"{path.as_uri()}?mode={mode}"

    def connect() -> sqlite3.Connection:
        opened = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
        opened.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
        return opened

    # What was to be written is nobody's business in a log.
    return sa.create_engine(
        "sqlite://", creator=connect, poolclass=pool, isolation_level="AUTOCOMMIT", hide_parameters=True,
        **options,
    )  # fmt: skip


def _words(error: BaseException) -> str:
    return str(getattr(error, "orig", None) or error)


def _defect(found: BaseException) -> Defect:
    hint = "report it with the traceback in HQ's log; nothing of it was kept"
    defect = Defect("defect", f"A defect of HQ stopped this ({type(found).__name__}).", hint=hint)
    defect.__cause__ = found
    return defect


def _failed(words: str) -> StoreFailed:
    return StoreFailed(
        "store_failed",
        f"The store could not be written: {words}.",
        hint="check the disk's free space and rights, then try again; nothing of it was kept",
    )
