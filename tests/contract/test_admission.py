"""Admission turns every finding on a document into one refusal in plain words."""

from __future__ import annotations

import pytest

from server.contract.documents import DocumentPart, WireMessage, accepts, admit
from server.contract.refusals import BadDocument
from server.contract.routine import Routine

SEED = {"name": "morning-report", "content": "Write a daily report"}


def refusal_of(data: object, source: str = "r.yaml") -> BadDocument:
    with pytest.raises(BadDocument) as caught:
        admit(Routine, data, source=source)
    assert caught.value.sentence.endswith(".")
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize(
    ("data", "sentence", "hint"),
    [
        ({"content": "x"}, "r.yaml: `name` is missing.", "add `name`"),
        (SEED | {"pipelin": []}, "r.yaml: `pipelin` is not a known key.", "did you mean `pipeline`?"),
        (
            SEED | {"limits": {"turn": 3}},
            "r.yaml: `limits.turn` is not a known key.",
            "did you mean `turns`?",
        ),
        (SEED | {"pipeline": "x"}, "r.yaml: `pipeline` must be a list, not the text 'x'.", '["x"]'),
        (
            SEED | {"cron_expression": 5},
            "r.yaml: `cron_expression` must be text, not the number 5.",
            "quotes",
        ),
        (
            SEED | {"paused": "true"},
            "r.yaml: `paused` must be true or false, not the text 'true'.",
            "quotes out",
        ),
        (
            SEED | {"limits": {"wall_clock_s": "abc"}},
            "r.yaml: `limits.wall_clock_s` must be a number, not the text 'abc'.",
            "write a number, such as 60",
        ),
        (SEED | {"limits": {"wall_clock_s": "60"}}, "must be a number, not the text '60'.", "quotes out"),
        (SEED | {"limits": {"turns": "many"}}, "not the text 'many'.", "write a whole number, such as 60"),
        (SEED | {"limits": {"turns": "9" * 40}}, "must be a whole number, not a text.", "write a whole number"),
        (SEED | {"paused": "maybe"}, "must be true or false, not the text 'maybe'.", "write true or false"),
        (SEED | {"paused": 1}, "r.yaml: `paused` must be true or false, not the number 1.", "true or false"),
        (SEED | {"paused": None}, "r.yaml: `paused` must be true or false, not null.", "leave the key out"),
        (
            SEED | {"limits": {"turns": True}},
            "r.yaml: `limits.turns` must be a whole number, not true.",
            "whole",
        ),
        (
            SEED | {"limits": {"turns": 2.5}},
            "`limits.turns` must be a whole number, not the number 2.5.",
            "whole",
        ),
        (
            SEED | {"limits": {"turns": 0}},
            "r.yaml: `limits.turns` must be at least 1, not 0.",
            "write a number that is at least 1",
        ),
        (
            SEED | {"limits": 5},
            "r.yaml: `limits` must be a mapping of keys to values, not the number 5.",
            "mapping",
        ),
        (
            SEED | {"engine": "scrpt"},
            "must be 'script', 'messages', 'claude-code' or 'auto'",
            "did you mean 'script'?",
        ),
        (
            SEED | {"content": "x" * 65_537},
            "r.yaml: `content` must have at most 65536 characters.",
            "shorten",
        ),
        (SEED | {"pipeline": ["a"] * 51}, "r.yaml: `pipeline` must have at most 50 entries.", "shorten"),
        (
            SEED | {"triggers": [{"type": "onze"}]},
            "`triggers[0].type` must be one of 'schedule', 'once'",
            "'once'",
        ),
        (SEED | {"triggers": [{"cron": "x"}]}, "r.yaml: `triggers[0].type` is missing.", "add `type`"),
        (SEED | {"triggers": [{"type": "once"}]}, "r.yaml: `triggers[0].at` is missing.", "add `at`"),
        ([], "r.yaml: the top level must be a mapping of keys to values, not a list.", "mapping"),
    ],
)
def test_a_refusal_names_the_field_in_plain_words(data: object, sentence: str, hint: str) -> None:
    refusal = refusal_of(data)
    assert sentence in refusal.sentence
    assert hint in refusal.hint
    assert "Input should" not in refusal.sentence


def test_a_key_of_another_kind_of_trigger_is_not_suggested_to_its_author() -> None:
    refusal = refusal_of(SEED | {"triggers": [{"type": "once", "at": "x", "cron": "x"}]})
    assert "`triggers[0].cron` is not a known key" in refusal.sentence
    assert refusal.hint == "the keys here are at, timezone, type"


def test_several_problems_are_listed_after_the_first_sentence() -> None:
    refusal = refusal_of({"name": 5, "content": 5, "pipeline": "x"})
    assert refusal.code == "wrong_type"
    first, rest = refusal.sentence.split(". Also: ")
    assert first == "r.yaml: `name` must be text, not the number 5"
    assert rest == "`content` must be text, not the number 5; `pipeline` must be a list, not the text 'x'."
    assert refusal.hint == 'put it in quotes; write a list with one entry: ["x"]'


def test_no_more_than_five_problems_are_listed() -> None:
    refusal = refusal_of(SEED | {f"key{number}": 1 for number in range(9)})
    assert refusal.sentence.count("is not a known key") == 5
    assert refusal.sentence.endswith("; and 4 more.")


def test_a_hostile_key_cannot_fill_or_garble_the_sentence() -> None:
    refusal = refusal_of(SEED | {"\n\x1b[31m`" + "x" * 5000: 1})
    assert len(refusal.sentence) < 200
    assert refusal.sentence.isprintable()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, b"x", {"a": object()}])
def test_what_json_cannot_hold_is_refused(value: object) -> None:
    assert refusal_of(SEED | {"content": value}).code == "not_json"


@pytest.mark.parametrize("text", ["a\0b", "\ud800"])
def test_a_text_that_cannot_be_written_down_is_refused(text: str) -> None:
    assert refusal_of(SEED | {"content": text}).code == "text_unwritable"


def test_a_value_nested_without_end_is_refused_without_recursion() -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    assert refusal_of(SEED | {"pipeline": deep}).code in ("not_json", "wrong_type")


def test_an_admitted_document_cannot_be_changed() -> None:
    routine = admit(Routine, SEED, source="r.yaml")
    with pytest.raises(ValueError, match="frozen"):
        routine.name = "other"  # type: ignore[misc]


def test_files_refuse_unknown_keys_and_messages_keep_them() -> None:
    assert DocumentPart.model_config["extra"] == "forbid"
    message = admit(WireMessage, {"protocol": 1, "from_tomorrow": {"a": [1]}}, source="wire")
    assert message.model_dump(mode="json") == {"protocol": 1, "from_tomorrow": {"a": [1]}}


def test_this_protocol_and_the_one_before_are_accepted() -> None:
    assert [protocol for protocol in range(-1, 4) if accepts(protocol)] == [0, 1]
    with pytest.raises(BadDocument, match="`protocol` must be 1 or 0, not 2") as caught:
        admit(WireMessage, {"protocol": 2}, source="wire")
    assert caught.value.code == "unknown_protocol"
