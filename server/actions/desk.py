"""How every door reaches actions and queries: one desk, which knows who asks, the time, and where the store is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from server.actions.questions import Questions
from server.actions.sweep import AT_ONCE, anything_over, sweep
from server.clock import Clock
from server.contract.process import Process
from server.contract.refusals import Refused
from server.domain.classification import Classification
from server.storage.access_store import Caller
from server.storage.committed import Listener
from server.storage.database import Connection, Database

T = TypeVar("T")
_OVER: Final = frozenset({"run_over", "decision_expired"})
# Where the web door leaves who asks, in the scope of a request.
CALLER: Final = "hq.caller"
# Whoever is on whose behalf the present call is made; set by the door, for each call.
asking: ContextVar[Caller | None] = ContextVar("asking", default=None)


def caller() -> Caller:
    """Who asks. Raises `Refused` where nobody is known: a door that forgot to look lets nobody in."""
    found = asking.get()
    if found is None:
        raise Refused("nobody_asks", "Nobody is known to ask.", hint="send a token: hq token create")
    return found


@dataclass(frozen=True, slots=True)
class Desk:
    """An HQ at work. `processes` are those it knows, by code; `classification` has them in their places.

    `questions` are what it asks minions just now.
    """

    database: Database
    clock: Clock
    processes: Mapping[str, Process]
    classification: Classification
    questions: Questions = field(default_factory=Questions)

    async def do(self, action: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
        """Have `action(connection, who asks, …, now=…)` done in a transaction of its own. Raises a `Refusal`."""
        try:
            return await self.database.transact(action, caller(), *args, **kwargs, now=self.clock())
        except Refused as refusal:
            # Who comes too late is told so; that it is over is written down with it, and not at the next sweep.
            if refusal.code in _OVER:
                await self.sweep()
            raise

    async def read(self, query: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
        """What `query(connection, …)` answers, all of it of one moment. Raises a `Refusal`."""
        return await self.database.read(query, *args, **kwargs)

    async def read_swept(self, query: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
        """What `query` answers of how runs and decisions stand: what is over by now is ended first."""

        def both(connection: Connection) -> tuple[bool, T]:
            return anything_over(connection, now=self.clock()), query(connection, *args, **kwargs)

        over, answer = await self.database.read(both)
        if not over:
            return answer
        await self.sweep()
        return await self.read(query, *args, **kwargs)

    async def sweep(self) -> None:
        """End everything whose time is over. Raises a `Refusal`."""
        while await self.database.transact(sweep, now=self.clock()) >= AT_ONCE:
            pass

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Have `listener` told what each commit wrote into the log; answers how to end it."""
        return self.database.listen(listener)
