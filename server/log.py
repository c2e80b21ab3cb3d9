"""Logs: one JSON object a line on stderr; never a body or a token, also where an exception carries one.

A line has `ts`, `level` and `event`; what the caller says in `extra={"said": {…}}` follows: `run`, `token` (its
id), `path`, `status`, `ms` and the like.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from server.contract.digest import instant
from server.contract.redaction import Redactor
from server.contract.refusals import Refusal
from server.storage.committed import Happened

LONGEST: Final = 500
_FRAMES: Final = 8
# What these say is of the machine or of the product, and not of what somebody sent.
_SPEAK_OF_NOBODY: Final = (OSError, Refusal, ImportError)
# Of these there are many: each block and step of each run.
_MANY: Final = ("block.", "steps.")
_REDACTOR: Final = Redactor()
_log: Final = logging.getLogger("server.log")


class JsonLines(logging.Formatter):
    """Makes a line of a record: ours as they are said, those of libraries with their words cut short."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        line: dict[str, Any] = {
            "ts": instant(datetime.fromtimestamp(record.created, UTC)), "level": record.levelname.lower(),
        }  # fmt: skip
        said = getattr(record, "said", None)
        if isinstance(said, dict):
            line |= {"event": record.getMessage()}
            line |= {key: value for key, value in said.items() if value is not None}
        else:
            line |= {"event": record.name, "says": record.getMessage()}
        if record.exc_info and record.exc_info[1] is not None:
            line |= _of_error(record.exc_info[1])
        return json.dumps({key: _short(value) for key, value in line.items()}, ensure_ascii=False)


def to_stderr(level: str) -> None:
    """Have all that is logged go to stderr as such lines: ours from `level` on, libraries' from warnings on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
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
