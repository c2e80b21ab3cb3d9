"""Processes of the operating system, seen from the daemon: who is still there, and ending what was left behind.

A process id alone is never trusted: it is used again after a while. Boot and start time go with it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from minion.process_table import entry_of

_PR_SET_CHILD_SUBREAPER: Final = 36
_GONE_S: Final = 5.0
# What this program starts itself: runners, the document check, who sends notices, who reads effects back or
# performs them again, who finds out for HQ why a routine does not run, and whether it can.
_STARTED: Final = (
    b"minion.runner", b"minion.check", b"minion.messenger", b"minion.runner.reading_back",
    b"minion.runner.redelivering", b"minion", b"minion.hq.preflight",
)  # fmt: skip
# Characters of a program's name that the system keeps.
_NAME_MOST: Final = 15
# Who started a child takes its end at once; what is dead for longer was left to nobody but this process.
_LEFT_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Identity:
    """A process: its id, its start time (clock ticks since boot) and the boot it belongs to; empty if unknown."""

    pid: int
    started: str
    boot_id: str


def identity_of(pid: int) -> Identity:
    """The identity of a process now; its start and boot are empty where the system does not tell."""
    boot = ""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return Identity(pid, _stat(pid)[1], boot)


def end_if_same(seen: Identity) -> bool:
    """Kill a process if it is still the one that was seen, and wait until it is gone; whether it was there.

    Raises `TimeoutError` when it does not go.
    """
    if not seen.started or identity_of(seen.pid) != seen:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(seen.pid, signal.SIGKILL)
    patience = time.monotonic() + _GONE_S
    while identity_of(seen.pid) == seen and _stat(seen.pid)[2] != "Z":
        if time.monotonic() > patience:
            raise TimeoutError(f"process {seen.pid} does not end")
        time.sleep(0.01)
    return True


def adopt_orphans() -> None:
    """On Linux, have descendants whose parents died come to this process, so that they can be ended."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_orphans(known: frozenset[int]) -> int:
    """Kill every child of this process that is not in `known`, and theirs as they arrive; how many were ended.

    Best effort, for runs without a sandbox: with one, the sandbox's pid namespace has ended them already.
    """
    ended = 0
    if sys.platform != "linux" or not _has_children():
        return ended
    for _ in range(100):
        strangers = [pid for pid in _children(os.getpid()) if pid not in known and not _is_ours(pid)]
        if not strangers:
            break
        dead = [pid for pid in strangers if _stat(pid)[2] == "Z"]
        for pid in set(strangers) - set(dead):
            ended += _ended(pid)
        foreign = [pid for pid in dead if not _may_be_ours(pid)]
        ended += sum(_ended(pid) for pid in foreign)
        dead = [pid for pid in dead if pid not in foreign]
        if dead:
            until = time.monotonic() + _LEFT_S
            while time.monotonic() < until and any(_stat(pid)[::2] == (os.getpid(), "Z") for pid in dead):
                time.sleep(0.01)
            ended += sum(_ended(pid) for pid in dead if _stat(pid)[::2] == (os.getpid(), "Z"))
    return ended


def _ended(pid: int) -> bool:
    """Whether a child was there to be killed, and to be taken off the list of processes."""
    with contextlib.suppress(ProcessLookupError, ChildProcessError):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        return True
    return False


def _is_ours(pid: int) -> bool:
    """Whether a child is one that this program started beside its runners, or is just about to be one."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        own = Path("/proc/self/cmdline").read_bytes().split(b"\0")
    except OSError:
        return True  # it is gone, or not for us to see
    return words == own or (words[1:3] == [b"-I", b"-m"] and words[3] in _STARTED)


def _may_be_ours(pid: int) -> bool:
    """Whether a dead child may be one that this program started: by then its name is all that is left of it."""
    entry = entry_of(pid)
    return entry is None or entry.name == Path(sys.executable).name[:_NAME_MOST]


def _has_children() -> bool:
    """Whether this process has any child: one question, where a search through all processes takes longer."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _children(parent: int) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        ppid, _, _ = _stat(int(entry.name))
        if ppid == parent:
            found.append(int(entry.name))
    return found


def _stat(pid: int) -> tuple[int, str, str]:
    """(parent, start time, state) of a process; (0, "", "") when it is gone or cannot be seen."""
    entry = entry_of(pid)
    return (0, "", "") if entry is None else (entry.parent, entry.started, entry.state)
