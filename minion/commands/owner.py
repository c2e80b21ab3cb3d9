"""Has things done by who owns the home: its daemon, or this process for a moment."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from minion.asking import ask
from minion.commands.context import warn
from minion.config import Home, holder_of
from minion.daemon_client import DaemonClient, connected, silent
from minion.routines.added import Added
from server.contract.refusals import Refused

# A daemon that has the lock can be reached a moment later; one that ends lets go of it.
_PATIENCE_S: Final = 5.0


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


@contextmanager
def daemon_of(home: Home, *, patience_s: float = _PATIENCE_S) -> Iterator[DaemonClient]:
    """A connection to the home's daemon. Raises `Refused` where none runs, or none can be reached in time."""
    until = time.monotonic() + patience_s
    while (client := connected(home)) is None:
        refusal = silent(home)
        if refusal is None:
            raise Refused("no_daemon", "No daemon runs this minion.", hint="minion up")
        if time.monotonic() > until:
            raise refusal
        time.sleep(0.05)
    with client:
        yield client


@contextmanager
def naming_the_foreground(home: Home) -> Iterator[None]:
    """Say of a home that another command owns how that one is stopped: it takes no requests as a daemon does."""
    try:
        yield
    except Refused as refusal:
        holder = holder_of(home)
        if refusal.code != "home_held" or holder is None:
            raise
        refusal.hint = f"it takes no requests: press Ctrl-C where it runs, or `kill -INT {holder[0]}`"
        raise
