"""Has routines kept by who owns the home: its daemon, or this process for a moment."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from minion.asking import ask
from minion.commands.context import warn
from minion.config import Home
from minion.routines.added import Added


def add_routine(home: Home, source: Path, body: bytes, *, replace: bool, command: str) -> Added:
    """Put a routine into the home. Raises a `Refusal` with nothing written."""
    params = {"source": str(source), "body": _sent(body), "replace": replace, "folder": str(Path.cwd())}
    return _kept(home, "routine.add", params, command)[0]


def edit_routine(home: Home, name: str, draft: Path, body: bytes, *, begun: bytes, command: str) -> Added:
    """Put a draft in the place of a routine's file, which held `begun` when editing began."""
    params = {"name": name, "draft": str(draft), "body": _sent(body), "begun": _sent(begun)}
    return _kept(home, "routine.edit", params | {"folder": str(Path.cwd())}, command)[0]


def change_routine(home: Home, name: str, changes: Mapping[str, Any], *, command: str) -> Added:
    """Change top-level keys of a routine's file, all else in it staying as written."""
    return _kept(home, "routine.change", {"name": name, "changes": dict(changes)}, command)[0]


def import_routines(
    home: Home, entries: Sequence[tuple[Path, bytes]], *, replace: bool, command: str
) -> list[Added]:
    """Put several routines into the home, all of them or none."""
    sent = [{"source": str(source), "body": _sent(body)} for source, body in entries]
    return _kept(
        home, "routine.import", {"entries": sent, "replace": replace, "folder": str(Path.cwd())}, command
    )


def remove_routine(home: Home, name: str, *, command: str) -> None:
    """Take a routine out of use. Raises `NotFound`."""
    ask(home, "routine.remove", {"name": name}, command=command, alert=warn)


def _kept(home: Home, verb: str, params: Mapping[str, Any], command: str) -> list[Added]:
    return [Added.of(one) for one in ask(home, verb, params, command=command, alert=warn)]


def _sent(body: bytes) -> str:
    return base64.b64encode(body).decode()
