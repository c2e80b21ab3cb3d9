"""Links that sign a person in once: who is given one, what uses it up, and that nobody else comes by it."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from server.actions.desk import Desk
from server.app import offered
from server.storage.access_store import LOCAL
from server.storage.tables import EVENTS
from server.storage.token_store import SCOPES
from server.web.door import Door
from server.web.gate import App, Hosts
from server.web.routes import web_app
from server.web.sign_in_links import A_MINUTE, MOST_KEPT, WRONG_A_MINUTE, SignInLinks
from server.web.sign_ins import form_of
from tests.server.browsers import Browser, asked, play, refused, state_of
from tests.server.desks import ADMIN, Clock, add_routine, client_of
from tests.server.gates import PORT, Answer, ask, make_token

pytestmark = pytest.mark.promise("INB-4")


@asynccontextmanager
async def app_of(desk: Desk, door: Door) -> AsyncIterator[App]:
    """The whole application of an HQ with its owner's door, alive."""
    server = offered(desk, version="test")
    app = web_app(desk, server, Hosts.of(PORT, None), door=door)
    async with server.session_manager.run():
        yield app


async def link(app: App, token: str, after: str | None = None) -> Answer:
    """What whoever has a token is answered that asks for a link."""
    body = [json.dumps({"after": after}).encode()]
    return await ask(app, "/v1/door/link", method="POST", token=token, body=body)


async def code_of(app: App, door: Door, after: str | None = None) -> str:
    """The code of a link that HQ's owner asked for."""
    made = json.loads((await link(app, door.text, after)).body)
    assert made["path"].startswith("/sign-in/link?code=")
    return str(made["path"].partition("=")[2])


async def opened(app: App, code: str, method: str = "GET") -> Answer:
    """A link that something fetches, as a browser, a scanner or a preview would."""
    path, query = "/sign-in/link", f"code={code}".encode()

    async def asked_with_query(scope: dict[str, object], receive: object, send: object) -> None:
        await app({**scope, "query_string": query}, receive, send)  # type: ignore[arg-type]

    return await ask(asked_with_query, path, method=method)  # type: ignore[arg-type]


async def use(browser: Browser, code: str) -> Answer:
    """The button of a link's page; the cookie is kept."""
    answer = await browser.post("/sign-in/link", code=code)
    if "set-cookie" in answer.headers:
        browser.cookie = answer.headers["set-cookie"].partition(";")[0].partition("=")[2]
    return answer


def test_the_button_of_a_link_signs_its_person_in_who_decides_then_in_their_name(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        decision, door = await asked(desk), Door("ann")
        async with app_of(desk, door) as app:
            browser = Browser(app)
            code = await code_of(app, door, decision)
            page = (await opened(app, code)).body.decode()
            assert "You are about to sign in as <strong>ann</strong>." in page
            assert re.findall(r'name="code" value="([^"]*)"', page) == [code]
            signed = await use(browser, code)
            assert (signed.status, signed.headers["location"]) == (303, f"/decisions/{decision}")
            assert "samesite=strict" in signed.headers["set-cookie"].lower()
            assert (await browser.answer(decision, why="Fine.")).status == 303
        assert await state_of(desk, decision) == ("approved", "ann", "Fine.")
        (event,) = await desk.read(lambda db: list(db.execute(EVENTS.select().where(
            EVENTS.c.type == "decision.approved"))))  # fmt: skip
        assert (event.actor, json.loads(event.data)["door"]) == (f"{LOCAL}link", "page")

    play(tmp_path, scene)


def test_to_open_a_link_any_number_of_times_signs_nobody_in_and_uses_nothing_up(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        door = Door("ann")
        async with app_of(desk, door) as app:
            code, browser = await code_of(app, door), Browser(app)
            for method in ("GET", "HEAD", "GET", "GET"):
                answer = await opened(app, code, method)
                assert (answer.status, "set-cookie" in answer.headers) == (200, False)
                assert answer.headers["cache-control"] == "no-store"
            assert b"Sign in to decide" in (await browser.get("/decisions")).body
            # A code in the address of a POST is none: only the form's own field counts.
            assert (await opened(app, code, "POST")).status == 400
            assert (await use(browser, code)).status == 303
            assert b"Nothing waits" in (await browser.get("/decisions")).body

    play(tmp_path, scene)


def test_a_second_use_is_told_plainly_and_signs_nobody_in(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        door = Door("ann")
        async with app_of(desk, door) as app:
            code, thief = await code_of(app, door), Browser(app)
            assert (await use(Browser(app), code)).status == 303
            for answer in (await use(thief, code), await opened(app, code)):
                assert refused(answer) == (410, "link_used")
                assert b"This link was used before, and signs nobody in again." in answer.body
                assert "set-cookie" not in answer.headers
            assert thief.cookie is None

    play(tmp_path, scene)


def test_a_link_is_good_for_ten_minutes_and_unknown_ones_never_are(tmp_path: Path) -> None:
    clock = Clock()

    async def scene(desk: Desk) -> None:
        door = Door("ann")
        async with app_of(desk, door) as app:
            early, late = [await code_of(app, door) for _ in range(2)]
            clock.pass_(minutes=9, seconds=59)
            assert (await use(Browser(app), early)).status == 303
            clock.pass_(seconds=1)
            assert refused(await use(Browser(app), late)) == (410, "link_over")
            clock.pass_(hours=2)
            await code_of(app, door)
            for code in (late, "", "x" * 43, "é"):
                assert refused(await use(Browser(app), code)) == (404, "no_such_link")

    play(tmp_path, scene, clock)


def test_only_the_owner_of_the_home_is_given_a_link_and_no_token_of_any_scope(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        door = Door("ann")
        held = await add_routine(desk, "nightly")
        async with app_of(desk, door) as app:
            for scope in SCOPES:
                more = {"routine": held.id} if scope == "fire" else {}
                token = (await make_token(desk, scope, **more))["token"]
                answer = await link(app, token)
                wanted = "wrong_scope" if scope in ("fire", "minion") else "not_the_owner"
                assert (answer.status, answer.code) == (403, wanted), scope
            for scope in ("session", "ledger", "reviewer", "admin", "session+ledger"):
                assert (await link(app, door.pass_for(scope))).code == "not_the_owner"
            assert (await ask(app, "/v1/door/link", method="POST")).status == 401
            browser = Browser(app)
            await use(browser, await code_of(app, door))
            cookie = [("cookie", f"hq_person={browser.cookie}")]
            assert (await ask(app, "/v1/door/link", method="POST", headers=cookie)).status == 401
        async with client_of(desk, ADMIN) as asker:
            assert not {"link", "sign_in_link"} & set(await asker.tools())

    play(tmp_path, scene)


def test_no_more_than_a_few_links_are_made_or_tried_in_a_minute_and_a_good_one_still_works(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        door = Door("ann")
        async with app_of(desk, door) as app:
            codes = [await code_of(app, door) for _ in range(A_MINUTE)]
            more = await link(app, door.text)
            assert (more.status, more.code) == (409, "too_many_links")
            tries = [refused(await use(Browser(app), f"wrong {number}")) for number in range(WRONG_A_MINUTE + 3)]
            assert tries[:WRONG_A_MINUTE] == [(404, "no_such_link")] * WRONG_A_MINUTE
            assert tries[-1] == (429, "too_many_tries")
            assert (await use(Browser(app), codes[0])).status == 303

    play(tmp_path, scene)


def test_codes_are_kept_as_digests_in_memory_alone_and_never_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene(desk: Desk) -> str:
        door = Door("ann")
        with caplog.at_level(logging.DEBUG):
            async with app_of(desk, door) as app:
                code = await code_of(app, door)
                await opened(app, code)
                await use(Browser(app), code)
                await use(Browser(app), code)
        links = SignInLinks(desk)
        kept = links.make("ann")["path"].partition("=")[2]
        assert list(links._kept) == [hashlib.sha256(kept.encode()).hexdigest()]
        assert kept not in repr(links)
        for _ in range(MOST_KEPT + 3):
            links.made.clock = lambda: 1e9
            links.made._buckets.clear()
            links.make("ann")
        assert len(links._kept) == MOST_KEPT
        return code

    code = str(play(tmp_path, scene))
    said = [f"{record.getMessage()} {getattr(record, 'said', '')}" for record in caplog.records]
    assert [line for line in said if "/sign-in/link" in line]
    assert not [line for line in said if code in line or "code=" in line]
    for file in (tmp_path / "hq").iterdir():
        assert not file.is_file() or code.encode() not in file.read_bytes()


def test_who_came_in_by_a_link_is_signed_out_after_half_an_hour_or_eight_hours_in_all(tmp_path: Path) -> None:
    clock = Clock()

    async def scene(desk: Desk) -> None:
        decision, door = await asked(desk), Door("ann")
        async with app_of(desk, door) as app:
            idle, busy = Browser(app), Browser(app)
            for browser in (idle, busy):
                await use(browser, await code_of(app, door))
            for _ in range(16):
                clock.pass_(minutes=30)
                assert b"Use it?" in (await busy.get(f"/decisions/{decision}")).body
            clock.pass_(minutes=1)
            for browser in (idle, busy):
                form = form_of(browser.cookie or "")
                assert refused(await browser.post(f"/decisions/{decision}", form=form, answer="approve")) == (
                    403, "not_signed_in",
                )  # fmt: skip
        assert (await state_of(desk, decision))[0] == "open"

    play(tmp_path, scene, clock)


def test_another_sites_page_cannot_press_the_button(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        door = Door("ann")
        async with app_of(desk, door) as app:
            code = await code_of(app, door)
            form = [("content-type", "application/x-www-form-urlencoded"), ("origin", "https://evil.example")]
            said = await ask(app, "/sign-in/link", method="POST", headers=form, body=[f"code={code}".encode()])
            assert (said.status, said.code) == (403, "wrong_origin")
            assert (await use(Browser(app), code)).status == 303

    play(tmp_path, scene)
