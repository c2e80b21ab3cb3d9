"""What a run was told to do, as the order in its folder says it; what is odd in it counts as not there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

# An order has the routine and its canonical steps in it; one longer than this is not read to be shown.
_MOST_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class OrderedSkill:
    """A skill of the order: the `code` of its step, its `script` relative to the skill, None without one."""

    name: str
    code: str
    script: str | None
    digest: str


@dataclass(frozen=True, slots=True)
class Ordered:
    """What a run was told: `blocks` are (code, name, kind), `repositories` (name, address), limits by their name.

    `input` is what came from outside, kept only where a run may be resumed; `since` where its report begins.
    """

    prompt: str | None = None
    input: str | None = None
    since: str | None = None
    skills: tuple[OrderedSkill, ...] = ()
    blocks: tuple[tuple[str, str, str], ...] = ()
    repositories: tuple[tuple[str, str], ...] = ()
    limits: Mapping[str, float] = field(default_factory=dict)

    def skill_of(self, code: str) -> OrderedSkill | None:
        """The skill whose step has this code, or whose script or name it is."""
        return next((skill for skill in self.skills if code in (skill.code, skill.script, skill.name)), None)


def order_in(folder: Path) -> Ordered:
    """The order in a run's folder; an empty one where it is gone or none."""
    try:
        with (folder / "order.json").open("rb") as file:
            said = json.loads(file.read(_MOST_BYTES))
    except (OSError, ValueError, RecursionError):
        return Ordered()
    return _ordered(said) if isinstance(said, dict) else Ordered()


def _ordered(said: Mapping[str, Any]) -> Ordered:
    routine, names, limits = (_mapping(said.get(name)) for name in ("routine", "block_names", "limits"))
    skills = _mappings(said.get("skills"))
    report = said.get("report_skill")
    return Ordered(
        _word(routine.get("content")), _word(said.get("input")), _word(said.get("since")),
        tuple(
            OrderedSkill(str(item.get("name")), str(item.get("code")), _word(item.get("script")),
                         str(item.get("digest")))
            for item in (*skills, *_mappings([report]))
        ),
        tuple(
            (str(item.get("code")), str(names.get(str(item.get("code")), item.get("code"))), str(item.get("kind")))
            for item in _mappings(said.get("blocks"))
        ),
        tuple((str(item.get("name")), str(item.get("url"))) for item in _mappings(said.get("repositories"))),
        {
            name: float(most) for name, most in limits.items()
            if isinstance(most, int | float) and not isinstance(most, bool)
        },
    )  # fmt: skip


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _word(value: Any) -> str | None:
    return value if isinstance(value, str) else None
