"""Has HQ start routines by its own schedule as long as it serves: what came due meanwhile first, then on time."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from server.actions.desk import Desk
from server.actions.schedule import AT_ONCE, look, start_due
from server.contract.refusals import Refusal
from server.storage.committed import Happened

# Sleeps are cut into hops compared with the wall clock: a suspended or set clock is noticed within one.
HOP_S: Final = 10.0
# What changes when a routine is due, or whether its turn has come; whatever else does is seen at the next hop.
_OF_INTEREST: Final = ("routine.", "minion.", "run.reported", "order.settled")
log = logging.getLogger(__name__)


@asynccontextmanager
async def scheduled(desk: Desk, *, hop_s: float = HOP_S) -> AsyncIterator[None]:
    """Have slots happen until the block ends; HQ looks at least every so many seconds."""
    stirred = asyncio.Event()

    def hear(happened: Sequence[Happened]) -> None:
        if any(each.type.startswith(_OF_INTEREST) for each in happened):
            stirred.set()

    unheard = desk.listen(hear)
    scheduler = asyncio.create_task(_go_on(desk, stirred, hop_s))
    try:
        yield
    finally:
        unheard()
        scheduler.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await scheduler


async def _go_on(desk: Desk, stirred: asyncio.Event, hop_s: float) -> None:
    troubled = False
    while True:
        stirred.clear()
        wait_s = hop_s
        try:
            wait_s = min(hop_s, await tick(desk, hop_s))
            troubled = False
        except Refusal as refusal:  # tried again: a slot that could not be written down has not happened
            if not troubled:
                log.error("%s; slots wait until it can be: %s", refusal.sentence, refusal.hint)
            troubled = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await stirred.wait()


async def tick(desk: Desk, longest_s: float) -> float:
    """Start what is due; in how many seconds something is due next, at most `longest_s`. Raises a `Refusal`."""
    found = await desk.read(look, now=desk.clock())
    while found.anything:
        seen = await desk.database.transact(start_due, desk.processes, now=desk.clock())
        found = await desk.read(look, now=desk.clock())
        if seen < AT_ONCE:
            break
    if found.next is None:
        return longest_s
    return min(longest_s, max(0.0, (found.next - desk.clock()).total_seconds()))
