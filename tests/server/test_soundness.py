"""A disk that refuses and a file that is damaged: HQ says so in its log and at /readyz, and when it is over."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from pathlib import Path

import pytest

from server.actions.desk import Desk
from server.contract.refusals import StoreFailed
from server.storage.database import Connection
from server.storage.soundness import damage_of
from server.storage.tables import META
from tests.server.desks import add_routine, desk_at
from tests.server.gates import Answer, ask, gate_of
from tests.server.test_database import damage

MOST_PAGES = 1_000_000


def no_larger_than(connection: Connection, pages: int | None) -> None:
    """An action after which the store has room for so many pages; None: for those it has."""
    now = connection.exec_driver_sql("PRAGMA page_count").scalar()
    connection.exec_driver_sql(f"PRAGMA max_page_count = {pages or now}")


def row(connection: Connection, number: int) -> None:
    """An action that needs a little less room than the probe, beside it."""
    connection.execute(META.insert(), {"key": f"prob{number:04}"[:8], "value": ""})


async def filled(desk: Desk) -> None:
    """Leave no room for a row."""
    await desk.database.transact(no_larger_than, None)
    with contextlib.suppress(StoreFailed):
        for number in range(10_000):
            await desk.database.transact(row, number)
        raise AssertionError("it has room without end")


def test_a_full_disk_is_logged_once_and_hq_is_not_ready_until_a_write_succeeds(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def played() -> tuple[Answer, Answer, Answer]:
        async with desk_at(tmp_path) as desk, gate_of(desk) as app:
            before = await ask(app, "/readyz")
            await filled(desk)
            assert desk.database.trouble is not None
            for number in range(3):
                with pytest.raises(StoreFailed):
                    await desk.database.transact(row, 9000 + number)
            # A commit that writes nothing needs no disk: it ends no trouble.
            await desk.database.transact(lambda _: None)
            assert desk.database.trouble is not None
            full = await ask(app, "/readyz")
            await desk.database.transact(no_larger_than, MOST_PAGES)
            after = await ask(app, "/readyz")
            assert desk.database.trouble is None
            return before, full, after

    before, full, after = asyncio.run(played())
    assert (before.status, full.status, full.code, after.status) == (200, 503, "store_failed", 200)
    assert "full" in full.body.decode()
    said = [
        (each.levelname, each.getMessage()) for each in caplog.records if each.name.startswith("server.storage")
    ]
    assert said == [
        ("ERROR", "the store cannot be written: database or disk is full"),
        ("WARNING", "the store is written again"),
    ]


def test_a_store_whose_file_is_damaged_is_logged_and_hq_is_not_ready(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def played() -> tuple[Answer, Answer]:
        async with desk_at(tmp_path) as desk, gate_of(desk) as app:
            await add_routine(desk, "triage")
            await desk.database.look_through()
            whole = await ask(app, "/readyz")
            store = tmp_path / "hq" / "hq.db"
            with contextlib.closing(sqlite3.connect(store)) as db:
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            damage(store, "gaps")
            await desk.database.look_through()
            return whole, await ask(app, "/readyz")

    whole, damaged = asyncio.run(played())
    assert (whole.status, damaged.status, damaged.code) == (200, 503, "store_damaged")
    (said,) = [each.getMessage() for each in caplog.records if each.name.startswith("server.storage")]
    assert said.startswith("the store is damaged: ")


def test_looking_through_a_store_stops_when_it_is_told_to(tmp_path: Path) -> None:
    async def played() -> None:
        async with desk_at(tmp_path):
            looking = asyncio.ensure_future(damage_of(tmp_path / "hq" / "hq.db"))
            await asyncio.wait({looking}, timeout=0)
            looking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asyncio.wait_for(looking, 10)

    asyncio.run(played())
