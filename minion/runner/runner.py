"""The main path of one run, from the order to its end: trigger, repositories, session, delivery.

Read `Run.perform` first. Blocks and their steps come from the process in the order (DESIGN §5); this module
knows what each rigid step means and that an elastic block opens one session.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final, Literal

from minion.clock import Clock
from minion.engines.base import ApiAccess, Interruption, Session, Stage, StagedEffect, TaskResult
from minion.engines.registry import API_KEY, engine_named
from minion.runner.blocks import BlockFailed, Ending, Walk
from minion.runner.budget import Budget
from minion.runner.checks import Check, check_before_delivery, check_delivered
from minion.runner.closing_report import ClosingReport
from minion.runner.delivery import Delivery
from minion.runner.effect import Effect
from minion.runner.effects import EffectDesk
from minion.runner.ledger import RunLedger
from minion.runner.link import DaemonLink, DaemonLost
from minion.runner.report import Report
from minion.runner.resumed import Before
from minion.runner.stage import set_stage
from minion.runner.trigger import validate_trigger
from minion.runner.workspace import Workspace, WorkspaceFailed, dispose, lay_out, stand_again
from minion.wire import Order, OrderedSkill
from server.contract.digest import instant
from server.contract.quota import GAPS_PER_RUN
from server.contract.topology import PROMPT_STEP, CanonicalBlock, code_for

End = Literal["completed", "failed", "cancelled", "timed_out", "interrupted"]
# Pushes and pull requests publish work; a failed check withholds them, but people are still told (DECISIONS).
WITHHELD_BY_CHECKS: Final = frozenset({"push", "pull_request"})


class Run:
    """One run under way: what its blocks hand to each other."""

    def __init__(
        self, order: Order, link: DaemonLink, clock: Clock, secrets: Mapping[str, str], before: Before
    ) -> None:
        self.order = order
        self.link = link
        self.clock = clock
        self.before = before
        self.walk = Walk(link, dict(order.block_names), order.agent, steps=before.steps)
        self.budget = Budget(
            order.limits, exploration=order.policy.exploration_budget, prices=order.prices
        )
        self.budget.begin_at(before.used, explored=before.explored)
        self.desk = EffectDesk.of(order, secrets, before.effects)
        self.delivery = Delivery(self.walk, link, self.desk)
        self.report = ClosingReport(self.walk, link, self.budget, before)
        self.ledger = RunLedger(
            self.walk, self.budget, gap=self._gap, refusal=self._refusal_of, refused=link.refused
        )
        key = secrets.get(API_KEY)
        self.api = ApiAccess(key, order.api_url) if key is not None else None
        self.session: Session | None = None
        # What is being told of connections that were turned away.
        self.telling: set[asyncio.Future[None]] = set()
        self.workspace: Workspace | None = None
        self.stage: Stage | None = None
        self.results: list[tuple[str, TaskResult]] = list(before.results)
        self.checks: list[Check] = list(before.checks)
        self.gaps: list[dict[str, Any]] = list(before.gaps)
        self.budget.timed_out = any(result.timed_out for _, result in self.results)
        self.walked = False
        self.rigid: dict[str, Callable[[], Awaitable[None]]] = {
            "TSK-VALIDATE-TRIGGER": self.validate_trigger,
            "SCR-CLONE-REPO": self.prepare_workspace,
            "SCR-PUSH-BRANCH": self.deliver,
        }

    async def perform(self) -> End:
        """Walk the process to its end and say `run.finished`. Raises `DaemonLost` when nobody listens."""
        end, why, hint = await self._walk_blocks()
        self.walked = True
        await self.close()
        await self._told()
        if end == "completed":
            await asyncio.to_thread(dispose, Path(self.order.run_dir), keep_git=self.desk.needs_git)
        await self.walk.say("usage", {"wall_ms": round(self.budget.elapsed_s * 1000)})
        await self.walk.say("run.finished", {"state": end, "why": why, "hint": hint})
        return end

    async def _walk_blocks(self) -> tuple[End, str | None, str | None]:
        blocks = self.order.blocks
        for number, block in enumerate(blocks):
            try:
                if block.code in self.before.blocks:
                    await self._pass_block(block, *self.before.blocks[block.code])
                else:
                    await self._walk_block(block)
            except BlockFailed as error:
                await self._skip(blocks[number + 1 :], f"{block.code} failed")
                await self._report_early_failure(error)
                return "failed", error.why, error.hint
            except Interruption as error:
                return "interrupted", error.why, error.hint
            except asyncio.CancelledError:
                if self.link.lost.is_set():
                    raise DaemonLost from None
                await self._skip(blocks[number + 1 :], "the run was stopped")
                await self.delivery.withhold("the run was stopped")
                timed_out = self.link.cancel_reason == "timeout"
                return ("timed_out" if timed_out else "cancelled"), self.link.cancel_reason, None
        return self._end_of_tasks()

    async def _walk_block(self, block: CanonicalBlock) -> None:
        async with self.walk.block(block) as ending:
            if block.kind == "elastic":
                await self.execute(ending)
                return
            (code,) = block.steps
            async with self.walk.step(code, given=self.order.routine_digest):
                await self.rigid[code]()

    async def _pass_block(self, block: CanonicalBlock, state: str, why: str | None) -> None:
        """A block that ended before the run was interrupted: it is not walked again, and means what it meant."""
        if block.kind == "rigid" and state == "failed":
            raise BlockFailed(why or "It failed before the run was interrupted.", hint="run the routine again")
        if block.kind == "elastic":
            # The run goes on in a session of its own, in which nothing is left to do.
            await self._open_session(self.before.sandbox or "unsandboxed")

    async def validate_trigger(self) -> None:
        """Block .01: the order is whole, meant for this minion, and asks for nothing that is missing."""
        for gap in validate_trigger(self.order):
            await self._gap(*gap)
        if self.gaps:
            raise BlockFailed(
                self.gaps[0]["description"], hint="remove it from the routine, or add it to the minion"
            )

    async def prepare_workspace(self) -> None:
        """Block .02: repositories cloned, environment set up, the tool host around them started."""
        try:
            self.workspace = await lay_out(self.order)
        except WorkspaceFailed as error:
            raise BlockFailed(str(error), hint="check the routine's repositories") from error
        self.stage = await self._set_stage(self.workspace)
        for repository in self.workspace.repositories:
            at = repository.head or "no commit"
            await self.walk.say("log", {"level": "info", "text": f"cloned {repository.ordered.name} at {at}"})

    async def _set_stage(self, workspace: Workspace) -> Stage:
        now, redact = instant(self.clock()), self.link.redact
        return await set_stage(
            self.order, workspace, now=now, redact=redact, ledger=self.ledger, api=self.api, blocked=self._blocked
        )

    def _blocked(self, host: str, port: int, why: str) -> None:
        """The proxy turned a connection away: the session hears of it at once, the log and the gaps soon."""
        where = f"{host}:{port}" if port else host
        words = f"host_not_allowed: {where} {why}"
        self.ledger.tell(words)
        gap = ("permission", code_for("TSK-REACH", host), f"The run wanted to reach {where}, which {why}.")
        self.telling.add(asyncio.ensure_future(self._tell_blocked(words, gap)))

    async def _tell_blocked(self, words: str, gap: tuple[str, str, str]) -> None:
        await self.walk.say("log", {"level": "warning", "text": words})
        await self._gap(*gap)

    async def _told(self) -> None:
        """Everything that was turned away is in the log."""
        while self.telling:
            await self.telling.pop()

    async def close(self) -> None:
        """Let go of the session and of the tool host with all it started; may be called often."""
        if self.session is not None:
            await self.session.close()
        if self.stage is not None:
            await self.stage.tools.close()

    async def _workspace_again(self) -> Workspace:
        """The workspace as the interrupted session left it."""
        try:
            self.workspace = await stand_again(self.order)
        except WorkspaceFailed as error:
            raise BlockFailed(str(error), hint="run the routine again") from error
        return self.workspace

    async def _open_session(self, sandbox: str) -> None:
        opened = {"session_id": self.order.session_id, "engine": self.order.engine, "sandbox": sandbox}
        await self.walk.say("session.opened", opened)

    async def execute(self, ending: Ending) -> None:
        """Block .03: one session; every skill of the pipeline in order, or the prompt; then the report."""
        if self.stage is None and self.order.resumed is not None:
            self.stage = await self._set_stage(await self._workspace_again())
        if self.stage is None:
            raise BlockFailed("The session has no workspace.", hint="the process has no block that prepares one")
        await self._open_session("bubblewrap" if self.stage.tools.sandboxed else "unsandboxed")
        session = self.session = await engine_named(self.order.engine).open(self.stage)
        for skill in self.order.skills[len(self.results) :]:
            await self._perform_skill(session, skill)
        if not self.order.skills and not self.results:
            await self._perform_prompt(session)
        await self._check_expectations()
        await self._told()
        facts = {
            "id": self.order.run_id,
            "gaps": self.gaps,
            "checks": [check.as_event() for check in self.checks],
        }
        await self.report.make(session, self.results, facts)
        # What the session left running ends here: nothing of it writes while its work is pushed.
        await self.close()
        states = {result.state for _, result in self.results}
        ending.state = "failed" if "failed" in states else "completed" if "completed" in states else "skipped"

    async def deliver(self) -> None:
        """Block .04: perform what was staged and allowed, each with its intent committed first."""
        failed_check = next((check for check in self.checks if check.state == "failed"), None)
        delivered, left = self.desk.delivered(), self.desk.left
        for effect in left:
            if self.budget.timed_out:
                await self.delivery.result(effect, "withheld", "the run ran out of time")
            elif failed_check is not None and effect.kind in WITHHELD_BY_CHECKS:
                await self.delivery.result(effect, "withheld", f"the check {failed_check.expected!r} failed")
            else:
                delivered += await self.delivery.perform(effect, await self._workspace_now())
        said = sum(check.kind == "delivered" for check in self.checks)
        for expectation in self._expected(delivered=True)[said:]:
            await self._checked(check_delivered(expectation["delivered"], delivered))

    async def _perform_skill(self, session: Session, skill: OrderedSkill) -> None:
        blocker = next((name for name, result in self.results if result.state != "completed"), None)
        if blocker is not None:
            why = f"{blocker} did not complete"
            self.results.append((skill.name, TaskResult("skipped", why=why)))
            await self.walk.skip_step(skill.code, why)
            return
        async with self.walk.step(skill.code, given=[skill.digest, self.order.input]) as ending:
            timeout_s = self.budget.left_for_tasks()
            result = self.before.pending or await session.skill(skill, self.results, timeout_s=timeout_s)
            ending.state, ending.why, ending.out = result.state, result.why, [result.text, dict(result.data)]
            await self._take_result(skill.name, result)

    async def _perform_prompt(self, session: Session) -> None:
        given = [self.order.routine.get("content"), self.order.input]
        async with self.walk.step(PROMPT_STEP, given=given) as ending:
            timeout_s = self.budget.left_for_tasks()
            result = self.before.pending or await session.prompt(timeout_s=timeout_s)
            ending.state, ending.why, ending.out = result.state, result.why, result.text
            await self._take_result("prompt", result)

    async def _take_result(self, name: str, result: TaskResult) -> None:
        """Keep a task's result and stage its effects; of one that was kept before, stage what is left to stage."""
        self.results.append((name, result))
        self.budget.timed_out = self.budget.timed_out or result.timed_out
        if self.before.pending is not None:
            self.before.pending, staged = None, self.desk.staged
        else:
            staged = await self._keep_result(name, result)
        for effect in staged:
            if effect.id not in self.before.said:
                await self.walk.say("effect.staged", effect.as_event())

    async def _keep_result(self, name: str, result: TaskResult) -> list[Effect]:
        """Say what a task came to; the effects it wishes for, kept before the result is."""
        staged = []
        if self.workspace is not None and result.state == "completed":
            task = len(self.results)
            staged = [self.desk.take(wish, self.workspace, task=task) for wish in result.effects]
        if result.gap is not None:
            await self._gap(*result.gap)
        if result.log:
            level = "info" if result.state == "completed" else "error"
            await self.walk.say("log", {"level": level, "skill": name, "text": result.log})
        await self.walk.say(
            "skill.result",
            {
                "skill": name,
                "state": result.state,
                "text": result.text,
                "data": dict(result.data),
                "exit": result.exit,
                "truncated": result.truncated,
                "duration_ms": result.duration_ms,
                "why": result.why,
                "timed_out": result.timed_out,
                "effects": len(staged),
                **({"cost": dict(result.cost)} if result.cost else {}),
                **({"hint": result.hint} if result.hint is not None else {}),
            },
        )
        return staged

    def _expected(self, *, delivered: bool) -> list[Mapping[str, Any]]:
        return [each for each in self.order.routine.get("expect") or () if ("delivered" in each) == delivered]

    async def _check_expectations(self) -> None:
        if self.stage is None or self.workspace is None:
            return
        for expectation in self._expected(delivered=False)[len(self.checks) :]:
            check = await check_before_delivery(expectation, self.stage, self.workspace, self.results)
            if check is not None:
                await self._checked(check)

    async def _report_early_failure(self, error: BlockFailed) -> None:
        await self.delivery.withhold("the run failed")
        if not self.report.filed:
            await self.report.file(Report("failure", error.why, f"Hint: {error.hint}."), by="runner")

    async def _workspace_now(self) -> Workspace:
        """The workspace; of a run that goes on with this block, as it was left."""
        return self.workspace or await self._workspace_again()

    def _refusal_of(self, wish: StagedEffect, ahead: int) -> str | None:
        """Why an effect would be refused if it were staged after `ahead` others of the task under way."""
        return None if self.workspace is None else self.desk.refusal_of(wish, self.workspace, ahead=ahead)

    async def _checked(self, check: Check) -> None:
        self.checks.append(check)
        await self.walk.say("check", check.as_event())

    async def _gap(self, gap_type: str, requested_code: str, description: str) -> None:
        gap = {"gap_type": gap_type, "requested_code": requested_code, "description": description}
        # Else it was said before the run was interrupted, or the run has said as many as anybody would read.
        if gap not in self.gaps and len(self.gaps) < GAPS_PER_RUN:
            self.gaps.append(gap)
            await self.walk.say("gap", gap)

    async def _skip(self, blocks: tuple[CanonicalBlock, ...], why: str) -> None:
        for block in blocks:
            await self.walk.skip_block(block, why)

    def _end_of_tasks(self) -> tuple[End, str | None, str | None]:
        if self.budget.timed_out:
            return "timed_out", "a skill used up the run's time", "raise limits.wall_clock_s, or shorten the skill"
        failed = next(((name, r) for name, r in self.results if r.state == "failed"), None)
        if failed is not None:
            return "failed", f"{failed[0]}: {failed[1].why}", failed[1].hint
        return "completed", None, None


async def run_order(
    order: Order, link: DaemonLink, clock: Clock, secrets: Mapping[str, str], before: Before
) -> End:
    """Perform one run, or what an interrupted one left of it; stops at once when the daemon cancels it or is lost.

    Raises `DaemonLost`.
    """
    run = Run(order, link, clock, secrets, before)
    work = asyncio.ensure_future(run.perform())
    stop = asyncio.ensure_future(_stopped(link))
    try:
        await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
        # A cancel that comes after the last block comes too late: what was done is done, and is told.
        if not work.done() and (link.lost.is_set() or not run.walked):
            work.cancel()
        return await work
    except asyncio.CancelledError:
        raise DaemonLost from None
    finally:
        stop.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await stop
        await run.close()
        await asyncio.gather(*run.telling, return_exceptions=True)


async def _stopped(link: DaemonLink) -> None:
    waits = [asyncio.ensure_future(event.wait()) for event in (link.cancelled, link.lost)]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
