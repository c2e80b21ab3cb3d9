"""The daemon's tie to the HQ that was joined: asks, carries out, takes in, reports, and waits while HQ is away.

HQ never calls a minion. Nothing here is needed for a run: what HQ gave runs on while HQ is away, and what is to be
told waits in the outbox.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from minion.hq.answering import answered
from minion.hq.away import HqAway
from minion.hq.membership import Membership, membership_of
from minion.hq.mirror import begins_of, held, take_in
from minion.hq.orders import carry_out
from minion.hq.standing import beat_of, hello_of
from minion.hq.telling import Teller
from minion.routines.files import hq_routines
from minion.store.routines import kept_named
from minion.store.slots import begin_anew, handled_of
from server.contract.digest import instant
from server.contract.refusals import Refusal, StoreFailed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from minion.clock import Clock
    from minion.hq.client import HqClient
    from minion.owner import Owner
    from minion.store.writer import Connection

# As long as HQ may wait before it answers a poll (`server/contract/joining.py`).
WAIT_S: Final = 25.0
_FIRST_S, _LONGEST_S = 1.0, 60.0
# HQ refused the minion itself: what helps takes a person.
_REFUSED_S: Final = 60.0
# A poll that was answered at once, and with nothing, must not be asked again at once for ever.
_EMPTY_S: Final = 0.2
log = logging.getLogger(__name__)


class HqLink:
    """One daemon's tie to HQ. `run` is its life; it lives on whether an HQ was joined or not."""

    def __init__(self, owner: Owner, clock: Clock, *, version: str) -> None:
        """Ask nobody anything yet."""
        self._owner, self._clock, self._version = owner, clock, version
        # Another HQ was joined, or none any more; somebody wants HQ to be asked now, and not after a while.
        self._changed, self._hurried = asyncio.Event(), asyncio.Event()
        # Set while there is no HQ, and nothing of one is being taken in.
        self._untied = asyncio.Event()
        # Something came up that HQ should hear of now, and not only when the poll is over.
        self._news = asyncio.Event()
        self._client: HqClient | None = None
        self._teller: Teller | None = None
        self._membership: Membership | None = None
        self._since: str | None = None
        self._linked = False
        self._problem: str | None = None
        self._settled: list[dict[str, Any]] = []
        # Who it last said that it is.
        self._said: dict[str, Any] = {}
        self._random = random.Random()  # noqa: S311 - spreads tries, hides nothing

    def standing(self) -> dict[str, Any] | None:
        """How it stands: HQ's address, whether it answers, since when, what is wrong; None without an HQ."""
        if self._membership is None:
            return None
        return {
            "url": self._membership.url, "linked": self._linked, "since": self._since, "problem": self._problem,
            "held": len(held(self._owner.minion.home).routines),
        }  # fmt: skip

    def join_changed(self) -> None:
        """Look anew which HQ the minion has joined."""
        self._changed.set()
        if self._client is not None:
            self._client.close()

    async def untied(self) -> None:
        """Wait until nothing of the HQ is done any more that the minion had joined."""
        self.join_changed()
        await self._untied.wait()

    def hurry(self) -> None:
        """Ask HQ now, where it was to be asked again after a while."""
        self._hurried.set()
        if self._teller is not None:
            self._teller.stir()

    def tell_now(self) -> None:
        """Say anew how the minion stands: something was held for a person, or answered."""
        self._news.set()

    def stir(self) -> None:
        """There is something to tell: a run began or ended."""
        if self._teller is not None:
            self._teller.stir()

    @asynccontextmanager
    async def tied(self) -> AsyncIterator[None]:
        """Be tied until the block ends. A defect here ends the tie, and nothing else of the daemon."""
        task = asyncio.create_task(self.run(), name="hq link")
        task.add_done_callback(self._ended)
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(task, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._untied.set()
        if not task.cancelled() and (defect := task.exception()) is not None:
            log.error("the tie to HQ ended because of a defect", exc_info=defect)
            self._linked = False
            self._problem = f"a defect ended the tie ({type(defect).__name__}), see daemon.log"

    async def run(self) -> None:
        """Be tied to whatever HQ was joined, until cancelled."""
        tries = 0
        while True:
            self._changed.clear()
            self._membership = self._read()
            if self._membership is None:
                tries, self._linked, self._problem = 0, False, None
                self._untied.set()
                await self._changed.wait()
                self._untied.clear()
                continue
            try:
                async with self._asking(self._membership) as client:
                    await self._greet(client)
                    tries = 0
                    await self._listen(client)
            except HqAway as away:
                self._lost(str(away))
                pause = min(_LONGEST_S, _FIRST_S * 2**tries)
            except StoreFailed as refusal:
                self._lost(refusal.sentence)
                pause = _FIRST_S
            except Refusal as refusal:
                self._lost(f"HQ says: {refusal.sentence} {refusal.hint}")
                pause = _REFUSED_S
            tries += 1
            await self._pause(pause)

    @asynccontextmanager
    async def _asking(self, membership: Membership) -> AsyncIterator[HqClient]:
        """A client for orders, and beside it somebody who reports; both end with the block."""
        from minion.hq.client import HqClient  # megabytes, which only who has joined has to spare

        self._client = HqClient(membership, version=self._version)
        self._teller = Teller(self._owner, HqClient(membership, version=self._version))
        try:
            yield self._client
        finally:
            self._client.close()
            await self._teller.close()
            self._client = self._teller = None

    async def _greet(self, client: HqClient) -> None:
        """Say who this is, and take in what HQ has."""
        minion = self._owner.minion
        self._said = hello_of(minion.home, minion.config, self._version)
        await client.ask("join", self._said)
        self._found()
        if self._teller is not None:
            self._teller.begin()
        await self._sync(client)

    async def _listen(self, client: HqClient) -> None:
        """Hear of orders and changes as long as HQ answers and is the one that was joined."""
        while not self._changed.is_set():
            self._news.clear()
            if hello_of(self._owner.minion.home, self._owner.minion.config, self._version) != self._said:
                await self._greet(client)
            now = held(self._owner.minion.home)
            settled = list(self._settled)
            beat = await beat_of(self._owner, now, settled)
            asked = asyncio.get_running_loop().time()
            news = await self._polled(client, beat)
            if news is None:
                continue
            self._found()
            del self._settled[: len(settled)]
            orders, questions = _list_of(news, "orders"), _list_of(news, "questions")
            for question in questions:
                said = await answered(self._owner.minion.home, question)
                await client.ask("answers", {"minion": beat["minion"], "answers": {str(question["id"]): said}})
            if news.get("cursor") != now.cursor:
                await self._sync(client)
            # Who is about to end begins nothing; HQ says it again.
            for order in orders if not self._owner.always_on().stopping else ():
                self._settled.append(await carry_out(self._owner, order))
            quick = asyncio.get_running_loop().time() - asked < _EMPTY_S
            if quick and not (orders or questions or news.get("cursor") != now.cursor or settled):
                await self._pause(_FIRST_S)

    async def _polled(self, client: HqClient, beat: dict[str, Any]) -> dict[str, Any] | None:
        """What HQ has for this minion; None where the poll was given up, because there is something new to say."""
        poll = asyncio.ensure_future(client.ask("poll", {**beat, "wait_s": WAIT_S}, wait_s=WAIT_S))
        cut = asyncio.ensure_future(self._news.wait())
        try:
            await asyncio.wait({poll, cut}, return_when=asyncio.FIRST_COMPLETED)
            if poll.done():
                return poll.result()
        finally:
            for each in (poll, cut):
                each.cancel()
            await asyncio.wait({poll, cut})
        return None

    async def _sync(self, client: HqClient) -> None:
        """Have what HQ has for this minion, all of it or nothing, and go by it."""
        minion = self._owner.minion
        before = held(minion.home)
        have = {
            "minion": minion.config.minion_id, "cursor": before.cursor, "skills": dict(before.skills),
            "routines": {key: kept["digest"] for key, kept in before.routines.items()},
        }  # fmt: skip
        said = await client.ask("sync", have)
        handled = await minion.writer.transact(lambda db: handled_of(db, list(before.routines)))
        after = await asyncio.to_thread(take_in, minion.home, said, handled)
        await self.go_by_what_is_held()
        await self._owner.always_on().refresh()
        log.info("HQ gave %d routines and %d skills, at %s", len(after.routines), len(after.skills), after.cursor)

    async def go_by_what_is_held(self) -> None:
        """Have the store follow what is held of HQ's; also where the daemon died between the two."""
        minion = self._owner.minion
        begins, folder = begins_of(minion.home), str(hq_routines(minion.home))
        named = {str(each["name"]): key for key, each in held(minion.home).routines.items()}

        async def follow(db: Connection) -> list[tuple[str, bool]]:
            await begin_anew(db, begins)
            theirs = [each for each in await kept_named(db) if os.path.dirname(each.source) == folder]  # noqa: PTH120 - as kept
            return [(each.name, named.get(each.name) not in (None, each.id)) for each in theirs]

        for name, is_another in await minion.writer.transact(follow):
            await minion.routines.forget_hqs(name, is_another=is_another)

    def _read(self) -> Membership | None:
        try:
            return membership_of(self._owner.minion.home)
        except Refusal as refusal:
            log.error("%s", refusal)
            return None

    def _found(self) -> None:
        if not self._linked:
            log.info("linked to HQ at %s", self._membership and self._membership.url)
            self._since = instant(self._clock())
            self._owner.always_on().changed()
        self._linked, self._problem = True, None

    def _lost(self, words: str) -> None:
        if self._linked or self._problem is None:
            log.warning("HQ is away: %s", words)
            self._since = instant(self._clock())
            self._owner.always_on().changed()
        self._linked, self._problem = False, words

    async def _pause(self, seconds: float) -> None:
        """Wait about so long; less, when another HQ was joined, or somebody hurries."""
        self._hurried.clear()
        waits = [asyncio.ensure_future(event.wait()) for event in (self._changed, self._hurried)]
        try:
            await asyncio.wait(
                waits, timeout=seconds * self._random.uniform(0.5, 1.0), return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            for wait in waits:
                wait.cancel()


def _list_of(news: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    found = news.get(name)
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []
