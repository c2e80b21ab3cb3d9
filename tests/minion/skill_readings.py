"""Skills laid out as folders and forged as archives in a test's folder, and how they read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from minion.skills.archive import Reading, read_skill
from server.contract.refusals import BadDocument
from tests.minion.zip_forge import Forged, forged_zip

HEADER = b"---\nname: greet\ndescription: Greets.\n---\n"
SKILL = Forged(b"SKILL.md", HEADER)


def zipped(folder: Path, entries: Iterable[Forged], **options: Any) -> Reading:
    """A forged archive of these entries, read."""
    file = folder / "greet.zip"
    file.write_bytes(forged_zip(list(entries), **options))
    return read_skill(file)


def laid_out(folder: Path, files: Mapping[str, bytes]) -> Path:
    """A folder `greet` with these files."""
    root = folder / "greet"
    for name, body in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(body)
    return root


def words_of(reading: Reading) -> str:
    """The one thing that is wrong, in words; it is refused as a bad document with a hint."""
    assert len(reading.problems) == 1, reading.problems
    with pytest.raises(BadDocument) as caught:
        reading.accepted()
    assert (caught.value.exit_code, bool(caught.value.hint)) == (2, True)
    assert caught.value.sentence == f"{reading.source}: {reading.problems[0].words}."
    assert caught.value.sentence.isprintable()
    return reading.problems[0].words
