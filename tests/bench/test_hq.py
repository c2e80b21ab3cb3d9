"""What HQ's tools cost over an echo on the same SDK: each call durable at FULL, measured in turns in one run."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, Final

import pytest

from tests.bench.mcp_load import Caller, Loaded, loaded
from tests.bench.processes import memory_of

ROOT: Final = Path(__file__).parents[2]
ROUNDS: Final = 5
CROWDS: Final = (1, 8, 32)
CALLS: Final = {1: 300, 8: 60, 32: 20}
BLOCK: Final = "040.001.03"


@contextmanager
def server(kind: str, folder: Path) -> Iterator[tuple[dict[str, Any], int]]:
    """A server in a process of its own: what it says of itself, and its process."""
    argv = [sys.executable, "-m", "tests.bench.hq_servers", kind, str(folder)]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline()), process.pid
        finally:
            process.terminate()
            process.wait(20)


async def open_block(url: str, token: str) -> str:
    """A run with its elastic block under way."""
    caller = Caller(url, token)
    await caller.open()
    run = str((await caller.call("ledger_start_run", {"routine": "measured"}))["run"])
    await caller.call("ledger_start_block", {"run": run, "block": "040.001.02"})
    steps = [{"code": "SCR-CLONE-REPO"}]
    await caller.call("ledger_log_step", {"run": run, "block": "040.001.02", "steps": steps})
    await caller.call("ledger_finish_block", {"run": run, "block": "040.001.02"})
    await caller.call("ledger_start_block", {"run": run, "block": BLOCK})
    caller.close()
    return run


def of_rounds(found: list[Loaded]) -> Loaded:
    """The median of several rounds, figure by figure."""
    return Loaded(*(median(getattr(each, name) for each in found) for name in Loaded.__dataclass_fields__))


@pytest.mark.bench
def test_what_a_tool_costs_over_an_echo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def play() -> dict[tuple[str, int], Loaded]:
        found: dict[tuple[str, int], list[Loaded]] = {}
        with (
            server("hq", tmp_path / "hq") as (ours, our_pid), server("echo", tmp_path) as (theirs, their_pid),
            server("door", tmp_path / "door") as (gated, gate_pid),
        ):  # fmt: skip
            run = await open_block(ours["url"], ours["tokens"]["ledger"])
            step = {"code": "read file", "kind": "tool_call"}
            contenders = (
                ("echo", theirs["url"], None, their_pid, lambda _: {"text": "x" * 100}, "echo"),
                ("echo behind gate", gated["url"], gated["tokens"]["session"], gate_pid,
                 lambda _: {"text": "x" * 100}, "echo"),
                ("record_gap", ours["url"], ours["tokens"]["session"], our_pid,
                 lambda _: {"gap_type": "step", "requested_code": "LLM-SUMMARIZE-ALERT", "description": "x" * 80},
                 "record_gap"),
                ("ledger_log_step", ours["url"], ours["tokens"]["ledger"], our_pid,
                 lambda _: {"run": run, "block": BLOCK, "steps": [step]}, "ledger_log_step"),
            )  # fmt: skip
            for _ in range(ROUNDS):
                for crowd in CROWDS:
                    for name, url, token, pid, arguments, tool in contenders:
                        each = await loaded(
                            url, token, pid, tool, arguments, callers=crowd, calls=CALLS[crowd]
                        )
                        found.setdefault((name, crowd), []).append(each)
        return {key: of_rounds(rounds) for key, rounds in found.items()}

    found = asyncio.run(play())
    with capsys.disabled():
        print("\n                  callers       p50       p99   calls/s    CPU/call   p50 and CPU over echo")
        for (name, crowd), each in sorted(found.items(), key=lambda item: (item[0][1], item[0][0])):
            echo = found[("echo", crowd)]
            ratios = f"{each.p50 / echo.p50:.2f}x  {each.cpu / echo.cpu:.2f}x"
            print(
                f"{name:<17} {crowd:>7} {each.p50:>6.2f} ms {each.p99:>6.2f} ms {each.rate:>9.0f}"
                f" {each.cpu:>8.3f} ms   {ratios}"
            )


@pytest.mark.bench
def test_the_memory_of_an_idle_hq_beside_an_echo_server(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with server("hq", tmp_path / "hq") as (_, ours), server("echo", tmp_path) as (_, theirs):
        mine, other = memory_of(ours), memory_of(theirs)
    with capsys.disabled():
        print(f"\nidle HQ {mine[0]:.1f} MB, echo server {other[0]:.1f} MB: {mine[0] / other[0]:.2f}x (goal 1.3)")
