"""What the daemon says: lines with their time in a file of the home that never grows past a few megabytes."""

from __future__ import annotations

import logging
import os
import socket
import time
from pathlib import Path
from typing import Final

from minion.config import notify_socket

_MOST_BYTES: Final = 1024 * 1024


class _Kept(logging.Handler):
    """Writes lines to a file; at a megabyte it begins anew and the earlier one is kept beside it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line, or none where the disk refuses: the daemon goes on."""
        try:
            if self._path.exists() and self._path.stat().st_size > _MOST_BYTES:
                self._path.replace(self._path.with_name(self._path.name + ".1"))
            fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                os.write(fd, (self.format(record) + "\n").encode("utf-8", "backslashreplace"))
            finally:
                os.close(fd)
        except OSError:
            return


class _OneLine(logging.Formatter):
    """UTC time, level, text; what comes from outside stays on its line and drives no terminal."""

    converter = staticmethod(time.gmtime)

    def format(self, record: logging.LogRecord) -> str:
        """The record's line; a traceback follows on lines of its own, indented."""
        head, *more = super().format(record).splitlines() or [""]
        clean = ["".join(c if c.isprintable() else "�" for c in line) for line in (head, *more)]
        return "\n    ".join(clean)


def begin_log(path: Path, *, also_stderr: bool) -> None:
    """Have everything that is logged written to `path`, and for who collects it there, to stderr."""
    handlers: list[logging.Handler] = [_Kept(path), *([logging.StreamHandler()] if also_stderr else [])]
    for handler in handlers:
        handler.setFormatter(_OneLine("%(asctime)sZ %(levelname)-7s %(message)s", "%Y-%m-%dT%H:%M:%S"))
    logging.basicConfig(level=logging.INFO, handlers=handlers, force=True)


def tell_service_manager(state: str) -> None:
    """Tell systemd how the daemon stands (`READY=1`, `STOPPING=1`), where it asked to be told."""
    place = notify_socket()
    if not place:
        return
    address = "\0" + place[1:] if place.startswith("@") else place
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as told:
            told.connect(address)
            told.sendall(state.encode())
    except OSError:
        return
