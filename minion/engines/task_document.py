"""The document that a skill's script reads on stdin, whoever starts it: the engine, or a model (DECISIONS)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

from minion.engines.base import Stage, TaskResult
from minion.wire import OrderedSkill

_NAME: Final = "task.json"


def task_document(stage: Stage, skill: str, earlier: Sequence[tuple[str, TaskResult]]) -> dict[str, Any]:
    """What a skill is to work on: its routine, the run's input, repositories, what earlier skills came to."""
    order = stage.order
    return {
        "v": 1,
        "routine": {key: order.routine.get(key) for key in ("name", "content", "pipeline")},
        "input": order.input,
        "skill": skill,
        "now": stage.now,
        "since": order.since,
        "timezone": order.timezone,
        "repositories": [asdict(place) for place in stage.repositories],
        "results": [_as_input(name, result) for name, result in earlier],
    }


def place_of_document(stage: Stage, skill: OrderedSkill) -> str | None:
    """Where a model finds it, to hand it to the skill's script; None for a skill whose script reads none."""
    reads = skill.script is not None and skill.script.endswith(".py")
    return f"{stage.scratch}/{_NAME}" if reads else None


def _as_input(name: str, result: TaskResult) -> dict[str, Any]:
    return {
        "skill": name,
        "state": result.state,
        "text": result.text,
        "data": dict(result.data),
        "effects": [{"kind": effect.kind, "target": effect.target} for effect in result.effects],
        "why": result.why,
    }
