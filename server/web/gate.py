"""Who may come in over HTTP: the right Host and Origin, a body that is not too large, a live token; pure ASGI.

Each check is a layer of its own around the application, the outermost first: host and origin, body, token. All
apply to loopback too: a page in a browser on this machine reaches it as well (threat model T9).
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from server.actions.desk import CALLER
from server.contract.refusals import Refusal
from server.storage.access_store import Caller
from server.storage.token_store import digest_of_token

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Look = Callable[[str], Awaitable[Caller | None]]

LARGEST_BODY: Final = 4 * 1024 * 1024
# Open to everybody who may reach the port: they say nothing of anybody.
OPEN: Final = frozenset({"/healthz", "/readyz"})
# What one client may ask in a minute, and at once.
RATE_A_MINUTE: Final = 6_000
BURST: Final = 600
_LOOPBACK: Final = ("127.0.0.1", "localhost", "[::1]")


@dataclass(frozen=True, slots=True)
class Hosts:
    """The names (with their port) under which this server may be addressed, and the pages that may ask it."""

    names: frozenset[str]
    origins: frozenset[str]

    @classmethod
    def of(cls, port: int, public: str | None) -> Hosts:
        """Loopback at this port, and the public address if there is one."""
        names = {f"{name}:{port}" for name in _LOOPBACK}
        origins = {f"http://{name}" for name in names}
        if public is not None:
            scheme, _, rest = public.partition("://")
            host = rest.partition("/")[0].lower()
            names |= {host}
            origins |= {f"{scheme}://{host}"}
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
        said = _all(scope, b"content-length")
        if any(not each.isdigit() or int(each) > most for each in said):
            return await _too_large(send, most)
        told, over, begun = 0, False, False

        async def counted() -> dict[str, Any]:
            nonlocal told, over
            message = await receive()
            told += len(message.get("body", b""))
            if told > most:
                over = True
                return {"type": "http.disconnect"}
            return message

        async def noted(message: dict[str, Any]) -> None:
            nonlocal begun
            begun = begun or message["type"] == "http.response.start"
            if not over:
                await send(message)

        await app(scope, counted, noted)
        return await _too_large(send, most) if over and not begun else None

    return guarded


@dataclass(slots=True)
class Rates:
    """How much each caller may ask: so many a minute, so many at once (a bucket that fills up again)."""

    a_minute: int = RATE_A_MINUTE
    burst: int = BURST
    clock: Callable[[], float] = time.monotonic
    _buckets: dict[str, tuple[float, float]] = field(default_factory=dict)

    def wait_s(self, who: str) -> float:
        """Take one; 0 when there was one, else the seconds until there is."""
        now = self.clock()
        left, at = self._buckets.get(who, (float(self.burst), now))
        left = min(float(self.burst), left + (now - at) * self.a_minute / 60)
        if len(self._buckets) > 10_000:  # forget those that are full: they are as good as new
            self._buckets = {
                k: v for k, v in self._buckets.items() if now - v[1] < self.burst * 60 / self.a_minute
            }
        self._buckets[who] = (left - 1, now) if left >= 1 else (left, now)
        return 0.0 if left >= 1 else (1 - left) * 60 / self.a_minute


def tokens_only(app: App, look: Look, rates: Rates) -> App:
    """Let in who has a live token, as who it is; everybody may see whether the server is well."""

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in OPEN:
            return await app(scope, receive, send)
        said = _all(scope, b"authorization")
        kind, _, text = said[0].partition(" ") if len(said) == 1 else ("", "", "")
        digest = digest_of_token(text.strip()) if kind.lower() == "bearer" else None
        try:
            who = await look(digest) if digest is not None else None
        except Refusal as refusal:
            return await answer(send, refusal.http_status, refusal.code, refusal.sentence, refusal.hint)
        # Guesses are counted by where they come from.
        address = (scope.get("client") or ("", 0))[0]
        wait = rates.wait_s(who.id if who is not None else f"?{hashlib.sha256(address.encode()).hexdigest()[:16]}")
        if wait:
            more = [(b"retry-after", str(int(wait) + 1).encode())]
            return await answer(send, 429, "too_many_calls", "That is too many calls.", "wait a moment", more)
        if who is None:
            more = [(b"www-authenticate", b"Bearer")]
            hint = "send `Authorization: Bearer TOKEN`; hq token create makes one"
            return await answer(send, 401, "no_token", "A live token is needed.", hint, more)
        return await app({**scope, CALLER: who}, receive, send)

    return guarded


async def answer(
    send: Send, status: int, code: str, sentence: str, hint: str, more: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    """A refusal over HTTP: the JSON object that every door shows."""
    body = json.dumps({"error": {"code": code, "sentence": sentence, "hint": hint}}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _too_large(send: Send, most: int) -> None:
    await answer(send, 413, "body_too_large", f"A body may have {most:,} bytes.", "send less at a time")


def _all(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key.lower() == name]
