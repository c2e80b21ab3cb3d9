"""Waiting in tests: for a condition, in bounded time, without guessing how long something takes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


def wait_until(condition: Callable[[], object], seconds: float) -> bool:
    """Whether `condition` came true within `seconds`; asked every 10 ms."""
    until = time.monotonic() + seconds
    pause = threading.Event()
    while not condition():
        if time.monotonic() >= until:
            return False
        pause.wait(0.01)
    return True
