"""What a minion's runs may cost together: counted after each model call, pruned runs included."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from minion.config import Config
from minion.daemon.allowance import Allowance
from minion.store.foresight import spent_so_far
from minion.store.local_db import create, read_only
from minion.store.run_log import append_home
from minion.store.spending import Purse
from minion.store.writer import Connection, Writer, open_writer
from server.contract.digest import instant
from tests.minion.stored_runs import MINION_ID

# A quarter past midnight in Berlin, on the first of a month there and still the month before in UTC.
NOW = datetime(2026, 3, 31, 22, 15, tzinfo=UTC)
CONFIG = Config(MINION_ID, "tester", timezone="Europe/Berlin", dollars_per_day=1.0, dollars_per_month=2.0)


async def a_run(db: Connection, number: int, at: datetime, dollars: float) -> None:
    """A run that began then and cost so much."""
    values = (f"run_{number}", f"key {number}", instant(at), f'{{"dollars": {dollars}, "turns": 3}}')
    await db.execute(
        "INSERT INTO runs (id, order_key, routine_id, routine, trigger, state, outcome, delivery, verdict, engine,"
        " process, variant, canonical, topology, canonical_fingerprint, lock, created_at, usage, folder,"
        " revision) VALUES (?1, ?2, 'trig_1', 'work', 'manual', 'completed', 'success', 'none', 'ok', 'messages',"
        " 'W', 'V01', '[]', '[]', '', '{}', ?3, ?4, '', 1)",
        values,
    )


async def pruned(db: Connection, number: int, at: datetime, dollars: float) -> None:
    """The tombstone of such a run."""
    body = {"routine": "work", "ended_at": instant(at), "usage": {"dollars": dollars}}
    await append_home(db, "tombstone", f"run_{number}", body)


def with_store(folder: Path, story: object) -> None:
    """Tell a story on a new store's writer."""

    async def work() -> None:
        create(folder / "minion.db", MINION_ID)
        async with open_writer(folder / "minion.db") as writer:
            await story(writer)  # type: ignore[operator]

    asyncio.run(work())


@pytest.mark.promise("BUD-2")
def test_days_and_months_are_those_of_the_minions_zone_and_pruned_runs_count(tmp_path: Path) -> None:
    async def story(writer: Writer) -> None:
        purse = Purse()

        async def spent() -> tuple[float, float]:
            found = await writer.transact(lambda db: purse.spent(db, zone="Europe/Berlin", now=NOW))
            return round(found[0], 4), round(found[1], 4)

        await writer.transact(lambda db: a_run(db, 1, NOW - timedelta(minutes=10), 0.25))
        await writer.transact(lambda db: a_run(db, 2, NOW - timedelta(minutes=20), 4.0))  # yesterday, last month
        await writer.transact(lambda db: pruned(db, 3, NOW - timedelta(minutes=5), 0.5))
        await writer.transact(lambda db: pruned(db, 4, NOW - timedelta(days=3), 9.0))
        assert await spent() == (0.75, 0.75)
        # What is pruned meanwhile is read once, and what was read is not read again.
        await writer.transact(lambda db: pruned(db, 5, NOW - timedelta(minutes=1), 0.125))
        assert await spent() == (0.875, 0.875)
        assert await spent() == (0.875, 0.875)

    with_store(tmp_path, story)


@pytest.mark.promise("BUD-2")
def test_what_a_run_spends_after_midnight_is_spent_on_the_new_day(tmp_path: Path) -> None:
    event = "INSERT INTO events VALUES (?, ?, ?, ?, 'usage', NULL, ?, '')"

    async def story(writer: Writer) -> None:
        async def tell(db: Connection) -> None:
            await a_run(db, 1, NOW - timedelta(minutes=20), 0.75)
            for number, (minutes, dollars) in enumerate([(18, 0.5), (10, 0.125), (1, 0.125)]):
                at = instant(NOW - timedelta(minutes=minutes))
                await db.execute(event, ("run_1", number, number, at, f'{{"dollars": {dollars}}}'))

        async def end(db: Connection) -> None:
            await db.execute("UPDATE runs SET ended_at = ?", (instant(NOW - timedelta(minutes=16)),))

        await writer.transact(tell)
        assert await writer.transact(lambda db: Purse().spent(db, zone="Europe/Berlin", now=NOW)) == (0.25, 0.25)
        await writer.transact(end)
        assert await writer.transact(lambda db: Purse().spent(db, zone="Europe/Berlin", now=NOW)) == (0.0, 0.0)

    with_store(tmp_path, story)
    with read_only(tmp_path / "minion.db") as db:
        assert spent_so_far(db, zone="Europe/Berlin", now=NOW) == (0.0, 0.0)
        noon = NOW - timedelta(hours=10)
        assert spent_so_far(db, zone="Europe/Berlin", now=noon) == (0.75, 0.75)


@pytest.mark.parametrize(
    ("day", "month", "words", "raises"),
    [
        (0.5, 0.0, "", ""), (1.0, 0.0, "$1 for today", "dollars_per_day"),
        (0.0, 2.5, "$2 for this month", "dollars_per_month"),
    ],
)  # fmt: skip
@pytest.mark.promise("BUD-2")
def test_when_a_cap_of_all_runs_is_reached_no_model_call_follows(
    tmp_path: Path, day: float, month: float, words: str, raises: str
) -> None:
    later = NOW + timedelta(days=10)

    async def story(writer: Writer) -> None:
        await writer.transact(lambda db: a_run(db, 1, later - timedelta(minutes=1), day))
        await writer.transact(lambda db: a_run(db, 2, NOW + timedelta(days=2), month))
        why, hint = await Allowance(writer, lambda: later, config=lambda: CONFIG).why_not()
        assert words in why
        assert bool(why) is bool(words)
        assert raises in hint

    with_store(tmp_path, story)


def test_no_cap_is_none_and_a_cap_of_nothing_lets_nothing_be_spent(tmp_path: Path) -> None:
    free = Config(MINION_ID, "tester", dollars_per_day=None, dollars_per_month=None)
    shut = Config(MINION_ID, "tester", dollars_per_day=0.0)

    async def story(writer: Writer) -> None:
        await writer.transact(lambda db: a_run(db, 1, NOW, 1000.0))
        assert await Allowance(writer, lambda: NOW, config=lambda: free).why_not() == ("", "")
        why, _ = await Allowance(writer, lambda: NOW, config=lambda: shut).why_not()
        assert "$0 for today" in why

    with_store(tmp_path, story)
