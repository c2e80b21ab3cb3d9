"""Who is signed in on the pages: people, by a cookie that is good for half an hour after each use.

Kept in the memory of the process that serves, as digests, and never in the store: after a restart one signs in
again. A sign-in is worth what its token is worth at that moment: it ends with it. One by a link
(`sign_in_links.py`) has no token that could end: it is over after eight hours, however much it is used.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from starlette.requests import Request

from server.actions.desk import CALLER, Desk
from server.contract.refusals import Refusal
from server.domain.decision import SCOPES
from server.storage.access_store import Caller
from server.web.gate import SEEN, App, Receive, Scope, Send, answer, stranger
from server.web.known_tokens import KnownTokens
from server.web.rates import Rates

COOKIE: Final = "hq_person"
# What who came in by a page may do is a person's doing (`domain/decision.py`).
DOOR: Final = "page"
IDLE: Final = timedelta(minutes=30)
LONGEST_BY_LINK: Final = timedelta(hours=8)
# Who has not been seen longest goes first.
MOST_SIGNED_IN: Final = 256
_BYTES: Final = 32
_DECISIONS: Final = "/decisions"
SIGN_IN: Final = "/sign-in"
SIGN_IN_LINK: Final = "/sign-in/link"


@dataclass(slots=True)
class _SignIn:
    by: str | Caller  # the digest of the token it was made with, or whom a link signed in
    begun_at: datetime
    seen_at: datetime


class SignIns:
    """Those who are signed in, by the digest of their cookie."""

    def __init__(self, desk: Desk, tokens: KnownTokens) -> None:
        self._desk = desk
        self._tokens = tokens
        self._kept: dict[str, _SignIn] = {}

    async def holder(self, token: str) -> Caller | None:
        """Whose token of the store this is, by its digest. Raises a `Refusal`.

        The tokens of the home's door are none of them: those are for programs, and nobody is shown one.
        """
        known = await self._tokens.look_up(token)
        return None if known is None else replace(known.caller, door=DOOR)

    def begin(self, by: str | Caller) -> str:
        """Sign in who holds the token of this digest, or a person whom a link named; the text of the cookie."""
        now = self._desk.clock()
        for secret in [each for each, kept in self._kept.items() if now - kept.seen_at > IDLE]:
            del self._kept[secret]
        if len(self._kept) >= MOST_SIGNED_IN:
            del self._kept[next(iter(self._kept))]
        text = secrets.token_urlsafe(_BYTES)
        self._kept[_digest(text)] = _SignIn(by, now, now)
        return text

    async def who(self, cookie: str | None) -> Caller | None:
        """Who is signed in by a cookie; None where nobody is, any more. Raises a `Refusal`."""
        kept = self._kept.get(_digest(cookie)) if cookie else None
        if cookie is None or kept is None:
            return None
        now = self._desk.clock()
        person = await self._still(kept, now) if now - kept.seen_at <= IDLE else None
        if person is None or person.scope not in SCOPES:
            self.end(cookie)
            return None
        if self._kept.pop(_digest(cookie), None) is None:  # signed out meanwhile
            return None
        self._kept[_digest(cookie)] = _SignIn(kept.by, kept.begun_at, now)
        return replace(person, door=DOOR)

    async def _still(self, kept: _SignIn, now: datetime) -> Caller | None:
        """Whom a sign-in stands for now; None where what it was made with is good no more."""
        if isinstance(kept.by, Caller):
            return kept.by if now - kept.begun_at <= LONGEST_BY_LINK else None
        known = self._tokens.at_hand(kept.by) or await self._tokens.look_up(kept.by)
        return None if known is None else known.caller

    def end(self, cookie: str | None) -> None:
        """Sign out."""
        self._kept.pop(_digest(cookie or ""), None)


def form_of(cookie: str) -> str:
    """What each form of a sign-in carries: no other page can know it, and no other sign-in has it."""
    return hmac.new(cookie.encode(), b"hq form", hashlib.sha256).hexdigest()


def is_form_of(cookie: str, said: str) -> bool:
    """Whether a form carries what those of this sign-in carry."""
    return hmac.compare_digest(form_of(cookie).encode(), said.encode())


def cookie_of(request: Request) -> str | None:
    """The cookie of a sign-in that a request sends."""
    return request.cookies.get(COOKIE)


def is_page(path: str) -> bool:
    """Whether a path is one of the pages, which have a sign-in of their own."""
    return path in (_DECISIONS, SIGN_IN, SIGN_IN_LINK) or path.startswith(f"{_DECISIONS}/")


def pages_apart(pages: App, rest: App, signed: SignIns, rates: Rates) -> App:
    """Pages for people who sign in, apart from all the rest, for programs that send a token.

    Who is signed in comes out of their own bucket; whoever is not, out of the one of those who send no good token.
    """

    async def parted(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not is_page(scope["path"]):
            return await rest(scope, receive, send)
        try:
            who = await signed.who(cookie_of(Request(scope)))
        except Refusal as refusal:
            return await answer(send, refusal.http_status, refusal.code, refusal.sentence, refusal.hint)
        wait = rates.wait_s(stranger(scope) if who is None else who.id)
        if wait:
            more = [(b"retry-after", str(int(wait) + 1).encode())]
            return await answer(send, 429, "too_many_calls", "That is too many calls.", "wait a moment", more)
        if who is not None:
            scope.get(SEEN, {})["token"] = who.id
        # No token in a header makes anybody a person: the pages know nobody but who is signed in.
        return await pages({**scope, CALLER: who}, receive, send)

    return parted


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
