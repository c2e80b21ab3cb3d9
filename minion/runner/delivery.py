"""Performs a run's staged effects one by one, each with its intent committed first and its result told."""

from __future__ import annotations

import asyncio

from minion.runner.blocks import Walk
from minion.runner.effect import Effect
from minion.runner.effects import EffectDesk
from minion.runner.link import DaemonLink
from minion.runner.workspace import Workspace


class Delivery:
    """The way out of one run."""

    def __init__(self, walk: Walk, link: DaemonLink, desk: EffectDesk) -> None:
        self._walk = walk
        self._link = link
        self._desk = desk

    async def perform(self, effect: Effect, workspace: Workspace) -> list[str]:
        """Perform an effect; the names under which it counts as delivered, none when it was not."""
        intent = {"id": effect.id, "key": effect.key, "means": self._desk.means(effect)}
        await self._walk.say("effect.intent", intent)
        work = asyncio.ensure_future(self._desk.perform(effect, workspace))
        try:
            done = await asyncio.shield(work)
        except asyncio.CancelledError:
            if self._link.lost.is_set():
                raise
            # Stopped half-way it would be unknown; a few seconds more make it known.
            done = await work
            await self.result(effect, done.state, done.detail, done.destination, done.reverse)
            raise
        await self.result(effect, done.state, done.detail, done.destination, done.reverse)
        return [effect.target, f"{effect.kind}:{effect.target}"] if done.state == "delivered" else []

    async def withhold(self, why: str) -> None:
        """Tell of all effects that are left that they will not be performed."""
        for effect in self._desk.left:
            await self.result(effect, "withheld", why)

    async def result(
        self, effect: Effect, state: str, detail: str, destination: str | None = None, reverse: str | None = None
    ) -> None:
        """Tell what came of an effect."""
        self._desk.states[effect.id] = state
        said = {"id": effect.id, "state": state, "detail": detail, "destination": destination, "reverse": reverse}
        await self._walk.say("effect.result", said)
