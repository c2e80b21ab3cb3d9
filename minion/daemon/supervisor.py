"""Starts one runner per run, writes down what it says, acknowledges it, and ends what does not end by itself.

Whoever holds the home's lock has exactly one Supervisor: the daemon, or a foreground `minion run`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from minion.clock import Clock
from minion.config import Config
from minion.daemon.processes import Identity, adopt_orphans, end_if_same, end_orphans, identity_of
from minion.store.run_end import end_run, last_heard, prune
from minion.store.run_log import move, open_run, take_event
from minion.wire import ACKNOWLEDGED, EVENT_BYTES, Answer, Event, Order, WireError
from server.contract.digest import instant
from server.contract.run import RunState

if TYPE_CHECKING:
    from minion.store.writer import Connection, Writer

OnEvent = Callable[[str, Event], None]
# After a cancel or timeout the runner has this long to close its session before it is killed.
GRACE_S: Final = 5.0
_UNFINISHED: Final = "('draft', 'validated', 'queued', 'running', 'waiting')"


@dataclass(slots=True)
class Flight:
    """A runner at work: its process, and how it said the run ended."""

    order: Order
    process: asyncio.subprocess.Process
    end: RunState | None = None
    why: str | None = None
    hint: str | None = None
    stopped_for: str | None = None
    stopping: asyncio.Event = field(default_factory=asyncio.Event)


class Supervisor:
    """All runs of one home. `owns_process` lets it end orphans: true where this process starts nothing else."""

    def __init__(
        self, config: Config, writer: Writer, clock: Clock, *, runs_dir: Path,
        on_event: OnEvent | None = None, owns_process: bool = False,
    ) -> None:  # fmt: skip
        self._config = config
        self._writer = writer
        self._clock = clock
        self._runs_dir = runs_dir
        self._on_event = on_event
        self._owns_process = owns_process
        self._flights: dict[str, Flight] = {}
        if owns_process:
            adopt_orphans()

    async def run(self, order: Order, lock: dict[str, str]) -> RunState:
        """Perform one run to its end; its final state. The run is recorded before anything is started.

        Raises `Refused` when the order's key was taken before.
        """
        now, run_id = self._now(), order.run_id

        async def open_and_queue(db: Connection) -> None:
            await open_run(db, order, folder=order.run_dir, lock=lock, now=now)
            await move(db, run_id, "draft", "validated", now=now)
            await move(db, run_id, "validated", "queued", now=now)

        await self._writer.transact(open_and_queue)
        flight = Flight(order, await self._start(order))
        self._flights[run_id] = flight
        try:
            await self._mark_running(run_id, identity_of(flight.process.pid))
            await self._attend(flight)
        except (WireError, ValueError, KeyError, TypeError) as error:
            flight.end, flight.why = "interrupted", f"the runner said what nobody understands: {error}"
        finally:
            await self._make_sure_it_is_gone(flight)
            del self._flights[run_id]
        return await self._finish(flight)

    def cancel(self, run_id: str, reason: str) -> bool:
        """Ask a run to stop; False when it is not under way here."""
        flight = self._flights.get(run_id)
        if flight is None:
            return False
        flight.stopped_for = flight.stopped_for or reason
        flight.stopping.set()
        return True

    async def recover(self) -> list[str]:
        """End every run that a dead owner of this home left: take in the rest of its events first; their ids."""

        async def unfinished(db: Connection) -> list[dict[str, str]]:
            rows = await db.execute_fetchall(f"SELECT * FROM runs WHERE state IN {_UNFINISHED} ORDER BY ordinal")  # noqa: S608
            return [dict(row) for row in rows]

        recovered = []
        for run in await self._writer.transact(unfinished):
            if run["runner_pid"]:
                identity = Identity(int(run["runner_pid"]), run["runner_started"], run["boot_id"])
                await asyncio.to_thread(end_if_same, identity)
            end, why, hint = await self._take_in_leftovers(run["id"], Path(run["folder"]))
            if end is None:
                end, why = "interrupted", "the minion stopped while it was running"
            await self._end(run["id"], end, why, hint, left_behind=True)
            recovered.append(run["id"])
        await self._clear_away()
        return recovered

    async def _clear_away(self) -> None:
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

    async def _start(self, order: Order) -> asyncio.subprocess.Process:
        log = os.open(Path(order.run_dir) / "runner.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-m", "minion.runner"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                cwd=order.run_dir,
                env={"PATH": order.search_path, "LC_ALL": "C.UTF-8"},
                limit=2 * EVENT_BYTES,
                # A terminal's Ctrl-C is for the supervisor, which then stops the run in good order.
                start_new_session=True,
            )
        finally:
            os.close(log)
        self._write(process, order.line())
        return process

    async def _mark_running(self, run_id: str, runner: Identity) -> None:
        now = self._now()

        async def mark(db: Connection) -> None:
            await move(db, run_id, "queued", "running", now=now)
            await db.execute(
                "UPDATE runs SET runner_pid = ?, runner_started = ?, boot_id = ? WHERE id = ?",
                (runner.pid, runner.started, runner.boot_id, run_id),
            )

        await self._writer.transact(mark)

    async def _attend(self, flight: Flight) -> None:
        """Take events until the runner is done, silent for good, or stopped and out of grace."""
        reading = asyncio.ensure_future(self._read(flight))
        stopping = asyncio.ensure_future(flight.stopping.wait())
        try:
            limit = flight.order.limits.wall_clock_s
            await asyncio.wait({reading, stopping}, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                flight.stopped_for = flight.stopped_for or "timeout"
                self._write(flight.process, Answer("cancel", reason=flight.stopped_for).line())
                await asyncio.wait({reading}, timeout=GRACE_S)
            if reading.done():
                await reading
        finally:
            for task in (reading, stopping):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, WireError):
                    await task

    async def _read(self, flight: Flight) -> None:
        """Events in order: commits of those that need no answer may wait together with the next that does."""
        waiting: list[asyncio.Future[bool]] = []
        stdout = flight.process.stdout
        # A line without its end is the last of a runner that was killed while it spoke.
        while stdout is not None and (line := await stdout.readline()).endswith(b"\n"):
            event = Event.read(line)
            if self._on_event is not None:
                self._on_event(flight.order.run_id, event)
            waiting.append(asyncio.ensure_future(self._take(flight.order.run_id, event)))
            if event.type == "run.finished":
                flight.end, flight.why, flight.hint = (event.data[key] for key in ("state", "why", "hint"))
            if event.type in ACKNOWLEDGED or len(waiting) >= 64:
                await asyncio.gather(*waiting)
                waiting.clear()
            if event.type in ACKNOWLEDGED:
                self._write(flight.process, Answer("ack", seq=event.seq).line())
        await asyncio.gather(*waiting)

    async def _take(self, run_id: str, event: Event) -> bool:
        return await self._writer.transact(lambda db: take_event(db, run_id, event))

    async def _make_sure_it_is_gone(self, flight: Flight) -> None:
        process = flight.process
        if process.stdin is not None:
            process.stdin.close()
        try:
            async with asyncio.timeout(GRACE_S if flight.end is not None else 0.5):
                await process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        if self._owns_process:
            known = frozenset(other.process.pid for other in self._flights.values())
            await asyncio.to_thread(end_orphans, known)

    async def _finish(self, flight: Flight) -> RunState:
        """The run's end: as the runner said, or `interrupted`/stopped with what is known."""
        end, why, hint = flight.end, flight.why, flight.hint
        if end is None:
            # It may have died between keeping an event and sending it.
            folder = Path(flight.order.run_dir)
            end, why, hint = await self._take_in_leftovers(flight.order.run_id, folder)
        if end is None and flight.stopped_for is not None:
            end = "timed_out" if flight.stopped_for == "timeout" else "cancelled"
            why = flight.stopped_for
        if end is None:
            status = flight.process.returncode
            end, why = "interrupted", f"the runner ended before the run did (status {status})"
        return await self._end(flight.order.run_id, end, why, hint)

    async def _end(
        self, run_id: str, end: RunState, why: str | None, hint: str | None, *, left_behind: bool = False
    ) -> RunState:
        now = self._now()

        async def end_and_prune(db: Connection) -> tuple[RunState, list[str]]:
            # A run that its owner left ended when it was last heard of, and not when it was found.
            ended_at = await last_heard(db, run_id) if left_behind else None
            final = await end_run(db, run_id, end, now=now, why=why, hint=hint, ended_at=ended_at)
            return final, await prune(db, keep=self._config.keep_runs, now=now)

        final, folders = await self._writer.transact(end_and_prune)
        for folder in folders:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        return final

    async def _take_in_leftovers(
        self, run_id: str, folder: Path
    ) -> tuple[RunState | None, str | None, str | None]:
        """Take in what a dead runner kept and nobody took; the (end, why, hint) that it said, if it did."""
        end, why, hint = None, None, None
        for event in read_events(folder / "events.ndjson"):
            try:
                await self._take(run_id, event)
                if event.type == "run.finished":
                    end, why, hint = (event.data[key] for key in ("state", "why", "hint"))
            except (KeyError, TypeError, ValueError):
                break  # damaged from here on: a home must open all the same
        return end, why, hint

    def _write(self, process: asyncio.subprocess.Process, line: bytes) -> None:
        # A runner that is gone cannot be written to; its silence is noticed by the reader.
        if process.stdin is not None and not process.stdin.is_closing():
            process.stdin.write(line)

    def _now(self) -> str:
        return instant(self._clock())


def read_events(path: Path) -> list[Event]:
    """The events a runner kept, up to the first line that was not written whole."""
    events: list[Event] = []
    try:
        body = path.read_bytes()
    except FileNotFoundError:
        return events
    for line in body.splitlines(keepends=True):
        try:
            event = Event.read(line)
        except WireError:
            break
        if not line.endswith(b"\n") or event.seq != len(events) + 1:
            break
        events.append(event)
    return events
