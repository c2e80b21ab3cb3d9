"""The kernel's own groups of processes (cgroups), where they may be used: a wall around all that a run starts.

Groups are made only below the group that this process lives in, only where that may be written, and only
processes that this one started are moved. Version 2 is used wherever that holds. Version 1 knows no delegation:
below the root of a hierarchy nobody else counts by the group, anywhere else its maker does, so only there.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

Struck = Literal["processes", "memory_bytes"]
_CONTROLLERS: Final = ("pids", "memory")
_END_S: Final = 5.0
_LEAF: Final = "minion-itself"
_OCTAL: Final = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """One of the kernel's hierarchies: its version, what it controls, this process's folder in it."""

    version: int
    controllers: frozenset[str]
    folder: Path


class Group:
    """One run's group: a folder of the same name in every hierarchy that can be used."""

    def __init__(self, folders: Iterable[Path]) -> None:
        self.folders = tuple(folders)

    def bound(self, *, tasks: int, memory_bytes: int | None) -> None:
        """Set how many tasks (processes and their threads) and how much memory there may be in it."""
        self._write("pids.max", tasks)
        if memory_bytes is not None:
            self._write("memory.max", memory_bytes)
            # What may be swapped out instead would not be stopped but slowed down.
            self._write("memory.swap.max", 0)
            self._write("memory.limit_in_bytes", memory_bytes)

    def take_in(self, pid: int) -> bool:
        """Move a process in, and with it all that it will start; whether every hierarchy did."""
        return all(_said(folder / "cgroup.procs", pid) for folder in self.folders)

    def members(self) -> list[int]:
        """The living processes in it."""
        found: set[int] = set()
        for folder in self.folders:
            found |= {int(line) for line in _text(folder / "cgroup.procs").split()}
        return sorted(found - {0})  # 0: one that this process cannot see

    def struck(self) -> Struck | None:
        """Which of its bounds the kernel has had to enforce."""
        if self._counted("pids.events", "max"):
            return "processes"
        if self._counted("memory.events", "oom_kill") or self._counted("memory.oom_control", "oom_kill"):
            return "memory_bytes"
        return None

    def seal(self) -> bool:
        """Have nothing new begin in it; whether the kernel can be told so."""
        return self._write("pids.max", 0)

    def kill(self) -> bool:
        """End everything in it; False when something does not go."""
        whole = self._write("cgroup.kill", 1)
        if not whole and not self.seal():
            self._write("cgroup.freeze", 1)  # frozen ones start nothing and can be killed
        until = time.monotonic() + _END_S
        while members := self.members():
            if time.monotonic() > until:
                return False
            for pid in members if not whole else ():
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.005)
        return True

    def remove(self) -> bool:
        """Take the folders away; False when one has to stay, because somebody is still in it."""
        gone = True
        for folder in self.folders:
            until = time.monotonic() + 1.0
            while not _removed(folder):
                if time.monotonic() > until:
                    gone = False
                    break
                time.sleep(0.005)  # what was killed is taken out of it a moment later
        return gone

    def _write(self, name: str, value: int) -> bool:
        """Write to the file in every folder that has it; whether any took it."""
        took = [_said(folder / name, value) for folder in self.folders if (folder / name).exists()]
        return any(took)

    def _counted(self, name: str, what: str) -> bool:
        lines = [line.split() for folder in self.folders for line in _text(folder / name).splitlines()]
        return any(int(words[1]) > 0 for words in lines if words[:1] == [what])


@dataclass(frozen=True, slots=True)
class Ground:
    """Where groups can be made: the hierarchies that may be used."""

    hierarchies: tuple[Hierarchy, ...] = ()

    def group(self, name: str) -> Group:
        """The group of this name, made or not; its folders are those that are there."""
        return Group(path for one in self.hierarchies if (path := one.folder / name).is_dir())

    def clear_away(self, prefix: str, *, before: float) -> None:
        """Remove empty groups whose names begin so, made before then (seconds since 1970): nobody came back."""
        for folder in [path for one in self.hierarchies for path in one.folder.glob(f"{prefix}*")]:
            with contextlib.suppress(OSError):
                if folder.stat().st_mtime < before:
                    folder.rmdir()  # which the kernel refuses as long as anybody is in it

    def enclose(self, name: str, pid: int, *, tasks: int, memory_bytes: int | None) -> Group | None:
        """A new group around a process that this one has just started; None where there can be none."""
        folders = []
        for one in self.hierarchies:
            folder = one.folder / name
            if one.version == 1 and "pids" not in one.controllers and memory_bytes is None:
                continue
            with contextlib.suppress(OSError):
                folder.mkdir()
                if Group([folder]).take_in(pid):
                    folders.append(folder)
                else:
                    _removed(folder)
        group = Group(folders)
        group.bound(tasks=tasks, memory_bytes=memory_bytes)
        return group if folders else None


def find_ground(*, divide: bool, proc: Path = Path("/proc"), me: int | None = None) -> Ground:
    """Where this process may make groups. Nothing is made or moved, but see `divide`.

    Version 2 hands its controllers only to groups below one that holds no processes. With `divide`, where this
    process is alone in its own group, it moves itself, and nobody else, into a group below to make that so.
    """
    pid = os.getpid() if me is None else me
    found = [one for one in hierarchies(proc) if _usable(one)]
    for one in found:
        if divide and one.version == 2:
            _divide(one.folder, pid)
    return Ground(tuple(found))


def hierarchies(proc: Path = Path("/proc")) -> list[Hierarchy]:
    """The hierarchies that could hold groups of runs, version 2 first; as this process sees itself in them."""
    mounts = [_mount(line) for line in _text(proc / "self" / "mountinfo").splitlines()]
    found = []
    for line in _text(proc / "self" / "cgroup").splitlines():
        number, names, path = line.split(":", 2)
        controllers = frozenset(names.split(",")) if names else frozenset()
        version = 2 if number == "0" and not names else 1
        if "/.." in path or (version == 1 and (path != "/" or not controllers & {*_CONTROLLERS})):
            continue
        for kind, root, point, options in mounts:
            mounted = kind == "cgroup2" if version == 2 else kind == "cgroup" and controllers <= options
            if mounted and Path(path).is_relative_to(root):
                folder = point / Path(path).relative_to(root)
                folder = folder.parent if version == 2 and folder.name == _LEAF else folder
                found.append(Hierarchy(version, controllers, folder))
                break
    return sorted(found, key=lambda one: -one.version)


def controllers_of(one: Hierarchy) -> frozenset[str]:
    """What a group made in a hierarchy now can bound: `pids`, `memory`, both or neither."""
    if one.version == 2:
        return frozenset(_text(one.folder / "cgroup.subtree_control").split()) & {*_CONTROLLERS}
    return one.controllers & {*_CONTROLLERS}


def _usable(one: Hierarchy) -> bool:
    rights = ((one.folder, os.W_OK | os.X_OK), (one.folder / "cgroup.procs", os.W_OK))
    return all(os.access(path, right) for path, right in rights)


def _divide(folder: Path, me: int) -> None:
    """Have a version 2 group hand its controllers on, if that takes no more than moving this process."""
    there = frozenset(_text(folder / "cgroup.controllers").split()) & {*_CONTROLLERS}
    control = folder / "cgroup.subtree_control"
    if there <= frozenset(_text(control).split()) or _text(folder / "cgroup.procs").split() != [str(me)]:
        return
    leaf = folder / _LEAF
    with contextlib.suppress(OSError):
        leaf.mkdir(exist_ok=True)
        if _said(leaf / "cgroup.procs", me) and not _said(control, " ".join(f"+{name}" for name in sorted(there))):
            _said(folder / "cgroup.procs", me)
            _removed(leaf)


def _mount(line: str) -> tuple[str, str, Path, frozenset[str]]:
    """(kind, root, mount point, its own options) of a line of mountinfo."""
    before, _, after = line.partition(" - ")
    kind, _, options = after.split(" ")[:3]
    root, point = (_OCTAL.sub(lambda octal: chr(int(octal[1], 8)), word) for word in before.split()[3:5])
    return kind, root, Path(point), frozenset(options.split(","))


def _text(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text(errors="surrogateescape")
    return ""


def _said(path: Path, value: int | str) -> bool:
    """Whether a file of the kernel took a value; a file that is not there is not made."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.write(fd, str(value).encode()) > 0
    except OSError:
        return False
    finally:
        os.close(fd)


def _removed(folder: Path) -> bool:
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
