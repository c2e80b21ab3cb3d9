"""Has slots happen: sleeps until the next instant, writes down what came due, and hands on what is to start.

A slot is claimed in the store before anything starts; a tick that cannot be written down happens again.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, Protocol

from minion.clock import Clock
from minion.daemon.timetable import ON_TIME_S, Due, Entry, Rules, Timetable
from minion.store.slots import SlotRecord, SlotState, advance, claim, open_slots, prune_slots, settle
from server.contract.digest import instant, parse_instant
from server.contract.refusals import Refusal
from server.contract.schedule import Slot, local_date, slots_between

if TYPE_CHECKING:
    from minion.store.writer import Connection, Writer

# Sleeps are cut into hops compared with the wall clock: a suspended or set clock is noticed within one.
HOP_S: Final = 10.0
_PRUNE_EVERY: Final = 100
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Arrival:
    """A slot that is to start, claimed in the store: by whose rules, and whether it is late."""

    slot: SlotRecord
    rules: Rules
    late: bool


class Line(Protocol):
    """Where arrivals go: says of each whether there is a place for it, and starts it."""

    def why_skipped(self, rules: Rules, *, caught_up: bool, begun: int) -> str | None:
        """Why a slot is to be skipped: its routine's run goes on; None when it is to start or wait its turn.

        `begun`: how many slots of the routine were told so in this tick and are not taken yet.
        """

    def take(self, arrival: Arrival) -> None:
        """Start it, or have it wait its turn."""


class Scheduler:
    """The one loop over a timetable. `woken` is called whenever it woke, with the wall clock."""

    def __init__(
        self, timetable: Timetable, writer: Writer, line: Line, clock: Clock, *,
        halted: Callable[[], str | None], woken: Callable[[datetime], Awaitable[None]],
        on_records: Callable[[list[SlotRecord]], None],
    ) -> None:  # fmt: skip
        self.timetable = timetable
        self._writer = writer
        self._line = line
        self._clock = clock
        self._halted = halted
        self._woken = woken
        self._on_records = on_records
        self._stirred = asyncio.Event()
        self._ticked: datetime | None = None
        # The routines of which slots were taken up since the last tick.
        self._taken_up: frozenset[str] = frozenset()
        # Slots of each routine since its old ones were pruned.
        self._unpruned: Counter[str] = Counter()
        self.trouble: str | None = None
        # When all that was due had been written down.
        self.looked: datetime | None = None

    def stir(self) -> None:
        """Have the loop look again: the timetable was changed."""
        self._stirred.set()

    async def run(self) -> None:
        """Go on until cancelled. A store that cannot be written is tried again at the next hop."""
        while True:
            self._stirred.clear()
            try:
                await self.tick()
                self.trouble, self.looked = None, self._clock()
            except Refusal as refusal:
                if self.trouble is None:
                    log.error("%s; slots wait until it can be: %s", refusal.sentence, refusal.hint)
                self.trouble = refusal.sentence
            await self._woken(self._clock())
            await self._sleep()

    async def tick(self) -> None:
        """Write down all that came due by now and hand on what is to start. Raises `StoreFailed`."""
        now = self._clock()
        await self._mind_the_clock(now)
        taken_up, self._taken_up = self._taken_up, frozenset()
        dues = self.timetable.due(now)
        if not dues:
            return
        begun: Counter[str] = Counter()
        planned = [record for due in dues for record in self._records(due, now, begun, taken_up)]
        at = instant(now)
        crowded = [routine_id for routine_id, number in self._unpruned.items() if number >= _PRUNE_EVERY]

        async def write(db: Connection) -> list[SlotRecord]:
            taken = [record for record in planned if await claim(db, record, now=at)]
            await advance(db, [
                (due.entry.rules.routine_id, due.entry.trigger, instant(due.arrived.handled_until)) for due in dues
            ])  # fmt: skip
            for routine_id in crowded:
                await prune_slots(db, routine_id)
            return taken

        taken = await self._writer.transact(write)
        self._unpruned.update(record.routine_id for record in taken)
        for routine_id in crowded:
            del self._unpruned[routine_id]
        for due in dues:
            self.timetable.advance(due)
        rules_of = {due.entry.rules.routine_id: due.entry.rules for due in dues}
        self._hand_on([(record, rules_of[record.routine_id]) for record in taken], now)
        self._on_records(taken)

    async def resume(
        self, entries: Sequence[Entry], *, only: Collection[SlotRecord] | None = None,
        because: str = "the minion stopped before it started",
    ) -> None:  # fmt: skip
        """Take up slots that were claimed and nobody came to, as far as catching up allows; `because` is why not.

        All that are due in the store, as an earlier owner left them, or `only` these. Raises `StoreFailed`.
        """
        wanted = None if only is None else {(record.routine_id, record.key) for record in only}
        now, at = self._clock(), instant(self._clock())
        known = {(entry.rules.routine_id, entry.trigger): entry for entry in entries}
        again: list[tuple[SlotRecord, Rules]] = []
        given_up: list[SlotRecord] = []

        async def sort_out(db: Connection) -> None:
            again.clear()
            given_up.clear()
            for record in await open_slots(db):
                if wanted is not None and (record.routine_id, record.key) not in wanted:
                    continue
                entry = known.get((record.routine_id, record.trigger))
                late = None if entry is None else too_late(record, entry, now)
                why = "its schedule is gone" if entry is None else late and f"{because}, and {late}"
                if entry is not None and why is None:
                    again.append((record, entry.rules))
                else:
                    await settle(db, record.routine_id, record.key, "missed", now=at, why=why)
                    given_up.append(replace(record, state="missed", why=why))

        await self._writer.transact(sort_out)
        self._taken_up = frozenset(rules.routine_id for _, rules in again)
        self._hand_on(again, now)
        self._on_records(given_up)

    def _records(
        self, due: Due, now: datetime, begun: Counter[str], taken_up: Collection[str]
    ) -> list[SlotRecord]:
        """What is written down of a trigger's slots: one record each, or one for over a hundred missed ones.

        `begun` counts what starts in this tick, by routine; of those in `taken_up` earlier slots were just begun.
        """
        arrived, entry = due.arrived, due.entry
        halted, routine_id = self._halted(), entry.rules.routine_id
        found = []
        if arrived.missed == len(arrived.missed_slots):
            found += [_record(entry, slot, "missed", arrived.why) for slot in arrived.missed_slots]
        elif arrived.missed:
            newest = _record(entry, arrived.missed_slots[-1], "missed", arrived.why)
            found.append(replace(newest, key=f"missed {arrived.missed} until {newest.key}", count=arrived.missed))
        for slot in arrived.run:
            late = _age_s(slot.at, entry.rules, now) >= ON_TIME_S
            # The newest of several may be on time: it is caught up with them all the same.
            caught_up = late or begun[routine_id] > 0 or routine_id in taken_up
            why = halted or self._line.why_skipped(entry.rules, caught_up=caught_up, begun=begun[routine_id])
            begun[routine_id] += why is None
            found.append(_record(entry, slot, "due" if why is None else "skipped", why))
        return found

    def _hand_on(self, records: list[tuple[SlotRecord, Rules]], now: datetime) -> None:
        for record, rules in records:
            if record.state == "due":
                late = _age_s(parse_instant(record.due_at), rules, now) >= ON_TIME_S
                self._line.take(Arrival(record, rules, late))

    async def _mind_the_clock(self, now: datetime) -> None:
        """Notice a clock that was set back: what was handled in its future must not wait until then."""
        before, self._ticked = self._ticked, now
        if before is not None and now >= before:
            return
        ahead = self.timetable.set_back(now)
        if ahead and before is not None:
            log.warning("the clock was set back from %s to %s", instant(before), instant(now))

    async def _sleep(self) -> None:
        due = self.timetable.next_due()
        left = HOP_S if due is None else (due - self._clock()).total_seconds()
        try:
            async with asyncio.timeout(min(max(left, 0.0), HOP_S)):
                await self._stirred.wait()
        except TimeoutError:
            return


def too_late(record: SlotRecord, entry: Entry, now: datetime) -> str | None:
    """Why a slot that was claimed and never started may not start any more; None when it may."""
    rules, due_at = entry.rules, parse_instant(record.due_at)
    reached = now - timedelta(seconds=rules.stagger)
    age_s = (reached - due_at).total_seconds()
    same_day = local_date(entry.schedule, reached) <= local_date(entry.schedule, due_at)
    in_time = {"latest": same_day, "window": age_s <= rules.window_s, "none": False}[rules.catch_up]
    only_newest = rules.catch_up == "latest" and rules.overlap == "skip"
    if only_newest and slots_between(entry.schedule, due_at, reached, 0)[1]:
        return "a newer one came due meanwhile"
    if in_time or age_s < ON_TIME_S:
        return None
    return _policy(rules)


def _policy(rules: Rules) -> str:
    return {
        "latest": "its local day is over",
        "window": f"it came due over {rules.window_s} s ago",
        "none": "catch-up is off for it",
    }[rules.catch_up]


def _age_s(at: datetime, rules: Rules, now: datetime) -> float:
    """Seconds since a slot fell due, its routine's stagger counted in."""
    return (now - at).total_seconds() - rules.stagger


def _record(entry: Entry, slot: Slot, state: SlotState, why: str | None) -> SlotRecord:
    rules = entry.rules
    return SlotRecord(
        rules.routine_id, rules.routine, entry.trigger, slot.key, instant(slot.at.astimezone(UTC)),
        slot.at.isoformat(timespec="minutes" if slot.at.second == 0 else "seconds"), 1, state, why,
    )  # fmt: skip
