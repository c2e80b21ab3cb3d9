"""Which model performs what of a run, and that each has a price: without one nothing could cap its dollars."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from server.contract.prices import DEFAULT_MODEL, known_models, price_of
from server.contract.refusals import Refused

if TYPE_CHECKING:
    from minion.config import Config


@dataclass(frozen=True, slots=True)
class Models:
    """`usual` performs what names no other: a prompt, the report, skills without one; `of_skills` the others."""

    usual: str
    of_skills: Mapping[str, str] = field(default_factory=dict)


def models_for(
    document: Mapping[str, Any], skills: Iterable[Mapping[str, Any]], config: Config, said: str | None = None
) -> Models:
    """The models of a run, the strongest word first: the command line's, a skill's, the routine's, minion.json's.

    `skills` are the admitted ones of the routine's pipeline.
    """
    if said is not None:
        return Models(said)
    own = {skill["name"]: skill["model"] for skill in skills if skill["model"] is not None}
    return Models(document["model"] or config.model or DEFAULT_MODEL, own)


def check_priced(models: Models, config: Config) -> None:
    """Raise `Refused` for a model that neither the price table nor minion.json has a price for."""
    for model in dict.fromkeys((models.usual, *models.of_skills.values())):
        if price_of(model, config.prices) is None:
            whose = next((f" of the skill {name}" for name, one in models.of_skills.items() if one == model), "")
            says = f"The model {model[:80]!r}{whose} has no price here, so that nothing could cap what it costs."
            hint = f"name one of: {', '.join(known_models())}; or write its price into `prices` of minion.json"
            raise Refused("unknown_model", says, hint=hint)
