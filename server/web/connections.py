"""What a connection may cost before anybody knows whose it is: bytes and seconds until a request is whole.

The server underneath reads heads of any size and waits for any of them for ever; each of these limits ends a
connection that only costs. Seconds are of the event loop's clock.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

LARGEST_HEAD: Final = 65_536
MOST_HEADERS: Final = 200
# From the first byte to the end of the head, and from there to the end of the body.
HEAD_S: Final = 10.0
BODY_S: Final = 60.0
MOST_CONNECTIONS: Final = 512
_TOO_LARGE: Final = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
)


class BoundedHttp(HttpToolsProtocol):
    """HTTP whose heads end soon and are small, and whose bodies end, or whose connection does."""

    head_s = HEAD_S
    body_s = BODY_S
    most_connections = MOST_CONNECTIONS
    _timer: asyncio.TimerHandle | None = None
    _in_body = False
    _refused = False
    _head = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin a connection, unless there are too many already."""
        super().connection_made(transport)
        if len(self.connections) > self.most_connections:
            self._refused = True
            transport.abort()
        else:
            self._within(self.head_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """End a connection."""
        self._within(None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what came; a head is counted as it comes, whole or not."""
        if self._refused:
            return
        if not self._in_body:
            if self._timer is None:
                self._within(self.head_s)
            self._head += len(data)
        super().data_received(data)
        if not self._in_body and self._head > LARGEST_HEAD:
            self._refuse()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a line of the head; the white space around a value is no part of it (RFC 9110, 5.5)."""
        super().on_header(name, value.strip(b" \t"))

    def on_headers_complete(self) -> None:
        """Begin a request whose head is whole."""
        if self._refused:
            return
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if size > LARGEST_HEAD or len(self.headers) > MOST_HEADERS:
            self._refuse()
            return
        self._in_body = True
        self._within(self.body_s)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of the body, unless its request was refused."""
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request; the next one's head may come when it will."""
        self._within(None)
        self._in_body, self._head = False, 0
        if not self._refused:
            super().on_message_complete()

    def _refuse(self) -> None:
        if not self._refused:
            self._refused = True
            self._within(None)
            self.transport.write(_TOO_LARGE)
            self.transport.close()

    def _within(self, seconds: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if seconds is None else self.loop.call_later(seconds, self._too_slow)

    def _too_slow(self) -> None:
        self._timer = None
        if not self.transport.is_closing():
            self.transport.abort()


def bounded(**limits: Any) -> type[BoundedHttp]:
    """The protocol with other limits."""
    return type("Bounded", (BoundedHttp,), limits)
