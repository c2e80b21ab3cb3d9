"""The one writer of a store: does actions on the event loop, commits them together, and never waits long.

An action takes a tenth of a millisecond, and each of its statements lets go of the interpreter's lock. On a thread
of its own it would wait for that lock after each of them while the loop is busy: measured at eight callers, that
makes a call twice as long and costs half as much CPU again. A commit waits for the disk, which the loop must not:
it goes to a thread, unless the disk has just shown that it takes less time than the way there and back. What is
asked for meanwhile goes into the next one: there are as many commits as the disk can do, and no more.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import sqlalchemy as sa

from server.contract.refusals import Defect, Refusal, StoreFailed
from server.storage.committed import Happened, begin_notes, notes_of

# Bounds on one group: how many actions, and how long the loop does nothing else; the rest goes into the next one.
GROUP: Final = 256
GROUP_S: Final = 0.02
# A disk that has been quicker than this is not worth the way to the thread and back, which takes half as long.
QUICK_S: Final = 0.001
_UNKNOWN_S: Final = 0.01
# So long it is waited for as many as there were in the group before: they have their answers, and ask again.
LINGER_S: Final = 0.001
log = logging.getLogger(__name__)
# What SQLite says of a statement that is wrong by itself: any other failure of it is the store's.
_WRONGLY_ASKED: Final = (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.ProgrammingError)
# How SQLite calls a file whose pages do not fit together.
_DAMAGED: Final = "malformed"
_BUSY: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
Action = Callable[[sa.Connection], Any]
_Problem = BaseException | None
_Outcome = tuple[Any, _Problem]


@dataclass(slots=True)
class _Asked:
    """An action that waits for the writer, and where its answer goes."""

    run: Action
    answer: asyncio.Future[Any]


@dataclass(slots=True)
class _Job:
    """What the thread is doing, and what is done on the loop when it is over; `problem` is how it went."""

    work: Callable[[], _Problem]
    then: Callable[[_Problem], None]
    loop: asyncio.AbstractEventLoop
    problem: _Problem = None


class Writer:
    """Has the one connection that writes, on one event loop; `told` hears what each commit wrote into the log."""

    def __init__(
        self, connection: sa.Connection, told: Callable[[list[Happened]], None], *, busy_ms: int
    ) -> None:
        """Take over a connection whose transactions are begun by hand.

        `busy_ms` is how long another program may hold the store.
        """
        driver: Any = connection.connection.dbapi_connection
        self._connection, self._driver = connection, driver
        self._told, self._busy_ms = told, busy_ms
        self._waiting: deque[_Asked] = deque()
        self._expected = 1
        self._begins: asyncio.Handle | None = None
        self._job: _Job | None = None
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._at_work = self._finishing = False
        self._disk_s = _UNKNOWN_S
        self._trouble: str | None = None
        self._changes = 0
        # The loop does not wait for another program: only the thread does.
        self._driver.execute("PRAGMA busy_timeout = 0")
        self._thread = threading.Thread(target=self._work, name="hq commit", daemon=True)
        self._thread.start()

    @property
    def trouble(self) -> str | None:
        """Why the store could not be written the last time; None since something was written again."""
        return self._trouble

    def ask(self, run: Action) -> asyncio.Future[Any]:
        """Have an action done and committed; its answer comes after that, or its problem."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()
        self._waiting.append(_Asked(run, answer))
        if not self._at_work:
            self._begin_soon(loop)
        return answer

    def finish(self) -> None:
        """Do and commit all that was asked for; returns when it is on the disk, and its answers are given."""
        self._finishing = True
        self._jobs.put(None)
        self._thread.join()
        if self._job is not None:
            self._resume(self._job)
        while self._waiting:
            self._begin()

    def _begin_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have a group begun, after whoever else is about to ask; a moment later while more are expected."""
        if len(self._waiting) >= self._expected:
            if self._begins is not None:
                self._begins.cancel()
            self._at_work, self._begins = True, loop.call_soon(self._begin)
        elif self._begins is None:
            self._begins = loop.call_later(LINGER_S, self._begin)

    def _begin(self) -> None:
        """Begin a group with those who wait."""
        self._begins = None
        if not self._waiting:
            return
        self._at_work, self._expected = True, min(GROUP, len(self._waiting))
        problem = _tried(self._driver, "BEGIN IMMEDIATE")
        if isinstance(problem, sqlite3.Error) and _code(problem) in _BUSY:
            self._on_thread(self._begin_patiently, self._begun)
        else:
            self._begun(problem)

    def _begin_patiently(self) -> _Problem:
        _tried(self._driver, f"PRAGMA busy_timeout = {self._busy_ms}")
        problem = _tried(self._driver, "BEGIN IMMEDIATE")
        _tried(self._driver, "PRAGMA busy_timeout = 0")
        return problem

    def _begun(self, problem: _Problem) -> None:
        """Do the actions of a group whose transaction is open, and hand it on to be committed."""
        group: list[_Asked] = []
        outcomes: list[_Outcome] = []
        begin_notes(self._connection)
        self._changes = self._driver.total_changes
        try:
            if problem is not None:
                group = [self._waiting.popleft() for _ in range(min(GROUP, len(self._waiting)))]
                raise problem
            until = self._waiting[0].answer.get_loop().time() + GROUP_S
            while self._waiting and len(group) < GROUP:
                group.append(self._waiting.popleft())
                outcomes.append(_one(self._connection, self._driver, group[-1].run))
                if group[-1].answer.get_loop().time() > until:
                    break
        except (sqlite3.Error, sa.exc.DBAPIError) as error:
            self._undo()
            failed = self._failed(error)
            self._settle(group, [(None, failed()) for _ in group])
        except Exception as defect:
            # A defect of ours is no reason to leave anybody waiting, or to keep half of anything.
            log.exception("the writer has a defect")
            self._undo()
            self._settle(group, [(None, defect_of(defect)) for _ in group])
        except BaseException:  # somebody breaks the program off: nothing stays open
            self._undo()
            raise
        else:
            committed = partial(self._committed, group, outcomes)
            if self._disk_s < QUICK_S:
                committed(self._commit())
            else:
                self._on_thread(self._commit, committed)

    def _commit(self) -> _Problem:
        """Commit, and note how long that took: the last ones count most, and a slow one at once."""
        begun = time.perf_counter()
        problem = _tried(self._driver, "COMMIT")
        took = time.perf_counter() - begun
        self._disk_s = max(took, self._disk_s) if took > QUICK_S else 0.9 * self._disk_s + 0.1 * took
        return problem

    def _committed(self, group: list[_Asked], outcomes: list[_Outcome], problem: _Problem) -> None:
        """Give the answers of a group, and tell what it wrote, if it is on the disk."""
        if problem is not None:
            self._undo()
            failed = self._failed(problem)
            outcomes = [(None, failed()) for _ in group]
        elif self._trouble is not None and self._driver.total_changes > self._changes:
            # A commit of nothing needs no disk, and shows nothing.
            log.warning("the store is written again")
            self._trouble = None
        self._told(notes_of(self._connection))
        self._settle(group, outcomes)

    def _failed(self, problem: BaseException) -> Callable[[], StoreFailed]:
        """Note why the store cannot be written, log it once, and answer how each of a group is told."""
        words = words_of(problem)
        if self._trouble is None:
            log.error("the store cannot be written: %s", words)
        self._trouble = words
        return partial(store_failed, words)

    def _settle(self, group: list[_Asked], outcomes: list[_Outcome]) -> None:
        for asked, (result, problem) in zip(group, outcomes, strict=True):
            answer = asked.answer
            if answer.done() or answer.get_loop().is_closed():
                continue
            if problem is None:
                answer.set_result(result)
            else:
                answer.set_exception(problem)
                answer.exception()  # a caller that was cancelled never asks: not a warning then
        self._at_work = False
        if self._waiting and not self._finishing:
            self._begin_soon(asyncio.get_running_loop())

    def _undo(self) -> None:
        """Take back the whole group."""
        begin_notes(self._connection)
        if self._driver.in_transaction:  # SQLite ends a transaction by itself on some failures
            _tried(self._driver, "ROLLBACK")

    def _on_thread(self, work: Callable[[], _Problem], then: Callable[[_Problem], None]) -> None:
        """Have the thread do what waits, and go on with `then` on the loop."""
        if self._finishing:
            return then(work())
        self._job = _Job(work, then, asyncio.get_running_loop())
        self._jobs.put(self._job)
        return None

    def _work(self) -> None:
        """The thread's life."""
        while (job := self._jobs.get()) is not None:
            job.problem = job.work()
            with contextlib.suppress(RuntimeError):  # the loop is closed: `finish` goes on
                job.loop.call_soon_threadsafe(self._resume, job)

    def _resume(self, job: _Job) -> None:
        if self._job is job:  # `finish` may have been faster
            self._job = None
            job.then(job.problem)


def _one(connection: sa.Connection, driver: sqlite3.Connection, run: Action) -> _Outcome:
    """One action inside the group: its refusal or defect undoes itself and not its neighbours."""
    driver.execute("SAVEPOINT one")
    noted = len(notes_of(connection))
    try:
        result = run(connection)
    except Exception as problem:
        if is_the_stores(problem):
            raise
        if not isinstance(problem, Refusal):
            log.exception("an action has a defect")
            problem = defect_of(problem)
        driver.execute("ROLLBACK TO one")
        driver.execute("RELEASE one")
        del notes_of(connection)[noted:]
        return None, problem
    driver.execute("RELEASE one")
    return result, None


def _tried(driver: sqlite3.Connection, statement: str) -> _Problem:
    """Execute a statement; what SQLite says against it, if anything."""
    try:
        driver.execute(statement)
    except sqlite3.Error as error:
        return error
    return None


def is_the_stores(error: BaseException) -> bool:
    """Whether SQLite failed at the store, and not at what it was asked: then nobody's work can be kept."""
    said = getattr(error, "orig", None) or error
    if not isinstance(said, sqlite3.DatabaseError) or isinstance(said, _WRONGLY_ASKED):
        return False
    # Without a code it is the module's own finding: bytes where a text was, in a damaged page.
    return _code(said) != sqlite3.SQLITE_ERROR


def _code(error: sqlite3.Error) -> int | None:
    """SQLite's primary result code; None where it has none."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def words_of(error: BaseException) -> str:
    """What SQLite says, without SQLAlchemy's words around it."""
    return str(getattr(error, "orig", None) or error)


def defect_of(found: BaseException) -> Defect:
    """What the caller hears of a defect of ours."""
    hint = "report it with the traceback in HQ's log; nothing of it was kept"
    defect = Defect("defect", f"A defect of HQ stopped this ({type(found).__name__}).", hint=hint)
    defect.__cause__ = found
    return defect


def store_failed(words: str) -> StoreFailed:
    """What the callers hear of a store that cannot be written."""
    hint = "check the disk's free space and rights, then try again; nothing of it was kept"
    if _DAMAGED in words:
        hint = "put a backup back with `hq restore`; `hq verify` says how far it is whole"
    return StoreFailed("store_failed", f"The store could not be written: {words}.", hint=hint)
