"""Zip archives entry by entry: which are whole, which lie, and that damage is never read as something else."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minion.skills.archive import read_skill
from tests.minion.skill_readings import HEADER, SKILL, words_of, zipped
from tests.minion.zip_forge import Forged, deflated, forged_zip

LINK, DEVICE, PIPE, SOCKET = (kind << 16 for kind in (0o120777, 0o020666, 0o010644, 0o140755))


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (Forged(b"x", b"/etc/passwd", attributes=LINK), "is a link or no regular file"),
        (Forged(b"x", b"/etc/passwd", attributes=LINK, system=0), "is a link or no regular file"),
        (Forged(b"x/", attributes=LINK), "is a link or no regular file"),
        (Forged(b"x", attributes=DEVICE), "is a link or no regular file"),
        (Forged(b"x", attributes=PIPE), "is a link or no regular file"),
        (Forged(b"x", attributes=SOCKET), "is a link or no regular file"),
        (Forged(b"x", b"y", attributes=0x400, system=10), "is a link or no regular file"),
        (Forged(b"x", attributes=0o40755 << 16), "a folder by its kind and a file by its name"),
        (Forged(b"x/"), "a folder by its kind and a file by its name"),
        (Forged(b"x", attributes=0x10, system=0), "a folder by its kind and a file by its name"),
        (Forged(b"x/", b"hidden", attributes=0o40755 << 16), "is a folder with bytes in it"),
        (Forged(b"x", b"secret", flags=1), "is encrypted"),
        (Forged(b"x", b"secret", flags=0x41), "is encrypted"),
        (Forged(b"x", b"y", method=12), "method 12"),
        (Forged(b"x", b"y", method=14), "method 14"),
        (Forged(b"x", b"y", flags=0x20), "packed in a way"),
        (Forged(b"x", b"y", crc=1), "its checksum is another one"),
        (Forged(b"x", b"y" * 99, deflate=True, crc=1), "its checksum is another one"),
        (Forged(b"x", b"y" * 99, deflate=True, size=98), "holds more bytes than its header says"),
        (Forged(b"x", b"y" * 99, deflate=True, size=100), "holds fewer bytes than its header says"),
        (Forged(b"x", b"yy", size=1), "is stored with two sizes"),
        (Forged(b"x", b"y", method=8, packed=b"\xff\xff\xff"), "cannot be unpacked"),
        (Forged(b"x", b"y" * 99, method=8, packed=deflated(b"y" * 99)[:-2]), "is cut short"),
        (Forged(b"x", b"y", method=8, packed=b""), "is cut short"),
        (Forged(b"x", b"y" * 99, method=8, packed=deflated(b"y" * 99) + b"more"), "bytes behind its end"),
    ],
)
def test_an_entry_that_is_no_plain_whole_file_is_refused(tmp_path: Path, entry: Forged, words: str) -> None:
    said = words_of(zipped(tmp_path, [SKILL, entry]))
    assert said.startswith("`x`")
    assert words in said


@pytest.mark.parametrize(
    ("archive", "words"),
    [
        (forged_zip([SKILL, Forged(b"a", local_name=b"../a")]), "`a` is listed otherwise than it is stored"),
        (forged_zip([SKILL, Forged(b"a", local_method=8)]), "`a` is listed otherwise than it is stored"),
        (forged_zip([SKILL, Forged(b"a", packed_size=2**30)]), "`a` lie outside the archive"),
        (forged_zip([SKILL, Forged(b"a", b"xyz"), Forged(b"a", at=1)]), "the data of `a` and `a` overlap"),
        (forged_zip([SKILL], count=2), "it lists 1 entries where it says 2"),
        (forged_zip([SKILL], disk=1), "one part of several"),
        (forged_zip([SKILL])[:-1], "its end is missing"),
        (forged_zip([SKILL], suffix=b"\n"), "its end is missing"),
        (forged_zip([SKILL])[10:], "is not where its end says"),
        (forged_zip([SKILL]).replace(b"PK\1\2", b"PK\1\1"), "its list of entries is broken"),
        (forged_zip([SKILL]).replace(b"PK\3\4", b"PK\3\3"), "`SKILL.md` is not where the list says"),
        (forged_zip([SKILL], wide_end=True).replace(b"PK\6\6", b"PK\6\5"), "its zip64 end is missing"),
        (HEADER, "is no zip archive"),
        (b"", "is no zip archive"),
    ],
)
def test_an_archive_that_readers_could_read_differently_is_refused(
    tmp_path: Path, archive: bytes, words: str
) -> None:
    (tmp_path / "greet.zip").write_bytes(archive)
    assert words in words_of(read_skill(tmp_path / "greet.zip"))


def test_two_ends_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    whole = forged_zip([SKILL], wide_end=True)
    (tmp_path / "greet.zip").write_bytes(whole[:-14] + b"\7\0" + whole[-12:])
    assert "contradict" in words_of(read_skill(tmp_path / "greet.zip"))


@pytest.mark.parametrize("end", [{"comment": b"PK\5\6" * 99}, {"prefix": b"#!/bin/sh\n" * 9}, {"wide_end": True}])
@pytest.mark.parametrize("wide", [False, True])
def test_comments_programs_in_front_and_zip64_are_read_like_any_archive(
    tmp_path: Path, end: dict[str, Any], wide: bool
) -> None:
    entries = [SKILL, Forged(b"a", b"x" * 999, deflate=True, wide=wide)]
    assert zipped(tmp_path, entries, **end).accepted() == {"SKILL.md": HEADER, "a": b"x" * 999}


TO_A_PIPE = """\
import sys, zipfile
with zipfile.ZipFile(sys.stdout.buffer, "w") as archive:
    archive.writestr("SKILL.md", sys.argv[1])
"""


def test_an_archive_that_was_written_to_a_pipe_tells_its_sizes_afterwards_and_is_read(tmp_path: Path) -> None:
    argv = [sys.executable, "-I", "-c", TO_A_PIPE, HEADER.decode()]
    written = subprocess.run(argv, stdout=subprocess.PIPE, check=True).stdout
    assert b"PK\7\x08" in written
    (tmp_path / "greet.zip").write_bytes(written)
    assert read_skill(tmp_path / "greet.zip").accepted() == {"SKILL.md": HEADER}


WHOLE = forged_zip([SKILL, Forged(b"scripts/run.py", b"print('hello')\n" * 40, deflate=True), Forged(b"a", b"b")])


@settings(deadline=None, database=None, max_examples=120)
@given(st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), min_size=1, max_size=4), st.data())
def test_a_damaged_archive_is_read_as_it_was_or_refused_and_nothing_else(
    damage: list[tuple[int, int]], data: st.DataObject
) -> None:
    body = bytearray(WHOLE)
    for place, value in damage:
        body[place] = value
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "greet.zip"
        file.write_bytes(body[: data.draw(st.sampled_from([len(body), len(body) // 2]))])
        reading = read_skill(file)
        kept = set(reading.files.values()) <= {HEADER, b"print('hello')\n" * 40, b"b"}
        assert kept or reading.problems
