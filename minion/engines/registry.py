"""Which engines this installation has; an engine's module is imported only when a run uses it."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:  # every command asks which engines there are, only a runner needs what they build on
    from minion.engines.base import Engine

_MODULES: Final[Mapping[str, tuple[str, str]]] = {"script": ("minion.engines.script", "ScriptEngine")}
AVAILABLE: Final[tuple[str, ...]] = tuple(_MODULES)


def engine_named(name: str) -> Engine:
    """The engine of that name. Raises `KeyError` when this installation has none."""
    module, class_name = _MODULES[name]
    engine: Engine = getattr(importlib.import_module(module), class_name)()
    return engine
