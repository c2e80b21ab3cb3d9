"""HQ starts routines by its own schedule: each slot once, in time or as the routine says, or recorded."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from server.actions.cancel import cancel_run
from server.actions.desk import Desk
from server.actions.part import forget_minion
from server.actions.publish import create_routine, delete_routine
from server.actions.schedule import AT_ONCE, look, start_due
from server.scheduling import scheduled, tick
from server.storage.tables import ORDERS, RUNS, SCHEDULES
from tests.server.desks import ADMIN, BEGIN, Clock
from tests.server.joined_minions import act, events, rows
from tests.server.test_joining import report
from tests.server.test_publish import at_desk
from tests.server.wired_minions import WiredMinion, refused, taken

HOURLY = {
    "name": "hourly", "content": "Look.", "cron_expression": "0 * * * *", "timezone": "UTC", "scheduled_by": "hq",
}  # fmt: skip


async def alice_with(desk: Desk, **said: Any) -> WiredMinion:
    """Alice, who has the routine `hourly`, which HQ starts."""
    alice = await WiredMinion(desk, "alice").hello()
    await act(desk, create_routine, HOURLY | said)
    await alice.catch_up()
    return alice


async def happen(desk: Desk) -> None:
    """Have what is due by now happen."""
    await tick(desk, 10.0)


async def slots_of(desk: Desk) -> list[tuple[str, str]]:
    """The slots of all orders, with how each order stands, in order."""
    return [(json.loads(row.body)["slot"][11:16], row.state) for row in await rows(desk, ORDERS) if row.trigger]


async def left(desk: Desk) -> list[tuple[str, list[str], str]]:
    """What came to nothing: the word, the slots that are named, why."""
    return [
        (type_.removeprefix("slot."), [slot[11:16] for slot in data["slots"]], data["why"])
        for type_, data in await events(desk) if type_.startswith("slot.")
    ]  # fmt: skip


async def finish(alice: WiredMinion, order: dict[str, Any]) -> None:
    """Have alice say that the run of an order is done."""
    assert (await alice.report({**report(order["run"], 1), "routine": "hourly"}))["refused"] == []


@pytest.mark.promise("GIV-3")
def test_a_slot_that_falls_due_becomes_one_order_and_its_run(tmp_path: Path) -> None:
    clock = Clock()

    async def scene(desk: Desk) -> None:
        alice = await alice_with(desk)
        assert (await desk.read(look, now=clock())).next == BEGIN + timedelta(hours=1)
        assert await tick(desk, 9e9) == 3600
        assert (await slots_of(desk), alice.starts()) == ([], [])
        clock.pass_(hours=1)
        for _ in range(3):
            await happen(desk)
        (order,) = (await alice.poll())["orders"]
        assert (order["kind"], order["routine"], order["slot"]) == ("run", "hourly", "2026-04-01T10:00:00.000Z")
        (run,) = await rows(desk, RUNS)
        assert (run.id, run.trigger, run.state, run.variant) == (order["run"], "schedule", "queued", "V01")
        key = f"slot:{run.routine_id}:0 * * * *|UTC|2026-04-01T10:00+00:00"
        assert (run.order_key, [row.key for row in await rows(desk, ORDERS)]) == (key, [key])
        await alice.poll(taken(order))
        await finish(alice, order)
        clock.pass_(hours=1)
        await happen(desk)
        assert await slots_of(desk) == [("10:00", "taken"), ("11:00", "queued")]
        (handled,) = await rows(desk, SCHEDULES)
        assert (handled.trigger, handled.handled_until) == ("0 * * * *|UTC", "2026-04-01T11:00:00.000Z")

    at_desk(tmp_path, scene, clock)


@pytest.mark.promise("GIV-3")
def test_hq_that_was_away_catches_up_as_the_routine_says(tmp_path: Path) -> None:
    for rule, begun, why in (
        ({"catch_up": "latest"}, ["12:00"], "only the newest due slot is run"),
        ({"catch_up": "none"}, [], "catch-up is off for it"),
        ({"catch_up": "window", "catch_up_window_s": 5400}, ["11:00", "12:00"],
         "the others came due over 5400 s ago"),
    ):
        clock = Clock()

        async def scene(desk: Desk, rule: Any = rule, clock: Clock = clock) -> tuple[list[str], Any]:
            await alice_with(desk, **rule)
            clock.pass_(hours=3, minutes=20)
            await happen(desk)
            return [slot for slot, _ in await slots_of(desk)], await left(desk)

        folder = tmp_path / rule["catch_up"]
        folder.mkdir()
        slots, (missed,) = at_desk(folder, scene, clock)
        assert slots == begun
        assert missed == ("missed", sorted({"10:00", "11:00", "12:00"} - set(begun)), why)


@pytest.mark.promise("GIV-3")
def test_a_minion_that_is_away_takes_a_slot_when_it_comes_back_in_time_else_it_is_missed(tmp_path: Path) -> None:
    clock = Clock()

    async def scene(desk: Desk) -> None:
        alice = await alice_with(desk, cron_expression="0 10 * * *")
        clock.pass_(hours=1)
        await happen(desk)
        clock.pass_(hours=5)
        await happen(desk)
        assert [order["slot"][11:16] for order in (await alice.poll())["orders"]] == ["10:00"]
        # She was told of it: whether she has begun, only she can say.
        clock.pass_(days=1)
        await happen(desk)
        assert await slots_of(desk) == [("10:00", "queued")]
        assert [(word, slots) for word, slots, _ in await left(desk)] == [("skipped", ["10:00"])]
        (order,) = (await alice.poll())["orders"]
        await alice.poll(taken(order))
        await finish(alice, order)
        clock.pass_(hours=19)
        await happen(desk)
        clock.pass_(hours=13, minutes=59)
        await happen(desk)
        assert await slots_of(desk) == [("10:00", "taken"), ("10:00", "queued")]
        clock.pass_(minutes=1)
        assert (await alice.poll())["orders"] == []
        assert (await left(desk))[-1] == ("missed", ["10:00"], "its local day is over")
        assert await slots_of(desk) == [("10:00", "taken"), ("10:00", "cancelled")]
        late = (await rows(desk, RUNS))[-1]
        assert (late.state, late.why) == ("cancelled", "missed: its local day is over")

    at_desk(tmp_path, scene, clock)


@pytest.mark.promise("GIV-3")
def test_a_slot_of_a_minion_that_never_comes_back_is_missed_when_its_time_is_over(tmp_path: Path) -> None:
    clock = Clock()

    async def scene(desk: Desk) -> None:
        await alice_with(desk, cron_expression=None, triggers=[{"type": "once", "at": "2026-04-01T10:00"}])
        clock.pass_(hours=1)
        await happen(desk)
        clock.pass_(hours=13, minutes=59)
        await happen(desk)
        assert await left(desk) == []
        clock.pass_(minutes=1)
        await happen(desk)
        assert await left(desk) == [("missed", ["10:00"], "its local day is over")]
        assert [(row.state, row.verdict) for row in await rows(desk, RUNS)] == [("cancelled", "skipped")]

    at_desk(tmp_path, scene, clock)


@pytest.mark.promise("GIV-3")
def test_of_slots_that_wait_for_a_minion_the_newest_alone_counts_where_the_rule_says_so(tmp_path: Path) -> None:
    clock = Clock()

    async def scene(desk: Desk) -> None:
        alice = await alice_with(desk)
        for _ in range(3):
            clock.pass_(hours=1)
            await happen(desk)
        assert await slots_of(desk) == [("10:00", "cancelled"), ("11:00", "cancelled"), ("12:00", "queued")]
        assert await left(desk) == [
            ("missed", [slot], "a newer one came due meanwhile") for slot in ("10:00", "11:00")
        ]
        assert [order["slot"][11:16] for order in (await alice.poll())["orders"]] == ["12:00"]

    at_desk(tmp_path, scene, clock)


@pytest.mark.parametrize("overlap", ["skip", "queue", "allow"])
def test_slots_that_overlap_are_left_out_wait_or_start_as_the_routine_says(tmp_path: Path, overlap: str) -> None:
    clock = Clock()

    async def scene(desk: Desk) -> None:
        alice = await alice_with(desk, overlap=overlap, catch_up="latest" if overlap == "allow" else "none")
        clock.pass_(hours=1)
        await happen(desk)
        (order,) = (await alice.poll())["orders"]
        await alice.poll(taken(order))
        for _ in range(2):
            clock.pass_(hours=1)
            await happen(desk)
        waits = [slot for slot, state in await slots_of(desk) if state == "held"]
        told = [each["slot"][11:16] for each in (await alice.poll())["orders"]]
        if overlap == "skip":
            assert (waits, told) == ([], [])
            why = f"its run {order['run']} waits for its minion"
            assert await left(desk) == [("skipped", [slot], why) for slot in ("11:00", "12:00")]
        elif overlap == "allow":
            assert (waits, told) == ([], ["11:00", "12:00"])
        else:
            assert (waits, told) == (["11:00", "12:00"], [])
            await finish(alice, order)
            clock.pass_(minutes=1)
            await happen(desk)
            assert [each["slot"][11:16] for each in (await alice.poll())["orders"]] == ["11:00"]
            await happen(desk)
            assert [slot for slot, state in await slots_of(desk) if state == "held"] == ["12:00"]

    at_desk(tmp_path, scene, clock)


def test_a_run_that_waits_its_turn_is_called_off_like_any_other(tmp_path: Path) -> None:
    clock = Clock()

    async def scene(desk: Desk) -> None:
        await alice_with(desk, overlap="queue")
        for _ in range(2):
            clock.pass_(hours=1)
            await happen(desk)
        assert await slots_of(desk) == [("10:00", "queued"), ("11:00", "held")]
        assert (await act(desk, cancel_run, (await rows(desk, RUNS))[1].id))["state"] == "cancelled"
        assert await slots_of(desk) == [("10:00", "queued"), ("11:00", "cancelled")]

    at_desk(tmp_path, scene, clock)


def test_what_no_minion_has_is_not_started_and_a_routine_that_is_deleted_is_forgotten(tmp_path: Path) -> None:
    clock = Clock()

    async def scene(desk: Desk) -> None:
        await alice_with(desk)
        clock.pass_(hours=1)
        await happen(desk)
        await act(desk, forget_minion, "alice", who=ADMIN)
        assert await rows(desk, SCHEDULES) == []
        clock.pass_(hours=1)
        await happen(desk)
        alice = await WiredMinion(desk, "alice").hello()
        await alice.catch_up()
        await happen(desk)
        assert len(await slots_of(desk)) == 1
        clock.pass_(hours=1)
        await happen(desk)
        assert len(await slots_of(desk)) == 2
        await act(desk, delete_routine, "hourly")
        assert await rows(desk, SCHEDULES) == []
        assert (await slots_of(desk))[-1][1] == "cancelled"

    at_desk(tmp_path, scene, clock)


def test_a_slot_that_a_minion_refuses_ends_as_a_run_that_failed(tmp_path: Path) -> None:
    clock = Clock()

    async def scene(desk: Desk) -> None:
        alice = await alice_with(desk)
        clock.pass_(hours=1)
        await happen(desk)
        (order,) = (await alice.poll())["orders"]
        await alice.poll(refused(order, "it is halted"))
        (run,) = await rows(desk, RUNS)
        assert (run.state, run.why) == ("failed", "it is halted")

    at_desk(tmp_path, scene, clock)


@pytest.mark.promise("GIV-3")
def test_a_clock_that_was_set_starts_no_slot_twice_and_goes_on_from_now(tmp_path: Path) -> None:
    clock = Clock()

    async def scene(desk: Desk) -> None:
        await alice_with(desk, overlap="allow")
        clock.pass_(days=400, hours=1)
        await happen(desk)
        first = len(await slots_of(desk))
        clock.pass_(days=-400)
        for _ in range(3):
            await happen(desk)
        assert (first, len(await slots_of(desk))) == (1, 1)
        clock.pass_(hours=1)
        await happen(desk)
        assert [slot for slot, _ in await slots_of(desk)] == ["10:00", "11:00"]
        clock.pass_(minutes=-30)
        await happen(desk)
        clock.pass_(minutes=30)
        await happen(desk)
        assert len(await slots_of(desk)) == 2

    at_desk(tmp_path, scene, clock)


def test_a_long_schedule_has_a_key_that_fits_and_is_still_its_own(tmp_path: Path) -> None:
    clock = Clock()

    async def scene(desk: Desk) -> None:
        minutes = ",".join(str(minute) for minute in range(60))
        await alice_with(desk, cron_expression=f"{minutes} * * * *", overlap="allow")
        clock.pass_(seconds=60)
        await happen(desk)
        clock.pass_(seconds=60)
        await happen(desk)
        keys = [row.key for row in await rows(desk, ORDERS)]
        assert len(set(keys)) == 2
        assert all(len(key) <= 200 for key in keys)

    at_desk(tmp_path, scene, clock)


def test_the_scheduler_has_slots_happen_as_they_fall_due_and_ends_with_its_block(tmp_path: Path) -> None:
    clock = Clock()

    async def scene(desk: Desk) -> None:
        async with scheduled(desk, hop_s=0.01):
            await alice_with(desk)
            clock.pass_(hours=1)
            told = asyncio.Event()
            unheard = desk.listen(lambda happened: any(e.type == "order.queued" for e in happened) and told.set())
            async with asyncio.timeout(10):
                await told.wait()
            unheard()
        clock.pass_(hours=1)
        assert await slots_of(desk) == [("10:00", "queued")]

    at_desk(tmp_path, scene, clock)


def test_more_slots_than_go_into_one_transaction_are_all_seen_to(tmp_path: Path) -> None:
    clock = Clock()

    async def scene(desk: Desk) -> None:
        await alice_with(desk)
        for number in range(AT_ONCE):
            await act(desk, create_routine, HOURLY | {"name": f"r{number}"}, minion="alice")
        clock.pass_(hours=1)
        assert await desk.database.transact(start_due, desk.processes, now=clock()) >= AT_ONCE
        await happen(desk)
        assert len(await slots_of(desk)) == AT_ONCE + 1

    at_desk(tmp_path, scene, clock)
