"""A run as its events tell it: steps with their beginnings and ends, and every event in words."""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from minion.tui.event_words import MOST, as_text, told
from minion.tui.run_files import SHOWN_BYTES, beginning_of, files_in
from minion.tui.run_order import Ordered, order_in
from minion.tui.run_story import Story, within
from minion.wire import EVENT_TYPES, Event
from tests.minion.stored_runs import CODES, NOW, Teller
from tests.tui.run_stories import odd, second_skill_failed, strayed


def events_of(teller: Teller) -> list[dict[str, Any]]:
    """What a teller told, as the store's reader hands it on."""
    return [_read(event) for event in teller.events]


def _read(event: Event) -> dict[str, Any]:
    return {name: getattr(event, name) for name in ("seq", "at", "type", "block", "data")}


def at(seconds: int) -> datetime:
    """So long after the fixed time."""
    return datetime.fromisoformat(NOW) + timedelta(seconds=seconds)


def test_a_step_is_there_from_its_beginning_and_again_with_its_end() -> None:
    story, teller = Story(), Teller().beginning().begin_step("LLM-EXECUTE-PROMPT")
    story.take(events_of(teller))
    before = story.steps(None)
    assert [step.state for step in before] == ["completed", "completed", "running"]
    assert before[-1].ended is None and before[-1].began is not None
    told_so_far = len(story.moments)
    teller.tell("log", level="info", text="a word")
    teller.end_step("LLM-EXECUTE-PROMPT")
    story.take(events_of(teller)[told_so_far:])
    step = story.steps(None)[-1]
    assert (step.state, step.code, step.number) == ("completed", "LLM-EXECUTE-PROMPT", 3)
    assert [moment.type for moment in within(step, story.moments)] == ["log"]
    assert [moment.step for moment in story.moments[-3:]] == [3, 3, 3]


def test_what_the_daemon_says_meanwhile_belongs_to_no_step() -> None:
    story = Story()
    story.take(events_of(Teller().beginning().begin_step("LLM-EXECUTE-PROMPT")))
    claimed = {"seq": None, "at": NOW, "type": "report.claimed", "block": None, "data": {"outcome": "success"}}
    story.take([claimed])
    assert story.moments[-1].step is None


def test_a_call_lies_inside_the_step_that_made_it_and_what_is_said_belongs_to_the_innermost() -> None:
    story = Story()
    story.take(events_of(second_skill_failed(Teller())))
    steps = {step.number: step for step in story.steps(None)}
    calls = [step for step in steps.values() if step.kind == "tool_call"]
    assert [steps[step.inside or 0].code for step in calls] == ["LLM-WRITE-DAILY-REPORT", "LLM-SEND-TO-SLACK"]
    assert all(step.inside is None for step in steps.values() if step.kind == "step")
    results = [moment for moment in story.moments if moment.type == "skill.result"]
    assert [steps[moment.step or 0].code for moment in results] == ["LLM-WRITE-DAILY-REPORT", "LLM-SEND-TO-SLACK"]


def test_a_step_without_an_end_is_interrupted_once_its_run_is_over_or_was_broken_off() -> None:
    story, teller = Story(), Teller().beginning().begin_step("LLM-EXECUTE-PROMPT")
    story.take(events_of(teller))
    over = story.steps(at(60))[-1]
    assert (over.state, over.ended, over.why) == ("interrupted", at(60), "the run ended before it")
    story.take([{"seq": None, "at": NOW, "type": "run.moved", "block": None,
                 "data": {"from": "running", "to": "interrupted", "why": None}}])  # fmt: skip
    story.take([{"seq": 99, "at": NOW, "type": "log", "block": CODES[2], "data": {"level": "info", "text": "on"}}])
    assert story.steps(None)[-1].state == "interrupted"
    assert story.moments[-1].step is None  # the run goes on, that step does not


def test_a_step_that_was_skipped_has_no_beginning() -> None:
    story = Story()
    story.take(events_of(Teller().enter(CODES[2]).skip_step("LLM-EXECUTE-PROMPT")))
    (step,) = story.steps(None)
    assert (step.state, step.began, step.why) == ("skipped", None, "an earlier one failed")
    assert within(step, story.moments) == []


def test_every_type_of_event_is_told_in_words_of_its_own() -> None:
    story = Story()
    story.take(events_of(second_skill_failed(Teller())) + events_of(strayed(Teller(2))))
    words = {moment.type: moment.told.words for moment in story.moments}
    assert all(told(type_, {}, {}, None).words != type_ for type_ in EVENT_TYPES)
    assert words["effect.intent"] == "push:shop:claude/review is performed now"
    assert words["effect.result"] == "push:shop:claude/review → shop claude/review (read back)"
    assert words["report"] == "report: success, filed by the session"
    result = {"skill": "a", "exit": 0, "truncated": 1200, "duration_ms": 40}
    assert told("skill.result", result, {}, None).words == "result of a, exit 0, 40 ms, 1,200 bytes cut off"
    assert told("effect.again", {"by": "alice"}, {}, None).words == "effect is performed again, asked for by alice"


def test_an_event_that_nobody_knows_is_shown_by_its_name_and_what_it_holds() -> None:
    said = told("brought.forth", {"what": [1], "why": "later"}, {}, None)
    assert (said.words, said.mark) == ("brought.forth", None)
    assert '"why": "later"' in said.text
    story = Story()
    story.take(events_of(odd(Teller())))
    assert [step.state for step in story.steps(None)][-1] == "odd"
    step = {"code": "Bash", "kind": "llm_response", "state": "completed", "cost": {"tokens": 1200}}
    assert told("step.finished", step, {}, None).words == "Bash (answer of the model), 1,200 tokens"


def test_what_a_model_used_and_what_it_asked_are_told_in_words() -> None:
    used = {"model": "m", "turns": 1, "tokens": 1200, "dollars": 0.004, "input_tokens": 200, "output_tokens": 1000}
    said = told("usage", used, {}, None)
    assert said.words == "used of m: 1 turn, 1,200 tokens, $0.0040"
    assert said.text == "tokens: 200 input, 1,000 output"
    cut = told("usage", {"model": "m", "turns": 0, "tokens": "odd"}, {}, None)
    assert cut.words == "used of m: nothing, broken off"
    asked = told("decision", {"id": "dec_1", "question": "May it?"}, {}, None)
    assert (asked.words, asked.mark) == ("asked people: May it?", "held")


def test_a_text_is_bounded_and_one_kept_in_a_file_is_named() -> None:
    assert as_text("x" * (MOST + 7)).endswith("\n… 7 more characters")
    whole = {"file": "bodies/1.txt", "bytes": 64_000_000, "start": "it begins"}
    assert as_text(whole) == "it begins\n… 64,000,000 bytes, whole in bodies/1.txt"
    assert (as_text(None), as_text({}), as_text(7)) == ("", "", "7")


ODD = '{"blocks": 7, "skills": [1], "limits": {"turns": "x"}, "routine": []}'


@pytest.mark.parametrize("said", ["", "[", "[]", ODD])
def test_an_order_that_is_none_counts_as_not_there(tmp_path: Path, said: str) -> None:
    (tmp_path / "order.json").write_text(said)
    assert order_in(tmp_path) == Ordered() == order_in(tmp_path / "nowhere")


def test_the_files_of_a_folder_are_bounded_in_number_and_depth(tmp_path: Path) -> None:
    for number in range(80):
        (tmp_path / f"{number:02d}").write_text("a")
    deep = tmp_path / "a" / "b" / "c" / "d"
    deep.mkdir(parents=True)
    (deep / "too-deep").write_text("a")
    found = files_in(tmp_path)
    assert len(found) == 61 and found[-1].what == "… 21 more"
    assert [(file.path, file.what) for file in files_in(tmp_path / "a")] == [("b/c/d/too-deep", "")]
    (deep / "e" / "f").mkdir(parents=True)
    assert files_in(tmp_path / "a" / "b")[-1].path == "c/d/e/f/"
    for number in range(500):
        (deep / f"{number:03d}").touch()
    assert files_in(deep)[-1].what == "… many more"
    assert files_in(tmp_path / "nowhere") == ()


@pytest.mark.parametrize(
    "path", ["link", "linked/inside", "../outside", "pipe", "folder", "nowhere", "folder/../../outside"]
)
def test_no_file_is_read_that_lies_outside_or_is_none(tmp_path: Path, path: str) -> None:
    (tmp_path / "outside").write_text("another's")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "inside").write_text("another's")
    root = tmp_path / "run"
    (root / "folder").mkdir(parents=True)
    (root / "link").symlink_to(tmp_path / "outside")
    (root / "linked").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(root / "pipe")
    with pytest.raises(OSError):
        beginning_of(root, path)


def test_a_file_is_read_from_its_beginning_only(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(b"\xff" + b"a" * SHOWN_BYTES)
    begins = beginning_of(tmp_path, "big")
    assert begins.text is not None and len(begins.text) == SHOWN_BYTES and begins.size == SHOWN_BYTES + 1
