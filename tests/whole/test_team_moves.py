"""Runs cancelled from HQ, and routines given from one minion to another: each slot is started once."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from minion.hq.mirror import held, take_in
from tests.server import servers
from tests.whole.teams import Team, publish, soon, team
from tests.whole.test_team import QUICK, create

pytestmark = pytest.mark.heavy
SLOW = 'import time\ntime.sleep(600)\nanswer(text="late")'


def slots_started(made: Team) -> Counter[str]:
    """How often each slot was started, by whom ever: the instants, as minions and HQ have them."""
    found = Counter[str]()
    for name, daemon in made.daemons.items():
        found.update(slot["due_at"] for slot in daemon.slots() if slot["state"] in ("ran", "late"))
        theirs = [run for run in made.runs_of(name) if run["order_key"].startswith("hq:")]
        found.update(made.reported(run["id"])["slot"] for run in theirs if run["trigger"] == "schedule")
    return found


@pytest.mark.promise("JOI-1")
def test_a_run_is_cancelled_from_hq_while_it_goes_on(tmp_path: Path) -> None:
    with team(tmp_path, "alice") as made:
        publish(made, "slow", SLOW)
        create(made, "long", "alice", pipeline=["slow"])
        run = made.call("run_routine", routine="long")["run"]
        assert soon(lambda: made.reported(run)["state"] == "running")
        assert made.call("cancel_run", run=run, why="not today")["state"] == "cancelling"
        assert soon(lambda: made.reported(run)["state"] == "cancelled"), made.daemons["alice"].log()
        assert made.daemons["alice"].state_of(run) == "cancelled"
        assert "not today" in str(made.reported(run)["why"])
        # One that has not begun is cancelled at once, and never begins.
        made.daemons["alice"].kill()
        made.way.cut()  # HQ hears at once that alice's connections have ended, and not when the way gets to it
        waits = made.call("run_routine", routine="long")["run"]
        assert made.call("cancel_run", run=waits)["state"] == "cancelled"
        made.way.heal()
        made.start("alice")
        assert soon(lambda: made.linked("alice"))
        assert waits not in {each["id"] for each in made.runs_of("alice")}


@pytest.mark.promise("JOI-4")
def test_a_routine_goes_from_one_minion_to_another_and_every_slot_is_started_once(tmp_path: Path) -> None:
    with team(tmp_path) as made:
        ahead = tmp_path / "ahead"
        # Both a few seconds before the same full minute.
        ahead.write_text(str(50 - datetime.now(UTC).second))
        for name in ("alice", "bob"):
            made.add(name)
            made.start(name, ahead=ahead)
        publish(made, "quick", QUICK)
        create(made, "minutely", "alice", cron_expression="* * * * *", timezone="UTC")
        assert soon(lambda: len(slots_started(made)) == 1, 90), made.daemons["alice"].log()
        moved = servers.told(made.hq.home, "routine", "move", "minutely", "--to", "bob")
        assert moved["minion"] == "bob"
        assert soon(lambda: made.has("bob", "minutely") and made.has("alice")), made.daemons["bob"].log()
        assert soon(lambda: len(slots_started(made)) == 2, 90), made.daemons["bob"].log()
        assert len(made.runs_of("bob")) == 1
        found = slots_started(made)
        assert set(found.values()) == {1}
        first, second = (datetime.fromisoformat(due) for due in sorted(found))
        assert (second - first).total_seconds() == 60
        assert servers.hq(made.hq.home, "verify").returncode == 0


@pytest.mark.promise("JOI-3")
def test_a_daemon_that_died_as_it_took_in_what_hq_gave_goes_by_it_when_it_is_back(tmp_path: Path) -> None:
    with team(tmp_path, "alice") as made:
        publish(made, "quick", QUICK)
        kept, gone = create(made, "kept", "alice", cron_expression="0 0 1 1 *"), create(made, "gone", "alice")
        made.daemons["alice"].kill()
        made.kill_hq()
        # The new state is in force, and nothing else of it was done when the daemon died.
        take_in(made.homes["alice"], {"cursor": "e:9", "routines": [], "skills": [], "gone": [gone]}, {})
        daemon = made.start("alice")
        status = daemon.ask("status")
        assert [(each["name"], each["problem"]) for each in status["routines"]] == [("kept", None)]
        assert held(made.homes["alice"]).routines.keys() == {kept}
