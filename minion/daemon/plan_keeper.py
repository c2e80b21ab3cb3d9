"""Notes once a day what the schedules promise for a week, and says where another version had promised otherwise.

Nothing waits for it: it works in small pieces between what the daemon does, and what goes wrong is only logged.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from minion.clock import Clock
from minion.daemon.plan import WEEK, Planner, difference
from minion.daemon.timetable import Timetable
from minion.store.plans import NotedPlan, Plan, forget_plans, note_plans, some_noted
from server.contract.digest import instant, parse_instant
from server.contract.refusals import Refusal

if TYPE_CHECKING:
    from minion.store.writer import Connection, Writer

_DAY_S: Final = 86_400.0
# First the daemon answers, and performs what is due.
_AFTER_S: Final = 1.0
_BATCH: Final = 500
# How long other things may wait for a piece of this work.
_PIECE_S: Final = 0.005
_TOLD: Final = 5
log = logging.getLogger(__name__)


@dataclass(slots=True)
class PlanKeeper:
    """Keeps the plans of all routines in a timetable; `zone` gives the minion's, `version` is the program's."""

    timetable: Timetable
    writer: Writer
    clock: Clock
    zone: Callable[[], str]
    version: str

    async def run(self) -> None:
        """Compare what was noted before, then note once a day, until cancelled."""
        await asyncio.sleep(_AFTER_S)
        while True:
            try:
                for sentence in await self.compare():
                    log.warning("%s", sentence)
                await self.note()
            except Refusal as refusal:
                log.error("what is due next week could not be noted: %s", refusal)
            await asyncio.sleep(_DAY_S)

    async def compare(self) -> list[str]:
        """Where a routine is not due as was noted, though neither it nor its zone was changed: a sentence each.

        That is for the log, a few of them and how many more: what has changed the times (time zone data, another
        version of the program) may well be right.
        """
        zone, now, after, found, many = self.zone(), instant(self.clock()), "", list[str](), 0
        planners: dict[tuple[str, str], Planner] = {}
        turn = _Turn()
        while noted := await self._some(zone, now, after):
            after = noted[-1].routine_id
            for one in noted:
                span = (one.plan.begins_at, one.plan.ends_at)
                if span not in planners:
                    planners[span] = Planner(parse_instant(span[0]), parse_instant(span[1]))
                if not self.timetable.entries(one.routine_id):
                    continue  # its file is gone, or bad: said elsewhere
                differs = difference(one.plan, self._plan(planners[span], one.routine_id))
                if differs is not None:
                    many += 1
                    found += [_sentence(one, *differs)] if many <= _TOLD else []
                await turn.give()
        return [*found, *([f"{many - _TOLD} more routines are due otherwise too"] if many > _TOLD else [])]

    async def note(self) -> int:
        """Note the coming week of every routine that is due by itself; how many. Raises `StoreFailed`."""
        now = self.clock()
        planner, zone = Planner(now, now + WEEK), self.zone()
        listed = self.timetable.listed()
        turn = _Turn()
        for start in range(0, len(listed), _BATCH):
            plans = []
            for routine_id in listed[start : start + _BATCH]:
                plans.append((routine_id, self._plan(planner, routine_id)))
                await turn.give()
            await self._write(plans, zone)
        await self.writer.transact(lambda db: forget_plans(db, but=instant(now)))
        return len(listed)

    async def _write(self, plans: list[tuple[str, Plan]], zone: str) -> None:
        async def write(db: Connection) -> None:
            await note_plans(db, plans, zone=zone, version=self.version)

        await self.writer.transact(write)

    async def _some(self, zone: str, now: str, after: str) -> list[NotedPlan]:
        return await self.writer.transact(
            lambda db: some_noted(db, zone=zone, now=now, after=after, most=_BATCH)
        )

    def _plan(self, planner: Planner, routine_id: str) -> Plan:
        return planner.plan(entry.schedule for entry in self.timetable.entries(routine_id))


class _Turn:
    """Lets others have theirs whenever a piece of work has taken its time."""

    def __init__(self) -> None:
        self._until = time.monotonic() + _PIECE_S

    async def give(self) -> None:
        """Let others go on, if it is time to."""
        if time.monotonic() > self._until:
            await asyncio.sleep(0)
            self._until = time.monotonic() + _PIECE_S


@asynccontextmanager
async def keeping_plans(keeper: PlanKeeper) -> AsyncIterator[None]:
    """Have it keep plans until the block ends."""
    task = asyncio.ensure_future(keeper.run())
    task.add_done_callback(_say_defect)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _say_defect(task: asyncio.Future[None]) -> None:
    if not task.cancelled() and (defect := task.exception()) is not None:
        log.error("what is due next week is not noted any more because of a defect", exc_info=defect)


def _sentence(noted: NotedPlan, was: str | None, is_: str | None) -> str:
    """What became of a promise, for the log."""
    if was == is_:
        return f"{noted.routine} is due at other times from {was} on than {noted.version} noted"
    return f"{noted.routine} is due at {is_ or 'nothing'}, and {noted.version} noted {was or 'nothing'}"
