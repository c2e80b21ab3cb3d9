"""The ledger: a session that runs a process itself, held to it call by call (the seed's sequence diagram)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from server.actions import record
from server.actions.desk import Desk
from server.contract.refusals import BadUse
from server.storage.access_store import Caller
from server.storage.event_store import in_run
from server.storage.tables import EVENTS, RUNS, STEP_LOG
from tests.server.desks import ADMIN, LEDGER, Asker, Clock, add_routine, client_of, desk_at, everything
from tests.server.joined_minions import join_minion

VALIDATE, CLONE, PROMPT, PUSH = "TSK-VALIDATE-TRIGGER", "SCR-CLONE-REPO", "LLM-EXECUTE-PROMPT", "SCR-PUSH-BRANCH"
B1, B2, B3, B4 = (f"040.001.0{number}" for number in range(1, 5))
pytestmark = pytest.mark.promise("LED-1")


def play(folder: Path, scene: Callable[[Asker], Awaitable[Any]], mode: str = "auto", **said: Any) -> Any:
    """What a scene answers, with the routine `oncall-triage` there."""

    async def played() -> Any:
        async with desk_at(folder, said.pop("clock", None)) as desk:
            await add_routine(desk, "oncall-triage", **said)
            async with client_of(desk, LEDGER, mode) as asker:
                return await scene(asker)

    return asyncio.run(played())


def step(code: str, **more: Any) -> dict[str, Any]:
    """A step that completed."""
    return {"code": code} | more


async def walk(asker: Asker, *elastic: str, run: str | None = None) -> str:
    """All blocks of a run, the elastic one with these steps; the run's id."""
    run = run or (await asker.ask("ledger_start_run", routine="oncall-triage", trigger="api"))["run"]
    for block, codes in ((B2, [CLONE]), (B3, elastic or [PROMPT]), (B4, [PUSH])):
        await asker.ask("ledger_start_block", run=run, block=block)
        await asker.ask("ledger_log_step", run=run, block=block, steps=[step(code) for code in codes])
        await asker.ask("ledger_finish_block", run=run, block=block)
    return str(run)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_the_seeds_sequence_diagram_call_by_call(tmp_path: Path, mode: str) -> None:
    async def scene(asker: Asker) -> None:
        begun = await asker.ask(
            "ledger_start_run", routine="oncall-triage", trigger="api", external_session="session_01HJKLMN"
        )
        assert (begun["state"], begun["variant"]) == ("validated", "V02")
        assert [(b["block"], b["state"]) for b in begun["blocks"]] == [
            (B1, "completed"), (B2, None), (B3, None), (B4, None),
        ]  # fmt: skip
        run = begun["run"]
        block = await asker.ask("ledger_start_block", run=run, block=B2)
        assert block == {"run": run, "block": B2, "state": "running", "canonical": [CLONE]}
        await asker.ask("ledger_log_step", run=run, block=B2, steps=[step(CLONE)])
        assert (await asker.ask("ledger_finish_block", run=run, block=B2))["next"] == B3
        await asker.ask("ledger_start_block", run=run, block=B3)
        logged = [
            step("linear.get_issue", kind="tool_call"),
            step(PROMPT),
            step("said hello", kind="llm_response"),
        ]
        assert (await asker.ask("ledger_log_step", run=run, block=B3, steps=logged))["logged"] == 3
        await asker.ask("ledger_finish_block", run=run, block=B3)
        await asker.ask("ledger_start_block", run=run, block=B4)
        await asker.ask("ledger_log_step", run=run, block=B4, steps=[step(PUSH)])
        await asker.ask("ledger_finish_block", run=run, block=B4)
        ended = await asker.ask(
            "ledger_finish_run", run=run, outcome="success", summary="Triaged SEN-4521.",
            branch="claude/fix-sen-4521", claimed_topology="T:36a61784",
        )  # fmt: skip
        assert (ended["state"], ended["fingerprint"], ended["claim_matches"]) == ("completed", "T:36a61784", True)
        assert (ended["conformance"], ended["drift"], ended["verdict"]) == (
            "conformant",
            "conformant",
            "unchecked",
        )

    play(tmp_path, scene, mode)


def test_an_added_step_is_seen_named_and_held_against_the_claim(tmp_path: Path) -> None:
    async def scene(asker: Asker) -> dict[str, Any]:
        run = await walk(asker, PROMPT, "LLM-VERIFY-OUTPUT")
        return await asker.ask(
            "ledger_finish_run", run=run, outcome="success", claimed_topology=[VALIDATE, CLONE, PROMPT, PUSH]
        )

    ended = play(tmp_path, scene)
    assert (ended["fingerprint"], ended["canonical_fingerprint"]) == ("T:f87a829f", "T:36a61784")
    assert (ended["conformance"], ended["drift"]) == ("drift", "benign")
    assert ended["first_difference"] == [B3, None, "LLM-VERIFY-OUTPUT"]
    assert ended["claim_matches"] is False


def test_blocks_go_in_order_and_rigid_ones_keep_their_step(tmp_path: Path) -> None:
    async def scene(asker: Asker) -> list[str]:
        run = (await asker.ask("ledger_start_run", routine="oncall-triage"))["run"]
        seen = [await asker.refused("ledger_start_block", run=run, block=block) for block in (B3, B1, "9")]
        await asker.ask("ledger_start_block", run=run, block=B2)
        seen.append(await asker.refused("ledger_finish_block", run=run, block=B2, state="skipped"))
        seen.append(await asker.refused("ledger_finish_block", run=run, block=B2))
        for code in ("SCR-OTHER", "clone", PUSH):
            seen.append(await asker.refused("ledger_log_step", run=run, block=B2, steps=[step(code)]))
        seen.append(await asker.refused("ledger_log_step", run=run, block=B3, steps=[step(PROMPT)]))
        seen.append(await asker.refused("ledger_start_block", run=run, block=B3))
        seen.append(await asker.refused("ledger_finish_run", run=run, outcome="failure"))
        return [said["code"] for said in seen]

    assert play(tmp_path, scene) == [
        "block_order", "block_begun", "no_such_block", "rigid_skipped", "rigid_step_missing", "rigid_step",
        "bad_code", "rigid_step", "block_closed", "block_open", "block_open",
    ]  # fmt: skip


def test_a_rigid_step_may_be_tried_again_and_completes_its_block_only_when_it_did(tmp_path: Path) -> None:
    async def scene(asker: Asker) -> None:
        run = (await asker.ask("ledger_start_run", routine="oncall-triage"))["run"]
        about = {"run": run, "block": B2}
        await asker.ask("ledger_start_block", **about)
        await asker.ask("ledger_log_step", **about, steps=[{**step(CLONE), "state": "failed"}])
        said = await asker.refused("ledger_finish_block", **about)
        assert said["code"] == "rigid_step_failed"
        assert said["sentence"] == f"The step {CLONE} of the rigid block {B2} failed."
        await asker.ask("ledger_log_step", **about, steps=[step(CLONE)])
        assert (await asker.ask("ledger_finish_block", **about))["next"] == B3

    play(tmp_path, scene)


def test_what_a_session_cannot_know_of_a_step_is_refused(tmp_path: Path) -> None:
    at = "2026-04-01T09:00:0{}.000Z"

    async def scene(asker: Asker) -> None:
        run = (await asker.ask("ledger_start_run", routine="oncall-triage"))["run"]
        about = {"run": run, "block": B2}
        await asker.ask("ledger_start_block", **about)
        late = {"started_at": at.format(2), "ended_at": at.format(1)}
        said = await asker.refused("ledger_log_step", **about, steps=[{**step(CLONE), **late}])
        assert said["code"] == "bad_times"
        said = await asker.refused("ledger_log_step", **about, steps=[{**step(CLONE), "agent": "hq"}])
        assert said["code"] == "bad_agent"
        for more in ({"started_at": "yesterday"}, {"cost": {"dollars": -5}}, {"digest_in": "xyz"}):
            said = await asker.refused("ledger_log_step", **about, steps=[{**step(CLONE), **more}])
            assert next(iter(more)) in said["sentence"]
        said = await asker.refused("ledger_finish_run", run=run, outcome="failure", claimed_topology="T:nonsense")
        assert said["code"] == "bad_claim"

    play(tmp_path, scene)


@pytest.mark.promise("LED-2")
def test_a_client_goes_on_with_its_runs_and_keys_when_its_token_was_rotated(tmp_path: Path) -> None:
    async def played() -> None:
        async with desk_at(tmp_path) as desk:
            await add_routine(desk, "oncall-triage")
            one, two = (Caller(f"tok_{n}", "ci", "ledger") for n in (1, 2))
            async with client_of(desk, one) as asker:
                said = await asker.ask("ledger_start_run", routine="oncall-triage", client_key="a")
            async with client_of(desk, two) as asker:
                assert await asker.ask("ledger_start_run", routine="oncall-triage", client_key="a") == said
                await asker.ask("ledger_start_block", run=said["run"], block=B2)
            async with client_of(desk, Caller("tok_3", "elsewhere", "ledger")) as asker:
                refusal = await asker.refused("ledger_finish_run", run=said["run"], outcome="failure")
                assert refusal["code"] == "other_session"

    asyncio.run(played())


def test_an_elastic_block_takes_no_step_of_a_rigid_one(tmp_path: Path) -> None:
    async def scene(asker: Asker) -> str:
        run = (await asker.ask("ledger_start_run", routine="oncall-triage"))["run"]
        await asker.ask("ledger_start_block", run=run, block=B2)
        await asker.ask("ledger_log_step", run=run, block=B2, steps=[step(CLONE)])
        await asker.ask("ledger_finish_block", run=run, block=B2)
        await asker.ask("ledger_start_block", run=run, block=B3)
        said = await asker.refused("ledger_log_step", run=run, block=B3, steps=[step(PROMPT), step(PUSH)])
        logged = await asker.ask("ledger_log_step", run=run, block=B3, steps=[step(PROMPT)])
        assert logged["entries"] == 13  # of the refused call nothing was kept
        return str(said["code"])

    assert play(tmp_path, scene) == "rigid_step"


def test_a_claim_of_success_needs_all_blocks_and_failure_needs_none(tmp_path: Path) -> None:
    async def scene(asker: Asker) -> dict[str, Any]:
        run = (await asker.ask("ledger_start_run", routine="oncall-triage"))["run"]
        said = await asker.refused("ledger_finish_run", run=run, outcome="success")
        assert (said["code"], said["sentence"]) == (
            "unfinished", f"The run is no success: the block {B2} was not taken.",
        )  # fmt: skip
        return await asker.ask("ledger_finish_run", run=run, outcome="failure", summary="No access.")

    ended = play(tmp_path, scene)
    assert (ended["state"], ended["conformance"], ended["drift"]) == ("failed", "incomplete", "conformant")


@pytest.mark.promise("LED-2")
def test_a_call_that_comes_again_with_its_key_is_done_once_and_answered_alike(tmp_path: Path) -> None:
    async def scene(asker: Asker) -> None:
        one = await asker.ask("ledger_start_run", routine="oncall-triage", client_key="a")
        assert await asker.ask("ledger_start_run", routine="oncall-triage", client_key="a") == one
        assert (await asker.ask("ledger_start_run", routine="oncall-triage"))["run"] != one["run"]
        other = await asker.refused("ledger_start_run", routine="oncall-triage", trigger="api", client_key="a")
        assert other["code"] == "client_key_reused"
        await asker.ask("ledger_start_block", run=one["run"], block=B2, client_key="b")
        await asker.ask("ledger_start_block", run=one["run"], block=B2, client_key="b")
        steps = [step(CLONE)]
        first = await asker.ask("ledger_log_step", run=one["run"], block=B2, steps=steps, client_key="c")
        assert await asker.ask("ledger_log_step", run=one["run"], block=B2, steps=steps, client_key="c") == first

    play(tmp_path, scene)


def test_steps_of_a_session_are_marked_attested_and_what_hq_saw_is_not(tmp_path: Path) -> None:
    async def played() -> list[tuple[str, bool]]:
        async with desk_at(tmp_path) as desk:
            await add_routine(desk, "oncall-triage")
            async with client_of(desk, LEDGER) as asker:
                await asker.ask("ledger_finish_run", run=await walk(asker), outcome="success")
            rows = await desk.read(lambda db: list(db.execute(STEP_LOG.select().order_by(STEP_LOG.c.position))))
            entries = [("step", row) for row in rows]
            mine = EVENTS.select().where(EVENTS.c.run_id.is_not(None))
            entries += [("event", row) for row in await desk.read(lambda db: list(db.execute(mine)))]
            (run,) = await desk.read(lambda db: list(db.execute(RUNS.select())))
            assert run.entries == len(entries)
            assert all(in_run(kind, row) for kind, row in entries)
            return [(row.code, row.attested) for row in rows]

    assert asyncio.run(played()) == [
        (VALIDATE, False), (CLONE, True), (PROMPT, True), (PUSH, True), ("execution-report", True),
    ]  # fmt: skip


def test_a_run_that_is_over_or_late_or_somebody_elses_takes_nothing_more(tmp_path: Path) -> None:
    clock = Clock()

    async def scene(asker: Asker) -> list[str]:
        over, late = await walk(asker), (await asker.ask("ledger_start_run", routine="oncall-triage"))["run"]
        await asker.ask("ledger_finish_run", run=over, outcome="success")
        clock.pass_(hours=2)
        seen = [await asker.refused("ledger_start_block", run=run, block=B2) for run in (over, late, "run_01")]
        return [said["code"] for said in seen]

    assert play(tmp_path, scene, clock=clock) == ["run_over", "run_over", "ambiguous_id"]


async def refused_by_the_action(desk: Desk, action: Any, *said: Any, **more: Any) -> str:
    """The code with which an action refuses, whatever a door's schema would say; nothing was written."""
    before = await everything(desk)
    with pytest.raises(BadUse) as caught:
        await desk.database.transact(action, LEDGER, *said, client_key=None, now=desk.clock(), **more)
    assert await everything(desk) == before
    return caught.value.code


def test_what_no_schema_of_a_tool_lets_through_is_refused_by_the_actions_too(tmp_path: Path) -> None:
    async def played() -> None:
        async with desk_at(tmp_path) as desk:
            await add_routine(desk, "oncall-triage")
            async with client_of(desk, LEDGER) as asker:
                run = (await asker.ask("ledger_start_run", routine="oncall-triage"))["run"]
                await asker.ask("ledger_start_block", run=run, block=B2)
            begin = (record.start_run, desk.processes, "oncall-triage")
            said = await refused_by_the_action(desk, *begin, trigger="whim", external_session=None)
            assert said == "bad_trigger"
            for steps in ([], [step(CLONE, kind="step", state="completed")] * (record.MOST_STEPS + 1)):
                assert await refused_by_the_action(desk, record.log_steps, run, B2, steps) == "step_count"
            report = [step("execution-report", kind="report", state="completed")]
            assert await refused_by_the_action(desk, record.log_steps, run, B2, report) == "bad_kind"
            assert await refused_by_the_action(desk, record.finish_block, run, B2, "done") == "bad_state"
            ended = await refused_by_the_action(desk, record.finish_run, run, "fine", summary=None)
            assert ended == "bad_outcome"

    asyncio.run(played())


def test_after_a_block_that_failed_no_other_begins_and_the_run_ends_as_a_failure(tmp_path: Path) -> None:
    async def played() -> dict[str, Any]:
        async with desk_at(tmp_path) as desk:
            await add_routine(desk, "oncall-triage")
            async with client_of(desk, LEDGER) as asker:
                run = (await asker.ask("ledger_start_run", routine="oncall-triage"))["run"]
                await asker.ask("ledger_start_block", run=run, block=B2)
                await asker.ask("ledger_finish_block", run=run, block=B2, state="failed", why="No access.")
                before = await everything(desk)
                said = await asker.refused("ledger_start_block", run=run, block=B3)
                assert (said["code"], await everything(desk)) == ("block_failed", before)
                return await asker.ask("ledger_finish_run", run=run, outcome="failure")

    ended = asyncio.run(played())
    assert (ended["state"], ended["verdict"]) == ("failed", "failed")


def test_a_session_writes_nothing_on_a_run_that_a_minion_performs(tmp_path: Path) -> None:
    async def played() -> None:
        async with desk_at(tmp_path) as desk:
            await join_minion(desk, "studio")
            async with client_of(desk, ADMIN) as asker:
                await asker.ask("create_routine", name="triage", content="Triage the alert.")
                run = (await asker.ask("run_routine", routine="triage"))["run"]
                before, block = await everything(desk), {"run": run, "block": B1}
                for tool, more in (
                    ("ledger_start_block", block), ("ledger_finish_block", block),
                    ("ledger_log_step", {**block, "steps": [step(VALIDATE)]}),
                    ("ledger_finish_run", {"run": run, "outcome": "success"}),
                ):  # fmt: skip
                    assert (await asker.refused(tool, **more))["code"] == "not_attested"
                assert await everything(desk) == before

    asyncio.run(played())
