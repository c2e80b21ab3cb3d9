"""HQs for tests: a home with a desk at work, routines in it, and clients of either protocol era."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from mcp.client import Client

from server.actions.desk import Desk
from server.app import offered, opened
from server.config import HqHome
from server.contract.digest import instant, new_id
from server.contract.routine import Routine, admitted
from server.storage.access_store import Caller
from server.storage.definition_store import HeldRoutine, keep_routine

BEGIN = datetime(2026, 4, 1, 9, tzinfo=UTC)
ADMIN = Caller("tok_admin", "admin", "admin")
LEDGER = Caller("tok_ledger", "ledger", "ledger")
SESSION = Caller("tok_session", "session", "session")
REVIEWER = Caller("tok_reviewer", "reviewer", "reviewer")


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


@asynccontextmanager
async def desk_at(folder: Path, clock: Clock | None = None) -> AsyncIterator[Desk]:
    """An HQ at work in a folder."""
    async with opened(HqHome(folder / "hq"), "a test", clock=clock or Clock()) as (desk, _):
        yield desk


async def add_routine(desk: Desk, name: str, **said: Any) -> HeldRoutine:
    """A routine that HQ has been told of: a prompt, unless it is said to be something else."""
    plain: Mapping[str, Any] = {"content": "Triage the alert."} | said
    document = admitted(Routine(name=name, **plain))
    return await desk.database.transact(
        keep_routine, new_id("trig_"), document, minion_id=None, by="test", now=instant(desk.clock())
    )


@asynccontextmanager
async def client_of(desk: Desk, who: Caller = ADMIN, mode: Any = "auto") -> AsyncIterator[Asker]:
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
