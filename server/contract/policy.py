"""The policy of a variant, as a run goes by it: what it may do by itself, and when people look first.

Rules: DESIGN §8 "Policy has effect". What a variant does not say is as it is here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

# Whoever is autonomous asks nobody (the seed: "no approval prompts").
AUTONOMOUS: Final = "autonomous"


@dataclass(frozen=True, slots=True)
class Policy:
    """What a variant lets its runs do.

    `max_retries`: how often a task is begun again that its model could not finish. `exploration_budget`: the share
    of a run's turns that may take steps beside the canonical ones. `confidence_floor`: below it people look before
    a run (`gates`), or the routine is paused; None for no floor.
    """

    autonomy_level: str | None = None
    max_retries: int = 1
    exploration_budget: float = 0.1
    confidence_floor: float | None = None
    gates: tuple[str, ...] = ()

    @property
    def asks_nobody(self) -> bool:
        """Whether its runs put no question to people."""
        return self.autonomy_level == AUTONOMOUS

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Policy:
        """A policy as an order carries it; what is not said keeps its default."""
        known = {name: data[name] for name in cls.__slots__ if name in data}
        return cls(**{**known, "gates": tuple(data.get("gates") or ())})

    @classmethod
    def of_variant(cls, variant: Mapping[str, Any] | None) -> Policy:
        """The policy of an admitted process's variant."""
        said = variant or {}
        dimensions, overrides, curiosity = (
            said.get(name) or {} for name in ("dimensions", "policy_overrides", "curiosity_config")
        )
        found = {
            "autonomy_level": dimensions.get("autonomy_level"),
            "max_retries": overrides.get("max_retries"),
            "confidence_floor": overrides.get("confidence_floor"),
            "exploration_budget": curiosity.get("exploration_budget"),
        }
        given = {name: value for name, value in found.items() if value is not None}
        return cls.from_data({**given, "gates": overrides.get("human_approval_gates") or ()})
