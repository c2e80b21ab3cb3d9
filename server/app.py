"""Puts an HQ together for the owner of its home: lock, store, processes, and its doors."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from server.actions.desk import Desk
from server.catalogue.reading import read_catalogue
from server.clock import Clock, utc_now
from server.config import HqHome, Lock, owned
from server.storage.access_store import Caller
from server.storage.database import Database
from server.storage.migrations import create, examine, migrate
from server.tools.decision_tools import offer_decisions
from server.tools.gap_tools import offer_gaps
from server.tools.ledger_tools import offer_ledger
from server.tools.mcp_server import HqServer
from server.tools.process_tools import offer_processes
from server.tools.prompts import offer_prompts
from server.tools.resources import offer_resources
from server.tools.routine_tools import offer_routines
from server.tools.skill_tools import offer_skills

log = logging.getLogger(__name__)


@asynccontextmanager
async def opened(home: HqHome, command: str, *, clock: Clock = utc_now) -> AsyncIterator[tuple[Desk, Lock]]:
    """Own a home and have its HQ at work until the block ends. Raises a `Refusal`.

    A file of the home's processes that says something wrong is left out, and logged; `hq pcf tree` shows it too.
    """
    with owned(home, command) as lock:
        if examine(home.store) is None:
            create(home.store)
        migrate(home.store, home.backups, now=clock())
        database = Database(home.store)
        try:
            known = read_catalogue(home.catalogue)
            for left in known.left_out:
                log.warning("left out of the classification: %s", left.refusal)
            yield Desk(database, clock, known.processes, known), lock
        finally:
            database.close()


def offered(desk: Desk, *, version: str, owner: Caller | None = None, links: str | None = None) -> HqServer:
    """The MCP server of an HQ; `owner` is who asks where nobody sends a token.

    `links` is what addresses of HQ's pages begin with; None where it answers at no address.
    """
    server = HqServer(version=version, owner=owner)
    offer_ledger(server, desk)
    offer_gaps(server, desk)
    offer_routines(server, desk)
    offer_processes(server, desk)
    offer_skills(server, desk)
    offer_decisions(server, desk, links=links)
    offer_resources(server, desk)
    offer_prompts(server, desk)
    return server
