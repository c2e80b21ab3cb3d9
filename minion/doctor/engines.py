"""The engines: each one that this installation has opens a session as a run does, and does one piece of work."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final

from minion.config import Home
from minion.doctor.finding import Finding, ok, problem, refused
from minion.doctor.house import config_of
from minion.doctor.remedies import edit, reinstall
from minion.doctor.trial import CONTENT, trial_order
from minion.engines.registry import INSTALLED, engine_named, lack_of
from minion.models import check_priced, models_for
from minion.runner.blocks import BlockFailed
from minion.runner.ledger import NoLedger
from minion.runner.stage import set_stage
from minion.runner.workspace import lay_out
from minion.secrets_file import secret_names
from server.contract.redaction import Redactor
from server.contract.refusals import Refusal

_TRIAL_S: Final = 20.0
Trial = Callable[[Path, str, Home], Awaitable[Finding]]


async def engines(folder: Path, now: str, home: Home) -> list[Finding]:
    """One finding for each engine that is installed; `folder` is the doctor's own, `home` is only read."""
    found = []
    for name in INSTALLED:
        try:
            async with asyncio.timeout(_TRIAL_S):
                found.append(await TRIALS[name](folder / f"engine-{name}", now, home))
        except TimeoutError:
            found.append(problem(f"engine {name}", f"It did no work within {_TRIAL_S:g} s.", reinstall()))
    return found


async def script(folder: Path, now: str, home: Home) -> Finding:  # noqa: ARG001 - each trial takes the same
    """The `script` engine runs a bundled skill, in the sandbox if there is one, and its answer is understood."""
    name = "engine script"
    order = trial_order(folder, engine="script", now=now)
    workspace = await lay_out(order)
    try:
        stage = await set_stage(order, workspace, now=now, redact=Redactor().data, ledger=NoLedger())
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


async def messages(folder: Path, now: str, home: Home) -> Finding:  # noqa: ARG001
    """The `messages` engine can be loaded, has a key, and its usual model a price. Nothing is sent: that costs."""
    name = "engine messages"
    try:
        engine_named("messages")
    except ImportError as error:
        return problem(name, f"It cannot be loaded: {error}.", reinstall())
    try:
        names = secret_names(home.secrets_file)
    except Refusal:
        return ok(name, "It is installed; whether it has a key cannot be said, see the finding on the secrets.")
    lack = lack_of("messages", lambda: names)
    if lack is not None:
        return ok(name, f"It is installed, and {lack.words}, which only routines on it need: {lack.hint}.")
    config = config_of(home)
    if config is None:
        return ok(name, "It is installed and has a key; the finding on the configuration says the rest.")
    models = models_for({"model": None}, [], config)
    try:
        check_priced(models, config)
    except Refusal as refusal:
        return refused(name, refusal, edit(home.config_file))
    where = config.api_url or "the usual address of its API"
    return ok(name, f"It has a key and a price for {models.usual}, and goes to {where}; nothing was sent there.")


# How each engine is tried; one without an entry here could not be judged, and a test says so.
TRIALS: Final[Mapping[str, Trial]] = {"script": script, "messages": messages}
