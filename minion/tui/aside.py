"""Does what blocks in a thread of its own, which never holds up the end of the program."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def aside(work: Callable[[], T]) -> T:
    """What `work` answers, or raises; done beside the event loop.

    A thread of asyncio's own pool would be waited for when the program ends, however long a daemon says nothing.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, problem: Exception | None) -> None:
        if answer.done():
            return
        if problem is None:
            answer.set_result(result)  # type: ignore[arg-type]
        else:
            answer.set_exception(problem)

    def run() -> None:
        try:
            done: tuple[T | None, Exception | None] = (work(), None)
        except Exception as problem:  # noqa: BLE001 - it is raised where it is waited for
            done = (None, problem)
        try:
            loop.call_soon_threadsafe(settle, *done)
        except RuntimeError:  # the loop has ended: nobody waits any more
            return

    threading.Thread(target=run, name="aside", daemon=True).start()
    return await answer
