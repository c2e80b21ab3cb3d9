"""Holds a run to its caps from outside: counts what it takes, and ends what it started once that is too much.

The daemon is the one who counts, because limits that a process inherits do not hold for root. Where the kernel's
groups may be used they are a wall around it, for what happens between two looks.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from minion.daemon import census
from minion.daemon.cgroups import Group, Struck
from server.contract.quota import Limits

# Between two looks. To walk through a large folder takes long: the next time is so much later that it costs a
# twentieth of a processor, but never so late that the cap would be forgotten.
LOOK_S: Final = 0.5
_SELDOM_S: Final = 4.0
_SHARE: Final = 20
# What a run may say of itself, in events and in each of its own logs.
TOLD_MOST: Final = 64 * 1024 * 1024
LOGS: Final = ("runner.log", "tool_host.log")
_QUELL_S: Final = 2.0
_MIB: Final = 1024 * 1024
_TOOL_HOST: Final = b"tool_host.py"


@dataclass(frozen=True, slots=True)
class Passed:
    """A cap that a run passed: `why` is what people read, `hint` what they can do."""

    why: str
    hint: str


def passed_time(limits: Limits) -> Passed:
    """The cap on the wall clock."""
    hint = "raise limits.wall_clock_s, or shorten what its skills do"
    return Passed(f"it passed its cap of {limits.wall_clock_s:,.10g} s", hint)


def passed_processes(limits: Limits) -> Passed:
    """The cap on processes."""
    hint = "raise limits.processes, or have its skills start fewer at once"
    return Passed(f"it passed its cap of {limits.processes:,} processes", hint)


def passed_memory(limits: Limits) -> Passed:
    """The cap on memory."""
    hint = "raise limits.memory_bytes, or have its skills hold less at once"
    return Passed(f"it passed its cap of {_size(limits.memory_bytes or 0)} of memory", hint)


def passed_disk(limits: Limits) -> Passed:
    """The cap on the run's folder."""
    hint = "raise limits.disk_bytes, or have its skills write less"
    return Passed(f"it passed its cap of {_size(limits.disk_bytes)} on the disk", hint)


def told_most(limits: Limits) -> int:
    """The bytes of events that a run may send, and that each of its logs may hold."""
    return min(TOLD_MOST, limits.disk_bytes)


def passed_telling(limits: Limits, what: str) -> Passed:
    """The cap on what a run says of itself: `what` are its events, or one of its logs."""
    smaller = limits.disk_bytes < TOLD_MOST
    hint = "raise limits.disk_bytes" if smaller else "have its skills say less: no setting raises this one"
    return Passed(f"it passed its cap of {_size(told_most(limits))} of {what}", hint)


class Watch:
    """Looks at one run every half second. `runner` is its process, `group` what encloses it, if anything does."""

    def __init__(self, limits: Limits, folder: Path, runner: int, group: Group | None) -> None:
        self._limits = limits
        self._folder = folder
        self._runner = runner
        self._group = group
        self._disk_due = 0.0

    async def until_passed(self) -> Passed:
        """Look again and again, beside the event loop, until the run has passed a cap; short runs cost nothing."""
        passed = None
        while passed is None:
            await asyncio.sleep(LOOK_S)
            passed = await asyncio.to_thread(self.look)
        return passed

    def look(self) -> Passed | None:
        """The cap that the run has passed, if it has."""
        limits, members, memory = self._limits, self._members(), self._limits.memory_bytes
        if len(members) > limits.processes:
            return passed_processes(limits)
        if memory is not None and census.memory_of(members, memory) > memory:
            return passed_memory(limits)
        return self._struck() or self._told() or self._disk_in_turn(members)

    def last_look(self) -> Passed | None:
        """What a run that failed by itself may have failed of: walls it ran into between two looks."""
        return self._struck() or self._told() or self._disk([])

    def quell(self) -> None:
        """Kill what is untrusted of the run, now: what its tool hosts hold, and whoever left them.

        The runner stays, to say how far it came. First all are stopped, and looked for again, until no new ones
        come: who is killed makes room for another, who is stopped takes it.
        """
        sealed = self._group is not None and self._group.seal()
        until, stopped = time.monotonic() + _QUELL_S, set[int]()
        while (new := self._untrusted() - stopped) and time.monotonic() < until:
            for pid in new:
                _send(pid, signal.SIGSTOP)
            stopped |= new
        while (left := self._untrusted() or self._tool_hosts()) and time.monotonic() < until:
            for pid in left:
                _send(pid, signal.SIGKILL)
            stopped |= left
            time.sleep(0.005)
        # Who was in a sandbox cannot be seen below it any more, and may need a moment yet.
        while any(map(census.lives, stopped)) and time.monotonic() < until:
            time.sleep(0.005)
        if sealed and self._group is not None:
            self._group.bound(tasks=self._limits.tasks, memory_bytes=None)

    def _members(self) -> list[int]:
        """Every process of the run."""
        members = self._group.members() if self._group is not None else []
        return members or [self._runner, *census.descendants(self._runner)]

    def _tool_hosts(self) -> set[int]:
        return _hosts_in(census.tree_of(self._runner), self._runner)

    def _untrusted(self) -> set[int]:
        """All but the runner, what it started for itself, and a tool host that only adopts orphans."""
        members = {*self._members()}  # before the tree: what begins meanwhile is then known for the runner's
        tree = census.tree_of(self._runner)
        theirs = {*census.below(_hosts_in(tree, self._runner), tree)}
        return (members - {self._runner, *census.below([self._runner], tree)}) | theirs

    def _struck(self) -> Passed | None:
        struck: Struck | None = self._group.struck() if self._group is not None else None
        if struck is None:
            return None
        return passed_processes(self._limits) if struck == "processes" else passed_memory(self._limits)

    def _told(self) -> Passed | None:
        for name in LOGS:
            with contextlib.suppress(OSError):
                if (self._folder / name).stat().st_size > told_most(self._limits):
                    return passed_telling(self._limits, f"its own log, {name}")
        return None

    def _disk_in_turn(self, members: list[int]) -> Passed | None:
        started = time.monotonic()
        if started < self._disk_due:
            return None
        passed = self._disk(members)
        took = time.monotonic() - started
        self._disk_due = started + took + min(_SHARE * took, _SELDOM_S)
        return passed

    def _disk(self, members: list[int]) -> Passed | None:
        most = self._limits.disk_bytes
        total = census.folder_bytes(self._folder, most)
        if total <= most:
            total += census.unnamed_bytes(members, self._folder)
        return passed_disk(self._limits) if total > most else None


def _hosts_in(tree: dict[int, list[int]], runner: int) -> set[int]:
    """The tool hosts (or the bubblewraps that hold them) that a runner started."""
    return {pid for pid in tree.get(runner, ()) if _TOOL_HOST in census.command_of(pid)}


def _send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _size(number: int) -> str:
    """Bytes as people say them, exact where they are whole."""
    for unit, size in (("GiB", 1024 * _MIB), ("MiB", _MIB)):
        if number >= size:
            return f"{number / size:,.4g} {unit}"
    return f"{number:,} bytes"
