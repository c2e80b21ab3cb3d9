"""Watches over what the daemon does: opens and closes alerts, has people told, pauses routines that only fail.

What it goes by lies in the store (runs and slots in the home's chain, bad files, decisions), and how far it came
is noted in the transaction that opens an alert. So a stop or kill -9 at any point loses no alert: what was not
taken in is taken in by the next daemon. A notice is sent again where nobody knows whether it arrived; nothing else
is told twice. Calls of a dead-man's switch are not kept: a switch that is not called tells people by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

from minion.clock import Clock
from minion.config import Config
from minion.daemon.announcement import by_way, message
from minion.daemon.courier import Outcome
from minion.daemon.inquest import Inquest
from minion.daemon.switches import Switches
from minion.store.alerts import Notice, Overview, due_notices, overview_of, prune_alerts, settle_notices
from minion.store.watches import begin_watching
from server.contract.digest import instant, parse_instant
from server.contract.refusals import Refusal

if TYPE_CHECKING:
    from minion.store.writer import Connection, Writer
    from minion.wire import Order

Send = Callable[[Sequence[Mapping[str, Any]]], Awaitable[list[Outcome]]]
# One transaction takes in so many runs and slots, so that others need not wait for long.
_MOST_FACTS: Final = 50
# Nothing has to happen for this long before it looks all the same; and while something waits, much sooner.
_LOOK_S: Final = 600.0
_HOP_S: Final = 60.0
_AGAIN_S: Final = 10.0
log = logging.getLogger(__name__)


class Watchdog:
    """Takes in what happened (`take_in`) and tells it (`send_due`); `run` does both as long as the daemon is up.

    `send` has items delivered (see `minion.messenger`), `pause` writes `paused: true` into a routine's file,
    `there` says whether a routine has a file, `called` how a command is called from anywhere.
    """

    def __init__(
        self, writer: Writer, clock: Clock, *, config: Callable[[], Config], send: Send,
        pause: Callable[[str], Awaitable[None]], there: Callable[[str], bool],
        called: Callable[[str], str] = lambda command: command,
    ) -> None:  # fmt: skip
        self._writer = writer
        self._clock = clock
        self._config = config
        self._send = send
        self._pause = pause
        self._there = there
        self._called = called
        self._switches = Switches()
        self._stirred = asyncio.Event()
        self._waiting = asyncio.Event()
        self._sending = asyncio.Lock()
        # Two that take in at once would both have a routine pause itself, and the end has seconds only.
        self._taking_in = asyncio.Lock()
        # Whether it may have changed who is told, or which routines there are.
        self._reread = True
        self._over = False
        self.overview = Overview()
        self.trouble: str | None = None

    def stir(self, *, files: bool = False) -> None:
        """Something happened; with `files` to routine files or settings: look."""
        self._reread = self._reread or files
        self._stirred.set()

    def run_began(self, order: Order) -> None:
        """A run begins: its dead-man's switch hears of it."""
        watch = order.routine.get("watch") or {}
        if watch.get("ping") is not None:
            self._switches.began(order.routine["name"], watch["ping"], order.run_id, self._clock())
            self._waiting.set()

    def standing(self) -> dict[str, Any]:
        """`alerts`: the newest open ones, `open_alerts` how many, `unsent` how many notices did not arrive."""
        seen = self.overview.open
        shown = [{"routine": a.routine, "kind": a.kind, "text": a.text, "since": a.opened_at} for a in seen]
        return {"alerts": shown, "open_alerts": self.overview.opened, "unsent": self.overview.unsent}

    async def run(self) -> None:
        """Go on until cancelled, or until `finish`. A store that cannot be written is tried again."""
        await self._writer.transact(begin_watching)
        halves = [asyncio.ensure_future(half) for half in (self._keep_taking_in(), self._keep_sending())]
        try:
            done, _ = await asyncio.wait(halves, return_when=asyncio.FIRST_EXCEPTION)
            for half in done:
                half.result()
        finally:
            for half in halves:
                half.cancel()
            await asyncio.gather(*halves, return_exceptions=True)

    async def finish(self, *, within_s: float) -> None:
        """Take in what happened last and send what waits, for so long at most; the rest the next daemon sends."""
        self._over = True
        with contextlib.suppress(TimeoutError, Refusal):
            async with asyncio.timeout(within_s):
                await self.take_in()
                await self.send_due(at_once=True)

    async def take_in(self) -> None:
        """Open and close alerts for all that happened; pause what is to pause itself. Raises `StoreFailed`."""
        async with self._taking_in:
            reread, self._reread = self._reread, False
            try:
                while await self._hear():
                    pass
                to_pause = await self._look(reread=reread)
            except Refusal:
                self._reread = self._reread or reread
                raise
            for routine in to_pause:
                await self._pause_itself(routine)
            self._waiting.set()

    async def send_due(self, *, at_once: bool = False) -> int:
        """Have everything told that is due, one message for each way; how many went out. Raises `StoreFailed`."""
        async with self._sending:
            now = instant(self._clock())
            due = await self._writer.transact(lambda db: due_notices(db, now=now, at_once=at_once))
            groups, pings = by_way(due), self._switches.due(self._clock())
            if not groups and not pings:
                return 0
            name = self._config().name
            messages = [message(group, minion=name, called=self._called) for group in groups]
            items = [*messages, *(ping.item() for ping in pings)]
            outcomes = await self._send(items)
            await self._note(groups, outcomes[: len(groups)])
            told = self._switches.settle(pings, outcomes[len(groups) :], self._clock())
            if told:
                inquest = self._inquest()
                await self._writer.transact(lambda db: inquest.switches(db, told))
                _log(inquest)
            self.overview = await self._writer.transact(overview_of)
            return len(items)

    async def _hear(self) -> bool:
        """Take in some runs and slots; whether there may be more."""
        inquest = self._inquest()
        more = await self._writer.transact(lambda db: inquest.hear(db, most=_MOST_FACTS))
        _log(inquest)
        for ended in inquest.to_ping:
            self._switches.ended(*ended, self._clock())
        return more

    async def _look(self, *, reread: bool) -> list[str]:
        """Compare with how things stand; the routines that are to pause themselves."""
        inquest = self._inquest()
        named = await self._writer.transact(inquest.named) if reread else []
        gone = [name for name in named if not self._there(name)]

        async def look(db: Connection) -> tuple[list[str], Overview]:
            if reread:
                await inquest.reread(db, gone)
            to_pause = await inquest.look(db)
            await prune_alerts(db)
            return to_pause, await overview_of(db)

        to_pause, self.overview = await self._writer.transact(look)
        _log(inquest)
        return to_pause

    async def _note(self, groups: Sequence[Sequence[Notice]], outcomes: Sequence[Outcome]) -> None:
        now = instant(self._clock())

        async def write(db: Connection) -> None:
            for group, outcome in zip(groups, outcomes, strict=True):
                problem = None if outcome.state == "sent" else outcome.problem or outcome.state
                await settle_notices(db, group, problem, now=now)

        for group, outcome in zip(groups, outcomes, strict=True):
            if outcome.state != "sent":
                many = f"{len(group)} notices" if len(group) > 1 else "a notice"
                log.warning("%s did not go out: %s (minion alerts)", many, outcome.problem)
        await self._writer.transact(write)

    async def _pause_itself(self, routine: str) -> None:
        """Have a routine's file say `paused: true`, and then tell so; after a kill between the two, both again."""
        problem = None
        try:
            await self._pause(routine)
        except Refusal as refusal:
            problem = refusal.sentence
            log.error("%s was to pause itself, but could not: %s", routine, refusal)
        inquest = self._inquest()
        await self._writer.transact(lambda db: inquest.paused(db, routine, problem))
        _log(inquest)
        self.overview = await self._writer.transact(overview_of)

    def _inquest(self) -> Inquest:
        config = self._config()
        return Inquest(self._clock(), config.notify, ZoneInfo(config.timezone))

    async def _keep_taking_in(self) -> None:
        while not self._over:
            self._stirred.clear()
            try:
                await self.take_in()
                self.trouble = None
            except Refusal as refusal:
                self._in_trouble(refusal)
            await _either(self._stirred, _LOOK_S if self.trouble is None else _AGAIN_S)

    async def _keep_sending(self) -> None:
        while not self._over:
            self._waiting.clear()
            left = self._seconds_left()
            if left is None or left > 0:
                await _either(self._waiting, _LOOK_S if left is None else min(left, _HOP_S))
                continue
            try:
                sent = await self.send_due()
            except Refusal as refusal:
                self._in_trouble(refusal)
                sent = 0
            if not sent:
                await _either(self._waiting, _AGAIN_S)

    def _in_trouble(self, refusal: Refusal) -> None:
        if self.trouble is None:
            log.error("alerts wait: %s", refusal)
        self.trouble = refusal.sentence

    def _seconds_left(self) -> float | None:
        """Seconds until something is to be sent; None when nothing is."""
        now, soonest = self._clock(), self._switches.soonest()
        instants = [soonest] if soonest is not None else []
        if self.overview.next_try_at is not None:
            instants.append(parse_instant(self.overview.next_try_at))
        left = min(((at - now).total_seconds() for at in instants), default=None)
        # Longer than any pause: the clock was set back.
        return 0.0 if left is not None and left > timedelta(hours=1).total_seconds() else left


def _log(inquest: Inquest) -> None:
    for line in inquest.news:
        log.warning("%s", line)


async def _either(event: asyncio.Event, seconds: float) -> None:
    """Wait for an event, but so long at most."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
