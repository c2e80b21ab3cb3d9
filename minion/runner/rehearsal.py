"""What a session would begin with, told without starting anything: its first message, its tools, its places.

It asks the very parts that a run asks, but no tool host, no clone, no key.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, cast

from minion.engines import briefing
from minion.engines.base import Redact, Stage, Workplace
from minion.engines.served import served_tools
from minion.engines.task_document import place_of_document
from minion.runner.git import GitFailed
from minion.runner.ledger import NoLedger
from minion.runner.stage import python_of_children
from minion.runner.workspace import prepare_git
from minion.wire import Order

_LOOK_S: Final = 5.0
# Said where only the clone will tell.
UNKNOWN_BRANCH: Final = "(the default branch)"


@dataclass(frozen=True, slots=True)
class FirstCall:
    """The first request of a session: `system`, `tools`, and what the model is told, in blocks.

    `later` is what each further skill is told when its turn comes.
    """

    model: str
    system: str
    tools: tuple[Mapping[str, Any], ...]
    told: tuple[str, ...]
    later: tuple[str, ...]

    @property
    def messages(self) -> list[dict[str, Any]]:
        """What the model is told, as the API takes it."""
        return [{"role": "user", "content": [{"type": "text", "text": text} for text in self.told]}]


def first_call(order: Order, *, now: str, branches: Mapping[str, str], redact: Redact) -> FirstCall:
    """How a session with a model begins. `now` is the instant it is told, `branches` those of its repositories."""
    from minion.engines.workbench import WORKBENCH_TOOLS  # what works in the sandbox, loaded when it is shown

    stage = _stage(order, now=now, branches=branches, redact=redact)
    if order.skills:
        tasks = [
            briefing.skill_task(stage, skill, place, place_of_document(stage, skill))
            for place, skill in enumerate(order.skills, 1)
        ]
        model = order.skills[0].model or order.model
    else:
        tasks, model = [briefing.prompt_task(stage)], order.model
    told = [str(redact(text)) for text in (briefing.opening(stage), tasks[0])]
    later = tuple(str(redact(text)) for text in tasks[1:])
    return FirstCall(model, briefing.SYSTEM, (*WORKBENCH_TOOLS, *served_tools()), tuple(told), later)


def places(order: Order, branches: Mapping[str, str]) -> tuple[Workplace, ...]:
    """Where a session would see the run's repositories."""
    sandboxed, run_dir = order.sandbox != "none", Path(order.run_dir)
    return tuple(
        Workplace(
            name=item.name,
            path=f"/workspace/{item.name}" if sandboxed else str(run_dir / "workspace" / item.name),
            history=f"/history/{item.name}.git" if sandboxed else str(run_dir / "history" / f"{item.name}.git"),
            branch=item.branch or branches.get(item.name, UNKNOWN_BRANCH),
        )
        for item in order.repositories
    )


async def branches_of(order: Order) -> dict[str, str]:
    """The branch that each local repository would be cloned at, by name; nothing is asked of a network.

    Writes git's settings into the order's folder, as a run does.
    """
    local = [item for item in order.repositories if item.local and item.branch is None]
    if not local:
        return {}
    git, found = prepare_git(replace(order, repositories=tuple(local))), {}

    async def look(url: str) -> str | None:
        try:
            said = await git.run("ls-remote", "--symref", "--", url, "HEAD", timeout_s=_LOOK_S)
        except (GitFailed, OSError):
            return None
        first = said.decode("utf-8", "replace").partition("\n")[0]
        return first.removeprefix("ref: refs/heads/").partition("\t")[0] if first.startswith("ref: ") else "HEAD"

    answers = await asyncio.gather(*(look(item.url) for item in local))
    for item, branch in zip(local, answers, strict=True):
        if branch is not None:
            found[item.name] = branch
    return found


def _stage(order: Order, *, now: str, branches: Mapping[str, str], redact: Redact) -> Stage:
    sandboxed, run_dir = order.sandbox != "none", Path(order.run_dir)
    skills = {skill.name: skill.path for skill in (*order.skills, order.report_skill)}
    inside = {name: f"/skills/{name}" for name in skills} if sandboxed else skills
    scratch = "/scratch" if sandboxed else str(run_dir / "scratch")
    # Nothing that is told asks the tool host, and none is started.
    host = cast("Any", None)
    return Stage(
        order, host, places(order, branches), inside, scratch, {}, python_of_children(), now, redact, NoLedger()
    )
