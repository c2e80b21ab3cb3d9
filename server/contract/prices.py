"""What a model's tokens cost, as dated data: the only place that knows models by name, and the default one.

The table is `prices.json`, with the day and the page it was taken from. A model that is not in it has no price,
and nothing runs on it until somebody names one (`prices` in minion.json).
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Final

# Overridable by minion.json, the routine, the skill and the command line, the later the stronger.
DEFAULT_MODEL: Final = "claude-sonnet-5-5"
KINDS: Final = ("input", "output", "cache_write", "cache_write_1h", "cache_read")
# A snapshot is billed as the model it is one of: claude-haiku-4-5-20251001.
_SNAPSHOT: Final = re.compile(r"-20[0-9]{6}\Z")
_MILLION: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of one model call by how they are billed; `input` are those that no cache wrote or read."""

    input: int = 0
    output: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    cache_read: int = 0

    @property
    def prompt(self) -> int:
        """All that the model read."""
        return self.input + self.cache_write + self.cache_write_1h + self.cache_read

    @property
    def total(self) -> int:
        """All that it read and wrote."""
        return self.prompt + self.output


@dataclass(frozen=True, slots=True)
class Rates:
    """US dollars per million tokens."""

    input: float
    output: float
    cache_write: float
    cache_write_1h: float
    cache_read: float

    def dollars(self, tokens: Tokens) -> float:
        """What these tokens cost in US dollars."""
        cost: float = sum(getattr(self, kind) * getattr(tokens, kind) for kind in KINDS)
        return cost / _MILLION


@dataclass(frozen=True, slots=True)
class Price:
    """What a model costs; a call whose prompt is over `long_over` tokens costs `long_prompt` in every kind."""

    rates: Rates
    long_over: int | None = None
    long_prompt: Rates | None = None

    def of(self, prompt: int) -> Rates:
        """The rates for a call with a prompt of so many tokens."""
        longer = self.long_over is not None and prompt > self.long_over
        return self.long_prompt if longer and self.long_prompt is not None else self.rates

    def dollars(self, tokens: Tokens) -> float:
        """What one call cost in US dollars."""
        return self.of(tokens.prompt).dollars(tokens)


def price_of(model: str, own: Mapping[str, Mapping[str, float]] | None = None) -> Price | None:
    """What a model costs, by one's `own` table first; None when nobody says.

    Raises `ValueError` for an entry of one's own that names no price for input or output.
    """
    for name in (model, _SNAPSHOT.sub("", model)):
        said: Mapping[str, Any] | None = (own or {}).get(name) or _table()["models"].get(name)
        if said is not None:
            return _price(name, said)
    return None


def known_models() -> tuple[str, ...]:
    """The models in the table, those first that people should look at first."""
    return tuple(_table()["models"])


def as_of() -> str:
    """The day on which the table was held against its source."""
    return str(_table()["as_of"])


@functools.cache
def _table() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(files("server.contract").joinpath("prices.json").read_bytes())
    return found


def _price(model: str, said: Mapping[str, Any]) -> Price:
    longer = said.get("long_prompt")
    if longer is None:
        return Price(_rates(model, said))
    return Price(_rates(model, said), int(longer["over"]), _rates(model, longer))


def _rates(model: str, said: Mapping[str, Any]) -> Rates:
    """Rates as said; where only input and output are, the cache costs what it does for most models."""
    try:
        reads, writes = float(said["input"]), float(said["output"])
    except (KeyError, TypeError, ValueError):
        says = f"the price of {model} needs input and output, in US dollars per million tokens"
        raise ValueError(says) from None
    usual = {"cache_write": 1.25 * reads, "cache_write_1h": 2 * reads, "cache_read": 0.1 * reads}
    return Rates(reads, writes, **{kind: float(said.get(kind, value)) for kind, value in usual.items()})
