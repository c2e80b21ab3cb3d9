"""A program at a terminal of its own: what it shows is read until a prompt stands there, then a line is typed."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

# How long a prompt may take to appear before the test fails; a bound, not a measure.
PATIENCE_S: Final = 30.0
END_OF_INPUT: Final = "\x04"
INTERRUPT: Final = "\x03"
# A session gets its terminal from within; then the program takes the place of this line.
_TAKE_IT: Final = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)


class Terminal:
    """The person's side of a terminal that a program runs at."""

    def __init__(self, fd: int, process: subprocess.Popen[bytes]) -> None:
        self._fd = fd
        self.process = process
        self.shown = ""
        self._read = 0
        self._broken_off = False

    def wait_for(self, words: str) -> None:
        """Read until these words stand in what was shown since the last such wait."""
        until = time.monotonic() + PATIENCE_S
        while (found := self.shown.find(words, self._read)) < 0:
            if not self._take(until):
                raise AssertionError(f"{words!r} never appeared in {self.shown!r}")
        self._read = found + len(words)

    def type(self, prompt: str, line: str) -> None:
        """Wait for a prompt and type a line, with Enter; control characters go as they are."""
        self.wait_for(prompt)
        end = "" if line in (END_OF_INPUT, INTERRUPT) else "\n"
        os.write(self._fd, (line + end).encode())
        self._broken_off = line == INTERRUPT

    def ended(self) -> int:
        """Read on until the program is gone; its exit status."""
        until = time.monotonic() + PATIENCE_S
        while self._take(until if not self._broken_off else min(until, time.monotonic() + 1)):
            pass
        while self._broken_off and self.process.poll() is None and time.monotonic() < until:
            # Python misses a signal that comes just before it begins to read: whoever meant it presses again.
            with contextlib.suppress(OSError):
                os.write(self._fd, INTERRUPT.encode())
            while self._take(min(until, time.monotonic() + 1)):
                pass
        return self.process.wait(PATIENCE_S)

    def _take(self, until: float) -> bool:
        """Take in what is there now, waiting for something; whether more may come."""
        ready, _, _ = select.select([self._fd], [], [], max(0.0, until - time.monotonic()))
        if not ready:
            return False
        try:
            read = os.read(self._fd, 65_536)
        except OSError:  # Linux's word for a terminal that nobody holds open any more
            read = b""
        self.shown += read.decode("utf-8", "replace").replace("\r\n", "\n")
        return bool(read)


@contextmanager
def at_terminal(argv: Sequence[str], *, env: Mapping[str, str], cwd: Path) -> Iterator[Terminal]:
    """The program at a new terminal that controls it; gone at the end of the block."""
    ours, theirs = pty.openpty()
    settings = termios.tcgetattr(theirs)
    settings[3] &= ~termios.ECHOCTL
    termios.tcsetattr(theirs, termios.TCSANOW, settings)
    try:
        process = subprocess.Popen(
            [sys.executable, "-I", "-c", _TAKE_IT, *argv],
            env=dict(env), cwd=cwd, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        )  # fmt: skip
    finally:
        os.close(theirs)
    with process:
        try:
            yield Terminal(ours, process)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            os.close(ours)
