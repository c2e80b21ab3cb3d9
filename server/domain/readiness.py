"""What a routine needs on its minion, as far as HQ knows: engine, skills, connectors, and what is wrong there.

Pure. What a minion never said of itself is unknown, and no reason why a routine does not run.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

# Which engine that is its minion decides as the run begins.
_ANY_ENGINE: Final = (None, "auto")


@dataclass(frozen=True, slots=True)
class There:
    """What a minion said of itself: what it has (None: it did not say), and what is wrong with this routine there.

    `troubles` are pairs: a sentence, and what to do about it or None.
    """

    name: str
    engines: Collection[str] | None = None
    skills: Collection[str] | None = None
    connectors: Collection[str] | None = None
    troubles: Sequence[tuple[str, str | None]] = ()


@dataclass(frozen=True, slots=True)
class Lack:
    """Why a routine does not run on its minion, in a sentence, and what to do about it."""

    sentence: str
    remedy: str


def lacks_of(document: Mapping[str, Any], there: There, published: Collection[str]) -> list[Lack]:
    """What keeps a routine from running on its minion; `published` are the skills that HQ gives out."""
    found = [
        Lack(f"{there.name} says of it: {sentence}", remedy or f"minion doctor, on {there.name}, says more")
        for sentence, remedy in there.troubles
    ]
    engine = document["engine"]
    if engine not in _ANY_ENGINE and there.engines is not None and engine not in there.engines:
        remedy = 'install it there, or update_routine with changes {"engine": null} for the one it has'
        found.append(Lack(f"The engine {engine} is not installed on {there.name}.", remedy))
    for skill in _not_given(document, published):
        if there.skills is not None and skill not in there.skills:
            says = f"Neither HQ nor {there.name} has the skill {skill}."
            found.append(Lack(says, f"publish_skill, or minion skill install on {there.name}"))
    for connector in document["connectors"]:
        if there.connectors is not None and connector not in there.connectors:
            says = f"{there.name} has no connector {connector}."
            found.append(Lack(says, "set it up there, or take it out of the routine"))
    return found


def not_looked_at(document: Mapping[str, Any], there: There | None, published: Collection[str]) -> list[str]:
    """What nobody can say yet of what a routine needs, in sentences."""
    found = []
    own = [] if there is not None and there.skills is not None else _not_given(document, published)
    if own:
        who = "its minion" if there is None else there.name
        found.append(f"HQ has no {_listed('skill', own)}: {who} must have it itself.")
    unknown = ["repositories"] if document["repositories"] else []
    if document["connectors"] and (there is None or there.connectors is None):
        unknown.append("connectors")
    if unknown:
        found.append(f"Nobody looked yet whether its {' and '.join(unknown)} can be had: its minion will.")
    return found


def _not_given(document: Mapping[str, Any], published: Collection[str]) -> list[str]:
    return [name for name in dict.fromkeys(document["pipeline"]) if name not in published]


def _listed(noun: str, names: Sequence[str]) -> str:
    return f"{noun}{'' if len(names) == 1 else 's'} {', '.join(names)}"
