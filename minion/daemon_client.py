"""Talks to the daemon that owns a home, over its socket: one connection, one request at a time.

Standard library without asyncio: a listing asks the daemon and should not wait for an event loop.
"""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from minion.config import Home, holder_now
from minion.socket_place import noted_place
from server.contract.refusals import Refused, refusal_from_data

_VERSION: Final = 1
_CONNECT_S: Final = 5.0
# A daemon that is well says in milliseconds that it has begun, whatever it was asked for.
SIGN_S: Final = 10.0
# What is known of a daemon that owns the home and says nothing.
SILENT: Final = "it is only just starting, or it hangs"
# Refused so: nobody is there, or nobody answers.
LOST: Final = ("daemon_gone", "daemon_silent")
# What the lock of a home names that a daemon owns.
DAEMON: Final = "minion up"


class DaemonClient:
    """A connection to a daemon; made by `connected`."""

    def __init__(self, connection: socket.socket, home: Home | None = None) -> None:
        self._connection = connection
        self._home = home
        self._lines = connection.makefile("rb")
        self._number = 0
        self._left = False

    def __enter__(self) -> DaemonClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()
        self._connection.close()

    def ask(
        self, verb: str, params: Mapping[str, Any], *, on_event: Callable[[Mapping[str, Any]], None] | None = None,
        timeout_s: float | None = None, sign_s: float = SIGN_S,
    ) -> Any:  # fmt: skip
        """What the daemon answers; events that come before it go to `on_event`.

        Raises the `Refusal` that it answers with, and `Refused` when it goes away or says nothing: for `timeout_s`
        seconds, or without them for `sign_s` before it has begun.
        """
        for said in self._answers(verb, params, timeout_s, sign_s):
            if "result" in said:
                return said["result"]
            if "refusal" in said:
                refused = dict(said["refusal"])
                raise refusal_from_data(refused.pop("kind"), refused)
            if on_event is not None and "event" in said:
                on_event(said["event"])
        if self._left:
            raise self._silent(sign_s)
        raise _gone("ended before it answered")

    def leave(self) -> None:
        """Have who waits for an answer wait no longer, from another thread: the daemon says nothing any more."""
        self._left = True
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)

    def _answers(
        self, verb: str, params: Mapping[str, Any], timeout_s: float | None, sign_s: float
    ) -> Iterator[dict[str, Any]]:
        self._number += 1
        request = {"v": _VERSION, "id": self._number, "verb": verb, "params": params}
        patience_s = sign_s if timeout_s is None else timeout_s
        self._connection.settimeout(patience_s)
        try:
            self._connection.sendall(json.dumps(request).encode() + b"\n")
            while line := self._lines.readline():
                said = json.loads(line)
                # An interrupt may leave the end of an earlier answer on the line.
                if said["id"] in (self._number, None):
                    self._connection.settimeout(timeout_s)
                    yield said
        except TimeoutError:
            raise self._silent(patience_s) from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _gone(f"cannot be talked to ({type(error).__name__})") from error

    def _silent(self, waited_s: float) -> Refused:
        found = silent(self._home) if self._home is not None else None
        return found or _gone(f"did not answer within {waited_s:g} s")


def connected(home: Home) -> DaemonClient | None:
    """A connection to the daemon of this home; None when none answers."""
    path = noted_place(home)
    if path is None:
        return None
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(_CONNECT_S)
        connection.connect(str(path))
        return DaemonClient(connection, home)
    except OSError:
        with contextlib.suppress(OSError):
            connection.close()
        return None


def daemon_is_up(home: Home) -> bool:
    """Whether a daemon can be reached for this home."""
    client = connected(home)
    if client is None:
        return False
    with client:
        return True


def daemon_pid(home: Home) -> int | None:
    """The process that owns the home as its daemon; None where none does."""
    holder = holder_now(home)
    return holder[0] if holder is not None and holder[1] == DAEMON else None


def answer_now(home: Home, verb: str, *, within_s: float = SIGN_S) -> dict[str, Any] | None:
    """What the home's daemon answers to a verb; None where none runs, or it says nothing in time.

    Raises the `Refusal` that it answers with.
    """
    client = connected(home)
    if client is None:
        return None
    try:
        with client:
            return dict(client.ask(verb, {}, timeout_s=within_s))
    except Refused as refusal:
        if refusal.code not in LOST:
            raise
        return None


def live_now(home: Home, *, within_s: float = SIGN_S) -> dict[str, Any] | None:
    """What the home's daemon says of itself, or that it does not answer in time; None where none runs."""
    live = answer_now(home, "live", within_s=within_s)
    if live is not None:
        return live
    pid = daemon_pid(home)
    return None if pid is None else unanswered(pid)


def unanswered(pid: int) -> dict[str, Any]:
    """What there is to say of a daemon that owns the home and says nothing itself."""
    return {"pid": pid, "health": "silent", "trouble": [SILENT], "fix": way_out(pid)}


def silent(home: Home) -> Refused | None:
    """The refusal for a daemon that owns the home and does not answer; None where no daemon owns it."""
    pid = daemon_pid(home)
    if pid is None:
        return None
    return Refused("daemon_silent", f"The daemon (process {pid}) does not answer: {SILENT}.", hint=way_out(pid))


def way_out(pid: int, then: str = "minion up") -> str:
    """The command that ends a daemon which hangs, and goes on with `then` when it is gone."""
    return f"kill -KILL {pid} && sleep 1 && {then}"


def _gone(words: str) -> Refused:
    return Refused("daemon_gone", f"The daemon {words}.", hint="minion status")
