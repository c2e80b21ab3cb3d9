"""What came with the program needs no child to be admitted, and what somebody changed does."""

from __future__ import annotations

import dataclasses

from minion.admission import RELEASED, _released
from tests.house.bundled_admissions import WRITE, candidates, text


def test_the_admitted_form_of_all_that_is_bundled_is_what_the_document_check_says() -> None:
    assert RELEASED.read_text(encoding="utf-8") == text(), f"{RELEASED.name} is stale: {WRITE}"


def test_a_bundled_document_that_was_changed_or_renamed_is_admitted_anew() -> None:
    for candidate in candidates():
        assert _released(candidate) is not None
        assert _released(dataclasses.replace(candidate, body=candidate.body + b"\n")) is None
        assert _released(dataclasses.replace(candidate, name="other")) is None
