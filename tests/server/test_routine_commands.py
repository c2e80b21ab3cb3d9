"""`hq routine`, `hq run` and `hq cancel`: what the owner of an HQ sees and does, whether it runs or not."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from server.actions.publish import create_routine
from server.clock import utc_now
from tests.server.desks import desk_at
from tests.server.joined_minions import act
from tests.server.servers import hq, served, told
from tests.server.wired_minions import WiredMinion

pytestmark = pytest.mark.heavy
HOURLY = {"name": "hourly", "content": "Look.", "cron_expression": "0 * * * *", "timezone": "UTC"}


def home_with_minions(folder: Path) -> Path:
    """A home whose HQ knows alice, who goes by the routine `hourly`, and bob."""

    async def prepared() -> None:
        async with desk_at(folder, utc_now) as desk:  # type: ignore[arg-type]
            for name in ("alice", "bob"):
                await WiredMinion(desk, name).hello()
            await act(desk, create_routine, HOURLY, minion="alice")
            await WiredMinion(desk, "alice").catch_up()

    asyncio.run(prepared())
    return folder / "hq"


@pytest.mark.promise("GIV-2")
def test_a_routine_is_listed_shown_moved_paused_run_and_deleted_without_a_running_hq(tmp_path: Path) -> None:
    home = home_with_minions(tmp_path)
    assert [each["name"] for each in told(home, "routine", "list")["routines"]] == ["hourly"]
    shown = hq(home, "routine", "show", "hourly")
    assert (shown.returncode, "started by alice" in shown.stdout) == (0, True), shown
    paused = hq(home, "routine", "pause", "hourly")
    assert (paused.returncode, paused.stdout) == (0, "hourly is paused.\n"), paused
    assert hq(home, "routine", "pause", "hourly").stdout == "hourly is paused already.\n"
    assert hq(home, "routine", "resume", "hourly").stdout.startswith("hourly goes on.\n  due next ")
    run = hq(home, "run", "hourly", "--text", "now")
    assert run.stdout.startswith("run_01")
    assert "hourly waits for alice." in run.stderr
    assert hq(home, "cancel", run.stdout.strip()).stdout == f"{run.stdout.strip()} is cancelled.\n"
    moved = hq(home, "routine", "move", "hourly", "--to", "bob")
    assert moved.stdout.startswith(
        "hourly is on its way from alice to bob.\n"
        "  alice was last seen just now; until it hears of this, these slots may still fire there: "
    )
    again = hq(home, "routine", "move", "hourly", "--to", "carl")
    assert (again.returncode, "There is no minion carl." in again.stderr) == (2, True)
    unasked = hq(home, "routine", "move", "hourly", "--to", "bob", "--lost", "alice")
    assert (unasked.returncode, "Nobody is here to be asked" in unasked.stderr) == (3, True)
    assert told(home, "routine", "show", "hourly")["moving"]["waits_for"] == "alice"
    lost = told(home, "routine", "move", "hourly", "--to", "bob", "--lost", "alice", "--yes")
    assert (lost["state"], lost["minion"]) == ("moved", "bob")
    assert hq(home, "routine", "delete", "hourly").returncode == 3
    gone = hq(home, "routine", "delete", "hourly", "--yes")
    assert gone.stdout == "hourly is deleted; 1 run of it stays kept.\n"
    assert told(home, "routine", "list") == {"routines": [], "total": 0}
    assert hq(home, "verify").returncode == 0


def test_what_is_asked_of_a_running_hq_is_done_by_it(tmp_path: Path) -> None:
    home = home_with_minions(tmp_path)
    with served(home):
        run = told(home, "routine", "run", "hourly")
        assert (run["state"], run["minion"]) == ("queued", "alice")
        assert told(home, "cancel", run["run"], "--why", "not now")["why"] == "not now"
        assert told(home, "routine", "move", "hourly", "--to", "bob")["state"] == "moving"
        refused = hq(home, "routine", "move", "hourly", "--to", "bob")
        assert (refused.returncode, "bob has the routine hourly already" in refused.stderr) == (3, True)


def test_every_command_says_what_it_does_with_examples_that_it_takes(tmp_path: Path) -> None:
    names = ("list", "show", "move", "pause", "resume", "run", "delete")
    for words in (["routine"], *(["routine", name] for name in names), ["run"], ["cancel"]):
        said = hq(tmp_path / "hq", *words, "--help")
        assert (said.returncode, "Examples:" in said.stdout) == (0, True), words
    assert json.loads(hq(home_with_minions(tmp_path), "routine", "list", "--json").stdout)["total"] == 1
