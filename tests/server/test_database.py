"""The store's one writer and its readers: whose failure it is, who hears of it, and that nobody else is harmed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from server.actions.desk import Desk
from server.contract.digest import instant
from server.contract.refusals import BadUse, Defect, Refusal, StoreFailed, StoreUnreadable
from server.storage.database import Connection
from server.storage.event_store import append_event
from server.storage.tables import EVENTS, GAPS, META
from server.storage.token_store import list_tokens, make_token
from tests.server.desks import BEGIN, add_routine, desk_at, everything

NOW = instant(BEGIN)
pytestmark = pytest.mark.promise("AUD-3")


def add(connection: Connection, key: str) -> str:
    """An action that writes, and says so in the log."""
    connection.execute(META.insert(), {"key": key, "value": "x"})
    append_event(connection, "test.added", {"key": key}, actor="test", now=NOW)
    return key


def misspelt(connection: Connection) -> None:
    add(connection, "misspelt")
    connection.execute(sa.text("SELECT nothing FROM nowhere"))


def twice(connection: Connection) -> None:
    add(connection, "twice")
    add(connection, "twice")


def broken(connection: Connection) -> None:
    add(connection, "broken")
    raise AttributeError("no such thing")


def refusing(connection: Connection) -> None:
    add(connection, "refusing")
    raise BadUse("bad_use", "It is no good.", hint="say another")


async def at_once(desk: Desk, *actions: Callable[[Connection], Any]) -> list[Any]:
    """What all of these answer or raise, committed as one group: they are asked for at the same moment."""
    asked = (desk.database.transact(action) for action in actions)
    return await asyncio.gather(*asked, return_exceptions=True)


async def added(desk: Desk) -> list[str]:
    """The keys that were kept, as the log has them too."""
    kept = await everything(desk)
    logged = [row.data for row in kept["events"] if row.type == "test.added"]
    keys = [row.key for row in kept["meta"] if row.value == "x"]
    assert sorted(logged) == sorted(f'{{"key":"{key}"}}' for key in keys)
    return sorted(keys)


@pytest.mark.parametrize(
    ("defective", "kind"),
    [(broken, "AttributeError"), (misspelt, "OperationalError"), (twice, "IntegrityError")],
)
def test_a_defect_in_one_of_eight_actions_fails_that_one_and_the_others_are_done(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, defective: Callable[[Connection], None], kind: str
) -> None:
    heard: list[str] = []

    async def played() -> list[Any]:
        async with desk_at(tmp_path) as desk:
            desk.listen(lambda happened: heard.extend(each.data["key"] for each in happened))
            good = [lambda db, key=key: add(db, key) for key in "abcdefg"]
            told = await at_once(desk, *good[:3], defective, *good[3:])
            assert await added(desk) == list("abcdefg")
            assert await desk.database.transact(add, "h") == "h"  # the writer goes on
            return told

    with caplog.at_level(logging.ERROR):
        told = asyncio.run(played())
    defect = told.pop(3)
    assert told == list("abcdefg")
    assert heard == list("abcdefgh")
    assert (type(defect), defect.code) == (Defect, "defect")
    assert defect.sentence == f"A defect of HQ stopped this ({kind})."
    (logged,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert logged.exc_info is not None
    assert logged.exc_info[1] is defect.__cause__


def test_what_an_action_refuses_is_its_own_answer_and_no_defect(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def played() -> list[Any]:
        async with desk_at(tmp_path) as desk:
            told = await at_once(desk, lambda db: add(db, "a"), refusing, lambda db: add(db, "b"))
            assert await added(desk) == ["a", "b"]
            return told

    first, refusal, last = asyncio.run(played())
    assert (first, refusal.code, last) == ("a", "bad_use", "b")
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_when_the_store_itself_fails_nothing_of_its_group_is_kept_or_acknowledged(tmp_path: Path) -> None:
    async def played() -> list[Any]:
        async with desk_at(tmp_path) as desk:
            store = tmp_path / "hq" / "hq.db"

            def full(connection: Connection) -> None:
                pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
                connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
                connection.execute(META.insert(), {"key": "much", "value": "x" * 1_000_000})

            told = await at_once(desk, lambda db: add(db, "a"), full, lambda db: add(db, "b"))
            assert await added(desk) == ["b"]  # it was not begun yet, and came into the next group
            assert store.is_file()
            return told

    *failed, last = asyncio.run(played())
    assert {(type(each), each.code) for each in failed} == {(StoreFailed, "store_failed")}
    assert ("full" in failed[0].sentence, last) == (True, "b")


def damage(store: Path, table: str) -> None:
    """Overwrite the pages of a table, as a bad disk does, while the store is open."""
    with sqlite3.connect(store) as db:
        (size,) = db.execute("PRAGMA page_size").fetchone()
        names = db.execute("SELECT rootpage FROM sqlite_master WHERE tbl_name = ? AND rootpage > 0", (table,))
        pages = [page for (page,) in names]
    db.close()
    with store.open("r+b") as file:
        for page in pages:
            file.seek((page - 1) * size)
            file.write(b"\xff" * size)


def test_a_store_that_is_damaged_while_open_is_refused_in_words_and_what_is_whole_is_read_on(
    tmp_path: Path,
) -> None:
    async def played() -> None:
        async with desk_at(tmp_path) as desk:
            await add_routine(desk, "triage")
            store = tmp_path / "hq" / "hq.db"
            await desk.database.transact(add, "a")
            with sqlite3.connect(store) as db:  # what was written lies in the file itself
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            db.close()
            damage(store, "gaps")
            for _ in range(10):  # as often as there are readers, and again
                with pytest.raises(Refusal) as caught:
                    await desk.read(lambda db: list(db.execute(GAPS.select())))
                assert (type(caught.value), caught.value.code) == (StoreUnreadable, "store_unreadable")
                assert str(store) in caught.value.sentence
                assert "malformed" in caught.value.sentence
                assert "hq verify" in caught.value.hint
            assert len(await desk.read(lambda db: list(db.execute(EVENTS.select())))) >= 1

    asyncio.run(played())


def test_a_query_with_a_defect_is_not_told_as_a_damaged_store(tmp_path: Path) -> None:
    async def played() -> None:
        async with desk_at(tmp_path) as desk:
            with pytest.raises(sa.exc.OperationalError, match="no such table"):
                await desk.read(lambda db: db.execute(sa.text("SELECT 1 FROM nowhere")))
            with pytest.raises(ZeroDivisionError):
                await desk.read(lambda _: 1 / 0)

    asyncio.run(played())


@pytest.mark.promise("TOK-1")
def test_tokens_are_listed_in_the_order_they_were_made_also_within_one_instant(tmp_path: Path) -> None:
    async def played() -> None:
        async with desk_at(tmp_path) as desk:
            made = [
                (await desk.database.transact(make_token, f"n{number}", "session", by="test", now=NOW)).id
                for number in range(40)
            ]
            assert [row.id for row in await desk.read(list_tokens)] == made
            assert [row.id for row in await desk.read(list_tokens, live_at=NOW)] == made

    asyncio.run(played())


def test_while_another_program_holds_the_store_a_writer_waits_and_nobody_else(tmp_path: Path) -> None:
    async def played() -> None:
        async with desk_at(tmp_path) as desk:
            with contextlib.closing(sqlite3.connect(tmp_path / "hq" / "hq.db", isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                waiting = asyncio.create_task(desk.database.transact(add, "a"))
                for _ in range(3):
                    assert await added(desk) == []
                assert not waiting.done()
                other.execute("ROLLBACK")
                assert await waiting == "a"
            assert await added(desk) == ["a"]

    asyncio.run(played())


@pytest.mark.parametrize("calls", [1, 300])
def test_what_was_handed_in_is_done_though_its_callers_left_and_the_store_is_closed(
    tmp_path: Path, calls: int
) -> None:
    async def played() -> list[str]:
        async with desk_at(tmp_path) as desk:
            asked = [asyncio.create_task(desk.database.transact(add, f"{n:03}")) for n in range(calls)]
            await asyncio.wait(asked[:1], timeout=0)
            for each in asked:
                each.cancel()
            left = desk.database
        with pytest.raises(StoreFailed, match="it is closed"):
            await left.transact(add, "late")
        assert [type(each) for each in await asyncio.gather(*asked, return_exceptions=True)] == [
            asyncio.CancelledError
        ] * calls
        async with desk_at(tmp_path) as desk:
            return await added(desk)

    assert asyncio.run(played()) == [f"{n:03}" for n in range(calls)]


def test_a_failure_of_the_store_that_leaves_its_transaction_open_is_taken_back_too(tmp_path: Path) -> None:
    def torn(connection: Connection) -> None:
        add(connection, "torn")
        raise sqlite3.DatabaseError("database disk image is malformed")

    async def played() -> None:
        async with desk_at(tmp_path) as desk:
            (told,) = await at_once(desk, torn)
            assert (type(told), told.code) == (StoreFailed, "store_failed")
            assert await desk.database.transact(add, "next") == "next"
            assert await added(desk) == ["next"]

    asyncio.run(played())
