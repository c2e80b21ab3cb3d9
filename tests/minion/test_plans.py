"""Plans of the coming week: how they are made, compared, noted by the daemon and held against a later version."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from minion.clock import utc_now
from minion.config import Home
from minion.daemon.plan import MOST_SLOTS, WEEK, Planner, difference
from minion.daemon.plan_keeper import PlanKeeper
from minion.daemon.timetable import Schedules, Timetable, entries_of
from minion.setup.backups import backups
from minion.store import migrations
from minion.store.local_db import SCHEMA_VERSION, read_only
from minion.store.migrations import stored_version
from minion.store.plans import all_noted
from minion.store.routines import find_routine, list_routines
from minion.store.writer import open_writer
from server.contract.digest import instant
from server.contract.refusals import Refused
from server.contract.schedule import restore_schedule
from tests.minion.older_stores import NOW, content_of, put_home_of_version_1, upgraded
from tests.waiting import wait_until
from tests.whole.daemons import daemon_up


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home of version 1 with three routines and two runs."""
    return put_home_of_version_1(tmp_path)


def test_a_plan_counts_digests_and_shows_the_first_instants_of_the_week() -> None:
    week = Planner(NOW, NOW + WEEK)
    daily, often = (restore_schedule(cron, "Europe/Berlin") for cron in ("0 7 * * *", "*/5 * * * *"))
    plan = week.plan([daily])
    assert (plan.slots, plan.first[0], plan.first[-1]) == (7, "2026-11-22T07:00+01:00", "2026-11-28T07:00+01:00")
    assert (week.plan([often]).slots, len(week.plan([often]).first)) == (MOST_SLOTS, 10)
    assert week.plan([restore_schedule("0 9 1 1 *", "UTC")]).slots == 0
    assert week.plan([daily, often]) == week.plan([often, daily])
    assert difference(plan, Planner(NOW, NOW + WEEK).plan([daily])) is None
    # The same instants in another zone's time are the same.
    assert difference(plan, week.plan([restore_schedule("0 6 * * *", "UTC")])) is None


@pytest.mark.parametrize(
    ("was", "is_", "first"),
    [
        ("0 7 * * *", "0 8 * * *", ("2026-11-22T07:00+01:00", "2026-11-22T08:00+01:00")),
        ("0 7 * * *", "0 7 * * 1-5", ("2026-11-22T07:00+01:00", "2026-11-23T07:00+01:00")),
        ("0 7 * * 0", "0 7 1 1 *", ("2026-11-22T07:00+01:00", None)),
        ("0 7 1 1 *", "0 7 * * 6", (None, "2026-11-28T07:00+01:00")),
        ("0 * * * *", "0 * 22,23 * *", ("2026-11-22T16:00+01:00", "2026-11-22T16:00+01:00")),
    ],
)
def test_the_first_difference_of_two_weeks_is_named(
    was: str, is_: str, first: tuple[str | None, str | None]
) -> None:
    week = Planner(NOW, NOW + WEEK)
    plans = [week.plan([restore_schedule(cron, "Europe/Berlin")]) for cron in (was, is_)]
    assert difference(plans[0], plans[1]) == first


def keeper_of(home: Home, writer: Any, *, crons: dict[str, str] | None = None) -> PlanKeeper:
    """A keeper over the routines of a store, with other cron lines if asked: as version 0.9 might read them."""
    timetable, schedules = Timetable(), Schedules()
    with read_only(home.store) as db:
        for kept in list_routines(db):
            document = dict(kept.document)
            cron = (crons or {}).get(kept.name)
            document["triggers"] = [{**t, "cron": cron or t["cron"]} for t in document["triggers"]]
            entries = entries_of(
                kept.id, document, default_zone="Europe/Berlin", since=NOW, handled={}, schedules=schedules
            )
            timetable.put(kept.id, entries)
    return PlanKeeper(timetable, writer, lambda: NOW, lambda: "Europe/Berlin", "0.9")


@pytest.mark.promise("UPG-1")
def test_what_the_daemon_noted_is_what_a_later_version_is_held_against(home: Home) -> None:
    upgraded(home)

    async def note(crons: dict[str, str] | None = None) -> list[str]:
        async with open_writer(home.store) as writer:
            keeper = keeper_of(home, writer, crons=crons)
            told = await keeper.compare()
            assert await keeper.note() == 2
            return told

    assert asyncio.run(note({"early": "0 8 * * *"})) == []
    with read_only(home.store) as db:
        noted = {one.routine: one for one in all_noted(db, zone="Europe/Berlin", now="2026-11-23T00:00:00.000Z")}
        assert all_noted(db, zone="UTC", now="2026-11-23T00:00:00.000Z") == []
    assert sorted(noted) == ["early", "often"]
    assert (noted["early"].version, noted["early"].plan.slots, noted["often"].plan.slots) == ("0.9", 7, MOST_SLOTS)
    # This version reads the same routine otherwise, which an upgrade and the next daemon both notice.
    with pytest.raises(Refused) as caught:
        upgraded(home, now=NOW + timedelta(days=1))
    assert caught.value.code == "slots_differ"
    assert "instead of 2026-11-22T08:00+01:00 (0.9 noted that)" in caught.value.sentence
    (sentence,) = asyncio.run(note())
    assert sentence == "early is due at 2026-11-22T07:00+01:00, and 0.9 noted 2026-11-22T08:00+01:00"
    assert upgraded(home, now=NOW + timedelta(days=1)).differences == ()


@pytest.mark.promise("UPG-1")
def test_the_next_migration_is_held_against_what_was_noted_too(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    upgraded(home)

    async def note() -> None:
        async with open_writer(home.store) as writer:
            await keeper_of(home, writer, crons={"early": "0 8 * * *"}).note()

    asyncio.run(note())
    monkeypatch.setitem(migrations.STEPS, SCHEMA_VERSION + 1, "CREATE TABLE more (x);")
    with pytest.raises(Refused) as caught:
        upgraded(home, to=SCHEMA_VERSION + 1)
    assert (caught.value.code, stored_version(home.store)) == ("slots_differ", SCHEMA_VERSION)
    (differs,) = upgraded(home, to=SCHEMA_VERSION + 1, accept=True).differences
    assert (differs.routine, differs.noted_by) == ("early", "0.9")
    assert stored_version(home.store) == SCHEMA_VERSION + 1


def test_a_routine_that_was_changed_since_is_not_held_against_its_plan(home: Home) -> None:
    upgraded(home)

    async def story() -> list[str]:
        async with open_writer(home.store) as writer:
            await keeper_of(home, writer, crons={"early": "0 8 * * *", "often": "*/7 * * * *"}).note()
            await writer.transact(
                lambda db: db.execute("UPDATE routines SET digest = 'sha256:other' WHERE name = 'early'")
            )
            return await keeper_of(home, writer).compare()

    (sentence,) = asyncio.run(story())
    assert sentence.startswith("often is due at ")


def test_the_plan_of_a_routine_without_a_schedule_is_forgotten(home: Home) -> None:
    upgraded(home)

    async def story() -> None:
        async with open_writer(home.store) as writer:
            keeper = keeper_of(home, writer)
            await keeper.note()
            with read_only(home.store) as db:
                keeper.timetable.drop(find_routine(db, "often").id)
            keeper.clock = lambda: NOW + timedelta(days=1)
            assert await keeper.note() == 1

    asyncio.run(story())
    with read_only(home.store) as db:
        noted = all_noted(db, zone="Europe/Berlin", now="2026-11-23T00:00:00.000Z")
    assert [one.routine for one in noted] == ["early"]


@pytest.mark.heavy
@pytest.mark.promise("UPG-1")
def test_a_daemon_that_finds_an_older_store_upgrades_it_and_notes_the_coming_week(home: Home) -> None:
    content = content_of(home.store)
    with daemon_up(home) as daemon:
        assert stored_version(home.store) == SCHEMA_VERSION
        assert "upgraded from version 1" in daemon.log()

        def noted() -> list[str]:
            with read_only(home.store) as db:
                return [one.routine for one in all_noted(db, zone="Europe/Berlin", now=instant(utc_now()))]

        assert wait_until(lambda: sorted(noted()) == ["early", "often"], 20)
        assert (daemon.ask("live")["health"], daemon.stop()) == ("ok", 0)
    assert [backup.schema for backup in backups(home)] == [1]
    # Its own start added nothing but what it read anew in the routine files.
    assert content_of(home.store)["runs"] == content["runs"]
