"""One HTTP request out of the runner: no redirects, bounded in time and size, and honest about what is known."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import ssl
import threading
import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import http.client

# For one step of a connection, and for all of a request: a server that drips must not hold a run.
TIMEOUT_S: Final = 15.0
WHOLE_S: Final = 30.0
ANSWER_BYTES: Final = 1_048_576


class NotSent(Exception):
    """The request did not leave: nothing can have happened on the other side."""


class NoAnswer(Exception):
    """The request left and no answer came: whether it had an effect is not known."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer: its status and its body as text, capped at 1 MiB."""

    status: int
    text: str


def is_safe_url(url: str) -> bool:
    """Whether a URL may be called: https, or http on loopback, no user in it (DECISIONS "Routine and skills")."""
    try:
        parts = urllib.parse.urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return False
    if not host or any(character <= " " or character == "\x7f" for character in url) or "@" in parts.netloc:
        return False
    if parts.scheme == "https":
        return True
    if parts.scheme != "http":
        return False
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def request(
    method: str, url: str, *, body: bytes | None, headers: Mapping[str, str], whole_s: float = WHOLE_S
) -> Answer:
    """Send one request and read its answer within `whole_s` seconds; redirects are answers like any other.

    Raises `NotSent` when it did not leave, `NoAnswer` when it did and nothing whole came back.
    """
    import http.client  # 10 ms of every run, though few runs post anything

    if not is_safe_url(url):
        raise NotSent("its URL is not https (http only on loopback)")
    parts = urllib.parse.urlsplit(url)
    connection = _connection(parts)
    try:
        try:
            connection.connect()
        except OSError as error:
            raise NotSent(f"no connection: {error.strerror or type(error).__name__}") from error
        except UnicodeError as error:  # a host that no name can have
            raise NotSent("no connection: there is no such host") from error
        path = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
        try:
            with _cut_after(whole_s, connection.sock) as cut:
                connection.request(method, path, body, {"User-Agent": "minion-hq", **headers})
                response = connection.getresponse()
                answer = Answer(response.status, response.read(ANSWER_BYTES).decode("utf-8", "replace"))
        except (OSError, http.client.HTTPException) as error:
            raise NoAnswer(f"no answer: {type(error).__name__}") from error
        if cut.is_set():
            raise NoAnswer(f"no answer: it was not whole after {whole_s:g} s")
        return answer
    finally:
        connection.close()


@contextmanager
def _cut_after(seconds: float, connected: socket.socket) -> Iterator[threading.Event]:
    """Cut a connection off when the block takes too long; the event is set when that was done."""
    cut = threading.Event()

    def end() -> None:
        cut.set()
        with contextlib.suppress(OSError):
            connected.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield cut
    finally:
        timer.cancel()


def _connection(parts: urllib.parse.SplitResult) -> http.client.HTTPConnection:
    import http.client

    host = parts.hostname or ""
    if parts.scheme == "https":
        context = ssl.create_default_context()
        return http.client.HTTPSConnection(host, parts.port, timeout=TIMEOUT_S, context=context)
    return http.client.HTTPConnection(host, parts.port, timeout=TIMEOUT_S)
