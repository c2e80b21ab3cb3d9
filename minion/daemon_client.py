"""Talks to the daemon that owns a home, over its socket: one connection, one request at a time.

Standard library without asyncio: a listing asks the daemon and should not wait for an event loop.
"""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from minion.config import Home
from minion.socket_place import noted_place
from server.contract.refusals import Refused, refusal_from_data

_VERSION: Final = 1
_CONNECT_S: Final = 5.0


class DaemonClient:
    """A connection to a daemon; made by `connected`."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lines = connection.makefile("rb")
        self._number = 0

    def __enter__(self) -> DaemonClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()
        self._connection.close()

    def ask(
        self, verb: str, params: Mapping[str, Any], *, on_event: Callable[[Mapping[str, Any]], None] | None = None,
        timeout_s: float | None = None,
    ) -> Any:  # fmt: skip
        """What the daemon answers; events that come before it go to `on_event`.

        Raises the `Refusal` that it answers with, `Refused` when it goes away or says nothing for `timeout_s`.
        """
        for said in self._answers(verb, params, timeout_s):
            if "result" in said:
                return said["result"]
            if "refusal" in said:
                refused = dict(said["refusal"])
                raise refusal_from_data(refused.pop("kind"), refused)
            if on_event is not None:
                on_event(said["event"])
        raise _gone("ended before it answered")

    def _answers(self, verb: str, params: Mapping[str, Any], timeout_s: float | None) -> Iterator[dict[str, Any]]:
        self._number += 1
        request = {"v": _VERSION, "id": self._number, "verb": verb, "params": params}
        self._connection.settimeout(timeout_s)
        try:
            self._connection.sendall(json.dumps(request).encode() + b"\n")
            while line := self._lines.readline():
                said = json.loads(line)
                # An interrupt may leave the end of an earlier answer on the line.
                if said["id"] in (self._number, None):
                    yield said
        except TimeoutError:
            raise _gone(f"did not answer within {timeout_s:g} s") from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _gone(f"cannot be talked to ({type(error).__name__})") from error


def connected(home: Home) -> DaemonClient | None:
    """A connection to the daemon of this home; None when none answers."""
    path = noted_place(home)
    if path is None:
        return None
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(_CONNECT_S)
        connection.connect(str(path))
        return DaemonClient(connection)
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


def _gone(words: str) -> Refused:
    return Refused("daemon_gone", f"The daemon {words}.", hint="minion status")
