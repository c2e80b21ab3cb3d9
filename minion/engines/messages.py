"""The `messages` engine: the Anthropic API performs a run's tasks, in one conversation for the whole pipeline.

Read `MessagesSession._turns` first: a task was told; the model answers and calls tools until it ends its turn.
Every answer, call and decision is in the run's log, and every message in its transcript before the next call.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from minion.engines import briefing
from minion.engines.base import Interruption, Stage, StagedEffect, Stop, Stopped, TaskResult, Used
from minion.engines.conversation import REPORT_TASK, Block, Conversation, result, text
from minion.engines.model_calls import CHARACTERS, COMPACT_AT, ModelAnswer, ModelCaller, Request
from minion.engines.served import ServedTools, Task
from minion.engines.task_document import place_of_document, task_document
from minion.engines.tool_calls import ToolCalls
from minion.engines.troubles import Kind, Trouble
from minion.wire import OrderedSkill
from server.contract.digest import canonical_json
from server.contract.prices import Price, Tokens, price_of
from server.contract.topology import PROMPT_STEP

# Answers in a row that were cut off before a task counts as not to be done, and turns that the report may take.
_MOST_CUT: Final = 3
_REPORT_TURNS: Final = 3
_WRITE_S: Final = 10.0
_TRY_AGAIN: Final = frozenset({"cut_off"})


class MessagesEngine:
    """Executes skills and prompts by the Messages API."""

    name = "messages"

    async def open(self, stage: Stage) -> MessagesSession:
        """The run's session: a new conversation, or the one that was interrupted. Raises `Interruption`."""
        if stage.api is None:
            hint = f"minion secret set anthropic_api_key, then minion resume {stage.order.run_id}"
            raise Interruption("The API's key, the secret anthropic_api_key, is not there.", hint=hint)
        run_dir = Path(stage.order.run_dir)
        goes_on = stage.order.resumed is not None
        return MessagesSession(stage, Conversation.resumed(run_dir) if goes_on else Conversation.begun(run_dir))


class MessagesSession:
    """One session of a model: tasks in order, then the report."""

    def __init__(self, stage: Stage, conversation: Conversation) -> None:
        self._stage = stage
        self._ledger = stage.ledger
        self._conversation = conversation
        self._tools = ToolCalls(stage, ServedTools(stage, conversation))
        order = stage.order
        assert stage.api is not None  # noqa: S101 - the engine opens no session without
        self._caller = ModelCaller(
            stage.api, run=order.run_id, environment=order.passed_env, redact=stage.redact, told=self._tried
        )
        self._claim: Mapping[str, Any] | None = None
        self._model = order.model
        # Tokens that the next call will read at least, and whether it is one for the report.
        self._read = conversation.size // CHARACTERS
        self._reporting = False
        self._most = 0  # tokens that the last call was let to write
        self._cost = {"turns": 0, "tokens": 0, "dollars": 0.0}

    async def close(self) -> None:
        """Let go of the connection and the transcript."""
        await self._caller.close()
        self._conversation.close()

    async def skill(
        self, skill: OrderedSkill, earlier: Sequence[tuple[str, TaskResult]], *, timeout_s: float
    ) -> TaskResult:
        """Have the model perform a skill."""
        number = len(earlier) + 1
        told = briefing.skill_task(self._stage, skill, number, await self._document(skill, earlier))
        task = Task(skill.code, skill, number == len(self._stage.order.skills))
        return await self._task(number, task, told, earlier, skill.model or self._stage.order.model, timeout_s)

    async def _document(self, skill: OrderedSkill, earlier: Sequence[tuple[str, TaskResult]]) -> str | None:
        """Put what a skill's script reads where the model can hand it on; None for a skill without a script."""
        path = place_of_document(self._stage, skill)
        if path is None:
            return None
        said = canonical_json(self._stage.redact(task_document(self._stage, skill.name, earlier)))
        write = {"tool": "write", "path": path, "content": said}
        done = await self._stage.tools.file(write, cwd=self._stage.scratch, timeout_s=_WRITE_S, max_bytes=4096)
        return path if done.exit == 0 else None

    async def prompt(self, *, timeout_s: float) -> TaskResult:
        """Have the model do what the routine's prompt says."""
        task = Task(PROMPT_STEP, None, last=True)
        return await self._task(
            1, task, briefing.prompt_task(self._stage), (), self._stage.order.model, timeout_s
        )

    async def report(
        self,
        earlier: Sequence[tuple[str, TaskResult]],
        *,
        facts: Mapping[str, Any],
        reminder: str | None,
        timeout_s: float,
    ) -> Mapping[str, Any] | None:
        """The model's report; one made with the last task counts. Raises `Stopped` when it can make none."""
        if self._claim is not None and reminder is None:
            return self._claim
        task = Task("report_execution", None, last=True, reporting=True)
        self._tell(REPORT_TASK, task, briefing.report_task(facts, earlier, reminder), earlier)
        try:
            async with asyncio.timeout(timeout_s):
                await self._turns(task, self._stage.order.model, time.monotonic() + timeout_s, _REPORT_TURNS)
        except TimeoutError:
            why = "the time that is kept back for the report was over"
            raise Stopped(Stop(why, "raise limits.wall_clock_s")) from None
        except Trouble as trouble:
            raise Stopped(Stop(trouble.why, trouble.hint)) from trouble
        finally:
            self._conversation.settle("the time was over")
        return self._stage.redact(task.progress.claim) if task.progress.claim is not None else None

    async def _task(
        self, number: int, task: Task, told: str, earlier: Sequence[tuple[str, TaskResult]], model: str,
        timeout_s: float,
    ) -> TaskResult:  # fmt: skip
        began, until = time.monotonic(), time.monotonic() + timeout_s
        self._cost = {"turns": 0, "tokens": 0, "dollars": 0.0}
        self._tell(number, task, told, earlier)
        ended: dict[str, Any]
        try:
            async with asyncio.timeout(timeout_s):
                ended = await self._tries(task, model, until)
        except TimeoutError:
            hint = "raise limits.wall_clock_s, or have it do less"
            ended = {"state": "failed", "why": "the time was over", "hint": hint, "timed_out": True}
        except Stopped as stopped:
            ended = {"state": "failed", "why": stopped.stop.why, "hint": stopped.stop.hint}
        except Trouble as trouble:
            if trouble.later:
                raise Interruption(trouble.why, hint=trouble.hint) from trouble
            ended = {"state": "failed", "why": trouble.why, "hint": trouble.hint}
        finally:
            self._conversation.settle("the task had ended")
        if task.progress.failed is not None and ended["state"] == "completed":
            ended |= {"state": "failed", "why": task.progress.failed}
        self._claim = task.progress.claim if task.last else None
        effects = tuple(StagedEffect(**wish) for wish in self._stage.redact(task.progress.effects))
        spent = round((time.monotonic() - began) * 1000)
        return TaskResult(**ended, effects=effects, duration_ms=spent, cost=dict(self._cost))

    def _tell(self, number: int, task: Task, told: str, earlier: Sequence[tuple[str, TaskResult]]) -> None:
        """Begin a task, or go on with the one at which the run was interrupted."""
        conversation = self._conversation
        if conversation.task == number and number != REPORT_TASK:
            conversation.settle("the run was interrupted")
            conversation.add("user", [text(briefing.going_on(conversation.progress.effects))])
            task.progress = conversation.progress
            return
        parts = [] if conversation.messages else [briefing.opening(self._stage)]
        unseen = [each for place, each in enumerate(earlier, 1) if place not in conversation.tasks]
        if unseen:  # what was kept of them is gone, or they took no model
            parts.append(briefing.done_before(unseen))
        conversation.begin(number, [text(self._stage.redact(part)) for part in (*parts, told)])
        task.progress = conversation.progress

    async def _tries(self, task: Task, model: str, until: float) -> dict[str, Any]:
        """Do a task, begun again as often as the variant's policy lets it."""
        for left in range(self._stage.order.policy.max_retries, -1, -1):
            try:
                said = await self._turns(task, model, until)
                return self._said(said)
            except Trouble as trouble:
                waits = trouble.wait_s is not None
                if not left or waits or not (trouble.again or trouble.kind in _TRY_AGAIN):
                    raise
                async with self._ledger.step("retry", kind="decision", given=trouble.why) as end:
                    end.why = f"tried again: {trouble.why}"[:300]
                self._conversation.settle("the attempt was given up")
                if not trouble.again:
                    self._conversation.add("user", [text(briefing.begin_again(trouble.why))])
        raise AssertionError("the last try returns or raises")

    async def _turns(self, task: Task, model: str, until: float, most: int | None = None) -> str:
        """The model answers and calls tools until it ends its turn; its last words.

        Raises `Stopped` at a cap, `Trouble` when it comes to no answer.
        """
        words, pieces, cut, turns = "", list[str](), 0, 0
        while most is None or turns < most:
            turns += 1
            answer = await self._answer(task, model, until)
            if answer.text.strip():
                pieces.append(answer.text)
                words = "\n".join(pieces)
            content = _as_kept(answer)
            if content:
                self._conversation.add("assistant", content)
            if answer.stop == "max_tokens":
                cut += 1
                if cut == _MOST_CUT:
                    raise Trouble("cut_off", model=model, run=self._stage.order.run_id, words=str(self._most))
                self._conversation.add("user", [text(briefing.cut_short(self._most))])
                continue
            cut, pieces = 0, []
            calls = [block for block in content if block.get("type") == "tool_use"]
            if calls:
                await self._use(calls, task, until)
            if task.reporting and task.progress.claim is not None:
                return words
            if not calls and answer.stop not in ("pause_turn", "compaction"):
                return words
        return words

    async def _use(self, calls: list[Block], task: Task, until: float) -> None:
        """Perform tool calls in order; their answers are kept one by one, so that none is lost with the rest."""
        for call in calls:
            left = max(0.1, until - time.monotonic())
            answer = await self._tools.perform(call, task, timeout_s=left)
            self._conversation.add("user", [result(call["id"], answer.text, failed=answer.failed)])

    async def _answer(self, task: Task, model: str, until: float) -> ModelAnswer:
        """One call, if the budget lets it be made; counted and kept before anything follows from it."""
        self._model, self._reporting = model, task.reporting
        price, stop = self._price, self._ledger.stop_before_call(report=task.reporting)
        if price is None or stop is not None:
            unpriced = Stop(f"nobody knows what {model} costs", "name its price as `prices` in minion.json")
            raise await self._stopped(stop or unpriced)
        last = self._conversation.messages[-1]
        self._most = self._ledger.most_output(model, self._read + len(str(last)) // CHARACTERS)
        request = Request(
            model, briefing.SYSTEM, self._tools.definitions, self._conversation.messages, self._most,
            compact_at=_compact_at(price),
        )  # fmt: skip
        async with self._ledger.step(model, kind="llm_response", given=last) as end:
            try:
                answer = await self._caller.answer(request, within_s=until - time.monotonic())
            except Trouble as trouble:
                end.state, end.why = "failed", trouble.why
                await self._count_cut(trouble.tokens)
                raise
            except Stopped as stopped:
                end.state, end.why = "failed", stopped.stop.why
                raise
            except asyncio.CancelledError:
                await self._count_cut(self._caller.unanswered)
                raise
            # It knows no secret, unless one leaked: then it goes no further than here. What only looks like one is
            # its own: a command or a file would not be what it meant, nor a thought what was signed.
            content = self._stage.redact(list(answer.content), shapes=False)
            answer = replace(answer, content=tuple(content))
            used = self._used(answer, price)
            end.out = list(answer.content)
            end.cost = {"turns": used.turns, "tokens": used.tokens.total, "dollars": used.dollars}
        await self._take(used)
        self._read = used.tokens.prompt + used.tokens.output
        if answer.stop in ("refusal", "model_context_window_exceeded"):
            kind: Kind = "refused" if answer.stop == "refusal" else "context_overflow"
            raise Trouble(kind, model=answer.model, run=self._stage.order.run_id, words=answer.detail)
        return answer

    @property
    def _price(self) -> Price | None:
        """What the model that is called costs; None where nobody knows."""
        return price_of(self._model, self._stage.order.prices)

    async def _stopped(self, stop: Stop) -> Stopped:
        """Log why no call may follow; what is raised then."""
        async with self._ledger.step("budget", kind="decision", given=stop.why) as end:
            end.state, end.why = "failed", f"no further call: {stop.why}"[:300]
        return Stopped(stop)

    def _used(self, answer: ModelAnswer, price: Price) -> Used:
        """What an answer used, at the price of the model that gave it, where that is known."""
        billed = price_of(answer.model, self._stage.order.prices) or price
        return Used(answer.model, answer.tokens, billed.dollars(answer.tokens))

    async def _tried(self, trouble: Trouble, wait_s: float) -> None:
        """A call failed and is tried again, unless what it used all the same leaves nothing. Raises `Stopped`."""
        await self._count_cut(trouble.tokens)
        stop = self._ledger.stop_before_call(report=self._reporting)
        if stop is not None:
            raise await self._stopped(stop)
        await self._ledger.log("warning", f"{trouble.why} Trying again in {wait_s:.1f} s.")

    async def _count_cut(self, tokens: Tokens | None) -> None:
        """Count a call that came to no answer: it is billed, as far as it came."""
        price = self._price
        if tokens is not None and price is not None:
            await self._take(Used(self._model, tokens, price.dollars(tokens), turns=0))

    async def _take(self, used: Used) -> None:
        for name, amount in (("turns", used.turns), ("tokens", used.tokens.total), ("dollars", used.dollars)):
            self._cost[name] = round(self._cost[name] + amount, 6)
        await self._ledger.used(used)

    def _said(self, words: str) -> dict[str, Any]:
        """A task's last words as its result, no longer than the routine lets a skill say."""
        whole: str = self._stage.redact(words)
        body = whole.encode("utf-8", "replace")
        most = self._stage.order.limits.output_bytes
        over = max(0, len(body) - most)
        said = body[:most].decode("utf-8", "ignore") if over else whole
        return {"state": "completed", "text": said, "truncated": over}


def _as_kept(answer: ModelAnswer) -> list[Block]:
    """An answer as it is sent back: without blank text, which the API refuses.

    A call that was cut off is half a call: it is not made, and not shown as made. Nor is half a thought.
    """
    content = [block for block in answer.content if block.get("type") != "text" or block["text"].strip()]
    if answer.stop != "max_tokens":
        return content
    content = [block for block in content if block.get("type") != "tool_use"]
    return content if any(block.get("type") == "text" for block in content) else []


def _compact_at(price: Price) -> int:
    """The tokens at which the API sums up: before a prompt is billed as a long one, where that costs more."""
    return min(COMPACT_AT, price.long_over * 9 // 10) if price.long_over is not None else COMPACT_AT
