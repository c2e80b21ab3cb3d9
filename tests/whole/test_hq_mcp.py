"""`hq mcp`: MCP over stdin and stdout by a real client, joining the home's HQ or owning it, in both revisions."""

from __future__ import annotations

import asyncio
import fcntl
import json
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from tests.server.servers import HQ, REVISION, UP_S, environment, hq, served, told
from tests.waiting import wait_until

GAP = {"gap_type": "skill", "requested_code": "LLM-SUM", "description": "It cannot sum up."}
MODES = ["auto", "legacy"]
pytestmark = pytest.mark.heavy


@asynccontextmanager
async def session(home: Path, mode: Any, *scopes: str) -> AsyncIterator[Callable[..., Awaitable[Any]]]:
    """A session over stdio; calls a tool and answers its data, or lists the tools."""
    arguments = ["--home", str(home), "mcp", *(word for scope in scopes for word in ("--scope", scope))]
    program = StdioServerParameters(command=str(HQ), args=arguments, env=environment())
    with home.with_name("mcp.err").open("a") as errors:
        async with Client(stdio_client(program, errlog=errors), mode=mode) as client:

            async def ask(tool: str = "", **said: Any) -> Any:
                if not tool:
                    return {each.name for each in (await client.list_tools()).tools}
                result = await client.call_tool(tool, said)
                assert not result.is_error, result.content
                return result.structured_content

            yield ask


def owner(home: Path) -> str | None:
    """The command that owns a home."""
    found = told(home, "status")["owner"]
    return None if found is None else str(found["command"])


@pytest.mark.parametrize("mode", MODES)
def test_a_session_owns_the_home_where_none_runs_and_lets_go_of_it(tmp_path: Path, mode: str) -> None:
    home = tmp_path / "hq"

    async def played() -> None:
        async with session(home, mode, "ledger") as ask:
            tools = await ask()
            assert {"ledger_start_run", "record_gap"} <= tools
            assert "create_routine" not in tools
            assert (await ask("record_gap", **GAP))["frequency"] == 1
            assert await asyncio.to_thread(owner, home) == "hq mcp"
            made = await asyncio.to_thread(told, home, "token", "create", "--scope", "session", "--name", "x")
            assert made["token"].startswith("hq_session_")

    asyncio.run(played())
    assert owner(home) is None
    assert told(home, "verify")["intact"] is True
    assert not (home / "door").exists()


@pytest.mark.promise("HQ-3")
@pytest.mark.parametrize("mode", MODES)
def test_a_session_joins_the_hq_that_runs_and_goes_on_by_itself_when_that_is_killed(
    tmp_path: Path, mode: str
) -> None:
    home = tmp_path / "hq"

    async def played() -> None:
        with served(home) as server:
            async with session(home, mode, "session", "ledger") as ask:
                await ask("record_gap", **GAP, client_key="one")
                assert await asyncio.to_thread(owner, home) == "hq serve"
                server.kill()
                many = [ask("record_gap", **GAP, client_key=f"more {number}") for number in range(8)]
                assert sorted(each["frequency"] for each in await asyncio.gather(*many)) == list(range(2, 10))
                # The same key: what the killed one had acknowledged is there, and is not done twice.
                assert (await ask("record_gap", **GAP, client_key="one"))["frequency"] == 1
                assert await asyncio.to_thread(owner, home) == "hq mcp"
                refused = await asyncio.to_thread(hq, home, "serve", "--port", "0")
                assert "held by `hq mcp`" in refused.stderr

    asyncio.run(played())
    assert told(home, "verify")["intact"] is True


@pytest.mark.promise("HQ-3")
@pytest.mark.parametrize("mode", MODES)
def test_of_two_sessions_the_second_joins_the_first_and_takes_over_from_it(tmp_path: Path, mode: str) -> None:
    home = tmp_path / "hq"

    async def played() -> None:
        left = asyncio.Event()

        async def first(ready: asyncio.Event) -> None:
            async with session(home, mode) as ask:
                await ask("record_gap", **GAP)
                ready.set()
                await left.wait()

        ready = asyncio.Event()
        one = asyncio.create_task(first(ready))
        await ready.wait()
        async with session(home, mode) as ask:
            assert (await ask("record_gap", **GAP))["frequency"] == 2
            left.set()
            await one
            assert (await ask("record_gap", **GAP, client_key="after"))["frequency"] == 3
            assert "list_gaps" in await ask()

    asyncio.run(played())
    assert told(home, "verify")["intact"] is True


def test_what_was_asked_before_stdin_ends_is_answered_and_stdout_has_the_protocol_alone(tmp_path: Path) -> None:
    meta = {
        "io.modelcontextprotocol/protocolVersion": REVISION, "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
    }  # fmt: skip
    call = {"name": "record_gap", "arguments": {**GAP, "description": "Übersicht\u2028fehlt"}, "_meta": meta}
    lines = ["no message", "[]", "", '{"jsonrpc": "2.0", "id": 7, "method": "no/such", "params": {}}']
    lines += [json.dumps({"jsonrpc": "2.0", "id": "a", "method": "tools/call", "params": call})]
    done = hq(tmp_path / "hq", "mcp", stdin="\n".join(lines))
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each["error"]["code"] for each in answers if each["id"] is None] == [-32700, -32700]
    (seventh,) = [each for each in answers if each["id"] == 7]
    assert "error" in seventh
    (called,) = [each for each in answers if each["id"] == "a"]
    assert called["result"]["structuredContent"]["frequency"] == 1
    assert len(answers) == 4


def test_a_home_held_by_somebody_who_does_not_serve_is_refused_by_name(tmp_path: Path) -> None:
    home = tmp_path / "hq"
    home.mkdir()
    with (home / "lock").open("w") as lock:
        lock.write(json.dumps({"pid": 4711, "command": "hq restore", "url": None}))
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = hq(home, "mcp")
    assert (done.returncode, done.stdout) == (3, "")
    assert "held by `hq restore` (process 4711)" in done.stderr


def test_a_signal_ends_a_session_that_owns_the_home_in_good_order(tmp_path: Path) -> None:
    home = tmp_path / "hq"
    process = subprocess.Popen(
        [str(HQ), "--home", str(home), "mcp"], env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert wait_until(lambda: (home / "door").exists(), UP_S)
    process.terminate()
    out, _ = process.communicate(timeout=UP_S)
    assert (process.returncode, out) == (0, b"")
    assert not (home / "door").exists()
