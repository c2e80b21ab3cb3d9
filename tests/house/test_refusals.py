"""Every refusal has a test and stands in `tests/refusals.md`, and their texts keep one form (DESIGN §9)."""

from __future__ import annotations

import re

import pytest

from tests.house.refusal_catalogue import PRODUCT, WRITE, all_sites, asserted_codes, stale
from tests.house.refusal_sites import Site, sites_in
from tests.house.source_tree import Source, sources

# What stands in a text in place of what is not known here.
FILLED = re.compile(r"\{[^{}]*\}")
# A hint is a command, or begins with what to do, or asks what was meant.
NO_WAY_ON = ("it ", "this ", "that ", "the ", "there is", "a ", "an ", "invalid", "error")


def found(text: str) -> list[tuple[str, str, str, str]]:
    sites = sites_in(Source("minion/planted.py", text))
    return [(site.code, site.kind, site.sentence, site.hint) for site in sites]


def codes_with_a_test() -> set[str]:
    codes = {site.code for site in all_sites()}
    held = [asserted_codes(source, codes) for source in sources("tests") if source.path.split("/")[1] != "house"]
    return set().union(*held)


@pytest.mark.promise("CLI-11")
def test_every_refusal_has_a_test_that_asserts_its_code() -> None:
    assert sorted({site.code for site in all_sites()} - codes_with_a_test()) == []


def test_the_file_of_all_refusals_is_what_the_source_says() -> None:
    assert not stale(), f"tests/refusals.md is stale: {WRITE}"


def test_every_code_is_a_word_for_programs() -> None:
    assert [site for site in all_sites() if not re.fullmatch(r"[a-z]+(?:_[a-z0-9]+)*", site.code)] == []


def test_one_code_means_one_exit_code() -> None:
    pairs = {(site.code, site.exit_code) for site in all_sites()}
    codes = [code for code, _ in pairs]
    assert sorted({code for code in codes if codes.count(code) > 1}) == []


def test_every_sentence_is_one_whole_sentence() -> None:
    assert [site for site in all_sites() if not _is_sentence(site)] == []


def test_every_hint_says_what_to_do() -> None:
    hints = {site.hint for site in all_sites()}
    assert sorted(hint for hint in hints if not hint.strip() or hint.lower().startswith(NO_WAY_ON)) == []
    assert sorted(hint for hint in hints if hint.endswith(".") and not hint.endswith("…")) == []


def test_the_source_says_its_refusals_in_ways_that_are_found() -> None:
    silent = [source.path for source in sources(*PRODUCT) if _raises(source.text) and not sites_in(source)]
    assert silent == []


@pytest.mark.parametrize(
    ("text", "sites"),
    [
        ('raise Refused("held", f"The home {home} is held.", hint="wait")',
         [("held", "Refused", "The home {home} is held.", "wait")]),
        ('raise NotFound(hint="look", code="gone", sentence="It is gone.")',
         [("gone", "NotFound", "It is gone.", "look")]),
        ('def f(x):\n    says = f"{x} is bad."\n    raise BadUse("bad", says, hint="mend" if x else "leave")',
         [("bad", "BadUse", "{x} is bad.", "(mend | leave)")]),
        ('def no(what):\n    return BadUse("bad", f"It {what}.", hint="mend it")\nno("hangs")\nno("stops")',
         [("bad", "BadUse", "It hangs.", "mend it"), ("bad", "BadUse", "It stops.", "mend it")]),
        ('def no(code):\n    raise BadUse(code, "No.", hint="mend it")\nno("one")\nno("two")',
         [("one", "BadUse", "No.", "mend it"), ("two", "BadUse", "No.", "mend it")]),
        ('raise wrong("bad_id", "must be an id", "copy it")',
         [("bad_id", "BadDocument", "must be an id", "copy it")]),
        ('T = {"a": ("one", 1), "b": ("two", 2)}\ndef f(k):\n    code, n = T[k]\n    Problem(k, code, "is", "do")',
         [("one", "BadDocument", "is", "do"), ("two", "BadDocument", "is", "do")]),
        ("raise Refused(other.code, other.sentence, hint=other.hint)", []),
    ],
)  # fmt: skip
def test_a_planted_refusal_is_found_however_it_is_put_together(
    text: str, sites: list[tuple[str, str, str, str]]
) -> None:
    assert found(text) == sites


@pytest.mark.parametrize(
    ("text", "asserted"),
    [
        ('def test_it():\n    assert refusal.code == "gone"', True),
        ('@pytest.mark.parametrize("code", ["gone"])\ndef test_it(code): ...', True),
        ('CASES = [("runs", "gone")]', True),
        ('"""What is gone."""', False),
        ('def test_it():\n    gone = "gone"', False),
        ('def test_it():\n    assert words == "gone for good"', False),
    ],
)
def test_a_code_counts_as_tested_where_a_test_holds_something_against_it(text: str, asserted: bool) -> None:
    assert bool(asserted_codes(Source("tests/a/test_a.py", text), ["gone"])) is asserted


def _is_sentence(site: Site) -> bool:
    """Whole by itself, or the rest of one: words that follow the name of a document's field or a skill's file."""
    text = FILLED.sub("X", site.sentence)
    if text.endswith((".", ".)")):
        return text[:1].isupper() or text[:1] in "`'(-" or text.startswith("git ")
    return site.kind == "BadDocument" and not text.endswith((",", ":", ";"))


def _raises(text: str) -> bool:
    return re.search(r"raise (?:Refused|BadUse|BadDocument|NotFound|StoreFailed)\(\s*\"", text) is not None
