"""A scheduler on a real store with a clock that tests set: slots are claimed and settled, runs last as told."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from minion.daemon.line import Line
from minion.daemon.scheduler import Arrival, Scheduler
from minion.daemon.timetable import Entry, Schedules, Timetable, entries_of
from minion.store.local_db import create, read_only
from minion.store.slots import SlotRecord, handled, keep_only, settle
from minion.store.writer import Writer, open_writer
from server.contract.digest import instant

START = datetime(2026, 3, 1, tzinfo=UTC)


def at(text: str) -> datetime:
    """An aware UTC time."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def routine(name: str, cron: str, **said: Any) -> dict[str, Any]:
    """The part of an admitted routine that a scheduler goes by."""
    zone = said.pop("timezone", "UTC")
    plain = {
        "name": name, "paused": False, "scheduled_by": "minion", "overlap": "skip", "catch_up": "latest",
        "catch_up_window_s": None, "stagger_s": 0, "timezone": zone,
        "triggers": [{"type": "schedule", "cron": cron, "timezone": zone}],
    }  # fmt: skip
    return plain | said


@dataclass
class Going:
    """A run that goes on until the test ends it."""

    slot: SlotRecord
    late: bool
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class Clockwork:
    """One owner of a store after another; `restart` is a new one, `die` leaves all as a kill does."""

    def __init__(self, folder: Path, *routines: dict[str, Any], now: datetime = START, most: int = 64) -> None:
        self.path = folder / "minion.db"
        create(self.path, "11111111-2222-3333-4444-555555555555")
        self.routines = routines
        self.now = now
        self.most = most
        self.since = now
        self.going: list[Going] = []
        self.halted: str | None = None
        self._writer: Any = None

    def clock(self) -> datetime:
        """The wall clock of this test."""
        return self.now

    async def up(self) -> None:
        """A new owner: the store is opened, what was handled is read, what was claimed is taken up."""
        self._opened = open_writer(self.path)
        self.writer: Writer = await self._opened.__aenter__()
        self.line = Line(self._perform, self.most)
        self.timetable = Timetable()
        self.scheduler = Scheduler(
            self.timetable, self.writer, self.line, self.clock, halted=lambda: self.halted, woken=self._woken,
            on_records=lambda _: None,
        )  # fmt: skip
        known = await self.writer.transact(handled)
        entries: list[Entry] = []
        for document in self.routines:
            routine_id = f"trig_{document['name']}"
            done = {trigger: until for (owner, trigger), until in known.items() if owner == routine_id}
            mine = entries_of(
                routine_id, document, default_zone="UTC", since=self.since, handled=done, schedules=Schedules()
            )
            begun = {entry.trigger: instant(entry.last) for entry in mine}
            await self.writer.transact(lambda db, r=routine_id, b=begun: keep_only(db, r, b))  # type: ignore[misc]
            self.timetable.put(routine_id, mine)
            entries += mine
        await self.scheduler.resume(entries)
        await self._settled()

    async def die(self) -> None:
        """The owner is gone; what ran is interrupted, what waited stays claimed in the store."""
        self.line.close()
        for going in self.going:
            going.ended.set()
        self.going.clear()
        await self.line.drained()
        await self._opened.__aexit__(None, None, None)

    async def sleep_until(self, moment: datetime) -> None:
        """The clock goes to `moment` with nobody awake; then the scheduler looks once."""
        self.now = moment
        await self.tick()

    async def run_until(self, moment: datetime) -> None:
        """The clock goes to `moment`, and the scheduler wakes at each instant that is due before."""
        while (due := self.timetable.next_due()) is not None and due <= moment:
            self.now = max(self.now, due)
            await self.tick()
        self.now = moment
        await self.tick()

    async def tick(self) -> None:
        """The scheduler looks at the clock."""
        await self.scheduler.tick()
        await self._settled()

    async def end(self, number: int = 0) -> None:
        """A run that goes on ends."""
        self.going.pop(number).ended.set()
        await self._settled()

    def slots(self, name: str | None = None) -> list[tuple[str, str]]:
        """All records in order: (local time, state), `missed N` for those missed together."""
        query = "SELECT * FROM slots WHERE ? IN (routine, '') ORDER BY position"
        with read_only(self.path) as db:
            rows = db.execute(query, (name or "",)).fetchall()
        return [(r["shown"], r["state"] if r["count"] == 1 else f"{r['state']} {r['count']}") for r in rows]

    def states(self, name: str | None = None) -> list[str]:
        """What became of the slots, in order."""
        return [state for _, state in self.slots(name)]

    def ends(self) -> Counter[str]:
        """How many slots came to which end, those pruned meanwhile included; `due` for those that did to none."""
        with read_only(self.path) as db:
            sealed = db.execute("SELECT body FROM home_chain WHERE kind = 'slot'").fetchall()
            left_open = db.execute("SELECT count(*) FROM slots WHERE state = 'due'").fetchone()[0]
        found = Counter(due=left_open)
        for said in (json.loads(row["body"]) for row in sealed):
            found["ran" if said["state"] == "late" else said["state"]] += said["count"]
        return found

    async def _perform(self, arrival: Arrival) -> None:
        slot = arrival.slot
        state = "late" if arrival.late else "ran"
        run_id = f"run {slot.key}"
        await self.writer.transact(
            lambda db: settle(db, slot.routine_id, slot.key, state, now=instant(self.now), run_id=run_id)  # type: ignore[arg-type]
        )
        going = Going(slot, arrival.late)
        self.going.append(going)
        await going.ended.wait()

    async def _woken(self, now: datetime) -> None:
        """Nothing else is done here."""

    async def _settled(self) -> None:
        """Everything that was begun has been written down: as many runs go on as the line has begun."""
        while self.line.going_on != len(self.going):
            await turn()


async def turn() -> None:
    """One turn of the event loop, which takes no time."""
    turned = asyncio.Event()
    asyncio.get_running_loop().call_soon(turned.set)
    await turned.wait()


def minutes(number: float) -> timedelta:
    """So many minutes."""
    return timedelta(minutes=number)


def count(states: Sequence[str], word: str) -> int:
    """How many slots came to this end, those missed together included."""
    return sum(int(state.split()[1]) if " " in state else 1 for state in states if state.split()[0] == word)
