"""What blocks is done in a thread beside the event loop, as whoever asked for it."""

from __future__ import annotations

import asyncio
import threading
from contextvars import ContextVar

import pytest

from minion.tui.aside import aside

_whose: ContextVar[str] = ContextVar("whose")


def test_what_is_done_aside_is_done_in_another_thread_and_in_the_context_of_who_asked() -> None:
    # Textual knows its app by the context: a screen that has just ended has no other way to it.
    async def asked() -> tuple[str, int]:
        _whose.set("the screen's")
        return await aside(lambda: (_whose.get(), threading.get_ident()))

    whose, thread = asyncio.run(asked())
    assert whose == "the screen's"
    assert thread != threading.get_ident()


def test_what_fails_aside_fails_where_it_was_waited_for() -> None:
    async def asked() -> None:
        await aside(lambda: int("not a number"))

    with pytest.raises(ValueError, match="not a number"):
        asyncio.run(asked())


def test_the_end_of_the_loop_waits_for_nothing_that_is_done_aside() -> None:
    done = threading.Event()

    async def asked() -> None:
        loop, begun = asyncio.get_running_loop(), asyncio.Event()

        def work() -> bool:
            loop.call_soon_threadsafe(begun.set)
            return done.wait(60)

        waiting = asyncio.ensure_future(aside(work))
        await begun.wait()
        waiting.cancel()

    asyncio.run(asked())
    assert not done.is_set()
    done.set()
