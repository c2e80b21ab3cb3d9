"""The pages where a person signs in and decides: what waits, each decision whole, and the answer to it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from server.actions import decide as deciding
from server.actions.desk import CALLER, Desk, asking
from server.contract.digest import is_id
from server.contract.refusals import BadUse, NotFound, Refusal, Refused
from server.domain.decision import may_decide
from server.storage import finding_store
from server.storage.access_store import Caller
from server.storage.token_store import digest_of_token
from server.web.gate import SEEN
from server.web.pages.looks import POLICY, decision_page, link_page, list_page, refusal_page, sign_in_page
from server.web.pages.markup import Html
from server.web.sign_in_links import SignInLinks
from server.web.sign_ins import COOKIE, SIGN_IN, SIGN_IN_LINK, SignIns, cookie_of, form_of, is_form_of

# No answer is longer, with its reason written in four-byte letters.
LARGEST_FORM: Final = 64 * 1024
_MOST_FIELDS: Final = 16
_FORM: Final = "application/x-www-form-urlencoded"
_SHOWN: Final = 50
_LATELY: Final = 10
_STATUS: Final = {"no_live_token": 403, "may_not_decide": 403, "foreign_form": 403, "not_signed_in": 403,
                  "form_too_large": 413, "link_used": 410, "link_over": 410, "too_many_tries": 429}  # fmt: skip
HEADERS: Final = {
    "content-security-policy": POLICY,
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
    # `no-referrer` would have browsers send our own forms with `Origin: null` (Fetch, "append a request Origin
    # header"), and the gate turns those away; to any other site this one sends as little.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
Answered = Callable[[Request], Awaitable[Response]]


def decision_routes(desk: Desk, signed: SignIns, links: SignInLinks, *, secure: bool) -> list[Route]:
    """The routes of the pages; `secure` has the cookie go by https alone."""
    pages = _Pages(desk, signed, links, secure)
    return [
        Route(SIGN_IN, _safely(pages.sign_in), methods=["GET", "POST"]),
        Route(SIGN_IN_LINK, _safely(pages.by_link), methods=["GET", "POST"]),
        Route("/decisions", _safely(pages.waiting), methods=["GET"]),
        Route("/decisions/sign-out", _safely(pages.sign_out), methods=["POST"]),
        Route("/decisions/{decision}", _safely(pages.decision), methods=["GET", "POST"]),
    ]


class _Pages:
    """What is done for each of the routes."""

    def __init__(self, desk: Desk, signed: SignIns, links: SignInLinks, secure: bool) -> None:
        self._desk = desk
        self._signed = signed
        self._links = links
        self._secure = secure

    async def sign_in(self, request: Request) -> Response:
        """Sign in by a token, and go on to the decision that was asked for."""
        if request.method != "POST":
            return _go_to("/decisions")
        said = await _form(request)
        after = said.get("after", "")
        after = after if is_id(after, "dec_") else ""
        digest = digest_of_token(said.get("token", "").strip())
        try:
            who = None if digest is None else await self._signed.holder(digest)
            if who is None or digest is None:
                hint = "paste all of it; `hq token list` shows which are live"
                raise Refused("no_live_token", "That is no live token.", hint=hint)
            request.scope.get(SEEN, {})["token"] = who.id
            may_decide(who.scope, who.door)
        except Refused as refusal:
            return _shown(sign_in_page(after=after, refused=refusal), _status(refusal))
        answer = _go_to(f"/decisions/{after}" if after else "/decisions")
        self._set_cookie(answer, self._signed.begin(digest))
        return answer

    async def by_link(self, request: Request) -> Response:
        """Sign in by a link: to open it shows a button, and does nothing; the button uses it up."""
        if request.method != "POST":
            code = request.query_params.get("code", "")
            return _shown(link_page(code, self._links.person_of(code)))
        who, after = self._links.use((await _form(request)).get("code", ""))
        request.scope.get(SEEN, {})["token"] = who.id
        answer = _go_to(f"/decisions/{after}" if after else "/decisions")
        self._set_cookie(answer, self._signed.begin(who))
        return answer

    async def sign_out(self, request: Request) -> Response:
        """End a sign-in."""
        who, cookie = _person(request)
        if who is not None:
            _check(await _form(request), cookie)
            self._signed.end(cookie)
        answer = _shown(sign_in_page(note="You are signed out."))
        self._set_cookie(answer, None)
        return answer

    async def waiting(self, request: Request) -> Response:
        """What waits, and what was decided lately."""
        who, cookie = _person(request)
        if who is None:
            return _stranger(request)
        now = self._desk.clock()
        found = await self._desk.read_swept(deciding.listed, "open", _SHOWN + 1, now=now)
        latest = await self._desk.read(deciding.listed, "any", 4 * _LATELY, now=now, newest=True)
        over = [said for said in latest if said["state"] != "open"][:_LATELY]
        more = len(found) > _SHOWN
        return _shown(list_page(found[:_SHOWN], over, more=more, who=who, form=form_of(cookie), now=now))

    async def decision(self, request: Request) -> Response:
        """A decision, whole; a POST answers it."""
        who, cookie = _person(request)
        if who is None:
            # Said of whatever there may be or not: who is not signed in learns nothing.
            return _stranger(request)
        named = request.path_params["decision"]
        if request.method != "POST":
            return await self._show(named, who, cookie)
        said = await _form(request)
        _check(said, cookie)
        why = said.get("why", "").replace("\r\n", "\n").strip()
        before = asking.set(who)
        try:
            await self._desk.do(
                deciding.decide, named, said.get("answer", ""), digest=said.get("digest", ""), why=why or None
            )
        except (Refused, BadUse) as refusal:
            return await self._show(named, who, cookie, why=why, refused=refusal)
        finally:
            asking.reset(before)
        return _go_to(f"/decisions/{named}")

    async def _show(
        self, named: str, who: Caller, cookie: str, *, why: str = "", refused: Refusal | None = None
    ) -> Response:
        if not is_id(named, "dec_"):
            raise NotFound("no_such_decision", "There is no such decision.", hint="look at all that waits")
        now = self._desk.clock()
        row = await self._desk.read_swept(finding_store.find_decision, named)
        said = deciding.shown(row, now=now, links=None)
        digest = deciding.digest_of_shown(said)
        page = decision_page(said, digest, who=who, form=form_of(cookie), now=now, why=why, refused=refused)
        return _shown(page, 200 if refused is None else _status(refused))

    def _set_cookie(self, answer: Response, text: str | None) -> None:
        answer.set_cookie(
            COOKIE, text or "", max_age=None if text else 0, path="/decisions", httponly=True, samesite="strict",
            secure=self._secure,
        )  # fmt: skip


def _safely(page: Answered) -> Answered:
    """A page that says of what it refuses, on a page, why."""

    async def answered(request: Request) -> Response:
        try:
            return await page(request)
        except Refusal as refusal:
            who, cookie = _person(request)
            return _shown(refusal_page(refusal, who=who, form=form_of(cookie)), _status(refusal))

    return answered


def _person(request: Request) -> tuple[Caller | None, str]:
    """Who is signed in, and by which cookie."""
    return request.scope.get(CALLER), cookie_of(request) or ""


def _stranger(request: Request) -> Response:
    """The way in, for who is not signed in; what they sent was not done."""
    path = request.url.path
    after = path.rpartition("/")[2]
    after = after if is_id(after, "dec_") else ""
    refused, elsewhere = None, ""
    if request.method == "POST":
        hint = "sign in and answer again"
        refused = Refused("not_signed_in", "You are signed in no more, and nothing was decided.", hint=hint)
    elif request.headers.get("sec-fetch-site") == "cross-site":
        elsewhere = f"/decisions/{after}" if after else "/decisions"
    page = sign_in_page(after=after, refused=refused, elsewhere=elsewhere)
    return _shown(page, 200 if refused is None else _status(refused))


def _check(said: dict[str, str], cookie: str) -> None:
    """Raise `Refused` for a form that is not one of this sign-in's pages."""
    if not is_form_of(cookie, said.get("form", "")):
        says = "This form does not belong to your sign-in; nothing was done."
        raise Refused("foreign_form", says, hint="open the page anew and answer there")


async def _form(request: Request) -> dict[str, str]:
    """The fields of a form. Raises `BadUse` for what is none, or one that is too large."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
        raise BadUse("no_form", "This is no form.", hint="use the forms of the pages")
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > LARGEST_FORM:
            says = f"A form may have {LARGEST_FORM:,} bytes."
            raise BadUse("form_too_large", says, hint="write a shorter reason")
    try:
        text = body.decode("ascii", "replace")
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=_MOST_FIELDS))
    except ValueError as error:
        raise BadUse("no_form", "This is no form.", hint="use the forms of the pages") from error


def _status(refusal: Refusal) -> int:
    return _STATUS.get(refusal.code, refusal.http_status)


def _shown(page: Html, status: int = 200) -> Response:
    return Response(str(page), status_code=status, headers=HEADERS, media_type="text/html")


def _go_to(path: str) -> Response:
    return RedirectResponse(path, status_code=303, headers=HEADERS)
