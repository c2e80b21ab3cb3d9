"""The roster: routine files read at the start, changes taken in job by job, bad ones leaving the last good."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from minion.app import Minion
from minion.clock import utc_now
from minion.config import Home
from minion.daemon.roster import Roster
from minion.daemon.timetable import Timetable
from minion.routines.files import Seen, look_at_files
from server.contract.digest import instant, parse_instant
from tests.minion.stored_runs import numbered_id
from tests.whole.homes import at_work, make_home, write_routine

pytestmark = pytest.mark.promise("DMN-10")


class Watched:
    """A home's roster, as the daemon has it, with a clock that tests set and the alerts it gave."""

    def __init__(self, minion: Minion) -> None:
        self.minion = minion
        self.now = utc_now()
        self.midnight = (self.now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
        self.alerts: list[tuple[str, str]] = []
        self.read: list[str] = []
        self.begins: dict[str, str] = {}
        self.roster = self._fresh()

    def _fresh(self) -> Roster:
        return Roster(
            Timetable(), self.minion.writer, lambda: self.now, look=lambda: look_at_files(self.minion.home),
            take_in=self._take_in, alert=lambda name, text: self.alerts.append((name, text)), zone="UTC",
            # Whatever time of day it is: nothing is due before the coming midnight.
            since=self.midnight, begins=lambda: self.begins,
        )  # fmt: skip

    async def _take_in(self, seen: list[Seen]) -> list:  # type: ignore[type-arg]
        self.read += [each.name for each in seen]
        return await self.minion.routines.take_in(seen)

    async def restart(self) -> None:
        """A new daemon on the same store."""
        self.read.clear()
        self.roster = self._fresh()
        await self.roster.load()

    def due(self) -> str | None:
        """When the next slot is due, as local time of day."""
        due = self.roster.timetable.next_due()
        return None if due is None else due.strftime("%H:%M")


@asynccontextmanager
async def watched(folder: Path, *routines: tuple[str, str]) -> AsyncIterator[tuple[Home, Watched]]:
    """A home with these (name, cron) routines and its roster, loaded."""
    home = make_home(folder)
    for name, cron in routines:
        put(home, name, cron)
    async with at_work(home) as minion:
        works = Watched(minion)
        await works.roster.load()
        yield home, works


def put(home: Home, name: str, cron: str | None, **said: object) -> Path:
    """A routine's file, written by hand."""
    return write_routine(home, name, "triage-folder", cron_expression=cron, timezone="UTC", **said)


def played(scene: Callable[[], Awaitable[None]]) -> None:
    """Runs an async scene."""

    async def act() -> None:
        await scene()

    asyncio.run(act())


def test_an_unchanged_file_is_not_read_again_after_a_restart(tmp_path: Path) -> None:
    async def scene() -> None:
        async with watched(tmp_path, ("one", "0 9 * * *"), ("two", "0 8 * * *")) as (_, works):
            assert (sorted(works.read), works.due(), len(works.roster)) == (["one", "two"], "08:00", 2)
            await works.restart()
            assert (works.read, works.due(), len(works.roster)) == ([], "08:00", 2)

    played(scene)


def test_a_changed_file_changes_its_own_job_only(tmp_path: Path) -> None:
    async def scene() -> None:
        async with watched(tmp_path, ("one", "0 9 * * *"), ("two", "0 8 * * *")) as (home, works):
            other = works.roster.timetable.entries(works.roster._ids["one"])
            works.read.clear()
            put(home, "two", "0 10 * * *")
            assert await works.roster.scan(at_once=True) == ["two"]
            assert (works.read, works.due()) == (["two"], "09:00")
            assert works.roster.timetable.entries(works.roster._ids["one"]) is other

    played(scene)


def test_a_bad_edit_keeps_the_last_good_version_is_told_once_and_is_remembered(tmp_path: Path) -> None:
    async def scene() -> None:
        async with watched(tmp_path, ("one", "0 9 * * *")) as (home, works):
            (home.routines / "one.json").write_text('{"name": "one", "pipeline": [')
            await works.roster.scan(at_once=True)
            await works.roster.scan(at_once=True)
            assert works.due() == "09:00"
            ((name, text),) = works.alerts
            assert (name, "the last good version is in force" in text) == ("one", True)
            await works.restart()
            assert (works.due(), list(works.roster.problems)) == ("09:00", ["one"])
            put(home, "one", "0 7 * * *")
            await works.roster.scan(at_once=True)
            assert (works.due(), works.roster.problems) == ("07:00", {})

    played(scene)


def test_a_file_that_is_being_written_is_looked_at_again_a_moment_later(tmp_path: Path) -> None:
    async def scene() -> None:
        async with watched(tmp_path, ("one", "0 9 * * *")) as (home, works):
            file = put(home, "one", "0 7 * * *")
            works.now = datetime.fromtimestamp(file.stat().st_mtime, tz=works.now.tzinfo)
            assert (await works.roster.scan(), works.roster.unsettled) == ([], True)
            works.now += timedelta(seconds=2)
            assert (await works.roster.scan(), works.roster.unsettled) == (["one"], False)

    played(scene)


def test_a_file_that_is_taken_away_stops_its_schedule_and_comes_back_with_its_id(tmp_path: Path) -> None:
    async def scene() -> None:
        async with watched(tmp_path, ("one", "0 9 * * *")) as (home, works):
            before = dict(works.roster._ids)
            (home.routines / "one.json").unlink()
            assert await works.roster.scan() == ["one"]
            assert (works.due(), len(works.roster)) == (None, 0)
            put(home, "one", "0 9 * * *")
            await works.roster.scan(at_once=True)
            assert (works.due(), works.roster._ids) == ("09:00", before)

    played(scene)


def test_a_paused_routine_has_no_slots_and_a_resumed_one_is_owed_none(tmp_path: Path) -> None:
    async def scene() -> None:
        async with watched(tmp_path, ("one", "* * * * *")) as (home, works):
            put(home, "one", "* * * * *", paused=True)
            await works.roster.scan(at_once=True)
            assert works.due() is None
            works.now += timedelta(hours=3)
            put(home, "one", "* * * * *")
            os.utime(home.routines / "one.json", (1, 1))
            await works.minion.routines.change("one", {"paused": False})
            await works.roster.scan(at_once=True)
            (entry,) = works.roster.timetable.entries(works.roster._ids["one"])
            assert entry.last >= works.now - timedelta(hours=3, minutes=1)

    played(scene)


def test_a_new_trigger_begins_when_it_is_written_and_owes_nothing_of_before(tmp_path: Path) -> None:
    async def scene() -> None:
        async with watched(tmp_path, ("one", "0 9 * * *")) as (home, works):
            works.roster.since = works.now + timedelta(hours=1)
            put(home, "one", "*/5 * * * *")
            await works.roster.scan(at_once=True)
            (entry,) = works.roster.timetable.entries(works.roster._ids["one"])
            assert entry.last == works.roster.since

    played(scene)


@pytest.mark.promise("JOI-4")
@pytest.mark.parametrize("hours", [-3, 3])
def test_a_routine_of_another_minion_before_counts_from_where_that_one_let_go(tmp_path: Path, hours: int) -> None:
    async def scene() -> None:
        async with watched(tmp_path, ("own", "30 * * * *")) as (home, works):
            moved, let_go = numbered_id("trig_", 1), works.now + timedelta(hours=hours)
            works.begins = {moved: instant(let_go)}
            put(home, "moved", "0 * * * *", id=moved)
            await works.roster.scan(at_once=True)
            await works.restart()
            entries = works.roster.timetable.entries
            last = {name: entries(id_)[0].last for name, id_ in works.roster._ids.items()}
            # Slots between the hand-over and the taking in are owed; earlier ones somebody else saw to.
            assert last == {"moved": parse_instant(instant(let_go)), "own": works.midnight}
            put(home, "moved", "15 * * * *", id=moved)
            await works.roster.scan(at_once=True)
            assert entries(moved)[0].last == works.midnight, "what is changed here owes nothing of before"

    played(scene)
