"""Runs a bundled skill's script as the `script` engine does: isolated, one JSON document in, one out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SKILLS = Path(__file__).resolve().parents[2] / "skills"
SINCE = "2026-11-20T08:00:00.000Z"
NOW = "2026-11-21T09:00:00.000Z"


@dataclass(frozen=True, slots=True)
class Ended:
    """How a script ended: its exit status and both streams as it wrote them."""

    exit: int
    out: bytes
    log: str

    @property
    def result(self) -> dict[str, Any]:
        """The one JSON document on stdout."""
        document = json.loads(self.out)
        assert isinstance(document, dict)
        return document


def run_skill(
    skill: str, *, search_path: str | None = None, raw: bytes | None = None, **fields: Any
) -> Ended:
    """Run `skill` on a task with these fields, or on `raw` bytes; the environment is empty but for PATH."""
    task: Mapping[str, Any] = {
        "v": 1,
        "routine": {"name": "morning-report", "content": None},
        "input": None,
        "skill": skill,
        "now": NOW,
        "since": SINCE,
        "timezone": "Europe/Berlin",
        "repositories": [],
        "results": [],
        **fields,
    }
    ended = subprocess.run(
        [sys.executable, "-I", str(SKILLS / skill / "scripts" / "run.py")],
        input=json.dumps(task).encode() if raw is None else raw,
        env={"PATH": os.environ["PATH"] if search_path is None else search_path},
        cwd="/",
        capture_output=True,
        timeout=120,
        check=False,
    )
    return Ended(ended.returncode, ended.stdout, ended.stderr.decode())


def completed(text: str, *, skill: str = "write-daily-report", **more: Any) -> dict[str, Any]:
    """An earlier result as the engine hands it on."""
    return {
        "skill": skill,
        "state": "completed",
        "text": text,
        "data": {},
        "effects": [],
        "why": None,
        **more,
    }
