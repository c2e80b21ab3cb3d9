"""The engines: each one that this installation has opens a session as a run does, and does one piece of work."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final

from minion.doctor.finding import Finding, ok, problem
from minion.doctor.remedies import reinstall
from minion.doctor.trial import CONTENT, trial_order
from minion.engines.registry import AVAILABLE, engine_named
from minion.runner.blocks import BlockFailed
from minion.runner.stage import set_stage
from minion.runner.workspace import lay_out

_TRIAL_S: Final = 20.0
Trial = Callable[[Path, str], Awaitable[Finding]]


async def engines(folder: Path, now: str) -> list[Finding]:
    """One finding for each engine; `folder` is the doctor's own."""
    found = []
    for name in AVAILABLE:
        try:
            async with asyncio.timeout(_TRIAL_S):
                found.append(await TRIALS[name](folder / f"engine-{name}", now))
        except TimeoutError:
            found.append(problem(f"engine {name}", f"It did no work within {_TRIAL_S:g} s.", reinstall()))
    return found


async def script(folder: Path, now: str) -> Finding:
    """The `script` engine runs a bundled skill, in the sandbox if there is one, and its answer is understood."""
    name = "engine script"
    order = trial_order(folder, engine="script", now=now)
    workspace = await lay_out(order)
    try:
        stage = await set_stage(order, workspace, now=now, redact=lambda value: value)
    except BlockFailed as error:
        return problem(name, error.why, reinstall())
    try:
        session = await engine_named("script").open(stage)
        result = await session.skill(order.skills[0], [], timeout_s=_TRIAL_S)
    finally:
        await stage.tools.close()
    if result.state != "completed":
        return problem(name, f"The bundled skill {order.skills[0].name} did not work: {result.why}", reinstall())
    if [(effect.kind, effect.body) for effect in result.effects] != [("message", CONTENT)]:
        return problem(name, f"The bundled skill {order.skills[0].name} did not give its answer.", reinstall())
    where = "in the sandbox" if stage.tools.sandboxed else "without a sandbox"
    return ok(name, f"A bundled skill ran {where} and was understood, in {result.duration_ms} ms.")


# How each engine is tried; one without an entry here could not be judged, and a test says so.
TRIALS: Final[Mapping[str, Trial]] = {"script": script}
