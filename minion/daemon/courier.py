"""Has messages sent by a child that lives for them: it opens the secrets and loads what the daemon must not."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from server.contract.digest import canonical_json

# A post takes at most 45 s (`runner/outbound`), a command 10: what is not told by now is not told at all.
WHOLE_S: Final = 60.0
_GRACE_S: Final = 2.0
# One child takes so many items; they are sent side by side.
MOST_ITEMS: Final = 32


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an item: `sent`, `failed`, or `missing` for want of its secret; and why, for people."""

    state: str
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Courier:
    """Starts a messenger (`minion.messenger`) for each bundle of items; its secrets lie in `secrets_file`."""

    secrets_file: Path
    whole_s: float = WHOLE_S

    async def deliver(self, items: Sequence[Mapping[str, Any]]) -> list[Outcome]:
        """What became of each item, in their order. Raises nothing: what goes wrong is an outcome."""
        found: list[Outcome] = []
        for start in range(0, len(items), MOST_ITEMS):
            found += await self._bundle(items[start : start + MOST_ITEMS])
        return found

    async def _bundle(self, items: Sequence[Mapping[str, Any]]) -> list[Outcome]:
        said: dict[int, Outcome] = {}
        problem = "the messenger ended without a word on it"
        request = {"v": 1, "secrets_file": str(self.secrets_file), "items": list(items)}
        try:
            async with _messenger() as process, asyncio.timeout(self.whole_s):
                await _write(process, canonical_json(request).encode())
                while line := await _line(process):
                    told = json.loads(line)
                    said[told["item"]] = Outcome(told["state"], told["problem"])
                await process.wait()
        except TimeoutError:
            problem = f"no end after {self.whole_s:g} s"
        except OSError as error:
            problem = f"the messenger could not be started: {error.strerror}"
        except (ValueError, KeyError, TypeError):
            problem = "the messenger said what nobody understands"
        return [said.get(number, Outcome("failed", problem)) for number in range(len(items))]


@asynccontextmanager
async def _messenger() -> AsyncIterator[asyncio.subprocess.Process]:
    """A messenger that is gone at the end, however that is reached."""
    pipe, nowhere = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-m", "minion.messenger"), stdin=pipe, stdout=pipe, stderr=nowhere, cwd="/"
    )
    try:
        yield process
    finally:
        await _end(process)


async def _end(process: asyncio.subprocess.Process) -> None:
    """End a messenger; one that is asked to takes its commands with it."""
    if process.returncode is None:
        process.terminate()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GRACE_S):
                await process.wait()
    if process.returncode is None:
        process.kill()
        await process.wait()


async def _write(process: asyncio.subprocess.Process, body: bytes) -> None:
    if process.stdin is not None:
        process.stdin.write(body)
        with contextlib.suppress(ConnectionError):  # it ended early: its silence says so
            await process.stdin.drain()
        process.stdin.close()


async def _line(process: asyncio.subprocess.Process) -> bytes:
    return await process.stdout.readline() if process.stdout is not None else b""
