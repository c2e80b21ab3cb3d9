"""What the system tells of one process by its id: since when it is there, and whether it still is.

An id alone is never trusted: it is used again after a while.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

# A bit of the flags in /proc/PID/stat: the process has been ended and is being taken apart.
_EXITING: Final = 0x4


@dataclass(frozen=True, slots=True)
class Entry:
    """A process in the system's table: its parent, its start (clock ticks since boot), its state's letter.

    `dead`: it has come to its end, though somebody has yet to take note of it. `name`: its program's, shortened.
    """

    parent: int
    started: str
    state: str
    dead: bool
    name: str = ""


def entry_of(pid: int) -> Entry | None:
    """The entry of a process; None when it is gone or cannot be seen."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (OSError, ValueError):
        return None
    # The command's name stands in brackets and may hold anything: count from the last bracket.
    fields = text[text.rindex(")") + 2 :].split()
    state = fields[0]
    name = text[text.index("(") + 1 : text.rindex(")")]
    return Entry(int(fields[1]), fields[19], state, state in "ZXx" or bool(int(fields[6]) & _EXITING), name)


def started(pid: int) -> str:
    """When a process started, as its entry says; empty where the system does not tell."""
    entry = entry_of(pid)
    return "" if entry is None else entry.started


def is_there(pid: int, since: str = "") -> bool:
    """Whether a process has not come to its end, and is the one that started then; empty for any."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        pass  # it is another user's
    entry = entry_of(pid)
    return entry is None or (not entry.dead and since in ("", entry.started))
