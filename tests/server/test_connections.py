"""Connections that only cost: slow and endless heads and bodies end, and others are answered all the while."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from server.actions.desk import Desk
from server.web.connections import LARGEST_HEAD, MOST_HEADERS, BoundedHttp, bounded
from tests.server.desks import desk_at
from tests.server.gates import answering, make_token

pytestmark = pytest.mark.heavy
# Long enough for a request of ours, short enough for a test.
QUICK = {"head_s": 0.5, "body_s": 0.5}
ENDS_S = 30.0
Scene = Callable[[Desk, int], Awaitable[Any]]


def play(folder: Path, scene: Scene, protocol: type[BoundedHttp] = BoundedHttp) -> Any:
    """What a scene at a real server answers."""

    async def played() -> Any:
        async with desk_at(folder) as desk, answering(desk, protocol) as port:
            return await scene(desk, port)

    return asyncio.run(played())


def head(port: int, *lines: str, path: str = "/healthz", method: str = "GET") -> bytes:
    """The beginning of a request, without the empty line that ends its head."""
    said = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", *lines]
    return ("\r\n".join(said) + "\r\n").encode()


async def healthy(port: int) -> bool:
    """Whether the server answers somebody else."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head(port, "Connection: close") + b"\r\n")
    said = await asyncio.wait_for(reader.read(), ENDS_S)
    writer.close()
    return said.startswith(b"HTTP/1.1 200")


async def left_alone(port: int, first: bytes) -> bytes:
    """All that comes back until the server ends the connection, when nothing follows what was sent first."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(first)
    try:
        return await asyncio.wait_for(reader.read(), ENDS_S)
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def poured(port: int, first: bytes, piece: bytes, most: int) -> tuple[int, bytes]:
    """How many bytes went out before the server ended the connection, or `most`; and what it said."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(first)
    sent, said = 0, b""
    try:
        while sent < most and not reader.at_eof():
            writer.write(piece)
            sent += len(piece)
            await asyncio.wait_for(writer.drain(), ENDS_S)
    except ConnectionError:
        pass
    with contextlib.suppress(ConnectionError):
        said = await asyncio.wait_for(reader.read(), ENDS_S)
    writer.close()
    return sent, said


@pytest.mark.promise("WEB-1")
def test_whoever_says_a_request_too_slowly_is_cut_off_and_others_are_answered(tmp_path: Path) -> None:
    async def scene(desk: Desk, port: int) -> None:
        token = (await make_token(desk, "admin"))["token"]
        long = head(port, f"Authorization: Bearer {token}", "Content-Length: 1000", path="/mcp", method="POST")
        heads = [b"", b"GET", head(port), head(port) + b"X-Slow: 1", b"\r\n\r\n"]
        beginnings = [*heads, long + b"\r\n", long + b"\r\n{"]
        slow = [asyncio.create_task(left_alone(port, each)) for each in beginnings * 8]
        while not all(each.done() for each in slow):
            assert await healthy(port)
        assert {each.result()[:12] for each in slow} == {b""}

    play(tmp_path, scene, bounded(**QUICK))


@pytest.mark.promise("WEB-1")
def test_a_connection_that_was_answered_is_not_kept_for_ever_by_empty_lines(tmp_path: Path) -> None:
    async def scene(_: Desk, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head(port) + b"\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        async with asyncio.timeout(ENDS_S):
            while not reader.at_eof():
                writer.write(b"\r\n")
                with contextlib.suppress(TimeoutError, ConnectionError):
                    await asyncio.wait_for(reader.read(100), 0.05)
        writer.close()

    play(tmp_path, scene, bounded(**QUICK))


@pytest.mark.promise("WEB-1")
def test_heads_without_an_end_are_cut_off_and_take_no_memory(tmp_path: Path) -> None:
    async def scene(_: Desk, port: int) -> None:
        most = 64 * 1024 * 1024
        floods = [
            (head(port) + b"X-Endless: ", b"x" * 65_536), (head(port), b"X-Many: 1\r\n" * 5000),
            (b"GET /", b"x" * 65_536), (head(port) + b"X", b"-" * 65_536),
        ]  # fmt: skip
        for first, piece in floods:
            sent, said = await poured(port, first, piece, most)
            assert sent < most / 4  # what lies in the buffers between us, and no more
            assert said[:12] in (b"", b"HTTP/1.1 431", b"HTTP/1.1 400")
            assert await healthy(port)

    play(tmp_path, scene)


def test_a_head_that_is_large_and_whole_is_refused_with_its_reason(tmp_path: Path) -> None:
    async def scene(_: Desk, port: int) -> None:
        large = head(port, f"X-Large: {'x' * LARGEST_HEAD}") + b"\r\n"
        many = head(port, *["X-Many: 1"] * MOST_HEADERS) + b"\r\n"
        for said in (large, many, many + head(port) + b"\r\n"):
            refused = b"HTTP/1.1 431 Request Header Fields Too Large"
            assert (await left_alone(port, said)).split(b"\r\n")[0] == refused

    play(tmp_path, scene)


def test_one_connection_takes_many_requests_whose_heads_are_large_together(tmp_path: Path) -> None:
    async def scene(_: Desk, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(20):
            writer.write(head(port, f"X-Large: {'x' * 20_000}") + b"\r\n")
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
            await reader.readuntil(b"ok\n")
        one = head(port) + b"\r\n"
        writer.write(one * 10)  # all at once
        for _ in range(10):
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
            await reader.readuntil(b"ok\n")
        writer.close()

    play(tmp_path, scene)


def test_white_space_around_the_value_of_a_header_is_no_part_of_it(tmp_path: Path) -> None:
    async def scene(desk: Desk, port: int) -> None:
        token = (await make_token(desk, "session"))["token"]
        body = b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "list_minions", "_meta": '
        body += b'{"io.modelcontextprotocol/protocolVersion": "2026-07-28", '
        body += b'"io.modelcontextprotocol/clientCapabilities": {}}}}'
        said = {
            "Authorization": f"Bearer {token}", "Content-Type": "application/json", "Connection": "close",
            "Accept": "application/json, text/event-stream", "Mcp-Protocol-Version": "2026-07-28",
            "Mcp-Method": "tools/call", "Mcp-Name": "list_minions", "Content-Length": str(len(body)),
        }  # fmt: skip
        lines = [f"{name}: \t {value} \t " for name, value in {"Host": f"127.0.0.1:{port}", **said}.items()]
        asked = "\r\n".join(["POST /mcp HTTP/1.1", *lines, "", ""]).encode()
        answer = await left_alone(port, asked + body)
        assert answer.startswith(b"HTTP/1.1 200"), answer
        assert b'"minions"' in answer

    play(tmp_path, scene)


@pytest.mark.promise("WEB-1")
def test_a_body_without_an_end_is_refused_before_it_ends(tmp_path: Path) -> None:
    async def scene(desk: Desk, port: int) -> None:
        token = (await make_token(desk, "admin"))["token"]
        lines = ["Transfer-Encoding: chunked", "Content-Type: application/json"]
        lines.append("Accept: application/json, text/event-stream")
        piece, most = b"10000\r\n" + b"x" * 65_536 + b"\r\n", 256 * 1024 * 1024
        for version in ("2025-11-25", "2026-07-28"):
            own = [f"Authorization: Bearer {token}", f"Mcp-Protocol-Version: {version}"]
            first = head(port, *lines, *own, path="/mcp", method="POST") + b"\r\n"
            sent, said = await poured(port, first, piece, most)
            assert sent < most / 4
            assert said[:12] in (b"", b"HTTP/1.1 413")
        # Without a token nobody waits for the body: it is thrown away, for so many seconds.
        sent, said = await poured(port, head(port, *lines, path="/mcp", method="POST") + b"\r\n", piece, most)
        assert said[:12] in (b"", b"HTTP/1.1 401")
        assert await healthy(port)

    play(tmp_path, scene, bounded(**QUICK))


def test_beyond_so_many_connections_no_other_is_taken_until_one_ends(tmp_path: Path) -> None:
    async def scene(_: Desk, port: int) -> None:
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(5)]
        for reader, writer in held:
            writer.write(head(port) + b"\r\n")
            await reader.readuntil(b"ok\n")
        assert await left_alone(port, head(port) + b"\r\n") == b""
        held.pop()[1].close()
        while not await healthy_or_cut(port):
            pass
        for _, writer in held:
            writer.close()

    play(tmp_path, scene, bounded(most_connections=5))


async def healthy_or_cut(port: int) -> bool:
    """Whether the server answers; False where it takes no connection."""
    try:
        return await healthy(port)
    except ConnectionError:
        return False
