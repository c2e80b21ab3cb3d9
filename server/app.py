"""Puts an HQ together for the owner of its home: lock, store, processes, and its doors."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from server.actions.desk import Desk
from server.actions.ground import ROUTINE_PROCESS
from server.clock import Clock, utc_now
from server.config import HqHome, Lock, owned
from server.contract.documents import admit, load_document
from server.contract.process import Process, bundled_process
from server.storage.access_store import Caller
from server.storage.database import Database
from server.storage.migrations import create, examine
from server.tools.gap_tools import offer_gaps
from server.tools.ledger_tools import offer_ledger
from server.tools.mcp_server import HqServer


@asynccontextmanager
async def opened(home: HqHome, command: str, *, clock: Clock = utc_now) -> AsyncIterator[tuple[Desk, Lock]]:
    """Own a home and have its HQ at work until the block ends. Raises a `Refusal`."""
    with owned(home, command) as lock:
        if examine(home.store) is None:
            create(home.store)
        database = Database(home.store)
        try:
            source = f"{ROUTINE_PROCESS}.yaml"
            document = load_document(bundled_process(ROUTINE_PROCESS), source=source)
            process = admit(Process, document, source=source)
            yield Desk(database, clock, {process.code: process}), lock
        finally:
            database.close()


def offered(desk: Desk, *, version: str, owner: Caller | None = None) -> HqServer:
    """The MCP server of an HQ; `owner` is who asks where nobody sends a token."""
    server = HqServer(version=version, owner=owner)
    offer_ledger(server, desk)
    offer_gaps(server, desk)
    return server
