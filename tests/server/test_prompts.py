"""Prompts and completion, and how few words all of the MCP door's definitions need."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from mcp.shared.exceptions import MCPError
from mcp_types import PromptReference, ResourceTemplateReference

from server.actions.desk import Desk
from server.tools.mcp_server import ORDER
from server.tools.schemas import shortened
from tests.server.desks import ADMIN, LEDGER, REVIEWER, SESSION, add_routine, client_of, desk_at

# DESIGN §7: all definitions of the widest scope, in tokens.
MOST_TOKENS = 6_000
ERAS = pytest.mark.parametrize("mode", ["auto", "legacy"])


def play(folder: Path, scene: Callable[[Desk], Awaitable[Any]]) -> Any:
    """What a scene at a desk with three routines answers."""

    async def played() -> Any:
        async with desk_at(folder) as desk:
            for name in ("oncall-triage", "oncall-digest", "nightly"):
                await add_routine(desk, name)
            return await scene(desk)

    return asyncio.run(played())


@ERAS
def test_prompts_are_described_and_filled_in_with_what_was_typed(tmp_path: Path, mode: str) -> None:
    async def scene(desk: Desk) -> None:
        async with client_of(desk, SESSION, mode) as asker:
            listed = (await asker.client.list_prompts()).prompts
            assert [each.name for each in listed] == ["schedule", "triage_gaps"]
            assert all(each.description and all(a.description for a in each.arguments) for each in listed)
            wish = "every weekday at 9 sum up the mail"
            said = await asker.client.get_prompt("schedule", {"wish": wish})
            text = said.messages[0].content.text
            assert wish in text
            assert "create_routine" in text
            said = await asker.client.get_prompt("schedule", {"wish": "at 10 instead", "routine": "nightly"})
            assert "update_routine with routine `nightly`" in said.messages[0].content.text
            said = await asker.client.get_prompt("triage_gaps", {"gap": "LLM-X"})
            assert "`LLM-X`" in said.messages[0].content.text
            said = await asker.client.get_prompt("triage_gaps")
            assert "list_gaps" in said.messages[0].content.text

    play(tmp_path, scene)


@ERAS
def test_a_prompt_that_is_not_there_or_lacks_its_argument_is_refused_in_a_sentence(
    tmp_path: Path, mode: str
) -> None:
    async def scene(desk: Desk) -> None:
        async with client_of(desk, REVIEWER, mode) as asker:
            assert [each.name for each in (await asker.client.list_prompts()).prompts] == ["triage_gaps"]
            with pytest.raises(MCPError, match="There is no prompt 'schedule' here"):
                await asker.client.get_prompt("schedule", {"wish": "x"})
        async with client_of(desk, SESSION, mode) as asker:
            with pytest.raises(MCPError, match="needs `wish`"):
                await asker.client.get_prompt("schedule", {})
            with pytest.raises(MCPError, match="The prompt schedule has no argument 'wihs'"):
                await asker.client.get_prompt("schedule", {"wish": "x", "wihs": "y"})

    play(tmp_path, scene)


@ERAS
def test_names_ids_and_codes_are_completed_from_their_beginnings(tmp_path: Path, mode: str) -> None:
    async def scene(desk: Desk) -> None:
        async with client_of(desk, ADMIN, mode) as asker:
            runs = [(await asker.ask("ledger_start_run", routine="nightly"))["run"] for _ in range(3)]
            for code in ("LLM-B", "LLM-A", "TSK-C"):
                await asker.ask("record_gap", gap_type="step", requested_code=code, description="Lacked.")

            async def completed(ref: Any, argument: str, begun: str) -> list[str]:
                said = await asker.client.complete(ref, {"name": argument, "value": begun})
                assert said.completion.has_more is False
                return list(said.completion.values)

            schedule = PromptReference(name="schedule")
            assert await completed(schedule, "routine", "oncall") == ["oncall-digest", "oncall-triage"]
            assert await completed(schedule, "routine", "") == ["nightly", "oncall-digest", "oncall-triage"]
            assert await completed(schedule, "wish", "o") == []
            assert await completed(PromptReference(name="triage_gaps"), "gap", "LLM") == ["LLM-A", "LLM-B"]
            assert await completed(PromptReference(name="none"), "routine", "") == []

            def at(uri: str) -> ResourceTemplateReference:
                return ResourceTemplateReference(uri=uri)

            assert await completed(at("hq://runs/{run}"), "run", "run_") == runs[::-1]
            assert await completed(at("hq://runs/{run}"), "run", runs[0][:-2]) == [runs[0]]
            assert await completed(at("hq://routines/{routine}"), "routine", "ni") == ["nightly"]
            assert "WF-ROUTINE-EXEC" in await completed(at("hq://processes/{code}"), "code", "WF-")
            assert await completed(at("hq://runs/{run}"), "routine", "") == []

    play(tmp_path, scene)


def test_a_completion_says_no_more_than_the_protocol_allows_and_that_there_is_more(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        for number in range(101):
            await add_routine(desk, f"many-{number:03}")
        async with client_of(desk, SESSION) as asker:
            typed = {"name": "routine", "value": "many"}
            said = await asker.client.complete(PromptReference(name="schedule"), typed)
            assert (len(said.completion.values), said.completion.has_more) == (100, True)

    play(tmp_path, scene)


def test_who_may_not_read_routines_is_told_none_of_their_names(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        async with client_of(desk, REVIEWER) as asker:
            template = ResourceTemplateReference(uri="hq://routines/{routine}")
            for ref in (PromptReference(name="schedule"), template):
                said = await asker.client.complete(ref, {"name": "routine", "value": ""})
                assert said.completion.values == []

    play(tmp_path, scene)


def test_all_definitions_of_the_widest_scope_are_read_in_six_thousand_tokens(tmp_path: Path) -> None:
    """A token is counted as four characters of compact JSON: no tokenizer of these models runs here."""

    async def scene(desk: Desk) -> None:
        for who in (ADMIN, SESSION, LEDGER, REVIEWER):
            async with client_of(desk, who) as asker:
                tools = [
                    each.model_dump(by_alias=True, mode="json", exclude_none=True)
                    for each in (await asker.client.list_tools()).tools
                ]
            sizes = {
                each["name"]: len(json.dumps(each, separators=(",", ":"), ensure_ascii=False)) for each in tools
            }
            tokens = sum(sizes.values()) / 4
            worst = sorted(sizes.items(), key=lambda each: -each[1])[:5]
            print(f"{who.scope}: {len(tools)} tools, {tokens:,.0f} tokens; longest {worst}")
            assert tokens <= MOST_TOKENS, worst
            assert all(each["description"] and each["annotations"] and each["outputSchema"] for each in tools)
            assert '"title"' not in json.dumps(tools)

    play(tmp_path, scene)


def test_every_tool_has_its_place_in_the_list_and_the_list_is_always_the_same(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        lists = []
        for _ in range(2):
            async with client_of(desk, ADMIN) as asker:
                lists.append(await asker.tools())
        assert lists[0] == lists[1]
        assert lists[0] == [name for name in ORDER if name in lists[0]]
        assert set(lists[0]) <= set(ORDER)

    play(tmp_path, scene)


def test_a_schema_loses_what_says_nothing_and_keeps_an_argument_called_title() -> None:
    schema = {
        "title": "made up", "type": "object", "properties": {
            "title": {"type": "string", "title": "Title"},
            "why": {
                "anyOf": [{"type": "string", "maxLength": 9}, {"type": "null"}], "default": None, "title": "Why",
            },
            "state": {"anyOf": [{"type": "string"}, {"type": "null"}], "title": "State"},
            "limit": {"type": "integer", "default": 20, "title": "Limit"},
            "any": {"anyOf": [{"type": "string"}, {"type": "integer"}, {"type": "null"}], "default": None},
        },
        "$defs": {"title": {"title": "Title", "properties": {"x": {"title": "X", "type": "string"}}}},
    }  # fmt: skip
    assert shortened(schema) == {
        "type": "object", "properties": {
            "title": {"type": "string"},
            "why": {"type": "string", "maxLength": 9},
            "state": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            "limit": {"type": "integer", "default": 20},
            "any": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
        },
        "$defs": {"title": {"properties": {"x": {"type": "string"}}}},
    }  # fmt: skip
