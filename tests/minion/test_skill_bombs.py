"""Archives that are far more than they seem: refused in bounded memory, seen in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from minion.skills.archive import BYTES
from tests.house.source_tree import ROOT
from tests.minion.skill_readings import HEADER, SKILL
from tests.minion.zip_forge import Forged, forged_zip, zeros

pytestmark = pytest.mark.heavy

MIB = 2**20
# Far over what any archive may hold: a reader that trusts it is seen by its memory.
ALLOWED_GROWTH = 64 * MIB
GROWTH = """\
import json, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from minion.skills.archive import read_skill
def peak():
    lines = Path('/proc/self/status').read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith('VmHWM'))
before = peak()
reading = read_skill(Path(sys.argv[2]))
words = [problem.words for problem in reading.problems]
print(json.dumps({'grown': peak() - before, 'problems': words[:3], 'files': len(reading.files)}))
"""


def bomb_of_zeros() -> bytes:
    """One entry of 1 MiB that unpacks to a GiB, and says so."""
    return forged_zip([SKILL, Forged(b"zeros", packed=zeros(1024), method=8, size=2**30)])


def bomb_that_lies() -> bytes:
    """The same, and it says to be 10 bytes."""
    return forged_zip([SKILL, Forged(b"zeros", packed=zeros(1024), method=8, size=10)])


def bomb_of_many_parts() -> bytes:
    """Every entry is small enough by itself."""
    part = zeros(1)
    crc = zlib.crc32(bytes(MIB))
    entries = [Forged(b"%d" % number, packed=part, method=8, size=MIB, crc=crc) for number in range(400)]
    return forged_zip([SKILL, *entries])


def bomb_of_one_kernel() -> bytes:
    """Many entries over the same bytes, as in Fifield's archives."""
    kernel = Forged(b"kernel", packed=zeros(64), method=8, size=64 * MIB)
    return forged_zip([SKILL, kernel, *[replace(kernel, at=1)] * 250])


def bomb_of_a_quine() -> bytes:
    """An entry whose data are the archive's own list of entries."""
    return forged_zip([SKILL, Forged(b"greet.zip", packed_size=60, size=60)])


def bomb_of_entries() -> bytes:
    """A hundred thousand empty files."""
    return forged_zip([SKILL, *(Forged(b"%06d" % number) for number in range(100_000))])


def bomb_of_a_list_that_lies() -> bytes:
    """Sixty thousand entries, and an end that tells of one."""
    return forged_zip([SKILL, *(Forged(b"%d" % number) for number in range(60_000))], count=1)


def bomb_of_long_names() -> bytes:
    """As many names as may be listed, each as long as one can be."""
    return forged_zip([SKILL, *(Forged(b"%05d/" % number + b"d/" * 900 + b"f") for number in range(1_900))])


def bomb_of_a_long_list() -> bytes:
    """Few entries, with a list of them that is nearly all of the archive."""
    return forged_zip([SKILL, *[Forged(b"n" * 0xFFFF, at=0)] * 900])


def bomb_of_a_huge_archive() -> bytes:
    """An archive that is large itself."""
    return forged_zip([SKILL, Forged(b"large", bytes(65 * MIB))])


BOMBS: dict[Callable[[], bytes], str] = {
    bomb_of_zeros: "it is over 500 files or 20 MiB",
    bomb_that_lies: "holds more bytes than its header says",
    bomb_of_many_parts: "it is over 500 files or 20 MiB",
    bomb_of_one_kernel: "overlap",
    bomb_of_a_quine: "lie outside the archive",
    bomb_of_entries: "it lists over 2,000 entries",
    bomb_of_a_list_that_lies: "it lists over 2,000 entries",
    bomb_of_long_names: "lies over 16 folders",
    bomb_of_a_long_list: "its list of entries is over 4 MiB",
    bomb_of_a_huge_archive: "it is over 64 MiB",
}


def read_in_a_child(file: Path) -> tuple[int, list[str], int]:
    """How far a process of its own grows by reading this, what it finds wrong, and how many files it keeps."""
    ended = subprocess.run(
        [sys.executable, "-I", "-c", GROWTH, str(ROOT), str(file)], capture_output=True, check=True, timeout=60
    )
    told = json.loads(ended.stdout)
    return told["grown"], told["problems"], told["files"]


needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")


@needs_proc
@pytest.mark.parametrize("bomb", BOMBS, ids=lambda bomb: bomb.__name__)
def test_a_bomb_is_refused_in_bounded_memory(tmp_path: Path, bomb: Callable[[], bytes]) -> None:
    file = tmp_path / "greet.zip"
    file.write_bytes(bomb())
    grown, problems, _ = read_in_a_child(file)
    assert BOMBS[bomb] in problems[0]
    assert grown < ALLOWED_GROWTH


@needs_proc
def test_the_archives_inside_an_archive_stay_bytes(tmp_path: Path) -> None:
    inner = forged_zip([Forged(b"%x" % n, packed=zeros(64), method=8, size=64 * MIB) for n in range(16)])
    layer = forged_zip([Forged(b"lib %x.zip" % number, inner, deflate=True) for number in range(16)])
    file = tmp_path / "42.zip"
    file.write_bytes(forged_zip([SKILL, Forged(b"layer.zip", layer, deflate=True)]))
    grown, problems, files = read_in_a_child(file)
    assert (problems, files) == ([], 2)
    assert grown < ALLOWED_GROWTH


@needs_proc
def test_the_largest_skill_there_may_be_is_read_in_bounded_memory(tmp_path: Path) -> None:
    file = tmp_path / "greet.zip"
    file.write_bytes(forged_zip([SKILL, Forged(b"one", os.urandom(BYTES - len(HEADER)), deflate=True)]))
    grown, problems, files = read_in_a_child(file)
    assert (problems, files) == ([], 2)
    assert grown < ALLOWED_GROWTH
