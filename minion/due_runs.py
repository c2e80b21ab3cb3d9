"""Turns slots that came due into runs of a minion: each ends in a record, whatever stands in its way."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Callable
from typing import TYPE_CHECKING

from minion.clock import Clock
from minion.daemon.judgement import COULD_NOT_START
from minion.daemon.scheduler import Arrival, Scheduler
from minion.daemon.timetable import ON_TIME_S
from minion.daemon.triggers import Trigger
from minion.store.slots import SlotRecord, SlotState, hold, release, settle
from server.contract.digest import instant, parse_instant
from server.contract.refusals import Refusal, Refused, StoreFailed

if TYPE_CHECKING:
    from minion.app import Minion
    from minion.store.decisions import Decision
    from minion.store.writer import Connection
    from minion.wire import Order

_UNWRITTEN = "the store could not be written when it was due"
log = logging.getLogger("minion")


class DueRuns:
    """What one daemon does about slots.

    `began` hears of each run that was opened for one, `left` is called when a slot comes to something else.
    `stopping` tells whether nothing may start any more, `halted` why nothing may start until it is over.
    """

    def __init__(
        self, minion: Minion, clock: Clock, *,
        began: Callable[[Order], None], left: Callable[[], None], stopping: Callable[[], bool],
        halted: Callable[[], str | None],
    ) -> None:  # fmt: skip
        self._minion = minion
        self._clock = clock
        self._began = began
        self._left = left
        self._stopping = stopping
        self._halted = halted
        self._stranded: list[SlotRecord] = []

    async def perform(self, arrival: Arrival) -> None:
        """All that one slot asks for: its order, its run, and a record of it whatever happens."""
        slot = arrival.slot
        try:
            order = await self._opened(arrival)
        except StoreFailed:
            # Nothing was written, so nothing was begun: it is tried again once the store can be written.
            self._stranded.append(slot)
            return
        except Exception as defect:
            log.exception("the slot %s of %s failed", slot.key, slot.routine)
            await self._give_up(slot, f"a defect stopped it ({type(defect).__name__}), see daemon.log")
            return
        if order is not None:
            self._began(order)
            await self._minion.supervisor.perform(order)

    async def take_up_stranded(self, scheduler: Scheduler) -> None:
        """Try the slots again that could not be written down, as far as catching up allows.

        Raises `StoreFailed` when the store cannot be written still; they are kept then.
        """
        stranded = list(self._stranded)
        entries = [entry for slot in stranded for entry in scheduler.timetable.entries(slot.routine_id)]
        if stranded:
            await scheduler.resume(entries, only=stranded, because=_UNWRITTEN)
            self._stranded = self._stranded[len(stranded) :]

    async def decided(self, decision: Decision, *, approved: bool) -> list[SlotRecord]:
        """The slots that waited for a decision and are due again; with a rejection, none: they are skipped."""
        now = instant(self._clock())

        async def settled(db: Connection) -> list[SlotRecord]:
            slots = await release(db, decision.id)
            for slot in slots if not approved else ():
                why = f"{_rejected(decision)} ({decision.id})"
                await settle(db, slot.routine_id, slot.key, "skipped", now=now, why=why)
            return slots

        slots = await self._minion.writer.transact(settled)
        self._left()
        return slots if approved else []

    async def _opened(self, arrival: Arrival) -> Order | None:
        """The run of a slot, opened; None when it came to something else. Raises `StoreFailed`."""
        slot, minion = arrival.slot, self._minion
        if await self._is_halted(slot):
            return None
        trigger = Trigger("schedule", f"slot:{slot.routine_id}:{slot.key}", self._clock())
        try:
            order, lock = await minion.prepare(slot.routine, trigger, engine=None, repository=None)
        except StoreFailed:
            raise
        except Refusal as refusal:
            log.error("%s was due and %s%s", slot.routine, COULD_NOT_START, refusal.sentence)
            await self._give_up(slot, refusal.sentence)
            return None
        now, run_id = self._clock(), order.run_id
        age_s = (now - parse_instant(slot.due_at)).total_seconds() - arrival.rules.stagger
        # It may have waited long for its turn.
        state: SlotState = "late" if arrival.late or age_s >= ON_TIME_S else "ran"

        async def claimed(db: Connection) -> None:
            await settle(db, slot.routine_id, slot.key, state, now=instant(now), run_id=run_id)

        try:
            held = await minion.hold_of(order, lock)
            if held is not None:
                await self._hold(slot, held)
            elif not await self._is_halted(slot) and not self._stopping():
                await minion.supervisor.open(order, lock, also=claimed)
            # One that was stopped on the threshold stays due, for the next daemon.
        except Refused as refusal:
            log.error("%s was due and %s%s", slot.routine, COULD_NOT_START, refusal.sentence)
            await self._give_up(slot, refusal.sentence)
        finally:
            begun = run_id in minion.supervisor.under_way
            if not begun:
                await asyncio.to_thread(shutil.rmtree, order.run_dir, ignore_errors=True)
        return order if begun else None

    async def _is_halted(self, slot: SlotRecord) -> bool:
        """Whether the kill switch was thrown while a slot waited for its turn; it is skipped then."""
        why = self._halted()
        if why is not None:
            await self._skip(slot, why)
        return why is not None

    async def _give_up(self, slot: SlotRecord, what: str) -> None:
        """Have a slot end as skipped because it could not be started."""
        await self._skip(slot, COULD_NOT_START + what)

    async def _skip(self, slot: SlotRecord, why: str) -> None:
        """Have a slot end as skipped; tried again while the store fails."""
        now = instant(self._clock())
        try:
            await self._minion.writer.transact(
                lambda db: settle(db, slot.routine_id, slot.key, "skipped", now=now, why=why)
            )
        except StoreFailed:
            self._stranded.append(slot)
        except Refused as refusal:  # it has its record
            log.error("%s", refusal)
        self._left()

    async def _hold(self, slot: SlotRecord, decision: Decision) -> None:
        """Have a slot wait for a decision; one that waited before it has been overtaken."""
        now = instant(self._clock())
        rejected = decision.answer == "reject"
        what = f"skipped: {_rejected(decision)}" if rejected else decision.question
        log.warning("%s: due %s, %s (%s)", slot.routine, slot.shown, what, decision.id)

        async def hold_it(db: Connection) -> None:
            if rejected:
                why = f"{_rejected(decision)} ({decision.id})"
                await hold(db, slot.routine_id, slot.key, decision.id, why=why)  # so that its record names it
                await settle(db, slot.routine_id, slot.key, "skipped", now=now, why=why)
                return
            for earlier in await release(db, decision.id):
                why = f"it waited for {decision.id} until the next one was due"
                await settle(db, earlier.routine_id, earlier.key, "missed", now=now, why=why)
            await hold(db, slot.routine_id, slot.key, decision.id, why=decision.question)

        await self._minion.writer.transact(hold_it)
        self._left()


def _rejected(decision: Decision) -> str:
    """What a person said no to."""
    return "the change was rejected" if decision.kind == "lock" else "its run was rejected"
