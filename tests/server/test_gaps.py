"""Gaps: what a run lacked is merged, becomes urgent as it recurs, and waits for a human once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from server.actions import escalate
from server.actions.desk import Desk
from server.contract.refusals import BadUse
from tests.server.desks import ADMIN, LEDGER, Asker, add_routine, client_of, desk_at, everything

ELSEWHERE = "run_01" + "A" * 20
CODE = "LLM-SUMMARIZE-ALERT"
SAID = {"gap_type": "step", "requested_code": CODE, "description": "Routine needs alert summarization step"}


def play(folder: Path, scene: Callable[[Desk, Asker], Awaitable[Any]], mode: str = "auto") -> Any:
    """What a scene at a desk answers, with an admin's client."""

    async def played() -> Any:
        async with desk_at(folder) as desk, client_of(desk, ADMIN, mode) as asker:
            return await scene(desk, asker)

    return asyncio.run(played())


async def refused(desk: Desk, asker: Asker, tool: str, **arguments: Any) -> str:
    """The code with which a tool refuses; nothing was written."""
    before = await everything(desk)
    said = await asker.refused(tool, **arguments)
    assert await everything(desk) == before
    return str(said["code"])


def test_gaps_are_listed_page_by_page_and_counted(tmp_path: Path) -> None:
    async def scene(_: Desk, asker: Asker) -> None:
        for number in range(7):
            await asker.ask("record_gap", **{**SAID, "requested_code": f"LLM-{number}"})
        pages = [await asker.ask("list_gaps", limit=3, skip=skip) for skip in (0, 3, 6)]
        assert [len(page["gaps"]) for page in pages] == [3, 3, 1]
        assert {page["total"] for page in pages} == {7}
        assert len({gap["id"] for page in pages for gap in page["gaps"]}) == 7

    play(tmp_path, scene)


def test_whoever_decides_on_a_gap_is_shown_what_was_lacked_and_by_whom(tmp_path: Path) -> None:
    async def scene(_: Desk, asker: Asker) -> None:
        await asker.ask("record_gap", **SAID, agent_id="triage", context_samples=[{"trigger": "api"}])
        await asker.ask("resolve_gap", gap=CODE, resolution="propose", reason="Publish a skill.")
        (waiting,) = (await asker.ask("list_decisions"))["decisions"]
        assert waiting["question"] == f"Close the gap {CODE} (step, met once): Publish a skill."
        evidence = waiting["evidence"]
        assert (evidence["description"], evidence["asked_by"]) == (SAID["description"], "admin")
        (met,) = evidence["met"]
        assert (met["by"], met["context_samples"]) == ("triage", [{"trigger": "api"}])

    play(tmp_path, scene)


def test_a_gap_names_a_run_that_hq_has_or_will_hear_of_and_holds_no_secret(tmp_path: Path) -> None:
    token = "ghp_" + "a1B2" * 9

    async def scene(desk: Desk, asker: Asker) -> None:
        await add_routine(desk, "nightly")
        run = (await asker.ask("ledger_start_run", routine="nightly", trigger="manual"))["run"]
        for said, kept in ((run, run), (run[:12], run), (ELSEWHERE, ELSEWHERE)):
            await asker.ask("record_gap", **SAID, run=said, agent_id=f"agent {token}")
            gap = (await asker.ask("list_gaps"))["gaps"][0]
            assert (gap["evidence"][0]["run"], gap["evidence"][0]["agent"]) == (kept, "agent [redacted]")
        assert await refused(desk, asker, "record_gap", **SAID, run="yesterday") == "no_such_run"
        said = await asker.ask("record_gap", **{**SAID, "requested_code": token})
        assert said["requested_code"] == "[redacted]"

    play(tmp_path, scene)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_the_same_lack_again_counts_and_becomes_medium_at_three_and_high_at_five(
    tmp_path: Path, mode: str
) -> None:
    samples = [{"trigger": "api", "prompt_fragment": "summarize the Sentry alert"}]

    async def scene(desk: Desk, asker: Asker) -> None:
        said = [
            await asker.ask("record_gap", **SAID, agent_id="routine-oncall-triage", context_samples=samples)
            for _ in range(6)
        ]
        assert len({each["gap"] for each in said}) == 1
        assert [each["frequency"] for each in said] == [1, 2, 3, 4, 5, 6]
        assert [each["priority"] for each in said] == ["low", "low", "medium", "medium", "high", "high"]
        assert [each["escalated_to"] for each in said] == [None, None, "medium", None, "high", None]
        other = await asker.ask("record_gap", **{**SAID, "gap_type": "tool"})
        assert (other["merged"], other["frequency"]) == (False, 1)
        listed = (await asker.ask("list_gaps"))["gaps"]
        assert [(each["gap_type"], each["frequency"]) for each in listed] == [("step", 6), ("tool", 1)]
        assert listed[0]["evidence"][0]["agent"] == "routine-oncall-triage"
        assert listed[0]["evidence"][0]["context_samples"] == samples

    play(tmp_path, scene, mode)


@pytest.mark.parametrize("code", ["   ", "LLM\x1b[2J", "two\nlines"])
def test_a_code_that_is_no_name_of_one_line_is_refused(tmp_path: Path, code: str) -> None:
    async def scene(desk: Desk, asker: Asker) -> None:
        said = await refused(desk, asker, "record_gap", **{**SAID, "requested_code": code})
        assert said == "bad_requested_code"

    play(tmp_path, scene)


def test_samples_that_are_too_much_together_are_refused(tmp_path: Path) -> None:
    async def scene(desk: Desk, asker: Asker) -> None:
        much = [{"log": "x" * escalate.LONGEST_SAMPLES}]
        assert await refused(desk, asker, "record_gap", **SAID, context_samples=much) == "too_many_samples"
        fits = [{"log": "x" * 1000}] * escalate.MOST_SAMPLES
        await asker.ask("record_gap", **SAID, context_samples=fits)
        # The schema of the tool lets no more through; another door that does is refused by the action.
        more = [{"n": n} for n in range(escalate.MOST_SAMPLES + 1)]
        assert await refused_by_the_action(desk, "step", CODE, "It.", context_samples=more) == "too_many_samples"

    play(tmp_path, scene)


async def refused_by_the_action(desk: Desk, *said: Any, action: Any = escalate.record_gap, **more: Any) -> str:
    """The code with which the action refuses, whatever a door's schema would say; nothing was written."""
    before = await everything(desk)
    with pytest.raises(BadUse) as caught:
        await desk.database.transact(action, LEDGER, *said, now=desk.clock(), **more)
    assert await everything(desk) == before
    return caught.value.code


def test_a_type_or_a_resolution_that_there_is_not_is_refused_at_every_door(tmp_path: Path) -> None:
    async def scene(desk: Desk, asker: Asker) -> None:
        assert await refused(desk, asker, "record_gap", **{**SAID, "gap_type": "wish"}) == "unknown_choice"
        assert await refused_by_the_action(desk, "wish", CODE, "It.") == "bad_gap_type"
        gap = (await asker.ask("record_gap", **SAID))["gap"]
        told = {"gap": gap, "resolution": "close", "reason": "Done."}
        assert await refused(desk, asker, "resolve_gap", **told) == "unknown_choice"
        said = await refused_by_the_action(desk, gap, "close", "Done.", action=escalate.resolve_gap)
        assert said == "bad_resolution"

    play(tmp_path, scene)


def test_a_gap_is_resolved_by_its_id_or_by_the_code_that_one_open_gap_has(tmp_path: Path) -> None:
    async def scene(desk: Desk, asker: Asker) -> None:
        step = (await asker.ask("record_gap", **SAID))["gap"]
        tool = (await asker.ask("record_gap", **{**SAID, "gap_type": "tool"}))["gap"]
        told = {"resolution": "decline", "reason": "It is not needed."}
        assert await refused(desk, asker, "resolve_gap", gap=CODE, **told) == "ambiguous_gap"
        assert await refused(desk, asker, "resolve_gap", gap="LLM-OTHER", **told) == "no_such_gap"
        assert (await asker.ask("resolve_gap", gap=step, **told))["state"] == "declined"
        assert (await asker.ask("resolve_gap", gap=CODE, **told))["gap"] == tool
        assert await refused(desk, asker, "resolve_gap", gap=CODE, **told) == "no_such_gap"

    play(tmp_path, scene)


def test_a_gap_that_is_over_or_waits_for_a_human_is_not_resolved_again(tmp_path: Path) -> None:
    async def scene(desk: Desk, asker: Asker) -> None:
        gap = (await asker.ask("record_gap", **SAID))["gap"]
        propose = {"gap": gap, "resolution": "propose", "reason": "A skill that sums alerts up."}
        assert (await asker.ask("resolve_gap", **propose))["state"] == "proposed"
        assert await refused(desk, asker, "resolve_gap", **propose) == "gap_proposed"
        decline = {**propose, "resolution": "decline", "reason": "Not needed."}
        await asker.ask("resolve_gap", **decline)
        for again in (propose, decline):
            assert await refused(desk, asker, "resolve_gap", **again) == "gap_over"
        # What is lacked after that is a gap of its own.
        assert (await asker.ask("record_gap", **SAID))["frequency"] == 1

    play(tmp_path, scene)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_a_door_that_does_not_know_who_asks_lets_nobody_in(tmp_path: Path, mode: str) -> None:
    async def scene(desk: Desk, _: Asker) -> None:
        async with client_of(desk, None, mode) as nobody:
            assert await refused(desk, nobody, "record_gap", **SAID) == "nobody_asks"

    play(tmp_path, scene)
