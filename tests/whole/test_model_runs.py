"""Runs with a model, whole: the seed's morning report, a prompt, what is counted and kept of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from minion.store.local_db import read_only
from minion.store.run_history import breaches
from tests.conformance.engine_kit import KEY, reach, reports
from tests.messages_api import Fault, Said, Turn, scripted, text, use
from tests.skills.repositories import Repository
from tests.whole.homes import (
    events_of,
    make_home,
    performed,
    results_in,
    run_cli,
    run_of,
    steps_of,
    write_routine,
    write_skill,
)
from tests.whole.webhooks import webhook

pytestmark = pytest.mark.heavy

SCRIPT = "/skills/write-daily-report/scripts/run.py"


def reporter(asked: dict[str, Any]) -> Said:
    """A model that does what the two skills of the morning report say, by their scripts."""
    said = [block for message in asked["messages"] for block in message["content"]]
    outputs = [block["content"] for block in said if block["type"] == "tool_result"]
    told = " ".join(block.get("text", "") for block in said)
    if "# Execution report" in told:
        return [reports("success", "Reported 1 commit; staged 1 message for slack.")]
    if "Skill 2 of 2" not in told:
        if not outputs:
            return [use("bash", command=f"python3 -I {SCRIPT} < /scratch/task.json")]
        return [text(json.loads(outputs[-1])["text"])]
    if outputs[-1].startswith("Staged: "):
        return [text("Staged 1 message for slack.")]
    if "effects" not in outputs[-1]:
        return [use("bash", command="python3 -I /skills/send-to-slack/scripts/run.py < /scratch/task.json")]
    (effect,) = json.loads(outputs[-1])["effects"]
    return [use("stage_effect", **{name: effect[name] for name in ("kind", "target", "body")})]


@pytest.mark.promise("MOD-1")
def test_the_morning_report_is_written_and_sent_by_a_model_in_one_session(tmp_path: Path) -> None:
    home, shop = make_home(tmp_path), Repository(tmp_path)
    shop.write("roof.txt", "leaks\n")
    shop.commit("Find the leak")
    pipeline = ("write-daily-report", "send-to-slack")
    with webhook() as hook, scripted(model=reporter) as api:
        reach(home, api, slack_webhook=hook.url("/ok"))
        write_routine(
            home, "morning-report", *pipeline, engine="messages", repositories=[str(shop.folder)],
            sandbox="required", effects=None, expect=[{"delivered": "slack"}],
        )  # fmt: skip
        run = performed(home, "morning-report")
        assert run["state"] == "completed", (run["why"], api.results(failed=True))
        (sent,) = hook.texts("/ok")
    assert (run["state"], run["outcome"], run["verdict"], run["sandbox"]) == (
        "completed", "success", "ok", "bubblewrap",
    ), (run["why"], results_in(home, run))  # fmt: skip
    assert sent.startswith("*shop: 1 commit by Ada Lovelace*")
    assert run["topology"] == run["canonical"]
    assert len(run["sessions"]) == 1
    called = [code for code, _, _ in steps_of(run, "tool_call")]
    assert called == ["bash", "bash", "stage_effect", "report_execution"]
    assert {code for code, _, _ in steps_of(run, "llm_response")} == {"claude-sonnet-5-5"}
    usage = run["usage"]
    assert usage["models"] == ["claude-sonnet-5-5"]
    assert usage["turns"] == len(api.asked) == len(events_of(home, run, "usage")) - 1
    told = [event.get("dollars", 0) for event in events_of(home, run, "usage")]
    assert usage["dollars"] == pytest.approx(sum(told))
    assert usage["cache_read_tokens"] > usage["input_tokens"]
    by_skill = [event["cost"]["dollars"] for event in events_of(home, run, "skill.result")]
    assert 0 < sum(by_skill) < usage["dollars"]
    with read_only(home.store) as db:
        assert breaches(db) == []
    kept = [path for path in home.root.rglob("*") if path.is_file() and path != home.secrets_file]
    assert not any(KEY.encode() in path.read_bytes() for path in kept)


@pytest.mark.promise("MOD-1")
def test_a_prompt_is_performed_and_shown_with_what_it_cost(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    counts = [use("bash", command="echo 3 > stones; cat stones")]
    with scripted(counts, [text("There are 3 stones.")], [reports("success")]) as api:
        reach(home, api)
        write_routine(home, "stones", content="Count the stones.", engine="messages", sandbox="required")
        ended = run_cli(home, "run", "stones", "--json", "--model", "claude-haiku-4-5")
    assert ended.code == 0, ended.err
    run = ended.json()
    assert (run["verdict"], run["fingerprint"]) == ("unchecked", "T:36a61784")
    assert [asked["model"] for asked in api.asked] == ["claude-haiku-4-5"] * 3
    assert "Count the stones." in api.read()
    assert run["usage"]["models"] == ["claude-haiku-4-5"]
    assert results_in(home, run)[0]["text"] == "There are 3 stones."
    shown = run_cli(home, "show", "stones@last", "-v").out
    assert "claude-haiku-4-5" in shown


@pytest.mark.promise("MOD-1")
def test_a_step_that_the_session_adds_is_seen_in_the_fingerprint(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    added = [use("report_step", code="LLM-VERIFY-OUTPUT", summary="Counted again.")]
    with scripted(added, [text("Three.")], [reports("success")]) as api:
        reach(home, api)
        write_routine(home, "stones", content="Count the stones.", engine="messages")
        run = performed(home, "stones")
    assert (run["fingerprint"], run["conformance"]) == ("T:f87a829f", "drift")


@pytest.mark.promise("MOD-2")
def test_a_key_that_is_not_accepted_interrupts_the_run_and_a_person_resumes_it(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    for name in ("one", "two"):
        write_skill(home, name)
    refused = Fault(401, "authentication_error", "invalid x-api-key")
    turns = [[text("The first.")], [text("The second.")], [reports("success")]]
    with scripted(*turns, faults=[None, refused]) as api:
        reach(home, api)
        write_routine(home, "work", "one", "two", engine="messages")
        run = performed(home, "work")
        assert (run["state"], run["verdict"]) == ("interrupted", "unknown")
        assert "does not accept the key (401)" in run["why"]
        assert f"minion resume {run['id']}" in run["hint"]
        assert [block["state"] for block in run["blocks"]] == ["completed", "completed", "interrupted"]
        ended = run_cli(home, "resume", run["id"], "--json")
    assert ended.code == 0, ended.err
    again = run_of(home, run["id"])
    assert (again["state"], again["outcome"]) == ("completed", "success")
    assert [one["text"] for one in results_in(home, again)] == ["The first.", "The second."]
    assert [code for code, state, _ in steps_of(again) if state == "completed"].count("LLM-ONE") == 1
    assert again["topology"] == again["canonical"]
    # The second session read what the first had said.
    assert [len(asked["messages"]) for asked in api.asked] == [1, 3, 5]


@pytest.mark.promise("MOD-2")
def test_a_session_that_makes_no_report_is_reminded_once_and_its_outcome_is_unknown(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    with scripted([text("Done.")]) as api:
        reach(home, api)
        write_routine(home, "work", content="Do it.", engine="messages")
        run = performed(home, "work")
    assert (run["state"], run["outcome"], run["verdict"]) == ("completed", "unknown", "unknown")
    assert len(api.asked) == 3
    assert [(code, state) for code, state, _ in steps_of(run, "report")] == [("LLM-EXECUTION-REPORT", "failed")]


@pytest.mark.promise("BUD-2")
def test_what_all_runs_may_cost_in_a_day_stops_a_run_before_its_next_call_and_the_next_before_it_begins(
    tmp_path: Path,
) -> None:
    home = make_home(tmp_path)
    dear = Turn([use("glob", pattern="*")], usage={"output_tokens": 2000})
    with scripted(*[dear] * 30) as api:
        reach(home, api)
        said = json.loads(home.config_file.read_text())
        home.config_file.write_text(json.dumps({**said, "dollars_per_day": 0.05}))
        write_routine(home, "work", content="Look.", engine="messages")
        run = performed(home, "work")
        assert (run["state"], run["verdict"]) == ("failed", "failed")
        assert "$0.05 for today are used up" in run["why"]
        assert "dollars_per_day" in run["hint"]
        spent, last = run["usage"]["dollars"], events_of(home, run, "usage")[-2]["dollars"]
        assert spent - last < 0.05 <= spent
        calls = len(api.asked)
        ended = run_cli(home, "run", "work")
        assert (ended.code, len(api.asked)) == (3, calls)
        assert "are used up" in ended.err


@pytest.mark.promise("MOD-4")
def test_a_question_of_a_session_waits_in_the_inbox_and_the_next_run_is_told_the_answer(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    asks = [use("ask_decision", question="May I delete the old branch?")]
    with scripted(asks, [text("Asked.")], [reports("partial")]) as api:
        reach(home, api)
        write_routine(home, "work", content="Clean up.", engine="messages")
        run = performed(home, "work")
        assert run["state"] == "completed"
        performed(home, "work")  # asks the same, which waits already
        (waiting,) = json.loads(run_cli(home, "decisions", "--json").out)
        assert (waiting["kind"], waiting["question"]) == ("question", "May I delete the old branch?")
        assert run_cli(home, "decide", waiting["id"], "approve").code == 0
        performed(home, "work")
    assert "'May I delete the old branch?': approve" in api.read()


@pytest.mark.promise("NET-1")
def test_a_host_that_is_not_open_is_said_to_the_model_and_is_in_the_log_and_a_gap(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    opens = "import urllib.request as r; r.urlopen('https://example.com/')"
    reaches = [use("bash", command=f'python3 -c "{opens}" || true')]
    with scripted(reaches, [text("It is closed.")], [reports("partial")]) as api:
        reach(home, api)
        environment = {"network": ["*.example.org"]}
        write_routine(
            home, "work", content="Look.", engine="messages", sandbox="required", environment=environment
        )
        run = performed(home, "work")
    assert "host_not_allowed: example.com:443" in api.results()[0]
    assert [gap["requested_code"] for gap in run["gaps"]] == ["TSK-REACH-EXAMPLE-COM"]
    logged = [event["text"] for event in events_of(home, run, "log")]
    assert any(line.startswith("host_not_allowed: example.com:443") for line in logged)
