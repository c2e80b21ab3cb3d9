"""What the kernel holds each process of a tool host to by itself: a second wall behind the parent's count."""

from __future__ import annotations

import os
import re
import resource
import sys
from typing import Final

from server.contract.quota import Limits

# Since then the kernel counts a user's tasks for each user namespace; before, all of that user's on the machine.
_COUNTED_APART: Final = (5, 14)


def rlimits(limits: Limits, *, sandboxed: bool) -> dict[int, int]:
    """The limits (number as the system has it, most) that a tool host sets for itself and all it starts.

    No file grows over the cap on the disk; no process leaves its memory behind in a file. Tasks are bounded where
    they are counted for the sandbox alone: elsewhere, whatever else this user runs would count too.
    """
    found = {resource.RLIMIT_FSIZE: limits.disk_bytes, resource.RLIMIT_CORE: 0}
    if sandboxed and tasks_are_bounded():
        found[resource.RLIMIT_NPROC] = limits.tasks
    return {number: _within(number, most) for number, most in found.items()}


def tasks_are_bounded(*, user: int | None = None, release: str | None = None) -> bool:
    """Whether a limit on tasks holds in a sandbox of this user: never for root, whom the kernel exempts."""
    found = re.match(r"(\d+)\.(\d+)", os.uname().release if release is None else release)
    new = found is not None and (int(found[1]), int(found[2])) >= _COUNTED_APART
    return sys.platform == "linux" and new and (os.geteuid() if user is None else user) != 0


def _within(number: int, most: int) -> int:
    """What is asked for, or less where this process itself may have no more."""
    _, hard = resource.getrlimit(number)
    return most if hard == resource.RLIM_INFINITY else min(most, hard)
