"""Workbenches for tests: one on a tool host of its own, with or without a sandbox, over folders of the test."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from minion.doctor.trial import trial_order
from minion.engines.base import Stage, Workplace
from minion.engines.workbench import Answer, Workbench
from minion.sandbox.bubblewrap import Bind, Envelope
from minion.sandbox.shell import Shell
from minion.sandbox.tool_client import ToolHost, ToolResult
from server.contract.quota import Limits
from server.contract.redaction import Redactor
from tests.minion.tool_hosts import PATHS, open_host

# Both kinds of host; the one in a sandbox needs a bubblewrap that starts.
HOSTS = [pytest.param(False, id="plain"), pytest.param(True, id="sandboxed", marks=pytest.mark.heavy)]
SECRET = "whisper-7f3a9c"
LONG_SECRET = "".join(f"{number:04}" for number in range(1_500))


@dataclass(frozen=True)
class Bench:
    """A host over two folders: `work` and `scratch` as they lie outside, `inside` and `state` as it sees them."""

    host: ToolHost
    work: Path
    scratch: Path
    inside: str
    state: str

    async def file(self, tool: str, *, most: int = 200_000, **given: Any) -> tuple[bool, str]:
        """Whether one call of a file tool went well, and its text."""
        call = {"tool": tool, **given}
        result = await self.host.file(call, cwd=self.inside, timeout_s=60.0, max_bytes=most)
        assert (result.exit, result.why) == (0, None), result
        assert len(result.stdout) <= most
        answer = json.loads(result.stdout)
        assert sorted(answer) == ["ok", "text"]
        return answer["ok"], answer["text"]

    def shell(self) -> Shell:
        """A session of a shell that keeps its state in the scratch folder."""
        return Shell(self.host, self.state)

    def workbench(self, *, env: Mapping[str, str] | None = None, limits: Limits | None = None) -> Workbench:
        """The tools of a model whose only repository is the work folder."""
        order = trial_order(self.scratch / "run", engine="script", now="2026-11-22T09:00:00.000Z")
        order = replace(order, limits=limits or order.limits)
        place = Workplace("yard", self.inside, "/history", "main")
        scratch = str(Path(self.state).parent)
        redact = Redactor([SECRET, LONG_SECRET]).data
        return Workbench(
            Stage(order, self.host, (place,), {}, scratch, env or {}, "", order.since, redact, None)  # type: ignore[arg-type]
        )


@asynccontextmanager
async def open_bench(folder: Path, *, sandboxed: bool) -> AsyncIterator[Bench]:
    """A bench in `folder`; its host is closed at the end."""
    work, scratch = folder / "yard", folder / "scratch"
    work.mkdir(exist_ok=True)
    scratch.mkdir(exist_ok=True)
    binds = (Bind(str(work), "/workspace", writable=True), Bind(str(scratch), "/scratch", writable=True))
    inside, place = ("/workspace", "/scratch") if sandboxed else (str(work), str(scratch))
    envelope = Envelope(binds=binds if sandboxed else (), env={**PATHS, "HOME": place, "LC_ALL": "C.UTF-8"})
    async with open_host(folder, envelope, sandboxed=sandboxed) as host:
        yield Bench(host, work, scratch, inside, f"{place}/.shell")


def on_bench(folder: Path, story: Callable[[Bench], Awaitable[Any]], *, sandboxed: bool = False) -> Any:
    """What a story on a bench comes to."""

    async def told() -> Any:
        async with open_bench(folder, sandboxed=sandboxed) as bench:
            return await story(bench)

    return asyncio.run(told())


def ask_file(folder: Path, tool: str, *, sandboxed: bool = False, **given: Any) -> tuple[bool, str]:
    """One call of a file tool on a bench of its own."""
    answer: tuple[bool, str] = on_bench(folder, lambda bench: bench.file(tool, **given), sandboxed=sandboxed)
    return answer


def commands(folder: Path, *lines: str, sandboxed: bool = False, **more: Any) -> list[ToolResult]:
    """What the commands of one session come to; `more` goes to each."""

    async def story(bench: Bench) -> list[ToolResult]:
        shell = bench.shell()
        given = {"cwd": bench.inside, "env": {}, "timeout_s": 20.0, "max_bytes": 100_000} | more
        return [await shell.run(line, **given) for line in lines]

    results: list[ToolResult] = on_bench(folder, story, sandboxed=sandboxed)
    return results


def calls(
    folder: Path, *asked: tuple[str, dict[str, Any]], sandboxed: bool = False, timeout_s: float = 30.0, **more: Any
) -> list[Answer]:
    """What calls of one workbench come to."""

    async def story(bench: Bench) -> list[Answer]:
        workbench = bench.workbench(**more)
        return [await workbench.call(name, given, timeout_s=timeout_s) for name, given in asked]

    answers: list[Answer] = on_bench(folder, story, sandboxed=sandboxed)
    return answers
