"""Runs with a setup script for tests: orders in a home, stages opened on them, and what their log said."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from minion.doctor.trial import trial_order
from minion.engines.base import Stage
from minion.runner.ledger import NoLedger
from minion.runner.stage import set_stage
from minion.runner.workspace import lay_out
from minion.wire import Order

NOW = "2026-11-22T10:00:00.000Z"
LATER = {"a day": "2026-11-23T10:00:00.000Z", "eight days": "2026-11-30T10:00:01.000Z"}


@dataclass
class Heard(NoLedger):
    """A ledger that keeps the lines of the run's log."""

    lines: list[str] = field(default_factory=list)

    async def log(self, level: Literal["info", "warning", "error"], text: str) -> None:
        """Keep the line."""
        self.lines.append(f"{level}: {text}")


def order_of(home: Path, name: str, *, sandboxed: bool, **environment: Any) -> Order:
    """The order of a run of a home whose routine has this environment."""
    (home / "runs").mkdir(parents=True, exist_ok=True)
    order = trial_order(home / "runs" / name, engine="script", now=NOW)
    said = {"network": "none", "env": {}, "setup": None, **environment}
    routine = {**order.routine, "environment": said}
    return replace(order, routine=routine, sandbox="required" if sandboxed else "none")


@asynccontextmanager
async def stage_of(
    order: Order, *, now: str = NOW, heard: Heard | None = None, hidden: str = "\0"
) -> AsyncIterator[Stage]:
    """The order's stage, closed at the end; `hidden` is what redaction takes out."""
    workspace = await lay_out(order)
    stage = await set_stage(
        order, workspace, now=now, redact=lambda text: text.replace(hidden, "[redacted]"), ledger=heard or Heard()
    )
    try:
        yield stage
    finally:
        await stage.tools.close()


async def bash(stage: Stage, line: str) -> str:
    """What a shell line prints in a session, both streams."""
    argv = ["bash", "-c", f"{{ {line}; }} 2>&1"]
    done = await stage.tools.run(argv, cwd="/", env=stage.env, timeout_s=60, max_bytes=100_000)
    return done.stdout.decode().strip()


def said_by(order: Order, line: str, *, now: str = NOW, heard: Heard | None = None) -> str:
    """What a shell line prints in a session of this order's run."""

    async def story() -> str:
        async with stage_of(order, now=now, heard=heard) as stage:
            return await bash(stage, line)

    return asyncio.run(story())


def kept_in(home: Path) -> Sequence[str]:
    """The files and folders of the home's environments, by their endings: "" for one that is whole."""
    folder = home / "environments"
    return sorted(path.name[40:] for path in folder.iterdir()) if folder.exists() else []
