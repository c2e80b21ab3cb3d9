"""A store that cannot be written for a while: what came due and what ended meanwhile is written down later."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from minion.always_on import Daemon
from minion.app import Minion, opened
from minion.clock import utc_now
from minion.config import Home
from minion.daemon.hub import Hub
from minion.daemon.triggers import Trigger
from minion.store.local_db import read_only
from minion.store.run_history import breaches
from minion.store.standing import set_halt
from server.contract.digest import instant
from server.contract.refusals import StoreFailed
from tests.whole.homes import make_home, run_of, write_routine, write_skill


class Lock:
    """Another program that holds the store's write lock, from `take` to `leave`."""

    def __init__(self, home: Home) -> None:
        self._connection = sqlite3.connect(home.store, isolation_level=None)

    def take(self) -> None:
        """From now on nobody else can write."""
        self._connection.execute("BEGIN IMMEDIATE")

    def leave(self) -> None:
        """Everybody can again."""
        self._connection.rollback()

    def close(self) -> None:
        """It is gone."""
        self._connection.close()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home whose one routine is due every minute."""
    made = make_home(tmp_path)
    write_skill(made, "one", "answer(text='one')")
    write_routine(made, "work", "one", cron_expression="* * * * *", timezone="UTC")
    return made


@contextlib.asynccontextmanager
async def at_work(home: Home, **said: Any) -> AsyncIterator[Minion]:
    """The owner of a home, which does not wait for a store that is locked."""
    async with opened(home, "a test", alert=lambda _: None, **({"clock": utc_now} | said)) as minion:
        await minion.writer.transact(lambda db: db.execute("PRAGMA busy_timeout = 0"))
        yield minion


@pytest.fixture
def lock(home: Home) -> Iterator[Lock]:
    """The lock of the home's store, once it is there."""
    asyncio.run(begun(home))
    held = Lock(home)
    yield held
    held.close()


async def begun(home: Home) -> None:
    """Have the store made."""
    async with awake(home):
        pass


async def writable(minion: Minion, query_only: str) -> None:
    """From now on the store takes no write, as on a disk that became read-only (`ON`), or does again (`OFF`)."""
    await minion.writer._connection.execute(f"PRAGMA query_only = {query_only}")


def slots(home: Home) -> list[tuple[str, str | None]]:
    """(state, why) of all slots, oldest first."""
    with read_only(home.store) as db:
        return [(row["state"], row["why"]) for row in db.execute("SELECT * FROM slots ORDER BY position")]


def intact(home: Home) -> bool:
    """Whether all chains hold."""
    with read_only(home.store) as db:
        return breaches(db) == []


@pytest.mark.promise("STO-5")
def test_a_run_whose_end_cannot_be_written_is_closed_as_soon_as_it_can(home: Home) -> None:
    async def scene() -> str:
        changes: list[asyncio.Future[None]] = []

        def becomes_read_only(_: str, event: Any) -> None:
            if event.type == "skill.result":
                changes.append(asyncio.ensure_future(writable(minion, "ON")))

        async with at_work(home, on_event=becomes_read_only) as minion:
            trigger = Trigger("manual", "ask:1", utc_now())
            order, digests = await minion.prepare("work", trigger, engine=None, repository=None)
            with pytest.raises(StoreFailed):
                await minion.run(order, digests)
            with pytest.raises(StoreFailed):
                await minion.supervisor.close_left()
            await writable(minion, "OFF")
            assert await minion.supervisor.close_left() == [order.run_id]
            assert await minion.supervisor.close_left() == []
            return str(order.run_id)

    run = run_of(home, asyncio.run(scene()))
    assert (run["state"], run["why"]) == ("interrupted", "the store could not be written while it was running")
    assert intact(home)


class Awake:
    """A daemon that looks at its clock when the test says so."""

    def __init__(self) -> None:
        self.now = datetime.fromisoformat("2026-03-02T00:00:01Z")

    def clock(self) -> datetime:
        """The wall clock of this test."""
        return self.now

    def on(self, minion: Minion) -> None:
        """It owns this minion."""
        self.minion = minion
        self.daemon = Daemon(minion, Hub(), self.clock)

    async def look(self, *, after: timedelta) -> None:
        """So much later all that is due is written down and handed on."""
        self.now += after
        await self.daemon.scheduler.tick()

    async def rest(self) -> None:
        """Wait until nothing goes on."""
        await self.daemon.line.drained()


@contextlib.asynccontextmanager
async def awake(home: Home) -> AsyncIterator[Awake]:
    """A daemon with its routines loaded."""
    found = Awake()
    async with at_work(home, clock=found.clock) as minion:
        found.on(minion)
        await found.daemon.roster.load()
        yield found


@pytest.mark.promise("STO-5")
@pytest.mark.parametrize(("later", "end"), [(1, "ran"), (60 * 24, "missed")])
def test_a_slot_whose_run_cannot_be_opened_is_tried_again_as_far_as_catching_up_allows(
    home: Home, lock: Lock, later: int, end: str
) -> None:
    async def scene() -> None:
        async with awake(home) as awoken:
            await awoken.look(after=timedelta(minutes=1))
            lock.take()
            await awoken.rest()
            awoken.now += timedelta(minutes=later, seconds=-2)
            await awoken.daemon._catch_up_with_the_store()  # it says so, and keeps it
            assert slots(home) == [("due", None)]
            lock.leave()
            await awoken.daemon._catch_up_with_the_store()
            await awoken.rest()

    asyncio.run(scene())
    ((state, why),) = slots(home)
    assert state == end
    if end == "missed":
        assert why == "the store could not be written when it was due, and a newer one came due meanwhile"
    assert intact(home)


@pytest.mark.promise("DMN-8")
def test_a_slot_that_waits_when_the_kill_switch_is_thrown_is_skipped_and_nothing_starts(home: Home) -> None:
    async def scene() -> None:
        async with awake(home) as awoken:
            await awoken.look(after=timedelta(minutes=1))  # it is on its way now
            at = instant(awoken.now)
            await awoken.minion.writer.transact(lambda db: set_halt(db, "the key leaked", at=at))
            await awoken.daemon.read_halt()
            await awoken.rest()

    asyncio.run(scene())
    assert slots(home) == [("skipped", "the minion was halted: the key leaked")]
    with read_only(home.store) as db:
        assert db.execute("SELECT count(*) FROM runs").fetchone()[0] == 0


@pytest.mark.promise("DMN-4")
def test_a_slot_that_a_defect_stops_is_skipped_and_says_so(home: Home) -> None:
    async def scene() -> None:
        async with awake(home) as awoken:
            awoken.minion.routines = None  # as a defect would have it
            await awoken.look(after=timedelta(minutes=1))
            await awoken.rest()

    asyncio.run(scene())
    assert slots(home) == [
        ("skipped", "it could not be started: a defect stopped it (AttributeError), see daemon.log")
    ]
