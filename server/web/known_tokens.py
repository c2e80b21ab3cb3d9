"""Who has which token: asked of the store once, remembered by digest, forgotten with the commit that revokes it.

What is remembered is never better than what the store says: a token that is revoked is forgotten before whoever
revoked it has the answer, one that was looked up meanwhile is not remembered, and each hit looks at the time anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from weakref import WeakValueDictionary

from server.actions.desk import Desk
from server.contract.digest import instant, parse_instant
from server.storage.access_store import Caller, token_of
from server.storage.committed import Happened

# More live tokens than this are asked for anew now and then: the store knows all of them.
MOST_KNOWN: Final = 4096
# How often it is looked, while the server stops, whether a request has become a stream meanwhile.
_AGAIN_S: Final = 0.1
Receive = Callable[[], Awaitable[dict[str, Any]]]


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Known:
    """A live token: whose it is, until when it is good, and how one is told that it is gone."""

    caller: Caller
    expires_at: str | None = None
    gone: asyncio.Event = field(default_factory=asyncio.Event)


class KnownTokens:
    """The live tokens that came by; `door` knows those that are in no store."""

    def __init__(self, desk: Desk, door: Callable[[str], Caller | None]) -> None:
        self._desk = desk
        self._door = door
        # All that anybody still holds, so that an open stream hears of its end; and those that are kept by us.
        self._known: WeakValueDictionary[str, Known] = WeakValueDictionary()
        self._kept: dict[str, Known] = {}
        self._of_door: dict[str, Known] = {}
        self._era = 0
        self._stopping = False
        desk.listen(self._hear)

    def at_hand(self, digest: str) -> Known | None:
        """Who has the token of this digest, where that is known without asking the store."""
        caller = self._door(digest)
        if caller is not None:
            return self._of_door.setdefault(digest, self._as_now(Known(caller)))
        known = self._known.get(digest)
        if known is None or known.expires_at is None or known.expires_at > instant(self._desk.clock()):
            return known
        self._forget(digest)
        return None

    async def look_up(self, digest: str) -> Known | None:
        """Who has the token of this digest, as the store says; remembered. Raises a `Refusal`."""
        era = None
        while era != self._era:  # a token was revoked while the store was read: perhaps this one
            era = self._era
            found = await self._desk.read(token_of, digest, now=instant(self._desk.clock()))
        if found is None:
            return None
        # Whoever asks for it at the same time gets the same one: all of them hear of its end.
        known = self._known.setdefault(digest, self._as_now(Known(*found)))
        self._kept[digest] = known
        if len(self._kept) > MOST_KNOWN:
            del self._kept[next(iter(self._kept))]
        return known

    def end_streams(self) -> None:
        """End whatever only listens, for good: the server stops. What does something comes to its end."""
        self._stopping = True
        for known in (*self._known.values(), *self._of_door.values()):
            known.gone.set()

    def _as_now(self, known: Known) -> Known:
        if self._stopping:
            known.gone.set()
        return known

    def cut_off(self, receive: Receive, known: Known, streams: Callable[[], bool]) -> Receive:
        """`receive` for a request of a token: once that is gone, a stream that is open still ends.

        `streams` says whether its answer has begun and has no end yet.
        """
        heard_out = False

        async def guarded() -> dict[str, Any]:
            nonlocal heard_out
            if heard_out:
                return await self._disconnect(receive, known, streams)
            message = await receive()
            heard_out = not message.get("more_body", False)
            return message

        return guarded

    async def _disconnect(
        self, receive: Receive, known: Known, streams: Callable[[], bool]
    ) -> dict[str, Any]:
        """What ends a request that was read: its client left, or its token is good for nothing any more."""
        left_s = None
        if known.expires_at is not None:
            left_s = max(0.0, (parse_instant(known.expires_at) - self._desk.clock()).total_seconds())
        leaving, ending = asyncio.ensure_future(receive()), asyncio.ensure_future(known.gone.wait())
        try:
            await asyncio.wait({leaving, ending}, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
            while self._stopping and not leaving.done() and not streams():
                await asyncio.wait({leaving}, timeout=_AGAIN_S)
            return leaving.result() if leaving.done() else {"type": "http.disconnect"}
        finally:
            leaving.cancel()
            ending.cancel()

    def _hear(self, happened: Sequence[Happened]) -> None:
        revoked = {each.data["token"] for each in happened if each.type == "token.revoked"}
        if not revoked:
            return
        self._era += 1
        for digest, known in list(self._known.items()):
            if known.caller.id in revoked:
                known.gone.set()
                self._forget(digest)

    def _forget(self, digest: str) -> None:
        self._known.pop(digest, None)
        self._kept.pop(digest, None)
