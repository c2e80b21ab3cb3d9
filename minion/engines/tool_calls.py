"""Performs the tool calls of a session's model: allowed or denied at once, done in its place, logged by kind.

Nothing ever waits for a permission: what a skill may not use is denied with a reason that the model can read, and
recorded as a gap (DESIGN §8).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from minion.engines.base import Stage
from minion.engines.permissions import is_allowed, is_allowed_at, is_held_to_paths
from minion.engines.served import Served, ServedTools, Task, served_tools
from minion.engines.workbench import WORKBENCH_TOOLS, Workbench
from server.contract.topology import code_for

_REPORT: Final = "report_execution"


class ToolCalls:
    """All tools of one session: those of the sandbox, and those that the runner serves."""

    def __init__(self, stage: Stage, served: ServedTools) -> None:
        self._stage = stage
        self._served = served
        self._workbench = Workbench(stage)
        self.definitions: list[dict[str, Any]] = [*WORKBENCH_TOOLS, *served_tools()]
        self._sandboxed = frozenset(tool["name"] for tool in WORKBENCH_TOOLS)

    async def perform(self, block: Mapping[str, Any], task: Task, *, timeout_s: float) -> Served:
        """Carry out one call; never raises for what the model asked."""
        name, given = str(block.get("name")), block.get("input")
        if not isinstance(given, dict):
            given = {}
        denied = await self._denial(name, given, task, timeout_s)
        async with self._stage.ledger.step(name[:100], kind="tool_call", given=given) as end:
            if denied is not None:
                answer = Served(f"Denied: {denied}", failed=True)
            elif name in self._sandboxed:
                did = await self._workbench.call(name, given, timeout_s=timeout_s)
                answer = Served("\n".join((did.text, *self._stage.ledger.news())), did.failed)
            else:
                answer = await self._served.call(name, given, task)
            answer = Served(str(self._stage.redact(answer.text)), answer.failed)
            end.out = answer.text
            end.state = "failed" if answer.failed else "completed"
            end.why = answer.text[:300] if answer.failed else None
        if not answer.failed and name in self._sandboxed:
            await self._served.observe(task, name)
        return answer

    async def _denial(self, name: str, given: Mapping[str, Any], task: Task, timeout_s: float) -> str | None:
        """Why a call is denied, logged and recorded; None when it may be made."""
        if name not in self._sandboxed and name not in self._served.names:
            says = f"There is no tool {name[:80]!r} in this run."
            await self._decided(name, says, gap=("tool", code_for("TSK", name), says))
            return f"{says} It was recorded as a gap; go on without it."
        if task.reporting and name != _REPORT:
            return f"the tasks are over: only {_REPORT} can be called now."
        if name in self._served.names or task.skill is None:
            return None
        allowed = task.skill.allowed_tools
        why = is_allowed(name, given, allowed)
        if why is None and is_held_to_paths(name, allowed):
            why = await self._misled(name, given, allowed, timeout_s)
        if why is not None:
            says = f"The skill {task.skill.name} may not use {name} so: {why}"
            await self._decided(name, why, gap=("permission", code_for("TSK-USE", name), says))
        return why

    async def _misled(
        self, name: str, given: Mapping[str, Any], allowed: Sequence[str], timeout_s: float
    ) -> str | None:
        """Why a call is denied whose path is allowed as it is written: by links it leads to where none is."""
        path = str(given.get("path") or ".")
        place = await self._workbench.place_of(path, timeout_s=timeout_s) if timeout_s > 0 else None
        if place is None:
            return f"where {path[:200]} leads could not be found out."
        return is_allowed_at(name, given, place, allowed)

    async def _decided(self, name: str, why: str, *, gap: tuple[str, str, str]) -> None:
        async with self._stage.ledger.step(name[:100], kind="decision", given=why) as end:
            end.state, end.why = "failed", f"denied: {why}"[:300]
        await self._served.lack(*gap)
