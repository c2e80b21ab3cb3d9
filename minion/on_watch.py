"""Puts a daemon's watchdog together and keeps it watching, whatever happens to it, until the daemon ends."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from minion.clock import Clock
from minion.config import reaching
from minion.daemon.courier import Courier
from minion.daemon.watchdog import Watchdog
from minion.routines.files import routine_files

if TYPE_CHECKING:
    from minion.app import Minion
    from minion.daemon.roster import Roster
    from minion.daemon.scheduler import Scheduler

# A defect of the watchdog stops no schedule: it is shown, and after so many seconds it watches again.
_AGAIN_S: Final = 60.0
# What a daemon that ends gives to telling what happened last.
_LAST_WORDS_S: Final = 5.0
log = logging.getLogger("minion")


def watchdog_of(minion: Minion, roster: Roster, scheduler: Scheduler, clock: Clock) -> Watchdog:
    """The watchdog of a daemon's minion; nothing happens until it is `watching`."""

    async def pause(routine: str) -> None:
        await minion.routines.change(routine, {"paused": True})
        await roster.scan(at_once=True)
        scheduler.stir()

    return Watchdog(
        minion.writer, clock, config=lambda: minion.config, send=Courier(minion.home.secrets_file).deliver,
        pause=pause, there=lambda routine: bool(routine_files(minion.home, routine)),
        called=functools.partial(reaching, minion.home),
    )  # fmt: skip


@asynccontextmanager
async def watching(watchdog: Watchdog) -> AsyncIterator[None]:
    """Have it watch until the block ends, and tell then, for a few seconds at most, what happened last."""
    task = asyncio.ensure_future(_keep_watching(watchdog))
    try:
        yield
    finally:
        try:
            await watchdog.finish(within_s=_LAST_WORDS_S)
        except Exception:
            log.exception("what happened last is told by the next daemon")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _keep_watching(watchdog: Watchdog) -> None:
    while True:
        try:
            return await watchdog.run()
        except Exception as defect:
            log.exception("the watchdog stopped")
            what = f"a defect ({type(defect).__name__}), see daemon.log"
            watchdog.trouble = f"nobody is told of what goes wrong: {what}"
        await asyncio.sleep(_AGAIN_S)
