"""The pages of decisions: what is shown there, and the answer a person gives to it."""

from __future__ import annotations

import hashlib
import html
import re
from base64 import b64encode
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import update

from server.actions.decide import decide
from server.actions.desk import Desk, asking
from server.contract.digest import instant
from server.domain.legible import ago, harmless, one_line
from server.storage import finding_store
from server.storage.tables import DECISIONS, EVENTS
from server.web.pages.markup import Html, tag
from server.web.sign_ins import form_of
from tests.server.browsers import (
    HOSTILE,
    NOBODYS,
    Browser,
    asked,
    change,
    digest_in,
    play,
    refused,
    signed_in,
    state_of,
)
from tests.server.desks import BEGIN, REVIEWER, Clock
from tests.server.gates import answering, ask, gate_of, make_token


@pytest.mark.promise("DEC-2")
@pytest.mark.parametrize("scope", ["reviewer", "admin"])
def test_a_person_signs_in_and_their_answer_is_kept_with_their_name(tmp_path: Path, scope: str) -> None:
    async def scene(desk: Desk) -> None:
        decision = await asked(desk)
        async with gate_of(desk) as app:
            browser = Browser(app)
            before = await browser.get(f"/decisions/{decision}")
            assert (before.status, f'value="{decision}"' in before.body.decode()) == (200, True)
            token = (await make_token(desk, scope, "ann"))["token"]
            signed = await browser.sign_in(token, after=decision)
            assert (signed.status, signed.headers["location"]) == (303, f"/decisions/{decision}")
            assert b"1 decision waits" in (await browser.get("/decisions")).body
            done = await browser.answer(decision, why="It  passed\r\nthrice. ")
            assert (done.status, done.headers["location"]) == (303, f"/decisions/{decision}")
            page = (await browser.get(f"/decisions/{decision}")).body.decode()
            assert "<strong>Approved</strong> by ann (tok_" in page
            assert ("2026-04-01 09:00 UTC" in page, 'name="answer"' in page) == (True, False)
            assert await state_of(desk, decision) == ("approved", "ann", "It  passed\nthrice.")
            after = (await browser.get("/decisions")).body.decode()
            assert ("Nothing waits" in after, "Lately decided" in after) == (True, True)
        (event,) = [
            each for each in await desk.read(lambda db: list(db.execute(EVENTS.select())))
            if each.type == "decision.approved"
        ]  # fmt: skip
        assert ('"door":"page"' in event.data, '"by":"ann"' in event.data) == (True, True)

    play(tmp_path, scene)


@pytest.mark.promise("DEC-2")
def test_an_answer_is_one_to_what_was_shown_given_once_and_in_time(tmp_path: Path) -> None:
    clock = Clock()

    async def scene(desk: Desk) -> None:
        first, changed, late = [
            await asked(desk, f"Number {n}?", expires_at=instant(BEGIN + timedelta(hours=1))) for n in range(3)
        ]
        async with gate_of(desk) as app:
            ann, ben = await signed_in(desk, app), await signed_in(desk, app, name="ben")
            assert refused(await ann.answer(first, "perhaps")) == (400, "bad_answer")
            # What was shown is not what is asked: it is shown anew, and the reason need not be written again.
            other = await ann.answer(changed, digest="sha256:" + "0" * 64, why="x<y")
            assert refused(other) == (409, "other_digest")
            assert (b'name="answer"' in other.body, b"x&lt;y" in other.body) == (True, True)
            await change(desk, update(DECISIONS).where(DECISIONS.c.id == changed).values(subject="Y"))
            altered = await ann.get(f"/decisions/{changed}")
            assert (refused(altered)[1], b'name="answer"' in altered.body) == ("decision_altered", False)
            assert refused(await ann.answer(changed, digest="sha256:0")) == (409, "decision_altered")
            digest = digest_in(await ben.get(f"/decisions/{first}"))
            assert (await ann.answer(first, "reject")).status == 303
            form = form_of(ben.cookie or "")
            second = await ben.post(f"/decisions/{first}", digest=digest, form=form, answer="approve")
            assert refused(second) == (409, "decided")
            assert b"<strong>Rejected</strong> by ann" in second.body
            digest = digest_in(await ben.get(f"/decisions/{late}"))
            clock.pass_(minutes=20)
            await ben.get("/decisions")
            clock.pass_(minutes=20)
            await ben.get("/decisions")
            clock.pass_(minutes=20)
            too_late = await ben.post(f"/decisions/{late}", digest=digest, form=form, answer="approve")
            assert refused(too_late) == (409, "decision_expired")
            assert "Nobody answered in time: it expired " in too_late.body.decode()
        states = [(await state_of(desk, each))[0] for each in (first, changed, late)]
        assert states == ["rejected", "expired", "expired"]

    play(tmp_path, scene, clock)


def test_a_form_that_is_none_or_too_large_is_refused_on_a_page(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        decision = await asked(desk)
        async with gate_of(desk) as app:
            browser = await signed_in(desk, app)
            own = [("cookie", f"hq_person={browser.cookie}")]
            path = f"/decisions/{decision}"
            assert refused(await ask(app, path, method="POST", headers=own, body=[b"{}"])) == (400, "no_form")
            many = {f"f{number}": "x" for number in range(40)}
            assert refused(await browser.post(path, **many)) == (400, "no_form")
            assert refused(await browser.post("/sign-in", token="x" * 70_000)) == (413, "form_too_large")
            # The longest reason there is, in the widest letters, is not too large; it is kept whole.
            assert (await browser.answer(decision, why="🦉" * 4096)).status == 303
            assert (await state_of(desk, decision))[2] == "🦉" * 4096

    play(tmp_path, scene)


@pytest.mark.promise("DEC-2")
def test_a_decision_that_is_not_there_is_not_found_and_strangers_learn_nothing(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        decision = await asked(desk)
        async with gate_of(desk) as app:
            stranger = Browser(app)
            pages = [await stranger.get(f"/decisions/{each}") for each in (decision, NOBODYS)]
            assert {page.status for page in pages} == {200}
            assert len({page.body.replace(decision.encode(), NOBODYS.encode()) for page in pages}) == 1
            browser = await signed_in(desk, app)
            # Whole ids only: the beginning of one is none here.
            for other in (NOBODYS, decision[:12], "x", "..%2fx", "sign-out"):
                assert refused(await browser.get(f"/decisions/{other}")) == (404, "no_such_decision")
            assert refused(await browser.post(f"/decisions/{NOBODYS}", form=form_of(browser.cookie or ""),
                                              answer="approve")) == (404, "no_such_decision")  # fmt: skip
            for after in (NOBODYS[:-1], "//evil.example", "https://evil.example", "../mcp"):
                token = (await make_token(desk, "reviewer", f"n{len(after)}"))["token"]
                assert (await Browser(app).sign_in(token, after=after)).headers["location"] == "/decisions"
            # A link on another site brings no cookie along: the way on is one click.
            came = await stranger.get(f"/decisions/{decision}", ("sec-fetch-site", "cross-site"))
            assert f'<a href="/decisions/{decision}">Open the page</a>' in came.body.decode()

    play(tmp_path, scene)


@pytest.mark.promise("DEC-4")
def test_what_others_wrote_is_text_on_the_page_whole_and_without_effect(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        deep: Any = HOSTILE
        for _ in range(12):
            deep = [deep]
        evidence = {HOSTILE: HOSTILE, "deep": deep, "none": None, "list": [], "yes": True}
        decision = await asked(desk, HOSTILE, evidence)
        async with gate_of(desk) as app:
            browser = await signed_in(desk, app)
            await browser.answer(decision, why=HOSTILE, digest="sha256:0")
            await browser.answer(decision, why=HOSTILE)
            await browser.get(f"/decisions/{decision}")
            await browser.get("/decisions")
            await browser.sign_in(HOSTILE, after=HOSTILE)
        pages = [answer.body.decode() for answer in browser.seen]
        for page in pages:
            assert not re.search(r"<script|<img|\x1b|\u202e|</pre>\s*<script", page)
        texts = [re.findall(r"<pre[^>]*>\n(.*?)</pre>", page, re.DOTALL) for page in pages]
        shown = [html.unescape(each) for found in texts for each in found]
        assert shown.count(harmless(HOSTILE)) >= 6
        (inner,) = {each for each in shown if each.startswith("[[")}
        assert "alert(1)" in inner
        assert {"null", "[]", "true"} <= set(shown)

    play(tmp_path, scene)


@pytest.mark.promise("DEC-4")
def test_every_page_forbids_what_it_does_not_need(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        decision = await asked(desk)
        async with gate_of(desk) as app:
            browser = Browser(app)
            await browser.get("/decisions")
            await browser.get("/sign-in")
            await browser.sign_in("wrong")
            await browser.sign_in((await make_token(desk, "reviewer"))["token"])
            for path in ("/decisions", f"/decisions/{decision}", f"/decisions/{NOBODYS}"):
                await browser.get(path)
            await browser.answer(decision, form="wrong")
            await browser.answer(decision)
        for answer in browser.seen:
            said = answer.headers
            policy = dict(each.strip().split(" ", 1) for each in said["content-security-policy"].split(";"))
            assert (policy["default-src"], policy["frame-ancestors"]) == ("'none'", "'none'")
            assert (policy["form-action"], policy["base-uri"]) == ("'self'", "'none'")
            assert (said["x-frame-options"], said["x-content-type-options"]) == ("DENY", "nosniff")
            # Not `no-referrer`: with that, browsers send our own forms with `Origin: null`.
            assert (said["referrer-policy"], said["cache-control"]) == ("same-origin", "no-store")
            if answer.body:
                style = answer.body.decode().partition("<style>")[2].partition("</style>")[0]
                digest = b64encode(hashlib.sha256(style.encode()).digest()).decode()
                assert policy["style-src"] == f"'sha256-{digest}'"
                assert said["content-type"] == "text/html; charset=utf-8"
                outside = re.findall(r'(?:src|href|action)="(?!/)[^"]*"|\sstyle=|\son\w+=', answer.body.decode())
                assert outside == []

    play(tmp_path, scene)


@pytest.mark.heavy
@pytest.mark.promise("DEC-2")
def test_over_real_connections_a_client_that_keeps_cookies_decides(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        decision = await asked(desk)
        token = (await make_token(desk, "reviewer", "ann"))["token"]
        async with answering(desk) as port:
            url = f"http://127.0.0.1:{port}"
            async with httpx2.AsyncClient(base_url=url, follow_redirects=True, headers={"origin": url}) as client:
                page = await client.post("/sign-in", data={"token": token, "after": decision})
                assert (page.status_code, str(page.url)) == (200, f"{url}/decisions/{decision}")
                fields = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page.text))
                answer = {**fields, "answer": "reject", "why": "No."}
                done = await client.post(f"/decisions/{decision}", data=answer)
                assert (done.status_code, "<strong>Rejected</strong> by ann" in done.text) == (200, True)
        assert await state_of(desk, decision) == ("rejected", "ann", "No.")

    play(tmp_path, scene)


def test_who_decides_elsewhere_meanwhile_is_named_on_the_page(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        decision = await asked(desk)
        row = await desk.read(finding_store.find_decision, decision)
        before = asking.set(replace(REVIEWER, name="zoe", door="cli"))
        try:
            await desk.do(decide, decision, "approve", digest=row.digest)
        finally:
            asking.reset(before)
        async with gate_of(desk) as app:
            browser = await signed_in(desk, app)
            page = (await browser.get(f"/decisions/{decision}")).body
            assert b"<strong>Approved</strong> by zoe (tok_reviewer)" in page

    play(tmp_path, scene)


def test_text_of_others_is_made_harmless_and_times_are_told_in_their_largest_unit() -> None:
    assert harmless("a\r\nb\tc\x07\u200bd\U000e0041é🦉") == "a\nb\tc\\u0007\\u200bd\\U000e0041é🦉"
    assert one_line("a\n b   c", 4) == "a b…"
    at = instant(BEGIN)
    assert [ago(at, BEGIN + timedelta(seconds=each)) for each in (-5, 59, 60, 3599, 7200, 90_000, 200_000)] == [
        "just now", "just now", "1 min ago", "59 min ago", "2 h ago", "1 d ago", "2 d ago",
    ]  # fmt: skip


def test_an_attribute_is_text_as_well() -> None:
    assert tag("a", "<b>", Html("<i>x</i>"), href='"><script>', hidden=True, open=False) == (
        '<a href="&quot;&gt;&lt;script&gt;" hidden>&lt;b&gt;<i>x</i></a>'
    )
