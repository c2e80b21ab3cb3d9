"""The tools of a session's model: performed in order, denied at once, logged by kind."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from minion.engines.base import StagedEffect
from minion.engines.served import served_tools
from server.contract.policy import Policy
from server.contract.quota import Limits
from server.contract.run import EFFECT_KINDS, GAP_TYPES, OUTCOMES
from tests.messages_api import scripted, text, use
from tests.minion.model_sessions import KEY, a_skill, order_in, resumed, session_of

DONE = [text("Done.")]


@pytest.mark.promise("MOD-5")
def test_tools_are_called_in_order_and_answered_each_and_all_is_logged_by_kind(tmp_path: Path) -> None:
    async def work() -> None:
        calls = [use("write", path="a.md", content="one"), use("read", path="a.md"), use("bash", command="exit 3")]
        with scripted(calls, DONE) as api:
            async with session_of(order_in(tmp_path, api), api) as opened:
                result = await opened.prompt()
        answered = api.asked[1]["messages"][-1]["content"]
        assert [block["tool_use_id"] for block in answered] == ["toolu_0000", "toolu_0001", "toolu_0002"]
        assert [bool(block.get("is_error")) for block in answered] == [False, False, True]
        assert "one" in answered[1]["content"]
        assert "exit 3" in answered[2]["content"]
        assert result.state == "completed"
        assert [(code, state) for code, state, _ in opened.ledger.of_kind("tool_call")] == [
            ("write", "completed"), ("read", "completed"), ("bash", "failed"),
        ]  # fmt: skip
        costs = [ending.cost for kind, _, ending in opened.ledger.steps if kind == "llm_response"]
        assert len(costs) == 2
        assert all(cost["turns"] == 1 and cost["tokens"] > 0 and cost["dollars"] > 0 for cost in costs)

    asyncio.run(work())


@pytest.mark.promise("MOD-4")
def test_what_a_skill_may_not_use_is_denied_at_once_with_a_reason_and_a_gap(tmp_path: Path) -> None:
    async def work() -> None:
        turns = [[use("bash", command="rm -rf /"), use("read", path="a")], [use("fly", to="Rome")], DONE]
        with scripted(*turns) as api:
            skill = a_skill(tmp_path, "look", allowed_tools=("Read", "Bash(git log *)"))
            async with session_of(order_in(tmp_path, api, skill), api) as opened:
                (result,) = await opened.skills()
        assert result.state == "completed"
        first, second = api.results(failed=True)[0], api.results(failed=True)[-1]
        assert first.startswith("Denied: ")
        assert "There is no tool 'fly'" in second
        assert [(code, state) for code, state, _ in opened.ledger.of_kind("decision")] == [
            ("bash", "failed"), ("fly", "failed"),
        ]  # fmt: skip
        assert [gap[:2] for gap in opened.ledger.gaps] == [("permission", "TSK-USE-BASH"), ("tool", "TSK-FLY")]

    asyncio.run(work())


@pytest.mark.promise("MOD-4")
def test_a_path_that_a_link_leads_away_from_what_a_skill_may_use_is_denied(tmp_path: Path) -> None:
    async def work() -> None:
        calls = [
            use("write", path="src/a.txt", content="fine"), use("write", path="src/up/b.txt", content="not"),
            use("edit", path="src/up/deploy.yml", old="old", new="new"),
        ]  # fmt: skip
        with scripted(calls, DONE) as api:
            skill = a_skill(tmp_path, "look", allowed_tools=("Edit(src/**)", "Write(src/**)"))
            order = order_in(tmp_path, api, skill)
            shop = tmp_path / "run" / "workspace" / "shop"
            (shop / "src").mkdir()
            (shop / "src" / "up").symlink_to("..")
            (shop / "deploy.yml").write_text("old")
            async with session_of(order, api) as opened:
                await opened.skills()
        assert ((shop / "src/a.txt").read_text(), (shop / "deploy.yml").read_text()) == ("fine", "old")
        assert not (shop / "b.txt").exists()
        assert [words.partition(":")[0] for words in api.results(failed=True)] == ["Denied", "Denied"]
        assert "src/up/b.txt leads to b.txt" in api.results(failed=True)[0]
        assert len(opened.ledger.gaps) == 2

    asyncio.run(work())


@pytest.mark.promise("MOD-4")
def test_an_effect_is_refused_while_the_model_can_still_hear_it_and_an_allowed_one_is_staged(
    tmp_path: Path,
) -> None:
    def refuses(wish: StagedEffect) -> str | None:
        return "push:shop:main is not on the routine's list of effects" if wish.kind == "push" else None

    async def work() -> None:
        staged = [
            use("stage_effect", kind="push", target="shop:main", body="x"),
            use("stage_effect", kind="message", target="slack", body=f"the key is {KEY}"),
            use("stage_effect", kind="rocket", target="moon"),
        ]  # fmt: skip
        with scripted(staged, DONE) as api:
            async with session_of(order_in(tmp_path, api), api) as opened:
                opened.ledger.refuses = refuses
                result = await opened.prompt()
        assert result.effects == (StagedEffect("message", "slack", "the key is [redacted]"),)
        refused = api.results(failed=True)
        assert "not on the routine's list" in refused[0]
        assert "kind must be one of" in refused[1]
        assert [gap[:2] for gap in opened.ledger.gaps] == [("permission", "TSK-PUSH")]

    asyncio.run(work())


@pytest.mark.promise("MOD-3")
def test_what_is_staged_is_told_to_a_task_that_goes_on_and_is_not_staged_twice(tmp_path: Path) -> None:
    async def work() -> None:
        staged = [use("stage_effect", kind="message", target="team", body="Deploy now")]
        with scripted(staged, staged, staged, DONE) as api:
            order = order_in(tmp_path, api)
            async with session_of(order, api) as opened:
                await opened.prompt()
            transcript = tmp_path / "run" / "transcript.ndjson"
            lines = transcript.read_text().splitlines(keepends=True)
            # As a kill leaves it between what was kept of the task and the answer to the call.
            kept = next(number for number, line in enumerate(lines) if '"progress"' in line)
            transcript.write_text("".join(lines[: kept + 1]))
            async with session_of(resumed(order), api) as opened:
                result = await opened.prompt()
            assert "Staged, and kept: message:team; do not stage that again." in api.read()
        assert result.effects == (StagedEffect("message", "team", "Deploy now"),)
        assert any("once is enough" in words for words in api.results())

    asyncio.run(work())


@pytest.mark.promise("POL-1")
def test_a_step_beside_the_canonical_ones_is_logged_until_the_exploration_budget_is_used(tmp_path: Path) -> None:
    async def work() -> None:
        def step(code: str) -> list[dict[str, Any]]:
            return [use("report_step", code=code, summary="checked")]

        codes = ("LLM-VERIFY-OUTPUT", "LLM-THINK-TWICE", "TSK-VALIDATE-TRIGGER", "nonsense")
        with scripted(*map(step, codes), DONE) as api:
            order = order_in(tmp_path, api, policy=Policy(exploration_budget=0.1), limits=Limits(turns=10))
            async with session_of(order, api) as opened:
                result = await opened.prompt()
        assert result.state == "completed"
        assert opened.ledger.of_kind("step") == [("LLM-VERIFY-OUTPUT", "completed", None)]
        used, rigid, bad = api.results(failed=True)
        assert "lets 1 of the run's turns" in used
        assert "safety envelope" in rigid
        assert "code must be" in bad

    asyncio.run(work())


@pytest.mark.promise("POL-1")
@pytest.mark.parametrize(("level", "asked"), [("autonomous", 0), (None, 1)])
def test_a_question_goes_to_the_inbox_and_nobody_is_waited_for_and_the_autonomous_ask_nobody(
    tmp_path: Path, level: str | None, asked: int
) -> None:
    async def work() -> None:
        with scripted([use("ask_decision", question="May I delete the old branch?")], DONE) as api:
            order = order_in(tmp_path, api, policy=Policy(autonomy_level=level))
            async with session_of(order, api) as opened:
                await opened.prompt()
            assert len(opened.ledger.questions) == asked
            assert len(opened.ledger.of_kind("decision")) == 1
            words = "\n".join(api.results() + api.results(failed=True))
            assert ("Denied" in words) is (asked == 0)

    asyncio.run(work())


@pytest.mark.promise("POL-1")
def test_the_model_is_told_what_people_answered_to_an_earlier_run(tmp_path: Path) -> None:
    async def work() -> None:
        with scripted(DONE) as api:
            answers = ({"question": "May I delete the old branch?", "answer": "approve"},)
            async with session_of(order_in(tmp_path, api, answers=answers), api) as opened:
                await opened.prompt()
            assert "'May I delete the old branch?': approve" in api.read()

    asyncio.run(work())


def test_files_of_a_skill_are_loaded_from_its_own_copy_only(tmp_path: Path) -> None:
    skill = a_skill(tmp_path, "look")
    (Path(skill.path) / "style.md").write_text("Write plainly.")
    (tmp_path / "secret.md").write_text("hidden")
    (Path(skill.path) / "link.md").symlink_to(tmp_path / "secret.md")
    paths = ["style.md", "../../../secret.md", str(tmp_path / "secret.md"), "link.md", "none.md", "a\0b"]

    async def work() -> None:
        with scripted([use("load_skill_file", path=path) for path in paths], DONE) as api:
            async with session_of(order_in(tmp_path, api, skill), api) as opened:
                await opened.skills()
            assert api.results() == ["Write plainly."]
            assert len(api.results(failed=True)) == len(paths) - 1
            assert "- style.md" in api.read()

    asyncio.run(work())


def test_what_the_model_may_choose_from_is_what_the_contract_knows() -> None:
    tools = {tool["name"]: tool["input_schema"]["properties"] for tool in served_tools()}
    assert tools["record_gap"]["gap_type"]["enum"] == list(GAP_TYPES)
    assert sorted(tools["stage_effect"]["kind"]["enum"]) == sorted(EFFECT_KINDS)
    assert sorted(tools["report_execution"]["outcome"]["enum"]) == sorted(OUTCOMES)
