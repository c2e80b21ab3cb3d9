"""The clock of one run: what is left for its tasks, and what is kept back for the report."""

from __future__ import annotations

import time

from server.contract.quota import Limits


class Budget:
    """Counts elapsed time from its making, on the clock that no adjustment moves (seconds)."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._started = time.monotonic()
        self.timed_out = False

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
