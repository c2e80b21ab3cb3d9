"""Files stay short, say what lives in them, and leave nothing unfinished (DESIGN §4 and §9)."""

from __future__ import annotations

import pytest

from tests.house import size_rules as rules
from tests.house.source_tree import ROOT, Checker, Source, files, gathered

EVERYWHERE = ("server", "minion", "skills", "tests")
PRODUCT = ("server", "minion", "skills")
TEXT = (".py", ".md", ".sh", ".json", ".yaml", ".yml", ".toml", ".txt", ".html", ".css", ".tcss")


def test_no_file_and_no_function_is_too_long() -> None:
    assert gathered(rules.size_breaches, *EVERYWHERE) == []


def test_every_file_opens_with_a_sentence() -> None:
    assert gathered(rules.opening_breaches, *EVERYWHERE) == []


def test_everything_public_has_a_docstring() -> None:
    assert gathered(rules.docstring_breaches, *PRODUCT) == []


def test_every_file_has_a_name_that_says_something() -> None:
    paths = [path.relative_to(ROOT).as_posix() for path in files(*EVERYWHERE)]
    assert [breach for path in paths for breach in rules.name_breaches(path)] == []


def test_nothing_is_marked_as_unfinished() -> None:
    texts = [path for path in files(*EVERYWHERE) if path.suffix in TEXT]
    assert [
        breach
        for path in texts
        for breach in rules.leftover_breaches(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8"))
    ] == []


def test_tests_neither_sleep_nor_mock() -> None:
    assert gathered(rules.double_breaches, "tests") == []


def test_the_page_for_newcomers_stays_one_page() -> None:
    assert len((ROOT / "AGENTS.md").read_text(encoding="utf-8").splitlines()) <= 90


LONG_FUNCTION = "def walk():\n" + "    step()\n" * 50
PLANTED: list[tuple[Checker, str]] = [
    (rules.size_breaches, "x = 1\n" * 401),
    (rules.size_breaches, LONG_FUNCTION),
    (rules.size_breaches, "class Runner:\n    async " + LONG_FUNCTION.replace("\n", "\n    ")),
    (rules.opening_breaches, ""),
    (rules.opening_breaches, "import json\n"),
    (rules.opening_breaches, '"""Blocks"""\n'),
    (rules.opening_breaches, '"""Blocks and\n\nwhat they do."""\n'),
    (rules.docstring_breaches, "def fire():\n    pass"),
    (rules.docstring_breaches, "async def fire():\n    pass"),
    (rules.docstring_breaches, "class Order:\n    x: int"),
    (rules.docstring_breaches, 'class Order:\n    """An order."""\n    def ack(self): pass'),
    (rules.docstring_breaches, 'def fire():\n    """ """'),
    (rules.double_breaches, "import {}\n".format("unittest.mock")),
    (rules.double_breaches, "from unittest import {} as stand_in\n".format("mock")),
    (rules.double_breaches, "import time\ntime.{}(1)\n".format("sleep")),
    (rules.double_breaches, "from asyncio import {0}\nasync def f():\n    await {0}(0)\n".format("sleep")),
    (rules.double_breaches, "def test_f(monkeypatch):\n    monkeypatch.{}(a, 'b', 1)\n".format("setattr")),
]


@pytest.mark.parametrize(("checker", "text"), PLANTED)
def test_a_planted_breach_is_caught(checker: Checker, text: str) -> None:
    assert len(checker(Source("minion/planted.py", text))) == 1


@pytest.mark.parametrize("word", ["TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK"])
def test_a_planted_mark_of_unfinished_work_is_caught(word: str) -> None:
    assert rules.leftover_breaches("skills/a/SKILL.md", f"Read.\n<!-- {word} write -->\n") != []
    assert rules.leftover_breaches("skills/a/SKILL.md", f"{word}ING is another word\n") == []


@pytest.mark.parametrize("path", ["minion/utils.py", "server/common/run.py", "tests/helpers.py", "skills/misc.md"])
def test_a_planted_name_that_says_nothing_is_caught(path: str) -> None:
    assert len(rules.name_breaches(path)) == 1


ALLOWED: list[tuple[Checker, str]] = [
    (rules.size_breaches, "def walk():\n" + "    step()\n" * 49),
    (rules.size_breaches, "x = 1\n" * 400),
    (rules.opening_breaches, '"""The blocks of a run,\nin order.\n\nMore about them."""\n'),
    (rules.docstring_breaches, "def _inner(): pass\nclass _Own:\n    def open(self): pass"),
    (rules.docstring_breaches, 'class Order:\n    """An order."""\n    def __str__(self): return ""'),
    (rules.double_breaches, "import time\nstart = time.monotonic()\nmonkeypatch.setenv('A', 'b')\n"),
]


@pytest.mark.parametrize(("checker", "text"), ALLOWED)
def test_what_the_house_allows_is_no_breach(checker: Checker, text: str) -> None:
    assert checker(Source("minion/allowed.py", text)) == []
