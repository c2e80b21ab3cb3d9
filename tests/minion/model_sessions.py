"""Sessions of the `messages` engine in this process: a model at loopback, a ledger that notes what it hears."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from minion.engines.base import ApiAccess, Stage, StagedEffect, StepEnd, Stop, TaskResult, Used, Workplace
from minion.engines.messages import MessagesEngine, MessagesSession
from minion.runner.blocks import Ending
from minion.runner.budget import Budget
from minion.wire import Order, OrderedSkill
from server.contract.digest import digest_of, new_id
from server.contract.prices import DEFAULT_MODEL
from server.contract.quota import Limits
from server.contract.run import StepKind
from server.contract.topology import CanonicalBlock, skill_code
from tests.messages_api import MessagesApi
from tests.minion.tool_hosts import open_host

KEY = "sk-ant-api03-session-test-0000"
NOW = "2026-11-22T09:00:00.000Z"


@dataclass
class Noted:
    """A ledger on a run's real budget: what was logged, lacked, asked and used."""

    budget: Budget
    steps: list[tuple[StepKind, str, Ending]] = field(default_factory=list)
    logged: list[str] = field(default_factory=list)
    gaps: list[tuple[str, str, str]] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)
    calls: list[Used] = field(default_factory=list)
    refuses: Callable[[StagedEffect], str | None] | None = None

    def step(
        self, code: str, *, kind: StepKind = "step", given: Any = None  # noqa: ARG002 - the Protocol's
    ) -> AbstractAsyncContextManager[StepEnd]:
        """Note a step, with the ending it comes to."""
        return self._step(code, kind)

    @asynccontextmanager
    async def _step(self, code: str, kind: StepKind) -> AsyncIterator[Ending]:
        ending = Ending()
        self.steps.append((kind, code, ending))
        yield ending
        ending.state = ending.state or "completed"

    async def log(self, level: str, text: str) -> None:
        """Note a line."""
        self.logged.append(f"{level}: {text}")

    async def gap(self, gap_type: str, requested_code: str, description: str) -> None:
        """Note a gap."""
        self.gaps.append((gap_type, requested_code, description))

    async def ask(self, question: str) -> str:
        """Note a question."""
        self.questions.append(question)
        return new_id("dec_")

    async def used(self, used: Used) -> None:
        """Count a call."""
        self.calls.append(used)
        self.budget.take(used)

    def stop_before_call(self, *, report: bool) -> Stop | None:
        """As the budget says."""
        return self.budget.stop_before_call(report=report)

    def most_output(self, model: str, prompt: int) -> int:
        """As the budget says."""
        return self.budget.most_output(model, prompt)

    def explore(self) -> Stop | None:
        """As the budget says."""
        return self.budget.explore()

    def effect_refusal(self, wish: StagedEffect, *, ahead: int) -> str | None:  # noqa: ARG002 - the Protocol's
        """As the test says."""
        return self.refuses(wish) if self.refuses is not None else None

    def news(self) -> list[str]:
        """None."""
        return []

    def of_kind(self, kind: StepKind) -> list[tuple[str, str | None, str | None]]:
        """The steps of a kind: code, state, why."""
        return [(code, ending.state, ending.why) for noted, code, ending in self.steps if noted == kind]


@dataclass
class Opened:
    """An open session, the order it is for, its ledger and its model."""

    session: MessagesSession
    order: Order
    ledger: Noted
    api: MessagesApi

    async def prompt(self, timeout_s: float = 20.0) -> TaskResult:
        """Perform the routine's prompt."""
        return await self.session.prompt(timeout_s=timeout_s)

    async def skills(self, timeout_s: float = 20.0) -> list[TaskResult]:
        """Perform every skill of the pipeline."""
        done: list[tuple[str, TaskResult]] = []
        for skill in self.order.skills:
            done.append((skill.name, await self.session.skill(skill, done, timeout_s=timeout_s)))
        return [result for _, result in done]


def order_in(folder: Path, api: MessagesApi, *skills: OrderedSkill, **fields: Any) -> Order:
    """An order for `messages` in a run folder of its own: of these skills, or of a prompt."""
    run_dir = folder / "run"
    for part in ("workspace/shop", "scratch", "history"):
        (run_dir / part).mkdir(parents=True, exist_ok=True)
    content = fields.pop("content", "Look at the shop.")
    pipeline = [skill.name for skill in skills]
    routine = {"name": "work", "content": content, "pipeline": pipeline, "environment": None}
    codes = tuple(skill.code for skill in skills) or ("LLM-EXECUTE-PROMPT",)
    blocks = (
        CanonicalBlock("040.001.01", "rigid", ("TSK-VALIDATE-TRIGGER",)),
        CanonicalBlock("040.001.03", "elastic", codes),
    )
    known: dict[str, Any] = {
        "run_id": new_id("run_"), "session_id": new_id("session_"), "key": "k", "trigger": "manual",
        "routine": routine, "routine_digest": digest_of(routine), "minion_id": "", "agent": "tester",
        "engine": "messages", "process": "WF-ROUTINE-EXEC", "variant": "V01", "blocks": blocks, "block_names": {},
        "skills": skills, "report_skill": a_skill(folder, "execution-report"), "repositories": (),
        "limits": Limits(), "sandbox": "none", "effects": (), "since": NOW, "timezone": "Europe/Berlin",
        "run_dir": str(run_dir), "outbox_dir": str(folder / "outbox"), "secrets_file": "",
        "parent_pid": os.getpid(),
        "search_path": os.environ["PATH"], "model": DEFAULT_MODEL, "api_url": api.url,
    }  # fmt: skip
    return Order(**{**known, **fields})


def a_skill(folder: Path, name: str, **fields: Any) -> OrderedSkill:
    """A skill as copied for the run."""
    path = folder / "run" / "skills" / name
    path.mkdir(parents=True, exist_ok=True)
    (path / "SKILL.md").write_text(f"# {name}\n")
    said = {"description": f"The skill {name}.", "instructions": f"Do {name}.", **fields}
    return OrderedSkill(name, skill_code(name), str(path), "sha256:0", None, pinned=False, **said)


@asynccontextmanager
async def session_of(
    order: Order, api: MessagesApi, *, key: str | None = KEY, secrets: Sequence[str] = (), before: Any = None
) -> AsyncIterator[Opened]:
    """The order's session, open; texts in `secrets` are redacted wherever they stand."""
    from server.contract.redaction import Redactor

    budget = Budget(order.limits, exploration=order.policy.exploration_budget, prices=order.prices)
    ledger, run_dir = Noted(budget), Path(order.run_dir)
    async with open_host(run_dir) as host:
        stage = Stage(
            order, host, (Workplace("shop", str(run_dir / "workspace" / "shop"), "/nowhere", "main"),),
            {skill.name: skill.path for skill in order.skills}, str(run_dir / "scratch"), {}, "python3", NOW,
            Redactor([KEY, *secrets]).data, ledger, ApiAccess(key, api.url) if key is not None else None,
        )  # fmt: skip
        session = await MessagesEngine().open(stage)
        try:
            yield Opened(session, order, ledger, api)
        finally:
            await session.close()


def resumed(order: Order) -> Order:
    """The order with which an interrupted run goes on."""
    return replace(order, resumed={})
