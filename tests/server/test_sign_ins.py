"""Signing in on the pages: who may, until when, and that nobody else acts with it."""

from __future__ import annotations

import hashlib
import re
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlencode

import pytest
from sqlalchemy import update

from server.actions import entrust
from server.actions.desk import Desk
from server.app import offered
from server.contract.digest import instant
from server.storage.tables import TOKENS
from server.web.door import Door
from server.web.gate import Hosts
from server.web.known_tokens import KnownTokens
from server.web.rates import Rates
from server.web.routes import web_app
from server.web.sign_ins import MOST_SIGNED_IN, SignIns, form_of
from tests.server.browsers import (
    Browser,
    asked,
    change,
    digest_in,
    play,
    refused,
    signed_in,
    state_of,
)
from tests.server.desks import ADMIN, BEGIN, Clock
from tests.server.gates import PORT, PUBLIC, ask, gate_of, make_token


@pytest.mark.promise("DEC-2")
@pytest.mark.promise("DEC-1")
@pytest.mark.parametrize("scope", ["session", "ledger"])
def test_tokens_of_other_scopes_and_of_the_door_sign_nobody_in_and_are_told_why(
    tmp_path: Path, scope: str
) -> None:
    async def scene(desk: Desk) -> None:
        decision = await asked(desk)
        door = Door("owner")
        app = web_app(desk, offered(desk, version="test"), Hosts.of(PORT, None), door=door)
        browser = Browser(app)
        made = (await make_token(desk, scope))["token"]
        assert refused(await browser.sign_in(made)) == (403, "may_not_decide")
        assert f"A token of scope {scope} decides nothing.".encode() in browser.seen[-1].body
        for text in (door.text, door.pass_for("admin"), "", "hq_admin_x", made[:-1]):
            assert refused(await browser.sign_in(text)) == (403, "no_live_token")
        assert (browser.cookie, made.encode() in browser.seen[-1].body) == (None, False)
        # A token in a header makes nobody a person, and shows nobody what waits.
        admin = (await make_token(desk, "admin"))["token"]
        for path in ("/decisions", f"/decisions/{decision}"):
            said = await ask(app, path, token=admin)
            assert (b"Sign in to decide" in said.body, b"Use it?" in said.body) == (True, False)
        form = [("content-type", "application/x-www-form-urlencoded")]
        body = [urlencode({"answer": "approve", "form": form_of("")}).encode()]
        said = await ask(app, f"/decisions/{decision}", method="POST", token=admin, headers=form, body=body)
        assert refused(said) == (403, "not_signed_in")
        assert (await state_of(desk, decision))[0] == "open"

    play(tmp_path, scene)


@pytest.mark.promise("DEC-3")
def test_the_cookie_is_for_these_pages_alone_and_kept_as_a_digest(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        token = (await make_token(desk, "reviewer"))["token"]
        for public, secure in ((None, False), (PUBLIC, True), ("http://hq.example.com", False)):
            async with gate_of(desk, public=public) as app:
                signed = await Browser(app).sign_in(token)
                text, *flags = signed.headers["set-cookie"].split("; ")
                assert {flag.lower() for flag in flags} == {
                    "httponly", "path=/decisions", "samesite=strict", *(["secure"] if secure else []),
                }  # fmt: skip
                assert re.fullmatch(r"hq_person=[A-Za-z0-9_-]{43}", text)
        signs = SignIns(desk, KnownTokens(desk, lambda _: None))
        cookie = signs.begin("0" * 64)
        assert list(signs._kept) == [hashlib.sha256(cookie.encode()).hexdigest()]
        for _ in range(MOST_SIGNED_IN + 5):
            signs.begin("0" * 64)
        assert len(signs._kept) == MOST_SIGNED_IN

    play(tmp_path, scene)


@pytest.mark.promise("DEC-3")
@pytest.mark.parametrize("end", ["idle", "revoked", "expired", "signed out"])
def test_a_sign_in_ends_and_nothing_is_decided_with_it_then(tmp_path: Path, end: str) -> None:
    clock = Clock()

    async def scene(desk: Desk) -> None:
        decision = await asked(desk)
        async with gate_of(desk) as app:
            browser, made = Browser(app), await make_token(desk, "reviewer")
            if end == "expired":
                until = instant(BEGIN + timedelta(minutes=90))
                await change(desk, update(TOKENS).where(TOKENS.c.id == made["id"]).values(expires_at=until))
            await browser.sign_in(made["token"])
            for _ in range(3):  # each use begins the half hour anew
                clock.pass_(minutes=29)
                assert b"Use it?" in (await browser.get(f"/decisions/{decision}")).body
            digest = digest_in(browser.seen[-1])
            if end == "idle":
                clock.pass_(minutes=31)
            elif end == "revoked":
                await desk.database.transact(entrust.revoke_token, ADMIN, made["id"], now=desk.clock())
            elif end == "expired":
                clock.pass_(minutes=4)
            else:
                out = await browser.post("/decisions/sign-out", form=form_of(browser.cookie or ""))
                assert b"You are signed out." in out.body
                assert "max-age=0" in out.headers["set-cookie"].lower()
            form = form_of(browser.cookie or "")
            late = await browser.post(f"/decisions/{decision}", digest=digest, form=form, answer="approve")
            assert refused(late) == (403, "not_signed_in")
            assert b"Use it?" not in (await browser.get(f"/decisions/{decision}")).body
        assert (await state_of(desk, decision))[0] == "open"

    play(tmp_path, scene, clock)


@pytest.mark.promise("DEC-3")
def test_only_the_sign_ins_own_form_from_our_own_page_does_anything(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        decision = await asked(desk)
        async with gate_of(desk) as app:
            ann, ben = await signed_in(desk, app), await signed_in(desk, app, name="ben")
            for form in ("", "é", form_of("x"), form_of(ben.cookie or "")):
                assert refused(await ann.answer(decision, form=form)) == (403, "foreign_form")
                assert refused(await ann.post("/decisions/sign-out", form=form)) == (403, "foreign_form")
            own = [("content-type", "application/x-www-form-urlencoded"), ("cookie", f"hq_person={ann.cookie}")]
            for origin in ("https://evil.example", "null", f"http://127.0.0.1:{PORT + 1}"):
                headers = [*own, ("origin", origin)]
                for path in (f"/decisions/{decision}", "/decisions/sign-out", "/sign-in"):
                    said = await ask(app, path, method="POST", headers=headers)
                    assert (said.status, said.code) == (403, "wrong_origin")
            assert (await ask(app, "/decisions", host="evil.example")).code == "wrong_host"
            assert b"ann (reviewer)" in (await ann.get("/decisions")).body
        assert (await state_of(desk, decision))[0] == "open"

    play(tmp_path, scene)


def test_strangers_share_what_wrong_tokens_may_cost_and_who_is_signed_in_does_not_pay_for_them(
    tmp_path: Path,
) -> None:
    async def scene(desk: Desk) -> None:
        rates = Rates(a_minute=60, burst=6, clock=lambda: 0.0)
        async with gate_of(desk, rates=rates) as app:
            browser, stranger = await signed_in(desk, app), Browser(app)
            statuses = [(await stranger.sign_in("wrong")).status for _ in range(6)]
            assert statuses == [403] * 5 + [429]
            assert (await stranger.get("/decisions")).headers["retry-after"] == "2"
            assert (await ask(app, "/metrics")).status == 429
            assert (await browser.get("/decisions")).status == 200
            assert [(await browser.get("/decisions")).status for _ in range(6)][-1] == 429
            assert (await ask(app, "/healthz")).status == 200

    play(tmp_path, scene)
