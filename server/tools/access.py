"""Who is asking at the MCP door, and which tools are there for them.

A scope decides the list of tools (DESIGN §7): what is not in it is neither shown nor callable. `admin` has all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from server.storage.access_store import Caller

SESSION: Final = frozenset({"session"})
LEDGER: Final = frozenset({"ledger"})
# Who works on something may say what it lacked, whichever way it works.
WORKING: Final = SESSION | LEDGER
REVIEWER: Final = frozenset({"reviewer"})
EVERYBODY: Final = WORKING | REVIEWER


def may_use(who: Caller, scopes: frozenset[str]) -> bool:
    """Whether somebody may use what is for these scopes."""
    return who.scope == "admin" or bool(scopes & set(who.scope.split("+")))


def visible(who: Caller, tools: Mapping[str, frozenset[str]]) -> set[str]:
    """The names of the tools that are there for somebody."""
    return {name for name, scopes in tools.items() if may_use(who, scopes)}
