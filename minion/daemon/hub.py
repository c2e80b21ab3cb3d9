"""Tells those who listen what happens: a few hundred messages wait for each, then a slow listener is let go."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

Message = Mapping[str, Any]
_WAITING: Final = 1024


class Asker:
    """Who asked for something: what it is told on the way, and whether it is still there."""

    def __init__(self, tell: Callable[[Message], None]) -> None:
        self.tell = tell
        self.gone = asyncio.Event()


# Who asked for what is being done now: it hears the alerts that come of it.
asking: ContextVar[Asker | None] = ContextVar("asking", default=None)


class Ear:
    """One listener's messages, in order. `lagged` is set when it took too long and was let go."""

    def __init__(self) -> None:
        self._messages: asyncio.Queue[Message | None] = asyncio.Queue(_WAITING)
        self.lagged = False

    async def next(self) -> Message | None:
        """The next message; None when there will be none any more."""
        if self.lagged and self._messages.empty():
            return None
        return await self._messages.get()

    def hear(self, message: Message | None) -> None:
        """Take a message in, unless too many wait already."""
        if self.lagged:
            return
        try:
            self._messages.put_nowait(message)
        except asyncio.QueueFull:
            self.lagged = True


class Hub:
    """All listeners of one daemon."""

    def __init__(self) -> None:
        self._ears: set[Ear] = set()

    @contextmanager
    def listening(self) -> Iterator[Ear]:
        """An ear that hears everything until the block ends."""
        ear = Ear()
        self._ears.add(ear)
        try:
            yield ear
        finally:
            self._ears.discard(ear)

    def tell(self, message: Message) -> None:
        """Tell all who listen."""
        for ear in self._ears:
            ear.hear(message)

    def close(self) -> None:
        """Tell all who listen that nothing more comes."""
        for ear in self._ears:
            ear.hear(None)
