"""Servers to measure: `python -m tests.bench.hq_servers hq FOLDER` and `… echo FOLDER`; each prints what to call.

The echo is the least that a tool can be on the same SDK with the same options: what lies over it is ours.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any

import uvicorn
from mcp.server import MCPServer

from server.app import opened
from server.config import HqHome
from server.contract.digest import instant, new_id
from server.contract.routine import Routine, admitted
from server.serving import bind, serve
from server.storage.definition_store import keep_routine
from server.storage.token_store import make_token


def say(**what: Any) -> None:
    """Tell who started this."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


async def hq(folder: Path) -> None:
    """An HQ with one routine and one token of each scope that is measured."""
    async with opened(HqHome(folder), "bench") as (desk, lock):
        now = instant(desk.clock())
        tokens = {
            scope: (await desk.database.transact(make_token, scope, scope, by="bench", now=now)).text
            for scope in ("admin", "ledger", "session")
        }
        document = admitted(Routine(name="measured", content="Do."))
        await desk.database.transact(
            keep_routine, new_id("trig_"), document, minion_id=None, by="bench", now=now
        )
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        await serve(
            desk, lock, HqHome(folder), port=0, version="bench", who="bench", stop=stop,
            told=lambda url: say(url=url, tokens=tokens),
        )  # fmt: skip


async def echo() -> None:
    """An MCP server with one tool that answers what it is told."""
    server = MCPServer("echo", log_level="WARNING")

    async def echoed(text: str) -> dict[str, Any]:
        return {"text": text}

    server.add_tool(echoed, name="echo")
    bound = bind(0)
    app: Any = server.streamable_http_app(json_response=True)
    say(url=f"http://127.0.0.1:{bound.getsockname()[1]}", tokens={})
    await uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, ws="none")).serve(sockets=[bound])


if __name__ == "__main__":
    asyncio.run(hq(Path(sys.argv[2])) if sys.argv[1] == "hq" else echo())
