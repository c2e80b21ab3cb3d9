"""Who is asking at the MCP door, and which tools are there for them.

A scope decides the list of tools (DESIGN §7): what is not in it is neither shown nor callable. `admin` has all.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Final

from server.contract.refusals import Refused
from server.storage.access_store import Caller

SESSION: Final = frozenset({"session"})
LEDGER: Final = frozenset({"ledger"})
# Who works on something may say what it lacked, whichever way it works.
WORKING: Final = SESSION | LEDGER
REVIEWER: Final = frozenset({"reviewer"})
EVERYBODY: Final = WORKING | REVIEWER

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


def may_use(who: Caller, scopes: frozenset[str]) -> bool:
    """Whether somebody may use what is for these scopes."""
    return who.scope == "admin" or bool(scopes & set(who.scope.split("+")))


def visible(who: Caller, tools: Mapping[str, frozenset[str]]) -> set[str]:
    """The names of the tools that are there for somebody."""
    return {name for name, scopes in tools.items() if may_use(who, scopes)}
