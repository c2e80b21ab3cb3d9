"""An owner of a home that dies: opens it, performs one run, and kills itself when it hears a given event.

Run as `python -m tests.faults.driver HOME ROUTINE INPUT SEQ`; a SEQ of 0 lets it live. With `-` for ROUTINE it has
interrupted runs go on instead.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from minion.app import opened
from minion.clock import utc_now
from minion.config import Home
from minion.wire import Event
from tests.whole.homes import run_once


async def main(home: Home, routine: str, given: str, last: int) -> None:
    """Perform one run; the kill comes before the event is written down."""

    def on_event(_run_id: str, event: Event) -> None:
        if last and event.seq >= last:
            os.kill(os.getpid(), signal.SIGKILL)

    async with opened(home, "a test's driver", clock=utc_now, alert=print, on_event=on_event) as minion:
        if routine != "-":
            await run_once(minion, routine, given=given)
            return
        for run in await minion.supervisor.interrupted():
            await minion.supervisor.resume(run)


if __name__ == "__main__":
    _, root, name, text, seq = sys.argv
    asyncio.run(main(Home(Path(root)), name, text, int(seq)))
