"""Has a verb done by the HQ that runs in a home, and by nobody else's hand; where none runs, by this process."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from server.config import Address, HqHome, address_of, read_holder
from server.contract.refusals import Refusal, Refused, refusal_from_data

# Who owns a home and serves says where within this time; one that is only just starting is waited for.
STARTS_S: Final = 20.0
LOOK_S: Final = 0.1
MCP: Final = "hq mcp"
_SERVES: Final = ("hq serve", "hq up", MCP)
_ANSWER_S: Final = 30.0
_READY_S: Final = 5.0
_LARGEST: Final = 4 * 1024 * 1024
_PATH: Final = "/v1/door/"


def ask(
    home: HqHome, command: str, verb: str, params: Mapping[str, Any], *, who: str, starts_s: float = STARTS_S
) -> dict[str, Any]:
    """What a verb of `server/actions/verbs.py` answers; `command` is what is said of this process meanwhile.

    Whoever owns the home and is only starting is waited for, `starts_s` seconds at most. Raises what the verb
    refuses, and `Refused` where somebody owns the home who does not answer.
    """
    until = time.monotonic() + starts_s
    while True:
        address = address_of(home)
        try:
            if address is not None:
                return over_http(address, verb, params)
            return _ourselves(home, command, verb, params, who)
        except (ConnectionRefusedError, Refusal) as trouble:
            # One that refuses connections is going: the home is free soon, or its owner is named.
            last = time.monotonic() > until
            if last and isinstance(trouble, ConnectionRefusedError):
                return _ourselves(home, command, verb, params, who)
            if last or not is_starting(home, trouble):
                raise
        time.sleep(LOOK_S)


def is_starting(home: HqHome, trouble: Exception) -> bool:
    """Whether whoever owns a home is only just about to say where it answers, or gone this instant."""
    if isinstance(trouble, Refused) and trouble.code == "home_held":
        holder = read_holder(home)
        return holder is None or holder.get("command") in _SERVES
    return isinstance(trouble, ConnectionRefusedError)


def over_http(address: Address, verb: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """What the HQ at an address answers at its door. Raises a `Refusal`, and `ConnectionRefusedError`."""
    place = urlsplit(address.url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=_ANSWER_S)
    headers = {"Authorization": f"Bearer {address.token}", "Content-Type": "application/json"}
    try:
        connection.request("POST", _PATH + verb, json.dumps(dict(params)).encode(), headers)
        with connection.getresponse() as answer:
            status, body = answer.status, answer.read(_LARGEST)
    except ConnectionRefusedError:
        raise
    except (OSError, http.client.HTTPException) as error:
        says = f"The HQ at {address.url} gave no answer ({error})."
        hint = "see hq status; whether it was done is not known"
        raise Refused("hq_silent", says, hint=hint) from error
    finally:
        connection.close()
    try:
        said = json.loads(body)
    except ValueError:
        said = None
    if status == 200 and isinstance(said, dict):
        return said
    refusal = said.get("error") if isinstance(said, dict) else None
    if isinstance(refusal, dict) and {"code", "sentence", "hint"} <= refusal.keys():
        raise refusal_from_data(str(refusal.get("kind")), refusal)
    says = f"The HQ at {address.url} answered with status {status}."
    raise Refused("hq_strange", says, hint="use hq of the same version")


def is_ready(url: str) -> bool:
    """Whether the HQ at an address says that it is ready."""
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=_READY_S)
    try:
        connection.request("GET", "/readyz")
        with connection.getresponse() as answer:
            return answer.status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _ourselves(
    home: HqHome, command: str, verb: str, params: Mapping[str, Any], who: str
) -> dict[str, Any]:
    import asyncio

    from server.actions.verbs import perform
    from server.app import opened
    from server.storage.access_store import Caller

    async def done() -> dict[str, Any]:
        async with opened(home, command) as (desk, _):
            return await perform(desk, Caller("local:admin", who, "admin"), verb, params)

    return asyncio.run(done())
