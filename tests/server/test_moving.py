"""Routines go from one minion to another: the next begins where the one before let go, and not before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from server.actions.cancel import cancel_run
from server.actions.desk import Desk
from server.actions.fire import run_routine
from server.actions.handing_out import told
from server.actions.joining import differences
from server.actions.move import move_routine
from server.actions.part import forget_minion
from server.actions.publish import create_routine, delete_routine, update_routine
from server.contract.digest import instant
from server.contract.joining import Have
from server.storage.definition_store import find_routine, list_routines
from server.storage.epoch import begin_epoch
from server.storage.tables import ORDERS, RUNS
from tests.server.desks import ADMIN, BEGIN, SESSION, Clock
from tests.server.joined_minions import act, events, rows
from tests.server.test_joining import report
from tests.server.test_publish import at_desk, refused
from tests.server.wired_minions import WiredMinion
from tests.server.wired_minions import refused as turned_down

HOURLY = {"name": "hourly", "content": "Look.", "cron_expression": "0 * * * *", "timezone": "UTC"}
PERSON = replace(ADMIN, door="cli")


async def two(desk: Desk) -> tuple[WiredMinion, WiredMinion, str]:
    """Alice, who goes by the routine `hourly`, bob, and the routine's id."""
    alice, bob = await WiredMinion(desk, "alice").hello(), await WiredMinion(desk, "bob").hello()
    made = await act(desk, create_routine, HOURLY, minion="alice")
    for each in (alice, bob):
        await each.catch_up()
    return alice, bob, made["id"]


async def move(desk: Desk, to: str = "bob", who: Any = PERSON, **said: Any) -> dict[str, Any]:
    """The answer to a move of `hourly`."""
    found: dict[str, Any] = await act(desk, move_routine, "hourly", to, who=who, **said)
    return found


@pytest.mark.promise("GIV-1")
def test_the_new_minion_is_given_a_routine_only_after_the_old_one_let_go_and_from_where_it_did(
    tmp_path: Path,
) -> None:
    clock = Clock()

    async def scene(desk: Desk) -> None:
        alice, bob, routine = await two(desk)
        assert alice.starts() == ["hourly"]
        assert alice.begins[routine] == instant(BEGIN)
        clock.pass_(hours=3)
        assert (await move(desk))["state"] == "moving"
        await bob.catch_up()
        assert bob.starts() == []
        await alice.poll()  # she has not heard of it yet
        await bob.catch_up()
        assert (alice.starts(), bob.starts()) == (["hourly"], [])
        clock.pass_(minutes=10)
        await alice.sync()
        await bob.catch_up()
        assert bob.starts() == []
        cursor = bob.cursor
        clock.pass_(minutes=10)
        await alice.poll()
        assert (await bob.poll())["cursor"] != cursor
        await bob.catch_up()
        assert (alice.starts(), bob.starts()) == ([], ["hourly"])
        assert bob.begins[routine] == "2026-04-01T12:10:00.000Z"
        held = await desk.read(find_routine, "hourly")
        assert (held.minion_id, held.released_by) == (bob.id, None)
        released = [data for type_, data in await events(desk) if type_ == "routine.released"]
        assert [(each["by"], each["why"], each["handled_until"]) for each in released] == [
            (alice.id, "it let go", "2026-04-01T12:10:00.000Z"),
        ]

    at_desk(tmp_path, scene, clock)


@pytest.mark.promise("GIV-1")
def test_a_minion_that_was_never_told_of_a_routine_lets_go_at_once_and_one_that_may_have_been_does_not(
    tmp_path: Path,
) -> None:
    async def scene(desk: Desk) -> None:
        alice, bob = await WiredMinion(desk, "alice").hello(), await WiredMinion(desk, "bob").hello()
        await act(desk, create_routine, HOURLY, minion="alice")
        assert (await move(desk))["state"] == "moved"
        await bob.catch_up()
        assert bob.starts() == ["hourly"]
        # What bob heard is in HQ's answer alone: the answer may be on its way, or lost, or taken in already.
        await act(desk, create_routine, {**HOURLY, "name": "other"}, minion="alice")
        await alice.sync(adopt=False)
        assert (await act(desk, move_routine, "other", "bob", who=PERSON))["state"] == "moving"
        await alice.poll()
        await bob.catch_up()
        assert bob.starts() == ["hourly"]
        await alice.catch_up()
        await bob.catch_up()
        assert bob.starts() == ["hourly", "other"]

    at_desk(tmp_path, scene)


@pytest.mark.promise("GIV-1")
def test_what_hq_does_not_know_to_have_told_is_not_told(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        alice, bob = await WiredMinion(desk, "alice").hello(), await WiredMinion(desk, "bob").hello()
        await act(desk, create_routine, HOURLY, minion="alice")
        have = Have(minion=alice.id)
        found = await desk.read(differences, alice.caller, have)
        assert (await move(desk))["state"] == "moved"  # between what HQ looked up for her and its answer
        assert await act(desk, told, have, found["cursor"], who=alice.caller) is False
        for each in (alice, bob):
            await each.catch_up()
        assert (alice.starts(), bob.starts()) == ([], ["hourly"])

    at_desk(tmp_path, scene)


@pytest.mark.promise("GIV-1")
def test_a_store_that_was_put_back_does_not_take_a_minion_for_one_that_was_never_told(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        alice, bob = await WiredMinion(desk, "alice").hello(), await WiredMinion(desk, "bob").hello()
        await act(desk, create_routine, HOURLY, minion="alice")
        # As it stands in a backup; whatever alice was told after that, nobody knows any more.
        await desk.database.transact(begin_epoch)
        assert (await move(desk))["state"] == "moving"
        await alice.poll(cursor="another:99")
        await bob.catch_up()
        assert bob.starts() == []
        await alice.catch_up()
        await bob.catch_up()
        assert bob.starts() == ["hourly"]

    at_desk(tmp_path, scene)


@pytest.mark.promise("GIV-2")
def test_a_move_says_what_may_still_fire_where(tmp_path: Path) -> None:
    clock = Clock()

    async def scene(desk: Desk) -> None:
        await two(desk)
        clock.pass_(hours=3, minutes=5)
        said = await move(desk)
        assert (said["from"], said["to"], said["state"]) == ("alice", "bob", "moving")
        assert said["says"] == (
            "alice was last seen 3 h ago; until it hears of this, these slots may still fire there: "
            "2026-04-01T13:00:00+00:00, 2026-04-01T14:00:00+00:00, 2026-04-01T15:00:00+00:00 and so on. "
            "bob begins after that."
        )
        assert (said["moving"]["waits_for"], said["started_by"]) == ("alice", "alice")
        again = await act(desk, update_routine, "hourly", {"content": "Look again."})
        assert again["moving"]["says"] == said["says"]

    at_desk(tmp_path, scene, clock)


def test_a_routine_without_a_zone_is_said_to_follow_the_clock_of_its_new_minion(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        await two(desk)
        await WiredMinion(desk, "carl").hello("Asia/Tokyo")
        await act(desk, create_routine, {**HOURLY, "name": "own", "timezone": None}, minion="alice")
        assert "Tokyo" not in (await move(desk, to="carl"))["says"]
        said = (await act(desk, move_routine, "own", "carl", who=PERSON))["says"]
        assert said.endswith(
            "It names no time zone of its own: carl starts it by the clock of Asia/Tokyo, not of UTC."
        )

    at_desk(tmp_path, scene)


@pytest.mark.promise("GIV-2")
def test_a_minion_that_is_gone_for_good_is_taken_over_from_at_once_and_slots_that_may_fire_twice_are_named(
    tmp_path: Path,
) -> None:
    clock = Clock()

    async def scene(desk: Desk) -> None:
        alice, bob, routine = await two(desk)
        clock.pass_(hours=2, minutes=30)
        assert await refused(move(desk, lost="alice", who=SESSION)) == "not_a_person"
        assert await refused(move(desk, lost="bob")) == "lost_itself"
        await WiredMinion(desk, "carl").hello()
        assert await refused(move(desk, lost="carl")) == "not_its_minion"
        assert (await move(desk))["state"] == "moving"
        said = await move(desk, lost="alice")
        assert (said["state"], said["from"], said["to"]) == ("moved", "alice", "bob")
        assert said["may_fire_twice"][:3] == [
            "2026-04-01T10:00:00+00:00", "2026-04-01T11:00:00+00:00", "2026-04-01T12:00:00+00:00",
        ]  # fmt: skip
        assert "If alice is alive after all, slots may fire twice until it hears of this" in said["says"]
        await bob.catch_up()
        assert (bob.starts(), bob.begins[routine]) == (["hourly"], instant(BEGIN))
        await alice.catch_up()  # alive after all
        assert alice.starts() == []
        assert await refused(move(desk, lost="alice", to="carl")) == "not_its_minion"

    at_desk(tmp_path, scene, clock)


def test_a_move_in_one_word_takes_over_from_a_lost_minion_too(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        _, bob, _ = await two(desk)
        assert (await move(desk, lost="alice"))["state"] == "moved"
        await bob.catch_up()
        assert bob.starts() == ["hourly"]

    at_desk(tmp_path, scene)


@pytest.mark.promise("GIV-2")
def test_a_move_that_cannot_be_is_refused_with_the_way_on(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        await two(desk)
        await WiredMinion(desk, "carl").hello()
        assert await refused(move(desk, to="alice")) == "is_there"
        assert await refused(move(desk, to="nobody")) == "no_such_minion"
        await act(desk, create_routine, HOURLY, minion="bob")
        held = next(row.id for row in await desk.read(list_routines) if row.minion_id != _id("bob"))
        assert await refused(act(desk, move_routine, held, "bob", who=PERSON)) == "routine_exists"
        moved = act(desk, update_routine, held, {"cron_expression": "5 * * * *"}, minion="carl")
        assert await refused(moved) == "move_and_change"
        await act(desk, move_routine, held, "carl", who=PERSON)
        assert await refused(act(desk, move_routine, held, "bob", who=PERSON)) == "routine_exists"
        changed = act(desk, update_routine, held, {"cron_expression": "5 * * * *"})
        assert await refused(changed) == "routine_moving"
        assert await refused(act(desk, update_routine, held, {"scheduled_by": "hq"})) == "routine_moving"
        await act(desk, update_routine, held, {"content": "Look well."})
        # Given back before she heard of anything: she never let go.
        assert (await act(desk, move_routine, held, "alice", who=PERSON))["state"] == "moved"

    at_desk(tmp_path, scene)


def _id(name: str) -> str:
    return WiredMinion(None, name).id  # type: ignore[arg-type]


@pytest.mark.promise("GIV-1")
def test_what_waits_for_the_old_minion_goes_along_and_what_it_was_told_of_stays(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        alice, bob, _ = await two(desk)
        first = (await act(desk, run_routine, desk.processes, "hourly"))["run"]
        (order,) = (await alice.poll())["orders"]
        second = (await act(desk, run_routine, desk.processes, "hourly"))["run"]
        await move(desk)
        assert (await bob.poll())["orders"] == []  # bob does not have the routine yet
        assert [each["run"] for each in (await alice.poll())["orders"]] == [first]
        await alice.sync()
        await alice.poll(turned_down(order, "The minion has no routine hourly."))
        await bob.sync()
        assert [each["run"] for each in (await bob.poll())["orders"]] == [second]
        stands = {row.id: (row.state, row.minion_id) for row in await rows(desk, RUNS)}
        assert stands == {first: ("failed", alice.id), second: ("queued", bob.id)}
        await act(desk, cancel_run, second)

    at_desk(tmp_path, scene)


def test_a_routine_on_its_way_is_deleted_like_any_other(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        alice, bob, _ = await two(desk)
        await move(desk)
        await act(desk, delete_routine, "hourly")
        for each in (alice, bob):
            await each.catch_up()
            assert each.starts() == []
        assert [row.state for row in await rows(desk, ORDERS)] == []

    at_desk(tmp_path, scene)


def test_nobody_waits_for_a_minion_that_has_left(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        _, bob, routine = await two(desk)
        await move(desk)
        await act(desk, forget_minion, "alice", who=ADMIN)
        await bob.catch_up()
        assert (bob.starts(), bob.begins[routine]) == (["hourly"], instant(BEGIN))

    at_desk(tmp_path, scene)


@pytest.mark.parametrize(
    ("said", "until"),
    [
        ("2026-04-01T08:00:00.000Z", "2026-04-01T09:00:00.000Z"),
        ("2027-01-01T00:00:00.000Z", "2026-04-02T09:00:00.000Z"),
        (None, "2026-04-01T09:00:00.000Z"),
    ],
)  # fmt: skip
def test_a_minions_word_on_its_slots_is_taken_within_reason(tmp_path: Path, said: str | None, until: str) -> None:
    async def scene(desk: Desk) -> None:
        alice, bob, routine = await two(desk)
        await move(desk)
        await alice.sync()
        await alice.poll(released={} if said is None else {routine: said})
        await bob.catch_up()
        assert bob.begins[routine] == until

    at_desk(tmp_path, scene)


def test_a_slot_that_fell_due_before_its_minion_heard_of_the_routine_is_the_minions_to_see_to(
    tmp_path: Path,
) -> None:
    clock = Clock()

    async def scene(desk: Desk) -> None:
        alice = await WiredMinion(desk, "alice").hello()
        made = await act(desk, create_routine, HOURLY)
        clock.pass_(hours=2)
        await alice.catch_up()
        assert alice.begins[made["id"]] == instant(BEGIN)
        await act(desk, update_routine, "hourly", {"content": "Look."})
        await act(desk, update_routine, "hourly", {"content": "Look twice."})
        await alice.catch_up()
        assert alice.begins[made["id"]] == instant(BEGIN)
        await act(desk, update_routine, "hourly", {"cron_expression": "30 * * * *"})
        clock.pass_(hours=1)
        await alice.catch_up()
        assert alice.begins[made["id"]] == "2026-04-01T11:00:00.000Z"

    at_desk(tmp_path, scene, clock)


def test_a_run_that_is_reported_after_its_routine_went_elsewhere_is_still_that_routines(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        alice, bob, routine = await two(desk)
        await move(desk)
        for each in (alice, bob):
            await each.catch_up()
        late, own = ("run_01" + letter * 20 for letter in "AB")
        await alice.report({**report(late, 1), "routine": "hourly"}, {**report(own, 1), "routine": "of-her-own"})
        assert {row.id: row.routine_id for row in await rows(desk, RUNS)} == {
            late: routine, own: f"{alice.id}:of-her-own",
        }  # fmt: skip

    at_desk(tmp_path, scene)
