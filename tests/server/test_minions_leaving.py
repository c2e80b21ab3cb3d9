"""Minions leave, by their own word or forgotten: nothing waits for them then, and they may come back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from server.actions import fire, publish
from server.actions.desk import Desk
from server.actions.part import forget_minion
from server.contract.digest import instant
from server.contract.refusals import Refusal
from server.storage.run_store import move
from server.storage.tables import DECISIONS, MINIONS, NOTICES, ORDERS, RUNS, TOKENS
from tests.server.desks import ADMIN, Clock, client_of, desk_at
from tests.server.gates import answering, make_token
from tests.server.heard_minions import Heard, look, look_for, minion
from tests.server.joined_minions import act, events, rows
from tests.server.test_joining import door_of

pytestmark = pytest.mark.promise("HQM-5")
Scene = Callable[[Desk, Clock, Heard], Awaitable[None]]
NIGHTLY = {"name": "nightly", "content": "Sum up.", "cron_expression": "0 3 * * *"}
HELD = {
    "id": "dec_01" + "A" * 20, "kind": "lock", "routine": "nightly", "question": "Go on?", "about": {},
    "digest": "sha256:" + "0" * 64, "opened_at": "2026-04-01T08:00:00.000Z",
}  # fmt: skip


def play(folder: Path, scene: Scene) -> None:
    """A scene at an HQ that alice has joined."""

    async def played() -> None:
        clock = Clock()
        async with desk_at(folder, clock) as desk:
            alice = minion(desk)
            await alice.hello()
            await scene(desk, clock, alice)

    asyncio.run(played())


async def forget(desk: Desk, name: str = "alice") -> dict[str, Any]:
    """What is answered to who has a minion forgotten."""
    answer: dict[str, Any] = await act(desk, forget_minion, name, who=ADMIN)
    return answer


async def run(desk: Desk, routine: str = "nightly") -> str:
    """A run that is asked for."""
    return str((await act(desk, fire.run_routine, desk.processes, routine, who=ADMIN))["run"])


async def states(desk: Desk, table: Any) -> list[str]:
    """How the rows of a table stand."""
    return [row.state for row in await rows(desk, table)]


async def code(work: Awaitable[Any]) -> str:
    """With which code something is refused."""
    with pytest.raises(Refusal) as said:
        await work
    return said.value.code


@pytest.mark.parametrize("how", ["leaves", "forgotten"])
def test_what_waits_for_a_minion_that_is_gone_is_called_off(tmp_path: Path, how: str) -> None:
    async def scene(desk: Desk, clock: Clock, alice: Heard) -> None:
        await act(desk, publish.create_routine, NIGHTLY)
        begun, waiting = await run(desk), await run(desk)
        taken, _later = await alice.orders()
        await alice.beat(settled=[{"order": taken["id"], "state": "taken"}], running=[begun], held=[HELD])
        await desk.database.transact(move, begun, "queued", "running", actor=alice.caller.id, now=instant(clock()))
        assert await states(desk, DECISIONS) == ["open"]
        answer = await forget(desk) if how == "forgotten" else await alice.leave()
        found = {row.id: (row.state, row.verdict) for row in await rows(desk, RUNS)}
        assert found == {begun: ("interrupted", "unknown"), waiting: ("cancelled", "skipped")}
        assert await states(desk, ORDERS) == ["taken", "cancelled"]
        assert await states(desk, DECISIONS) == ["withdrawn"]
        if answer is not None:
            assert (answer["orders_withdrawn"], answer["runs_interrupted"]) == (1, [begun])
        left = [data for word, data in await events(desk) if word == "minion.left"]
        assert [(each["name"], len(each["routines"])) for each in left] == [("alice", 1)]
        assert await code(alice.beat()) == "not_joined"
        assert await code(forget(desk)) == "no_such_minion"

    play(tmp_path, scene)


def test_its_routines_stay_without_a_minion_and_say_so_and_go_to_another(tmp_path: Path) -> None:
    async def scene(desk: Desk, _: Clock, alice: Heard) -> None:
        await act(desk, publish.create_routine, NIGHTLY)
        bob = minion(desk, "bob")
        await bob.hello()
        answer = await forget(desk)
        assert [each["name"] for each in answer["routines"]] == ["nightly"]
        async with client_of(desk, ADMIN) as asker:
            listed = await asker.ask("list_minions")
            assert [each["name"] for each in listed["minions"]] == ["bob"]
            assert listed["routines_without_minion"] == 1
            said = await asker.ask("explain_routine", routine="nightly")
            assert said["sentence"].startswith("No minion has it, so nothing starts it")
            assert (await asker.refused("run_routine", routine="nightly"))["code"] == "no_minion"
            await asker.ask("update_routine", routine="nightly", minion="bob")
        assert await bob.given() == ["nightly"]
        # Whose routine went to another one does not get it back.
        await alice.hello()
        assert (await alice.given(), await bob.given()) == ([], ["nightly"])

    play(tmp_path, scene)


def test_who_joins_again_has_its_routines_but_no_other_of_that_name(tmp_path: Path) -> None:
    async def scene(desk: Desk, clock: Clock, alice: Heard) -> None:
        await act(desk, publish.create_routine, NIGHTLY)
        await act(desk, publish.create_routine, {**NIGHTLY, "name": "weekly"})
        await act(desk, publish.create_routine, {**NIGHTLY, "name": "changed"})
        await alice.leave()
        await alice.leave()  # said twice, as one does who had no answer
        assert len([word for word, _ in await events(desk) if word == "minion.left"]) == 1
        clock.pass_(hours=1)
        await act(desk, publish.update_routine, "changed", {"content": "Something else."})
        before = (await rows(desk, MINIONS))[0].joined_at
        await alice.hello()
        assert (await rows(desk, MINIONS))[0].joined_at > before
        assert sorted(await alice.given()) == ["nightly", "weekly"]
        await alice.beat()
        assert await run(desk)

    play(tmp_path, scene)


def test_the_token_of_one_that_left_lets_it_join_again_and_a_forgotten_ones_does_not(tmp_path: Path) -> None:
    async def scene(desk: Desk, _: Clock, alice: Heard) -> None:
        async with answering(desk) as port, door_of(desk, port, alice.id) as door:
            await make_token(desk, "minion", "bob")
            assert await door.ask("leave") == {}
            assert await door.refused("poll") == (409, "not_joined")
            await door.hello()
            answer = await forget(desk)
            assert (answer["revoked_tokens"], await door.refused("join")) == (1, (401, "no_token"))
        assert [row.name for row in await rows(desk, TOKENS) if row.revoked_at is None] == ["bob"]

    play(tmp_path, scene)


def test_another_machine_may_have_the_name_of_one_that_was_forgotten(tmp_path: Path) -> None:
    async def scene(desk: Desk, _: Clock, alice: Heard) -> None:
        other = minion(desk, "alice", 1)
        assert await code(other.hello()) == "minion_name_taken"
        await forget(desk)
        await other.hello()
        assert await code(alice.hello()) == "minion_name_taken"
        assert sorted(row.name for row in await rows(desk, MINIONS)) == ["alice", "alice"]

    play(tmp_path, scene)


def test_a_routine_on_its_way_goes_on_when_the_one_that_must_let_go_has_left(tmp_path: Path) -> None:
    async def scene(desk: Desk, _: Clock, alice: Heard) -> None:
        made = await act(desk, publish.create_routine, NIGHTLY)
        bob = minion(desk, "bob")
        await bob.hello()
        assert await alice.given() == ["nightly"]
        await act(desk, publish.update_routine, made["id"], {}, minion="bob")
        assert await bob.given() == []
        await forget(desk)
        assert await bob.given() == ["nightly"]

    play(tmp_path, scene)


def test_nobody_is_told_of_the_silence_of_one_that_was_forgotten(tmp_path: Path) -> None:
    async def scene(desk: Desk, clock: Clock, alice: Heard) -> None:
        await act(desk, publish.create_routine, {**NIGHTLY, "cron_expression": "0 * * * *"})
        await look(desk, begins=True)
        await look_for(desk, clock, "slack", hours=2)
        assert await states(desk, NOTICES) == ["waiting"]
        await forget(desk)
        assert await states(desk, NOTICES) == ["withdrawn"]
        await look_for(desk, clock, "slack", hours=2)
        await alice.hello()
        await look_for(desk, clock, "slack", seconds=60)
        assert await states(desk, NOTICES) == ["withdrawn"]

    play(tmp_path, scene)


def test_a_text_that_a_minion_says_of_itself_is_kept_without_secrets(tmp_path: Path) -> None:
    async def scene(desk: Desk, _: Clock, alice: Heard) -> None:
        secret = "ghp_" + "a" * 36
        await alice.beat(health=f"cannot push with {secret}")
        assert secret not in str(await rows(desk, MINIONS))

    play(tmp_path, scene)
