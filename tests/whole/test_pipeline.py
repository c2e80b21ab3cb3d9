"""A pipeline in one session: what skills are given, what their ends mean, and what a run lacks."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from minion.config import Home
from server.contract.run import EXIT_CODES
from tests.skills.repositories import Repository
from tests.whole.homes import (
    TASK,
    events_of,
    make_home,
    performed,
    results_in,
    run_cli,
    steps_of,
    write_routine,
    write_skill,
)

PROMPT_PRINT = "T:36a61784"


def test_results_of_all_earlier_skills_reach_a_later_one_in_order_within_one_session(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    write_skill(home, "count", "answer(text='three', data={'n': 3, 'deep': {'list': [1, None]}})")
    staged = "effects=[{'kind': 'file', 'target': 'a.md', 'body': 'x'}]"
    write_skill(home, "stage", f"answer(text=task['results'][-1]['text'] + '!', {staged})")
    write_skill(home, "tell", "answer(data={'seen': task['results']})")
    write_routine(home, "chain", "count", "stage", "tell", effects=["file:*"])
    run = performed(home, "chain")
    common = {"state": "completed", "why": None}
    count = {"skill": "count", "text": "three", "data": {"n": 3, "deep": {"list": [1, None]}}, "effects": []}
    stage = {"skill": "stage", "text": "three!", "data": {}, "effects": [{"kind": "file", "target": "a.md"}]}
    assert events_of(home, run, "skill.result")[-1]["data"] == {"seen": [count | common, stage | common]}
    assert [step[0] for step in steps_of(run)][2:5] == ["LLM-COUNT", "LLM-STAGE", "LLM-TELL"]
    assert len(run["sessions"]) == 1
    assert (run["conformance"], run["topology"]) == ("conformant", run["canonical"])


def test_input_and_content_reach_the_script_beside_the_names_of_the_routine(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    write_skill(home, "tell", "answer(data=task)")
    write_routine(home, "context", "tell", content="Look *closely*.")
    run = performed(home, "context", given="alert: 503 «now»")
    seen = events_of(home, run, "skill.result")[0]["data"]
    assert seen["routine"] == {"name": "context", "content": "Look *closely*.", "pipeline": ["tell"]}
    assert (seen["input"], seen["skill"], seen["results"]) == ("alert: 503 «now»", "tell", [])
    assert (seen["v"], seen["timezone"], seen["repositories"]) == (1, "Europe/Berlin", [])


@pytest.mark.promise("RUN-1")
@pytest.mark.promise("RUN-5")
def test_peer_defect_1_a_skill_that_exits_three_is_never_a_success(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    write_skill(home, "break", "print('half a result'); sys.stderr.write('no disk left\\n'); sys.exit(3)")
    ran = tmp_path / "ran"
    write_skill(home, "after", f"open({str(ran)!r}, 'w').close()")
    write_routine(home, "broken", "break", "after")
    ended = run_cli(home, "run", "broken", "--json")
    run = ended.json()
    assert ended.code == 1
    assert (run["state"], run["outcome"], run["verdict"]) == ("failed", "failure", "failed")
    assert run["why"] == "break: exit 3: no disk left"
    assert steps_of(run)[2:4] == [
        ("LLM-BREAK", "failed", "exit 3: no disk left"),
        ("LLM-AFTER", "skipped", "break did not complete"),
    ]
    assert not ran.exists()
    assert "break failed: exit 3: no disk left" in run["summary"]
    assert steps_of(run, "report") == [("LLM-EXECUTION-REPORT", "completed", None)]
    assert steps_of(run)[-1] == ("SCR-PUSH-BRANCH", "completed", None)
    assert len(events_of(home, run, "report")) == 1


@pytest.mark.promise("RUN-3")
def test_peer_defect_14_an_exit_code_that_cannot_be_read_is_a_failure(shared: Home) -> None:
    run = performed(shared, "task", given="print('all fine', flush=True); os.kill(os.getpid(), 9)")
    assert (run["state"], run["outcome"], run["verdict"]) == ("failed", "failure", "failed")
    assert events_of(shared, run, "skill.result")[0]["exit"] is None
    assert "signal 9" in run["why"]


@pytest.mark.promise("RUN-3")
def test_peer_defect_14_a_script_that_cannot_be_started_is_a_failure(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    write_skill(home, "gone", sh="exec /no/such/program")
    write_routine(home, "gone", "gone")
    run = performed(home, "gone")
    assert (run["state"], run["verdict"]) == ("failed", "failed")
    assert run["why"].startswith("gone: exit 127")


def test_a_shell_script_is_run_as_well(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    write_skill(home, "shell", sh="cat >/dev/null\necho '## From a shell'\n")
    write_routine(home, "shell", "shell")
    run = performed(home, "shell")
    assert (run["verdict"], results_in(home, run)[0]["text"]) == ("unchecked", "## From a shell\n")
    assert [step[0] for step in steps_of(run, "tool_call")] == ["scripts/run.sh"]


def test_a_skill_without_a_script_is_skipped_and_the_run_partial_with_a_gap(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    write_skill(home, "say", "print('something')")
    write_skill(home, "think", code="LLM-THINK-HARD")
    write_routine(home, "thinker", "say", "think")
    run = performed(home, "thinker")
    assert EXIT_CODES[run["verdict"]] == 4
    assert (run["state"], run["outcome"], run["verdict"]) == ("completed", "partial", "partial")
    assert steps_of(run)[3] == ("LLM-THINK-HARD", "skipped", "needs a model")
    assert [(gap["gap_type"], gap["requested_code"]) for gap in run["gaps"]] == [("step", "LLM-THINK-HARD")]
    assert "think was skipped (needs a model)" in run["summary"]


@pytest.mark.promise("RUN-7")
@pytest.mark.promise("RUN-10")
def test_a_prompt_without_a_model_ends_partial_with_the_seeds_fingerprint_and_a_gap(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    write_routine(home, "prompted", content="Fix the top bug.")
    ended = run_cli(home, "run", "prompted", "--json", "--engine", "script")
    run = ended.json()
    assert ended.code == 4
    assert (run["state"], run["outcome"], run["verdict"]) == ("completed", "partial", "partial")
    assert run["canonical_fingerprint"] == PROMPT_PRINT
    assert run["canonical"] == [
        "TSK-VALIDATE-TRIGGER",
        "SCR-CLONE-REPO",
        "LLM-EXECUTE-PROMPT",
        "SCR-PUSH-BRANCH",
    ]
    assert steps_of(run)[2] == ("LLM-EXECUTE-PROMPT", "skipped", "needs a model")
    assert [gap["requested_code"] for gap in run["gaps"]] == ["LLM-EXECUTE-PROMPT"]


@pytest.mark.promise("RUN-4")
def test_peer_defect_14_a_skill_that_was_uninstalled_fails_the_run_at_its_trigger(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    folder = write_skill(home, "fleeting", "print('here')")
    write_routine(home, "fleeting", "fleeting")
    assert performed(home, "fleeting")["verdict"] == "unchecked"
    shutil.rmtree(folder)
    run = performed(home, "fleeting")
    assert (run["state"], run["outcome"], run["verdict"]) == ("failed", "failure", "failed")
    assert [block["state"] for block in run["blocks"]] == ["failed", "skipped", "skipped", "skipped"]
    assert "fleeting" in run["why"]
    assert "not installed" in run["why"]
    assert [(gap["gap_type"], gap["requested_code"]) for gap in run["gaps"]] == [("skill", "LLM-FLEETING")]
    assert run["summary"] == run["why"]


def test_a_missing_connector_fails_the_run_at_its_trigger_with_a_gap(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    write_skill(home, "say", "print('x')")
    write_routine(home, "linear-triage", "say", connectors=["linear"])
    run = performed(home, "linear-triage")
    assert (run["state"], run["verdict"]) == ("failed", "failed")
    assert [block["state"] for block in run["blocks"]] == ["failed", "skipped", "skipped", "skipped"]
    assert [(gap["gap_type"], gap["requested_code"]) for gap in run["gaps"]] == [
        ("connector", "TSK-CONNECT-LINEAR")
    ]
    assert run["why"] == "The connector linear is not available on this minion."
    assert run["topology"] == ["TSK-VALIDATE-TRIGGER"]


@pytest.mark.promise("DOC-1")
@pytest.mark.promise("CLI-2")
def test_the_seeds_json_routine_runs_as_printed(tmp_path: Path) -> None:
    shop = Repository(tmp_path)
    shop.write("README.md", "shop\n")
    shop.commit("Begin")
    home = Home(tmp_path / "home")
    made = run_cli(home, "init", "--json", cwd=shop.folder).json()
    printed = {
        "name": "morning-report",
        "pipeline": ["write-daily-report", "send-to-slack"],
        "content": "Write a daily report and post it to the team Slack channel",
        "cron_expression": "0 9 * * 1-5",
        "minion_id": made["minion_id"],
    }
    file = tmp_path / "seed.json"
    file.write_text(json.dumps(printed))
    added = run_cli(home, "routine", "add", file, "--replace", "--json", cwd=shop.folder)
    assert (added.code, [item["url"] for item in added.json()["repositories"]]) == (0, [str(shop.folder)])
    ended = run_cli(home, "run", "morning-report", "--json")
    run = ended.json()
    assert (ended.code, run["verdict"], run["delivery"]) == (0, "unchecked", "accepted")
    assert [step[:2] for step in steps_of(run)][2:4] == [
        ("LLM-WRITE-DAILY-REPORT", "completed"),
        ("LLM-SEND-TO-SLACK", "completed"),
    ]
    assert run["conformance"] == "conformant"


@pytest.mark.promise("CLI-2")
def test_peer_defect_11_the_summary_is_never_raw_output(shared: Home) -> None:
    noise = "print('\\x1b[31mTRACE 0001 raw raw raw\\x1b[0m\\n' * 400); sys.stderr.write('ERR ' * 5000)"
    run = performed(shared, "task", given=noise)
    assert "\x1b" not in run["summary"] + run["details"]
    assert "\n" not in run["summary"]
    assert (run["summary"].count("TRACE"), "ERR" in run["summary"]) == (1, False)
    assert len(run["summary"]) <= 300


@pytest.mark.promise("CLI-1")
def test_peer_defect_10_starting_a_run_gives_its_id(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    write_skill(home, "say", "print('hello')")
    write_routine(home, "hello", "say")
    ended = run_cli(home, "run", "hello")
    run_id = ended.err.split("run ")[1].split()[0]
    assert run_id.startswith("run_")
    assert run_id in ended.out
    assert run_cli(home, "show", run_id, "--json").json()["id"] == run_id


# A skill that runs without a sandbox can replace what reports on it: the one real way to a bad report.
MEDDLER = """
report = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../execution-report/scripts/run.py")
with open(report, "w") as file:
    file.write(task["input"])
print("meddled")
"""


@pytest.fixture(scope="module")
def meddled(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home whose routine `meddled` reports by the script in its input, and whose second skill then fails."""
    home = make_home(tmp_path_factory.mktemp("meddled"))
    write_skill(home, "meddle", MEDDLER)
    write_skill(home, "fail", "sys.exit(1)")
    write_routine(home, "meddled", "meddle")
    write_routine(home, "meddled-failing", "meddle", "fail")
    return home


@pytest.mark.promise("RUN-6")
def test_an_invalid_report_gets_one_reminder_and_then_the_outcome_is_unknown(
    meddled: Home, tmp_path: Path
) -> None:
    asked = tmp_path / "asked"
    keep = f"open({str(asked)!r}, 'a').write(json.dumps(task.get('reminder')) + chr(10))"
    bad = TASK + keep + "\nanswer(outcome='splendid', summary='All went well')"
    run = performed(meddled, "meddled", given=bad)
    reminder = "The report's outcome must be success, partial, failure or unknown."
    assert [json.loads(line) for line in asked.read_text().splitlines()] == [None, reminder]
    assert (run["state"], run["outcome"], run["verdict"]) == ("completed", "unknown", "unknown")
    assert steps_of(run, "report") == [("LLM-EXECUTION-REPORT", "failed", reminder)]
    assert len(events_of(meddled, run, "report")) == 1


@pytest.mark.promise("RUN-6")
def test_a_report_that_is_mended_after_the_reminder_is_taken(meddled: Home) -> None:
    mended = TASK + "answer(**({'outcome': 'success', 'summary': 'Mended'} if 'reminder' in task else {}))"
    run = performed(meddled, "meddled", given=mended)
    assert (run["outcome"], run["summary"], run["verdict"]) == ("success", "Mended", "unchecked")
    assert len(events_of(meddled, run, "report")) == 1


@pytest.mark.promise("RUN-1")
def test_a_report_that_claims_success_over_a_failed_skill_is_lowered_and_says_so(meddled: Home) -> None:
    claim = TASK + "answer(outcome='success', summary='Great', details='')"
    run = performed(meddled, "meddled-failing", given=claim)
    assert (run["state"], run["outcome"], run["verdict"]) == ("failed", "failure", "failed")
    assert events_of(meddled, run, "report")[0]["note"] == "the session claimed success; fail failed"


@pytest.mark.promise("CLI-3")
def test_an_engine_that_is_not_installed_is_refused_before_anything_is_recorded(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    write_skill(home, "say", "print('x')")
    write_routine(home, "say", "say")
    for engine, says, hint in (
        ("claude-code", "The engine claude-code is not in this version.", "hint: choose script or messages"),
        ("messages", "The engine messages lacks the secret anthropic_api_key.", " secret set anthropic_api_key\n"),
    ):
        ended = run_cli(home, "run", "say", "--engine", engine)
        assert (ended.code, ended.out) == (3, "")
        assert (says in ended.err, hint in ended.err) == (True, True)
    assert run_cli(home, "runs", "--json").json() == []
    assert os.listdir(home.runs) == []  # noqa: PTH208 - names are enough
