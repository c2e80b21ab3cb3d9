"""Which runs are kept, what stays of those that go, and that the store's counts always add up."""

# ruff: noqa: S608 - the names in these statements are the tests' own
from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minion.config import KEPT_RUNS
from minion.store.run_end import end_run, prune
from minion.store.run_history import breaches
from minion.store.run_log import chain_heads, open_run
from minion.store.writer import Writer
from server.contract.run import RunState
from tests.minion.stored_runs import (
    LATER,
    NOW,
    Teller,
    looking,
    make_order,
    numbered_id,
    perform,
    rows,
    start,
    take,
    with_store,
)

RUN = numbered_id("run_", 1)


@pytest.mark.promise("STO-1")
def test_the_newest_ended_runs_are_kept_and_the_unfinished_never_go(tmp_path: Path) -> None:
    async def story(writer: Writer) -> list[str]:
        await start(writer, make_order(1))
        await take(writer, Teller(1).beginning())
        for number in (2, 3, 4, 5):
            await perform(writer, make_order(number), Teller(number).plain().perform("accepted"))
        await start(writer, make_order(6))
        return await writer.transact(lambda db: prune(db, keep=2, now=LATER))

    folders = with_store(tmp_path, story)
    assert sorted(folders) == [f"/nowhere/{numbered_id('run_', number)}" for number in (2, 3)]
    left = [numbered_id("run_", number) for number in (1, 4, 5, 6)]
    assert rows(tmp_path, "SELECT id FROM runs ORDER BY ordinal") == [(run,) for run in left]
    for table in ("events", "step_logs", "block_runs", "sessions", "effects"):
        found = {run for (run,) in rows(tmp_path, f"SELECT run_id FROM {table}")}
        assert found <= set(left), table
    with looking(tmp_path) as db:
        assert breaches(db) == []


@pytest.mark.promise("STO-1")
def test_runs_with_an_effect_that_nobody_settled_are_kept_apart_and_not_without_end(tmp_path: Path) -> None:
    async def story(writer: Writer) -> list[str]:
        for number in range(1, 7):
            state = "unknown" if number <= 4 else "delivered"
            await perform(writer, make_order(number), Teller(number).plain().perform(state))
        return await writer.transact(lambda db: prune(db, keep=2, now=LATER))

    assert sorted(with_store(tmp_path, story)) == [f"/nowhere/{numbered_id('run_', number)}" for number in (1, 2)]
    left = [numbered_id("run_", number) for number in (3, 4, 5, 6)]
    assert rows(tmp_path, "SELECT id FROM runs ORDER BY ordinal") == [(run,) for run in left]


@pytest.mark.promise("STO-1")
def test_the_tombstone_of_a_pruned_run_keeps_its_heads_for_ever(tmp_path: Path) -> None:
    async def story(writer: Writer) -> dict[str, str]:
        await perform(writer, make_order(), Teller().plain())
        heads = await writer.transact(lambda db: chain_heads(db, RUN))
        await writer.transact(lambda db: prune(db, keep=0, now=LATER))
        assert await writer.transact(lambda db: prune(db, keep=0, now=LATER)) == []
        return heads

    heads = with_store(tmp_path, story)
    ((body,),) = rows(tmp_path, "SELECT body FROM home_chain WHERE kind = 'tombstone' AND ref = ?", RUN)
    assert json.loads(body) == {
        "routine": "morning-report", "ended_at": LATER, "verdict": "unchecked", "pruned_at": LATER, "usage": {},
        **heads,
    }  # fmt: skip


ENDS: list[RunState] = ["completed", "failed", "cancelled", "timed_out", "interrupted"]
DEEDS = st.lists(
    st.one_of(
        st.just(("begin", 0)),
        st.tuples(st.just("end"), st.integers(0, 5)),
        st.tuples(st.just("prune"), st.integers(0, 3)),
    ),
    max_size=14,
)


class Ledger:
    """What should be in the store after each deed: runs under way, kept ones and pruned ones."""

    def __init__(self, writer: Writer) -> None:
        self.writer = writer
        self.open: list[int] = []
        self.kept: list[int] = []
        self.pruned: set[int] = set()
        self.begun = 0

    async def do(self, deed: str, number: int) -> None:
        """One deed, and the same on paper."""
        if deed == "begin":
            self.begun += 1
            self.open.append(self.begun)
            await start(self.writer, make_order(self.begun))
        elif deed == "end" and self.open:
            ended = self.open.pop(number % len(self.open))
            self.kept.append(ended)
            end = ENDS[ended % len(ENDS)]
            run = numbered_id("run_", ended)
            await self.writer.transact(lambda db: end_run(db, run, end, now=LATER))
        elif deed == "prune":
            newest_first = self.kept[::-1]  # by their ends
            self.kept = newest_first[:number][::-1]
            gone = await self.writer.transact(lambda db: prune(db, keep=number, now=LATER))
            assert sorted(gone) == sorted(f"/nowhere/{numbered_id('run_', n)}" for n in newest_first[number:])
            self.pruned |= set(newest_first[number:])


@pytest.mark.promise("STO-1")
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(deeds=DEEDS)
def test_what_began_what_is_kept_and_what_was_pruned_always_adds_up(
    tmp_path_factory: pytest.TempPathFactory, deeds: list[tuple[str, int]]
) -> None:
    folder = tmp_path_factory.mktemp("store")

    async def story(writer: Writer) -> Ledger:
        ledger = Ledger(writer)
        for deed, number in deeds:
            await ledger.do(deed, number)
        return ledger

    ledger = with_store(folder, story)
    kept = {numbered_id("run_", number) for number in (*ledger.open, *ledger.kept)}
    assert {run for (run,) in rows(folder, "SELECT id FROM runs")} == kept
    sealed = "SELECT ref FROM home_chain WHERE kind = ? ORDER BY ref"
    stones = [numbered_id("run_", number) for number in sorted(ledger.pruned)]
    seals = [numbered_id("run_", number) for number in sorted(ledger.pruned | set(ledger.kept))]
    assert rows(folder, sealed, "tombstone") == [(run,) for run in stones]
    assert rows(folder, sealed, "run") == [(run,) for run in seals]
    with looking(folder) as db:
        assert breaches(db) == []


@pytest.mark.promise("STO-1")
def test_two_hundred_runs_are_kept_and_the_next_one_takes_the_oldest_away(tmp_path: Path) -> None:
    async def live_short(writer: Writer, number: int) -> None:
        order = make_order(number)

        async def open_and_end(db: Any) -> None:
            await open_run(db, order, folder=order.run_dir, lock={}, now=NOW)
            await end_run(db, order.run_id, "failed", now=LATER, why="refused at once")

        await writer.transact(open_and_end)

    async def story(writer: Writer) -> list[str]:
        await start(writer, make_order(1000))
        await asyncio.gather(*(live_short(writer, number) for number in range(1, 202)))
        return await writer.transact(lambda db: prune(db, keep=KEPT_RUNS, now=LATER))

    assert with_store(tmp_path, story) == [f"/nowhere/{RUN}"]
    kept = [numbered_id("run_", number) for number in (1000, *range(2, 202))]
    assert rows(tmp_path, "SELECT id FROM runs ORDER BY ordinal") == [(run,) for run in kept]
    with looking(tmp_path) as db:
        assert breaches(db) == []
