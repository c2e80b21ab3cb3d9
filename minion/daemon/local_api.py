"""The minion API: newline-delimited JSON over a unix socket that only this user can reach.

A request is `{v, id, verb, params}`; answers carry its id: `{id, begun}` at once, any number of `{id, event}`,
then one `{id, result}` or `{id, refusal}`. Requests of one connection may go on side by side. What was begun for a
client is done to its end, whether or not the client is still there. Nothing is begun for a client that has gone
by then: it gave up, and was told so.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import select
import socket
import struct
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from minion.daemon.hub import Asker, asking
from server.contract.digest import canonical_json
from server.contract.refusals import BadUse, Refusal

VERSION: Final = 1
# The longest request: as much as `minion import` takes, as base64.
REQUEST_BYTES: Final = 48 * 1024 * 1024
# What waits to be read by one client before the daemon waits for it.
_BEHIND: Final = 1024 * 1024
# What was begun for a client is finished when the daemon stops, if it takes no longer than this.
_FINISH_S: Final = 5.0
log = logging.getLogger(__name__)

Answer = Callable[[str, Mapping[str, Any], Asker], Awaitable[Any]]


@asynccontextmanager
async def listening(path: Path, answer: Answer) -> AsyncIterator[None]:
    """Answer requests at `path`, where nothing may be, until the block ends.

    Raises `OSError` when no socket can be made there.
    """
    requests: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _Connection(reader, writer, answer, requests).serve()

    before = os.umask(0o177)
    try:
        server = await asyncio.start_unix_server(connected, path=str(path), limit=REQUEST_BYTES)
    finally:
        os.umask(before)
    try:
        yield
    finally:
        server.close()
        if requests:
            await asyncio.wait(requests, timeout=_FINISH_S)
        for request in requests:
            request.cancel()


class _Connection:
    """One client: its requests, and what it is told, in order."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: Answer,
        requests: set[asyncio.Task[None]],
    ) -> None:  # fmt: skip
        self._reader = reader
        self._writer = writer
        self._answer = answer
        self._requests = requests
        self._askers: set[Asker] = set()

    async def serve(self) -> None:
        """Answer until the client goes away."""
        try:
            if not _is_same_user(self._writer.get_extra_info("socket")):
                return
            while line := await self._next():
                task = asyncio.ensure_future(self._request(line))
                self._requests.add(task)
                task.add_done_callback(self._requests.discard)
        except OSError:
            pass
        finally:
            for asker in self._askers:
                asker.gone.set()
            self._writer.close()
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()

    async def _next(self) -> bytes:
        try:
            line = await self._reader.readline()
        except ValueError:
            self._say({"id": None, "refusal": _refused(_bad("The request is too long."))})
            return b""
        return line if line.endswith(b"\n") else b""

    async def _request(self, line: bytes) -> None:
        number: Any = None
        asker = Asker(lambda event: self._say({"id": number, "event": event}))
        self._askers.add(asker)
        try:
            number, verb, params = _read(line)
            if self._is_left():
                log.info("not begun: %s; who asked for it has given up", verb[:40])
                return
            self._say({"id": number, "begun": True})
            asking.set(asker)
            self._say({"id": number, "result": await self._answer(verb, params, asker)})
        except Refusal as refusal:
            self._say({"id": number, "refusal": _refused(refusal)})
        except Exception as defect:
            log.exception("a request failed")
            words = f"The daemon could not do it: a defect ({type(defect).__name__})."
            self._say({"id": number, "refusal": _refused(_bad(words, hint="see daemon.log; report it"))})
        finally:
            self._askers.discard(asker)
        with contextlib.suppress(OSError):
            await self._writer.drain()

    def _is_left(self) -> bool:
        """Whether the client has closed its connection; one that only has nothing more to ask is there still."""
        if self._writer.is_closing():
            return True
        poll = select.poll()
        poll.register(self._writer.get_extra_info("socket"), 0)
        return any(seen & select.POLLHUP for _, seen in poll.poll(0))

    def _say(self, said: Mapping[str, Any]) -> None:
        if self._writer.is_closing():
            return
        if self._writer.transport.get_write_buffer_size() > _BEHIND:
            self._writer.transport.abort()  # it does not read: it must not make the daemon grow
            return
        self._writer.write(canonical_json(said).encode() + b"\n")


def _read(line: bytes) -> tuple[Any, str, Mapping[str, Any]]:
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        raise _bad("The request is not a line of JSON.") from None
    if not isinstance(said, dict) or said.get("v") != VERSION:
        raise _bad(f"The request is not of version {VERSION}.")
    number, verb, params = said.get("id"), said.get("verb"), said.get("params", {})
    if not isinstance(number, int) or not isinstance(verb, str) or not isinstance(params, dict):
        raise _bad("The request lacks its id, verb or params.")
    return number, verb, params


def _bad(says: str, hint: str = "use the command line of the same version as the daemon") -> BadUse:
    return BadUse("bad_request", says, hint=hint)


def _refused(refusal: Refusal) -> dict[str, Any]:
    return {"kind": type(refusal).__name__, **refusal.as_data()}


def _is_same_user(connection: socket.socket) -> bool:
    """Whether the other side is this user's process, or root's; else the rights of the folder must do."""
    if sys.platform != "linux":
        return True
    told = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return struct.unpack("3i", told)[1] in (os.geteuid(), 0)
