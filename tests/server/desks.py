"""HQs for tests: a home with a desk at work, routines in it, and clients of either protocol era."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from mcp.client import Client

from server.actions.desk import Desk
from server.app import offered, opened
from server.config import HqHome
from server.contract.digest import instant, new_id
from server.contract.routine import Routine, admitted
from server.storage.access_store import Caller
from server.storage.database import Connection
from server.storage.definition_store import HeldRoutine, keep_routine
from server.storage.event_store import append_event
from server.storage.migrations import create
from server.storage.tables import METADATA

BEGIN = datetime(2026, 4, 1, 9, tzinfo=UTC)
ADMIN = Caller("tok_admin", "admin", "admin")
LEDGER = Caller("tok_ledger", "ledger", "ledger")
SESSION = Caller("tok_session", "session", "session")
REVIEWER = Caller("tok_reviewer", "reviewer", "reviewer")
TABLES = METADATA.sorted_tables


class Clock:
    """The wall clock of a test."""

    def __init__(self) -> None:
        self.now = BEGIN

    def __call__(self) -> datetime:
        """The moment that the test has come to."""
        return self.now

    def pass_(self, **more: float) -> None:
        """So much later."""
        self.now += timedelta(**more)


@cache
def new_store() -> bytes:
    """A store as it is made: each test has a copy, which is there sooner than one of its own."""
    with tempfile.TemporaryDirectory() as folder:
        create(Path(folder) / "hq.db")
        return (Path(folder) / "hq.db").read_bytes()


@asynccontextmanager
async def desk_at(folder: Path, clock: Clock | None = None) -> AsyncIterator[Desk]:
    """An HQ at work in a folder."""
    home = HqHome(folder / "hq")
    if not home.store.exists():
        home.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        home.store.touch(0o600)
        home.store.write_bytes(new_store())
    async with opened(home, "a test", clock=clock or Clock()) as (desk, _):
        yield desk


async def add_routine(desk: Desk, name: str, **said: Any) -> HeldRoutine:
    """A routine that HQ has been told of: a prompt, unless it is said to be something else."""
    plain: Mapping[str, Any] = {"content": "Triage the alert."} | said
    document = admitted(Routine(name=name, **plain))
    at = instant(desk.clock())

    def keep(connection: Connection) -> HeldRoutine:
        held = keep_routine(connection, new_id("trig_"), document, minion_id=None, by="test", now=at)
        told = {"routine": held.id, "name": held.name, "minion": None, "digest": held.digest}
        append_event(connection, "routine.created", told, actor="test", now=at)
        return held

    return await desk.database.transact(keep)


async def everything(desk: Desk) -> dict[str, list[Any]]:
    """All that the store holds, by table: the same before and after says that nothing was written."""
    return await desk.read(lambda db: {table.name: list(db.execute(table.select())) for table in TABLES})


@asynccontextmanager
async def client_of(desk: Desk, who: Caller | None = ADMIN, mode: Any = "auto") -> AsyncIterator[Asker]:
    """A client of an HQ in this process."""
    async with Client(offered(desk, version="test", owner=who), mode=mode) as client:
        yield Asker(client)


class Asker:
    """Calls tools, and answers with their data."""

    def __init__(self, client: Any) -> None:
        self.client = client

    async def ask(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """What a tool answers; a refusal fails the test."""
        result = await self.client.call_tool(tool, arguments)
        assert not result.is_error, result.content[0].text
        answer: dict[str, Any] = result.structured_content
        return answer

    async def refused(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """How a tool refuses: code, sentence and hint, as data and as text."""
        result = await self.client.call_tool(tool, arguments)
        assert result.is_error, result.structured_content
        said: dict[str, Any] = result.structured_content
        assert result.content[0].text == f"{said['sentence']} Hint: {said['hint']}"
        return said

    async def tools(self) -> list[str]:
        """The names of the tools that are there."""
        return [tool.name for tool in (await self.client.list_tools()).tools]


def play_as(
    folder: Path, scene: Callable[[Asker], Awaitable[Any]], who: Caller = SESSION, mode: str = "auto"
) -> Any:
    """What a scene with a client of somebody's answers."""

    async def played() -> Any:
        async with desk_at(folder) as desk, client_of(desk, who, mode) as asker:
            return await scene(asker)

    return asyncio.run(played())
