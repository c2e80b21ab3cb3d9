"""Checks a routine's `expect` list: what the runner itself can see, whatever a session claims."""

from __future__ import annotations

import contextlib
import fnmatch
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

from minion.engines.base import Stage, TaskResult
from minion.runner.workspace import Workspace
from server.contract.run import CheckKind

COMMAND_SECONDS: Final = 60.0
_OUTPUT_BYTES: Final = 16_384
# A glob over a workspace that a session filled must end: past this many entries it has not found the file.
_ENTRIES: Final = 200_000


@dataclass(frozen=True, slots=True)
class Check:
    """One expectation and whether it held; `detail` is what was seen."""

    kind: CheckKind
    expected: str
    state: Literal["passed", "failed"]
    detail: str

    def as_event(self) -> dict[str, Any]:
        """The check as the `check` event tells it."""
        return asdict(self)


async def check_before_delivery(
    expectation: Mapping[str, Any], stage: Stage, workspace: Workspace, results: Sequence[tuple[str, TaskResult]]
) -> Check | None:
    """One `file`, `command` or `contains` expectation; None for `delivered`, which is checked afterwards."""
    if "file" in expectation:
        return _file(expectation["file"], workspace.root)
    if "command" in expectation:
        return await _command(expectation["command"], stage)
    if "contains" in expectation:
        return _contains(expectation["contains"], results)
    return None


def check_delivered(target: str, delivered: Sequence[str]) -> Check:
    """Whether an effect on `target` was delivered; `delivered` names those that were, with and without kind."""
    held = any(fnmatch.fnmatchcase(name, target) for name in delivered)
    return _check("delivered", target, held, "confirmed" if held else "no confirmed delivery")


def _file(pattern: str, root: Path) -> Check:
    seen = 0
    # By descriptors: what a session left behind may put a link in a folder's place between a look and a step.
    for folder, folders, names, place in os.fwalk(root, follow_symlinks=False):
        seen += len(folders) + len(names)
        if seen > _ENTRIES:
            return _check("file", pattern, False, f"not found among {_ENTRIES} entries")
        for name in names:
            relative = Path(folder, name).relative_to(root).as_posix()
            inner = relative.partition("/")[2]
            matches = fnmatch.fnmatchcase(relative, pattern) or fnmatch.fnmatchcase(inner, pattern)
            if matches and _is_file(name, place):
                return _check("file", pattern, True, relative)
    return _check("file", pattern, False, "no such file in the workspace")


def _is_file(name: str, folder: int) -> bool:
    with contextlib.suppress(OSError):
        return stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    return False


async def _command(argv: Sequence[str], stage: Stage) -> Check:
    cwd = stage.repositories[0].path if stage.repositories else stage.scratch
    result = await stage.tools.run(
        list(argv), cwd=cwd, env=stage.env, stdin=None, timeout_s=COMMAND_SECONDS, max_bytes=_OUTPUT_BYTES
    )
    words = stage.redact((result.stderr or result.stdout).decode("utf-8", "replace").strip())[-200:]
    ended = f"exit {result.exit}" if result.exit is not None else (result.why or "no exit status")
    detail = ended if result.exit == 0 or not words else f"{ended}: {words}"
    return _check("command", " ".join(argv), result.exit == 0, detail)


def _contains(text: str, results: Sequence[tuple[str, TaskResult]]) -> Check:
    for name, result in results:
        if result.state == "completed" and text in result.text:
            return _check("contains", text, True, f"in the result of {name}")
    return _check("contains", text, False, "in no skill's result")


def _check(kind: CheckKind, expected: str, held: bool, detail: str) -> Check:
    return Check(kind, expected[:300], "passed" if held else "failed", detail)
