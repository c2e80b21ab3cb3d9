"""What somebody left behind is told as it is: a run whose owner died, a routine whose one time is over."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from server.contract.digest import parse_instant
from tests.waiting import wait_until
from tests.whole.homes import (
    clean_environment,
    command_line,
    make_home,
    run_cli,
    run_process,
    write_routine,
    write_skill,
)
from tests.whole.refusals_said import Place, say


@pytest.mark.promise("RUN-8")
def test_a_run_whose_owner_was_killed_is_not_told_to_be_running_and_ends_when_it_was_last_heard_of(
    tmp_path: Path,
) -> None:
    home = make_home(tmp_path)
    write_skill(home, "wait", "import signal; signal.pause()")
    write_routine(home, "wait", "wait")
    write_skill(home, "say", "answer(text='x')")
    write_routine(home, "say", "say")
    run = subprocess.Popen(
        command_line(home, "run", "wait"), env=clean_environment(home), cwd=tmp_path,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        assert wait_until(
            lambda: any(b"LLM-WAIT" in file.read_bytes() for file in home.runs.glob("*/*.ndjson")), 30
        )
        (events,) = home.runs.glob("*/events.ndjson")
        assert wait_until(lambda: b"running" in run_cli(home, "runs", "--json").out.encode(), 30)
        (running,) = json.loads(run_cli(home, "runs", "--state", "running", "--json").out)
        assert running["verdict"] == "running"
    finally:
        os.kill(run.pid, signal.SIGKILL)
        run.wait()
    (left,) = json.loads(run_cli(home, "runs", "--json").out)
    assert (left["id"], left["state"], left["verdict"]) == (running["id"], "interrupted", "unknown")
    assert json.loads(run_cli(home, "runs", "--state", "running", "--json").out) == []
    shown = json.loads(run_cli(home, "show", "last", "--json").out)
    assert (shown["state"], shown["why"]) == ("interrupted", "the minion stopped while it was running")
    assert "? unknown" in run_cli(home, "routine", "list").out
    heard = json.loads(events.read_bytes().splitlines()[-1])["at"]
    assert run_process(home, "run", "say").code == 0
    closed = json.loads(run_cli(home, "show", left["id"], "--json").out)
    assert (closed["state"], closed["ended_at"]) == ("interrupted", heard)
    assert parse_instant(closed["started_at"]) <= parse_instant(heard)


@pytest.mark.heavy
def test_a_routine_whose_one_time_is_over_can_still_be_paused_changed_and_taken_elsewhere(tmp_path: Path) -> None:
    place = Place(make_home(tmp_path).root.parent)
    once = "name: once\ncontent: x\nrepositories: []\ntriggers: [{type: once, at: 2030-01-01T10:00}]\n"
    (tmp_path / "once.yaml").write_text(once)
    assert say(place, "routine add once.yaml").exit_code == 0
    over = once.replace("2030", "2020")
    (place.home.routines / "once.yaml").write_text(over)
    (tmp_path / "once.yaml").write_text(over)
    assert say(place, "routine add once.yaml --replace").code == "bad_schedule"
    assert say(place, "schedule pause once").exit_code == 0
    assert say(place, "schedule resume once").exit_code == 0
    assert (place.home.routines / "once.yaml").read_text() == over + "paused: false\n"
    assert say(place, "schedule update once 'every day at 9' --yes").exit_code == 0
    (tmp_path / "taken.yaml").write_text(over.replace("name: once", "name: taken"))
    assert say(place, "import taken.yaml").exit_code == 0
    assert say(place, "schedule update once '2020-01-01T10:00' --yes").code == "bad_schedule"


def test_a_routine_that_never_ran_and_one_that_was_never_admitted_are_told_apart(tmp_path: Path) -> None:
    place = Place(make_home(tmp_path).root.parent)
    (tmp_path / "new.yaml").write_text("name: new\ncontent: x\nrepositories: []\n")
    assert say(place, "routine add new.yaml").exit_code == 0
    told = say(place, "show new")
    assert (told.code, "run new\n" in told.err) == ("never_ran", True)
    (place.home.routines / "broken.yaml").write_text("name: [")
    assert "a file that was not admitted yet: minion doctor" in say(place, "routine list").out
