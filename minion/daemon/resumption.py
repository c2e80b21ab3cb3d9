"""Takes up an interrupted run again: checks that all it needs is still there, and makes the order to go on.

Nothing of it is done over that was done: the runner reads from the run's own events what is left (DESIGN §2,
"`interrupted → running` by resume only").
"""

from __future__ import annotations

import asyncio
import logging
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from minion.clock import Clock
from minion.config import Config
from minion.daemon.allowance import Allowance
from minion.daemon.kept_order import OrderLost, kept_order
from minion.daemon.orders import new_token
from minion.daemon.reconciler import Reconciler
from minion.engines.registry import has_model
from minion.skills.loader import digest_at
from minion.store.run_resume import (
    MOST_RESUMES,
    NOT_ALLOWED,
    events_taken,
    note_not_resumed,
    reopen,
    spent_s,
    to_resume_by_hand,
    why_not_resumed,
)
from minion.wire import Order, kept_events
from server.contract.digest import new_id
from server.contract.refusals import Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from minion.store.writer import Writer

# Less of the run's time than this is no time to go on with.
_LEAST_S: Final = 1.0
# A person who asks gets this share of the run's whole time at least: to ask is to grant it.
SHARE_BY_HAND: Final = 0.1
log = logging.getLogger(__name__)


class NotResumed(Exception):
    """A run that stays interrupted although it was to go on; the message says why."""


class Resumption:
    """Readies interrupted runs of one home."""

    def __init__(
        self, writer: Writer, clock: Clock, *, config: Callable[[], Config], reconciler: Reconciler,
        allowance: Allowance,
    ) -> None:  # fmt: skip
        self._writer = writer
        self._clock = clock
        self._config = config
        self._reconciler = reconciler
        self._allowance = allowance

    async def by_hand(self, run_id: str, called_off: asyncio.Event, *, anyway: bool) -> Order:
        """The order with which a run goes on because a person asks; the run is `running` then.

        Its routine need not allow it. It has what is left of its time, and at least a tenth of the whole; of its
        turns, tokens and dollars what is left. Raises `Refused`, `StoreFailed`.
        """
        now = self._clock()
        run = await self._writer.transact(
            lambda db: to_resume_by_hand(db, run_id, now=now, anyway=anyway)
        )
        try:
            return await self._readied(run_id, Path(run.folder), called_off, by_hand=True)
        except NotResumed as refusal:
            why: object = refusal
        except OSError as error:
            why = f"its folder cannot be read ({error.strerror})"
        hint = f"run the routine again: minion run {run.routine}"
        raise Refused("not_resumable", f"The run {run_id} cannot go on: {why}.", hint=hint)

    async def ready(self, run_id: str, folder: str, called_off: asyncio.Event) -> Order | None:
        """The order with which a run goes on by itself, which is `running` then; None when it stays interrupted.

        Set `called_off`, and it stays so, unless it is too late. Raises `StoreFailed`, `OSError`.
        """
        now = self._clock()
        why = await self._writer.transact(lambda db: why_not_resumed(db, run_id, now=now))
        if why is not None:
            if why != NOT_ALLOWED:
                await self._writer.transact(lambda db: note_not_resumed(db, run_id, why))
            log.info("the run %s stays interrupted: %s", run_id, why)
            return None
        try:
            return await self._readied(run_id, Path(folder), called_off)
        except NotResumed as refusal:
            reason = str(refusal)
        log.warning("the run %s is not resumed: %s", run_id, reason)
        await self._writer.transact(lambda db: note_not_resumed(db, run_id, reason))
        return None

    async def _readied(
        self, run_id: str, folder: Path, called_off: asyncio.Event, *, by_hand: bool = False
    ) -> Order:
        try:
            order = kept_order(run_id, folder, self._config())
        except OrderLost as lost:
            raise NotResumed(f"its {lost}") from lost
        if not by_hand:
            await self._check_allowed(order)
        await self._check_folder(order)
        spent = await self._writer.transact(lambda db: spent_s(db, run_id))
        left = order.limits.wall_clock_s - spent
        if by_hand:
            left = max(left, order.limits.wall_clock_s * SHARE_BY_HAND)
        elif left < _LEAST_S:
            raise NotResumed("its time was used up")
        damage = await _unless(called_off, self._reconciler.look_before_resume(order))
        if damage is not None:
            raise NotResumed(f"its {damage}")
        now = self._clock()
        reopened = await self._writer.transact(lambda db: reopen(db, run_id, now=now, by_hand=by_hand))
        if isinstance(reopened, str):
            raise NotResumed(reopened)
        which = "as a person asked" if by_hand else f"resume {reopened.resumes} of {MOST_RESUMES}"
        log.info("the run %s goes on (%s)", run_id, which)
        return replace(
            order, session_id=new_id("session_"), parent_pid=os.getpid(), report_token=new_token(),
            resumed=reopened.effects, limits=replace(order.limits, wall_clock_s=left),
        )  # fmt: skip

    async def _check_allowed(self, order: Order) -> None:
        """Raise `NotResumed` where a run must not go on by itself: nobody allowed it, or the dollars are spent."""
        if not order.routine.get("resume"):
            raise NotResumed("its routine did not allow it when it began")
        if has_model(order.engine):
            why, _ = await self._allowance.why_not()
            if why:
                raise NotResumed(why)

    async def _check_folder(self, order: Order) -> None:
        """Raise `NotResumed` when the run's events or its copies of skills are not as they were written."""
        taken = await self._writer.transact(lambda db: events_taken(db, order.run_id))
        path = Path(order.run_dir) / "events.ndjson"
        if await asyncio.to_thread(lambda: sum(1 for _ in kept_events(path))) != taken:
            raise NotResumed("its events file lacks what the store has")
        for skill in (*order.skills, order.report_skill):
            if skill.path and await asyncio.to_thread(digest_at, Path(skill.path)) != skill.digest:
                raise NotResumed(f"its copy of the skill {skill.name} was changed")


async def _unless(called_off: asyncio.Event, work: Coroutine[Any, Any, str | None]) -> str | None:
    """What the work answers; given up when the run is called off."""
    working = asyncio.ensure_future(work)
    calling = asyncio.ensure_future(called_off.wait())
    try:
        await asyncio.wait({working, calling}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done() or called_off.is_set():
            raise NotResumed("it was called off")
        return working.result()
    finally:
        for task in (working, calling):
            task.cancel()
        await asyncio.gather(working, calling, return_exceptions=True)
