"""Looks after effects that nobody knows the end of: has them read back, and settles those that can be seen.

The looking is done by a short-lived child, `minion.runner.reading_back`, which holds the secrets for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from minion.clock import Clock
from minion.config import Config
from minion.daemon.kept_order import OrderLost, kept_order
from minion.daemon.question import ask_child
from minion.store.effects_ledger import READ_BACK, Settlement, Unknown, note_effect, settle_effect, unknown_effects
from minion.wire import Order
from server.contract.digest import instant, parse_instant
from server.contract.refusals import Refusal, Refused
from server.contract.run import EffectState

if TYPE_CHECKING:
    from minion.store.writer import Writer

# What was sent a moment ago may still be at work on the other side: that it is not there proves nothing yet.
SETTLING_S: Final = 3.0
_FAR_AWAY: Final = frozenset({"push", "pull_request", "comment"})
# One look at a run's effects; remotes that do not answer are given up inside of it.
_PATIENCE_S: Final = 180.0
# From when an effect is first seen to be unknown: the pauses before each look while its target cannot be reached.
PAUSES_S: Final = (SETTLING_S, 60.0, 300.0, 1800.0, 7200.0, 43_200.0, 86_400.0)
_SETTLED: Final = ("delivered", "accepted", "failed")
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Looked:
    """What a look at an effect came to: its state now, what was seen, and whether another look may tell more."""

    effect: Unknown
    state: EffectState
    detail: str
    again: bool = False

    def as_data(self) -> dict[str, Any]:
        """The answer as commands show it."""
        names = ("id", "run_id", "routine", "kind", "target")
        told = {name.removesuffix("_id"): getattr(self.effect, name) for name in names}
        return {**told, "state": self.state, "detail": self.detail}


class Reconciler:
    """Reads the unknown effects of one home back. `busy` names the runs that go on: theirs are left alone."""

    def __init__(
        self, writer: Writer, clock: Clock, *, config: Callable[[], Config], busy: Callable[[], Collection[str]]
    ) -> None:
        self._writer = writer
        self._clock = clock
        self._config = config
        self._busy = busy
        self._stirred = asyncio.Event()

    def stir(self) -> None:
        """Have the loop look again for unknown effects: a run ended."""
        self._stirred.set()

    async def run(self) -> None:
        """Go on until cancelled: read back what is unknown, with growing pauses while it cannot be reached."""
        plan: dict[tuple[str, str], tuple[int, float]] = {}
        while True:
            self._stirred.clear()
            try:
                pause = await self._round(plan)
            except (Refusal, OSError, KeyError, TypeError) as error:
                log.error("effects could not be read back: %r", error)
                pause = PAUSES_S[1]
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._stirred.wait()

    async def look(self, run_id: str | None = None) -> list[Looked]:
        """Read the unknown effects of all runs, or of one, back now. Raises `StoreFailed`, `OSError`."""
        found = []
        for effects in _by_run(await self._unknown(run_id)):
            found += await self._look_at(effects)
        return found

    async def look_before_resume(self, order: Order) -> str | None:
        """Read a run's unknown effects back before it goes on, once they had time to arrive.

        Answers what of the run's folder is damaged, None when it is whole. Raises `StoreFailed`, `OSError`.
        """
        effects = await self._unknown(order.run_id)
        left = max((self._settling_s(effect) for effect in effects), default=0.0)
        if left > 0:
            await _pause(left)
        answer = await self._asked(order, effects, resuming=True)
        await self._take(effects, answer)
        damage = answer.get("damage", "folder could not be looked at")
        return str(damage) if damage is not None else None

    async def _round(self, plan: dict[tuple[str, str], tuple[int, float]]) -> float | None:
        """Look at all that is due by `plan`, which has (looks so far, next look); the seconds to the next."""
        clock = asyncio.get_running_loop().time
        unknown = {(effect.id, effect.intended_at): effect for effect in await self._unknown(None)}
        for key in [key for key in plan if key not in unknown]:
            del plan[key]
        for key in unknown:
            plan.setdefault(key, (0, clock() + PAUSES_S[0]))
        busy = set(self._busy())
        due = [effect for key, effect in unknown.items() if plan[key][1] <= clock() and effect.run_id not in busy]
        for effects in _by_run(due):
            for looked in await self._look_at(effects):
                key = (looked.effect.id, looked.effect.intended_at)
                looks = plan[key][0] + 1
                more = looked.again and looks < len(PAUSES_S)
                plan[key] = (looks, clock() + PAUSES_S[looks] if more else math.inf)
        waits = [at for key, (_, at) in plan.items() if unknown[key].run_id not in busy]
        soonest = min(waits, default=math.inf)
        return None if soonest == math.inf else max(0.0, soonest - clock())

    async def _look_at(self, effects: Sequence[Unknown]) -> list[Looked]:
        """Read effects of one run back, and keep what was seen."""
        first = effects[0]
        try:
            order = kept_order(first.run_id, Path(first.folder), self._config())
        except OrderLost as lost:
            words = {"state": "unknown", "detail": f"it cannot be read back: the run's {lost}", "again": False}
            return [await self._keep(effect, words) for effect in effects]
        return await self._take(effects, await self._asked(order, effects, resuming=False))

    async def _take(self, effects: Sequence[Unknown], answer: Mapping[str, Any]) -> list[Looked]:
        seen = {item["id"]: item for item in answer.get("effects", ())}
        return [await self._keep(effect, seen.get(effect.id)) for effect in effects]

    async def _keep(self, effect: Unknown, seen: Mapping[str, Any] | None) -> Looked:
        if seen is None:
            return Looked(effect, "unknown", "the read-back came to no end", again=True)
        looked = Looked(effect, seen["state"], seen["detail"], bool(seen["again"]))
        now = instant(self._clock())
        if looked.state not in _SETTLED:
            await self._writer.transact(lambda db: note_effect(db, effect.id, looked.detail))
            return looked
        settled = Settlement(
            looked.state, looked.detail, READ_BACK, seen["destination"], seen["reverse"], effect.intended_at
        )
        try:
            done = await self._writer.transact(lambda db: settle_effect(db, effect.id, settled, now=now))
        except Refused as refusal:  # somebody was faster, or its run goes on
            return replace(looked, state="unknown", detail=refusal.sentence)
        words = (effect.routine, effect.kind, effect.target, looked.state, looked.detail, done["verdict"])
        log.info("%s: %s %s was cut off and is %s: %s; its run is %s now", *words)
        return looked

    async def _asked(self, order: Order, effects: Sequence[Unknown], *, resuming: bool) -> dict[str, Any]:
        """What the child answers; nothing when it comes to no end in time. Raises `OSError`."""
        asked = {
            "effects": [asdict(effect) | {"young": self._settling_s(effect) > 0} for effect in effects],
            "resuming": resuming,
        }
        return await ask_child("minion.runner.reading_back", order, asked, patience_s=_PATIENCE_S)

    async def _unknown(self, run_id: str | None) -> list[Unknown]:
        return await self._writer.transact(lambda db: unknown_effects(db, run_id))

    def _settling_s(self, effect: Unknown) -> float:
        """Seconds until an effect that is not seen has had its time to arrive; 0 when it had."""
        if effect.kind not in _FAR_AWAY:
            return 0.0
        return settling_s(parse_instant(effect.intended_at), self._clock())


def settling_s(intended_at: datetime, now: datetime) -> float:
    """Seconds left of the time in which what was just sent may arrive; none when the clock was set back."""
    age = now - intended_at
    return (timedelta(seconds=SETTLING_S) - age).total_seconds() if timedelta() <= age else 0.0


def _by_run(effects: Sequence[Unknown]) -> list[list[Unknown]]:
    grouped: dict[str, list[Unknown]] = {}
    for effect in effects:
        grouped.setdefault(effect.run_id, []).append(effect)
    return list(grouped.values())


async def _pause(seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await asyncio.Event().wait()
