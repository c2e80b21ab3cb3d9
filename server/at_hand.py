"""The HQ of a home at hand: the one that runs there, or, where none does, one of this process's own."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field

from server.asking import LOOK_S, MCP, STARTS_S, is_starting, over_http
from server.config import Address, HqHome, address_of, is_owned, read_holder
from server.contract.refusals import Refusal


@dataclass(slots=True)
class AtHand:
    """Finds the HQ of a home each time it is asked for; `scope` is what its pass lets in as."""

    home: HqHome
    scope: str
    who: str
    version: str
    _own: asyncio.Task[None] | None = None
    _stop: asyncio.Event | None = None
    _found: Address | None = None
    _looking: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def found(self) -> Address | None:
        """Where HQ was found, without looking anew."""
        return self._found

    async def address(self) -> Address:
        """Where to ask, with which token. Raises a `Refusal` where somebody owns the home and does not serve."""
        async with self._looking:  # several calls that lost it look for it once
            loop = asyncio.get_running_loop()
            until = loop.time() + STARTS_S
            while self._found is None:
                try:
                    door = address_of(self.home) or await self._begin()
                    if door is not None:
                        self._found = await asyncio.to_thread(self._pass, door)
                except (ConnectionRefusedError, Refusal) as trouble:
                    if loop.time() > until or not is_starting(self.home, trouble):
                        raise
                    await asyncio.sleep(LOOK_S)
            return self._found

    def lost(self, address: Address) -> None:
        """Look anew the next time: nobody answers there any more."""
        if self._found == address:
            self._found = None

    async def close(self) -> None:
        """End this process's own HQ in good order, if there is one."""
        if self._own is not None and self._stop is not None:
            self._stop.set()
            await self._own

    def _pass(self, door: Address) -> Address:
        said = over_http(door, "pass", {"scope": self.scope})
        return Address(door.url, str(said["token"]))

    async def _begin(self) -> Address | None:
        """Own the home and serve it. Raises `Refused` where somebody else owns it by now."""
        from server.app import opened
        from server.serving import serve

        if self._own is not None:
            with contextlib.suppress(asyncio.CancelledError):
                await self._own
        stop, told = asyncio.Event(), asyncio.Event()

        async def owning() -> None:
            async with opened(self.home, MCP) as (desk, lock):
                await serve(
                    desk, lock, self.home, port=0, version=self.version, who=self.who,
                    told=lambda _: told.set(), stop=stop,
                )  # fmt: skip

        self._own, self._stop = asyncio.ensure_future(owning()), stop
        waiting = asyncio.ensure_future(told.wait())
        await asyncio.wait((self._own, waiting), return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if self._own.done():
            own, self._own = self._own, None
            own.result()
        return address_of(self.home)


def owner_of(home: HqHome) -> tuple[int, str] | None:
    """Process id and command of who owns a home; None where nobody does."""
    holder = read_holder(home)
    if holder is None or not is_owned(home):
        return None
    return int(holder["pid"]), str(holder.get("command", "another process"))
