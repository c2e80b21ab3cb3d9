"""How far a routine's runs can be relied on, and what its variant's policy makes of it before the next one."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from minion.app import Minion
from minion.clock import utc_now
from minion.config import Home
from minion.daemon.triggers import Trigger
from minion.store.confidence import FROM_RUNS, Confidence
from minion.store.decisions import answer_decision
from minion.store.local_db import read_only
from minion.store.routines import find_routine
from minion.store.run_log import open_run
from minion.store.writer import Connection
from minion.wire import Order
from server.contract.digest import instant, new_id
from server.contract.policy import Policy
from server.contract.refusals import Refused
from tests.whole.homes import at_work, make_home, write_routine, write_skill

FLOOR = Policy(confidence_floor=0.75)
GATED = replace(FLOOR, gates=("reviewer",))


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home with the routine `work`."""
    made = make_home(tmp_path)
    write_skill(made, "one", "answer(text='x')")
    write_routine(made, "work", "one")
    return made


async def an_order(minion: Minion, policy: Policy) -> tuple[Order, dict[str, str]]:
    """The order of a run under this policy."""
    trigger = Trigger("manual", f"manual:{new_id('dec_')[4:]}", utc_now())
    order, lock = await minion.prepare("work", trigger, engine=None, repository=None)
    return replace(order, policy=policy), lock


async def runs(minion: Minion, *outcomes: str) -> None:
    """Runs that ended so, newest last, opened now: each `ok`, or failed with what its outcome is."""
    for outcome in outcomes:
        order, _ = await an_order(minion, FLOOR)

        async def keep(db: Connection, order: Order = order, outcome: str = outcome) -> None:
            await open_run(db, order, folder=order.run_dir, lock={}, now=instant(utc_now()))
            verdict = {"success": "ok", "cancelled": "skipped"}.get(outcome, "failed")
            said = "success" if outcome == "success" else "unknown"
            state = "cancelled" if outcome == "cancelled" else "completed"
            values = (state, said, verdict, order.run_id)
            await db.execute("UPDATE runs SET state = ?, outcome = ?, verdict = ? WHERE id = ?", values)

        await minion.writer.transact(keep)


def test_confidence_is_the_mean_of_a_uniform_prior_and_says_nothing_before_ten_runs() -> None:
    assert Confidence(0, 0).mean == 0.5
    assert Confidence(10, 10).mean == pytest.approx(11 / 12)
    assert not Confidence(FROM_RUNS - 1, 0).below(FLOOR)
    assert Confidence(FROM_RUNS, 7).below(FLOOR)
    assert not Confidence(FROM_RUNS, 9).below(FLOOR)
    assert not Confidence(100, 0).below(Policy())


@pytest.mark.promise("POL-1")
@pytest.mark.heavy
def test_below_the_floor_a_policy_with_gates_has_a_person_look_before_the_run(home: Home) -> None:
    async def story() -> None:
        async with at_work(home) as minion:
            await runs(minion, *["failed"] * 6, *["success"] * 3, "cancelled")
            order, lock = await an_order(minion, GATED)
            assert await minion.hold_of(order, lock) is None  # nine that count
            await runs(minion, "failed")
            held = await minion.hold_of(order, lock)
            assert held is not None
            assert (held.kind, held.answer) == ("confidence", None)
            assert "3 of the last 10 runs of work as V01 went well" in held.question
            again = await minion.hold_of(order, lock)
            assert again is not None
            assert again.id == held.id
            now = instant(utc_now())
            await minion.writer.transact(lambda db: answer_decision(db, held.id, "approve", by="ada", now=now))
            # From here on it is judged anew.
            assert await minion.hold_of(order, lock) is None

    asyncio.run(story())


@pytest.mark.promise("POL-1")
@pytest.mark.heavy
def test_below_the_floor_a_policy_without_gates_pauses_the_routine_and_tells(home: Home) -> None:
    alerts: list[str] = []

    async def story() -> None:
        async with at_work(home, alerts=alerts) as minion:
            await runs(minion, *["failed"] * 10)
            order, lock = await an_order(minion, FLOOR)
            with pytest.raises(Refused, match="0 of the last 10 runs") as refused:
                await minion.hold_of(order, lock)
            assert refused.value.code == "confidence_low"
            with read_only(home.store) as db:
                assert find_routine(db, "work").document["paused"] is True
            await minion.routines.change("work", {"paused": False})
            assert await minion.hold_of(order, lock) is None

    asyncio.run(story())
    assert len(alerts) == 1
    assert "minion schedule resume work" in alerts[0]


@pytest.mark.heavy
def test_a_run_that_a_person_asks_for_is_refused_with_the_decision_it_waits_for(home: Home) -> None:
    async def story() -> None:
        async with at_work(home) as minion:
            await runs(minion, *["failed"] * 10)
            order, lock = await an_order(minion, GATED)
            held = await minion.hold_of(order, lock)
            assert held is not None
            now = instant(utc_now())
            await minion.writer.transact(lambda db: answer_decision(db, held.id, "reject", by="ada", now=now))
            rejected = await minion.hold_of(order, lock)
            assert rejected is not None
            assert (rejected.id, rejected.answer) == (held.id, "reject")
            from minion.app import _refused

            refusal = _refused(order, rejected)
            assert refusal.code == "confidence_held"
            assert held.id in refusal.hint

    asyncio.run(story())
