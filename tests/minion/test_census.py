"""Counting what a run takes: real processes, real files, and a kernel that tells of children as others do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from minion.daemon.census import LEAST_BYTES, descendants, folder_bytes, memory_of, unnamed_bytes

MIB = 1024 * 1024
PLENTY = 1024 * MIB
# One child that stays, one that leaves the session and has a child, one that ends and is not waited for; all share
# the bytes that the first of them wrote.
FAMILY = """
import mmap, os, signal, sys
shared = mmap.mmap(-1, int(sys.argv[1]))
shared.write(b"x" * len(shared))
def stay():
    shared[::4096]
    os.write(1, b".")
    signal.pause()
if os.fork() == 0:
    stay()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        stay()
    stay()
if os.fork() == 0:
    os._exit(0)
os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
stay()
"""


@contextmanager
def family(shared_bytes: int) -> Iterator[int]:
    """Four living processes and one that nobody waited for; the id of the first."""
    argv = [sys.executable, "-I", "-S", "-c", FAMILY, str(shared_bytes)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.read(4) == b"...."
            yield process.pid
        finally:
            for pid in (*descendants(process.pid), process.pid):
                os.kill(pid, signal.SIGKILL)


def test_processes_below_one_are_counted_in_whatever_session_and_those_that_ended_are_not() -> None:
    shared = 32 * MIB
    with family(shared) as first:
        below = descendants(first)
        plain = memory_of([first, *below], PLENTY)
        closely = memory_of([first, *below], 1)
    assert len(below) == 3
    assert first not in below
    # Four hold the same bytes: added up they count four times, looked at closely once.
    assert plain > 4 * shared
    assert shared <= closely < 2 * shared


def test_where_the_kernel_tells_of_children_nobody_else_is_asked(tmp_path: Path) -> None:
    def process(pid: int, children: str, state: str = "S") -> None:
        (tmp_path / f"{pid}/task/{pid}").mkdir(parents=True)
        (tmp_path / f"{pid}/task/{pid}/children").write_text(children)
        (tmp_path / f"{pid}/stat").write_text(f"{pid} (a ) name) {state} 1 0 0")

    process(10, "11 12 ")
    (tmp_path / "10/task/19").mkdir()
    (tmp_path / "10/task/19/children").write_text("13 ")
    process(11, "14 15 ")
    process(12, "", state="Z")
    process(13, "")
    process(14, "")
    process(20, "21 ")
    assert sorted(descendants(10, tmp_path)) == [11, 13, 14]


def test_the_bytes_of_a_folder_are_those_it_takes_on_the_disk(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    (folder / "deep" / "er").mkdir(parents=True)
    elsewhere.mkdir()
    (elsewhere / "large").write_bytes(b"x" * 4 * MIB)
    (folder / "deep" / "one").write_bytes(b"x" * MIB)
    (folder / "deep" / "same").hardlink_to(folder / "deep" / "one")
    (folder / "link").symlink_to(elsewhere / "large")
    (folder / "deep" / "er" / "out").symlink_to(elsewhere)
    (folder / "round").symlink_to(folder)
    with (folder / "hollow").open("wb") as file:
        file.truncate(64 * MIB)
    for number in range(100):
        (folder / f"empty-{number}").touch()
    taken = folder_bytes(folder, PLENTY)
    assert MIB + 100 * LEAST_BYTES <= taken < 2 * MIB


def test_a_walk_ends_as_soon_as_it_has_found_too_much(tmp_path: Path) -> None:
    for number in range(200):
        (tmp_path / f"{number}").touch()
    assert 10 * LEAST_BYTES < folder_bytes(tmp_path, 10 * LEAST_BYTES) <= 12 * LEAST_BYTES
    assert folder_bytes(tmp_path / "nowhere", PLENTY) == 0


def test_what_is_nested_too_deep_to_be_reached_counts_as_too_much(tmp_path: Path) -> None:
    before, name = Path.cwd(), "d" * 250
    try:
        os.chdir(tmp_path)
        for _ in range(20):
            Path(name).mkdir()
            os.chdir(name)
        Path("hidden").write_bytes(b"x")
    finally:
        os.chdir(before)
    assert folder_bytes(tmp_path, PLENTY) > PLENTY
    subprocess.run(["rm", "-rf", "--", str(tmp_path / name)], check=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may look into every folder")
def test_a_folder_shut_against_its_owner_is_looked_into(tmp_path: Path) -> None:
    (tmp_path / "shut").mkdir()
    (tmp_path / "shut" / "large").write_bytes(b"x" * MIB)
    (tmp_path / "shut").chmod(0)
    assert folder_bytes(tmp_path, PLENTY) > MIB


def test_a_file_without_a_name_counts_while_somebody_holds_it_open(tmp_path: Path) -> None:
    with (tmp_path / "gone").open("wb") as file:
        file.write(b"x" * MIB)
        file.flush()
        assert unnamed_bytes([os.getpid()], tmp_path) < MIB
        (tmp_path / "gone").unlink()
        assert MIB <= unnamed_bytes([os.getpid()], tmp_path) < 2 * MIB
        assert unnamed_bytes([os.getpid()], Path("/proc")) == 0  # another disk's
    assert unnamed_bytes([os.getpid()], tmp_path) < MIB
