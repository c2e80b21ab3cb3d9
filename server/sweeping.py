"""Sweeps an HQ as long as somebody owns it, and watches over its minions: at the start, and every half minute."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from server.actions.desk import Desk
from server.actions.watch import watch
from server.contract.refusals import Refusal

EVERY_S: Final = 30.0
log = logging.getLogger(__name__)


@asynccontextmanager
async def swept(desk: Desk, *, ways: Sequence[str] = (), every_s: float = EVERY_S) -> AsyncIterator[None]:
    """Have what is over ended, and silent minions noticed: before the block begins, and every so many seconds.

    `ways` are those in which people are told of minions. Raises a `Refusal`.
    """
    await _look(desk, ways, begins=True)
    sweeper = asyncio.create_task(_sweep_on(desk, ways, every_s))
    try:
        yield
    finally:
        sweeper.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sweeper


async def _sweep_on(desk: Desk, ways: Sequence[str], every_s: float) -> None:
    while True:
        await asyncio.sleep(every_s)
        try:
            await _look(desk, ways, begins=False)
        except Refusal as refusal:  # a full disk may be empty at the next turn
            log.warning("could not sweep: %s", refusal)


async def _look(desk: Desk, ways: Sequence[str], *, begins: bool) -> None:
    await desk.sweep()
    await desk.database.transact(watch, ways, begins=begins, now=desk.clock())
