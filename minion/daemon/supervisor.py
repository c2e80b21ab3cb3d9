"""Starts one runner per run, writes down what it says, acknowledges it, and ends what does not end by itself.

Whoever holds the home's lock has exactly one Supervisor: the daemon, or a foreground `minion run`.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from minion.clock import Clock
from minion.config import Config
from minion.daemon.allowance import Allowance
from minion.daemon.caps import passed_time
from minion.daemon.cgroups import find_ground
from minion.daemon.closing import Closing, End
from minion.daemon.flight import Flight, group_name, take_off
from minion.daemon.kept_order import keep_order
from minion.daemon.processes import Identity, adopt_orphans, end_if_same, end_orphans, identity_of
from minion.daemon.reconciler import Reconciler
from minion.daemon.redelivery import Redeliveries
from minion.daemon.resumption import Resumption
from minion.store.claims import claim_of
from minion.store.run_log import move, open_run, take_event
from minion.store.run_resume import Interrupted, call_off, interrupted_runs, note_overdue, run_goes_on
from minion.wire import Event, Order, WireError
from server.contract.digest import instant
from server.contract.refusals import Refusal
from server.contract.run import RunState

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from minion.store.writer import Connection, Writer

    Also = Callable[[Connection], Awaitable[object]]

OnEvent = Callable[[str, Event], None]
OnEnd = Callable[[str, RunState], None]
T = TypeVar("T")
log = logging.getLogger(__name__)
# A group that is empty for so long belongs to nobody any more.
_OLD_S: Final = 3600.0
_UNKEPT: Final = "the store could not be written while it was running"
_LEFT: Final = "the minion stopped while it was running"


class Supervisor:
    """All runs of one home. `owns_process` lets it end orphans: true where this process starts nothing else."""

    def __init__(
        self, config: Config, writer: Writer, clock: Clock, *, runs_dir: Path,
        on_event: OnEvent | None = None, on_end: OnEnd | None = None, owns_process: bool = False,
    ) -> None:  # fmt: skip
        self.config = config
        self._writer = writer
        self._clock = clock
        self._on_event = on_event
        self._on_end = on_end
        self._owns_process = owns_process
        self._flights: dict[str, Flight] = {}
        # Opened and not begun yet; begun and not kept as ended yet; being ended without having begun.
        self._queued: dict[str, Order] = {}
        self._performed: set[str] = set()
        # Runs whose end could not be kept, and their folders.
        self._left: dict[str, str] = {}
        self._withdrawn: set[asyncio.Future[RunState]] = set()
        # Runs between two sessions, to be set when they shall not go on; and why, where somebody said so.
        self._between: dict[str, asyncio.Event] = {}
        self._called_off: dict[str, str] = {}
        self._ended_all = False
        self.reconciler = Reconciler(
            writer, clock, config=lambda: self.config, busy=lambda: self.under_way
        )
        self.redeliveries = Redeliveries(
            writer, clock, config=lambda: self.config, reconciler=self.reconciler
        )
        self.allowance = Allowance(writer, clock, config=lambda: self.config)
        self._resumption = Resumption(
            writer, clock, config=lambda: self.config, reconciler=self.reconciler, allowance=self.allowance
        )
        self._closing = Closing(writer, clock, config=lambda: self.config, runs_dir=runs_dir)
        self._ground = find_ground(divide=owns_process)
        if owns_process:
            adopt_orphans()

    async def run(self, order: Order, lock: dict[str, str]) -> RunState:
        """Open a run and perform it to its end; its final state. Raises `Refused` as `open` does."""
        await self.open(order, lock)
        return await self.perform(order)

    async def open(self, order: Order, lock: dict[str, str], *, also: Also | None = None) -> None:
        """Record a run as queued, before anything is started; `also` is written in the same transaction.

        The order is kept in the run's folder. Raises `Refused` when its key was taken before, `StoreFailed`.
        """
        now, run_id = self._now(), order.run_id
        await asyncio.to_thread(keep_order, order)

        async def open_and_queue(db: Connection) -> None:
            await open_run(db, order, folder=order.run_dir, lock=lock, now=now)
            await move(db, run_id, "draft", "validated", now=now)
            await move(db, run_id, "validated", "queued", now=now)
            if also is not None:
                await also(db)

        await self._writer.transact(open_and_queue)
        self._queued[run_id] = order

    async def perform(self, order: Order) -> RunState:
        """Perform a run that was opened, or taken up again, to its end; its final state.

        When its runner dies and its routine allows it, the run goes on with another one.
        """
        if order.resumed is not None:
            return await self._to_its_end(order)
        if self._queued.pop(order.run_id, None) is None:
            return "cancelled"  # it was withdrawn before its turn came, and has its end
        self._performed.add(order.run_id)
        return await self._to_its_end(order)

    async def take_up(self, run_id: str, *, anyway: bool) -> Order:
        """Have an interrupted run be under way again because a person asks; `perform` is to follow.

        `anyway`: though it was interrupted long ago. Raises `Refused`, `StoreFailed`.
        """
        if run_id in self.under_way or self._ended_all:
            raise run_goes_on(run_id)
        self._performed.add(run_id)
        ready = functools.partial(self._resumption.by_hand, run_id, anyway=anyway)
        try:
            return await self._between_sessions(run_id, ready)
        except BaseException:
            self._performed.discard(run_id)
            stays = self._called_off.pop(run_id, None) is None
            self._tell_end(run_id, "interrupted" if stays else "cancelled")
            raise

    async def resume(self, run: Interrupted) -> None:
        """Have an interrupted run go on to its end, if it still may; nobody waits for it, so trouble is logged."""
        if run.run_id in self.under_way or self._ended_all:
            return
        self._performed.add(run.run_id)
        try:
            order = await self._readied(run.run_id, run.folder)
            if order is not None:
                await self._to_its_end(order)
                return
        except Refusal as refusal:
            log.error("the run %s could not go on: %s", run.run_id, refusal)
        finally:
            self._performed.discard(run.run_id)
            called_off = self._called_off.pop(run.run_id, None)
        # Somebody may wait for it all the same.
        self._tell_end(run.run_id, "interrupted" if called_off is None else "cancelled")

    async def interrupted(self) -> list[Interrupted]:
        """The runs that may be resumed, as far as the store can tell; oldest first."""
        now = self._clock()
        await self._writer.transact(lambda db: note_overdue(db, now=now))
        return await self._writer.transact(lambda db: interrupted_runs(db, now=now))

    async def _to_its_end(self, order: Order) -> RunState:
        """Perform a run, and what is left of it whenever its runner died and it may go on."""
        with self._ending(order):
            final, died = await self._session(order)
            while died and (again := await self._readied(order.run_id, order.run_dir)) is not None:
                final, died = await self._session(again)
            if died and self._called_off.pop(order.run_id, None) is not None:
                final = "cancelled"
        self._tell_end(order.run_id, final)
        return final

    @contextlib.contextmanager
    def _ending(self, order: Order) -> Iterator[None]:
        """The block keeps the end of a run; one that could not is closed later."""
        kept = False
        try:
            yield
            kept = True
        finally:
            if not kept:
                self._left[order.run_id] = order.run_dir
            self._performed.discard(order.run_id)

    async def close_left(self) -> list[str]:
        """Close the runs whose end could not be kept when it came, as the store failed; their ids.

        Raises `StoreFailed` when it still does; they are kept for the next time.
        """
        closed = []
        await self.redeliveries.close_left()
        for run_id, folder in list(self._left.items()):
            final = await self._closing.close_left_behind(run_id, Path(folder), _UNKEPT)
            self.reconciler.stir()
            del self._left[run_id]
            self._tell_end(run_id, final)
            closed.append(run_id)
        return closed

    def _tell_end(self, run_id: str, final: RunState) -> None:
        if self._on_end is not None:
            self._on_end(run_id, final)

    async def _readied(self, run_id: str, folder: str) -> Order | None:
        """The order with which an interrupted run goes on; None when it stays so. Raises `StoreFailed`."""
        try:
            return await self._between_sessions(run_id, functools.partial(self._resumption.ready, run_id, folder))
        except OSError as error:
            log.error("the run %s could not be looked at: %s", run_id, error)
            return None

    async def _between_sessions(self, run_id: str, ready: Callable[[asyncio.Event], Awaitable[T]]) -> T:
        """What readies a run answers; one that is called off meanwhile ends for good."""
        self._between[run_id] = called_off = asyncio.Event()
        order: T | None = None
        try:
            order = await ready(called_off)
            return order
        finally:
            reason = self._called_off.get(run_id)
            if order is None:  # else it is between sessions until the next one is there
                del self._between[run_id]
                if reason is not None:
                    now = self._now()
                    await self._writer.transact(lambda db: call_off(db, run_id, reason, now=now))

    async def _session(self, order: Order) -> tuple[RunState, bool]:
        """One runner from start to end: the run's state then, and whether it died though nobody stopped it."""
        run_id = order.run_id
        try:
            flight = await take_off(
                order, functools.partial(self._hear, run_id), self._ground,
                spend=functools.partial(self.allowance.why_not, order),
            )  # fmt: skip
        except OSError as error:
            words = f"its runner could not be started: {error.strerror}"
            return await self._close(run_id, End("failed", words, "minion doctor")), False
        finally:
            self._between.pop(run_id, None)
            called_off = self._called_off.pop(run_id, None)
        self._flights[run_id] = flight
        if called_off is not None:
            flight.stop(called_off)
        if self._ended_all:
            flight.abandon("the minion was stopped")
        try:
            await self._mark_running(flight, identity_of(flight.process.pid))
            await flight.attend()
        except (WireError, ValueError, KeyError, TypeError) as error:
            flight.end, flight.why = "interrupted", f"the runner said what nobody understands: {error}"
        finally:
            await self._make_sure_it_is_gone(flight)
            del self._flights[run_id]
        return await self._finish(flight)

    def cancel(self, run_id: str, reason: str) -> bool:
        """Ask a run to stop, not to begin or not to go on; False when it is not under way here."""
        flight, between = self._flights.get(run_id), self._between.get(run_id)
        if flight is not None:
            flight.stop(reason)
        if between is not None:
            self._called_off.setdefault(run_id, reason)
            between.set()
        return flight is not None or between is not None or self._withdraw(run_id, "cancelled", reason)

    async def abandon_all(self, reason: str) -> None:
        """End all runs at once, interrupted; returns when none waits for its place any more."""
        self._ended_all = True
        for between in self._between.values():
            between.set()
        for flight in self._flights.values():
            flight.abandon(reason)
        for run_id in list(self._queued):
            self._withdraw(run_id, "interrupted", reason)
        await asyncio.gather(*self._withdrawn)
        await self.redeliveries.stop()

    def _withdraw(self, run_id: str, end: RunState, reason: str) -> bool:
        order = self._queued.pop(run_id, None)
        if order is not None:
            self._performed.add(run_id)
            ending = asyncio.ensure_future(self._end(order, End(end, reason)))
            self._withdrawn.add(ending)
            ending.add_done_callback(self._withdrawn.discard)
        return order is not None

    @property
    def queued(self) -> list[str]:
        """The ids of the runs that wait for their place."""
        return list(self._queued)

    def flight_of(self, run_id: str) -> Flight | None:
        """The runner that performs a run; None when none does."""
        return self._flights.get(run_id)

    def under_way_of(self, routine: str) -> list[str]:
        """The ids of a routine's runs that go on or wait for their place."""
        orders = [*(flight.order for flight in self._flights.values()), *self._queued.values()]
        return [order.run_id for order in orders if order.routine["name"] == routine]

    @property
    def under_way(self) -> list[str]:
        """The ids of the runs that go on, end just now, or wait for their place."""
        return [*sorted(self._performed), *self._queued]

    async def recover(self) -> list[str]:
        """End every run that a dead owner of this home left: take in the rest of its events first; their ids."""
        recovered = []
        for run in await self._closing.unfinished():
            if run["runner_pid"]:
                identity = Identity(int(run["runner_pid"]), run["runner_started"], run["boot_id"])
                await asyncio.to_thread(end_if_same, identity)
            await asyncio.to_thread(self._end_group, run["id"])
            await self._closing.close_left_behind(run["id"], Path(run["folder"]), _LEFT)
            self.reconciler.stir()
            recovered.append(run["id"])
        await self.redeliveries.recover()
        await self._closing.clear_away()
        self._ground.clear_away(group_name("run_"), before=self._clock().timestamp() - _OLD_S)
        return recovered

    async def _mark_running(self, flight: Flight, runner: Identity) -> None:
        now, order = self._now(), flight.order

        async def mark(db: Connection) -> dict[str, Any] | None:
            if order.resumed is None:  # else it was moved when it was reopened
                await move(db, order.run_id, "queued", "running", now=now)
            await db.execute(
                "UPDATE runs SET runner_pid = ?, runner_started = ?, boot_id = ? WHERE id = ?",
                (runner.pid, runner.started, runner.boot_id, order.run_id),
            )
            return None if order.resumed is None else await claim_of(db, order.run_id)

        claim = await self._writer.transact(mark)
        if claim is not None:  # its session had reported before it was interrupted
            flight.hand_on(claim)

    async def _hear(self, run_id: str, event: Event) -> bool:
        if self._on_event is not None:
            self._on_event(run_id, event)
        return await self._take(run_id, event)

    async def _take(self, run_id: str, event: Event) -> bool:
        return await self._writer.transact(lambda db: take_event(db, run_id, event))

    async def _make_sure_it_is_gone(self, flight: Flight) -> None:
        await flight.gone()
        if self._owns_process:
            known = frozenset(other.process.pid for other in self._flights.values())
            await asyncio.to_thread(end_orphans, known)
        if flight.group is not None:
            await asyncio.to_thread(flight.group.remove)

    def _end_group(self, run_id: str) -> None:
        """End what a dead owner's run left in its group, as far as that can still be found."""
        group = self._ground.group(group_name(run_id))
        group.kill()
        group.remove()

    async def _finish(self, flight: Flight) -> tuple[RunState, bool]:
        """The run's end: as the runner said, or `interrupted`/stopped with what is known; and whether it died."""
        order = flight.order
        end = End(flight.end, flight.why, flight.hint)
        if end.state is None:
            # It may have died between keeping an event and sending it.
            end = await self._closing.take_in_leftovers(order.run_id, Path(order.run_dir))
        if flight.passed is not None and end.state != "completed":
            end = End("failed", flight.passed.why, flight.passed.hint)
        elif end.state is None and flight.abandoned:
            end = End("interrupted", flight.stopped_for)
        elif end.state is None and flight.stopped_for is not None:
            end = End("timed_out" if flight.stopped_for == "timeout" else "cancelled", flight.stopped_for)
        died = end.state is None
        if end.state == "timed_out":
            passed = passed_time(order.limits)
            end = End("timed_out", passed.why, passed.hint)
        if died:
            status = flight.process.returncode
            end = End("interrupted", f"the runner ended before the run did (status {status})")
        return await self._close(order.run_id, end), died

    async def _end(self, order: Order, end: End) -> RunState:
        with self._ending(order):
            final = await self._close(order.run_id, end)
        self._tell_end(order.run_id, final)
        return final

    async def _close(self, run_id: str, end: End) -> RunState:
        final = await self._closing.close(run_id, end.state or "interrupted", end.why, end.hint)
        self.reconciler.stir()
        return final

    def _now(self) -> str:
        return instant(self._clock())
