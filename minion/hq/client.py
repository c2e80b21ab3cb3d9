"""The thin way to HQ: one JSON question at a time over one connection, each with an end in time."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from minion.hq.away import HqAway
from minion.hq.membership import Membership
from server.contract.refusals import Refusal, refusal_from_data
from server.contract.wire import PROTOCOL

CONNECT_S: Final = 10.0
ANSWER_S: Final = 20.0
_LARGEST_ANSWER: Final = 64 * 1024 * 1024
_PIECE: Final = 65_536
_OK: Final = 200
# Of the server, or of what stands in front of it: another time it may go well.
_PASSING: Final = frozenset({408, 425, 429, 500, 502, 503, 504})


class HqClient:
    """Asks HQ. One question at a time: each keeps the connection until it is answered."""

    def __init__(self, membership: Membership, *, version: str, answer_s: float = ANSWER_S) -> None:
        """Connect to nothing yet. An answer takes `answer_s` seconds at most, beside what HQ was asked to wait."""
        self._answer_s = answer_s
        parts = urlsplit(membership.url)
        self._secure = parts.scheme == "https"
        self._host, self._port = str(parts.hostname), parts.port
        self._headers = {
            "Authorization": f"Bearer {membership.token}", "Content-Type": "application/json",
            "User-Agent": f"minion/{version}",
        }  # fmt: skip
        self._connection: http.client.HTTPConnection | None = None
        self._closed = False
        self._guard = threading.Lock()

    async def ask(self, verb: str, body: Mapping[str, Any], *, wait_s: float = 0.0) -> dict[str, Any]:
        """HQ's answer to a verb; `wait_s` is how long HQ was asked to wait before it answers.

        Raises `HqAway`, and the `Refusal` that HQ answers with. Who is cancelled leaves the connection closed.
        """
        given_up = threading.Event()
        within_s = wait_s + self._answer_s
        asking = asyncio.ensure_future(asyncio.to_thread(self._ask, verb, dict(body), within_s, given_up))
        try:
            return await asyncio.shield(asking)
        except asyncio.CancelledError:
            given_up.set()
            self._drop()
            with contextlib.suppress(HqAway, Refusal):
                await asking
            raise

    def close(self) -> None:
        """Let go of the connection; whoever asks just now, or later, hears that HQ is away."""
        self._closed = True
        self._drop()

    def _ask(
        self, verb: str, said: Mapping[str, Any], within_s: float, given_up: threading.Event
    ) -> dict[str, Any]:
        until = time.monotonic() + within_s
        body = json.dumps({"protocol": PROTOCOL, **said}).encode()
        for fresh in (False, True):
            connection, is_new = self._connected(fresh=fresh)
            try:
                status, text = self._exchange(connection, verb, body, until)
                return _understood(status, text)
            except (OSError, http.client.HTTPException) as error:
                self._drop()
                # A connection that had been idle may have been closed meanwhile: HQ has not heard the question, or
                # takes it again as it took it the first time.
                if is_new or fresh or self._closed or given_up.is_set():
                    raise HqAway(_words(error)) from error
        raise HqAway("it closes its connections")

    def _connected(self, *, fresh: bool) -> tuple[http.client.HTTPConnection, bool]:
        with self._guard:
            if self._closed:
                raise HqAway("the minion is being stopped")
            if self._connection is not None and not fresh:
                return self._connection, False
            if self._secure:
                import ssl  # takes two megabytes, which only who uses it has to spare

                context = ssl.create_default_context()
                self._connection = http.client.HTTPSConnection(
                    self._host, self._port, timeout=CONNECT_S, context=context
                )
            else:
                self._connection = http.client.HTTPConnection(self._host, self._port, timeout=CONNECT_S)
            return self._connection, True

    def _exchange(
        self, connection: http.client.HTTPConnection, verb: str, body: bytes, until: float
    ) -> tuple[int, bytes]:
        if connection.sock is None:
            connection.connect()
        connection.sock.settimeout(_left(until))
        connection.request("POST", f"/v1/minion/{verb}", body=body, headers=self._headers)
        answer = connection.getresponse()
        pieces, size = [], 0
        # Piece by piece: what comes a byte at a time must not take for ever either.
        while piece := answer.read1(_PIECE):
            pieces.append(piece)
            size += len(piece)
            if size > _LARGEST_ANSWER:
                raise http.client.HTTPException("its answer is too large")
            if connection.sock is not None:
                connection.sock.settimeout(_left(until))
        answer.close()  # else the connection takes no other question
        if answer.will_close:
            self._drop()
        return answer.status, b"".join(pieces)

    def _drop(self) -> None:
        with self._guard:
            connection, self._connection = self._connection, None
        if connection is None:
            return
        if connection.sock is not None:
            with contextlib.suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)  # wakes who reads
        connection.close()


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError("it did not answer in time")
    return left


def _understood(status: int, text: bytes) -> dict[str, Any]:
    """What an answer says. Raises `HqAway` for what is no answer of HQ's, and HQ's own `Refusal`."""
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise HqAway(f"what answers there is no HQ (HTTP {status})")
    if status == _OK:
        return said
    error = said.get("error")
    if not isinstance(error, dict) or not isinstance(error.get("sentence"), str):
        raise HqAway(f"what answers there is no HQ (HTTP {status})")
    if status in _PASSING:
        raise HqAway(f"it says: {error['sentence']}")
    raise refusal_from_data("Refused", {"code": "hq_refused", "hint": "minion status", **error})


def _words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
