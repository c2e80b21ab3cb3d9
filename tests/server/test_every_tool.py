"""Every tool, in process, over HTTP and over stdio, in both revisions of MCP (issue 5, "Show")."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client

from server.tools.mcp_server import ORDER
from tests.server.all_tools import Sitting, prepare
from tests.server.desks import ADMIN, Asker, client_of, desk_at
from tests.server.servers import HQ, environment, served, told

ERAS = pytest.mark.parametrize("mode", ["auto", "legacy"])
REVISIONS = {"auto": "2026-07-28", "legacy": "2025-11-25"}


async def sitting(client: AbstractAsyncContextManager[Any], mode: str) -> None:
    """Use every tool with a client."""
    async with client as connected:
        assert connected.protocol_version == REVISIONS[mode]
        assert await Sitting(Asker(connected)).play() == set(ORDER)


@ERAS
def test_every_tool_works_in_process(tmp_path: Path, mode: str) -> None:
    async def played() -> None:
        await prepare(tmp_path)
        async with desk_at(tmp_path) as desk, client_of(desk, ADMIN, mode) as asker:
            assert await Sitting(asker).play() == set(ORDER) == set(await asker.tools())

    asyncio.run(played())


@pytest.mark.heavy
@ERAS
def test_every_tool_works_over_http(tmp_path: Path, mode: Any) -> None:
    asyncio.run(prepare(tmp_path))
    with served(tmp_path / "hq") as server:
        token = told(server.home, "token", "create", "--scope", "admin", "--name", "test")["token"]

        async def played() -> None:
            async with AsyncExitStack() as stack:
                http = await stack.enter_async_context(
                    httpx2.AsyncClient(headers={"authorization": f"Bearer {token}"}, timeout=30)
                )
                transport = streamable_http_client(f"{server.url}/mcp", http_client=http)
                await sitting(Client(transport, mode=mode), mode)

        asyncio.run(played())


@pytest.mark.heavy
@ERAS
def test_every_tool_works_over_stdio(tmp_path: Path, mode: Any) -> None:
    asyncio.run(prepare(tmp_path))
    arguments = ["--home", str(tmp_path / "hq"), "mcp", "--scope", "admin"]
    program = StdioServerParameters(command=str(HQ), args=arguments, env=environment())
    with (tmp_path / "mcp.err").open("a") as errors:
        asyncio.run(sitting(Client(stdio_client(program, errlog=errors), mode=mode), mode))
