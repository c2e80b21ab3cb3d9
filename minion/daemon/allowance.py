"""What a minion lets its runs spend: asked before a run starts, and after every model call before the next.

The runner holds itself to its own limits; this is the parent's count, over all runs of the home together.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING

from minion.clock import Clock
from minion.config import Config
from minion.store.spending import Purse, spent_by_run
from minion.wire import Order
from server.contract.quota import SpendingCaps, Spent, spending, standing
from server.contract.refusals import Refused

if TYPE_CHECKING:
    from minion.store.writer import Connection, Writer

log = logging.getLogger(__name__)


class Allowance:
    """The allowance of one home."""

    def __init__(self, writer: Writer, clock: Clock, *, config: Callable[[], Config]) -> None:
        self._writer = writer
        self._clock = clock
        self._config = config
        self._purse = Purse()
        self._warned: set[str] = set()

    async def why_not(self, order: Order | None = None) -> tuple[str, str]:
        """Why no model call may be made now, and what helps; both empty when one may.

        With an `order` its run's own limits are looked at too. Raises `StoreFailed`.
        """
        now, config = self._clock(), self._config()

        async def read(db: Connection) -> tuple[tuple[float, float], dict[str, float]]:
            used = await spent_by_run(db, order.run_id) if order is not None else {}
            return await self._purse.spent(db, zone=config.timezone, now=now), used

        (day, month), used = await self._writer.transact(read)
        if order is not None:
            turns, tokens, dollars = (used.get(name, 0) for name in ("turns", "tokens", "dollars"))
            spent = Spent(0.0, int(turns), int(tokens), dollars)
            over = standing(spent, order.limits).over
            if over:
                cap = getattr(order.limits, over[0])
                shown = f"${cap:g}" if over[0] == "dollars" else f"{cap:,} {over[0]}"
                return f"the run reached its cap of {shown}", f"raise limits.{over[0]}, or have it do less"
        return self._of_all(day, month, config)

    def _of_all(self, day: float, month: float, config: Config) -> tuple[str, str]:
        caps = _caps(config)
        for name in spending(day, month, caps).near:
            self._warn(name, day if name == "dollars_per_day" else month, getattr(caps, name))
        return used_up(day, month, config)

    def _warn(self, name: str, spent: float, cap: float) -> None:
        """Say once a day that a cap is near."""
        key = f"{name} {self._clock():%Y-%m-%d}"
        if key not in self._warned:
            self._warned = {key, *(each for each in self._warned if each.endswith(key[-10:]))}
            log.warning("%s: $%.2f of $%g are spent", name, spent, cap)


def used_up(day: float, month: float, config: Config) -> tuple[str, str]:
    """Why nothing more may be spent after so many US dollars, and what helps; both empty while it may."""
    caps = _caps(config)
    spans = {"dollars_per_day": ("day", "today", day), "dollars_per_month": ("month", "this month", month)}
    for name in spending(day, month, caps).over:
        span, when, spent = spans[name]
        why = f"the minion's ${getattr(caps, name):g} for {when} are used up (${spent:.2f})"
        return why, f"raise `{name}` in minion.json, or wait until the {span} is over"
    return "", ""


def _caps(config: Config) -> SpendingCaps:
    day, month = config.dollars_per_day, config.dollars_per_month
    return SpendingCaps(inf if day is None else day, inf if month is None else month)


def allowance_spent(why: str, hint: str) -> Refused:
    """The refusal of a run that would have to spend what is used up."""
    return Refused("allowance_spent", f"{why[:1].upper()}{why[1:]}.", hint=hint)
