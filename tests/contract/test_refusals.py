"""Refusals: one code, one sentence, one hint, and the same ones on both sides of a process's border."""

from __future__ import annotations

import json
import re
from ipaddress import IPv4Address

import pytest
from pydantic import BaseModel

from server.contract.documents import admit
from server.contract.refusals import (
    REFUSAL_KINDS,
    BadDocument,
    BadUse,
    Defect,
    IllegalMove,
    NotFound,
    Refusal,
    Refused,
    StoreFailed,
    StoreUnreadable,
    TrialFailed,
    refusal_from_data,
)

SAID = {"code": "no_such_thing", "sentence": "There is no thing.", "hint": "make one"}
# (exit code, HTTP status): CLI-3 and the doors' tables.
DOORS = {
    BadDocument: (2, 400),
    BadUse: (2, 400),
    NotFound: (2, 404),
    Refused: (3, 409),
    TrialFailed: (1, 502),
    StoreUnreadable: (3, 503),
    StoreFailed: (1, 503),
    Defect: (1, 500),
    IllegalMove: (1, 500),
}


@pytest.mark.promise("CLI-3")
@pytest.mark.parametrize("kind", REFUSAL_KINDS)
def test_every_kind_has_its_exit_code_and_status(kind: type[Refusal]) -> None:
    refusal = kind(**SAID)
    assert (refusal.exit_code, refusal.http_status) == DOORS[kind]


def test_the_kinds_are_all_there_are() -> None:
    assert set(REFUSAL_KINDS) == set(DOORS) == set(Refusal.__subclasses__())


@pytest.mark.parametrize("kind", REFUSAL_KINDS)
def test_a_refusal_comes_back_from_another_process_as_it_was(kind: type[Refusal]) -> None:
    sent = json.dumps({"kind": kind.__name__, "refusal": kind(**SAID).as_data()})
    heard = json.loads(sent)
    back = refusal_from_data(heard["kind"], heard["refusal"])
    assert (type(back), back.as_data()) == (kind, SAID)


def test_an_unknown_kind_is_still_a_refusal() -> None:
    back = refusal_from_data("FromTomorrow", SAID)
    assert (type(back), back.as_data(), back.exit_code) == (Refused, SAID, 3)


def test_a_refusal_says_its_sentence_and_its_hint() -> None:
    refusal = NotFound(**SAID)
    assert str(refusal) == "There is no thing. (hint: make one)"
    assert refusal.args == ("There is no thing.",)
    with pytest.raises(Refusal, match=re.escape("There is no thing.")):
        raise refusal


def test_a_refusal_without_a_hint_cannot_be_made() -> None:
    with pytest.raises(TypeError):
        Refused("code", "A sentence.")  # type: ignore[call-arg]


class Address(BaseModel):
    """A model whose field is wrong in a way that no table of ours names."""

    number: IPv4Address


def test_what_no_table_names_is_refused_in_the_words_there_are() -> None:
    with pytest.raises(BadDocument) as caught:
        admit(Address, {"number": "one"}, source="a.json")
    assert (caught.value.code, caught.value.exit_code) == ("bad_value", 2)
    assert caught.value.sentence.startswith("a.json: `number` is not accepted (")
