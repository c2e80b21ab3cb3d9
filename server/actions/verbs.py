"""What an operator asks of HQ by commands, by name: the same actions, with a running HQ and without one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from server.actions import cancel, entrust, fire, move, part, publish
from server.actions.decide import decide
from server.actions.desk import Desk, asking
from server.contract.refusals import BadUse
from server.storage.access_store import Caller

# Who asks by commands came in at a terminal of HQ's own machine (`domain/decision.py`).
DOOR: Final = "cli"
VERBS: Final[Mapping[str, Callable[..., dict[str, Any]]]] = {
    "token.create": entrust.create_token,
    "token.rotate": entrust.rotate_token,
    "token.revoke": entrust.revoke_token,
    "decide": decide,
    "minion.forget": part.forget_minion,
    "routine.move": move.move_routine,
    "routine.pause": publish.pause_routine,
    "routine.resume": publish.resume_routine,
    "routine.delete": publish.delete_routine,
    "routine.run": fire.run_routine,
    "run.cancel": cancel.cancel_run,
}


async def perform(desk: Desk, who: Caller, verb: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """Have a verb done for somebody. Raises what it refuses, and `BadUse` for parameters it does not take."""
    action = VERBS.get(verb)
    if action is None:
        raise BadUse("no_such_verb", f"There is no verb {verb[:40]!r} here.", hint="use hq of the same version")
    known = {"processes": desk.processes} if "processes" in inspect.signature(action).parameters else {}
    if not _takes(action, params, known):
        says = f"The verb {verb} does not take that."
        raise BadUse("bad_parameters", says, hint="use hq of the same version")
    before = asking.set(replace(who, door=DOOR))
    try:
        return await desk.do(action, **params, **known)
    finally:
        asking.reset(before)


def _takes(action: Callable[..., Any], params: Mapping[str, Any], known: Mapping[str, Any]) -> bool:
    """Whether the names fit, and each value is a text, or null where it may be left out."""
    signature = inspect.signature(action)
    try:
        signature.bind(None, None, **params, **known, now=None)
    except TypeError:
        return False
    known = signature.parameters
    return all(
        isinstance(said, str) or (said is None and known[name].default is None) for name, said in params.items()
    )
