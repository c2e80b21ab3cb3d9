"""From when on a routine's slots are this minion's, where another one saw to them before: gone by once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from minion.app import Minion
from minion.config import Home
from minion.daemon.roster import Roster
from minion.daemon.timetable import Timetable
from minion.hq.link import HqLink
from minion.hq.mirror import begins_of, take_in
from minion.owner import Owner
from minion.routines.files import look_at_files
from minion.store.slots import advance, begin_anew, handled
from minion.store.writer import Writer
from server.contract.digest import parse_instant
from tests.minion.stored_runs import LATER, NOW, ROUTINE_ID, with_store
from tests.minion.test_mirror import id_of, routine, said
from tests.whole.homes import at_work, make_home

CRON = "0 9 * * *|UTC"
RETURNED = "2026-01-06T12:00:00.000Z"


@pytest.mark.promise("JOI-4")
def test_how_far_a_routine_was_handled_is_forgotten_when_it_begins_anew_and_only_then(tmp_path: Path) -> None:
    async def story(writer: Writer) -> list[bool]:
        async def known(begins: dict[str, str]) -> bool:
            await writer.transact(lambda db: begin_anew(db, begins))
            found = await writer.transact(handled)
            await writer.transact(lambda db: advance(db, [(ROUTINE_ID, CRON, LATER), ("other", CRON, LATER)]))
            assert ("other", CRON) in found or not found
            return (ROUTINE_ID, CRON) in found

        now, later = {ROUTINE_ID: NOW}, {ROUTINE_ID: LATER}
        return [await known(begins) for begins in ({}, now, now, later, {}, later, later)]

    # It is not known at first; taken away and given back it begins anew, though at the same instant.
    assert with_store(tmp_path, story) == [False, False, True, False, True, False, True]


class Going:
    """A minion that goes by what HQ gave it, as a daemon does that begins, and as one does that hears of it."""

    def __init__(self, minion: Minion) -> None:
        self.minion = minion
        self.begin()

    def begin(self) -> None:
        """A new daemon."""
        home = self.minion.home
        self._roster = Roster(
            Timetable(), self.minion.writer, self.minion.clock, look=lambda: look_at_files(home),
            take_in=self.minion.routines.take_in, alert=lambda name, text: pytest.fail(f"{name}: {text}"),
            zone="UTC", begins=lambda: begins_of(home),
        )  # fmt: skip
        self._loaded = False

    async def by(self) -> dict[tuple[str, str], datetime]:
        """Up to when routines count as handled, by id and name, once it goes by what is held."""
        await HqLink(Owner(self.minion), self.minion.clock, version="test").go_by_what_is_held()
        await (self._roster.scan(at_once=True) if self._loaded else self._roster.load())
        self._loaded = True
        timetable = self._roster.timetable
        listed = [(id_, entry) for id_ in timetable.listed() for entry in timetable.entries(id_)]
        return {(id_, entry.rules.routine): entry.last for id_, entry in listed}


def given(number: int, until: str, name: str = "daily") -> dict[str, Any]:
    """A routine of HQ's whose slots were seen to up to `until`."""
    timed = {"cron_expression": "0 9 * * *", "timezone": "UTC"}
    return routine(number, name, handled_until=until, content="Look.", repositories=[], **timed)


def goes(folder: Path, story: Callable[[Home, Going], Awaitable[None]]) -> None:
    """A story of a minion that HQ gives routines."""
    home = make_home(folder)

    async def act() -> None:
        async with at_work(home) as minion:
            await story(home, Going(minion))

    asyncio.run(act())


@pytest.mark.promise("JOI-4")
@pytest.mark.parametrize("seen_gone", [True, False])
@pytest.mark.parametrize("anew", [True, False])
def test_a_routine_that_was_another_minions_meanwhile_counts_from_when_it_came_back(
    tmp_path: Path, seen_gone: bool, anew: bool
) -> None:
    async def story(home: Home, going: Going) -> None:
        daily = (id_of(1), "daily")
        take_in(home, said("e:1", given(1, NOW)), {})
        assert await going.by() == {daily: parse_instant(NOW)}
        await going.minion.writer.transact(lambda db: advance(db, [(id_of(1), CRON, LATER)]))
        going.begin()
        # As long as it stays, what was handled here counts.
        assert await going.by() == {daily: parse_instant(LATER)}
        take_in(home, said("e:2", gone=[id_of(1)]), {})
        if seen_gone:
            assert await going.by() == {}
        take_in(home, said("e:3", given(1, RETURNED)), {})
        for _ in range(2):
            if anew:
                going.begin()
            assert await going.by() == {daily: parse_instant(RETURNED)}

    goes(tmp_path, story)


@pytest.mark.promise("JOI-3")
@pytest.mark.parametrize("anew", [True, False])
def test_a_name_that_hq_gave_to_another_routine_is_gone_by_and_the_one_before_is_not(
    tmp_path: Path, anew: bool
) -> None:
    async def story(home: Home, going: Going) -> None:
        steps = [
            (said("e:1", given(1, NOW)), {(id_of(1), "daily")}),
            # Deleted, and made again under its name.
            (said("e:2", given(2, LATER), gone=[id_of(1)]), {(id_of(2), "daily")}),
            (said("e:3", given(1, RETURNED, "other")), {(id_of(1), "other"), (id_of(2), "daily")}),
            # Each has the other's name now.
            (
                said("e:4", given(1, RETURNED), given(2, LATER, "other")),
                {(id_of(1), "daily"), (id_of(2), "other")},
            ),
        ]
        for told, expected in steps:
            take_in(home, told, {})
            if anew:
                going.begin()
            assert set(await going.by()) == expected

    goes(tmp_path, story)


@pytest.mark.promise("JOI-4")
@pytest.mark.parametrize("anew", [True, False])
def test_a_routine_that_hq_gave_another_name_still_owes_the_slots_it_owed(tmp_path: Path, anew: bool) -> None:
    async def story(home: Home, going: Going) -> None:
        take_in(home, said("e:1", given(1, NOW)), {})
        await going.by()
        await going.minion.writer.transact(lambda db: advance(db, [(id_of(1), CRON, LATER)]))
        going.begin()
        await going.by()
        take_in(home, said("e:2", given(1, NOW, "weekly")), {})
        if anew:
            going.begin()
        assert await going.by() == {(id_of(1), "weekly"): parse_instant(LATER)}

    goes(tmp_path, story)
