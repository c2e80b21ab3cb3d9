"""Interrupted runs that are left alone for a while, because the API could not be used, and are then tried again.

Nothing of it is kept: when each may go on follows from the store, so that the next daemon knows it too.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime

from minion.store.run_resume import PAUSES, Interrupted


class Later:
    """The runs of one daemon that wait; `look` finds those that may go on by themselves, in the store."""

    def __init__(self, look: Callable[[], Awaitable[list[Interrupted]]]) -> None:
        self._look = look
        self._stirred = True
        self._waiting: list[Interrupted] = []
        # Each is tried once after each interruption: what stands in its way then is said of it.
        self._tried: set[tuple[str, datetime]] = set()

    def stir(self) -> None:
        """A run was interrupted, or what stands in the way of some may have changed: look anew."""
        self._stirred = True

    async def died(self) -> list[Interrupted]:
        """The runs whose runners died, which may go on at once. Raises `StoreFailed`."""
        return [run for run in await self._look() if run.not_before is None]

    async def due(self, now: datetime) -> list[Interrupted]:
        """The runs that have waited long enough by `now`, each once. Raises `StoreFailed`."""
        if self._stirred:
            self._waiting = [run for run in await self._look() if run.not_before is not None]
            self._stirred = False
        ready = [run for run in self._waiting if self._is_due(run, now)]
        self._waiting = [run for run in self._waiting if run not in ready]
        return ready

    def _is_due(self, run: Interrupted, now: datetime) -> bool:
        """Whether a run has waited long enough, and was not tried yet."""
        # Longer than any pause: the clock was set back.
        if run.not_before is None or now < run.not_before <= now + PAUSES[-1]:
            return False
        key = (run.run_id, run.not_before)
        new = key not in self._tried
        self._tried.add(key)
        return new
