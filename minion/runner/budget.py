"""What is left of a run's time, turns, tokens and dollars for its tasks, and what is kept back for the report."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

from minion.engines.base import Stop, Used
from server.contract.prices import price_of
from server.contract.quota import WARNING_SHARE, Limits

# Turns kept back for the report, and the share of tokens and dollars: that of the wall clock is in `Limits`.
REPORT_TURNS: Final = 2
REPORT_SHARE: Final = 0.1
# The most and the least tokens that one call is let to write: below that no answer is worth its prompt.
MOST_OUTPUT: Final = 16_384
LEAST_OUTPUT: Final = 256
_HINTS: Final = {
    "turns": "raise limits.turns, or have the routine do less",
    "tokens": "raise limits.tokens, or have the routine do less",
    "dollars": "raise limits.dollars, choose a cheaper model, or have the routine do less",
}


class Budget:
    """Counts elapsed time from its making, on the clock that no adjustment moves (seconds), and what calls used.

    `refused` is set when the minion lets no further call be made, whatever the run has left.
    """

    def __init__(
        self, limits: Limits, *, exploration: float = 0.0, prices: Mapping[str, Any] | None = None
    ) -> None:
        self._limits = limits
        self._exploration = exploration
        self._prices = prices
        self._started = time.monotonic()
        self._warned: set[str] = set()
        self._explored: set[int] = set()
        self.timed_out = False
        self.turns = 0
        self.tokens = 0
        self.dollars = 0.0
        self.refused: Stop | None = None

    @property
    def elapsed_s(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self._started

    def left_for_tasks(self) -> float:
        """Seconds that the next task may take; never below a tenth, so that it is started and can be stopped."""
        return max(0.1, self._limits.wall_clock_s - self._limits.report_reserve_s - self.elapsed_s)

    def left_for_report(self) -> float:
        """Seconds that the report may take: what is left, at least half of the reserve."""
        return max(self._limits.report_reserve_s / 2, self._limits.wall_clock_s - self.elapsed_s)

    def begin_at(self, used: Mapping[str, float], *, explored: int = 0) -> None:
        """Count what earlier sessions of the run used: `turns`, `tokens` and `dollars`, and turns `explored`."""
        self._explored = set(range(-explored, 0))
        self.turns, self.tokens = int(used.get("turns", 0)), int(used.get("tokens", 0))
        self.dollars = float(used.get("dollars", 0.0))

    def take(self, used: Used) -> list[str]:
        """Count a model call; the caps, in words, of which it was the one that passed 80 %."""
        self.turns += used.turns
        self.tokens += used.tokens.total
        self.dollars = round(self.dollars + used.dollars, 6)
        near = [name for name, spent, cap in self._caps() if spent >= cap * WARNING_SHARE]
        new = [name for name in near if name not in self._warned]
        self._warned.update(new)
        return [f"{self._spell(name)} of {self._spell_cap(name)} are used" for name in new]

    def stop_before_call(self, *, report: bool) -> Stop | None:
        """Why no call may follow; None when one may. A task leaves alone what is kept back for the report."""
        if self.refused is not None:
            return self.refused
        for name, spent, cap in self._caps():
            if spent >= (cap if report else cap - self._reserve(name, cap)):
                kept = "" if spent >= cap else "; the rest is kept for the report"
                return Stop(f"the run reached its cap of {self._spell_cap(name)}{kept}", _HINTS[name])
        if self._limits.tokens - self.tokens < LEAST_OUTPUT:
            return Stop("what is left of its tokens is too little for an answer", _HINTS["tokens"])
        return None

    def most_output(self, model: str, prompt: int) -> int:
        """The tokens that the next call may write, so that it passes no cap by more than it reads."""
        price = price_of(model, self._prices)
        if price is None:
            return LEAST_OUTPUT
        rates = price.of(prompt)
        left = max(0.0, self._limits.dollars - self.dollars - prompt * rates.input / 1e6)
        by_dollars = int(left / rates.output * 1e6)
        by_tokens = self._limits.tokens - self.tokens - prompt
        return max(LEAST_OUTPUT, min(MOST_OUTPUT, by_dollars, by_tokens))

    def explore(self) -> Stop | None:
        """Count the turn under way as one off the canonical steps; why that may not be, when it may not."""
        most = int(self._exploration * self._limits.turns + 1e-9)
        if self.turns not in self._explored and len(self._explored) >= most:
            why = f"the variant lets {most} of the run's turns take other steps, and they are used."
            return Stop(why, "Go on with the steps that the task stands for.")
        self._explored.add(self.turns)
        return None

    def _caps(self) -> list[tuple[str, float, float]]:
        limits = self._limits
        return [
            ("turns", self.turns, limits.turns), ("tokens", self.tokens, limits.tokens),
            ("dollars", self.dollars, limits.dollars),
        ]  # fmt: skip

    def _reserve(self, name: str, cap: float) -> float:
        if name == "turns":
            return REPORT_TURNS if cap > 2 * REPORT_TURNS else 0
        return cap * REPORT_SHARE

    def _spell(self, name: str) -> str:
        return f"${self.dollars:.4f}" if name == "dollars" else f"{getattr(self, name):,} {name}"

    def _spell_cap(self, name: str) -> str:
        cap = getattr(self._limits, name)
        return f"${cap:g}" if name == "dollars" else f"{cap:,} {name if cap != 1 else name.removesuffix('s')}"
