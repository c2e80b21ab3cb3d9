"""execution-report claims the outcome that results, checks and gaps bear out, in plain words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.skills.repositories import BOB, Repository, report_on
from tests.skills.tasks import completed, run_skill

STAGED = [{"kind": "message", "target": "slack"}]
SKIPPED = {
    "skill": "send-to-slack",
    "state": "skipped",
    "text": "",
    "why": "write-daily-report did not complete",
}
FAILED = {
    "skill": "write-daily-report",
    "state": "failed",
    "text": "",
    "why": "exit 1: git is not installed here.",
}


def claimed(*results: dict[str, Any], **fields: Any) -> dict[str, Any]:
    ended = run_skill("execution-report", results=list(results), **fields)
    assert ended.exit == 0, ended.log
    claim = ended.result
    assert set(claim) == {"outcome", "summary", "details"}
    assert 0 < len(claim["summary"]) <= 300
    assert "\n" not in claim["summary"]
    return claim


def test_a_run_in_which_everything_completed_is_a_success_told_with_its_numbers(tmp_path: Path) -> None:
    shop = Repository(tmp_path)
    shop.commit("One")
    shop.commit("Two", who=BOB)
    report = report_on(shop).result
    sent = run_skill("send-to-slack", results=[completed(report["text"])]).result
    claim = claimed(
        completed(report["text"], data=report["data"]),
        completed(sent["text"], skill="send-to-slack", data=sent["data"], effects=STAGED),
    )
    assert claim == {
        "outcome": "success",
        "summary": "Reported 2 commits by 2 authors in shop; staged 1 message for slack.",
        "details": (
            "- **write-daily-report**: completed: reported 2 commits by 2 authors in shop\n"
            "- **send-to-slack**: completed: staged 1 message for slack"
        ),
    }


def test_a_skill_that_says_nothing_in_data_is_quoted_with_the_first_line_of_its_text() -> None:
    claim = claimed(completed("\n## Fixed **3** of `5` bugs.\n\nmore", skill="fix-bugs"))
    assert claim["summary"] == "Fixed 3 of 5 bugs."


def test_a_failed_skill_is_a_failure_and_its_reason_comes_first() -> None:
    claim = claimed(completed("Checked 4 links", skill="check"), FAILED, SKIPPED)
    assert claim["outcome"] == "failure"
    assert claim["summary"] == (
        "write-daily-report failed: exit 1: git is not installed here; Checked 4 links; "
        "send-to-slack was skipped (write-daily-report did not complete)."
    )
    assert "- **write-daily-report**: failed: exit 1: git is not installed here." in claim["details"]


@pytest.mark.parametrize(
    ("state", "outcome"),
    [
        ("completed", "success"),
        ("skipped", "partial"),
        ("cancelled", "failure"),
        ("failed", "failure"),
        ("odd", "unknown"),
    ],
)
def test_the_outcome_follows_the_worst_state(state: str, outcome: str) -> None:
    assert claimed(completed("Done", skill="a"), {"skill": "b", "state": state})["outcome"] == outcome


def test_a_failed_check_leaves_a_partial_success_and_is_shown() -> None:
    checks = [
        {"kind": "contains", "expected": "commits", "state": "passed", "detail": "found"},
        {"kind": "file", "expected": "docs/*.md", "state": "failed", "detail": "not found"},
    ]
    claim = claimed(completed("Done"), run={"id": "run_1", "gaps": [], "checks": checks})
    assert claim["outcome"] == "partial"
    assert claim["summary"] == "Done; 1 check failed (file docs/*.md)."
    assert "- contains commits: passed (found)\n- file docs/*.md: failed (not found)" in claim["details"]


def test_a_gap_leaves_a_partial_success_and_is_shown() -> None:
    gaps = [{"gap_type": "step", "requested_code": "LLM-X", "description": "No script."}, "a connector"]
    claim = claimed(completed("Done"), run={"gaps": gaps})
    assert claim["outcome"] == "partial"
    assert claim["summary"] == "Done; 2 missing capabilities recorded."
    assert claim["details"].endswith("**Gaps**\n- step LLM-X: No script.\n- a connector")


def test_a_prompt_that_had_no_model_is_partial_and_says_why() -> None:
    nothing = claimed(routine={"name": "r", "content": "Do it", "pipeline": []})
    assert nothing["outcome"] == "partial"
    assert nothing["summary"] == (
        "Nothing was executed: the routine is a prompt without skills, and that needs a model."
    )
    skipped = claimed({"skill": "prompt", "state": "skipped", "text": "", "why": "needs a model"})
    assert (skipped["outcome"], skipped["summary"]) == ("partial", "The prompt was skipped (needs a model).")


def test_a_pipeline_of_which_nothing_ran_is_a_failure() -> None:
    claim = claimed(routine={"name": "r", "pipeline": ["write-daily-report", "send-to-slack"]})
    assert claim["outcome"] == "failure"
    assert claim["summary"] == "None of the pipeline's 2 skills ran."
    assert claim["details"] == "- **write-daily-report**: not run\n- **send-to-slack**: not run"


def test_a_reminder_is_answered_with_the_same_report() -> None:
    assert claimed(completed("Done"), reminder="The report needs a summary.") == claimed(completed("Done"))


def test_long_and_hostile_texts_stay_one_short_line_without_control_characters() -> None:
    text = "\x1b[31mPay\x1b[0m\u202e now " + "very " * 1_000
    claim = claimed(
        completed(text, skill="a"),
        completed(text, skill="b"),
        {"skill": "c", "state": "failed", "why": "why\n" * 500},
    )
    assert len(claim["summary"]) == 300 and claim["summary"].endswith("…")
    assert not any(ord(char) < 32 or char == "\u202e" for char in claim["summary"])
    assert "\x1b" not in claim["details"] and len(claim["details"].splitlines()) == 3


def test_results_of_odd_shapes_are_reported_as_far_as_they_can_be_read() -> None:
    odd = {"skill": None, "state": 7, "text": ["x"], "data": [], "effects": {"kind": 1}, "why": 3}
    claim = claimed(
        odd, completed("Done", effects=[{"kind": "pull_request"}, None]), run={"gaps": {}, "checks": [3, {}]}
    )
    assert claim["outcome"] == "unknown"
    assert "- **a skill without a name**: in an unknown state" in claim["details"]


def test_its_own_result_is_not_reported_upon() -> None:
    assert (
        claimed(completed("Done"), {"skill": "execution-report", "state": "failed"})["outcome"] == "success"
    )
