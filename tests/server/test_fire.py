"""Runs are asked for once per key, wait for their minion with their order, and are called off with it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from server.actions.cancel import cancel_run
from server.actions.desk import Desk
from server.actions.fire import run_routine
from server.actions.publish import create_routine, update_routine
from server.actions.record import start_block, start_run
from server.contract.orders import Order
from server.contract.refusals import Refused
from server.queue import embedded
from server.storage.event_store import in_run
from server.storage.tables import EVENTS, ORDERS, RUNS
from tests.server.desks import ADMIN, LEDGER, REVIEWER, SESSION, Clock
from tests.server.joined_minions import act, events, join_minion, leave, rows
from tests.server.test_publish import NIGHTLY, at_desk, refused


async def prepared(desk: Desk) -> str:
    """The routine `nightly` on the minion alice; that minion's id."""
    owner = await join_minion(desk, "alice")
    await act(desk, create_routine, NIGHTLY)
    return owner


async def fire(desk: Desk, **said: Any) -> Any:
    """The answer to a run being asked for."""
    return await act(desk, run_routine, desk.processes, "nightly", **said)


def test_an_order_and_its_run_wait_for_the_minion_together(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        owner = await prepared(desk)
        asked = await fire(desk, text="SEN-4521 fired.")
        assert (asked["state"], asked["minion"], asked["orders_ahead"]) == ("queued", "alice", 0)
        (run,) = await rows(desk, RUNS)
        assert (run.id, run.state, run.source, run.trigger, run.variant, run.minion_id) == (
            asked["run"], "queued", "observed", "manual", "V01", owner,
        )  # fmt: skip
        (order,) = await desk.read(embedded.waiting_for, owner)
        assert (order.id, order.kind, order.run_id, order.key) == (asked["order"], "run", run.id, run.order_key)
        said = Order.model_validate_json(order.body)
        assert (said.kind, said.routine, said.run, said.input) == ("run", "nightly", run.id, "SEN-4521 fired.")
        told = [type_ for type_, _ in await events(desk)]
        assert told == ["routine.created", "run.opened", "run.moved", "run.moved", "order.queued"]
        mine = [row for row in await rows(desk, EVENTS) if row.run_id == run.id]
        assert (run.entries, all(in_run("event", row) for row in mine)) == (len(mine), True)
        assert (await fire(desk))["orders_ahead"] == 1

    at_desk(tmp_path, scene)


@pytest.mark.promise("HQ-2")
def test_one_key_starts_one_run_however_often_and_at_once_it_comes(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        await prepared(desk)
        answers = await asyncio.gather(*(fire(desk, client_key="k", text="a") for _ in range(20)))
        assert len({json.dumps(answer, sort_keys=True) for answer in answers}) == 1
        assert (len(await rows(desk, RUNS)), len(await rows(desk, ORDERS))) == (1, 1)
        assert await refused(fire(desk, client_key="k", text="b")) == "client_key_reused"
        assert (await fire(desk, client_key="k", text="a", who=ADMIN))["run"] != answers[0]["run"]
        assert (await fire(desk))["run"] != (await fire(desk))["run"]
        assert (len(await rows(desk, RUNS)), len(await rows(desk, ORDERS))) == (4, 4)

    at_desk(tmp_path, scene)


def test_the_queue_itself_takes_a_key_once(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        owner = await prepared(desk)
        await fire(desk, client_key="k")
        (order,) = await desk.read(embedded.waiting_for, owner)
        with pytest.raises(Refused) as caught:
            await desk.database.transact(
                embedded.put, "order_2", order.key, owner, {"kind": "run"}, routine_id=order.routine_id,
                run_id=order.run_id, now=order.queued_at,
            )  # fmt: skip
        assert caught.value.code == "order_taken"

    at_desk(tmp_path, scene)


def test_a_paused_routine_runs_when_it_is_asked_for(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> str:
        await prepared(desk)
        await act(desk, update_routine, "nightly", {"paused": True})
        return str((await fire(desk))["state"])

    assert at_desk(tmp_path, scene) == "queued"


def test_a_routine_without_a_minion_is_not_run_and_nothing_is_left_behind(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        await act(desk, create_routine, NIGHTLY)
        assert await refused(fire(desk)) == "no_minion"
        await join_minion(desk, "alice")
        await act(desk, update_routine, "nightly", {}, minion="alice")
        await leave(desk, "alice")
        assert await refused(fire(desk)) == "minion_left"
        assert await refused(fire(desk, text="x" * 65_537)) == "text_too_long"
        assert (await rows(desk, RUNS), await rows(desk, ORDERS)) == ([], [])

    at_desk(tmp_path, scene)


def test_a_secret_in_what_is_handed_on_is_not_kept(tmp_path: Path) -> None:
    secret = "ghp_abcdefghijklmnopqrst"

    async def scene(desk: Desk) -> None:
        await prepared(desk)
        assert (await fire(desk, text=f"token {secret}", client_key="k"))["text_redacted"] is True
        (order,) = await rows(desk, ORDERS)
        assert json.loads(order.body)["input"] == "token [redacted]"
        kept = b"".join(path.read_bytes() for path in (tmp_path / "hq").iterdir() if path.is_file())
        assert secret.encode() not in kept

    at_desk(tmp_path, scene)


def test_a_run_that_waits_is_cancelled_with_its_order(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        owner = await prepared(desk)
        first, second = (await fire(desk))["run"], (await fire(desk))["run"]
        ended = await act(desk, cancel_run, first, why="not today", client_key="c")
        assert ended == {"run": first, "state": "cancelled", "verdict": "skipped", "why": "not today"}
        assert await act(desk, cancel_run, first, why="not today", client_key="c") == ended
        assert [row.run_id for row in await desk.read(embedded.waiting_for, owner)] == [second]
        run = next(row for row in await rows(desk, RUNS) if row.id == first)
        assert (run.state, run.verdict, run.why) == ("cancelled", "skipped", "not today")
        assert run.ended_at is not None
        assert [type_ for type_, _ in await events(desk)][-2:] == ["order.withdrawn", "run.moved"]
        assert await refused(act(desk, cancel_run, first)) == "run_over"
        assert await refused(act(desk, cancel_run, "run_nowhere")) == "no_such_run"

    at_desk(tmp_path, scene)


def test_a_ledger_token_calls_off_no_run_that_waits_for_a_minion(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        await prepared(desk)
        run = (await fire(desk))["run"]
        assert await refused(act(desk, cancel_run, run, who=LEDGER)) == "other_session"
        assert [row.state for row in await rows(desk, RUNS)] == ["queued"]
        assert (await act(desk, cancel_run, run, who=ADMIN))["state"] == "cancelled"

    at_desk(tmp_path, scene)


@pytest.mark.parametrize(("who", "code"), [(LEDGER, None), (ADMIN, None), (SESSION, "other_session")])
def test_a_run_that_a_session_performs_is_cancelled_by_its_own_token_or_an_admin(
    tmp_path: Path, who: Any, code: str | None
) -> None:
    async def scene(desk: Desk) -> None:
        await act(desk, create_routine, NIGHTLY)
        said = {"trigger": "manual", "external_session": None, "client_key": None}
        run = (await act(desk, start_run, desk.processes, "nightly", who=LEDGER, **said))["run"]
        await act(desk, start_block, run, "040.001.02", who=LEDGER, client_key=None)
        if code is not None:
            assert await refused(act(desk, cancel_run, run, who=who)) == code
            return
        await act(desk, cancel_run, run, who=who)
        (row,) = await rows(desk, RUNS)
        assert (row.state, row.verdict, row.deadline_at) == ("cancelled", "skipped", None)
        assert row.conformance == "incomplete"
        assert await refused(act(desk, start_block, run, "040.001.03", who=LEDGER, client_key=None)) == "run_over"

    at_desk(tmp_path, scene)


def test_a_run_over_its_deadline_is_over_and_not_cancelled(tmp_path: Path) -> None:
    clock = Clock()

    async def scene(desk: Desk) -> str:
        await act(desk, create_routine, NIGHTLY)
        said = {"trigger": "manual", "external_session": None, "client_key": None}
        run = (await act(desk, start_run, desk.processes, "nightly", who=REVIEWER, **said))["run"]
        clock.pass_(hours=2)
        return await refused(act(desk, cancel_run, run, who=REVIEWER))

    assert at_desk(tmp_path, scene, clock) == "run_over"
