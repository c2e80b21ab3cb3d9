"""Opens the tool host around a run's workspace: what a session can see, and nothing else."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

from minion.engines.base import ApiAccess, Ledger, Redact, Stage, Workplace
from minion.runner.blocks import BlockFailed
from minion.runner.doorway import Doorway
from minion.runner.egress import Blocked
from minion.runner.environment import PLACE_VARIABLE, Environment, Log, Site, prepare
from minion.runner.workspace import Workspace
from minion.sandbox.bubblewrap import Bind, Envelope
from minion.sandbox.tool_client import SandboxUnusable, ToolHost
from minion.wire import Order
from server.contract.egress import Egress

_PUBLIC_PATH: Final = "/usr/local/bin:/usr/bin:/bin"


def python_of_children() -> str:
    """The interpreter for skill scripts: the real one behind a virtual environment's link."""
    return os.path.realpath(getattr(sys, "_base_executable", sys.executable))


async def set_stage(
    order: Order, workspace: Workspace, *, now: str, redact: Redact, ledger: Ledger,
    api: ApiAccess | None = None, blocked: Blocked = lambda _host, _port, _why: None,
) -> Stage:  # fmt: skip
    """Start the run's tool host, its environment set up around it, and say where everything lies inside it.

    `blocked(host, port, why)` is told once of each host that the session asked for and may not reach. Raises
    `BlockFailed` when there is no usable sandbox and the run may not do without one (DESIGN §3), and when the
    routine's setup script fails.
    """
    host, environment = await _open_host(order, workspace, now=now, redact=redact, log=ledger.log, blocked=blocked)
    sandboxed, run_dir = host.sandboxed, Path(order.run_dir)
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
    own = (order.routine.get("environment") or {}).get("env") or {}
    variables = {**(environment.variables if environment is not None else {}), **own}
    return Stage(order, host, places, paths, scratch, variables, python_of_children(), now, redact, ledger, api)


async def _open_host(
    order: Order, workspace: Workspace, *, now: str, redact: Redact, log: Log, blocked: Blocked
) -> tuple[ToolHost, Environment | None]:
    doorway = _doorway(order, blocked)

    async def opened(*, sandboxed: bool) -> tuple[ToolHost, Environment | None]:
        variables = _variables(order, workspace, sandboxed=sandboxed)
        environment = await prepare(Site(order, doorway, variables, sandboxed, now, redact, log))
        envelope = _envelope(order, workspace, environment, variables)
        try:
            host = await doorway.start(envelope, sandboxed=sandboxed)
        except BaseException:
            if environment is not None:
                await environment.let_go()
            raise
        if environment is not None:
            host.afterwards(environment.let_go)
        return host, environment

    refused = ""
    if order.sandbox != "none":
        try:
            return await opened(sandboxed=True)
        except SandboxUnusable as error:
            refused = str(error)
        foreign = _needs_a_sandbox(order)
        if foreign is not None:
            raise BlockFailed(
                f"No sandbox can be used here ({refused}) and {foreign} may not run without one.",
                hint="install bubblewrap, or say `sandbox: none` in the routine if you trust all it runs",
            )
    try:
        return await opened(sandboxed=False)
    except SandboxUnusable as error:
        raise BlockFailed(f"The tool host cannot be started: {error}.", hint="see tool_host.log") from error


def _needs_a_sandbox(order: Order) -> str | None:
    """What of an order may not run unsandboxed: anything but bundled skills whose digest is known."""
    for skill in (*order.skills, order.report_skill):
        if not skill.pinned:
            return f"the skill {skill.name}"
    if (order.routine.get("environment") or {}).get("setup"):
        return "the routine's setup script"
    if order.engine != "script":
        return "a session with a model"
    if any("command" in expectation for expectation in order.routine.get("expect") or ()):
        return "the routine's command check"
    return None


def _doorway(order: Order, blocked: Blocked) -> Doorway:
    network = (order.routine.get("environment") or {}).get("network", "none")
    run_dir = Path(order.run_dir)
    return Doorway(
        egress=Egress.of(network),
        socket=run_dir / "egress",
        log=run_dir / "tool_host.log",
        python=python_of_children(),
        limits=order.limits,
        blocked=blocked,
    )


def _variables(order: Order, workspace: Workspace, *, sandboxed: bool) -> dict[str, str]:
    """The variables of every tool host of the run."""
    return {
        "PATH": f"{Path(python_of_children()).parent}:{_PUBLIC_PATH}",
        "HOME": "/scratch" if sandboxed else str(workspace.scratch),
        "TMPDIR": "/tmp" if sandboxed else str(workspace.scratch),  # noqa: S108 - the sandbox's own tmpfs
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "TZ": order.timezone,
        "PYTHONDONTWRITEBYTECODE": "1",
        "GIT_CEILING_DIRECTORIES": str(Path(order.run_dir).parent),
    }


def _envelope(
    order: Order, workspace: Workspace, environment: Environment | None, variables: dict[str, str]
) -> Envelope:
    skills = [Bind(skill.path, f"/skills/{skill.name}") for skill in (*order.skills, order.report_skill)]
    if environment is not None:
        first = {"PATH": f"{environment.path}/bin:{variables['PATH']}", PLACE_VARIABLE: environment.path}
        variables, skills = {**variables, **first}, [*skills, *environment.binds]
    binds = (
        Bind(str(workspace.root), "/workspace", writable=True),
        Bind(str(workspace.scratch), "/scratch", writable=True),
        Bind(str(workspace.history), "/history"),
        *skills,
    )
    masks = tuple((kind, f"/workspace/{path}") for kind, path in workspace.masks())
    return Envelope(binds=binds, masks=masks, env=variables)
