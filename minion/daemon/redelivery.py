"""Delivers again what did not arrive of a run that did its work: without a session, in the order it was staged.

Each effect is performed by a short-lived child, `minion.runner.redelivering`, after it was written down that it
is about to be. What is cut off there is unknown afterwards, and the Reconciler's (DESIGN §3 "Effects").
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from minion.clock import Clock
from minion.config import Config
from minion.daemon.kept_order import OrderLost, kept_order
from minion.daemon.question import ask_child
from minion.daemon.reconciler import Reconciler
from minion.store.effects_again import (
    AGAIN,
    CUT_OFF,
    Redeliverable,
    Undelivered,
    begin_again,
    give_up_intents,
    redeliverable,
    settle_again,
    under_way,
    verdict_now,
)
from minion.store.effects_ledger import Settlement
from minion.wire import Order
from server.contract.digest import instant
from server.contract.refusals import Refused, StoreFailed

if TYPE_CHECKING:
    from minion.store.writer import Writer

_CHILD: Final = "minion.runner.redelivering"
_CHECK_S: Final = 60.0
# A push with its looks before and after, at the patience that a run has with them, and some more.
_PERFORM_S: Final = 900.0
# What is being performed when the minion stops has this long to come to its end.
_GRACE_S: Final = 5.0
_NO_END: Final = {"state": "unknown", "detail": CUT_OFF}
log = logging.getLogger(__name__)


class Redeliveries:
    """The redeliveries of one home, at most one of a run at a time."""

    def __init__(
        self, writer: Writer, clock: Clock, *, config: Callable[[], Config], reconciler: Reconciler
    ) -> None:
        self._writer = writer
        self._clock = clock
        self._config = config
        self._reconciler = reconciler
        self._works: dict[str, asyncio.Task[dict[str, Any]]] = {}
        self._stopping = asyncio.Event()
        # What came of effects and could not be kept, by effect: its run's id and how it ended.
        self._left: dict[str, tuple[str, Settlement]] = {}

    async def redeliver(self, run_id: str, by: str) -> dict[str, Any]:
        """Perform the effects of an ended run that did not arrive; `run routine verdict effects` afterwards.

        Raises `Refused` when nothing may or can be, `StoreFailed`, `OSError`. Once it began it goes on to the end
        of the effect it is at, though nobody waits for it.
        """
        if run_id in self._works:
            raise under_way(run_id)
        work = asyncio.ensure_future(self._redelivered(run_id, by))
        self._works[run_id] = work
        work.add_done_callback(lambda _: self._works.pop(run_id, None))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Begin no effect any more; returns when what was begun has its end, or is given up after a moment."""
        self._stopping.set()
        await asyncio.gather(*self._works.values(), return_exceptions=True)

    async def recover(self) -> None:
        """Give up what a dead owner was about to perform. Raises `StoreFailed`."""
        now = self._now()
        for run_id in await self._writer.transact(lambda db: give_up_intents(db, now=now)):
            log.warning("the run %s has effects that were cut off when they were performed again", run_id)
            self._reconciler.stir()

    async def close_left(self) -> None:
        """Keep what came of effects and could not be kept then. Raises `StoreFailed` when it still cannot."""
        for effect_id, (run_id, settled) in list(self._left.items()):
            await self._kept(run_id, effect_id, settled)
            del self._left[effect_id]

    async def _redelivered(self, run_id: str, by: str) -> dict[str, Any]:
        run = await self._writer.transact(lambda db: redeliverable(db, run_id))
        order = self._order(run)
        means = await self._means(order, run)
        told, done = [], 0
        for effect in run.effects:
            state, detail = "failed", effect.detail
            if isinstance(way := means[effect.id], Refused):
                detail = way.sentence
            else:
                try:
                    state, detail = await self._perform(order, effect, by, way)
                    done += 1
                except Refused as refusal:
                    if not done:
                        raise
                    detail = f"not performed again: {refusal.sentence}"
            names = ("id", "kind", "target")
            told.append({name: getattr(effect, name) for name in names} | {"state": state, "detail": detail})
        verdict = await self._writer.transact(lambda db: verdict_now(db, run_id))
        return {"run": run_id, "routine": run.routine, "verdict": verdict, "effects": told}

    def _order(self, run: Redeliverable) -> Order:
        try:
            return kept_order(run.run_id, Path(run.folder), self._config())
        except OrderLost as lost:
            says = f"The run {run.run_id} cannot be delivered again, because its {lost}."
            raise Refused("order_lost", says, hint=_anew(run)) from lost

    async def _means(self, order: Order, run: Redeliverable) -> dict[str, str | Refused]:
        """By which means each effect will be performed, or why it cannot be; raises what holds for all of them."""
        answer = await ask_child(
            _CHILD, order, {"check": [asdict(effect) for effect in run.effects]}, patience_s=_CHECK_S
        )
        found = {item["id"]: item for item in answer.get("effects", ())}
        if found.keys() != {effect.id for effect in run.effects}:
            says = f"What the run {run.run_id} was to deliver could not be looked at."
            raise Refused("not_looked_at", says, hint=f"read what was said of it: {order.run_dir}/runner.log")
        means: dict[str, str | Refused] = {}
        for effect in run.effects:
            item = found[effect.id]
            means[effect.id] = item["means"] if item["obstacle"] is None else _refusal(run, effect, item)
        refusals = [way for way in means.values() if isinstance(way, Refused)]
        if len(refusals) == len(means):
            raise refusals[0]
        return means

    async def _perform(self, order: Order, effect: Undelivered, by: str, means: str) -> tuple[str, str]:
        """Perform one effect again; its state now, and what was seen. Raises `Refused` when it may not be."""
        if self._stopping.is_set():
            raise Refused("stopping", "The minion is being stopped.", hint="ask again once it is up")
        run_id, began = order.run_id, self._now()
        await self._writer.transact(
            lambda db: begin_again(db, run_id, effect.id, by=by, means=means, now=began)
        )
        log.info("%s: %s %s is performed again", order.routine["name"], effect.kind, effect.target)
        seen = await self._seen(order, effect)
        settled = Settlement(
            seen["state"], seen["detail"], AGAIN, seen.get("destination"), seen.get("reverse"), began
        )
        try:
            await self._kept(run_id, effect.id, settled)
        except StoreFailed:
            self._left[effect.id] = (run_id, settled)
            raise
        return settled.state, settled.detail

    async def _seen(self, order: Order, effect: Undelivered) -> Mapping[str, Any]:
        """What the child says came of an effect; when it does not say, nobody knows."""
        asking = asyncio.ensure_future(
            ask_child(_CHILD, order, {"perform": asdict(effect)}, patience_s=_PERFORM_S)
        )
        stopping = asyncio.ensure_future(self._stopping.wait())
        await asyncio.wait({asking, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not asking.done():
            await asyncio.wait({asking}, timeout=_GRACE_S)
        asking.cancel()
        answer: object = (await asyncio.gather(asking, return_exceptions=True))[0]
        if isinstance(answer, OSError):
            return {"state": "failed", "detail": f"nobody could be started to perform it: {answer.strerror}"}
        return answer if isinstance(answer, dict) and "state" in answer else _NO_END

    async def _kept(self, run_id: str, effect_id: str, settled: Settlement) -> None:
        now = self._now()
        verdict = await self._writer.transact(
            lambda db: settle_again(db, run_id, effect_id, settled, now=now)
        )
        log.info("%s is %s: %s; its run %s is %s now", effect_id, settled.state, settled.detail, run_id, verdict)
        if settled.state == "unknown":
            self._reconciler.stir()

    def _now(self) -> str:
        return instant(self._clock())


def _refusal(run: Redeliverable, effect: Undelivered, item: Mapping[str, Any]) -> Refused:
    """Why one effect cannot be performed again."""
    named, obstacle = f"{effect.kind}:{effect.target}", item["obstacle"]
    if obstacle == "gone":
        says = f"The run {run.run_id} kept no bodies: what {named} was to say is not there."
        return Refused("bodies_not_kept", says, hint=_anew(run))
    if obstacle == "changed":
        says = f"The body of {named} that the run {run.run_id} kept is not as it was staged."
        return Refused("bodies_changed", says, hint=_anew(run))
    if obstacle == "commit":
        says = f"The run {run.run_id} keeps no commit that {named} could push."
        return Refused("commit_not_kept", says, hint=_anew(run))
    says = f"The effect {named} is not allowed: {item['words']}."
    return Refused("effect_forbidden", says, hint=_anew(run))


def _anew(run: Redeliverable) -> str:
    return f"run the routine again: minion run {run.routine}"
