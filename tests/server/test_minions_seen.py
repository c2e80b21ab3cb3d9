"""How HQ shows its minions: what each said last, what is at risk, what waits; to Claude and at a terminal."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from server.actions import fire, publish
from server.actions.desk import Desk
from server.cli import main
from server.storage.migrations import create
from server.storage.tables import MINIONS
from tests.server.desks import ADMIN, SESSION, Clock, client_of, desk_at
from tests.server.heard_minions import due, look, look_for, minion
from tests.server.joined_minions import act, rows

pytestmark = pytest.mark.promise("HQM-1")
HOURLY = {"name": "nightly", "content": "Sum up.", "cron_expression": "0 * * * *", "timezone": "Europe/Berlin"}


def play(folder: Path, scene: Callable[[Desk, Clock], Awaitable[None]]) -> None:
    async def played() -> None:
        clock = Clock()
        async with desk_at(folder, clock) as desk:
            await scene(desk, clock)

    asyncio.run(played())


async def shown(desk: Desk) -> dict[str, Any]:
    """The one minion, as a session sees it."""
    async with client_of(desk, SESSION) as asker:
        (found,) = (await asker.ask("list_minions"))["minions"]
    answer: dict[str, Any] = found
    return answer


async def lived(desk: Desk, clock: Clock) -> str:
    """A minion that says all that there is to say, and is not heard of any more; the run that goes on there."""
    alice = minion(desk)
    await alice.hello(engine="claude-code", roles=("dev",), timezone="Europe/Berlin")
    made = await act(desk, publish.create_routine, HOURLY)
    await look(desk, begins=True)
    await look_for(desk, clock, minutes=10)
    begun = str((await act(desk, fire.run_routine, desk.processes, "nightly", who=ADMIN))["run"])
    trouble = {"routine": made["id"], "sentence": "It has a skill of that name.", "hint": "rename it"}
    (order,) = await alice.orders()
    await alice.beat(
        settled=[{"order": order["id"], "state": "taken"}], running=[begun], health="halted: a trial",
        next_due=due("nightly", clock() + timedelta(minutes=50)), troubles=[trouble],
    )  # fmt: skip
    await act(desk, fire.run_routine, desk.processes, "nightly", who=ADMIN)
    return begun


def hq(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """A command of `hq`: its exit code, what it prints, and what it says beside."""
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


def test_a_minion_is_shown_as_it_was_seen_last(tmp_path: Path) -> None:
    async def scene(desk: Desk, clock: Clock) -> None:
        begun = await lived(desk, clock)
        clock.pass_(seconds=3)
        said = await shown(desk)
        assert (said["name"], said["seen"], said["silent_since"]) == ("alice", "3 s ago", None)
        assert (said["seen_at"], said["joined_at"]) == ("2026-04-01T09:10:00.000Z", "2026-04-01T09:00:00.000Z")
        about = [said[name] for name in ("version", "engine", "timezone", "roles", "routines", "orders_waiting")]
        assert about == ["0.5.0", "claude-code", "Europe/Berlin", ["dev"], 1, 1]
        assert said["running"] == [{"run": begun, "routine": "nightly"}]
        assert said["next_due"]["due"] == "2026-04-01T10:00:00.000Z"
        assert said["troubles"] == [
            {"routine": "nightly", "says": "It has a skill of that name.", "do": "rename it"}
        ]  # fmt: skip
        assert (said["health"], said["slots_at_risk"], said["slots_at_risk_count"]) == ("halted: a trial", [], 0)

    play(tmp_path, scene)


def test_the_slots_of_a_silent_one_are_at_risk_until_it_is_heard_of_again(tmp_path: Path) -> None:
    async def scene(desk: Desk, clock: Clock) -> None:
        await lived(desk, clock)
        await look_for(desk, clock, hours=2)
        said = await shown(desk)
        assert [each["due"] for each in said["slots_at_risk"]] == [
            "2026-04-01T12:00:00+02:00", "2026-04-01T13:00:00+02:00"
        ]  # fmt: skip
        assert (said["seen"], said["silent_since"]) == ("2 h ago", "2026-04-01T09:10:00.000Z")
        await minion(desk).beat()
        said = await shown(desk)
        assert (said["slots_at_risk"], said["silent_since"], said["seen"]) == ([], None, "0 s ago")
        # What it said before counts no more.
        assert (said["next_due"], said["running"], said["troubles"], said["health"]) == (None, [], [], None)

    play(tmp_path, scene)


def test_while_hq_is_away_nothing_becomes_at_risk(tmp_path: Path) -> None:
    async def scene(desk: Desk, clock: Clock) -> None:
        await lived(desk, clock)
        clock.pass_(hours=2)  # nobody looked
        assert (await shown(desk))["slots_at_risk"] == []

    play(tmp_path, scene)


def test_the_terminal_shows_the_same_without_a_running_hq_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begun = ""

    async def scene(desk: Desk, clock: Clock) -> None:
        nonlocal begun
        begun = await lived(desk, clock)
        await look_for(desk, clock, hours=2)

    home = ("--home", str(tmp_path / "hq"))
    play(tmp_path, scene)
    code, out, err = hq(capsys, *home, "minions")
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert (code, lines[0].startswith("alice silent, seen "), lines[0].endswith(" ago")) == (0, True, True)
    assert {
        "about 0.5.0, claude-code, Europe/Berlin, dev", f"runs {begun} nightly", "health halted: a trial",
        "trouble nightly: It has a skill of that name. (rename it)", "waits 1 order for it",
    } <= {*lines}  # fmt: skip
    assert sum(line.startswith("at risk nightly, due 2026-04-01 ") for line in lines) == 2
    assert err == "Nobody serves this home: what its minions did since it was served is not known here.\n"
    code, out, _ = hq(capsys, *home, "minions", "--json")
    document = json.loads(out)
    assert (document["minions"][0]["slots_at_risk_count"], document["routines_without_minion"]) == (2, 0)
    code, out, _ = hq(capsys, *home, "status")
    assert (code, "minions    1 joined, silent: alice" in out) == (0, True)


def test_a_store_of_before_is_not_read_as_one_of_now(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = tmp_path / "hq.db"
    create(store)
    with contextlib.closing(sqlite3.connect(store)) as db:
        db.execute("PRAGMA user_version = 1")
    code, out, err = hq(capsys, "--home", str(tmp_path), "minions")
    assert (code, out, "is of version 1, and this program goes by" in err) == (3, "", True), "store_older"
    code, out, _ = hq(capsys, "--home", str(tmp_path), "status")
    assert (code, "store      of version 1: hq serve brings it up to date\n" in out) == (0, True)


def test_forgetting_is_asked_about_and_says_what_becomes_of_its_routines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def scene(desk: Desk, clock: Clock) -> None:
        await lived(desk, clock)

    home = ("--home", str(tmp_path / "hq"))
    play(tmp_path, scene)
    code, out, err = hq(capsys, *home, "minions", "forget", "bob")
    assert (code, out, err.splitlines()[0]) == (2, "", "hq: There is no minion bob.")
    code, out, err = hq(capsys, *home, "minions", "forget", "alice")
    assert (code, out) == (3, ""), "not_agreed"
    assert "\nhq: Nobody is here to be asked whether to forget alice.\n" in err
    code, out, err = hq(capsys, *home, "minions", "forget", "alice", "--yes")
    assert (code, out.splitlines()[0]) == (0, "The minion alice is forgotten.")
    assert ("  1 order called off" in out, "  nightly has no minion now (trig_" in out) == (True, True)
    assert "If alice is there after all, it goes on with these until `minion leave` there" in err
    code, out, err = hq(capsys, *home, "minions")
    assert (code, out) == (0, "")
    assert err.splitlines()[-1] == "1 routine has no minion: nothing starts what has none."

    async def left(desk: Desk, _: Clock) -> None:
        (row,) = await rows(desk, MINIONS)
        assert (row.name, row.left_at is not None, row.live) == ("alice", True, "{}")

    play(tmp_path, left)
