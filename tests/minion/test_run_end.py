"""How a run ends in the store: what was open is closed, what is claimed is weighed, what is old goes."""

# ruff: noqa: S608 - the names in these statements are the tests' own
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from minion.store.routines import keep_routine
from minion.store.run_end import end_run, prune
from minion.store.run_history import breaches
from minion.store.writer import Writer
from server.contract.refusals import IllegalMove
from server.contract.run import RunState
from tests.minion.stored_runs import (
    CODES,
    LATER,
    NOW,
    ROUTINE_ID,
    Teller,
    looking,
    make_order,
    numbered_id,
    perform,
    rows,
    with_store,
)

RUN = numbered_id("run_", 1)
TRUTHS = "SELECT state, outcome, delivery, verdict FROM runs"


def ended(
    folder: Path,
    teller: Teller,
    end: RunState = "completed",
    *,
    why: str | None = None,
    pipeline: tuple[str, ...] = (),
) -> tuple[Any, ...]:
    """End a run of whom this was told; its four truths."""
    with_store(folder, lambda writer: perform(writer, make_order(pipeline=pipeline), teller, end, why=why))
    (found,) = rows(folder, TRUTHS)
    return found


def early(why: str = "it failed") -> Teller:
    """A run whose second block failed, as the runner tells it."""
    teller = Teller().block(CODES[0], "TSK-VALIDATE-TRIGGER").enter(CODES[1])
    teller.step("SCR-CLONE-REPO", "failed").leave("failed", why)
    for code in CODES[2:]:
        skipped = teller.enter(code).events.pop()
        teller.tell("block.finished", **skipped.data, state="skipped", why=why)
    return teller.report("failure", why)


@pytest.mark.promise("RUN-10")
def test_a_plain_prompt_ends_with_the_seed_s_fingerprint(tmp_path: Path) -> None:
    ended(tmp_path, Teller().plain())
    columns = "topology, fingerprint, canonical_fingerprint, conformance, first_difference, ended_at"
    assert rows(tmp_path, f"SELECT {columns} FROM runs") == [
        (
            '["TSK-VALIDATE-TRIGGER","SCR-CLONE-REPO","LLM-EXECUTE-PROMPT","SCR-PUSH-BRANCH"]',
            "T:36a61784", "T:36a61784", "conformant", "null", LATER,
        )
    ]  # fmt: skip


@pytest.mark.promise("RUN-10")
def test_only_steps_are_hashed_and_tool_calls_and_the_report_are_not(tmp_path: Path) -> None:
    teller = Teller().beginning().begin_step("LLM-EXECUTE-PROMPT")
    for kind in ("tool_call", "llm_response", "decision"):
        teller.tell("step.started", number=90 + len(kind), code="SCR-X", kind=kind, agent="a", digest_in="d")
    teller.end_step("LLM-EXECUTE-PROMPT").step("LLM-EXECUTION-REPORT", kind="report").report().leave()
    ended(tmp_path, teller.block(CODES[3], "SCR-PUSH-BRANCH"))
    assert rows(tmp_path, "SELECT fingerprint, conformance FROM runs") == [("T:36a61784", "conformant")]


@pytest.mark.promise("RUN-11")
def test_a_claim_alone_is_unchecked_however_sure_it_is(tmp_path: Path) -> None:
    assert ended(tmp_path, Teller().plain()) == ("completed", "success", "none", "unchecked")


@pytest.mark.promise("RUN-11")
def test_a_proven_delivery_makes_it_ok(tmp_path: Path) -> None:
    teller = Teller().plain().perform("delivered")
    assert ended(tmp_path, teller) == ("completed", "success", "delivered", "ok")
    assert rows(tmp_path, "SELECT delivery_target FROM runs") == [("slack webhook",)]


@pytest.mark.promise("RUN-11")
def test_an_accepted_delivery_is_no_proof(tmp_path: Path) -> None:
    assert ended(tmp_path, Teller().plain().perform("accepted"))[2:] == ("accepted", "unchecked")


@pytest.mark.promise("RUN-11")
@pytest.mark.parametrize(
    ("kind", "state", "verdict"),
    [("command", "passed", "ok"), ("command", "failed", "failed"), ("delivered", "failed", "not-delivered")],
)
def test_the_runner_s_own_checks_decide(tmp_path: Path, kind: str, state: str, verdict: str) -> None:
    teller = Teller().plain().tell("check", kind=kind, expected="x", state=state, detail="d")
    assert ended(tmp_path, teller)[3] == verdict


def test_the_worst_effect_is_the_delivery(tmp_path: Path) -> None:
    teller = Teller().plain().perform("delivered").perform("failed", "ops")
    assert ended(tmp_path, teller)[2:] == ("failed", "not-delivered")
    assert rows(tmp_path, "SELECT delivery_target FROM runs") == [("slack webhook, ops webhook",)]


def test_a_refused_effect_was_not_delivered(tmp_path: Path) -> None:
    teller = Teller().plain()
    teller.stage(state="refused")
    assert ended(tmp_path, teller)[2:] == ("failed", "not-delivered")


@pytest.mark.promise("RUN-8")
def test_an_interrupted_run_keeps_the_steps_it_began(tmp_path: Path) -> None:
    teller = Teller().beginning().begin_step("LLM-EXECUTE-PROMPT")
    assert ended(tmp_path, teller, "interrupted", why="killed") == (
        "interrupted",
        "unknown",
        "none",
        "unknown",
    )
    steps = rows(tmp_path, "SELECT number, code, state, started_at, ended_at FROM step_logs ORDER BY ordinal")
    assert steps[2] == (3, "LLM-EXECUTE-PROMPT", "interrupted", NOW, LATER)
    assert rows(tmp_path, "SELECT state, ended_at FROM block_runs WHERE code = ?", CODES[2]) == [
        ("interrupted", LATER)
    ]
    assert rows(tmp_path, "SELECT conformance FROM runs") == [("incomplete",)]
    with looking(tmp_path) as db:
        assert breaches(db) == []


@pytest.mark.promise("ENV-5")
def test_an_intent_without_a_result_is_unknown_and_what_was_only_staged_is_withheld(tmp_path: Path) -> None:
    teller = Teller().beginning().step("LLM-EXECUTE-PROMPT").report().leave().enter(CODES[3])
    first, second, third = teller.stage(), teller.stage(target="ops"), teller.stage("file", "a.md")
    teller.intend(first).settle(first, "delivered", "slack webhook").intend(second)
    assert ended(tmp_path, teller, "interrupted") == ("interrupted", "success", "failed", "unknown")
    assert rows(tmp_path, "SELECT id, state FROM effects ORDER BY ordinal") == [
        (first, "delivered"),
        (second, "unknown"),
        (third, "withheld"),
    ]


@pytest.mark.promise("ENV-5")
def test_an_unknown_effect_makes_the_run_unknown_however_it_ended(tmp_path: Path) -> None:
    teller = Teller().plain()
    teller.intend(teller.stage())
    assert ended(tmp_path, teller) == ("completed", "success", "unknown", "unknown")


@pytest.mark.promise("RUN-9")
@pytest.mark.parametrize(
    ("end", "summary"),
    [
        ("timed_out", "Stopped at its time limit after 2 completed steps: why."),
        ("cancelled", "Cancelled after 2 completed steps: why."),
        ("interrupted", "Interrupted after 2 completed steps: why."),
    ],
)
def test_a_report_nobody_made_is_filed_with_what_is_known(
    tmp_path: Path, end: RunState, summary: str
) -> None:
    teller = Teller().beginning().step("SCR-LOOK", kind="tool_call").begin_step("LLM-EXECUTE-PROMPT")
    ended(tmp_path, teller, end, why="why")
    assert rows(tmp_path, "SELECT outcome, summary, why FROM runs") == [("unknown", summary, "why")]
    (report,) = rows(tmp_path, "SELECT seq, data FROM events WHERE type = 'report'")
    assert report[0] is None
    assert json.loads(report[1])["filed_by"] == "supervisor"


def test_a_report_that_was_made_is_never_replaced(tmp_path: Path) -> None:
    ended(tmp_path, Teller().beginning().report("partial", "Half of it."), "cancelled", why="why")
    assert rows(tmp_path, "SELECT outcome, summary FROM runs") == [("partial", "Half of it.")]


@pytest.mark.promise("RUN-4")
@pytest.mark.parametrize(
    ("blocks", "difference"),
    [
        ((0, 2, 3), '["040.001.02","040.001.02","040.001.03"]'),
        ((1, 0, 2, 3), '["040.001.01","040.001.01","040.001.02"]'),
        ((0, 1, 2), '["040.001.04","SCR-PUSH-BRANCH",null]'),
    ],
    ids=["skipped", "reordered", "left out at the end"],
)
def test_a_completed_run_with_a_broken_rigid_part_is_violated(
    tmp_path: Path, blocks: tuple[int, ...], difference: str
) -> None:
    steps = ("TSK-VALIDATE-TRIGGER", "SCR-CLONE-REPO", "LLM-EXECUTE-PROMPT", "SCR-PUSH-BRANCH")
    teller = Teller()
    for number in blocks:
        teller.block(CODES[number], steps[number])
    assert ended(tmp_path, teller.report()) == ("violated", "success", "none", "failed")
    found = rows(tmp_path, "SELECT conformance, first_difference FROM runs")
    assert found == [("violation", difference)]


@pytest.mark.promise("RUN-4")
def test_a_rigid_step_in_the_elastic_block_is_a_violation(tmp_path: Path) -> None:
    teller = Teller().beginning().step("LLM-EXECUTE-PROMPT").step("SCR-PUSH-BRANCH").report().leave()
    assert ended(tmp_path, teller.block(CODES[3], "SCR-PUSH-BRANCH"))[0] == "violated"


@pytest.mark.promise("RUN-4")
def test_an_early_failure_is_no_violation(tmp_path: Path) -> None:
    assert ended(tmp_path, early(), "failed") == ("failed", "failure", "none", "failed")
    assert rows(tmp_path, "SELECT conformance FROM runs") == [("incomplete",)]


@pytest.mark.parametrize("block", range(4))
def test_a_run_killed_on_the_threshold_of_a_block_is_no_violation(tmp_path: Path, block: int) -> None:
    steps = ("TSK-VALIDATE-TRIGGER", "SCR-CLONE-REPO", "LLM-EXECUTE-PROMPT")
    teller = Teller()
    for number in range(block):
        teller.block(CODES[number], steps[number])
    assert ended(tmp_path, teller.enter(CODES[block]), "interrupted")[0] == "interrupted"
    assert rows(tmp_path, "SELECT conformance FROM runs") == [("incomplete",)]


def test_a_skipped_skill_leaves_the_run_incomplete_and_out_of_the_topology(tmp_path: Path) -> None:
    teller = Teller().beginning().step("LLM-ONE", "failed").skip_step("LLM-TWO")
    teller.report("failure", "One failed.").leave("failed").block(CODES[3], "SCR-PUSH-BRANCH")
    ended(tmp_path, teller, "failed", pipeline=("one", "two"))
    columns = "topology, conformance, first_difference"
    assert rows(tmp_path, f"SELECT {columns} FROM runs") == [
        (
            '["TSK-VALIDATE-TRIGGER","SCR-CLONE-REPO","LLM-ONE","SCR-PUSH-BRANCH"]',
            "incomplete",
            '["040.001.03","LLM-TWO",null]',
        )
    ]


def test_an_ended_run_cannot_end_again(tmp_path: Path) -> None:
    async def story(writer: Writer) -> None:
        await perform(writer, make_order(), Teller().plain())
        with pytest.raises(IllegalMove):
            await writer.transact(lambda db: end_run(db, RUN, "failed", now=LATER))

    with_store(tmp_path, story)
    assert rows(tmp_path, TRUTHS) == [("completed", "success", "none", "unchecked")]
    assert rows(tmp_path, "SELECT count(*) FROM home_chain") == [(1,)]


def test_the_seal_says_what_the_run_said_last(tmp_path: Path) -> None:
    ended(tmp_path, Teller().plain())
    ((body,),) = rows(tmp_path, "SELECT body FROM home_chain WHERE kind = 'run' AND ref = ?", RUN)
    heads = [
        rows(tmp_path, f"SELECT hash FROM {table} ORDER BY ordinal DESC LIMIT 1")[0][0]
        for table in ("events", "step_logs")
    ]
    assert json.loads(body) == {
        "state": "completed", "outcome": "success", "verdict": "unchecked",
        "events": heads[0], "steps": heads[1],
    }  # fmt: skip


DOCUMENT = {"name": "morning-report", "id": ROUTINE_ID, "minion_id": None, "content": "Say hello"}


@pytest.mark.parametrize(("effect", "since"), [("delivered", NOW), ("accepted", NOW), ("failed", None)])
def test_the_last_delivery_is_remembered_by_the_routine(
    tmp_path: Path, effect: str, since: str | None
) -> None:
    async def story(writer: Writer) -> None:
        await writer.transact(lambda db: keep_routine(db, DOCUMENT, source="f", replace=False, now=NOW))
        await perform(writer, make_order(), Teller().plain().perform(effect))
        await writer.transact(lambda db: prune(db, keep=0, now=LATER))

    with_store(tmp_path, story)
    assert rows(tmp_path, "SELECT last_delivered_at FROM routines") == [(since,)]
    assert rows(tmp_path, "SELECT id FROM runs") == []


def test_the_last_delivery_never_goes_back(tmp_path: Path) -> None:
    async def story(writer: Writer) -> None:
        await writer.transact(lambda db: keep_routine(db, DOCUMENT, source="f", replace=False, now=NOW))
        await writer.transact(lambda db: db.execute("UPDATE routines SET last_delivered_at = ?", (LATER,)))
        await perform(writer, make_order(), Teller().plain().perform("delivered"))

    with_store(tmp_path, story)
    assert rows(tmp_path, "SELECT last_delivered_at FROM routines") == [(LATER,)]
