"""A relay that adds a token to each request, for programs that can send none; all else passes as it is."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

_CHUNK = 65_536


@asynccontextmanager
async def relayed(listening: socket.socket, port: int, token: str) -> AsyncIterator[None]:
    """Take what comes at a socket to a port of this machine, each request with the token in its head."""
    under_way: set[asyncio.Task[None]] = set()

    async def came(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        under_way.add(task)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await _taken(reader, writer, port, token)
        under_way.discard(task)

    server = await asyncio.start_server(came, sock=listening)
    try:
        yield
    finally:
        server.close()
        for task in tuple(under_way):
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)


async def _taken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int, token: str) -> None:
    from_there, there = await asyncio.open_connection("127.0.0.1", port)
    back = asyncio.create_task(_back(from_there, writer))
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            there.write(head[:-2] + f"Authorization: Bearer {token}\r\n\r\n".encode())
            there.write(await reader.readexactly(_length(head)))
            await there.drain()
    finally:
        there.close()
        back.cancel()
        await asyncio.gather(back, return_exceptions=True)
        writer.close()


async def _back(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while part := await reader.read(_CHUNK):
        writer.write(part)
        await writer.drain()
    writer.close()


def _length(head: bytes) -> int:
    """How long a request's body is, which these programs always say."""
    lines = [line.partition(b":") for line in head.lower().split(b"\r\n")]
    assert b"transfer-encoding" not in {name for name, _, _ in lines}
    return next((int(value) for name, _, value in lines if name == b"content-length"), 0)
