"""How long one tool call of a model takes through the sandbox, beside a program that does the same without one."""

from __future__ import annotations

import asyncio
import shutil
import statistics
import subprocess
from collections.abc import Awaitable, Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import pytest

from tests.bench.rounds import Contender, measured
from tests.minion.workbenches import open_bench

ROUNDS: Final = 100
GOAL_MS: Final = 5.0
WITH_GOAL: Final = ("read", "edit", "grep", "bash true")
FILES, LINES = 100, 100
LINE: Final = "def function_{}(): return 'a line of some length, as code has them'\n"
TEXT: Final = "".join(LINE.format(number) for number in range(LINES))


def fill(work: Path) -> None:
    """A small repository: a hundred files of a hundred lines."""
    for number in range(FILES):
        place = work / f"package{number % 10}" / f"module{number}.py"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(TEXT)
    (work / "edited.py").write_text(TEXT)


def raw(work: Path, *argv: str) -> Contender:
    """The program that does the same, run without a sandbox by `subprocess`."""

    def once() -> Mapping[str, float]:
        subprocess.run(argv, cwd=work, stdin=subprocess.DEVNULL, capture_output=True, check=True)
        return {}

    return once


@pytest.mark.bench
@pytest.mark.skipif(shutil.which("bwrap") is None, reason="bwrap is not installed")
def test_tool_calls_through_the_sandbox_beside_bare_programs(tmp_path: Path) -> None:
    fill(tmp_path / "yard")
    turn = iter(range(10**9))

    def edit() -> dict[str, Any]:
        number = next(turn)
        words = ("a line", "one row") if number % 2 == 0 else ("one row", "a line")
        old, new = (f"_7(): return '{each}" for each in words)
        return {"path": "edited.py", "old": old, "new": new}

    with asyncio.Runner() as runner:
        opened = open_bench(tmp_path, sandboxed=True)
        bench = runner.run(opened.__aenter__())
        workbench = bench.workbench()

        def call(name: str, given: Callable[[], dict[str, Any]]) -> Contender:
            def once() -> Mapping[str, float]:
                answered: Awaitable[Any] = workbench.call(name, given(), timeout_s=30)
                answer = runner.run(answered)  # type: ignore[arg-type]
                assert not answer.failed, answer.text
                return {}

            return once

        contenders: dict[str, Contender] = {
            "read": call("read", lambda: {"path": "package3/module3.py"}),
            "  cat -n": raw(bench.work, "cat", "-n", "package3/module3.py"),
            "edit": call("edit", edit),
            "  sed -i": raw(bench.work, "sed", "-i", "s/function_7()/function_7()/", "package4/module4.py"),
            "grep": call("grep", lambda: {"pattern": "function_42\\(", "path": "package3"}),
            "  grep -rn": raw(bench.work, "grep", "-rn", "function_42(", "package3"),
            "grep, 100 files": call("grep", lambda: {"pattern": "function_42\\("}),
            "  grep -rn, 100 files": raw(bench.work, "grep", "-rn", "function_42(", "."),
            "glob, 100 files": call("glob", lambda: {"pattern": "**/*.py"}),
            "  find": raw(bench.work, "find", ".", "-name", "*.py"),
            "bash true": call("bash", lambda: {"command": "true"}),
            "  bash -c true": raw(bench.work, "bash", "--noprofile", "--norc", "-c", "true"),
        }
        try:
            figures = measured(contenders, rounds=ROUNDS)
        finally:
            runner.run(opened.__aexit__(None, None, None))
    print(f"\n{'one tool call, in its sandbox':<32} {'p50':>9} {'p95':>9} {'ratio':>6}")
    base = {name: statistics.median(figures[beside]) for name, beside in pairwise(figures) if beside[0] == " "}
    for name, times in figures.items():
        middle, late = statistics.median(times), sorted(times)[int(len(times) * 0.95)]
        ratio = f"{middle / base[name]:.1f}x" if name in base else ""
        reached = "met" if middle <= GOAL_MS else "MISSED"
        goal = f"  goal {GOAL_MS:.0f} ms {reached}" if name in WITH_GOAL else ""
        print(f"{name:<32} {middle:>6.2f} ms {late:>6.2f} ms {ratio:>6}{goal}")
