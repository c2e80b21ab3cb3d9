"""Logs: one JSON object a line on stderr; never a body or a token, also where an exception carries one.

A line has `ts`, `level` and `event`; what the caller says in `extra={"said": {…}}` follows: `run`, `token` (its
id), `path`, `status`, `ms` and the like.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import json
import logging
import sys
import time
import traceback
from collections.abc import Sequence
from typing import Any, Final, TextIO

from server.contract.redaction import Redactor
from server.contract.refusals import Refusal
from server.storage.committed import Happened

LONGEST: Final = 500
_FRAMES: Final = 8
# What these say is of the machine or of the product, and not of what somebody sent.
_SPEAK_OF_NOBODY: Final = (OSError, Refusal, ImportError)
# Of these there are many: each block and step of each run.
_MANY: Final = ("block.", "steps.")
# So many lines are written together at most, and so long one waits for others.
_TOGETHER: Final = 100
_SOON_S: Final = 0.05
# No word of anybody else's stands here.
_OURS: Final = frozenset({"ts", "level", "status", "ms", "token"})
_JSON: Final = json.JSONEncoder(ensure_ascii=False)
_REDACTOR: Final = Redactor()
_log: Final = logging.getLogger("server.log")


class JsonLines(logging.Formatter):
    """Makes a line of a record: ours as they are said, those of libraries with their words cut short."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        ts = f"{moment}.{int(record.created % 1 * 1000):03}Z"
        line: dict[str, Any] = {"ts": ts, "level": record.levelname.lower()}
        said = getattr(record, "said", None)
        if isinstance(said, dict):
            line |= {"event": record.getMessage()}
            line |= {key: value for key, value in said.items() if value is not None}
        else:
            line |= {"event": record.name, "says": record.getMessage()}
        if record.exc_info and record.exc_info[1] is not None:
            line |= _of_error(record.exc_info[1])
        return _JSON.encode({key: value if key in _OURS else _short(value) for key, value in line.items()})


class Lines(logging.StreamHandler[TextIO]):
    """Writes lines: on an event loop those of one moment together, what went wrong at once.

    Writing each by itself takes as long as what it tells of.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self.setFormatter(JsonLines())
        self._kept: list[str] = []
        atexit.register(self.flush)

    def emit(self, record: logging.LogRecord) -> None:
        """Take a line; it is written soon."""
        try:
            self._kept.append(self.format(record))
        except (TypeError, ValueError):  # what cannot be told stops nobody
            self.handleError(record)
            return
        loop = None
        if record.levelno < logging.ERROR and len(self._kept) < _TOGETHER:
            with contextlib.suppress(RuntimeError):
                loop = asyncio.get_running_loop()
        if loop is None:
            self.flush()
        elif len(self._kept) == 1:
            loop.call_later(_SOON_S, self.flush)

    def flush(self) -> None:
        """Write what was taken."""
        kept, self._kept = self._kept, []
        if kept:
            with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
                self.stream.write("".join(f"{line}\n" for line in kept))
                self.stream.flush()


def to_stderr(level: str) -> None:
    """Have all that is logged go to stderr as such lines: ours from `level` on, libraries' from warnings on."""
    handler = Lines(sys.stderr)
    # What no line says need not be found out (logging HOWTO, "Optimization").
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("server").setLevel(level.upper())


def log_committed(happened: Sequence[Happened]) -> None:
    """Log what a commit wrote (a listener of the desk): which event, of which run, by whom; not what it says."""
    for each in happened:
        level = logging.DEBUG if each.type.startswith(_MANY) else logging.INFO
        if _log.isEnabledFor(level):
            _log.log(level, each.type, extra={"said": {"run": each.run_id, "token": each.actor}})


def _of_error(error: BaseException) -> dict[str, Any]:
    """What is said of an exception: its kind, where it was raised, and its words where they are of nobody."""
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    places = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
    said: dict[str, Any] = {"error": type(error).__name__, "at": places}
    return said | ({"says": str(error)} if isinstance(error, _SPEAK_OF_NOBODY) else {})


def _short(value: Any) -> Any:
    return _REDACTOR.text(value)[:LONGEST] if isinstance(value, str) else value
