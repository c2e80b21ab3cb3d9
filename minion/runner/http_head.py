"""The head of one HTTP request to the run's proxy, read strictly, and its body, exactly as long as it says.

Two programs that read one request differently are how a filter is passed by (request smuggling): what is not
plainly one request is refused.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

CHUNK: Final = 64 * 1024
LINE_MOST: Final = 4096  # bytes of one line between the chunks of a body
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_LENGTH: Final = re.compile(r"[0-9]{1,15}")
_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,12})[ \t]*(?:;[^\r\n]*)?\r\n")
# Headers for the connection to the proxy, not for the host behind it (RFC 9110, 7.6.1).
_OF_THE_HOP: Final = frozenset(
    {"connection", "keep-alive", "te", "trailer", "upgrade", "proxy-connection", "proxy-authorization", "host"}
)


class BadRequest(Exception):
    """What came is not one plain request; the message is a sentence without its full stop."""


@dataclass(frozen=True, slots=True)
class Head:
    """A request's head: `authority` is the text of host and port as asked for, unchecked; `path` is the
    rest.

    `length` is what the body has in bytes, None when it comes in chunks.
    """

    method: str
    authority: str
    path: str
    headers: tuple[tuple[str, str], ...]
    length: int | None

    @classmethod
    def read(cls, head: bytes) -> Head:
        """The head in the bytes up to the empty line, that line included. Raises `BadRequest`."""
        first, *lines = head[:-4].decode("latin-1").split("\r\n")
        words = first.split(" ")
        if len(words) != 3 or not _TOKEN.fullmatch(words[0]) or words[2] not in ("HTTP/1.1", "HTTP/1.0"):
            raise BadRequest("That is no request line of HTTP/1.1")
        method, target, _ = words
        headers = tuple(_header(line) for line in lines)
        authority, path = (target, "") if method == "CONNECT" else _parts(target)
        return cls(method, authority, path, headers, 0 if method == "CONNECT" else _length(headers))

    def forwarded(self, authority: str) -> bytes:
        """The head as the host at `authority` gets it: its own Host, nothing of the hop, and the last request."""
        named = [value for name, value in self.headers if name.lower() == "connection"]
        hop = _OF_THE_HOP | {token.strip().lower() for value in named for token in value.split(",")}
        hop -= {"content-length", "transfer-encoding"}
        kept = [f"{name}: {value}" for name, value in self.headers if name.lower() not in hop]
        lines = [f"{self.method} {self.path} HTTP/1.1", f"Host: {authority}", *kept, "Connection: close"]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")


async def read_body(head: Head, reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """The request's body as it comes, and not a byte of what follows it.

    Raises `ConnectionResetError` when it is cut short or its chunks are not what they say.
    """
    if head.length is not None:
        async for part in _exactly(head.length, reader):
            yield part
        return
    while True:
        line = await _line(reader)
        size = _SIZE.fullmatch(line)
        if size is None:
            raise ConnectionResetError
        # Chunk extensions mean nothing to anybody, and are left out.
        yield size[1] + b"\r\n"
        if int(size[1], 16) == 0:
            break
        async for part in _exactly(int(size[1], 16), reader):
            yield part
        if await _line(reader) != b"\r\n":
            raise ConnectionResetError
        yield b"\r\n"
    while await _line(reader) != b"\r\n":
        pass  # headers after the body could not be judged with the others: left out
    yield b"\r\n"


async def _exactly(length: int, reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while length:
        part = await reader.read(min(CHUNK, length))
        if not part:
            raise ConnectionResetError
        length -= len(part)
        yield part


async def _line(reader: asyncio.StreamReader) -> bytes:
    try:
        line = await reader.readline()
    except ValueError:
        raise ConnectionResetError from None
    if not line.endswith(b"\r\n") or len(line) > LINE_MOST:
        raise ConnectionResetError
    return line


def _header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    value = value.strip(" \t")
    # A line that begins with a blank once went on with the one before (obsolete folding): it has no name.
    if not colon or not _TOKEN.fullmatch(name) or any(sign < " " and sign != "\t" for sign in value):
        raise BadRequest("A header is not plainly one")
    return name, value


def _parts(target: str) -> tuple[str, str]:
    """The authority and the path of `http://host/path`."""
    scheme, _, rest = target.partition("://")
    if scheme.lower() != "http":
        raise BadRequest("A proxy is asked for http://HOST/PATH, and for all else by CONNECT")
    authority, slash, path = rest.partition("/")
    if not slash and "?" in authority:
        authority, _, query = authority.partition("?")
        slash, path = "/?", query
    if any(sign <= " " or sign == "\x7f" for sign in path):
        raise BadRequest("The address has a control character in it")
    return authority, (slash or "/") + path


def _length(headers: tuple[tuple[str, str], ...]) -> int | None:
    lengths = [value for name, value in headers if name.lower() == "content-length"]
    codings = [value.lower() for name, value in headers if name.lower() == "transfer-encoding"]
    if codings:
        if codings != ["chunked"] or lengths:
            raise BadRequest("A body is either of one length or chunked")
        return None
    if not lengths:
        return 0
    if len(lengths) != 1 or not _LENGTH.fullmatch(lengths[0]):
        raise BadRequest("A body has one length")
    return int(lengths[0])
