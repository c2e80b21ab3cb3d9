"""Tells those who listen what happens: a few hundred messages wait for each, then a slow listener is let go."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

Message = Mapping[str, Any]
_WAITING: Final = 1024
# Changes so close together are told of once.
_GATHER_S: Final = 0.1


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
        self._watching: set[Ear] = set()
        self._gathering = False

    @contextmanager
    def listening(self) -> Iterator[Ear]:
        """An ear that hears everything that runs say until the block ends."""
        with _among(self._ears) as ear:
            yield ear

    @contextmanager
    def watching(self) -> Iterator[Ear]:
        """An ear that hears that something has changed, and no more, until the block ends."""
        with _among(self._watching) as ear:
            yield ear

    def changed(self) -> None:
        """Something changed, in the store or beside it: who watches hears of it, at most ten times a second."""
        if self._watching and not self._gathering:
            self._gathering = True
            asyncio.get_running_loop().call_later(_GATHER_S, self._tell_of_changes)

    def _tell_of_changes(self) -> None:
        self._gathering = False
        for ear in self._watching:
            ear.hear({"type": "changed"})

    def tell(self, message: Message) -> None:
        """Tell all who listen."""
        for ear in self._ears:
            ear.hear(message)

    def close(self) -> None:
        """Tell all who listen that nothing more comes."""
        for ear in (*self._ears, *self._watching):
            ear.hear(None)


@contextmanager
def _among(ears: set[Ear]) -> Iterator[Ear]:
    ear = Ear()
    ears.add(ear)
    try:
        yield ear
    finally:
        ears.discard(ear)
