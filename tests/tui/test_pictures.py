"""Each screen looks as its picture says, and README shows pictures that are true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.tui.pictures import FOLDER, PICTURES, Picture, drawn

# The larger ones have the same lines, and more room.
_CASES = [
    pytest.param(each, marks=[pytest.mark.heavy] * (each.size[0] == 200), id=each.file.stem) for each in PICTURES
]


@pytest.mark.parametrize("picture", _CASES)
def test_a_screen_looks_as_its_picture_says(picture: Picture) -> None:
    hint = "if it should look so now: python -m tests.tui.pictures --write"
    assert picture.file.exists(), hint
    now, was = drawn(picture), picture.file.read_text()
    differing = [(a, b) for a, b in zip(now.splitlines(), was.splitlines(), strict=False) if a != b]
    assert now == was, f"{hint}\n{differing[:3]}"


def test_no_picture_is_kept_that_nothing_draws() -> None:
    assert set(FOLDER.iterdir()) == {picture.file for picture in PICTURES}


def test_readme_shows_pictures_that_are_kept() -> None:
    root = FOLDER.parents[2]
    shown = re.findall(r"\]\((tests/tui/pictures/[^)]+)\)", (root / "README.md").read_text())
    assert shown and all((root / file).exists() for file in shown)
    assert not any("http" in Path(root / file).read_text().replace("http://www.w3.org", "") for file in shown)
