"""Puts an HQ together for the owner of its home: lock, store, processes, and the MCP server on top of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Concatenate, ParamSpec, TypeVar

from server.actions import record
from server.clock import Clock, utc_now
from server.config import HqHome, Lock, owned
from server.contract.documents import admit, load_document
from server.contract.process import Process, bundled_process
from server.contract.topology import CanonicalBlock, canonical_blocks, canonical_sequence, skill_code
from server.storage.access_store import Caller
from server.storage.database import Connection, Database
from server.storage.definition_store import find_routine
from server.storage.migrations import create, examine
from server.tools.access import caller
from server.tools.gap_tools import offer_gaps
from server.tools.ledger_tools import offer_ledger
from server.tools.mcp_server import HqServer

P = ParamSpec("P")
T = TypeVar("T")
# Of every routine's run, unless its document names another process.
ROUTINE_PROCESS = "WF-ROUTINE-EXEC"


@dataclass(slots=True)
class Hq:
    """An HQ at work. `do` and `read` are how every door reaches actions and queries."""

    home: HqHome
    database: Database
    clock: Clock
    processes: Mapping[str, Process] = field(default_factory=dict)

    async def do(
        self, action: Callable[Concatenate[Connection, Caller, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Have an action done for who asks, at this moment, in a transaction of its own. Raises a `Refusal`."""
        said: dict[str, Any] = {**kwargs, "now": self.clock()}
        return await self.database.transact(action, caller(), *args, **said)  # type: ignore[arg-type]

    async def read(
        self, query: Callable[Concatenate[Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """What a query answers, of one moment. Raises a `Refusal`."""
        return await self.database.read(query, *args, **kwargs)

    def start_ledger_run(
        self, connection: Connection, who: Caller, routine: str, *, trigger: str, external_session: str | None,
        client_key: str | None, now: datetime,
    ) -> dict[str, Any]:  # fmt: skip
        """Open a run that a session performs itself, of a routine as it stands now (an action)."""
        held = find_routine(connection, routine)
        return record.start_run(
            connection, who, held.as_reference(), self.ground(held.document, trigger), trigger=trigger,
            external_session=external_session, client_key=client_key, now=now,
        )  # fmt: skip

    def finish_ledger_run(
        self, connection: Connection, who: Caller, run: str, outcome: str, *, now: datetime, **said: Any
    ) -> dict[str, Any]:
        """End a run that a session performs itself (an action)."""
        return record.finish_run(connection, who, run, outcome, known=(), now=now, **said)

    def ground(self, document: Mapping[str, Any], trigger: str) -> record.Ground:
        """What a run of a routine is held against when this set it off."""
        process = self.processes[ROUTINE_PROCESS]
        code = record.VARIANT_OF[trigger]
        variant = next((each for each in process.variants if each.code == code), None)
        blocks = [
            CanonicalBlock(b.code, b.kind, tuple(s.code for s in _steps(b, variant))) for b in process.blocks
        ]
        pipeline = [skill_code(name) for name in document["pipeline"]]
        names = {block.code: block.name for block in process.blocks}
        limit = float(document["limits"]["wall_clock_s"])
        return record.Ground(process.code, code, canonical_blocks(blocks, pipeline), names, limit)


def _steps(block: Any, variant: Any) -> Any:
    changed = variant is not None and variant.steps is not None and block.kind == "elastic"
    return variant.steps if changed else block.steps


def known_sequences(process: Process) -> list[tuple[str, ...]]:
    """The canonical sequences of a process's variants."""
    found = {
        canonical_sequence(
            [CanonicalBlock(b.code, b.kind, tuple(s.code for s in _steps(b, v))) for b in process.blocks]
        )
        for v in (None, *process.variants)
    }
    return sorted(found)


def offered(hq: Hq, *, version: str, owner: Caller | None = None) -> HqServer:
    """The MCP server of an HQ; `owner` is who asks where nobody sends a token."""
    server = HqServer(version=version, owner=owner)
    offer_ledger(server, hq)
    offer_gaps(server, hq)
    return server


@asynccontextmanager
async def opened(home: HqHome, command: str, *, clock: Clock = utc_now) -> AsyncIterator[tuple[Hq, Lock]]:
    """Own a home and have its HQ at work until the block ends. Raises a `Refusal`."""
    with owned(home, command) as lock:
        if examine(home.store) is None:
            create(home.store)
        database = Database(home.store)
        try:
            source = f"{ROUTINE_PROCESS}.yaml"
            process = admit(Process, load_document(bundled_process(ROUTINE_PROCESS), source=source), source=source)
            yield Hq(home, database, clock, {process.code: process}), lock
        finally:
            database.close()
