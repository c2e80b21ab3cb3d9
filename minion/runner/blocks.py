"""Walks blocks and steps: their events, in order, with an end for every beginning."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from minion.engines.base import Interruption, Stopped
from minion.runner.link import DaemonLink
from server.contract.digest import digest_of
from server.contract.run import StepKind, StepState
from server.contract.topology import CanonicalBlock


class BlockFailed(Exception):
    """A rigid block that could not do its work; the sentence and hint reach the report."""

    def __init__(self, why: str, *, hint: str) -> None:
        super().__init__(why)
        self.why = why
        self.hint = hint


@dataclass(slots=True)
class Ending:
    """How the block or step under way will be said to have ended: completed, unless it is told or fails."""

    state: StepState | None = None
    why: str | None = None
    out: Any = None
    cost: Mapping[str, float] = field(default_factory=dict)


class Walk:
    """The beat of one run: which block is open, and the numbering of steps, `steps` of which were taken before."""

    def __init__(self, link: DaemonLink, names: dict[str, str], agent: str, *, steps: int = 0) -> None:
        self._link = link
        self._names = names
        self._agent = agent
        self._steps = steps
        self._open: str | None = None

    async def say(self, type_: str, data: Mapping[str, Any]) -> None:
        """Emit an event of the open block, or of the run where none is open. Raises `DaemonLost`."""
        await self._link.emit(type_, data, block=self._open)

    @asynccontextmanager
    async def block(self, block: CanonicalBlock) -> AsyncIterator[Ending]:
        """One block: started on entry, finished on the way out whatever happens in it."""
        name = self._names.get(block.code, block.code)
        await self._link.emit("block.started", {"name": name, "kind": block.kind}, block=block.code)
        self._open = block.code
        ending = Ending()
        try:
            with self._coming_to(ending):
                yield ending
        finally:
            self._open = None
            if not self._link.lost.is_set():
                data = {"state": ending.state, "why": ending.why}
                await self._link.emit("block.finished", data, block=block.code)

    @asynccontextmanager
    async def step(self, code: str, *, kind: StepKind = "step", given: Any = None) -> AsyncIterator[Ending]:
        """One step of the open block; `given` is what it starts from, kept as a digest."""
        self._steps += 1
        number = self._steps
        said = {"number": number, "code": code, "kind": kind, "agent": self._agent, "digest_in": digest_of(given)}
        block = self._open
        started = await self._link.emit("step.started", said, block=block)
        ending = Ending()
        try:
            with self._coming_to(ending):
                yield ending
        finally:
            if not self._link.lost.is_set():
                end: dict[str, Any] = {
                    "state": ending.state, "why": ending.why, "digest_out": digest_of(ending.out)
                }
                if ending.cost:
                    end["cost"] = dict(ending.cost)
                await self._link.emit("step.finished", {**said, **end, "started_at": started.at}, block=block)

    @contextmanager
    def _coming_to(self, ending: Ending) -> Iterator[None]:
        """The ending has a state on the way out: what it was given, else what became of the block inside.

        What nobody foresaw ends the runner: it is an interruption, so that a run that goes on does this again.
        """
        fallback: StepState = "interrupted"
        try:
            yield
            fallback = "completed"
        except asyncio.CancelledError:
            fallback, ending.state, ending.why = "cancelled", None, self._link.cancel_reason
            raise
        except BlockFailed as error:
            fallback, ending.why = "failed", error.why
            raise
        except Stopped as stopped:
            fallback, ending.why = "failed", stopped.stop.why
            raise
        except Interruption as error:
            fallback, ending.state, ending.why = "interrupted", None, error.why
            raise
        finally:
            ending.state = ending.state or fallback

    async def skip_step(self, code: str, why: str, *, kind: StepKind = "step") -> None:
        """A step that was not started: recorded as skipped, with the reason."""
        self._steps += 1
        said = {"number": self._steps, "code": code, "kind": kind, "agent": self._agent}
        end = {"state": "skipped", "why": why, "digest_in": digest_of(None), "digest_out": digest_of(None)}
        await self._link.emit("step.finished", {**said, **end, "started_at": None}, block=self._open)

    async def skip_block(self, block: CanonicalBlock, why: str) -> None:
        """A block that was not entered because an earlier one failed or the run was stopped."""
        name = self._names.get(block.code, block.code)
        said = {"name": name, "kind": block.kind, "state": "skipped", "why": why}
        await self._link.emit("block.finished", said, block=block.code)


