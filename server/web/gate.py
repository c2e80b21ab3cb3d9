"""Who may come in over HTTP: the right Host and Origin, a body that is not too large, a live token; pure ASGI.

Each check is a layer of its own around the application, the outermost first: host and origin, body, token. All
apply to loopback too: a page in a browser on this machine reaches it as well (threat model T9). How long and how
large a request may be before it is one at all is `connections.py`'s.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from starlette.requests import ClientDisconnect

from server.actions.desk import CALLER
from server.contract.refusals import Refusal
from server.storage.token_store import digest_of_token
from server.web.known_tokens import MOST_KNOWN, Known, KnownTokens
from server.web.rates import Rates

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LARGEST_BODY: Final = 4 * 1024 * 1024
# Open to everybody who may reach the port: they say nothing of anybody.
OPEN: Final = frozenset({"/healthz", "/readyz"})
MINIONS: Final = "/v1/minion/"
# Where the layer of tokens leaves whose token it was, for the log.
SEEN: Final = "hq.seen"
_LOOPBACK: Final = ("127.0.0.1", "localhost", "[::1]")
_USUAL: Final = {"http": "80", "https": "443"}
# A longer number is no length of anything that is ever sent.
_DIGITS: Final = 18


@dataclass(frozen=True, slots=True)
class Hosts:
    """The names (with their port) under which this server may be addressed, and the pages that may ask it."""

    names: frozenset[str]
    origins: frozenset[str]

    @property
    def secure(self) -> bool:
        """Whether people reach it by https: then what they are given goes no other way."""
        return any(origin.startswith("https://") for origin in self.origins)

    @classmethod
    def of(cls, port: int, public: str | None) -> Hosts:
        """Loopback at this port, and the public address if there is one; a usual port may be said or not."""
        said = [f"http://{name}:{port}" for name in _LOOPBACK] + ([public] if public is not None else [])
        names: set[str] = set()
        origins: set[str] = set()
        for url in said:
            scheme, _, rest = url.lower().partition("://")
            host = rest.partition("/")[0]
            usual = f":{_USUAL.get(scheme, '')}"
            short = host.removesuffix(usual)
            has_port = ":" in short.rpartition("]")[2]
            names |= {host, short} if has_port else {short, short + usual}
            origins |= {f"{scheme}://{short}"}
        return cls(frozenset(names), frozenset(origins))


def hosts_only(app: App, hosts: Hosts) -> App:
    """Turn away requests to other names, and those of other pages (DNS rebinding, cross-site requests)."""

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await app(scope, receive, send) if scope["type"] == "lifespan" else None
        named, origins = _all(scope, b"host"), _all(scope, b"origin")
        if len(named) != 1 or named[0].lower() not in hosts.names:
            return await answer(send, 421, "wrong_host", "This server is not addressed so.", "use its own address")
        if len(origins) > 1 or any(origin.lower() not in hosts.origins for origin in origins):
            return await answer(send, 403, "wrong_origin", "Pages of other sites may not ask.", "ask from here")
        return await app(scope, receive, send)

    return guarded


def bodies_up_to(app: App, most: int = LARGEST_BODY) -> App:
    """Turn away bodies that are too large, before they are read if they say so, else as soon as they are."""

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await app(scope, receive, send)
        if any(_length(each) > most for each in _all(scope, b"content-length")):
            return await _too_large(send, most)
        told, over, begun = 0, False, False

        async def counted() -> dict[str, Any]:
            nonlocal told, over
            message = await receive() if not over else {}
            told += len(message.get("body", b""))
            if told > most:
                over = True
                return {"type": "http.disconnect"}
            return message

        async def noted(message: dict[str, Any]) -> None:
            nonlocal begun
            if not over:
                begun = begun or message["type"] == "http.response.start"
                await send(message)

        try:
            await app(scope, counted, noted)
        except ClientDisconnect:
            # Nobody is there to be answered, unless it was we who broke off.
            if not over:
                return None
        return await _too_large(send, most) if over and not begun else None

    return guarded


def tokens_only(app: App, tokens: KnownTokens, rates: Rates) -> App:
    """Let in who has a live token, as who it is; everybody may see whether the server is well."""

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await app(scope, receive, send)
        opened = scope["path"] in OPEN
        digest = None if opened else _digest(scope)
        known = tokens.at_hand(digest) if digest is not None else None
        # Who is not known yet is counted by where they come from, before the store is asked for them.
        wait = rates.wait_s(known.caller.id if known is not None else stranger(scope, opened))
        if wait:
            more = [(b"retry-after", str(int(wait) + 1).encode())]
            return await answer(send, 429, "too_many_calls", "That is too many calls.", "wait a moment", more)
        if opened:
            return await app(scope, receive, send)
        try:
            if known is None and digest is not None:
                known = await tokens.look_up(digest)
        except Refusal as refusal:
            return await answer(send, refusal.http_status, refusal.code, refusal.sentence, refusal.hint)
        if known is None:
            more = [(b"www-authenticate", b"Bearer")]
            hint = "send `Authorization: Bearer TOKEN`; hq token create makes one"
            return await answer(send, 401, "no_token", "A live token is needed.", hint, more)
        return await _let_in(app, scope, receive, send, known, tokens)

    return guarded


def stranger(scope: Scope, opened: bool = False) -> str:
    """How somebody whom nobody knows is counted: by their address, and apart where it is open to everybody."""
    address = (scope.get("client") or ("", 0))[0]
    return f"?{hashlib.sha256(address.encode()).hexdigest()[:16]} {opened}"


async def _let_in(
    app: App, scope: Scope, receive: Receive, send: Send, known: Known, tokens: KnownTokens
) -> None:
    scope.get(SEEN, {})["token"] = known.caller.id
    # A minion has a door of its own, and that door nobody else.
    at_home = scope["path"].startswith(MINIONS)
    if at_home != (known.caller.scope == "minion") or known.caller.scope == "fire":
        says = f"A {known.caller.scope} token is not good for this."
        return await answer(send, 403, "wrong_scope", says, "use a token of another scope")
    open_still = False

    async def noted(message: dict[str, Any]) -> None:
        nonlocal open_still
        open_still = message["type"] == "http.response.start" or message.get("more_body", False)
        await send(message)

    # By the user the MCP server knows whose its sessions are: nobody goes on in another token's.
    guarded = tokens.cut_off(receive, known, lambda: open_still)
    await app({**scope, CALLER: known.caller, "user": _user(known.caller.id)}, guarded, noted)
    if open_still:  # a stream that was cut off ends in good order
        await send({"type": "http.response.body", "body": b"", "more_body": False})
    return None


@functools.lru_cache(MOST_KNOWN)
def _user(token_id: str) -> AuthenticatedUser:
    return AuthenticatedUser(AccessToken(token="", client_id=token_id, scopes=[]))


async def answer(
    send: Send, status: int, code: str, sentence: str, hint: str, more: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    """A refusal over HTTP: the JSON object that every door shows."""
    body = json.dumps({"error": {"code": code, "sentence": sentence, "hint": hint}}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _too_large(send: Send, most: int) -> None:
    # What of it is still under way is not waited for.
    says, more = f"A body may have at most {most:,} bytes.", [(b"connection", b"close")]
    await answer(send, 413, "body_too_large", says, "send less at a time", more)


def _digest(scope: Scope) -> str | None:
    """The digest of the one token that a request sends; None where it sends none, or several."""
    said = _all(scope, b"authorization")
    kind, _, text = said[0].partition(" ") if len(said) == 1 else ("", "", "")
    return digest_of_token(text.strip()) if kind.lower() == "bearer" else None


def _length(text: str) -> float:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS else float("inf")


def _all(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key.lower() == name]
