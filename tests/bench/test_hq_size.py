"""What a million stored step logs cost: the same calls on a small HQ and on a full one, in turns in one run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any, Final

import pytest

from tests.bench.mcp_load import Caller
from tests.bench.processes import memory_of
from tests.bench.test_hq import BLOCK, open_block, server

CALLS: Final = 200
STEP: Final = {"code": "read file", "kind": "tool_call"}


async def timed(caller: Caller, tool: str, arguments: Mapping[str, Any]) -> float:
    """Milliseconds of a call."""
    begun = time.perf_counter()
    await caller.call(tool, arguments)
    return 1000 * (time.perf_counter() - begun)


@pytest.mark.bench
def test_what_a_million_stored_steps_cost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def play() -> tuple[dict[tuple[str, str], float], dict[str, float], float]:
        found: dict[tuple[str, str], list[float]] = {}
        begun = time.perf_counter()
        with (
            server("full", tmp_path / "full") as (full, full_pid),
            server("small", tmp_path / "small") as (small, small_pid),
        ):
            filling = time.perf_counter() - begun
            callers, calls = {}, {}
            for name, said in (("full", full), ("small", small)):
                run = await open_block(said["url"], said["tokens"]["ledger"])
                callers[name] = Caller(said["url"], said["tokens"]["admin"])
                await callers[name].open()
                old = (await callers[name].call("list_runs", {"limit": 1, "before": 50}))["runs"]
                calls[name] = {
                    "list_runs": {"limit": 50}, "get_run": {"run": old[0]["id"]},
                    "ledger_log_step": {"run": run, "block": BLOCK, "steps": [STEP]},
                }  # fmt: skip
            for _ in range(CALLS):
                for name, caller in callers.items():
                    for tool, arguments in calls[name].items():
                        found.setdefault((tool, name), []).append(await timed(caller, tool, arguments))
            for caller in callers.values():
                caller.close()
            memory = {"full": memory_of(full_pid)[0], "small": memory_of(small_pid)[0]}
        return {key: median(each) for key, each in found.items()}, memory, filling

    found, memory, filling = asyncio.run(play())
    with capsys.disabled():
        print(f"\n1,000,000 steps of 10,000 runs were written in {filling:.0f} s")
        print("                      small      full")
        for tool in ("list_runs", "get_run", "ledger_log_step"):
            small, full = found[(tool, "small")], found[(tool, "full")]
            print(f"{tool:<17} {small:>6.2f} ms {full:>6.2f} ms  {full / small:.2f}x")
        print(f"resident          {memory['small']:>6.0f} MB {memory['full']:>6.0f} MB")
