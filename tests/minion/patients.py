"""What tests of the doctor share: programs put in the way, findings by name, fixing commands really given."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import pytest

from minion.config import Home
from minion.doctor.finding import Finding

NOW = "2026-11-22T09:00:00.000Z"


def put_program(folder: Path, name: str, script: str) -> Path:
    """A program of a test's own in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / name
    place.write_text(f"#!/bin/sh\n{script}\n")
    place.chmod(0o755)
    return place


def first_on_path(monkeypatch: pytest.MonkeyPatch, folder: Path, *, alone: bool = False) -> None:
    """Look for programs in `folder` first, or nowhere else."""
    monkeypatch.setenv("PATH", str(folder) if alone else f"{folder}{os.pathsep}{os.environ['PATH']}")


def finished(check: Callable[[], Awaitable[list[Finding]]]) -> list[Finding]:
    """What a check that starts processes finds."""

    async def story() -> list[Finding]:
        return await check()

    return asyncio.run(story())


def only(findings: Sequence[Finding]) -> Finding:
    """The one finding there is; whatever is not well must come with one line that mends it."""
    (finding,) = findings
    assert (finding.fix is None) == (finding.state == "ok")
    assert finding.fix is None or (finding.fix.strip() and "\n" not in finding.fix)
    assert "\n" not in finding.says
    return finding


def give(fix: str | None, *, env: Mapping[str, str] | None = None) -> None:
    """Give a fixing command to a shell as it stands; it must work."""
    assert fix is not None
    subprocess.run(["/bin/sh", "-c", fix], check=True, timeout=30, env={**os.environ, **(env or {})})


def tree_of(home: Home) -> dict[str, tuple[int, bytes]]:
    """Every file and folder of a home, its mode and content; but SQLite's own files for readers."""
    return {
        str(path.relative_to(home.root)): (path.stat().st_mode, path.read_bytes() if path.is_file() else b"")
        for path in sorted(home.root.rglob("*"))
        if not path.name.endswith(("-shm", "-wal"))
    }
