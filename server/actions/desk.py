"""How every door reaches actions and queries: one desk, which knows who asks, the time, and where the store is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from server.clock import Clock
from server.contract.process import Process
from server.contract.refusals import Refused
from server.storage.access_store import Caller
from server.storage.database import Database

T = TypeVar("T")
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
    """An HQ at work. `processes` are those it knows, by code."""

    database: Database
    clock: Clock
    processes: Mapping[str, Process]

    async def do(self, action: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
        """Have `action(connection, who asks, …, now=…)` done in a transaction of its own. Raises a `Refusal`."""
        return await self.database.transact(action, caller(), *args, **kwargs, now=self.clock())

    async def read(self, query: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
        """What `query(connection, …)` answers, all of it of one moment. Raises a `Refusal`."""
        return await self.database.read(query, *args, **kwargs)
