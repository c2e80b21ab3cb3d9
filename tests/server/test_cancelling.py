"""Runs are cancelled from HQ: at once while their minion was never told of them, else by one order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from server.actions.cancel import cancel_run
from server.actions.desk import Desk
from server.actions.fire import run_routine
from server.actions.part import forget_minion
from server.actions.publish import create_routine, delete_routine
from server.storage.tables import ORDERS, RUNS
from tests.server.desks import ADMIN, LEDGER
from tests.server.joined_minions import act, rows
from tests.server.test_joining import report
from tests.server.test_publish import NIGHTLY, at_desk
from tests.server.test_publish import refused as refusal_of
from tests.server.wired_minions import WiredMinion, refused, taken


async def begun(desk: Desk) -> tuple[WiredMinion, str, dict[str, Any]]:
    """Alice, a run of `nightly`, and the order to begin it, of which she was told."""
    alice = await WiredMinion(desk, "alice").hello()
    await act(desk, create_routine, NIGHTLY)
    await alice.catch_up()
    run = (await act(desk, run_routine, desk.processes, "nightly"))["run"]
    (order,) = (await alice.poll())["orders"]
    return alice, run, order


async def state_of(desk: Desk, run: str) -> tuple[str, str]:
    """How a run stands."""
    return next((row.state, row.verdict) for row in await rows(desk, RUNS) if row.id == run)


async def cancel(desk: Desk, run: str, **said: Any) -> dict[str, Any]:
    """The answer to calling a run off."""
    found: dict[str, Any] = await act(desk, cancel_run, run, **said)
    return found


def stopped(run: str) -> dict[str, Any]:
    """What a minion reports of a run that it stopped."""
    return report(run, 1, "cancelled", outcome="unknown", verdict="skipped", routine="nightly")


@pytest.mark.promise("GIV-6")
def test_a_run_under_way_is_stopped_by_its_minion_and_ends_as_that_says(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        alice, run, order = await begun(desk)
        await alice.poll(taken(order))
        said = await cancel(desk, run, why="A false alert.")
        assert (said["state"], said["verdict"], said["minion"]) == ("cancelling", "running", "alice")
        assert (await cancel(desk, run))["state"] == "cancelling"
        (stop,) = (await alice.poll())["orders"]
        assert (stop["kind"], stop["run"], stop["routine"], stop["input"]) == (
            "cancel", run, "nightly", "A false alert.",
        )  # fmt: skip
        assert await state_of(desk, run) == ("queued", "running")
        assert (await alice.poll(taken(stop)))["orders"] == []
        assert (await cancel(desk, run))["state"] == "cancelling"
        assert (await alice.poll())["orders"] == []
        assert (await alice.report(stopped(run)))["refused"] == []
        assert await state_of(desk, run) == ("cancelled", "skipped")
        assert await refusal_of(act(desk, cancel_run, run)) == "run_over"

    at_desk(tmp_path, scene)


@pytest.mark.promise("GIV-6")
def test_a_run_that_ended_before_the_order_came_is_what_its_report_says(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        alice, run, order = await begun(desk)
        await alice.poll(taken(order))
        await cancel(desk, run)
        (stop,) = (await alice.poll())["orders"]
        await alice.poll(refused(stop, "The run does not go on here."))
        assert await state_of(desk, run) == ("queued", "running")
        assert (await alice.report({**report(run, 1), "routine": "nightly"}))["refused"] == []
        assert await state_of(desk, run) == ("completed", "unchecked")

    at_desk(tmp_path, scene)


@pytest.mark.promise("GIV-6")
@pytest.mark.parametrize("hears", ["in order", "not at all"])
def test_a_run_of_which_its_minion_was_told_is_called_off_without_a_guess(tmp_path: Path, hears: str) -> None:
    """Whether she took it, HQ cannot know: the answer may be on its way, and so may be her report."""

    async def scene(desk: Desk) -> None:
        alice, run, order = await begun(desk)
        assert (await cancel(desk, run))["state"] == "cancelling"
        said = (taken(order),) if hears == "in order" else ()
        found = await alice.poll(*said)
        assert [each["kind"] for each in found["orders"]] == ["cancel"]
        await alice.poll(refused(found["orders"][0], "The run does not go on here."))
        begun_there = hears == "in order"
        assert await state_of(desk, run) == (("queued", "running") if begun_there else ("interrupted", "unknown"))
        # It had ended there, and the report only comes now.
        assert (await alice.report({**report(run, 1), "routine": "nightly"}))["refused"] == []
        assert await state_of(desk, run) == ("completed", "unchecked")
        assert {row.kind: row.state for row in await rows(desk, ORDERS)} == {
            "run": "taken" if begun_there else "cancelled", "cancel": "refused",
        }  # fmt: skip

    at_desk(tmp_path, scene)


@pytest.mark.promise("GIV-6")
def test_a_run_that_its_minion_opened_itself_is_cancelled_too(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        alice = await WiredMinion(desk, "alice").hello()
        await act(desk, create_routine, NIGHTLY)
        await alice.catch_up()
        run = "run_01" + "A" * 20
        going_on = report(run, 1, "running", outcome="unknown", verdict="running", ended_at=None, blocks=[])
        assert (await alice.report({**going_on, "routine": "nightly"}))["refused"] == []
        assert await refusal_of(act(desk, cancel_run, run, who=LEDGER)) == "other_session"
        assert (await cancel(desk, run))["state"] == "cancelling"
        (stop,) = (await alice.poll())["orders"]
        await alice.poll(refused(stop, "not_running"))
        # She may not have known it yet: asked again, she is told again.
        assert (await cancel(desk, run))["state"] == "cancelling"
        (again,) = (await alice.poll())["orders"]
        assert again["id"] != stop["id"]
        await alice.poll(taken(again))
        assert (await alice.report({**stopped(run), "revision": 2}))["refused"] == []
        assert await state_of(desk, run) == ("cancelled", "skipped")

    at_desk(tmp_path, scene)


def test_a_run_whose_minion_has_left_is_not_said_to_be_cancelled(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        alice, run, order = await begun(desk)
        await alice.poll(taken(order))
        going_on = report(run, 1, "running", outcome="unknown", verdict="running", ended_at=None, blocks=[])
        await alice.report({**going_on, "routine": "nightly"})
        await act(desk, forget_minion, "alice", who=ADMIN)
        assert await refusal_of(act(desk, cancel_run, run)) in ("run_over", "minion_left")

    at_desk(tmp_path, scene)


def test_a_routine_that_is_deleted_calls_off_what_waits_also_what_its_minion_was_told_of(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        alice, run, _ = await begun(desk)
        second = (await act(desk, run_routine, desk.processes, "nightly"))["run"]
        assert (await act(desk, delete_routine, "nightly"))["cancelled_runs"] == [second]
        assert [each["kind"] for each in (await alice.poll())["orders"]] == ["cancel"]
        assert await state_of(desk, run) == ("queued", "running")

    at_desk(tmp_path, scene)
