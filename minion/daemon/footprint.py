"""Keeps the daemon's memory from growing with its threads: they share the allocator's arenas."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from typing import Final

# mallopt(3); an arena for each thread is made for programs that allocate in many threads at once.
_M_ARENA_MAX: Final = -8


def share_arenas() -> None:
    """Have all threads allocate from one arena, where the C library is glibc; before the first thread.

    Each of the few threads that look at processes and folders would else keep one or two megabytes for good.
    """
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError):  # another C library has other ways
            ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
