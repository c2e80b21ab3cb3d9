"""How a command that stays lives: on an event loop, until a signal tells it to end in good order."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def run_until_told(work: Callable[[asyncio.Event], Awaitable[None]], *, log: str = "info") -> None:
    """Run `work(stop)` to its end; the first signal sets `stop`. Raises what it raises.

    `log` is the level from which on it logs on stderr, where HQ_LOG says none.
    """
    from server.config import log_level
    from server.log import to_stderr

    to_stderr(log_level(log))

    async def living() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, stop.set)
        await work(stop)

    with asyncio.Runner(loop_factory=_loop()) as runner:
        runner.run(living())


def _loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The faster event loop, where it is to be had."""
    if sys.platform == "win32":
        return None
    import uvloop

    return uvloop.new_event_loop
