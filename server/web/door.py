"""The operator's door: who may read this home's door token is its owner, and asks by commands what changes HQ.

Its tokens live in the memory of the process that serves, and end with it: none is ever in the store.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from server.actions.desk import CALLER, Desk
from server.actions.verbs import perform
from server.contract.refusals import BadUse, Refusal, Refused
from server.storage.access_store import Caller
from server.storage.token_store import BOUND, SCOPES, fresh_token
from server.web.sign_in_links import SignInLinks

PATH: Final = "/v1/door/"
# A pass is handed out for each of these, and for several together.
PASSES: Final = frozenset(SCOPES) - frozenset(BOUND)


@dataclass(slots=True)
class Door:
    """The tokens by which programs of this machine's user come in: the door's own, and passes of other scopes.

    `name` is who they are. A pass lets a session in as what it is, though it began as the owner.
    """

    name: str
    text: str = field(default_factory=lambda: fresh_token("admin"), repr=False)
    _owner: Caller = field(init=False)
    _known: dict[str, Caller] = field(default_factory=dict, repr=False)
    _passes: dict[str, str] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self._owner = Caller("local:admin", self.name, "admin")
        self._known[_digest(self.text)] = self._owner

    def caller_of(self, digest: str) -> Caller | None:
        """Who has the token of this digest; None where it is none of the door's."""
        return self._known.get(digest)

    def is_owner(self, who: Any) -> bool:
        """Whether this is who came in with the door's own token: no other admin is."""
        return who is self._owner

    def pass_for(self, scope: str) -> str:
        """The token of a scope, or of several joined by `+`. Raises `BadUse`."""
        asked = set(scope.split("+"))
        if not asked <= PASSES:
            hint = f"use one of {', '.join(sorted(PASSES))}"
            raise BadUse("bad_scope", f"{scope[:40]!r} is no scope.", hint=hint)
        held = "admin" if "admin" in asked else "+".join(sorted(asked))
        if held not in self._passes:
            self._passes[held] = fresh_token(held if held in PASSES else "session")
            self._known[_digest(self._passes[held])] = Caller(f"local:{held}", self.name, held)
        return self._passes[held]


def door_routes(desk: Desk, door: Door, links: SignInLinks) -> list[Route]:
    """What is there for the door's own token, and nobody else: verbs, passes, and links to sign in by."""

    async def asked(request: Request) -> Response:
        try:
            if not door.is_owner(request.scope.get(CALLER)):
                hint = "use the commands of hq, on the machine and as the user that serves"
                raise Refused("not_the_owner", "Only the owner of this home may ask here.", hint=hint)
            params = _params(await request.body())
            verb = request.path_params["verb"]
            if verb == "pass":
                return JSONResponse({"token": door.pass_for(str(params.get("scope", "")))})
            if verb == "link":
                return JSONResponse(links.make(door.name, str(params.get("after") or "")))
            return JSONResponse(await perform(desk, request.scope[CALLER], verb, params))
        except Refusal as refusal:
            status = 403 if refusal.code == "not_the_owner" else refusal.http_status
            said = {"kind": type(refusal).__name__, **refusal.as_data()}
            return JSONResponse({"error": said}, status_code=status)

    return [Route(PATH + "{verb}", asked, methods=["POST"])]


def _params(body: bytes) -> dict[str, Any]:
    try:
        said = json.loads(body or b"{}")
    except ValueError:
        said = None
    if not isinstance(said, dict):
        raise BadUse("bad_parameters", "The parameters are no JSON object.", hint="use hq of the same version")
    return said


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
