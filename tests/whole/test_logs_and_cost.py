"""`minion logs` shows what was written down of a run or one of its steps; `minion cost` what runs used."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from minion.config import Home
from minion.store.costs import costs, total
from minion.store.local_db import read_only
from tests.whole.homes import make_home, performed, write_routine, write_secrets, write_skill
from tests.whole.refusals_said import Place, Told, say

SECRET = "https://hooks.slack.example/T000/B000/0123456789"
NOISY = (
    """
print("\\x1b[2Jlooked at 3 files", file=sys.stderr)
print("the hook is """
    + SECRET
    + """", file=sys.stderr)
answer(text="line\\n" * 30)
"""
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A home with two runs of one routine: the first went well and said much, the second failed."""
    home = make_home(tmp_path_factory.mktemp("logs"))
    write_secrets(home, {"slack_webhook": SECRET})
    write_skill(home, "look", NOISY)
    write_skill(home, "tell", "answer(text=task['input'] or '')\nsys.exit(3 if task['input'] else 0)")
    write_routine(home, "both", "look", "tell")
    performed(home, "both")
    performed(home, "both", given="it broke")
    return Place(home.root.parent)


def printed(told: Told) -> Any:
    assert (told.exit_code, told.err) == (0, "")
    return json.loads(told.out)


@pytest.mark.promise("CLI-14")
def test_the_log_tells_a_run_from_its_opening_to_its_end(place: Place) -> None:
    told = say(place, "logs last")
    lines = [line[14:] for line in told.out.splitlines()[1:] if line[:1].isdigit()]
    assert lines[0] == "opened by manual"
    assert lines[-1].startswith("running → failed")
    for words in ("040.001.01  Trigger Validation (rigid)", "040.001.03  ✗ failed"):
        assert words in lines
    assert any(line.strip().startswith("✗ failed  LLM-TELL: exit 3") for line in lines)
    assert any("report: failure, filed by the session" in line for line in lines)


@pytest.mark.promise("CLI-14")
def test_what_a_skill_said_on_stderr_is_kept_without_secrets_and_cannot_drive_the_terminal(place: Place) -> None:
    told = say(place, "logs both --step look")
    assert "info: said by look on stderr" in told.out
    assert "│ [2Jlooked at 3 files" in told.out
    assert "│ the hook is " in told.out
    assert SECRET not in told.out
    assert "\x1b" not in told.out


def test_a_slip_in_a_routines_name_is_answered_with_the_nearest_that_ran(place: Place) -> None:
    for slip in ("Both", "bth", "boht@last"):
        told = say(place, f"logs {slip}")
        assert (told.code, "did you mean both?" in told.err) == ("no_such_run", True)
    assert "did you mean" not in say(place, "logs run_zz").err


def test_long_texts_are_cut_unless_one_step_or_everything_is_asked_for(place: Place) -> None:
    run = printed(say(place, "runs --state unchecked --json"))[0]["id"]
    assert "│ … 18 more lines" in say(place, f"logs {run}").out
    for words in (f"logs {run} --step look", f"logs {run} -v"):
        told = say(place, words).out
        assert (told.count("│ line\n"), "more lines" in told) == (30, False)


@pytest.mark.promise("CLI-14")
@pytest.mark.parametrize(
    ("step", "types"),
    [
        ("LLM-TELL", {"step.started", "step.finished", "skill.result"}),
        ("llm-tell", {"step.started", "step.finished", "skill.result"}),
        ("tell", {"step.started", "step.finished", "skill.result"}),
        ("040.001.01", {"block.started", "step.started", "step.finished", "block.finished"}),
        ("1", {"step.started", "step.finished"}),
        ("execution-report", None),
    ],
)
def test_a_step_is_named_by_code_skill_number_or_block(place: Place, step: str, types: set[str] | None) -> None:
    told = say(place, f"logs last --step {step} --json")
    if types is None:
        assert (told.code, told.exit_code) == ("no_such_step", 2)
        assert "LLM-EXECUTION-REPORT" in told.err
        return
    said = printed(told)
    assert (said["routine"], said["verdict"]) == ("both", "failed")
    assert {event["type"] for event in said["events"]} == types
    assert {event["step"] for event in said["events"] if event["type"] == "skill.result"} <= {"LLM-TELL"}


def test_what_the_processes_of_a_run_left_beside_the_events_is_shown_too(place: Place, tmp_path: Path) -> None:
    shutil.copytree(place.folder, tmp_path, dirs_exist_ok=True)
    run = printed(say(place, "show last --json"))
    log = Path(run["folder"]) / "runner.log"
    before = log.read_bytes()
    log.write_text("the runner's last words\x1b[31m\n")
    try:
        told = say(place, "logs last")
    finally:
        log.write_bytes(before)
    assert "── runner.log ──" in told.out
    assert told.out.endswith("the runner's last words[31m\n")


@pytest.mark.promise("CLI-15")
def test_costs_add_up_by_routine_skill_and_day(place: Place) -> None:
    by_routine = printed(say(place, "cost --json"))
    (row,) = by_routine["rows"]
    runs = [printed(say(place, f"show {run['id']} --json")) for run in printed(say(place, "runs --json"))]
    assert (row["routine"], row["runs"]) == ("both", 2)
    assert row["wall_ms"] == sum(run["usage"]["wall_ms"] for run in runs) == by_routine["total"]["wall_ms"] > 0
    by_skill = printed(say(place, "cost --by skill --json"))["rows"]
    assert {row["skill"]: row["runs"] for row in by_skill} == {"look": 2, "tell": 2}
    by_day = printed(say(place, "cost --by day --json"))
    assert (by_day["timezone"], sum(row["runs"] for row in by_day["rows"])) == ("Europe/Berlin", 2)
    told = say(place, "cost").out.splitlines()
    assert told[0].split() == ["routine", "runs", "time", "turns", "tokens", "dollars"]
    assert told[-1].split()[0] == "total"


@pytest.mark.promise("CLI-15")
def test_a_pruned_run_still_counts_by_routine_and_day(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    make_home(tmp_path)
    config = json.loads(home.config_file.read_text()) | {"keep_runs": 1}
    home.config_file.write_text(json.dumps(config))
    write_skill(home, "say", "answer(text='x')")
    write_routine(home, "one", "say")
    used = [performed(home, "one")["usage"]["wall_ms"] for _ in range(2)]
    with read_only(home.store) as db:
        by_routine, by_skill = costs(db, "routine", zone="UTC"), costs(db, "skill", zone="UTC")
        assert total(costs(db, "day", zone="UTC")) == total(by_routine)
    assert [(row["runs"], row["wall_ms"]) for row in by_routine] == [(2, sum(used))]
    assert [row["runs"] for row in by_skill] == [1]


def test_a_home_without_runs_says_so(tmp_path: Path) -> None:
    place = Place(tmp_path)
    assert say(place, "init").exit_code == 0
    assert say(place, "cost").out == "No runs yet.\n"
    assert printed(say(place, "cost --by day --json"))["rows"] == []
    assert say(place, "logs last").code == "no_such_run"
