"""Load for an MCP server: many callers on connections of their own, each call timed; no SDK in the way."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from typing import Any, Final
from urllib.parse import urlsplit

_META: Final = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
Arguments = Callable[[int], Mapping[str, Any]]


@dataclass(frozen=True)
class Loaded:
    """What a load came to: milliseconds of a call (median and 99th percentile), calls a second, CPU ms a call."""

    p50: float
    p99: float
    rate: float
    cpu: float


class Caller:
    """One connection, kept open."""

    def __init__(self, url: str, token: str | None) -> None:
        self._place = urlsplit(url)
        self._token = token

    async def open(self) -> None:
        """Connect."""
        host, port = self._place.hostname, self._place.port
        self._reader, self._writer = await asyncio.open_connection(host, port)

    def close(self) -> None:
        """Hang up."""
        self._writer.close()

    async def call(self, tool: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """What a tool answers, as data; one that refuses ends the bench."""
        params = {"name": tool, "arguments": dict(arguments), "_meta": _META}
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()
        said = (
            f"POST /mcp HTTP/1.1\r\nhost: {self._place.netloc}\r\naccept: application/json, text/event-stream\r\n"
            "content-type: application/json\r\nmcp-protocol-version: 2026-07-28\r\nmcp-method: tools/call\r\n"
            f"mcp-name: {tool}\r\ncontent-length: {len(body)}\r\n"
        )
        if self._token is not None:
            said += f"authorization: Bearer {self._token}\r\n"
        self._writer.write(said.encode() + b"\r\n" + body)
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        answer = json.loads(await self._reader.readexactly(int(length.split(b":")[1])))
        result: dict[str, Any] = answer["result"]
        if result.get("isError"):
            raise RuntimeError(result["content"][0]["text"])
        return dict(result["structuredContent"])


async def loaded(
    url: str, token: str | None, pid: int, tool: str, arguments: Arguments, *, callers: int, calls: int
) -> Loaded:
    """So many callers at once, so many calls each; `arguments` are those of the numbered call."""
    crew = [Caller(url, token) for _ in range(callers)]
    await asyncio.gather(*(caller.open() for caller in crew))
    took: list[float] = []

    async def work(caller: Caller, first: int) -> None:
        for number in range(first, first + calls):
            begun = time.perf_counter()
            await caller.call(tool, arguments(number))
            took.append(time.perf_counter() - begun)

    try:
        cpu, begun = cpu_ms(pid), time.perf_counter()
        await asyncio.gather(*(work(caller, number * calls) for number, caller in enumerate(crew)))
        whole, spent = time.perf_counter() - begun, cpu_ms(pid) - cpu
    finally:
        for caller in crew:
            with suppress(OSError):
                caller.close()
    cuts = quantiles(took, n=100)
    return Loaded(1000 * cuts[49], 1000 * cuts[98], len(took) / whole, spent / len(took))


def cpu_ms(pid: int) -> float:
    """The processor time that a process has used, in milliseconds."""
    # By the nanosecond: the ticks of `stat` miss a process that sleeps often.
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(each.read_text().split()[0]) for each in threads) / 1e6
