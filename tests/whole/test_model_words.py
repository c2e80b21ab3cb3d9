"""What a run with a model did, used and asked: in its log, its summary, the inbox, and how answers come back."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.engine_kit import reach
from tests.messages_api import Fault, Turn, scripted, text, use
from tests.whole.homes import make_home, performed, run_cli, write_routine

pytestmark = pytest.mark.heavy
QUESTION = "May the old branch be deleted?"
USED = {
    "input_tokens": 10, "output_tokens": 1_000, "cache_creation_input_tokens": 2_000,
    "cache_read_input_tokens": 500,
}  # fmt: skip


@pytest.mark.promise("MOD-5")
def test_what_a_model_did_used_and_asked_is_shown_and_its_next_run_is_told_the_answer(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    turns = (
        Turn([text("I look."), use("bash", command="echo \x1b[31mseen"), use("glob", pattern="*")], usage=USED),
        Turn([use("ask_decision", question=QUESTION)], usage=USED),
        Turn([text("All was seen.")], usage=USED),
        Turn([use("report_execution", outcome="success", summary="Seen.")], usage=USED),
    )
    with scripted(*turns) as api:
        reach(home, api)
        write_routine(home, "asks", engine="messages", content="Look.")
        run = performed(home, "asks")
        assert run["state"] == "completed", run
        cost = f"${run['usage']['dollars']:.2f}"
        logs = run_cli(home, "logs", "last").out
        assert logs.count("claude-sonnet-5-5 (answer of the model), 3,510 tokens, $0.02") == 4
        assert "bash (tool call)" in logs
        assert "asked people" in logs
        assert f"│ {QUESTION}" in logs
        assert "used of" not in logs
        whole = run_cli(home, "logs", "last", "-v").out
        assert "used of claude-sonnet-5-5: 1 turn, 3,510 tokens, $0.02" in whole
        assert "tokens: 10 input, 1,000 output, 500 cache read, 2,000 cache write" in whole
        assert "\x1b" not in logs + whole
        shown = run_cli(home, "show", "last").out
        assert "└ 3 answers of the model, 3 tool calls, 1 decision" in shown
        assert f"used       4 turns, 14,040 tokens, {cost} of claude-sonnet-5-5" in shown
        (asked,) = run["questions"]
        assert f"asked      {QUESTION}  (waits for an answer: {asked['decision']})" in shown
        assert "bash (tool call)" not in shown
        assert "bash (tool call)" in run_cli(home, "show", "last", "-v").out
        inbox = run_cli(home, "inbox").out
        assert ("question, asks, since" in inbox, QUESTION in inbox) == (True, True)
        (item,) = run_cli(home, "decisions", "--json").json()
        assert (item["kind"], item["question"], item["subject"]) == ("question", QUESTION, {"run": run["id"]})
        assert f"show {run['id']}    (the run that asked)" in run_cli(home, "decisions").out
        said = run_cli(home, "decide", item["id"], "reject").out
        assert said == f"Rejected, asks: its next run is told no ({item['id']}).\n"
        assert f"asked      {QUESTION}  (rejected)" in run_cli(home, "show", run["id"]).out
        again = run_cli(home, "run", "asks").out
        assert f"{QUESTION!r}: reject." in api.read()
        assert f"asked      {QUESTION}  (waits for an answer: dec_" in again
        assert " inbox\n" in again


@pytest.mark.promise("MOD-5")
def test_a_run_that_the_api_stopped_says_so_and_how_to_go_on(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    with scripted(faults=[Fault(401, "authentication_error", "no")]) as api:
        reach(home, api)
        write_routine(home, "asks", engine="messages", content="Look.")
        run = performed(home, "asks")
    logs = run_cli(home, "logs", "last").out
    assert "the runner ended: interrupted: The API does not accept the key (401)." in logs
    assert f"│ hint: minion secret set anthropic_api_key, then minion resume {run['id']}" in logs
