"""Every promise has a test and every marked test a promise (DESIGN §9)."""

from __future__ import annotations

import re

import pytest

from tests.house.promise_marks import promise_marks, repeated_ids
from tests.house.source_tree import ROOT, Source, sources
from tests.promises import PROMISES

ROOMS = (
    "RUN", "RES", "EFF", "ENV", "CAP", "STO", "DMN", "UPG", "SVC", "WAT", "CLI", "DOC", "SKL", "LED", "HQ", "PCF",
    "AUD", "TOK", "MCP", "WEB", "DEC", "INB", "HQM", "CLA", "GIV", "JOI", "TUI", "MOD", "BUD", "NET", "POL",
)  # fmt: skip


def marked() -> set[str]:
    return {promise for source in sources("tests") for promise in promise_marks(source).ids}


def test_every_promise_has_a_test_that_shows_it() -> None:
    assert sorted(set(PROMISES) - marked()) == []


def test_every_marked_test_names_a_promise_that_exists() -> None:
    assert sorted(marked() - set(PROMISES)) == []


def test_every_mark_stands_on_a_test_and_names_one_id() -> None:
    assert [breach for source in sources("tests") for breach in promise_marks(source).breaches] == []


@pytest.mark.parametrize("promise", PROMISES)
def test_a_promise_is_one_sentence_on_one_line_with_an_id_of_its_room(promise: str) -> None:
    assert re.fullmatch(rf"({'|'.join(ROOMS)})-[1-9][0-9]?", promise)
    assert re.fullmatch(r"[^\n]{10,160}\.", PROMISES[promise])


def test_no_promise_hides_another_under_the_same_id() -> None:
    assert repeated_ids((ROOT / "tests" / "promises.py").read_text(encoding="utf-8")) == []
    assert len(set(PROMISES.values())) == len(PROMISES)


MARK = "@pytest.mark." + "promise"


@pytest.mark.parametrize(
    "text",
    [
        f"{MARK}('RUN-1')\ndef test_it(): ...",
        f"{MARK}('RUN-1')\nasync def test_it(): ...",
        f"{MARK}('RUN-1')\nclass TestIt: ...",
        f"class TestIt:\n    {MARK}('RUN-1')\n    def test_it(self): ...",
        f"pytestmark = [{MARK[1:]}('RUN-1')]",
        f"CASES = [pytest.param(1, marks={MARK[1:]}('RUN-1'))]",
    ],
)
def test_a_mark_is_found_wherever_pytest_honours_it(text: str) -> None:
    marks = promise_marks(Source("tests/a/test_a.py", text))
    assert (sorted(marks.ids), len(marks.breaches)) == (["RUN-1"], 0)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("tests/a/test_a.py", f"{MARK}('RUN-1')\ndef prepare(): ..."),
        ("tests/a/test_a.py", f"{MARK}('RUN-1')\nclass Prepared: ..."),
        ("tests/a/kit.py", f"{MARK}('RUN-1')\ndef test_it(): ..."),
        ("tests/a/test_a.py", f"{MARK}(WHICH)\ndef test_it(): ..."),
        ("tests/a/test_a.py", f"{MARK}('RUN-1', 'RUN-2')\ndef test_it(): ..."),
        ("tests/a/test_a.py", f"{MARK}()\ndef test_it(): ..."),
    ],
)
def test_a_planted_mark_that_shows_nothing_is_caught(path: str, text: str) -> None:
    marks = promise_marks(Source(path, text))
    assert (marks.ids, len(marks.breaches)) == (frozenset(), 1)


def test_a_planted_second_line_with_the_same_id_is_caught() -> None:
    assert repeated_ids("P = {'RUN-1': 'a', 'RUN-2': 'b', 'RUN-1': 'c'}") == ["RUN-1"]
