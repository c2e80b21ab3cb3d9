"""Does what blocks in a thread of its own, which never holds up the end of the program."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

T = TypeVar("T")


class Ahead(Generic[T]):
    """Something that was begun before anybody waits for it: `answer` is called in a thread from now on."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._future: Future[T] = Future()
        threading.Thread(target=self._run, args=(work,), name="ahead", daemon=True).start()

    def answer(self) -> T:
        """What it came to, or raises; waits for it."""
        return self._future.result()

    def _run(self, work: Callable[[], T]) -> None:
        try:
            self._future.set_result(work())
        except Exception as problem:  # noqa: BLE001 - it is raised where it is waited for
            self._future.set_exception(problem)


async def aside(work: Callable[[], T]) -> T:
    """What `work` answers, or raises; done beside the event loop.

    A thread of asyncio's own pool would be waited for when the program ends, however long a daemon says nothing.
    `work` has the context of who asked, as with such a thread: else a screen that has just ended finds no app.
    """
    context = contextvars.copy_context()
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
            done: tuple[T | None, Exception | None] = (context.run(work), None)
        except Exception as problem:  # noqa: BLE001 - it is raised where it is waited for
            done = (None, problem)
        try:
            loop.call_soon_threadsafe(settle, *done)
        except RuntimeError:  # the loop has ended: nobody waits any more
            return

    threading.Thread(target=run, name="aside", daemon=True).start()
    return await answer
