"""What a run had done before it was interrupted, read from its own events: one that goes on does the rest only.

A skill's result counts from the moment its event was kept; the effects it staged were kept just before that. A
skill without one is begun anew. The effects are kept of every run: what did not arrive may be sent again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from minion.engines.base import StagedEffect, TaskResult
from minion.runner.checks import Check
from minion.runner.effect import Effect
from minion.runner.safe_files import read_beneath
from minion.wire import Event, Order, kept_events
from server.contract.digest import canonical_json, digest_bytes

# The body of an event is at most what a skill may say, and the words around it.
_BODY_BYTES: Final = 64 * 1024 * 1024
_BODY_FILE: Final = re.compile(r"bodies/[0-9]{6}-skill\.result-[a-z]+\.(?:txt|json)")
_MOVED: Final = frozenset({"file", "digest", "bytes", "start"})


class Damaged(Exception):
    """A run's folder that lacks what its events speak of; the message names it, after `its`."""


@dataclass(slots=True)
class Before:
    """What was done; empty for a run that begins.

    `seq` and `size`: the last event's number and where its line ends. `blocks`: how each one ended, and why.
    `pending`: a task whose result was kept and whose step has no end. `said`: the effects that were staged.
    `used`: turns, tokens and dollars of its model calls; `explored`: steps beside those that were planned.
    """

    seq: int = 0
    size: int = 0
    steps: int = 0
    blocks: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    results: list[tuple[str, TaskResult]] = field(default_factory=list)
    pending: TaskResult | None = None
    effects: list[Effect] = field(default_factory=list)
    said: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)
    gaps: list[dict[str, Any]] = field(default_factory=list)
    report: tuple[str, str] | None = None
    report_ended: bool = False
    sandbox: str | None = None
    used: dict[str, float] = field(default_factory=dict)
    explored: int = 0


def keep_effect(run_dir: Path, effect: Effect, task: int) -> None:
    """Keep what an effect says in the run's folder (0600), so that it can be performed by whoever goes on with
    the run, or performs again what did not arrive. Raises `OSError`.

    `task` counts the run's tasks from 1. One of an attempt that came to no result is overwritten.
    """
    folder = run_dir / "effects"
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / f"{effect.ordinal:02d}.json"
    said = {name: getattr(effect, name) for name in Effect.__slots__}
    draft = path.with_suffix(".part")
    draft.write_text(canonical_json({"task": task, **said}))
    draft.chmod(0o600)
    draft.replace(path)


def kept_effect(run_dir: Path, ordinal: int) -> tuple[int, Effect]:
    """The effect of this number as it was kept, and the task that staged it.

    Raises `OSError` when it is not there, `ValueError`, `KeyError` or `TypeError` when it is not understood.
    """
    kept = json.loads((run_dir / "effects" / f"{ordinal:02d}.json").read_bytes())
    return kept.pop("task"), Effect(**kept)


def recall(order: Order) -> Before:
    """What the run of this order had done. Raises `Damaged` when its folder does not hold all of it."""
    before, run_dir = Before(), Path(order.run_dir)
    elastic = {block.code for block in order.blocks if block.kind == "elastic"}
    names = [skill.name for skill in order.skills] or ["prompt"]
    planned = {code for block in order.blocks for code in block.steps}
    planned |= {code for skill in order.skills for code in skill.tools.values()}
    staged_by: list[int] = []
    try:
        for event, end in kept_events(run_dir / "events.ndjson"):
            before.seq, before.size = event.seq, end
            if event.type == "skill.result":
                before.pending = _result(run_dir, event.data)
                staged_by.append(event.data["effects"])
            elif event.type == "step.finished" and event.block in elastic and event.data["kind"] == "step":
                before.explored += event.data["code"] not in planned
                _end_step(before, names, event.data, staged_by)
            _note(before, event)
        before.effects = _effects(run_dir, before, staged_by)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise Damaged("events are not understood") from error
    _give_back(before, staged_by)
    return before


def _end_step(before: Before, names: list[str], data: Mapping[str, Any], staged_by: list[int]) -> None:
    """The step of a task ended: with the result that was kept, or without one because it was never begun."""
    task = len(before.results)
    if before.pending is not None:
        before.results.append((names[task], before.pending))
        before.pending = None
    elif data["state"] == "skipped":
        before.results.append((names[task], TaskResult("skipped", why=data["why"])))
        staged_by.append(0)


def _note(before: Before, event: Event) -> None:
    data = event.data
    if event.type in ("step.started", "step.finished"):
        before.steps = max(before.steps, data["number"])
        ended = event.type == "step.finished" and data["state"] != "interrupted"
        before.report_ended |= ended and data["kind"] == "report"
    elif event.type == "block.finished" and data["state"] != "interrupted":
        before.blocks[str(event.block)] = (data["state"], data["why"])
    elif event.type == "block.started":
        before.blocks.pop(str(event.block), None)
    elif event.type == "effect.staged":
        before.said[data["id"]] = data
    elif event.type == "check":
        before.checks.append(Check(**data))
    elif event.type == "gap":
        before.gaps.append(dict(data))
    elif event.type == "report":
        before.report = (data["outcome"], data["summary"])
    elif event.type == "session.opened":
        before.sandbox = data["sandbox"]
    elif event.type == "usage":
        for name in ("turns", "tokens", "dollars"):
            before.used[name] = before.used.get(name, 0) + data.get(name, 0)


def _result(run_dir: Path, data: Mapping[str, Any]) -> TaskResult:
    text, found = (_whole(run_dir, data[name]) for name in ("text", "data"))
    return TaskResult(
        state=data["state"], text=text, data=found, why=data["why"], exit=data["exit"],
        truncated=data["truncated"], duration_ms=data["duration_ms"], timed_out=data["timed_out"],
        hint=data.get("hint"), cost=data.get("cost") or {},
    )  # fmt: skip


def _whole(run_dir: Path, value: Any) -> Any:
    """A text or a collection as it was, where it was moved to a file."""
    moved = isinstance(value, dict) and set(value) == _MOVED and isinstance(value["file"], str)
    if not moved or _BODY_FILE.fullmatch(value["file"]) is None:
        return value
    try:
        body = read_beneath(run_dir, value["file"], _BODY_BYTES)
    except (OSError, ValueError) as error:
        raise Damaged("bodies are not all there") from error
    if digest_bytes(body) != value["digest"]:
        raise Damaged("bodies are not as they were written")
    return body.decode() if value["file"].endswith(".txt") else json.loads(body)


def _effects(run_dir: Path, before: Before, staged_by: list[int]) -> list[Effect]:
    """The effects that tasks with a result staged, in order, as they were kept."""
    found = []
    tasks = [task for task, number in enumerate(staged_by, 1) for _ in range(number)]
    for ordinal, task in enumerate(tasks, 1):
        try:
            kept_by, effect = kept_effect(run_dir, ordinal)
        except (OSError, ValueError) as error:
            raise Damaged("effects are not all there") from error
        if kept_by != task or effect.ordinal != ordinal:
            raise Damaged("effects are not as they were kept")
        said = before.said.get(effect.id, effect.as_event())
        if said["digest"] != effect.as_event()["digest"] or said["key"] != effect.key:
            raise Damaged("effects are not as they were kept")
        found.append(effect)
    if not before.said.keys() <= {effect.id for effect in found}:
        raise Damaged("effects are not as they were kept")
    return found


def _give_back(before: Before, staged_by: list[int]) -> None:
    """Later tasks are told what earlier ones staged: put it back into their results."""
    left = list(before.effects)
    for task, number in enumerate(staged_by):
        mine, left = left[:number], left[number:]
        wishes = tuple(StagedEffect(effect.kind, effect.target) for effect in mine)
        if task < len(before.results):
            name, result = before.results[task]
            before.results[task] = (name, _with(result, wishes))
        elif before.pending is not None:
            before.pending = _with(before.pending, wishes)


def _with(result: TaskResult, wishes: tuple[StagedEffect, ...]) -> TaskResult:
    return replace(result, effects=wishes)
