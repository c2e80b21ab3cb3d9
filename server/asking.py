"""Has a verb done by the HQ that runs in a home, and by nobody else's hand; where none runs, by this process."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from server.config import Address, HqHome, address_of
from server.contract.refusals import Refused, refusal_from_data

_ANSWER_S: Final = 30.0
_READY_S: Final = 5.0
_LARGEST: Final = 4 * 1024 * 1024
_PATH: Final = "/v1/door/"


def ask(home: HqHome, command: str, verb: str, params: Mapping[str, Any], *, who: str) -> dict[str, Any]:
    """What a verb of `server/actions/verbs.py` answers; `command` is what is said of this process meanwhile.

    Raises what it refuses, and `Refused` where somebody owns the home who does not answer.
    """
    address = address_of(home)
    if address is not None:
        try:
            return over_http(address, verb, params)
        except ConnectionRefusedError:
            pass  # it has just gone: then the home is free, or its owner is named
    return _ourselves(home, command, verb, params, who)


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
