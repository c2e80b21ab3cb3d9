"""What a run's session may ask of the runner: its log, its budget, its desk (`Ledger` of the engines)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Literal

from minion.engines.base import StagedEffect, StepEnd, Stop, Used
from minion.runner.blocks import Ending, Walk
from minion.runner.budget import Budget
from server.contract.digest import new_id
from server.contract.run import StepKind

Level = Literal["info", "warning", "error"]


class RunLedger:
    """The ledger of one run. `gap` records a gap once; `refusal` looks at an effect as the desk would."""

    def __init__(
        self, walk: Walk, budget: Budget, *, gap: Callable[[str, str, str], Awaitable[None]],
        refusal: Callable[[StagedEffect, int], str | None], refused: Callable[[], Stop | None],
    ) -> None:  # fmt: skip
        self._walk = walk
        self._budget = budget
        self._gap = gap
        self._refusal = refusal
        self._refused = refused
        self._news: list[str] = []

    def step(
        self, code: str, *, kind: StepKind = "step", given: Any = None
    ) -> AbstractAsyncContextManager[StepEnd]:
        """One step of the run's log."""
        return self._walk.step(code, kind=kind, given=given)

    async def log(self, level: Level, text: str) -> None:
        """Write a line to the run's log."""
        await self._walk.say("log", {"level": level, "text": text})

    async def gap(self, gap_type: str, requested_code: str, description: str) -> None:
        """Record a capability that the run lacked."""
        await self._gap(gap_type, requested_code, description)

    async def ask(self, question: str) -> str:
        """Put a question into the minion's inbox; the decision's id."""
        decision = new_id("dec_")
        await self._walk.say("decision", {"id": decision, "question": question})
        return decision

    async def used(self, used: Used) -> None:
        """Have a model call counted by the daemon, which may let no other follow, before this returns."""
        near = self._budget.take(used)
        tokens = used.tokens
        said = {
            "model": used.model, "turns": used.turns, "tokens": tokens.total, "dollars": round(used.dollars, 6),
            "input_tokens": tokens.input, "output_tokens": tokens.output, "cache_read_tokens": tokens.cache_read,
            "cache_write_tokens": tokens.cache_write + tokens.cache_write_1h,
        }  # fmt: skip
        await self._walk.say("usage", said)
        self._budget.refused = self._budget.refused or self._refused()
        for words in near:
            await self.log("warning", f"{words}.")

    def stop_before_call(self, *, report: bool) -> Stop | None:
        """Why no model call may follow; None when one may."""
        return self._budget.stop_before_call(report=report)

    def most_output(self, model: str, prompt: int) -> int:
        """The tokens that the next call may write."""
        return self._budget.most_output(model, prompt)

    def explore(self) -> Stop | None:
        """Count the turn under way as one off the canonical steps; why that may not be, when it may not."""
        return self._budget.explore()

    def effect_refusal(self, wish: StagedEffect, *, ahead: int) -> str | None:
        """Why an effect would be refused; None when it would be performed."""
        return self._refusal(wish, ahead)

    def tell(self, words: str) -> None:
        """Put a line to what the session should know."""
        self._news.append(words)

    def news(self) -> list[str]:
        """What happened since this was asked last."""
        told, self._news = self._news, []
        return told


class NoLedger:
    """The ledger of a session that is only tried out, as the doctor does: nothing is kept, no model is called."""

    def step(
        self, code: str, *, kind: StepKind = "step", given: Any = None
    ) -> AbstractAsyncContextManager[StepEnd]:
        """A step that nobody hears of."""
        return _unheard(code, kind, given)

    async def log(self, level: Level, text: str) -> None:
        """Nobody reads it."""

    async def gap(self, gap_type: str, requested_code: str, description: str) -> None:
        """Nobody records it."""

    async def ask(self, question: str) -> str:  # noqa: ARG002 - the Protocol's signature
        """Nobody is asked."""
        return new_id("dec_")

    async def used(self, used: Used) -> None:
        """Nothing is counted."""

    def stop_before_call(self, *, report: bool) -> Stop | None:  # noqa: ARG002 - the Protocol's signature
        """No model is called in a trial."""
        return Stop("a trial calls no model", "run the routine")

    def most_output(self, model: str, prompt: int) -> int:  # noqa: ARG002 - the Protocol's signature
        """Nothing."""
        return 0

    def explore(self) -> Stop | None:
        """Whatever it likes."""
        return None

    def effect_refusal(self, wish: StagedEffect, *, ahead: int) -> str | None:  # noqa: ARG002 - the Protocol's signature
        """None is refused: none is performed."""
        return None

    def news(self) -> list[str]:
        """None."""
        return []


@asynccontextmanager
async def _unheard(*_: object) -> AsyncIterator[Ending]:
    yield Ending()
