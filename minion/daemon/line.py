"""The line before the runners: who may start now, who waits, and who is skipped because a run still goes on.

So many runs at once as the minion allows, at most half of them of one routine, so that one never starves the
others. Waiting slots are `due` in the store; a restart finds them there.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections import Counter, deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field

from minion.daemon.scheduler import Arrival
from minion.daemon.timetable import Rules
from server.contract.catch_up import overlap_decision

Start = Callable[[], Coroutine[None, None, None]]
log = logging.getLogger(__name__)


@dataclass(slots=True)
class Waiting:
    """What waits for its turn: a slot, or somebody who asked for a run now."""

    routine_id: str
    start: Start
    one_at_a_time: bool


@dataclass(slots=True)
class Line:
    """Counts runs by routine and starts what waits as places become free.

    `perform` does all that one arrival asks for, to the end of its run. `most` is how many may go on at once.
    """

    perform: Callable[[Arrival], Coroutine[None, None, None]]
    most: int
    closed: bool = False
    _running: Counter[str] = field(default_factory=Counter)
    _waiting: deque[Waiting] = field(default_factory=deque)
    _queued: Counter[str] = field(default_factory=Counter)
    _tasks: set[asyncio.Future[None]] = field(default_factory=set)

    def why_skipped(self, rules: Rules, *, caught_up: bool, begun: int) -> str | None:
        """Why a slot of a routine is to be skipped now; None when it may start or wait its turn."""
        # Who asked for every slot of a window gets them one after another, and not the first of them alone.
        queues = caught_up and rules.catch_up == "window" and rules.overlap == "skip"
        running, queued = self._running[rules.routine_id], self._queued[rules.routine_id] + begun
        decision = overlap_decision("queue" if queues else rules.overlap, running, queued)
        if decision != "skip":
            return None
        if rules.overlap == "queue" or queues:
            return f"{queued} slots of it wait already"
        return "its run before was still going"

    def take(self, arrival: Arrival) -> None:
        """Start an arrival, or have it wait its turn."""

        async def start() -> None:
            await self.perform(arrival)

        one_at_a_time = arrival.rules.overlap != "allow"
        self._enter(Waiting(arrival.rules.routine_id, start, one_at_a_time), first=False)

    def ask(self, routine_id: str, start: Start) -> None:
        """Start what a person asked for, before all that waits; beside a run of the same routine."""
        self._enter(Waiting(routine_id, start, one_at_a_time=False), first=True)

    def close(self) -> None:
        """Start nothing any more; what waits stays due in the store."""
        self.closed = True
        self._waiting.clear()
        self._queued.clear()

    async def drained(self) -> None:
        """Wait until nothing goes on."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    @property
    def going_on(self) -> int:
        """How many arrivals are under way."""
        return len(self._tasks)

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def _enter(self, item: Waiting, *, first: bool) -> None:
        self._queued[item.routine_id] += 1
        if first:
            self._waiting.appendleft(item)
        else:
            self._waiting.append(item)
        self._go_on()

    def _go_on(self) -> None:
        """Start all that waits and has a place, in their order."""
        kept: deque[Waiting] = deque()
        while self._waiting and len(self._tasks) < self.most and not self.closed:
            item = self._waiting.popleft()
            most = 1 if item.one_at_a_time else max(1, self.most // 2)
            if self._running[item.routine_id] >= most:
                kept.append(item)
            else:
                self._begin(item)
        self._waiting.extendleft(reversed(kept))

    def _begin(self, item: Waiting) -> None:
        self._running[item.routine_id] += 1
        self._queued -= Counter([item.routine_id])
        task = asyncio.ensure_future(item.start())
        self._tasks.add(task)
        task.add_done_callback(functools.partial(self._ended, item.routine_id))

    def _ended(self, routine_id: str, task: asyncio.Future[None]) -> None:
        self._tasks.discard(task)
        self._running -= Counter([routine_id])
        defect = None if task.cancelled() else task.exception()
        if defect is not None:  # nobody waits for it: said here, or nowhere
            log.error("what went on for %s stopped", routine_id, exc_info=defect)
        self._go_on()

