"""What an operator asks of HQ by commands, by name: the same actions, with a running HQ and without one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from server.actions import entrust
from server.actions.desk import Desk, asking
from server.contract.refusals import BadUse
from server.storage.access_store import Caller

VERBS: Final[Mapping[str, Callable[..., dict[str, Any]]]] = {
    "token.create": entrust.create_token,
    "token.rotate": entrust.rotate_token,
    "token.revoke": entrust.revoke_token,
}


async def perform(desk: Desk, who: Caller, verb: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """Have a verb done for somebody. Raises what it refuses, and `BadUse` for parameters it does not take."""
    action = VERBS.get(verb)
    if action is None:
        raise BadUse("no_such_verb", f"There is no verb {verb[:40]!r} here.", hint="use hq of the same version")
    before = asking.set(who)
    try:
        return await desk.do(action, **params)
    except TypeError as error:
        says = f"The verb {verb} does not take that."
        raise BadUse("bad_parameters", says, hint="use hq of the same version") from error
    finally:
        asking.reset(before)
