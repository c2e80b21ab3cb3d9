"""The proxy of a run: the one way from a sandbox to the network, and only to the hosts its routine may reach.

It speaks HTTP on a unix socket in the run's folder: CONNECT, and plain `GET http://…`. A name is looked up here
and nowhere else, every address it leads to is judged, and one that was judged is what is connected to: a second
look-up could answer otherwise. What goes through a tunnel is not looked into.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from minion.runner.http_head import BadRequest, Head, read_body
from minion.runner.name_lookup import NameLookup
from server.contract.egress import Address, BadHost, Egress, address_of, authority_of

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
Blocked = Callable[[str, int, str], None]
Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]

HEAD_BYTES: Final = 16 * 1024
CHUNK: Final = 64 * 1024
# Different hosts that are told of; a session that asks for ever new ones fills no log.
MOST_TOLD: Final = 200
# Addresses of one name that are tried; the others are judged all the same.
MOST_TRIED: Final = 4
REFUSED: Final = "host_not_allowed"


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much one session may have of its proxy: connections at once, and seconds for each part of one."""

    connections: int = 64
    head_s: float = 15.0
    resolve_s: float = 10.0
    connect_s: float = 10.0
    idle_s: float = 300.0


class _Answer(Exception):
    """What is answered instead of being done: a status, a word for programs, a sentence for whoever reads it."""

    def __init__(self, status: int, word: str, sentence: str) -> None:
        super().__init__(sentence)
        self.status, self.word, self.sentence = status, word, sentence


class Proxy:
    """A proxy that listens from `open` to `close`; `sent` and `received` count bytes as the session sees them.

    `blocked(host, port, why)` is told once of each host that was refused, as it was asked for.
    """

    def __init__(
        self, egress: Egress, *, blocked: Blocked, resolve: Resolver | None = None, bounds: Bounds | None = None
    ) -> None:
        self.sent = 0
        self.received = 0
        self._egress = egress
        self._blocked = blocked
        self._resolve = resolve or NameLookup()
        self._bounds = bounds or Bounds()
        self._told: set[str] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._path: Path | None = None

    async def open(self, path: Path) -> None:
        """Listen on a unix socket at `path`, which only this user may connect to. Raises `OSError`."""
        listener = _listener(path)
        self._path = path
        self._server = await asyncio.start_unix_server(self._accept, sock=listener, limit=HEAD_BYTES)

    async def close(self) -> None:
        """End every connection and take no more; may be called often."""
        if self._server is not None:
            self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._serving) >= self._bounds.connections:
            # Not waited for: whoever opens ever more of them must not use up the runner's descriptors.
            says = f"{self._bounds.connections} connections are open; close some first."
            writer.write(_spoken(_Answer(503, "too_many_connections", says)))
            writer.close()
            return
        # A task of our own, not asyncio's: it is counted from the first moment, and ends with the proxy.
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        outside: asyncio.StreamWriter | None = None
        said_all = False
        try:
            head = await self._head(reader)
            host, port = self._asked(head)
            far, outside = await self._reach(host, port)
            if head.method == "CONNECT":
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                self._send(outside, head.forwarded(_authority(host, port)))
            await self._join((reader, writer), (far, outside), head)
            said_all = True
        except _Answer as answer:
            await _answer(reader, writer, answer)
        except BadRequest as error:
            await _answer(reader, writer, _Answer(400, "bad_request", f"{error}."))
        except OSError:
            pass  # one of the two ends is gone, or silent for too long: there is nobody to tell
        finally:
            for end in (writer, outside):
                if end is not None:
                    # What an end that reads no more has not taken yet must not stay here for ever.
                    end.close() if said_all else end.transport.abort()

    async def _head(self, reader: asyncio.StreamReader) -> Head:
        """The head of the one request that a connection may make. Raises `_Answer` or `BadRequest`."""
        try:
            async with asyncio.timeout(self._bounds.head_s):
                return Head.read(await reader.readuntil(b"\r\n\r\n"))
        except TimeoutError:
            raise _Answer(408, "request_timeout", "The request did not come in time.") from None
        except asyncio.LimitOverrunError:
            raise _Answer(431, "head_too_large", f"A request's head has {HEAD_BYTES} bytes at most.") from None
        except asyncio.IncompleteReadError:
            raise ConnectionResetError from None

    def _asked(self, head: Head) -> tuple[str, int]:
        """The host and port that are asked for, spelled in one way. Raises `_Answer`."""
        try:
            return authority_of(head.authority, None if head.method == "CONNECT" else 80)
        except BadHost as error:
            raise self._refusal(head.authority, 0, str(error)) from None

    async def _reach(self, host: str, port: int) -> Ends:
        """A connection to a host, at an address that was judged. Raises `_Answer`."""
        why = self._egress.why_not(host, port)
        if why is not None:
            raise self._refusal(host, port, why)
        addresses = await self._addresses(host, port)
        for address in addresses:
            why = self._egress.why_not_address(host, port, address) or self._at_home(host, port, address)
            if why is not None:
                raise self._refusal(host, port, why)
        failure = "it did not answer in time"
        for address in addresses[:MOST_TRIED]:
            try:
                async with asyncio.timeout(self._bounds.connect_s):
                    return await asyncio.open_connection(str(address), port, limit=CHUNK)
            except TimeoutError:
                continue
            except OSError as error:
                failure = error.strerror or type(error).__name__
        raise _Answer(502, "not_reached", f"{host}:{port} could not be reached: {failure}.")

    async def _addresses(self, host: str, port: int) -> list[Address]:
        address = address_of(host)
        if address is not None:
            return [address]
        try:
            async with asyncio.timeout(self._bounds.resolve_s):
                found = await self._resolve(host, port)
        except (OSError, UnicodeError):  # a TimeoutError is an OSError
            found = ()
        if not found:
            raise _Answer(502, "name_not_resolved", f"No address of {host} was found.")
        return [ip_address(text) for text in dict.fromkeys(found)]

    def _at_home(self, host: str, port: int, address: Address) -> str | None:
        """Why not, when an address that looks like any other is one of this machine's own."""
        judged = address.is_loopback or self._egress.lists_address(address, port)
        if judged or not _is_own(address):
            return None
        return f"{'is' if host == str(address) else f'leads to {address},'} an address of this machine"

    def _refusal(self, host: str, port: int, why: str) -> _Answer:
        """The answer to a call that is not allowed, which is told of."""
        shown = "".join(sign if sign.isprintable() else "?" for sign in host[:260]) or "?"
        if shown not in self._told and len(self._told) < MOST_TOLD:
            self._told.add(shown)
            self._blocked(shown, port, why)
        asked = f"{shown}:{port}" if port else shown
        return _Answer(403, REFUSED, f"{asked} {why}. Do without it, and say in your report if it is needed.")

    async def _join(self, near: Ends, far: Ends, head: Head) -> None:
        """Hand bytes on both ways until both ends have said all, one is gone, or nothing comes for too long."""
        async with asyncio.timeout(self._bounds.idle_s) as limit:
            up = asyncio.ensure_future(self._upward(near, far, head, limit))
            down = asyncio.ensure_future(self._downward(near, far, limit))
            waiting = {up, down}
            try:
                # In plain HTTP the answer's end is the end: there is no second request on a connection.
                while waiting and not (down.done() and head.method != "CONNECT"):
                    done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                    for task in done:
                        task.result()  # where one end is gone, the other is let go too
            finally:
                up.cancel()
                down.cancel()
                await asyncio.gather(up, down, return_exceptions=True)

    async def _upward(self, near: Ends, far: Ends, head: Head, limit: asyncio.Timeout) -> None:
        reader, writer = near[0], far[1]
        if head.method != "CONNECT":
            async for part in read_body(head, reader):
                await self._hand_on(part, writer, limit)
                self.sent += len(part)
            return
        while part := await reader.read(CHUNK):
            await self._hand_on(part, writer, limit)
            self.sent += len(part)
        writer.write_eof()

    async def _downward(self, near: Ends, far: Ends, limit: asyncio.Timeout) -> None:
        reader, writer = far[0], near[1]
        while part := await reader.read(CHUNK):
            await self._hand_on(part, writer, limit)
            self.received += len(part)
        writer.write_eof()

    async def _hand_on(self, part: bytes, writer: asyncio.StreamWriter, limit: asyncio.Timeout) -> None:
        limit.reschedule(asyncio.get_running_loop().time() + self._bounds.idle_s)
        writer.write(part)
        await writer.drain()

    def _send(self, writer: asyncio.StreamWriter, head: bytes) -> None:
        writer.write(head)
        self.sent += len(head)


def _listener(path: Path) -> socket.socket:
    """A unix socket at a path of any length: the kernel takes 107 bytes, and a folder's descriptor is short."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        listener.bind(f"/proc/self/fd/{folder}/{path.name}")
        path.chmod(0o600)
        listener.listen(128)
    except OSError:
        listener.close()
        raise
    finally:
        os.close(folder)
    return listener


def _is_own(address: Address) -> bool:
    """Whether packets to an address would not leave this machine: its kernel would send them from that address."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((str(address), 9))  # a datagram socket sends nothing when it connects
        return bool(probe.getsockname()[0] == str(address))
    return False


def _authority(host: str, port: int) -> str:
    name = f"[{host}]" if ":" in host else host
    return name if port == 80 else f"{name}:{port}"


def _spoken(answer: _Answer) -> bytes:
    """The answer with its word in the status line, too: programs show that even where they drop the body."""
    body = f"{answer.word}: {answer.sentence}\n".encode("ascii", "replace")
    head = (
        f"HTTP/1.1 {answer.status} {answer.word}\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode() + body


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: _Answer) -> None:
    """Say why not, and see that it is read."""
    writer.write(_spoken(answer))
    with contextlib.suppress(OSError):
        async with asyncio.timeout(5):
            await writer.drain()
            writer.write_eof()
            # What is left unread would make the kernel take the answer back (a reset) before it is read.
            while await reader.read(CHUNK):
                pass
