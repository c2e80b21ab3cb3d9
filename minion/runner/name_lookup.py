"""Looks names up for the run's proxy by this machine's own means, few at a time and never in the runner's way."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Sequence
from typing import Final

# The system's look-up cannot be called off: so many threads may be stuck in one.
MOST: Final = 8


class NameLookup:
    """Called with a host and a port: its addresses. Raises `OSError`.

    The threads are its own, and end with the process: those of asyncio are used by the rest of the runner, and
    are waited for at its end.
    """

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(MOST)

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        """The addresses of a host, each once or more often."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[list[str] | OSError] = loop.create_future()
        await self._places.acquire()

        def told(found: list[str] | OSError) -> None:
            self._places.release()
            if not answer.done():
                answer.set_result(found)

        def look() -> None:
            found: list[str] | OSError
            try:
                items = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
                found = [str(item[4][0]) for item in items]
            except (OSError, UnicodeError) as error:
                found = error if isinstance(error, OSError) else OSError(str(error))
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(told, found)

        threading.Thread(target=look, name="name look-up", daemon=True).start()
        result = await answer
        if isinstance(result, OSError):
            raise result
        return result
