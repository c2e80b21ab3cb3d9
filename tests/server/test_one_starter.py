"""Exactly one of HQ and a minion starts a routine by itself, whoever does next and whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import json
import random
import sqlite3
from datetime import timedelta
from pathlib import Path

import pytest

from server.actions.desk import Desk
from server.actions.publish import create_routine, update_routine
from server.clock import utc_now
from server.contract.digest import instant, parse_instant
from server.contract.schedule import restore_schedule, slots_between
from server.storage.audit import audit
from server.storage.tables import ORDERS, SCHEDULES
from tests.server.desks import BEGIN, Clock, desk_at
from tests.server.joined_minions import act, events, rows
from tests.server.servers import served, start
from tests.server.test_hq_schedule import alice_with, happen, left, slots_of
from tests.server.test_publish import at_desk
from tests.server.wired_minions import WiredMinion
from tests.waiting import wait_until

pytestmark = pytest.mark.heavy

_KILLED_OVER = 350


@pytest.mark.promise("GIV-4")
def test_hq_begins_only_when_the_minion_let_go_and_where_it_did(tmp_path: Path) -> None:
    clock = Clock()

    async def scene(desk: Desk) -> None:
        alice = await alice_with(desk, scheduled_by="minion")
        assert alice.starts() == ["hourly"]
        said = await act(desk, update_routine, "hourly", {"scheduled_by": "hq"})
        assert (said["moving"]["from"], said["moving"]["to"], said["started_by"]) == ("alice", "HQ", "alice")
        clock.pass_(hours=3)
        await happen(desk)
        assert await slots_of(desk) == []
        await alice.sync()  # she started those up to now herself
        assert alice.starts() == []
        await alice.poll()
        await happen(desk)
        assert await slots_of(desk) == []
        clock.pass_(hours=1)
        await happen(desk)
        assert await slots_of(desk) == [("13:00", "queued")]

    at_desk(tmp_path, scene, clock)


@pytest.mark.promise("GIV-4")
def test_a_minion_takes_over_from_hq_where_hq_stopped(tmp_path: Path) -> None:
    clock = Clock()

    async def scene(desk: Desk) -> None:
        alice = await alice_with(desk)
        clock.pass_(hours=1)
        await happen(desk)
        clock.pass_(hours=2)  # HQ does not come to these
        said = await act(desk, update_routine, "hourly", {"scheduled_by": "minion"})
        assert (said["moving"], said["started_by"]) == (None, "alice")
        await happen(desk)
        assert await slots_of(desk) == [("10:00", "cancelled")]
        assert await left(desk) == [("missed", ["10:00"], "a newer one came due meanwhile")]
        await alice.catch_up()
        (routine,) = alice.routines
        assert (alice.starts(), alice.begins[routine]) == (["hourly"], "2026-04-01T10:00:00.000Z")
        assert await rows(desk, SCHEDULES) == []

    at_desk(tmp_path, scene, clock)


@pytest.mark.promise("GIV-4")
def test_a_routine_that_hq_starts_goes_on_at_once_on_another_minion(tmp_path: Path) -> None:
    clock = Clock()

    async def scene(desk: Desk) -> None:
        alice, bob = await alice_with(desk), await WiredMinion(desk, "bob").hello()
        clock.pass_(hours=1)
        await happen(desk)
        assert (await act(desk, update_routine, "hourly", {}, minion="bob"))["moving"] is None
        assert (await alice.poll())["orders"] == []
        await bob.sync()
        assert [order["slot"][11:16] for order in (await bob.poll())["orders"]] == ["10:00"]

    at_desk(tmp_path, scene, clock)


@pytest.mark.promise("GIV-4")
def test_no_slot_is_lost_where_the_schedule_changes_before_hq_came_to_it(tmp_path: Path) -> None:
    clock = Clock()

    async def scene(desk: Desk) -> None:
        both = [{"type": "schedule", "cron": "0 * * * *"}, {"type": "schedule", "cron": "30 * * * *"}]
        await alice_with(desk, cron_expression=None, triggers=both, overlap="allow")
        clock.pass_(hours=1, minutes=40)
        other = {"triggers": [both[1], {"type": "schedule", "cron": "15 * * * *"}]}
        await act(desk, update_routine, "hourly", other)
        assert await left(desk) == [("missed", ["10:00"], "its schedule was changed before HQ came to it")]
        await happen(desk)
        clock.pass_(minutes=40)
        await happen(desk)
        assert [slot for slot, _ in await slots_of(desk)] == ["10:30", "11:15"]
        await act(desk, update_routine, "hourly", {"paused": True})
        clock.pass_(hours=2)
        await happen(desk)
        await act(desk, update_routine, "hourly", {"paused": False})
        await happen(desk)
        clock.pass_(minutes=20)
        await happen(desk)
        assert [slot for slot, _ in await slots_of(desk)] == ["10:30", "11:15", "13:30"]

    at_desk(tmp_path, scene, clock)


@pytest.mark.promise("GIV-3")
@pytest.mark.promise("GIV-4")
@pytest.mark.parametrize("seed", range(4))
def test_whatever_happens_each_slot_has_one_run_or_one_record_and_one_starter(tmp_path: Path, seed: int) -> None:
    """Restarts of HQ, absences, and hand-overs in any order: every slot is accounted for once."""
    chance, clock = random.Random(seed), Clock()  # noqa: S311 - nothing is secret
    started: list[str] = []

    async def lived() -> None:
        alice: WiredMinion | None = None
        for _ in range(40):
            async with desk_at(tmp_path, clock) as desk:
                if alice is None:
                    alice = await alice_with(desk, overlap="allow")
                alice.desk = desk
                for _ in range(chance.randint(1, 4)):
                    await _something(desk, alice, clock, chance, started)
        assert alice is not None
        async with desk_at(tmp_path, clock) as desk:
            alice.desk = desk
            await act(desk, update_routine, "hourly", {"scheduled_by": "hq"})
            _start_own(alice, clock, started)
            await alice.catch_up()
            await happen(desk)
            await _accounted_for(desk, clock, started)

    asyncio.run(lived())
    assert audit(tmp_path / "hq" / "hq.db").breaches == []


async def _something(
    desk: Desk, alice: WiredMinion, clock: Clock, chance: random.Random, started: list[str]
) -> None:
    what = chance.choice(("time", "time", "tick", "tick", "sync", "poll", "hq", "minion"))
    if what == "time":
        clock.pass_(minutes=chance.choice((7, 40, 95, 150)))
    elif what == "tick":
        await happen(desk)
    elif what in ("hq", "minion"):
        await act(desk, update_routine, "hourly", {"scheduled_by": what})
    else:
        _start_own(alice, clock, started)
        if what == "sync":
            await alice.sync()
            _start_own(alice, clock, started)  # the new state is in force at once
        else:
            await alice.poll()


def _start_own(alice: WiredMinion, clock: Clock, started: list[str]) -> None:
    """What alice's own scheduler does up to now: it catches up with every slot since she was given the routine."""
    if alice.starts():
        (routine,) = alice.routines
        since = parse_instant(alice.begins[routine])
        found, _ = slots_between(restore_schedule("0 * * * *", "UTC"), since, clock(), 500)
        # As a minion's store has it: what it claimed once it never claims again.
        started += [instant(slot.at) for slot in found if instant(slot.at) not in started]
        alice.begins[routine] = instant(clock())


async def _accounted_for(desk: Desk, clock: Clock, started: list[str]) -> None:
    orders = [json.loads(row.body)["slot"] for row in await rows(desk, ORDERS) if row.trigger]
    missed = [slot for type_, data in await events(desk) if type_ == "slot.missed" for slot in data["slots"]
              if data["run"] is None]  # fmt: skip
    every, _ = slots_between(restore_schedule("0 * * * *", "UTC"), BEGIN, clock(), 500)
    assert sorted([*orders, *missed, *started]) == [instant(slot.at) for slot in every]
    assert len(every) > 10


@pytest.mark.heavy
@pytest.mark.promise("GIV-3")
def test_an_hq_that_is_killed_as_slots_fall_due_starts_each_of_them_once(tmp_path: Path) -> None:
    """SIGKILL around the instant at which hundreds of slots fall due, again and again, and then no more."""
    due = utc_now() + timedelta(seconds=12)
    once = [{"type": "once", "at": due.strftime("%Y-%m-%dT%H:%M:%SZ")}]

    async def prepared() -> None:
        async with desk_at(tmp_path, utc_now) as desk:  # type: ignore[arg-type]
            await WiredMinion(desk, "alice").hello()
            for number in range(_KILLED_OVER):
                said = {"name": f"r{number}", "content": "Look.", "triggers": once, "scheduled_by": "hq"}
                await act(desk, create_routine, said, minion="alice")

    asyncio.run(prepared())
    home = tmp_path / "hq"
    kills = 0
    while kills < 40 and _orders_in(home) < _KILLED_OVER:
        server = start(home)
        before = _orders_in(home)
        wait_until(lambda before=before: _orders_in(home) > before, 20)  # type: ignore[misc]
        server.kill()
        kills += 1
    with served(home):
        assert wait_until(lambda: _orders_in(home) == _KILLED_OVER, 30)
    db = sqlite3.connect(home / "hq.db")
    runs = db.execute("SELECT count(*), count(DISTINCT routine_id) FROM runs").fetchone()
    db.close()
    print(f"{kills} kills over {_KILLED_OVER} slots")
    assert (runs, audit(home / "hq.db").breaches) == ((_KILLED_OVER, _KILLED_OVER), [])


def _orders_in(home: Path) -> int:
    db = sqlite3.connect(home / "hq.db")
    (number,) = db.execute("SELECT count(*) FROM orders").fetchone()
    db.close()
    return int(number)
