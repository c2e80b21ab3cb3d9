"""Servers to measure: `python -m tests.bench.hq_servers KIND FOLDER`; each prints what to call.

`echo` is the least that a tool can be on the same SDK with the same options: what lies over it is ours. `hq` is HQ
as `hq serve` has it, its log of requests too; `door` is the echo behind HQ's own server, gate and tokens.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import uvicorn
import uvloop
from mcp.server import MCPServer

from server.actions import record
from server.app import opened
from server.config import HqHome
from server.contract.digest import instant, new_id
from server.contract.process import Process
from server.contract.routine import Routine, admitted
from server.log import to_stderr
from server.serving import bind, serve
from server.storage.access_store import Caller
from server.storage.database import Connection
from server.storage.definition_store import keep_routine
from server.storage.token_store import make_token
from server.tools.access import SESSION
from server.tools.mcp_server import READS, HqServer
from server.web.connections import BoundedHttp
from server.web.gate import Hosts
from server.web.rates import Rates
from server.web.routes import web_app

RUNS_AT_ONCE = 100
UNLIMITED = Rates(a_minute=10**9, burst=10**9)


def say(**what: Any) -> None:
    """Tell who started this."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


async def hq(folder: Path, *, runs: int = 0) -> None:
    """An HQ with one routine and one token of each scope that is measured, and so many runs of 100 steps."""
    to_stderr("info")
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
        for first in range(0, runs, RUNS_AT_ONCE):
            many = min(RUNS_AT_ONCE, runs - first)
            await desk.database.transact(filled, desk.processes, many, now=desk.clock())
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        await serve(
            desk, lock, HqHome(folder), port=0, version="bench", who="bench", stop=stop,
            told=lambda url: say(url=url, tokens=tokens), rates=UNLIMITED,
        )  # fmt: skip


def filled(connection: Connection, processes: Mapping[str, Process], runs: int, *, now: datetime) -> None:
    """Write so many runs of 100 steps, as a session would log them."""
    who = Caller("bench", "bench", "admin")
    steps = [{"code": f"read file {n}", "kind": "tool_call", "state": "completed"} for n in range(98)]
    clone = [{"code": "SCR-CLONE-REPO", "kind": "step", "state": "completed"}]
    for _ in range(runs):
        begun = record.start_run(
            connection, who, processes, "measured", trigger="manual", external_session=None, client_key=None,
            now=now,
        )  # fmt: skip
        for block, said in (("040.001.02", clone), ("040.001.03", steps)):
            about = (connection, who, begun["run"], block)
            record.start_block(*about, client_key=None, now=now)
            record.log_steps(*about, said, client_key=None, now=now)
            record.finish_block(*about, "completed", client_key=None, now=now)


async def door(folder: Path) -> None:
    """The echo's tool, behind what every call of HQ's goes through."""
    to_stderr("info")
    async with opened(HqHome(folder), "bench") as (desk, _):
        now = instant(desk.clock())
        token = (await desk.database.transact(make_token, "session", "session", by="bench", now=now)).text
        server = HqServer(version="bench")

        @server.offer(SESSION, READS, "Echo.")
        async def echo(text: str) -> dict[str, Any]:
            return {"text": text}

        with contextlib.closing(bind(0)) as bound:
            number = bound.getsockname()[1]
            app = web_app(desk, server, Hosts.of(number, None), rates=UNLIMITED)
            say(url=f"http://127.0.0.1:{number}", tokens={"session": token})
            await uvicorn.Server(uvicorn.Config(
                app, log_config=None, access_log=False, ws="none", http=BoundedHttp,
            )).serve(sockets=[bound])  # fmt: skip


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
    kinds = {
        "hq": lambda: hq(Path(sys.argv[2])), "small": lambda: hq(Path(sys.argv[2]), runs=100),
        "full": lambda: hq(Path(sys.argv[2]), runs=10_000),
        "door": lambda: door(Path(sys.argv[2])), "echo": echo,
    }  # fmt: skip
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(kinds[sys.argv[1]]())
