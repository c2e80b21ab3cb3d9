"""Counts what a run takes, as seen from outside: its processes, their memory, the bytes of its folder."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc")
# A file takes a block of the disk though it is empty, so that a walk over many of them ends too.
LEAST_BYTES: Final = 4096
_BLOCK: Final = 512  # what st_blocks counts in, whatever the file system's own blocks are
_FILES_LOOKED_AT: Final = 4096
# A walk that cannot reach something must not say that nothing is there.
_OUT_OF_REACH: Final = frozenset({errno.ENAMETOOLONG, errno.ELOOP})


def can_count(proc: Path = PROC) -> bool:
    """Whether this system tells of its processes in a way that they can be counted."""
    return (proc / str(os.getpid()) / "stat").exists()


def descendants(root: int, proc: Path = PROC) -> list[int]:
    """The living processes below `root`, itself left out; none where the system does not tell."""
    return below({root}, tree_of(root, proc))


def lives(pid: int, proc: Path = PROC) -> bool:
    """Whether a process is there, and is no mere entry of one that ended."""
    return _parent_and_life(pid, proc)[1]


def tree_of(root: int, proc: Path = PROC) -> dict[int, list[int]]:
    """The living children of each process, at least of `root` and all below it."""
    if (proc / str(root) / "task" / str(root) / "children").exists():
        return _by_children(root, proc)
    return _by_parents(proc)


def below(roots: Iterable[int], tree: dict[int, list[int]]) -> list[int]:
    """All that a tree has below `roots`."""
    found: list[int] = []
    to_do = list(roots)
    while to_do:
        children = tree.get(to_do.pop(), [])
        found += children
        to_do += children
    return found


def command_of(pid: int, proc: Path = PROC) -> bytes:
    """The command line of a process, its words ended by NUL; empty when it is gone."""
    with contextlib.suppress(OSError):
        return (proc / str(pid) / "cmdline").read_bytes()
    return b""


def memory_of(pids: Iterable[int], most: int, proc: Path = PROC) -> int:
    """The resident bytes of processes; beyond `most`, what they share is counted once, as far as that is told.

    The plain sum is cheap and never too small. Only where it is too much is it worth asking more closely.
    """
    pages = {pid: _pages(pid, proc) for pid in pids}
    size = os.sysconf("SC_PAGE_SIZE")
    plain = sum(resident for resident, _ in pages.values()) * size
    if plain <= most:
        return plain
    total = 0
    for pid, (resident, shared) in pages.items():
        proportional = _proportional(pid, proc)
        total += proportional if proportional is not None else (resident - shared) * size
    return total


def folder_bytes(folder: Path, most: int) -> int:
    """The bytes that a folder takes on its disk, or, as soon as they are known to be more than `most`, so many.

    A file of several names counts once; links are never followed; what cannot be reached counts as too much.
    """
    total, seen = 0, set[tuple[int, int]]()
    to_do = [str(folder)]
    while to_do and total <= most:
        try:
            opened = _open_folder(to_do.pop())
        except OSError as refused:
            total += most + 1 if refused.errno in _OUT_OF_REACH else 0
            continue
        with opened as entries:
            for entry in entries:
                try:
                    told = entry.stat(follow_symlinks=False)
                except OSError as refused:  # gone meanwhile, or out of reach
                    total += most + 1 if refused.errno in _OUT_OF_REACH else 0
                    continue
                if stat.S_ISDIR(told.st_mode):
                    to_do.append(entry.path)
                elif told.st_nlink > 1:
                    if (told.st_dev, told.st_ino) in seen:
                        continue
                    seen.add((told.st_dev, told.st_ino))
                total += max(told.st_blocks * _BLOCK, LEAST_BYTES)
                if total > most:
                    break
    return total


def unnamed_bytes(pids: Iterable[int], folder: Path, proc: Path = PROC) -> int:
    """The bytes of files without a name on the folder's disk that processes hold open, as far as may be seen."""
    files: dict[int, int] = {}
    looked = 0
    with contextlib.suppress(OSError):
        device = folder.stat().st_dev
        for pid in pids:
            with contextlib.suppress(OSError), os.scandir(proc / str(pid) / "fd") as held:
                for entry in held:
                    looked += 1
                    with contextlib.suppress(OSError):
                        told = entry.stat()
                        if stat.S_ISREG(told.st_mode) and told.st_nlink == 0 and told.st_dev == device:
                            files[told.st_ino] = told.st_blocks * _BLOCK
            if looked > _FILES_LOOKED_AT:
                break
    return sum(files.values())


def _open_folder(path: str) -> AbstractContextManager[Iterator[os.DirEntry[str]]]:
    """The entries of a folder; one that was shut against its owner is opened. Raises `OSError`."""
    try:
        return os.scandir(path)
    except PermissionError:
        if sys.platform != "linux":
            raise
        # Through a descriptor, which no link put in its place can lead elsewhere.
        fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.chmod(f"/proc/self/fd/{fd}", 0o700)  # noqa: PTH101
        finally:
            os.close(fd)
        return os.scandir(path)


def _by_children(root: int, proc: Path) -> dict[int, list[int]]:
    """What the kernel itself says of children: it costs by their number, and not by the machine's processes."""
    tree: dict[int, list[int]] = {}
    to_do = [root]
    while to_do:
        pid = to_do.pop()
        found: list[int] = []
        with contextlib.suppress(OSError):
            for thread in os.listdir(proc / str(pid) / "task"):  # noqa: PTH208 - a name is enough, and often asked
                with contextlib.suppress(OSError):
                    told = (proc / str(pid) / "task" / thread / "children").read_bytes()
                    found += [child for child in map(int, told.split()) if _parent_and_life(child, proc)[1]]
        tree[pid] = found
        to_do += [child for child in found if child not in tree]
    return tree


def _by_parents(proc: Path) -> dict[int, list[int]]:
    """For kernels that do not tell of children: every process of the machine is asked for its parent."""
    tree: dict[int, list[int]] = {}
    with contextlib.suppress(OSError):
        for name in os.listdir(proc):  # noqa: PTH208
            if name.isdigit():
                parent, lives = _parent_and_life(int(name), proc)
                if lives:
                    tree.setdefault(parent, []).append(int(name))
    return tree


def _parent_and_life(pid: int, proc: Path) -> tuple[int, bool]:
    """(parent, whether it lives) of a process."""
    try:
        with open(f"{proc}/{pid}/stat", "rb") as file:  # noqa: PTH123 - asked for every process of the machine
            # The command's name stands in brackets and may hold anything: count from the last bracket.
            state, parent = file.read().rpartition(b")")[2].split()[:2]
    except (OSError, ValueError):
        return 0, False
    return int(parent), state not in b"ZX"


def _pages(pid: int, proc: Path) -> tuple[int, int]:
    """(resident, shared) pages of a process."""
    try:
        _, resident, shared = (proc / str(pid) / "statm").read_bytes().split()[:3]
    except (OSError, ValueError):
        return 0, 0
    return int(resident), int(shared)


def _proportional(pid: int, proc: Path) -> int | None:
    """The bytes of a process with its share of what is shared; None where that is not ours to see."""
    try:
        lines = (proc / str(pid) / "smaps_rollup").read_bytes().splitlines()
    except OSError:
        return None
    told = [line.split()[1] for line in lines if line.startswith(b"Pss:")]
    return int(told[0]) * 1024 if told else None
