"""A routine's file is changed in the named keys alone; comments, order and style of all else stay as written."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.contract.documents import admit, load_document
from server.contract.refusals import BadDocument
from server.contract.rewriting import rewritten
from server.contract.routine import Routine, admitted

WRITTEN = """\
# What the team asked for.
name: weekly   # keep this name

content: |
  Look back.
  # not a comment

  paused: not a key either
pipeline:   # in this order
  - one
  - two
# about the time
cron_expression: "0 9 * * 1"  # Mondays
timezone:
"""


def changed(text: str, source: str = "r.yaml", **changes: Any) -> str:
    return rewritten(text.encode(), changes, source=source).decode()


@pytest.mark.promise("CLI-13")
@pytest.mark.parametrize(
    ("changes", "old", "new"),
    [
        ({"cron_expression": "30 8 * * *"}, '"0 9 * * 1"  # Mondays', '"30 8 * * *"  # Mondays'),
        ({"cron_expression": None}, '"0 9 * * 1"', "null"),
        ({"timezone": "Asia/Tokyo"}, "timezone:\n", 'timezone: "Asia/Tokyo"\n'),
        ({"name": "other"}, "weekly   # keep", '"other"   # keep'),
        ({"paused": True}, "timezone:\n", "timezone:\npaused: true\n"),
        ({"pipeline": ["one"]}, "   # in this order\n  - one\n  - two\n", ' ["one"]\n'),
        ({"content": "x"}, WRITTEN[WRITTEN.index(" |") : WRITTEN.index("pipeline")], ' "x"\n'),
    ],
)
def test_only_the_named_key_of_a_yaml_file_changes(changes: dict[str, Any], old: str, new: str) -> None:
    assert changed(WRITTEN, **changes) == WRITTEN.replace(old, new)


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("{name: a, content: x}\n", "{paused: true, name: a, content: x}\n"),
        ("name: a\ncontent: |+\n  x\n\n", "name: a\ncontent: |+\n  x\n\npaused: true\n"),
        ("---\nname: a\ncontent: x\n...\n", "---\nname: a\ncontent: x\npaused: true\n...\n"),
        ("name: a\ncontent: x", "name: a\ncontent: x\npaused: true\n"),
        ("name: a\ncontent: x\npaused: false", "name: a\ncontent: x\npaused: true"),
        ('name: a\ncontent: "x\npaused: no\ny"\n', 'name: a\ncontent: "x\npaused: no\ny"\npaused: true\n'),
        ("name: a\r\ncontent: x\r\n'paused': false\r\n", "name: a\r\ncontent: x\r\n'paused': true\r\n"),
        ("? paused\n: false\n? name\n: a\n? content\n: x\n", "? paused\n: true\n? name\n: a\n? content\n: x\n"),
    ],
)
def test_every_form_of_yaml_takes_a_new_key(text: str, result: str) -> None:
    assert changed(text, paused=True) == result


def test_a_json_file_keeps_the_order_of_its_keys() -> None:
    text = '{"name":"a","cron_expression":"0 9 * * *","content":"é"}'
    assert changed(text, "r.json", cron_expression=None, paused=True) == (
        '{\n  "name": "a",\n  "cron_expression": null,\n  "content": "é",\n  "paused": true\n}\n'
    )


def test_a_default_is_not_written_into_a_file_that_left_it_out() -> None:
    assert changed(WRITTEN, triggers=[], paused=False) == WRITTEN
    assert changed(WRITTEN, triggers=[], cron_expression=None) == WRITTEN.replace('"0 9 * * 1"', "null")


@pytest.mark.parametrize("text", ["{paused, name: a, content: x}\n", "{name: a, content: x, paused}"])
def test_a_key_that_stands_there_without_its_colon_is_refused_and_not_guessed(text: str) -> None:
    # `paused` alone is null, which no routine may say: only the change would make the file a routine.
    with pytest.raises(BadDocument) as caught:
        changed(text, paused=True)
    assert caught.value.code == "not_rewritable"
    assert "`paused` cannot be written" in caught.value.sentence


def test_what_would_be_no_routine_afterwards_is_refused_field_named() -> None:
    with pytest.raises(BadDocument, match="pipeline"):
        changed(WRITTEN, pipeline=["Not a slug"])
    with pytest.raises(BadDocument, match=r"r\.yaml"):
        changed("- name: a\n", paused=True)


_TEXTS = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0"), max_size=40)


_NAMES = st.lists(st.from_regex(r"[a-z]{1,8}", fullmatch=True), max_size=5)


@given(content=_TEXTS.filter(str.strip), paused=st.booleans(), names=_NAMES)
def test_any_text_goes_in_and_reads_back_with_everything_else_as_it_was(
    content: str, paused: bool, names: list[str]
) -> None:
    changes = {"content": content, "paused": paused, "pipeline": names}
    body = rewritten(WRITTEN.encode(), changes, source="r.yaml")
    before = load_document(WRITTEN.encode(), source="r.yaml")
    meant = admitted(admit(Routine, {**before, **changes}, source="r.yaml"))
    assert admitted(admit(Routine, load_document(body, source="r.yaml"), source="r.yaml")) == meant
    assert b"# keep this name" in body and b"# about the time" in body
