"""Which engines there are, what each costs whom, which are installed here, and which are ready in a home.

An engine's module is imported only when a run uses it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from server.contract.refusals import Refused

if TYPE_CHECKING:  # every command asks which engines there are, only a runner needs what they build on
    from minion.engines.base import Engine

# The name of the secret that the Anthropic API is called with.
API_KEY: Final = "anthropic_api_key"


@dataclass(frozen=True, slots=True)
class EngineEntry:
    """An engine as people choose it: its name, what it is, who pays for it.

    `module` is where it is built: (module, class), or None when this installation does not have it. `needs` names
    the secret without which it is not ready. `model`: it has one, whose calls cost tokens.
    """

    name: str
    what: str
    pays: str
    module: tuple[str, str] | None = None
    needs: str | None = None
    model: bool = False


ENGINES: Final[tuple[EngineEntry, ...]] = (
    EngineEntry(
        "script",
        "the skills' own scripts, no model",
        "nobody: it runs on this machine",
        ("minion.engines.script", "ScriptEngine"),
    ),
    EngineEntry(
        "messages",
        "the Anthropic API",
        "your API key, billed per token",
        ("minion.engines.messages", "MessagesEngine"),
        needs=API_KEY,
        model=True,
    ),
    EngineEntry("claude-code", "your Claude Code sign-in", "your plan's limits, or its API key", model=True),
)
# No engine: what chooses one of them for each routine (`minion.routines.engines`).
AUTO_CHOICE: Final = EngineEntry(
    "auto", "script where every skill has one, else one with a model", "said of each routine when it is saved"
)
INSTALLED: Final[tuple[str, ...]] = tuple(entry.name for entry in ENGINES if entry.module is not None)
_BY_NAME: Final = {entry.name: entry for entry in ENGINES}
# The names of a home's secrets, asked for only where an engine needs one: a script needs no readable secrets.
SecretNames = Callable[[], Collection[str]]


@dataclass(frozen=True, slots=True)
class Lack:
    """Why an engine cannot be used here, in words behind its name, and what mends it."""

    name: str
    words: str
    hint: str

    @property
    def says(self) -> str:
        """It as a sentence; every one begins with `The engine`."""
        return f"The engine {self.name} {self.words}."


def engine_named(name: str) -> Engine:
    """The engine of that name. Raises `KeyError` when this installation has none."""
    module, class_name = {entry.name: entry.module for entry in ENGINES if entry.module is not None}[name]
    engine: Engine = getattr(importlib.import_module(module), class_name)()
    return engine


def payer_of(name: str) -> str:
    """Who pays for what runs on this engine; a dash for a name that is no engine's."""
    return next((entry.pays for entry in (*ENGINES, AUTO_CHOICE) if entry.name == name), "–")


def has_model(name: str) -> bool:
    """Whether a model performs what runs on this engine."""
    return name in _BY_NAME and _BY_NAME[name].model


def needed_secret(name: str) -> str | None:
    """The name of the secret without which an engine is not ready; None for one that needs none."""
    return _BY_NAME[name].needs if name in _BY_NAME else None


def lack_of(name: str, secrets: SecretNames) -> Lack | None:
    """Why an engine cannot be used in a home with these secrets; None when it is ready."""
    entry = _BY_NAME.get(name)
    if entry is None:
        return Lack(repr(name[:60]), "is none that there is", f"choose {' or '.join(INSTALLED)}")
    if entry.module is None:
        return Lack(name, "is not in this version", f"choose {' or '.join(INSTALLED)}")
    if entry.needs is not None and entry.needs not in secrets():
        return Lack(name, f"lacks the secret {entry.needs}", f"minion secret set {entry.needs}")
    return None


def ready_engines(secrets: SecretNames) -> tuple[str, ...]:
    """The engines that can be used in a home with these secrets."""
    return tuple(name for name in INSTALLED if lack_of(name, secrets) is None)


def check_engine(name: str, secrets: SecretNames) -> str:
    """The engine's name, if it can be used in a home with these secrets. Raises `Refused`."""
    lack = lack_of(name, secrets)
    if lack is not None:
        raise Refused("engine_missing", f"The engine {lack.name} {lack.words}.", hint=lack.hint)
    return name
