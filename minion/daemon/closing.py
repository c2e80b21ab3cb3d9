"""Closes runs in the store: takes in what a runner kept and nobody took, writes the end, clears what is old."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from minion.clock import Clock
from minion.config import Config, Home
from minion.daemon.kept_order import forget_input
from minion.store.local_db import read_only
from minion.store.outbox import any_unwritten, keep_bodies, without_body
from minion.store.run_end import end_run, last_heard, prune
from minion.store.run_log import last_taken, take_event
from minion.wire import Event, kept_events
from server.contract.digest import instant
from server.contract.run import RunState, has_ended

if TYPE_CHECKING:
    from minion.store.writer import Connection, Writer

_UNFINISHED: Final = "('draft', 'validated', 'queued', 'running', 'waiting')"


@dataclass(frozen=True, slots=True)
class End:
    """How a run ended: its state, why, and what to do about it. No state: nobody said."""

    state: RunState | None
    why: str | None = None
    hint: str | None = None


class Closing:
    """The end of runs of one home."""

    def __init__(self, writer: Writer, clock: Clock, *, config: Callable[[], Config], runs_dir: Path) -> None:
        self._writer = writer
        self._clock = clock
        self._config = config
        self._runs_dir = runs_dir

    async def close(
        self, run_id: str, state: RunState, why: str | None, hint: str | None, *, left_behind: bool = False
    ) -> RunState:
        """Write down that a run ended, and remove runs that are too old; its final state. Raises `StoreFailed`.

        A run that was `left_behind` ended when it was last heard of, and not when it was found.
        """
        now = instant(self._clock())

        async def end_and_prune(db: Connection) -> tuple[RunState, list[str]]:
            ended_at = await last_heard(db, run_id) if left_behind else None
            final = await end_run(db, run_id, state, now=now, why=why, hint=hint, ended_at=ended_at)
            return final, await prune(db, keep=self._config().keep_runs, now=now)

        final, folders = await self._writer.transact(end_and_prune)
        if final != "interrupted":
            await asyncio.to_thread(forget_input, self._runs_dir / run_id)
        for folder in folders:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        await self._write_reports()
        return final

    async def _write_reports(self) -> None:
        """Write down what HQ is to hear of runs that ended, so that they may be pruned before it does."""

        def read() -> list[tuple[str, str]]:
            with read_only(Home(self._runs_dir.parent).store) as db:
                return without_body(db)

        if await self._writer.transact(any_unwritten):
            bodies = await asyncio.to_thread(read)
            await self._writer.transact(lambda db: keep_bodies(db, bodies))

    async def close_left_behind(self, run_id: str, folder: Path, why: str) -> RunState:
        """Close a run that nobody closed when it ended: as its runner said, else `interrupted` because of `why`.

        Its state if it has an end already. Raises `StoreFailed`.
        """

        async def state_of(db: Connection) -> RunState:
            (row,) = await db.execute_fetchall("SELECT state FROM runs WHERE id = ?", (run_id,))
            state: RunState = row["state"]
            return state

        state = await self._writer.transact(state_of)
        if has_ended(state):
            return state
        end = await self.take_in_leftovers(run_id, folder)
        if end.state is None:
            end = End("interrupted", why)
        return await self.close(run_id, end.state or "interrupted", end.why, end.hint, left_behind=True)

    async def unfinished(self) -> list[dict[str, str]]:
        """The rows of the runs without an end, oldest first."""

        async def read(db: Connection) -> list[dict[str, str]]:
            rows = await db.execute_fetchall(f"SELECT * FROM runs WHERE state IN {_UNFINISHED} ORDER BY ordinal")  # noqa: S608
            return [dict(row) for row in rows]

        return await self._writer.transact(read)

    async def take_in_leftovers(self, run_id: str, folder: Path) -> End:
        """Take in what a dead runner kept and nobody took; the end that it said, if it did."""
        end = End(None)
        known = await self._writer.transact(lambda db: last_taken(db, run_id))
        for event in events_in(folder / "events.ndjson"):
            try:
                if event.seq > known:
                    await self._take(run_id, event)
                if event.type == "run.finished":
                    end = End(event.data["state"], event.data["why"], event.data["hint"])
            except (KeyError, TypeError, ValueError):
                break  # damaged from here on: a home must open all the same
        return end

    async def clear_away(self) -> None:
        """Remove folders that an owner left who died on the threshold: of a pruned run, or of one never begun."""
        folders = list(self._runs_dir.iterdir()) if self._runs_dir.is_dir() else []

        async def strays(db: Connection) -> list[tuple[Path, bool]]:
            kept = {row["id"] for row in await db.execute_fetchall("SELECT id FROM runs")}
            query = "SELECT 1 FROM home_chain WHERE ref = ? AND kind = 'tombstone'"
            unknown = [folder for folder in folders if folder.name not in kept]
            return [(f, bool(list(await db.execute_fetchall(query, (f.name,))))) for f in unknown]

        for folder, pruned in await self._writer.transact(strays):
            # A run with events and without a row may belong to a store that was put back: it is kept.
            if pruned or not (folder / "events.ndjson").exists():
                await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def _take(self, run_id: str, event: Event) -> None:
        await self._writer.transact(lambda db: take_event(db, run_id, event))


def read_events(path: Path) -> list[Event]:
    """The events a runner kept, up to the first line that was not written whole."""
    return list(events_in(path))


def events_in(path: Path) -> Iterator[Event]:
    """The same, one after another: a runner may have kept more of them than this process should hold."""
    for event, _ in kept_events(path):
        yield event
