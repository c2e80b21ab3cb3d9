"""`minion doctor` as people call it: what it prints, its exit code, and that it leaves everything as it was."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from minion import cli
from minion.config import Home, held
from minion.doctor.house import secrets
from tests.minion.patients import first_on_path, give, put_program, tree_of
from tests.whole.homes import (
    clean_environment,
    command_line,
    make_home,
    performed,
    run_cli,
    write_routine,
    write_secrets,
    write_skill,
)
from tests.whole.terminals import at_terminal

pytestmark = pytest.mark.heavy

ANSI = re.compile(r"\x1b\[[0-9;]*m")
MARKS = {"ok": "✓ ok", "warning": "! warning", "problem": "✗ problem"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home with a run and nothing wrong."""
    made = make_home(tmp_path_factory.mktemp("patient"))
    write_skill(made, "act", "print('# done')")
    write_routine(made, "task", "act", cron_expression="0 9 * * 1-5")
    performed(made, "task")
    return made


def doctor(home: Home, *arguments: str) -> int:
    """Call the doctor in this process; its exit code."""
    return cli.run(cli.minion, "minion", ["--home", str(home.root), "doctor", *arguments])


def judged(findings: list[dict[str, Any]]) -> dict[str, str]:
    """The states by name; every finding must be whole, and what is not ok have one line that mends it."""
    for finding in findings:
        assert list(finding) == ["name", "state", "says", "fix"]
        assert finding["state"] in MARKS
        assert finding["says"].endswith((".", ")", "…"))
        assert "\n" not in finding["says"]
        assert (finding["fix"] is None) == (finding["state"] == "ok")
        assert finding["fix"] is None or "\n" not in finding["fix"].strip() != ""
    return {finding["name"]: finding["state"] for finding in findings}


@pytest.mark.promise("CLI-5")
@pytest.mark.promise("CLI-4")
def test_a_healthy_home_is_said_to_be_well_and_left_as_it_was(home: Home) -> None:
    before = tree_of(home)
    ended = run_cli(home, "doctor", "--json")
    assert (ended.code, ended.err) == (0, "")
    document = ended.json()
    states = judged(document["findings"])
    assert document["ok"] is True
    for name in ("python", "packages", "git", "engine script", "zone data", "sqlite", "home", "lock", "config",
                 "secrets", "store", "skills", "routines"):  # fmt: skip
        assert states[name] in ("ok", "warning"), name
    assert {"sandbox", "clock", "disk", "program"} <= set(states)
    assert tree_of(home) == before


@pytest.mark.promise("CLI-5")
def test_people_read_one_line_for_each_thing_and_below_it_what_mends_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = make_home(tmp_path)
    write_secrets(home, {"slack_webhook": "https://example.org/hook"}, mode=0o644)
    with held(home, "minion run task"):
        assert doctor(home) == 1
    lines = capsys.readouterr().out.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith(MARKS["problem"]))
    column = lines[at].index(f"{home.secrets_file} can be read by other users.")
    assert lines[at + 1] == " " * column + f"fix: chmod 600 {home.secrets_file}"
    findings = [line for line in lines[:-1] if not line.startswith(" ")]
    assert all(line.startswith(tuple(MARKS.values())) and line[column - 1] == " " for line in findings)
    assert any(f"in use by `minion run task` (process {os.getpid()})" in line for line in findings)
    assert lines[-1].startswith("There is 1 problem")
    give(lines[at + 1].strip().removeprefix("fix: "))
    assert [finding.state for finding in secrets(home)] == ["ok"]


def test_without_a_home_the_machine_alone_is_judged_and_nothing_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = Home(tmp_path / "none" / "yet")
    assert doctor(nowhere, "--json") == 0
    findings = json.loads(capsys.readouterr().out)["findings"]
    assert judged(findings)["home"] == "warning"
    (fix,) = (finding["fix"] for finding in findings if finding["name"] == "home")
    assert fix.endswith(f"--home {nowhere.root} setup")
    assert {"lock", "config", "secrets", "store", "skills", "routines"} & set(judged(findings)) == set()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.promise("CLI-5")
def test_where_nearly_everything_is_wrong_each_thing_is_a_finding_and_none_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = make_home(tmp_path)
    home.root.chmod(0o755)
    home.config_file.write_text("{")
    home.store.write_text("no database")
    home.secrets_file.mkdir()
    home.outbox.rmdir()
    write_routine(home, "torn", "no-such-skill", cron_expression="daily at nine")
    put_program(tmp_path / "bin", "minion", "exit 3")
    put_program(tmp_path / "bin", "bwrap", "echo no >&2; exit 1")
    put_program(tmp_path / "bin", "timedatectl", "exit 1")
    first_on_path(monkeypatch, tmp_path / "bin", alone=True)
    before = tree_of(home)
    assert doctor(home, "--json") == 1
    said = capsys.readouterr()
    document = json.loads(said.out)
    states = judged(document["findings"])
    assert (document["ok"], said.err) == (False, "")
    wrong = {name for name, state in states.items() if state == "problem"}
    assert {"git", "config", "secrets", "store", "routine torn"} <= wrong
    assert {name for name, state in states.items() if state == "warning"} >= {"sandbox", "home", "program"}
    assert tree_of(home) == before


def test_on_a_terminal_a_sentence_is_wrapped_under_its_column_and_a_fix_never(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    write_routine(home, "report", "write-daily-report", "send-to-slack", repositories=[str(tmp_path / "moved")])
    env = clean_environment(home) | {"COLUMNS": "72"}
    with at_terminal(command_line(home, "doctor"), env=env, cwd=tmp_path) as terminal:
        assert terminal.ended() == 1
    lines = ANSI.sub("", terminal.shown).splitlines()
    said = [line for line in lines[:-1] if "fix: " not in line]
    at = next(number for number, line in enumerate(lines) if line.startswith(MARKS["problem"]))
    column = lines[at].index("No run can clone")
    # Only a single word may be longer than its line.
    assert all(len(line) <= 72 or " " not in line[column:] for line in said)
    below = lines[at + 1 : next(n for n, line in enumerate(lines) if n > at and "fix: " in line) + 1]
    assert len(below) > 1
    assert all(line[:column].isspace() and line[column] != " " for line in below)
    assert below[-1].endswith("routine edit report")
