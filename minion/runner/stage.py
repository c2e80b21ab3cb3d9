"""Opens the tool host around a run's workspace: what a session can see, and nothing else."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from minion.engines.base import Stage, Workplace
from minion.runner.blocks import BlockFailed
from minion.runner.workspace import Workspace
from minion.sandbox.bubblewrap import Bind, Envelope
from minion.sandbox.tool_client import SandboxUnusable, ToolHost
from minion.wire import Order

_PUBLIC_PATH: Final = "/usr/local/bin:/usr/bin:/bin"


def python_of_children() -> str:
    """The interpreter for skill scripts: the real one behind a virtual environment's link."""
    return os.path.realpath(getattr(sys, "_base_executable", sys.executable))


async def set_stage(
    order: Order, workspace: Workspace, *, now: str, redact: Callable[[Any], Any]
) -> Stage:
    """Start the run's tool host and say where everything lies inside it.

    Raises `BlockFailed` when there is no usable sandbox and the run may not do without one (DESIGN §3).
    """
    host, sandboxed = await _open_host(order, workspace)
    run_dir = Path(order.run_dir)
    skills = {skill.name: skill.path for skill in (*order.skills, order.report_skill)}
    inside = {name: f"/skills/{name}" for name in skills}
    places = tuple(
        Workplace(
            name=item.ordered.name,
            path=f"/workspace/{item.ordered.name}" if sandboxed else str(item.files),
            history=f"/history/{item.ordered.name}.git" if sandboxed else str(item.history),
            branch=item.branch,
        )
        for item in workspace.repositories
    )
    scratch = "/scratch" if sandboxed else str(run_dir / "scratch")
    paths = inside if sandboxed else skills
    # The routine's own variables go over the pipe with each call: an envelope's environment shows in argv.
    variables = (order.routine.get("environment") or {}).get("env") or {}
    return Stage(order, host, places, paths, scratch, variables, python_of_children(), now, redact)


async def _open_host(order: Order, workspace: Workspace) -> tuple[ToolHost, bool]:
    log, limits = Path(order.run_dir) / "tool_host.log", order.limits
    refused = ""
    if order.sandbox != "none":
        envelope = _envelope(order, workspace, sandboxed=True)
        try:
            return await ToolHost.start(envelope, sandboxed=True, log_path=log, limits=limits), True
        except SandboxUnusable as error:
            refused = str(error)
        foreign = _needs_a_sandbox(order)
        if foreign is not None:
            raise BlockFailed(
                f"No sandbox can be used here ({refused}) and {foreign} may not run without one.",
                hint="install bubblewrap, or say `sandbox: none` in the routine if you trust all it runs",
            )
    envelope = _envelope(order, workspace, sandboxed=False)
    try:
        return await ToolHost.start(envelope, sandboxed=False, log_path=log, limits=limits), False
    except SandboxUnusable as error:
        raise BlockFailed(f"The tool host cannot be started: {error}.", hint="see tool_host.log") from error


def _needs_a_sandbox(order: Order) -> str | None:
    """What of an order may not run unsandboxed: anything but bundled skills whose digest is known."""
    for skill in (*order.skills, order.report_skill):
        if not skill.pinned:
            return f"the skill {skill.name}"
    if any("command" in expectation for expectation in order.routine.get("expect") or ()):
        return "the routine's command check"
    return None


def _envelope(order: Order, workspace: Workspace, *, sandboxed: bool) -> Envelope:
    environment = order.routine.get("environment") or {}
    skills = [Bind(skill.path, f"/skills/{skill.name}") for skill in (*order.skills, order.report_skill)]
    env = {
        "PATH": f"{Path(python_of_children()).parent}:{_PUBLIC_PATH}",
        "HOME": "/scratch" if sandboxed else str(workspace.scratch),
        "TMPDIR": "/tmp" if sandboxed else str(workspace.scratch),  # noqa: S108 - the sandbox's own tmpfs
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "TZ": order.timezone,
        "PYTHONDONTWRITEBYTECODE": "1",
        "GIT_CEILING_DIRECTORIES": str(Path(order.run_dir).parent),
    }
    binds = (
        Bind(str(workspace.root), "/workspace", writable=True),
        Bind(str(workspace.scratch), "/scratch", writable=True),
        Bind(str(workspace.history), "/history"),
        *skills,
    )
    masks = tuple((kind, f"/workspace/{path}") for kind, path in workspace.masks())
    network = environment.get("network", "none") == "full"
    return Envelope(binds=binds, masks=masks, network=network, env=env)
