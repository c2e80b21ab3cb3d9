"""Resources: what can be read by address, who may, and that whoever watches one is told after a commit."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.client.subscriptions import ResourceUpdated
from mcp.shared.exceptions import MCPDeprecationWarning, MCPError
from mcp_types import ResourceUpdatedNotification

from server.actions import entrust
from server.actions.desk import Desk
from server.app import offered
from server.storage.access_store import Caller
from server.storage.committed import Happened
from server.storage.database import Connection
from server.storage.event_store import append_event
from server.tools.changes import MOST_WATCHED, Changes, touched
from tests.server.desks import (
    ADMIN,
    LEDGER,
    REVIEWER,
    SESSION,
    Asker,
    Clock,
    add_routine,
    client_of,
    desk_at,
)  # fmt: skip
from tests.server.gates import answering, make_token

FIRE = Caller("tok_fire", "fire", "fire", "trig_01")
LIST, TEMPLATES = ["hq://runs", "hq://gaps"], [
    "hq://runs/{run}", "hq://routines/{routine}", "hq://processes/{code}",
]  # fmt: skip
ERAS = pytest.mark.parametrize("mode", ["auto", "legacy"])


def play(folder: Path, scene: Callable[[Desk], Awaitable[Any]], clock: Clock | None = None) -> Any:
    """What a scene at a desk with the routine `oncall-triage` answers."""

    async def played() -> Any:
        async with desk_at(folder, clock) as desk:
            await add_routine(desk, "oncall-triage")
            return await scene(desk)

    return asyncio.run(played())


async def read(asker: Asker, uri: str) -> Any:
    """What lies at an address."""
    (content,) = (await asker.client.read_resource(uri)).contents
    assert content.mime_type == "application/json"
    return json.loads(content.text)


@asynccontextmanager
async def watching(desk: Desk, who: Caller, mode: str, *uris: str) -> AsyncIterator[asyncio.Queue[str]]:
    """A client that watches these addresses in the way of its era, and the queue of what it is told."""
    told: asyncio.Queue[str] = asyncio.Queue()

    async def hear(message: Any) -> None:
        if isinstance(message, ResourceUpdatedNotification):
            told.put_nowait(message.params.uri)

    server = offered(desk, version="test", owner=who)
    if mode == "legacy":
        async with Client(server, mode="legacy", message_handler=hear) as client:
            for uri in uris:
                with pytest.warns(MCPDeprecationWarning):
                    await client.subscribe_resource(uri)
            yield told
        return
    async with Client(server) as client, client.listen(resource_subscriptions=uris) as stream:

        async def pass_on() -> None:
            async for event in stream:
                if isinstance(event, ResourceUpdated):
                    told.put_nowait(event.uri)

        task = asyncio.create_task(pass_on())
        yield told
        task.cancel()


async def next_of(told: asyncio.Queue[str]) -> str:
    """What is told next, in bounded time."""
    return await asyncio.wait_for(told.get(), 10)


@ERAS
def test_runs_routines_processes_and_gaps_are_read_by_address(tmp_path: Path, mode: str) -> None:
    async def scene(desk: Desk) -> None:
        async with client_of(desk, ADMIN, mode) as asker:
            run = (await asker.ask("ledger_start_run", routine="oncall-triage"))["run"]
            lacked = {"gap_type": "skill", "requested_code": "sum-up", "description": "Lacked."}
            await asker.ask("record_gap", run=run, **lacked)
            listed = [str(each.uri) for each in (await asker.client.list_resources()).resources]
            templates = (await asker.client.list_resource_templates()).resource_templates
            assert (listed, [each.uri_template for each in templates]) == (LIST, TEMPLATES)
            assert all(each.description for each in templates)
            assert [each["id"] for each in (await read(asker, "hq://runs"))["runs"]] == [run]
            shown = await read(asker, f"hq://runs/{run}")
            assert (shown["state"], shown["blocks"][0]["state"]) == ("validated", "completed")
            assert shown == await asker.ask("get_run", run=run)
            assert (await read(asker, f"hq://runs/{run[:10]}"))["id"] == run
            assert (await read(asker, "hq://routines/oncall-triage"))["document"]["content"] == "Triage the alert."
            assert len((await read(asker, "hq://processes/WF-ROUTINE-EXEC"))["blocks"]) == 4
            assert [each["requested_code"] for each in (await read(asker, "hq://gaps"))["gaps"]] == ["sum-up"]

    play(tmp_path, scene)


@ERAS
def test_what_is_not_there_is_refused_with_a_sentence_and_a_hint(tmp_path: Path, mode: str) -> None:
    async def scene(desk: Desk) -> None:
        async with client_of(desk, ADMIN, mode) as asker:
            for uri, sentence, code in (
                ("hq://runs/run_01AAAA", "There is no run run_01AAAA. Hint: list_runs shows", "no_such_run"),
                ("hq://routines/none", "There is no routine none. Hint: list_routines", "no_such_routine"),
                ("hq://processes/WF-NONE", "There is no process 'WF-NONE' here. Hint: use one", "unknown_process"),
                ("hq://secrets", "Unknown resource", None),
            ):
                with pytest.raises(MCPError, match=sentence) as caught:
                    await asker.client.read_resource(uri)
                assert (caught.value.error.code, caught.value.error.data.get("code")) == (-32602, code)
            with pytest.raises(MCPError) as caught:
                await asker.client.read_resource("hq://processes/WF-NONE")
            assert caught.value.error.data["code"] == "unknown_process"

    play(tmp_path, scene)


@pytest.mark.promise("MCP-1")
@ERAS
def test_a_scope_reads_and_watches_what_is_its_own(tmp_path: Path, mode: str) -> None:
    async def scene(desk: Desk) -> None:
        for who, uris, templates in (
            (SESSION, LIST, TEMPLATES), (LEDGER, LIST, TEMPLATES), (REVIEWER, LIST, TEMPLATES[:1]), (FIRE, [], []),
        ):  # fmt: skip
            async with client_of(desk, who, mode) as asker:
                assert [str(each.uri) for each in (await asker.client.list_resources()).resources] == uris
                listed = (await asker.client.list_resource_templates()).resource_templates
                assert [each.uri_template for each in listed] == templates
                if "hq://routines/{routine}" not in templates:
                    with pytest.raises(MCPError, match="There is nothing here"):
                        await asker.client.read_resource("hq://routines/oncall-triage")
        if mode == "legacy":
            async with Client(offered(desk, version="test", owner=FIRE), mode="legacy") as client:
                with pytest.warns(MCPDeprecationWarning), pytest.raises(MCPError, match="nothing to watch"):
                    await client.subscribe_resource("hq://runs")
        else:
            server = offered(desk, version="test", owner=REVIEWER)
            both = ["hq://routines/oncall-triage", "hq://runs", "hq://other"]
            async with Client(server) as client, client.listen(resource_subscriptions=both) as stream:
                assert stream.honored.resource_subscriptions == ["hq://runs"]

    play(tmp_path, scene)


@pytest.mark.promise("MCP-2")
@ERAS
def test_whoever_watches_a_run_is_told_when_it_changes_and_of_no_other(tmp_path: Path, mode: str) -> None:
    async def scene(desk: Desk) -> None:
        async with client_of(desk, LEDGER) as asker:
            mine, other = [
                (await asker.ask("ledger_start_run", routine="oncall-triage"))["run"] for _ in range(2)
            ]
            async with watching(desk, SESSION, mode, f"hq://runs/{mine}", "hq://gaps") as told:
                await asker.ask("ledger_start_block", run=other, block="040.001.02")
                await asker.ask("ledger_start_block", run=mine, block="040.001.02")
                assert await next_of(told) == f"hq://runs/{mine}"
                steps = [{"code": "SCR-CLONE-REPO"}]
                await asker.ask("ledger_log_step", run=mine, block="040.001.02", steps=steps)
                assert await next_of(told) == f"hq://runs/{mine}"
                await asker.ask("record_gap", gap_type="skill", requested_code="a", description="Lacked.")
                assert await next_of(told) == "hq://gaps"
                assert told.empty()

    play(tmp_path, scene)


@pytest.mark.promise("MCP-2")
@ERAS
def test_the_list_of_runs_changes_with_a_runs_state_and_not_with_each_step(tmp_path: Path, mode: str) -> None:
    async def scene(desk: Desk) -> None:
        async with client_of(desk, LEDGER) as asker, watching(desk, SESSION, mode, "hq://runs") as told:
            run = (await asker.ask("ledger_start_run", routine="oncall-triage"))["run"]
            assert await next_of(told) == "hq://runs"
            await asker.ask("ledger_start_block", run=run, block="040.001.02")
            assert await next_of(told) == "hq://runs"  # validated → running
            await asker.ask("ledger_log_step", run=run, block="040.001.02", steps=[{"code": "SCR-CLONE-REPO"}])
            await asker.ask("ledger_finish_block", run=run, block="040.001.02")
            await asker.ask("ledger_finish_run", run=run, outcome="failure")
            assert await next_of(told) == "hq://runs"
            assert told.empty()

    play(tmp_path, scene)


@pytest.mark.promise("MCP-2")
def test_what_changes_all_the_time_is_told_at_once_and_again_when_it_rests_and_not_each_time() -> None:
    async def scene() -> list[str]:
        changes, told, rested = Changes(), [], asyncio.Event()

        def hear(event: Any) -> None:
            told.append(event.uri)
            if told.count("hq://runs/run_1") == 2:
                rested.set()

        changes.subscribe(hear)
        for _ in range(5000):
            changes.tell([Happened("steps.logged", "tok_1", "t", "run_1", {})])
        assert told == ["hq://runs/run_1"]
        await asyncio.wait_for(rested.wait(), 10)
        return told

    assert asyncio.run(scene()) == ["hq://runs/run_1"] * 2


def test_nobody_is_told_of_what_was_not_kept(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        heard: list[Happened] = []
        end = desk.listen(heard.extend)

        def fails(connection: Connection) -> None:
            append_event(connection, "gap.recorded", {}, actor="t", now="t")
            raise ValueError("not after all")

        def works(connection: Connection, type_: str) -> None:
            append_event(connection, type_, {"n": 1}, actor="t", now="t")

        transact = desk.database.transact
        await asyncio.gather(transact(fails), transact(works, "gap.a"), transact(fails), return_exceptions=True)
        assert [each.type for each in heard] == ["gap.a"]  # told before who asked for it had its answer
        end()
        await desk.database.transact(works, "gap.b")
        assert len(heard) == 1

    play(tmp_path, scene)


def test_a_watch_of_the_older_revision_ends_with_its_connection(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        server = offered(desk, version="test", owner=SESSION)
        async with Client(server, mode="legacy") as client:
            for number in range(MOST_WATCHED):
                with pytest.warns(MCPDeprecationWarning):
                    await client.subscribe_resource(f"hq://runs/run_{number}")
            with pytest.warns(MCPDeprecationWarning), pytest.raises(MCPError, match="at most"):
                await client.subscribe_resource("hq://runs")
            with pytest.warns(MCPDeprecationWarning):
                await client.unsubscribe_resource("hq://runs/run_1")
            with pytest.warns(MCPDeprecationWarning):
                await client.subscribe_resource("hq://runs")
            assert len(server.changes) == 1
        assert len(server.changes) == 0
        assert len(asyncio.all_tasks()) == 1

    play(tmp_path, scene)


def test_a_run_that_is_over_is_seen_to_be_so_by_whoever_looks(tmp_path: Path) -> None:
    clock = Clock()

    async def scene(desk: Desk) -> None:
        async with client_of(desk, ADMIN) as asker:
            run = (await asker.ask("ledger_start_run", routine="oncall-triage"))["run"]
            clock.pass_(days=1)
            assert (await read(asker, "hq://runs"))["runs"][0]["state"] == "interrupted"
            assert (await read(asker, f"hq://runs/{run}"))["verdict"] == "unknown"
            run = (await asker.ask("ledger_start_run", routine="oncall-triage"))["run"]
            clock.pass_(days=1)
            assert (await asker.ask("get_run", run=run))["state"] == "interrupted"

    play(tmp_path, scene, clock)


def test_a_change_of_a_routine_is_one_at_its_name_and_at_its_id() -> None:
    said = {"routine": "trig_01", "name": "nightly"}
    happened = Happened("routine.changed", "tok_1", "t", None, said)
    assert list(touched(happened)) == ["hq://routines/nightly", "hq://routines/trig_01"]


@pytest.mark.heavy
@pytest.mark.promise("MCP-2")
@ERAS
def test_over_http_too_whoever_watches_is_told_until_its_token_is_revoked(tmp_path: Path, mode: str) -> None:
    async def scene(desk: Desk) -> None:
        token = await make_token(desk, "session")
        told: asyncio.Queue[str] = asyncio.Queue()

        async def hear(message: Any) -> None:
            if isinstance(message, ResourceUpdatedNotification):
                told.put_nowait(message.params.uri)

        headers = {"authorization": f"Bearer {token['token']}"}
        async with (
            client_of(desk, LEDGER) as asker, answering(desk) as port,
            httpx2.AsyncClient(headers=headers, timeout=httpx2.Timeout(30, read=None)) as http,
        ):  # fmt: skip
            url = f"http://127.0.0.1:{port}/mcp"
            transport = streamable_http_client(url, http_client=http)
            async with Client(transport, mode=mode, message_handler=hear) as client, AsyncExitStack() as stack:
                if mode == "legacy":
                    with pytest.warns(MCPDeprecationWarning):
                        await client.subscribe_resource("hq://runs")
                else:
                    await stack.enter_async_context(client.listen(resource_subscriptions=["hq://runs"]))
                first = None
                while first is None:  # the stream of the older revision opens behind the handshake
                    await asker.ask("ledger_start_run", routine="oncall-triage")
                    with suppress(TimeoutError):
                        first = await asyncio.wait_for(told.get(), 0.5)
                assert first == "hq://runs"
                await desk.database.transact(entrust.revoke_token, ADMIN, token["id"], now=desk.clock())
                with pytest.raises(Exception, match="error response"):
                    await client.list_tools()

    play(tmp_path, scene)
