"""Which engines there are, what each costs whom, and which of them this installation has.

An engine's module is imported only when a run uses it.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:  # every command asks which engines there are, only a runner needs what they build on
    from minion.engines.base import Engine


@dataclass(frozen=True, slots=True)
class EngineEntry:
    """An engine as people choose it: its name, what it is, who pays for it.

    `module` is where it is built: (module, class), or None when this installation does not have it.
    """

    name: str
    what: str
    pays: str
    module: tuple[str, str] | None = None


ENGINES: Final[tuple[EngineEntry, ...]] = (
    EngineEntry(
        "script",
        "the skills' own scripts, no model",
        "nobody: it runs on this machine",
        ("minion.engines.script", "ScriptEngine"),
    ),
    EngineEntry("messages", "the Anthropic API", "your API key, billed per token"),
    EngineEntry("claude-code", "your Claude Code sign-in", "your plan's limits, or its API key"),
)
AVAILABLE: Final[tuple[str, ...]] = tuple(entry.name for entry in ENGINES if entry.module is not None)


def engine_named(name: str) -> Engine:
    """The engine of that name. Raises `KeyError` when this installation has none."""
    module, class_name = {entry.name: entry.module for entry in ENGINES if entry.module is not None}[name]
    engine: Engine = getattr(importlib.import_module(module), class_name)()
    return engine


def payer_of(name: str) -> str:
    """Who pays for what runs on this engine; a dash for a name that is no engine's."""
    return next((entry.pays for entry in ENGINES if entry.name == name), "–")
