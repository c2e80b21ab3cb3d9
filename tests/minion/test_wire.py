"""The lines between the daemon and a runner: whole messages go through unchanged, nothing else does."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, fields, replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from minion.daemon.kept_order import _OF_THE_DAY
from minion.wire import (
    ACKNOWLEDGED,
    ANSWER_TYPES,
    EVENT_BYTES,
    EVENT_TYPES,
    Answer,
    Event,
    Order,
    OrderedSkill,
    WireError,
)
from server.contract.quota import Limits
from tests.minion.stored_runs import NOW, make_order

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
EVENT = {"v": 1, "seq": 1, "at": NOW, "type": "log", "block": None, "data": {}}
KINDS = (Event, Order, Answer)


def line(value: object) -> bytes:
    """A value as a line of JSON."""
    return json.dumps(value).encode() + b"\n"


def test_an_order_goes_through_unchanged_on_one_line() -> None:
    skill = OrderedSkill(
        "greet", "LLM-GREET", "/s/greet", "sha256:1", "scripts/run.py", True, ("message:slack",)
    )
    order = replace(
        make_order(pipeline=("one", "two")),
        skills=(skill, skill),
        input="line one\nline two \u2028 ü \x00",
        limits=Limits(wall_clock_s=1.5, dollars=0.25),
        passed_env={"HOME": "/home/me"},
        parent_pid=77,
    )
    sent = order.line()
    assert (sent.count(b"\n"), sent.endswith(b"\n")) == (1, True)
    assert Order.read(sent) == order


@pytest.mark.promise("ENV-2")
def test_an_order_has_no_place_for_a_secret_but_the_token_of_its_own_report() -> None:
    names = {field.name for field in fields(Order)}
    told = {name for name in names if "secret" in name or "token" in name}
    assert told == {"secrets_file", "report_token"}
    assert "report_token" in _OF_THE_DAY
    assert [field.repr for field in fields(Order) if field.name == "report_token"] == [False]


@given(
    seq=st.integers(1, 2**63 - 1),
    type_=st.sampled_from(sorted(EVENT_TYPES)),
    block=st.none() | TEXT,
    data=st.dictionaries(TEXT, JSON, max_size=4),
)
def test_an_event_goes_through_unchanged(
    seq: int, type_: str, block: str | None, data: dict[str, Any]
) -> None:
    event = Event(seq, NOW, type_, block, data)
    sent = event.line()
    assert sent.count(b"\n") == 1
    assert Event.read(sent) == event


@given(
    type_=st.sampled_from(sorted(ANSWER_TYPES)), seq=st.integers(0, 10**9), texts=st.tuples(TEXT, TEXT, TEXT)
)
def test_an_answer_goes_through_unchanged(type_: str, seq: int, texts: tuple[str, str, str]) -> None:
    answer = Answer(type_, seq, *texts)
    assert Answer.read(answer.line()) == answer


@given(value=JSON | st.fixed_dictionaries({key: st.just(value) | JSON for key, value in EVENT.items()}))
@example(value=EVENT | {"type": []})
@example(value=EVENT | {"type": {}})
@example(value={"type": ["ack"]})
def test_any_json_is_a_message_or_no_message_and_nothing_else(value: Any) -> None:
    for kind in KINDS:
        try:
            message = kind.read(line(value))
        except WireError:
            continue
        assert kind.read(message.line()) == message


@given(body=st.binary(max_size=200))
@example(body=b"[" * 100_000)
@example(body=b'{"v":' * 50_000)
@example(body=b"9" * 10_000)
def test_any_bytes_are_a_message_or_no_message_and_nothing_else(body: bytes) -> None:
    for kind in KINDS:
        with pytest.raises(WireError):
            kind.read(body)


BENT: list[dict[str, Any]] = [
    {"v": 2},
    {"v": None},
    {"seq": 0},
    {"seq": -1},
    {"seq": True},
    {"seq": 1.0},
    {"seq": "1"},
    {"at": 5},
    {"type": "run.opened"},
    {"type": None},
    {"block": 3},
    {"data": []},
    {"data": None},
    {"more": 1},
]


@pytest.mark.parametrize("bent", BENT, ids=str)
def test_an_event_with_one_field_wrong_is_no_event(bent: dict[str, Any]) -> None:
    assert Event.read(line(EVENT)).seq == 1
    with pytest.raises(WireError):
        Event.read(line(EVENT | bent))


@pytest.mark.parametrize("name", sorted(EVENT))
def test_an_event_that_lacks_a_field_is_no_event(name: str) -> None:
    with pytest.raises(WireError):
        Event.read(line({key: value for key, value in EVENT.items() if key != name}))


@pytest.mark.parametrize(
    "body",
    [
        b'{"v":1,"seq":1,"at":"t","type":"log","block":null,"data":{"x":NaN}}',
        b'{"v":1,"seq":1,"at":"t","type":"log","block":null,"data":{"x":-Infinity}}',
        b'{"v":1,"seq":1,"at":"t","type":"log","block":null,"data":{"x":"\\ud800"}}',
        b'{"v":1,"seq":1,"at":"t","type":"log","block":null,"data":{"x":"\xff"}}',
    ],
    ids=["NaN", "infinity", "half a surrogate pair", "no UTF-8"],
)
def test_what_the_store_could_not_write_down_is_no_event(body: bytes) -> None:
    with pytest.raises(WireError):
        Event.read(body)


@pytest.mark.parametrize(
    "bent",
    [
        {"v": 2},
        {"blocks": [{"code": "040.001.01"}]},
        {"blocks": None},
        {"skills": [{"name": "x"}]},
        {"report_skill": None},
        {"repositories": [{"name": "x"}]},
        {"limits": 5},
        {"surprise": 1},
    ],
    ids=str,
)
def test_an_order_with_one_field_wrong_is_no_order(bent: dict[str, Any]) -> None:
    with pytest.raises(WireError):
        Order.read(line({**asdict(make_order()), **bent}))


def test_an_order_that_lacks_a_field_is_no_order() -> None:
    with pytest.raises(WireError, match="incomplete"):
        Order.read(line({key: value for key, value in asdict(make_order()).items() if key != "run_id"}))


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"type": "nack"},
        {"type": "ack", "seq": "1"},
        {"type": "ack", "seq": True},
        {"type": "ack", "more": 1},
        {"type": "cancel", "reason": 1},
        {"type": "decision", "id": []},
    ],
    ids=str,
)
def test_an_answer_with_one_field_wrong_is_no_answer(said: dict[str, Any]) -> None:
    with pytest.raises(WireError):
        Answer.read(line(said))


def test_an_event_may_be_as_long_as_the_limit_and_not_a_byte_longer() -> None:
    empty = len(Event(1, NOW, "log", None, {"text": ""}).line())
    assert len(Event(1, NOW, "log", None, {"text": "x" * (EVENT_BYTES - empty)}).line()) == EVENT_BYTES
    with pytest.raises(WireError, match=f"event log of {EVENT_BYTES + 1} bytes"):
        Event(1, NOW, "log", None, {"text": "x" * (EVENT_BYTES - empty + 1)}).line()


@pytest.mark.promise("ENV-4")
def test_an_effect_a_report_and_the_end_wait_for_their_acknowledgement() -> None:
    assert {"effect.intent", "report", "run.finished"} == ACKNOWLEDGED
    assert ACKNOWLEDGED <= EVENT_TYPES


def test_the_wire_imports_no_pydantic() -> None:
    script = (
        "import minion.wire, sys; print([m for m in ('pydantic', 'yaml', 'aiosqlite') if m in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=60, check=True)
    assert ended.stdout == b"[]\n"
