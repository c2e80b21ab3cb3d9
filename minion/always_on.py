"""A minion that stays: it owns its home, runs schedules, answers at its socket, and ends in good order.

Run as `python -I -m minion.always_on HOME`; `minion up` starts it so.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import signal
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from minion.app import Minion, opened
from minion.clock import Clock, utc_now
from minion.config import Home, load_config
from minion.daemon.daemon_log import begin_log, tell_service_manager
from minion.daemon.footprint import share_arenas
from minion.daemon.hub import Asker, Ear, Hub, Message, asking
from minion.daemon.later import Later
from minion.daemon.line import Line
from minion.daemon.local_api import listening
from minion.daemon.plan_keeper import PlanKeeper, keeping_plans
from minion.daemon.roster import Roster
from minion.daemon.scheduler import Arrival, Scheduler
from minion.daemon.timetable import ON_TIME_S, Timetable
from minion.due_runs import DueRuns
from minion.hq.link import HqLink
from minion.hq.mirror import begins_of
from minion.on_watch import watchdog_of, watching
from minion.owner import Owner
from minion.release import program_version
from minion.routines.files import look_at_files
from minion.socket_place import choose_place
from minion.store.slots import SlotRecord
from minion.store.standing import first_up, halt_of
from minion.verbs import do
from server.contract.digest import instant, parse_instant
from server.contract.refusals import Refusal, StoreFailed
from server.contract.run import RunState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from minion.store.decisions import Decision
    from minion.store.run_resume import Interrupted
    from minion.wire import Event, Order

# Routine files are looked at every so many seconds, more seldom the more there are.
_LOOK_S: Final = 5.0
_LOOK_SELDOM_S: Final = 60.0
_FILES_A_SECOND: Final = 50
EXIT_DEFECT: Final = 70
_STOPPED: Final = "the minion was stopped"
# After these something may be held for a person, or be well again: who was told of it should hear so at once.
_MAY_MEND: Final = ("run", "decide", "settle", "effects.check", "redeliver")
log = logging.getLogger("minion")


class Daemon:
    """Everything around a minion that stays up. `serve` is its life."""

    def __init__(self, minion: Minion, hub: Hub, clock: Clock) -> None:
        self.minion = minion
        self.hub = hub
        minion.writer.on_commit = hub.changed
        self._clock = clock
        self._started = clock()
        # Said as it was at the start: what is installed may be replaced meanwhile.
        self._version = program_version()
        self._halted: str | None = None
        self._stop = asyncio.Event()
        self._stopped_why = _STOPPED
        self._grace_s = float(minion.config.grace_s)
        self._looked: datetime | None = None
        self._due_runs = DueRuns(
            minion, clock, began=self._slot_began, left=self._slot_left, stopping=self._stop.is_set,
            halted=lambda: self._halted,
        )  # fmt: skip
        self._later = Later(minion.supervisor.interrupted)
        self.line = Line(self._due_runs.perform, minion.config.runs_at_once)
        timetable = Timetable()
        self.scheduler = Scheduler(
            timetable, minion.writer, self.line, clock, halted=lambda: self._halted, woken=self._woken,
            on_records=self._recorded,
        )  # fmt: skip
        self.roster = Roster(
            timetable, minion.writer, clock, look=lambda: look_at_files(minion.home),
            take_in=minion.routines.take_in, alert=self._alert, zone=minion.config.timezone,
            begins=lambda: begins_of(minion.home),
        )  # fmt: skip
        self.watchdog = watchdog_of(minion, self.roster, self.scheduler, clock)
        self.link = HqLink(Owner(minion, self), clock, version=self._version)
        self._plans = PlanKeeper(timetable, minion.writer, clock, lambda: self.roster.zone, self._version)

    async def serve(self, place: Path) -> None:
        """Take up what is due, answer at `place`, and go on until `stop`. Raises `Refusal`."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, lambda: self.stop(grace_s=None, why=_STOPPED))
        loop.add_signal_handler(signal.SIGHUP, lambda: asyncio.ensure_future(self._reload()))
        now = instant(self._clock())
        self.roster.since = parse_instant(await self.minion.writer.transact(lambda db: first_up(db, now=now)))
        await self.read_halt()
        await self.link.go_by_what_is_held()
        entries = await self.roster.load()
        async with watching(self.watchdog), keeping_plans(self._plans), listening(place, self._answer):
            log.info("up: %d routines, %d of them scheduled", len(self.roster), len(self.scheduler.timetable))
            tell_service_manager("READY=1")
            self._go_on_with(await self._later.died())
            await self.scheduler.resume(entries)
            async with self.link.tied():
                await self._until_stopped()
            tell_service_manager("STOPPING=1")
            await self._wind_down()
        log.info("down")

    async def begin(self, order: Order) -> None:
        """Have an opened run performed as soon as there is a place for it."""

        self.link.stir()

        async def start() -> None:
            self.watchdog.run_began(order)
            await self.minion.supervisor.perform(order)

        self.line.ask(order.routine["id"], start)

    async def ended(self, run_id: str) -> None:
        """Wait until a run is not under way any more."""
        with self.hub.listening() as ear:
            while run_id in self.minion.supervisor.under_way and await ear.next() is not None:
                pass

    async def refresh(self) -> list[str]:
        """Read settings and routine files again; the routines that changed."""
        await self.read_halt()
        config = load_config(self.minion.home)
        self.minion.reconfigure(config)
        self.line.most = config.runs_at_once
        changed = await self.roster.scan(at_once=True)
        if config.timezone != self.roster.zone:
            self.roster.zone = config.timezone
            await self.roster.load()
        self.scheduler.stir()
        self.watchdog.stir(files=True)
        self._later.stir()
        self.link.hurry()
        return changed

    async def listen(self, asker: Asker, run_id: str | None) -> None:
        """Tell what happens, of one run until its end or of all, while the asker is there."""
        with self.hub.listening() as ear:
            await _pass_on(
                ear, asker, goes_on=lambda: run_id is None or run_id in self.minion.supervisor.under_way,
                wanted=lambda message: run_id in (None, message.get("run")),
            )  # fmt: skip

    async def watch(self, asker: Asker) -> None:
        """Tell that something has changed whenever it has, while the asker is there."""
        with self.hub.watching() as ear:
            asker.tell({"type": "changed"})
            await _pass_on(ear, asker, goes_on=lambda: True, wanted=lambda _: True)

    def changed(self) -> None:
        """Something changed that is not in the store, such as the tie to HQ."""
        self.hub.changed()

    def live(self) -> dict[str, Any]:
        """What only the daemon knows: its process, health, what runs and waits."""
        due = self.scheduler.timetable.next_due()
        trouble = [text for text in (self.scheduler.trouble, self.watchdog.trouble) if text is not None]
        return {
            "pid": os.getpid(), "since": instant(self._started), "version": self._version,
            "health": "trouble" if trouble else "ok",
            "trouble": trouble, "halted": self._halted, "stopping": self._stop.is_set(),
            "looked": None if self.scheduler.looked is None else instant(self.scheduler.looked),
            "running": self.minion.supervisor.under_way, "waiting": self.line.waiting, "busy": self.line.going_on,
            "next_due": None if due is None else instant(due), "problems": dict(self.roster.problems),
            "routines": len(self.roster), "hq": self.link.standing(), **self.watchdog.standing(),
        }  # fmt: skip

    def next_slot(self) -> tuple[str, datetime, float] | None:
        """The slot that is due next: its routine, when, and how many seconds later it still counts as on time."""
        found = self.scheduler.timetable.next_entry()
        return None if found is None else (found[1].rules.routine, found[0], ON_TIME_S)

    def join_changed(self) -> None:
        """Look anew which HQ the minion has joined."""
        self.link.join_changed()

    async def untied(self) -> None:
        """Wait until nothing of the HQ is done any more that the minion had joined."""
        await self.link.untied()

    @property
    def stopping(self) -> bool:
        """Whether it has begun to stop."""
        return self._stop.is_set()

    def stop(self, *, grace_s: float | None, why: str) -> None:
        """Begin to stop: nothing new starts, runs have `grace_s` seconds to end; `why` is said of those cut off.

        Again: at once.
        """
        self._stopped_why = why
        self._grace_s = 0.0 if self._stop.is_set() else self._grace_s if grace_s is None else grace_s
        self._stop.set()
        self.line.close()

    async def decided(self, decision: Decision, *, approved: bool) -> None:
        """Go on with what waited for a decision."""
        slots = await self._due_runs.decided(decision, approved=approved)
        entries, now = self.scheduler.timetable.entries(decision.routine_id), self._clock()
        for slot in slots if entries else ():
            late = (now - parse_instant(slot.due_at)).total_seconds() >= ON_TIME_S
            self.line.take(Arrival(slot, entries[0].rules, late))

    def heard(self, run_id: str, event: Event) -> None:
        """A run said something."""
        self.hub.tell({
            "run": run_id, "type": event.type, "block": event.block, "data": event.data, "at": event.at,
            "seq": event.seq,
        })  # fmt: skip

    def run_ended(self, run_id: str, state: RunState) -> None:
        """A run came to its end."""
        if state == "interrupted":
            self._later.stir()
        self.watchdog.stir()
        self.link.stir()
        self.hub.tell({"run": run_id, "type": "run.ended", "block": None, "data": {"state": state}})

    async def _answer(self, verb: str, params: Any, asker: Asker) -> Any:
        try:
            return await do(Owner(self.minion, self), verb, params, asker)
        finally:
            if verb in _MAY_MEND:
                self._slot_left()

    async def _until_stopped(self) -> None:
        """Run the scheduler until somebody stops the daemon; its own defect, or the store's, is raised."""
        reconciling = self.minion.supervisor.reconciler.run()
        lives = (self.scheduler.run(), self._stop.wait(), self.minion.writer.ended(), reconciling)
        tasks = [asyncio.ensure_future(life) for life in lives]
        done, running = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        for task in done:
            task.result()

    async def _wind_down(self) -> None:
        """Give runs their grace, then interrupt them."""
        draining = asyncio.ensure_future(self.line.drained())
        until = asyncio.get_running_loop().time() + self._grace_s
        while not draining.done() and asyncio.get_running_loop().time() < until and self._grace_s > 0:
            await asyncio.wait({draining}, timeout=0.2)
        await self.minion.supervisor.abandon_all(self._stopped_why)
        await draining
        self.hub.close()

    async def _woken(self, now: datetime) -> None:
        """What is done now and then: what the store could not take, changed files."""
        await self._catch_up_with_the_store()
        every_s = min(max(_LOOK_S, len(self.roster) / _FILES_A_SECOND), _LOOK_SELDOM_S)
        looked = self._looked
        if looked is None or self.roster.unsettled or not 0 <= (now - looked).total_seconds() < every_s:
            self._looked = now
            try:
                if await self.roster.scan():
                    self.scheduler.stir()
                    self.watchdog.stir(files=True)
            except Refusal as refusal:
                log.error("routine files could not be taken in: %s", refusal)

    async def _catch_up_with_the_store(self) -> None:
        """Write down what could not be when it happened, slots and ends of runs; go on with what has waited."""
        supervisor = self.minion.supervisor
        try:
            await self._due_runs.take_up_stranded(self.scheduler)
            for run_id in await supervisor.close_left():
                log.warning("the run %s could not be kept when it ended; it is closed now", run_id)
                self._go_on_with(run for run in await self._later.died() if run.run_id == run_id)
            self._go_on_with(await self._later.due(self._clock()))
        except StoreFailed as refusal:
            log.error("%s It is tried again.", refusal.sentence)

    def _go_on_with(self, interrupted: Iterable[Interrupted]) -> None:
        """Have interrupted runs go on as soon as there is a place for them."""
        for run in interrupted:
            self.line.ask(run.routine_id, functools.partial(self.minion.supervisor.resume, run))

    def _slot_left(self) -> None:
        """A slot came to something else than a run, which a person may have to know of."""
        self.watchdog.stir()
        self.link.tell_now()

    def _slot_began(self, order: Order) -> None:
        routine = order.routine["name"]
        self.hub.tell({"run": order.run_id, "type": "run.opened", "block": None, "data": {"routine": routine}})
        self.link.stir()
        self.watchdog.run_began(order)

    async def _reload(self) -> None:
        try:
            await self.refresh()
        except Refusal as refusal:
            log.error("not everything could be read again: %s", refusal)

    async def read_halt(self) -> None:
        """Go by the kill switch as it stands in the store now."""
        halted = await self.minion.writer.transact(halt_of)
        self._halted = None if halted is None else f"the minion was halted: {halted['why']}"

    def _recorded(self, records: list[SlotRecord]) -> None:
        self.watchdog.stir()
        for record in records:
            if record.state in ("missed", "skipped"):
                log.warning("%s: due %s, %s: %s", record.routine, record.shown, record.state, record.why)

    def _alert(self, routine: str, text: str) -> None:
        log.error("%s: %s", routine, text)


async def _pass_on(
    ear: Ear, asker: Asker, *, goes_on: Callable[[], bool], wanted: Callable[[Message], bool]
) -> None:
    """Tell an asker what an ear hears and is wanted, while it is there and it goes on."""
    gone = asyncio.ensure_future(asker.gone.wait())
    while goes_on() and not gone.done():
        heard = asyncio.ensure_future(ear.next())
        await asyncio.wait({heard, gone}, return_when=asyncio.FIRST_COMPLETED)
        message = heard.result() if heard.done() else None
        if message is None:
            heard.cancel()
            break
        if wanted(message):
            asker.tell(message)
    if ear.lagged:
        asker.tell({"type": "lagged"})
    gone.cancel()


async def stay_up(home: Home, *, clock: Clock = utc_now) -> None:
    """Own the home and serve it until the process is told to stop. Raises a `Refusal`."""
    hub, daemons = Hub(), list[Daemon]()

    def alert(text: str) -> None:
        log.warning("%s", text)
        asker = asking.get()
        if asker is not None:
            asker.tell({"alert": text})

    async with opened(
        home, "minion up", clock=clock, alert=alert,
        on_event=lambda run_id, event: daemons[0].heard(run_id, event),
        on_end=lambda run_id, state: daemons[0].run_ended(run_id, state),
    ) as minion:
        daemons.append(Daemon(minion, hub, clock))
        place = choose_place(home)
        try:
            await daemons[0].serve(place)
        finally:
            home.socket_file.unlink(missing_ok=True)
            place.unlink(missing_ok=True)


def main(arguments: Sequence[str]) -> int:
    """Be the daemon of a home: `HOME`, and `--stderr` for who reads what it says there; documented exit codes."""
    home = Home(Path(arguments[0]))
    os.umask(0o077)
    share_arenas()
    begin_log(home.daemon_log, also_stderr="--stderr" in arguments)
    try:
        asyncio.run(stay_up(home))
    except Refusal as refusal:
        log.error("not up: %s (hint: %s)", refusal.sentence, refusal.hint)
        if "--stderr" not in arguments:
            sys.stderr.write(f"minion: {refusal.sentence}\nhint: {refusal.hint}\n")
        return refusal.exit_code
    except Exception:
        log.exception("the daemon ends because of a defect")
        return EXIT_DEFECT
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
