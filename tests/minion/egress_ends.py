"""The two ends of a run's proxy for tests: a client on its socket, and servers on loopback that keep what came."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from minion.runner.egress import Bounds, Proxy, Resolver
from server.contract.egress import Egress

Told = list[tuple[str, int, str]]
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def no_names(host: str, _port: int) -> Sequence[str]:
    """A resolver that knows no name."""
    raise OSError(f"{host} is looked up in a test that names none")


@asynccontextmanager
async def proxy_of(
    folder: Path, network: str | Sequence[str], *, resolve: Resolver = no_names, bounds: Bounds | None = None
) -> AsyncIterator[tuple[Proxy, Path, Told]]:
    """A proxy that listens in `folder`, its socket, and the hosts it told of."""
    told: Told = []
    egress = Egress.of(network)
    assert egress is not None
    proxy = Proxy(egress, blocked=lambda *said: told.append(said), resolve=resolve, bounds=bounds)
    path = folder / "egress"
    await proxy.open(path)
    try:
        yield proxy, path, told
    finally:
        await proxy.close()


class Far:
    """A server on loopback that keeps what came, by connection; it echoes, or answers HTTP and hangs up."""

    def __init__(self, *, answers: bool) -> None:
        self.came: list[bytes] = []
        self.port = 0
        self._answers = answers

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection: an answer after the head and what came with it, or an echo until the end."""
        place = len(self.came)
        self.came.append(b"")
        try:
            while part := await reader.read(65_536):
                self.came[place] += part
                if not self._answers:
                    writer.write(part)
                    await writer.drain()
                elif whole(self.came[place]):
                    writer.write(ANSWER)
                    break
        except ConnectionError:
            pass
        finally:
            writer.close()


def whole(request: bytes) -> bool:
    """Whether a request has come with its body."""
    head, empty, body = request.partition(b"\r\n\r\n")
    if b"transfer-encoding: chunked" in head.lower():
        return body.endswith(b"0\r\n\r\n")
    length = next(
        (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
    )
    return bool(empty) and len(body) >= length


@asynccontextmanager
async def far_end(*, answers: bool = False) -> AsyncIterator[Far]:
    """A server on a free port of 127.0.0.1."""
    far = Far(answers=answers)
    server = await asyncio.start_server(far.serve, "127.0.0.1", 0)
    far.port = server.sockets[0].getsockname()[1]
    try:
        yield far
    finally:
        server.close()


async def ask(path: Path, said: bytes) -> bytes:
    """All that the proxy answers to these bytes, until it hangs up."""
    reader, writer = await asyncio.open_unix_connection(str(path))
    try:
        writer.write(said)
        async with asyncio.timeout(20):
            return await reader.read()
    finally:
        writer.close()


async def tunnel(path: Path, target: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A tunnel to `host:port` that was opened."""
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    assert head == b"HTTP/1.1 200 Connection established\r\n\r\n", head
    return reader, writer
