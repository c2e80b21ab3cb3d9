"""The tools that a model works with inside the sandbox: checked, performed there, and told in bounded text."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from minion.engines.base import Stage, TaskState
from minion.engines.workbench_schemas import COMMAND_S, FILE_S, WORKBENCH_TOOLS, problem_of
from minion.sandbox.shell import Shell
from minion.sandbox.tool_client import ToolResult

__all__ = ["WORKBENCH_TOOLS", "Answer", "Workbench"]

NAMES: Final = frozenset(tool["name"] for tool in WORKBENCH_TOOLS)
# Characters of an answer that a model gets: its beginning and its end, where the reasons of failures stand.
SHOWN: Final = 30_000
LINE_SHOWN: Final = 2_000
# Bytes of a command's output that are fetched from its beginning; from its end the tool host keeps some anyway.
FETCHED: Final = 131_072
# Where output was cut off before it came here, half a secret may stand: so many characters beside it go too.
CUT_EDGE: Final = 8_192
# Bytes that a file tool's answer may take for each that is shown, and beside: JSON's worst case.
ESCAPED, BESIDE = 6, 512
ENDED_BY_US: Final = frozenset({"killed", "tool host closed"})


@dataclass(frozen=True, slots=True)
class Answer:
    """What a tool call came to: `text` for the model, whether it failed, and its state in the step log."""

    text: str
    failed: bool = False
    state: TaskState = "completed"


class Workbench:
    """The six tools of one session: `bash`, which remembers, and five for files."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._cwd = stage.repositories[0].path if stage.repositories else stage.scratch
        self._shell = Shell(stage.tools, f"{stage.scratch}/.shell")
        self._most = max(1, min(SHOWN, stage.order.limits.output_bytes))

    async def call(self, name: str, given: Mapping[str, Any], *, timeout_s: float) -> Answer:
        """Carry out one call within `timeout_s` seconds; never raises for what the model asked."""
        if name not in NAMES:
            return _failed(f"There is no tool {name[:80]!r}: there are {', '.join(sorted(NAMES))}.")
        wrong = problem_of(name, given)
        if wrong is not None:
            return _failed(wrong)
        if timeout_s <= 0:
            return Answer("No time is left for this.", failed=True, state="cancelled")
        if name == "bash":
            return await self._bash(given, timeout_s)
        return await self._file(name, given, timeout_s)

    async def place_of(self, path: str, *, timeout_s: float) -> str | None:
        """Where a path leads once every link is followed, as the path is written; None when that is not known."""
        result = await self._stage.tools.file(
            {"tool": "place", "path": path}, cwd=self._cwd, timeout_s=min(FILE_S, timeout_s), max_bytes=FETCHED
        )
        try:
            answer = json.loads(result.stdout)
            if answer["ok"] is not True:
                return None
            place = str(answer["text"])
        except (ValueError, KeyError, TypeError):
            return None
        return posixpath.join(self._cwd, place) if path.startswith("/") else place

    async def _bash(self, given: Mapping[str, Any], left_s: float) -> Answer:
        stage, asked_s = self._stage, float(given.get("timeout_s", COMMAND_S))
        limit_s = min(asked_s, left_s)
        result = await self._shell.run(
            given["command"], cwd=self._cwd, env=stage.env, timeout_s=limit_s, max_bytes=FETCHED
        )
        parts = [self._output(result)]
        if not self._shell.carries:
            parts.append("(There is no bash here: /bin/sh ran this, and nothing carries over from it.)")
        if result.why == "timeout":
            whose = "" if limit_s == asked_s else ", all the time that was left"
            parts.append(f"Stopped at the limit of {limit_s:.4g} s{whose}.")
        elif result.exit is None:
            parts.append(f"Ended without an exit code: {result.why}.")
        elif result.exit:
            parts.append(f"exit {result.exit}")
        text = "\n".join(part for part in parts if part) or "(no output)"
        return Answer(text, failed=result.exit != 0, state=_state(result))

    def _output(self, result: ToolResult) -> str:
        """All that a command printed, without secrets, its middle left out if it is long."""
        if not result.dropped:
            return self._bounded(self._clean(_decoded(result.stdout + result.stderr)))
        # Redacted before anything is cut here; beside the gap that is there already, halves are taken away.
        head, tail = self._clean(_decoded(result.stdout)), self._clean(_decoded(result.stderr))
        gap = f"\n… {result.dropped + 2 * CUT_EDGE:,} bytes, about, left out here …\n"
        return self._bounded(f"{head[:-CUT_EDGE]}{gap}{tail[CUT_EDGE:]}")

    async def _file(self, name: str, given: Mapping[str, Any], left_s: float) -> Answer:
        limit_s = min(FILE_S, left_s)
        result = await self._stage.tools.file(
            {**given, "tool": name},
            cwd=self._cwd,
            timeout_s=limit_s,
            max_bytes=ESCAPED * self._most + BESIDE,
        )
        if result.why == "timeout":
            hint = {"grep": "a simpler pattern or a narrower path", "glob": "a narrower path"}.get(name, "a part")
            return _failed(f"{name} was stopped at the limit of {limit_s:.4g} s: try {hint}.")
        try:
            answer = json.loads(result.stdout)
            ok, text = bool(answer["ok"]), str(answer["text"])
        except (ValueError, KeyError, TypeError):
            why = self._clean(result.why or "its answer was not understood")
            return Answer(f"{name} could not be done: {why}.", failed=True, state=_state(result, ok=False))
        lines = [_short(line) for line in self._clean(text).split("\n")]
        return Answer(self._bounded("\n".join(lines)), failed=not ok, state="completed" if ok else "failed")

    def _clean(self, text: str) -> str:
        return str(self._stage.redact(text.replace("\0", "\ufffd")))

    def _bounded(self, text: str) -> str:
        return shortened(text.rstrip("\n"), self._most)


def shortened(text: str, most: int) -> str:
    """A text of at most `most` bytes of UTF-8; of a longer one the middle is left out, which it says."""
    data = text.encode("utf-8", "replace")
    if len(data) <= most:
        return text
    note = f"\n… {len(data) - most:,} bytes and more left out here …\n"
    half = max(0, most - len(note.encode())) // 2
    head, tail = data[:half].decode("utf-8", "ignore"), data[len(data) - half :].decode("utf-8", "ignore")
    return f"{head}{note}{tail}" if half else data[:most].decode("utf-8", "ignore")


def _short(line: str) -> str:
    return line if len(line) <= LINE_SHOWN + 200 else f"{line[:LINE_SHOWN]} … (line cut)"


def _decoded(output: bytes) -> str:
    return output.decode("utf-8", "replace")


def _failed(text: str) -> Answer:
    return Answer(text, failed=True, state="failed")


def _state(result: ToolResult, *, ok: bool = True) -> TaskState:
    if result.why in ENDED_BY_US:
        return "cancelled"
    return "completed" if ok and result.exit == 0 else "failed"
