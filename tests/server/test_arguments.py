"""A tool's arguments: they arrive as they were sent, and one that the tool does not have is refused by name."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

import pytest
from mcp.client import Client
from pydantic import Field

from server.actions.desk import Desk
from server.app import offered
from server.tools.access import SESSION as SESSIONS
from server.tools.mcp_server import READS
from tests.server.desks import ADMIN, LEDGER, Asker, add_routine, client_of, desk_at, everything

ERAS = pytest.mark.parametrize("mode", ["auto", "legacy"])
# Texts that JSON would read as something else.
LIKE_JSON = ("123", "true", "null", '{"a":1}', '"quoted"', "[1]", "1e400", "NaN", " null ", "[" * 2000)
GAP = {"gap_type": "skill", "requested_code": "LLM-SUM", "description": "It cannot sum up."}


def play(folder: Path, scene: Callable[[Desk, Asker], Awaitable[Any]], mode: str = "auto") -> Any:
    """What a scene at a desk with a routine answers, with an admin's client."""

    async def played() -> Any:
        async with desk_at(folder) as desk:
            await add_routine(desk, "triage")
            async with client_of(desk, ADMIN, mode) as asker:
                return await scene(desk, asker)

    return asyncio.run(played())


@ERAS
@pytest.mark.parametrize(
    ("tool", "arguments", "sentence", "hint"),
    [
        ("record_gap", {**GAP, "descripton": "Again."}, "The tool record_gap has no argument 'descripton'.",
         "did you mean `description`?"),
        ("create_routine", {"name": "a", "content": "b", "schedule": "0 9 * * 1-5"},
         "The tool create_routine has no argument 'schedule'.", "did you mean `cron_expression`?"),
        ("delete_routine", {"routine": "triage", "xyzzy\x1b[2J": True},
         r"The tool delete_routine has no argument 'xyzzy\x1b[2J'.", "give routine, client_key"),
        ("list_minions", {"limit": 5}, "The tool list_minions has no argument 'limit'.", "give it none"),
    ],
    ids=["a slip", "a word of elsewhere", "nothing near", "none at all"],
)  # fmt: skip
def test_an_argument_that_a_tool_has_not_is_refused_with_the_nearest_and_nothing_is_done(
    tmp_path: Path, mode: str, tool: str, arguments: dict[str, Any], sentence: str, hint: str
) -> None:
    async def scene(desk: Desk, asker: Asker) -> None:
        before = await everything(desk)
        said = await asker.refused(tool, **arguments)
        assert said == {"code": "unknown_argument", "sentence": sentence, "hint": hint}
        assert await everything(desk) == before

    play(tmp_path, scene, mode)


def test_who_may_not_call_a_tool_hears_nothing_of_its_arguments(tmp_path: Path) -> None:
    async def scene(desk: Desk, _: Asker) -> str:
        async with client_of(desk, LEDGER) as ledger:
            result = await ledger.client.call_tool("create_routine", {"nmae": "x"})
            return str(result.content[0].text)

    assert play(tmp_path, scene).startswith("There is no tool 'create_routine' here.")


@ERAS
def test_a_text_that_looks_like_json_arrives_to_the_letter(tmp_path: Path, mode: str) -> None:
    async def scene(desk: Desk, _: Asker) -> None:
        server = offered(desk, version="test", owner=ADMIN)

        @server.offer(SESSIONS, READS, "Answer with what was said.")
        async def echo(
            plain: str = "", short: Annotated[str, Field(max_length=5000)] | None = None,
            key: Annotated[str | None, Field(max_length=5000)] = None, either: list[str] | str | None = None,
        ) -> dict[str, Any]:  # fmt: skip
            return {"plain": plain, "short": short, "key": key, "either": either}

        async with Client(server, mode=mode) as client:
            for text in LIKE_JSON:
                sent = dict.fromkeys(("plain", "short", "key"), text) | {"either": "T:36a61784"}
                answer = await client.call_tool("echo", sent)
                assert (answer.is_error, answer.structured_content) == (False, sent), text
            # Where a list may stand a list that a client wrote as text is one; all else is a text.
            for text, read in (('["A","B"]', ["A", "B"]), ('{"a":1}', '{"a":1}'), ("null", "null")):
                answer = await client.call_tool("echo", {"either": text})
                assert answer.structured_content["either"] == read

    play(tmp_path, scene, mode)


def test_no_tool_makes_something_else_of_a_text_that_it_takes(tmp_path: Path) -> None:
    async def scene(desk: Desk, _: Asker) -> list[str]:
        found = []
        for tool in offered(desk, version="test", owner=ADMIN)._tool_manager.list_tools():
            for name, schema in tool.parameters["properties"].items():
                kinds = {each.get("type") for each in schema.get("anyOf", (schema,))}
                if "string" in kinds:
                    found.append(f"{tool.name}.{name}")
                    for text in (each for each in LIKE_JSON if "array" not in kinds or each != "[1]"):
                        assert tool.fn_metadata.pre_parse_json({name: text}) == {name: text}, found[-1]
        return found

    found = play(tmp_path, scene)
    assert {"record_gap.agent_id", "ledger_finish_run.summary", "cancel_run.client_key"} <= set(found)
    assert len(found) > 40


@ERAS
def test_what_runs_and_gaps_keep_is_what_was_said(tmp_path: Path, mode: str) -> None:
    async def scene(_: Desk, asker: Asker) -> None:
        for text in LIKE_JSON[:5]:
            one = await asker.ask("record_gap", **GAP, agent_id=text, client_key=text)
            assert await asker.ask("record_gap", **GAP, agent_id=text, client_key=text) == one
            assert (await asker.ask("list_gaps"))["gaps"][0]["evidence"][0]["agent"] == text
            run = (await asker.ask("ledger_start_run", routine="triage", external_session=text))["run"]
            block = {"run": run, "block": "040.001.02"}
            await asker.ask("ledger_start_block", **block)
            said = {"code": text, "kind": "tool_call", "why": text, "agent": text}
            await asker.ask("ledger_log_step", **block, steps=[said])
            await asker.ask("ledger_finish_block", **block, state="failed", why=text)
            await asker.ask(
                "ledger_finish_run", run=run, outcome="failure", summary=text, details=text,
                claimed_topology="T:36a61784",
            )  # fmt: skip
            kept = await asker.ask("get_run", run=run)
            names = ("external_session", "summary", "details")
            assert [kept[name] for name in names] == [text] * 3
            (logged,) = kept["blocks"][1]["steps"]
            assert [kept["blocks"][1]["why"], logged["code"], logged["why"], logged["agent"]] == [text] * 4
        # A choice that is no word of the list is refused, and not taken for one that was left out.
        assert (await asker.refused("list_runs", state="null"))["code"] == "unknown_choice"

    play(tmp_path, scene, mode)


@ERAS
def test_a_list_that_a_client_wrote_as_text_is_read_where_only_a_list_fits(tmp_path: Path, mode: str) -> None:
    async def scene(_: Desk, asker: Asker) -> None:
        await asker.ask("record_gap", **GAP, context_samples='[{"trigger":"api"}]')
        evidence = (await asker.ask("list_gaps"))["gaps"][0]["evidence"][0]
        assert evidence["context_samples"] == [{"trigger": "api"}]

    play(tmp_path, scene, mode)
