"""The tools that the runner itself serves to a session's model: its log, its gaps, its effects, its report.

None of them does anything outside at once. Whatever is refused is answered at once with a sentence, logged as a
decision, and recorded as a gap where the run lacked something.
"""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from minion.engines.base import Stage, StagedEffect
from minion.engines.conversation import Conversation, Progress
from minion.wire import OrderedSkill
from server.contract.quota import GAPS_PER_RUN
from server.contract.run import EFFECT_KINDS, GAP_TYPES, OUTCOMES
from server.contract.topology import code_for, is_code

_CODE: Final = "must be TSK-, SCR- or LLM- and capitals, digits, hyphens"
_STATES: Final = ("completed", "failed", "skipped")
# What one run may put before people: beyond that nobody would read any of it.
_MOST_QUESTIONS: Final = 10
_LARGEST_FILE: Final = 100_000
_LONGEST: Final[Mapping[str, int]] = {"code": 100, "summary": 2_000, "question": 2_000, "description": 2_000}


@dataclass(frozen=True, slots=True)
class Served:
    """What a tool answered; `failed`: it did not do what was asked."""

    text: str
    failed: bool = False


class BadCall(Exception):
    """A call whose input is not what the tool takes; the message tells the model what to mend."""


@dataclass(slots=True)
class Task:
    """The task under way, as the tools see it: its step `code`, its skill if it is one, whether it is the last.

    `progress` is what the conversation keeps of it.
    """

    code: str
    skill: OrderedSkill | None
    last: bool
    reporting: bool = False
    progress: Progress = field(default_factory=Progress)


class ServedTools:
    """The runner's tools for one session; its conversation keeps what they have come to."""

    def __init__(self, stage: Stage, conversation: Conversation) -> None:
        self._stage = stage
        self._conversation = conversation
        self._canonical = {code for block in stage.order.blocks for code in block.steps}
        self._rigid = {code for block in stage.order.blocks if block.kind == "rigid" for code in block.steps}
        self.names: Mapping[str, Callable[[Task, Mapping[str, Any]], Awaitable[Served]]] = {
            "load_skill_file": self._load, "report_step": self._step, "record_gap": self._gap,
            "ask_decision": self._ask, "stage_effect": self._effect, "report_execution": self._report,
        }  # fmt: skip

    async def call(self, name: str, given: Mapping[str, Any], task: Task) -> Served:
        """One call of a tool in `names`."""
        try:
            return await self.names[name](task, given)
        except BadCall as wrong:
            return Served(f"Not done: {wrong}", failed=True)

    async def lack(self, gap_type: str, code: str, description: str) -> bool:
        """Record a gap; whether it was, or the run has recorded as many as it may."""
        if not self._conversation.count("gaps", GAPS_PER_RUN):
            return False
        await self._stage.ledger.gap(gap_type, code, description)
        return True

    async def observe(self, task: Task, tool: str) -> None:
        """Log the step that the task's skill maps a tool to, if it maps it to one."""
        mapped = task.skill.tools if task.skill is not None else {}
        code = next((code for name, code in mapped.items() if name.lower() == tool), None)
        if code is not None and code not in self._rigid:
            async with self._stage.ledger.step(code, given=tool):
                pass

    async def _load(self, task: Task, given: Mapping[str, Any]) -> Served:
        path, name = _texts(given, "path", optional=("skill",))
        skill = task.skill if name is None else next((s for s in self._stage.order.skills if s.name == name), None)
        if skill is None:
            if name is not None:
                says = f"The session asked for a file of the skill {name[:80]!r}."
                await self.lack("skill", code_for("LLM", name), says)
            return Served("There is no such skill in this run's pipeline.", failed=True)
        body = _file_beneath(Path(skill.path), path)
        if body is None:
            says = f"The skill {skill.name} has no file {path[:200]!r} of at most {_LARGEST_FILE} bytes."
            return Served(says, failed=True)
        return Served(body)

    async def _step(self, task: Task, given: Mapping[str, Any]) -> Served:
        code, summary, state = _texts(given, "code", "summary", optional=("state",))
        state = state or "completed"
        if not is_code(code):
            raise BadCall(f"code {_CODE}, such as LLM-VERIFY-OUTPUT.")
        if state not in _STATES:
            raise BadCall(f"state must be one of {', '.join(_STATES)}.")
        if code in self._rigid:
            why = f"{code} belongs to the safety envelope, which only the runner walks."
            return await self._denied("report_step", why)
        if code == task.code:
            if state == "failed":
                task.progress.failed = summary
                self._conversation.note()
                return Served("Noted: this task failed. End your turn with what people should know.")
            return Served("This task's own step is logged by the runner; its end is the end of your turn.")
        if code not in self._canonical:
            stop = self._stage.ledger.explore()
            if stop is not None:
                return await self._denied("report_step", f"{stop.why} {stop.hint}")
        async with self._stage.ledger.step(code, given=summary) as end:
            end.state, end.out = ("completed" if state == "completed" else "failed"), summary
            end.why = None if state == "completed" else summary[:300]
        return Served(f"Logged: {code}.")

    async def _gap(self, task: Task, given: Mapping[str, Any]) -> Served:  # noqa: ARG002 - as the others
        type_, code, description = _texts(given, "gap_type", "requested_code", "description")
        if type_ not in GAP_TYPES:
            raise BadCall(f"gap_type must be one of {', '.join(GAP_TYPES)}.")
        if not is_code(code):
            raise BadCall(f"requested_code {_CODE}.")
        if not await self.lack(type_, code, description):
            return Served(f"Not recorded: this run has named {GAPS_PER_RUN} gaps. Go on without it.", failed=True)
        return Served("Recorded. Go on without it as far as that is possible.")

    async def _ask(self, task: Task, given: Mapping[str, Any]) -> Served:  # noqa: ARG002 - as the others
        (question,) = _texts(given, "question")
        if self._stage.order.policy.asks_nobody:
            why = "runs of this variant ask nobody. Decide within what the routine says, or stop."
            return await self._denied("ask_decision", why)
        if not self._conversation.count("questions", _MOST_QUESTIONS):
            why = f"a run asks {_MOST_QUESTIONS} questions, and they are asked."
            return await self._denied("ask_decision", why)
        decision = await self._stage.ledger.ask(question)
        async with self._stage.ledger.step("ask_decision", kind="decision", given=question) as end:
            end.out = decision
        return Served(
            "Asked: it stands in the inbox. Nobody answers during this run; the next run is told the answer. "
            "Go on without it, or stop here."
        )

    async def _effect(self, task: Task, given: Mapping[str, Any]) -> Served:
        kind, target, *rest = _texts(given, "kind", "target", optional=("body", "path", "title"))
        body, path, title = rest
        if kind not in EFFECT_KINDS:
            raise BadCall(f"kind must be one of {', '.join(EFFECT_KINDS)}.")
        if path is not None:
            path = path.removeprefix("/workspace/")
        wish, staged = StagedEffect(kind, target, body, path, title), task.progress.effects
        said = {"kind": kind, "target": target, "body": body, "path": path, "title": title}
        if said in staged:  # a task that was interrupted may not know how far it had come
            return Served(f"Staged before, and once is enough: {kind}:{target}.")
        refusal = self._stage.ledger.effect_refusal(wish, ahead=len(staged))
        async with self._stage.ledger.step("stage_effect", kind="decision", given=dict(given)) as end:
            if refusal is not None:
                end.state, end.why = "failed", f"refused: {refusal}"[:300]
        if refusal is not None:
            code = f"TSK-{kind.upper().replace('_', '-')}"
            await self.lack("permission", code, f"{kind}:{target[:100]} was refused: {refusal}.")
            return Served(f"Refused: {refusal}. It will not happen; do not stage it again.", failed=True)
        staged.append(said)
        self._conversation.note()
        return Served(f"Staged: {kind}:{target}. It is performed after the last task, if this one completes.")

    async def _report(self, task: Task, given: Mapping[str, Any]) -> Served:
        if not task.last:
            says = "Not yet: other tasks follow. You are asked for the report after the last one."
            return Served(says, failed=True)
        outcome, summary, details = _texts(given, "outcome", "summary", optional=("details",))
        if outcome not in OUTCOMES:
            raise BadCall(f"outcome must be one of {', '.join(OUTCOMES)}.")
        if task.progress.claim is not None:
            return Served("The report was made: a second one is not taken.", failed=True)
        task.progress.claim = {"outcome": outcome, "summary": summary, "details": details or ""}
        self._conversation.note()
        return Served("Taken. End your turn.")

    async def _denied(self, what: str, why: str) -> Served:
        async with self._stage.ledger.step(what, kind="decision", given=why) as end:
            end.state, end.why = "failed", f"denied: {why}"[:300]
        return Served(f"Denied: {why}", failed=True)


def served_tools() -> list[dict[str, Any]]:
    """The tools' definitions, as the model gets them."""
    found: list[dict[str, Any]] = json.loads(files("minion.engines").joinpath("served_tools.json").read_bytes())
    return found


def _texts(given: Mapping[str, Any], *needed: str, optional: Sequence[str] = ()) -> list[Any]:
    """The texts of a call in order, None for an optional one that is not given. Raises `BadCall`."""
    unknown = sorted(set(given) - {*needed, *optional})
    if unknown:
        raise BadCall(f"{unknown[0][:40]!r} is not known; it takes {', '.join((*needed, *optional))}.")
    found: list[Any] = []
    for name in (*needed, *optional):
        value = given.get(name)
        if value is None and name in optional:
            found.append(None)
            continue
        if not isinstance(value, str) or (name in needed and not value.strip()):
            raise BadCall(f"{name} must be a text that is not empty.")
        if len(value) > _LONGEST.get(name, 2_000_000):
            raise BadCall(f"{name} is over {_LONGEST[name]:,} characters.")
        found.append(value)
    return found


def _file_beneath(folder: Path, relative: str) -> str | None:
    """A file of a skill's own copy as text; None when it is not there, too large, or elsewhere."""
    parts = Path(relative).parts
    if not parts or "\0" in relative or Path(relative).is_absolute() or ".." in parts:
        return None
    path = folder.joinpath(*parts)
    try:
        if not path.resolve().is_relative_to(folder.resolve()) or not path.is_file():
            return None
        if os.stat(path).st_size > _LARGEST_FILE:  # noqa: PTH116 - beside is_file, one call
            return None
        return path.read_bytes().decode("utf-8", "replace")
    except OSError:
        return None
