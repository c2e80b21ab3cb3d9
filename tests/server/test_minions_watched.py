"""HQ watches over minions: people are told once of a silence with a slot at risk, and once that it is over."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest

from server.actions import publish
from server.actions.desk import Desk
from server.actions.part import forget_minion
from server.storage.audit import audit
from server.storage.tables import MINIONS, NOTICES
from server.sweeping import swept
from tests.server.desks import ADMIN, Clock, desk_at
from tests.server.heard_minions import due, look, look_for, minion, told
from tests.server.joined_minions import act, rows

Scene = Callable[[Desk, Clock], Awaitable[None]]
HOURLY = {"name": "nightly", "content": "Sum up.", "cron_expression": "0 * * * *"}


def play(folder: Path, scene: Scene) -> None:
    """A scene at an HQ that begins at nine."""

    async def played() -> None:
        clock = Clock()
        async with desk_at(folder, clock) as desk:
            await scene(desk, clock)

    asyncio.run(played())


async def texts(desk: Desk) -> list[tuple[str, str, str]]:
    """Of each notice its way, its state and the beginning of its text."""
    return [(row.way, row.state, " ".join(row.text.split()[3:5])) for row in await rows(desk, NOTICES)]


@pytest.mark.promise("HQM-2")
def test_a_silence_is_told_once_when_a_slot_is_out_of_its_grace_and_its_end_once(tmp_path: Path) -> None:
    async def scene(desk: Desk, clock: Clock) -> None:
        alice = minion(desk)
        await alice.hello()
        await act(desk, publish.create_routine, HOURLY)
        await look(desk, begins=True)
        await look_for(desk, clock, "command", minutes=30)
        await alice.beat(next_due=due("nightly", clock() + timedelta(minutes=30)))
        seen = clock()
        await look_for(desk, clock, "command", "slack", minutes=30, seconds=30)
        assert await told(desk) == []  # silent for half an hour: nothing of it is at risk yet
        await look_for(desk, clock, "command", "slack", seconds=60)
        ((word, silent),) = await told(desk)
        assert (word, silent["name"], silent["count"]) == ("minion.silent", "alice", 1)
        assert silent["since"] == seen.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        assert [each["due"] for each in silent["slots"]] == ["2026-04-01T10:00:00Z"]
        await look_for(desk, clock, "command", "slack", hours=1)
        assert len(await told(desk)) == 1
        assert await texts(desk) == [("command", "waiting", "is silent:"), ("slack", "waiting", "is silent:")]
        await alice.beat()
        await look(desk, "command", "slack")
        await look_for(desk, clock, seconds=60)
        assert [word for word, _ in await told(desk)] == ["minion.silent", "minion.heard"]
        # Who was not told of the silence yet hears both in one.
        assert await texts(desk) == [
            ("command", "withdrawn", "is silent:"), ("slack", "withdrawn", "is silent:"),
            ("command", "waiting", "is silent:"), ("slack", "waiting", "is silent:"),
        ]  # fmt: skip
        assert all("The minion alice is back" in row.text for row in (await rows(desk, NOTICES))[2:])
        # The next silence is told anew.
        await look_for(desk, clock, "slack", hours=2)
        assert [word for word, _ in await told(desk)] == ["minion.silent", "minion.heard", "minion.silent"]

    play(tmp_path, scene)


@pytest.mark.promise("HQM-2")
def test_a_minion_that_beats_or_has_nothing_due_is_never_told_of(tmp_path: Path) -> None:
    async def scene(desk: Desk, clock: Clock) -> None:
        alice, bob = minion(desk), minion(desk, "bob")
        await alice.hello()
        await bob.hello()
        await act(desk, publish.create_routine, HOURLY, minion="alice")
        await act(desk, publish.create_routine, {"name": "asked", "content": "Sum up."}, minion="bob")
        await look(desk, begins=True)
        for _ in range(2 * 60):
            await alice.beat(next_due=due("nightly", clock() + timedelta(hours=1)))
            await look_for(desk, clock, "slack", seconds=60)
        assert (await told(desk), await rows(desk, NOTICES)) == ([], [])

    play(tmp_path, scene)


@pytest.mark.promise("HQM-2")
def test_a_slot_of_its_own_that_a_minion_named_is_told_of_too(tmp_path: Path) -> None:
    async def scene(desk: Desk, clock: Clock) -> None:
        alice = minion(desk)
        await alice.hello()
        await alice.beat(next_due=due("of-its-own", clock() + timedelta(hours=1)))
        await look(desk, begins=True)
        await look_for(desk, clock, "slack", hours=1, seconds=90)
        ((_, silent),) = await told(desk)
        assert [each["routine"] for each in silent["slots"]] == ["of-its-own"]

    play(tmp_path, scene)


@pytest.mark.promise("HQM-3")
def test_hq_that_was_away_over_a_slot_or_slept_tells_nobody(tmp_path: Path) -> None:
    async def scene(desk: Desk, clock: Clock) -> None:
        alice = minion(desk)
        await alice.hello()
        await act(desk, publish.create_routine, HOURLY)
        for begins in (True, False):
            await look(desk, begins=True)
            await look_for(desk, clock, "slack", minutes=10)
            await alice.beat(next_due=due("nightly", clock().replace(minute=0) + timedelta(hours=1)))
            clock.pass_(hours=8)
            await look(desk, "slack", begins=begins)  # started anew, or woken up with its machine
            await look_for(desk, clock, "slack", minutes=2)
            assert await told(desk) == []
            await alice.beat()
        # Whoever serves HQ has it begin anew, also one that was away for half a minute.
        await look_for(desk, clock, minutes=59 - clock().minute)
        await look_for(desk, clock, seconds=90)
        async with swept(desk, ways=("slack",)):
            clock.pass_(seconds=45)
            await look(desk, "slack")
            assert await told(desk) == []

    play(tmp_path, scene)


@pytest.mark.promise("HQM-3")
def test_a_minion_that_stays_away_when_hq_is_back_is_told_of_at_its_next_slot(tmp_path: Path) -> None:
    async def scene(desk: Desk, clock: Clock) -> None:
        await minion(desk).hello()
        await act(desk, publish.create_routine, HOURLY)
        await look(desk, begins=True)
        clock.pass_(hours=8, minutes=30)
        await look(desk, begins=True)
        await look_for(desk, clock, "slack", minutes=32)
        ((_, silent),) = await told(desk)
        assert ([each["due"] for each in silent["slots"]], silent["count"]) == (["2026-04-01T18:00:00Z"], 1)

    play(tmp_path, scene)


def test_one_that_joins_again_after_a_silence_is_back(tmp_path: Path) -> None:
    async def scene(desk: Desk, clock: Clock) -> None:
        alice = minion(desk)
        await alice.hello()
        await act(desk, publish.create_routine, HOURLY)
        await look(desk, begins=True)
        await look_for(desk, clock, hours=2)
        assert (await rows(desk, MINIONS))[0].silent_since is not None
        await alice.hello()
        await look(desk)
        assert [word for word, _ in await told(desk)] == ["minion.silent", "minion.heard"]
        assert await rows(desk, NOTICES) == []  # nobody was to be told

    play(tmp_path, scene)


def test_the_log_says_all_of_it_and_a_silence_that_somebody_wrote_by_hand_is_found(tmp_path: Path) -> None:
    store = tmp_path / "hq" / "hq.db"

    async def scene(desk: Desk, clock: Clock) -> None:
        alice = minion(desk)
        await alice.hello()
        await act(desk, publish.create_routine, HOURLY)
        await look(desk, begins=True)
        await look_for(desk, clock, "slack", hours=2)
        assert audit(store).breaches == []
        await alice.hello()
        await look(desk, "slack")
        await look_for(desk, clock, "slack", hours=2)
        assert audit(store).breaches == []
        await alice.leave()
        assert audit(store).breaches == []
        await alice.hello()
        await act(desk, forget_minion, "alice", who=ADMIN)
        assert audit(store).breaches == []

    play(tmp_path, scene)
    for change in ("silent_since = '2026-04-01T09:00:00.000Z'", "silent_since = NULL, left_at = NULL"):
        with contextlib.closing(sqlite3.connect(store)) as db, db:
            db.execute(f"UPDATE minions SET {change}")  # noqa: S608
        assert [each.chain for each in audit(store).breaches] == ["minions"]
