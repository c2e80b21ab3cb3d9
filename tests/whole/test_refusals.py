"""What is refused on the command line: one sentence and one hint, its exit code, and everything as it was."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from server.contract.refusals import REFUSAL_KINDS
from tests.house.refusal_catalogue import FILE, WRITE, example, examples_in
from tests.whole.refusal_cases import CASES
from tests.whole.refusals_said import Case, Place, as_shown, furnish, prepared, say

EXIT_CODES = {kind.__name__: kind.exit_code for kind in REFUSAL_KINDS}
# What click itself turns down has no code of ours.
BAD_USE = 2
PARAMETERS = [pytest.param(case, id=case.name, marks=[pytest.mark.heavy] * case.heavy) for case in CASES]


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A place with a home, which every case gets a copy of."""
    return asyncio.run(furnish(tmp_path_factory.mktemp("furnished")))


@pytest.mark.promise("CLI-11")
@pytest.mark.promise("CLI-3")
@pytest.mark.promise("DOC-2")
@pytest.mark.promise("DOC-3")
@pytest.mark.parametrize("case", PARAMETERS)
def test_what_is_refused_is_told_in_one_sentence_and_one_hint_and_leaves_everything_as_it_was(
    furnished: Place, tmp_path: Path, case: Case
) -> None:
    with prepared(furnished, tmp_path, case) as place:
        before = place.state()
        told = say(place, case.said)
        assert place.state() == before
    assert (told.code, told.out) == (case.code, "")
    assert told.exit_code == (EXIT_CODES[told.kind] if told.kind is not None else BAD_USE)
    sentence, hint = told.err.splitlines()
    assert (sentence.partition(" ")[0], hint.partition(" ")[0]) == ("minion:", "hint:")
    shown = example(case.name, told.code, told.exit_code, case.said, as_shown(place, told))
    assert examples_in(FILE.read_text("utf-8")).get(case.name) == shown, f"tests/refusals.md is stale: {WRITE}"


def test_the_file_of_all_refusals_has_no_example_that_nobody_says_any_more() -> None:
    assert list(examples_in(FILE.read_text("utf-8"))) == [case.name for case in CASES]
