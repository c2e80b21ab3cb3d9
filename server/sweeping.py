"""Sweeps an HQ as long as somebody owns it: at the start, and every half minute."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from server.actions.desk import Desk
from server.contract.refusals import Refusal

EVERY_S: Final = 30.0
log = logging.getLogger(__name__)


@asynccontextmanager
async def swept(desk: Desk, *, every_s: float = EVERY_S) -> AsyncIterator[None]:
    """Have what is over ended: before the block begins, and then every so many seconds. Raises a `Refusal`."""
    await desk.sweep()
    sweeper = asyncio.create_task(_sweep_on(desk, every_s))
    try:
        yield
    finally:
        sweeper.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sweeper


async def _sweep_on(desk: Desk, every_s: float) -> None:
    while True:
        await asyncio.sleep(every_s)
        try:
            await desk.sweep()
        except Refusal as refusal:  # a full disk may be empty at the next turn
            log.warning("could not sweep: %s", refusal)
