"""The gate: only HQ's own names and pages, bodies of a bounded size, live tokens of their scope, bounded rates."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from server.actions import entrust
from server.actions.authorize import may_fire
from server.actions.desk import Desk
from server.config import log_level
from server.contract.digest import instant
from server.contract.redaction import Redactor
from server.contract.refusals import BadUse, StoreFailed
from server.log import JsonLines
from server.storage.access_store import Caller
from server.storage.tables import TOKENS
from server.storage.token_store import digest_of_token, fresh_token
from server.web.gate import LARGEST_BODY, Hosts
from server.web.known_tokens import KnownTokens
from server.web.rates import MOST_KNOWN, Rates
from tests.server.desks import ADMIN, Clock, add_routine, desk_at
from tests.server.gates import HERE, PORT, PUBLIC, ask, gate_of, make_token
from tests.waiting import wait_until

INITIALIZE = {
    "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"},
    },
}  # fmt: skip
JSON = (("content-type", "application/json"), ("accept", "application/json, text/event-stream"))


def play(folder: Path, scene: Callable[[Desk], Awaitable[Any]], clock: Clock | None = None) -> Any:
    """What a scene at a desk answers."""

    async def played() -> Any:
        async with desk_at(folder, clock) as desk:
            return await scene(desk)

    return asyncio.run(played())


def nobody(_: str) -> Caller | None:
    """No token but those of the store."""
    return None


@pytest.mark.promise("WEB-1")
def test_of_all_hosts_and_origins_only_hqs_own_come_in(tmp_path: Path) -> None:
    hosts = {
        HERE: True, f"LOCALHOST:{PORT}": True, f"[::1]:{PORT}": True, "hq.example.com": True,
        f"evil.example:{PORT}": False, "127.0.0.1:1": False, "localhost": False, f"{HERE}.evil.example": False,
    }  # fmt: skip
    origins = {
        None: True, f"http://{HERE}": True, f"http://localhost:{PORT}": True, PUBLIC: True,
        "null": False, "https://evil.example": False, f"https://{HERE}": False, "http://127.0.0.1:1": False,
    }  # fmt: skip

    async def scene(desk: Desk) -> list[Any]:
        token, wrong = (await make_token(desk, "admin"))["token"], []
        async with gate_of(desk, public=PUBLIC) as app:
            for host, own_host in hosts.items():
                for origin, own_page in origins.items():
                    for path in ("/healthz", "/metrics", "/mcp"):
                        headers = [("origin", origin)] if origin is not None else []
                        answer = await ask(app, path, host=host, headers=headers, token=token)
                        turned_away = answer.status in (421, 403)
                        if turned_away == (own_host and own_page):
                            wrong.append((host, origin, path, answer.status))
        return wrong

    assert play(tmp_path, scene) == []


@pytest.mark.promise("WEB-1")
def test_a_request_with_two_hosts_or_none_or_two_origins_is_turned_away(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        async with gate_of(desk) as app:
            assert (await ask(app, "/healthz", host=None)).code == "wrong_host"
            assert (await ask(app, "/healthz", headers=[("host", HERE)])).code == "wrong_host"
            both = [("origin", f"http://{HERE}"), ("origin", f"http://{HERE}")]
            assert (await ask(app, "/healthz", headers=both)).code == "wrong_origin"
            assert (await ask(app, "/healthz", headers=[("origin", "")])).code == "wrong_origin"

    play(tmp_path, scene)


@pytest.mark.parametrize(
    ("public", "names", "origins"),
    [
        ("https://HQ.example.com/hq", {"hq.example.com", "hq.example.com:443"}, {"https://hq.example.com"}),
        ("https://hq.example.com:443", {"hq.example.com", "hq.example.com:443"}, {"https://hq.example.com"}),
        ("http://hq.lan:8080", {"hq.lan:8080"}, {"http://hq.lan:8080"}),
        ("https://[fd00::1]", {"[fd00::1]", "[fd00::1]:443"}, {"https://[fd00::1]"}),
    ],
)
def test_the_public_address_is_known_with_and_without_its_usual_port(
    public: str, names: set[str], origins: set[str]
) -> None:
    own = Hosts.of(PORT, None)
    both = Hosts.of(PORT, public)
    assert (both.names - own.names, both.origins - own.origins) == (names, origins)
    assert Hosts.of(80, None).names >= {"localhost", "localhost:80"}


def test_a_body_that_is_too_large_is_turned_away_whether_it_says_so_or_not(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        token = (await make_token(desk, "admin"))["token"]
        async with gate_of(desk) as app:
            for said in (str(LARGEST_BODY + 1), "9" * 5000, "²", "-1", "1e3", ""):
                headers = [*JSON, ("content-length", said)]
                answer = await ask(app, "/mcp", method="POST", headers=headers, token=token)
                assert (answer.status, answer.code) == (413, "body_too_large")
            for version in ([], [("mcp-protocol-version", "2026-07-28")]):
                pieces = [b"x" * 1_000_000] * 6
                headers = [*JSON, *version]
                answer = await ask(app, "/mcp", method="POST", headers=headers, token=token, body=pieces)
                assert answer.status == 413
                assert answer.headers["connection"] == "close"

    play(tmp_path, scene)


@pytest.mark.promise("MCP-1")
def test_a_token_is_needed_and_one_that_is_bound_is_good_for_nothing_here(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        routine = await add_routine(desk, "nightly")
        fire = (await make_token(desk, "fire", routine=routine.id))["token"]
        session = (await make_token(desk, "session"))["token"]
        async with gate_of(desk) as app:
            assert (await ask(app, "/metrics", token=session)).status == 200
            for path in ("/metrics", "/mcp", "/v1/door/pass", "/nowhere"):
                assert (await ask(app, path, token=fire)).code == "wrong_scope"
                for text in (None, "", "x", fresh_token("admin"), session[:-1], session + "0", session.lower()):
                    assert (await ask(app, path, token=text)).code == "no_token"
            twice = [("authorization", f"Bearer {session}")]
            assert (await ask(app, "/metrics", token=session, headers=twice)).code == "no_token"
            assert (await ask(app, f"/metrics?token={session}")).code == "no_token"

    play(tmp_path, scene)


def test_a_revoked_token_is_refused_by_the_next_request_and_its_open_streams_end(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        made, other = await make_token(desk, "session"), await make_token(desk, "session", "two")
        async with gate_of(desk) as app:
            headers = [*JSON, ("mcp-protocol-version", "2026-07-28"), ("mcp-method", "subscriptions/listen")]
            meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28",
                    "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "1"},
                    "io.modelcontextprotocol/clientCapabilities": {}}  # fmt: skip
            params = {"notifications": {"resourceSubscriptions": ["hq://runs"]}, "_meta": meta}
            body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "subscriptions/listen", "params": params})
            streams = [
                asyncio.create_task(
                    ask(app, "/mcp", method="POST", headers=headers, token=each["token"], body=[body.encode()])
                )
                for each in (made, other)
            ]
            assert (await ask(app, "/metrics", token=made["token"])).status == 200
            await desk.database.transact(entrust.revoke_token, ADMIN, made["id"], now=desk.clock())
            assert (await ask(app, "/metrics", token=made["token"])).status == 401
            answer = await asyncio.wait_for(streams[0], 10)
            assert (answer.status, answer.headers["content-type"]) == (200, "text/event-stream")
            assert not streams[1].done()
            streams[1].cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await streams[1]

    play(tmp_path, scene)


def test_a_token_that_is_revoked_while_it_is_looked_up_is_not_remembered(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        tokens, store = KnownTokens(desk, nobody), tmp_path / "hq" / "hq.db"
        for number in range(20):
            made = await make_token(desk, "session", f"n{number}")
            digest = digest_of_token(made["token"])
            looking = asyncio.ensure_future(tokens.look_up(digest))
            await asyncio.wait({looking}, timeout=0)  # it has begun to read, and nothing came back yet
            revoking = asyncio.ensure_future(
                desk.database.transact(entrust.revoke_token, ADMIN, made["id"], now=desk.clock())
            )
            await asyncio.wait({revoking}, timeout=0)
            # The loop stands still until it is committed: what was read and that it is revoked arrive together.
            with contextlib.closing(sqlite3.connect(f"{store.as_uri()}?mode=ro", uri=True)) as other:
                query = "SELECT revoked_at FROM tokens WHERE id = ?"
                assert wait_until(lambda q=query, o=other, m=made: o.execute(q, (m["id"],)).fetchone()[0], 10)
            await asyncio.gather(looking, revoking)
            assert tokens.at_hand(digest) is None

    play(tmp_path, scene)


def test_a_token_that_is_remembered_is_still_too_old_when_its_time_is_over(tmp_path: Path) -> None:
    clock = Clock()

    async def scene(desk: Desk) -> None:
        made = await make_token(desk, "session")
        clock.pass_(minutes=1)
        at = instant(clock())
        clock.pass_(minutes=-1)
        await desk.database.transact(lambda db: db.execute(update(TOKENS).values(expires_at=at)).rowcount)
        async with gate_of(desk) as app:
            assert [(await ask(app, "/metrics", token=made["token"])).status for _ in range(2)] == [200, 200]
            clock.pass_(minutes=1)
            assert [(await ask(app, "/metrics", token=made["token"])).status for _ in range(2)] == [401, 401]

    play(tmp_path, scene, clock)


def test_the_store_is_asked_once_for_a_token_and_not_for_each_request(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        made = await make_token(desk, "session")
        tokens = KnownTokens(desk, nobody)
        digest = str(digest_of_token(made["token"]))
        assert tokens.at_hand(digest) is None
        found = await tokens.look_up(digest)
        assert found is not None
        assert tokens.at_hand(digest) is found
        other = str(digest_of_token((await make_token(desk, "session", "two"))["token"]))
        both = await asyncio.gather(tokens.look_up(other), tokens.look_up(other))
        assert both[0] is both[1] is tokens.at_hand(other)  # both hear of its end
        assert await tokens.look_up("0" * 64) is None
        assert tokens.at_hand("0" * 64) is None

    play(tmp_path, scene)


@pytest.mark.promise("MCP-1")
def test_a_session_of_the_older_revision_belongs_to_the_token_that_opened_it(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        mine, other = [(await make_token(desk, "session", name))["token"] for name in ("mine", "other")]
        async with gate_of(desk) as app:
            body = [json.dumps(INITIALIZE).encode()]
            opened = await ask(app, "/mcp", method="POST", headers=JSON, token=mine, body=body)
            assert opened.status == 200
            session = ("mcp-session-id", opened.headers["mcp-session-id"])
            body = [json.dumps({"jsonrpc": "2.0", "id": 2, "method": "ping"}).encode()]
            for token, status in ((mine, 200), (other, 404)):
                answer = await ask(app, "/mcp", method="POST", headers=[*JSON, session], token=token, body=body)
                assert answer.status == status

    play(tmp_path, scene)


def test_who_asks_too_much_waits_and_others_do_not(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        mine, other = [(await make_token(desk, "session", name))["token"] for name in ("mine", "other")]
        now = 0.0
        async with gate_of(desk, rates=Rates(a_minute=60, burst=5, clock=lambda: now)) as app:
            assert (await ask(app, "/metrics", token=other)).status == 200  # it is known by now
            seen = [await ask(app, "/metrics", token=mine) for _ in range(7)]
            assert [each.status for each in seen] == [200] * 6 + [429]  # the first of them counts as a stranger's
            assert (seen[-1].code, seen[-1].headers["retry-after"]) == ("too_many_calls", "2")
            guesses = [await ask(app, "/metrics", token=fresh_token("admin")) for _ in range(5)]
            assert [each.status for each in guesses] == [401, 401, 401, 429, 429]
            assert (await ask(app, "/metrics", token=other)).status == 200
            assert (await ask(app, "/healthz")).status == 200
            now = 1.0
            assert (await ask(app, "/metrics", token=mine)).status == 200

    play(tmp_path, scene)


def test_however_many_ask_only_so_many_are_kept_in_mind() -> None:
    rates = Rates(a_minute=60, burst=1, clock=lambda: 0.0)
    assert all(rates.wait_s(f"caller {number}") == 0.0 for number in range(MOST_KNOWN + 50))
    assert len(rates._buckets) == MOST_KNOWN
    assert rates.wait_s(f"caller {MOST_KNOWN + 49}") == 1.0
    assert rates.wait_s("caller 0") == 0.0  # forgotten long ago


@pytest.mark.promise("MCP-1")
def test_a_token_fires_its_own_routine_and_no_other_token_does() -> None:
    mine, other = "trig_01AAAAAAAAAAAAAAAAAAAA", "trig_01BBBBBBBBBBBBBBBBBBBB"
    assert may_fire(Caller("tok_1", "ci", "fire", mine), mine)
    assert not may_fire(Caller("tok_1", "ci", "fire", mine), other)
    assert not may_fire(Caller("tok_1", "ci", "fire", mine), mine[:10])
    assert not may_fire(Caller("tok_1", "ci", "fire", None), mine)
    for scope in ("admin", "session", "ledger", "reviewer", "minion", "fire+admin"):
        assert not may_fire(Caller("tok_1", "ci", scope, mine), mine)


def test_a_line_of_the_log_is_json_and_says_neither_token_nor_body(caplog: pytest.LogCaptureFixture) -> None:
    text = fresh_token("admin")
    logger, lines = logging.getLogger("server.test"), []
    with caplog.at_level(logging.INFO):
        logger.info("request", extra={"said": {"path": f"/x/{text}", "status": 200, "ms": 1.5, "token": None}})
        logging.getLogger("library").warning("cannot read %r", text)
        try:
            raise ValueError(f"the body {text}")
        except ValueError:
            logger.exception("an action has a defect")
        try:
            raise StoreFailed("store_failed", "The disk is full.", hint="make room")
        except StoreFailed:
            logger.exception("a refusal", extra={"said": {"run": "run_01"}})
    lines = [json.loads(JsonLines().format(record)) for record in caplog.records]
    assert text not in json.dumps(lines)
    assert lines[0] | {"ts": ""} == {
        "ts": "", "level": "info", "event": "request", "path": "/x/[redacted]", "status": 200, "ms": 1.5,
    }  # fmt: skip
    assert (lines[1]["event"], lines[1]["says"]) == ("library", "cannot read '[redacted]'")
    assert lines[2]["error"] == "ValueError"
    assert "the body" not in json.dumps(lines[2])
    assert (lines[3]["run"], lines[3]["says"]) == ("run_01", "The disk is full. (hint: make room)")


def test_a_request_and_a_commit_are_logged_with_path_status_run_and_the_tokens_id(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene(desk: Desk) -> str:
        made = await make_token(desk, "session")
        async with gate_of(desk) as app:
            await ask(app, "/nowhere", token=made["token"])
            await ask(app, "/metrics", token=fresh_token("session"))
            text = (await ask(app, "/metrics", token=made["token"])).body.decode()
            assert 'hq_requests_total{path="other",status="404"} 1' in text
            assert 'hq_requests_total{path="/metrics",status="401"} 1' in text
        return str(made["id"])

    with caplog.at_level(logging.INFO):
        token = play(tmp_path, scene)
    said = [record.said for record in caplog.records if record.getMessage() == "request"]
    assert [(each["path"], each["status"], each["token"]) for each in said] == [
        ("/nowhere", 404, token), ("/metrics", 401, None),
    ]  # fmt: skip


def test_those_who_are_turned_away_are_all_counted_and_fill_no_disk_with_lines(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene(desk: Desk) -> str:
        token = (await make_token(desk, "session"))["token"]
        async with gate_of(desk) as app:
            for _ in range(500):
                await ask(app, "/mcp", host="evil.example")
            return (await ask(app, "/metrics", token=token)).body.decode()

    with caplog.at_level(logging.INFO):
        assert 'hq_requests_total{path="/mcp",status="421"} 500' in play(tmp_path, scene)
    assert 60 <= len(caplog.records) < 120


def test_a_word_that_is_no_level_of_the_log_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HQ_LOG", "loud")
    with pytest.raises(BadUse) as caught:
        log_level("info")
    assert caught.value.code == "bad_log_level"


def test_a_token_of_hq_is_taken_out_of_whatever_is_kept() -> None:
    text = fresh_token("ledger")
    assert Redactor().text(f"use {text}, please") == "use [redacted], please"
    for plain in ("hq_token_create and hq_requests_total", "hq_admin_" + "0" * 20):
        assert Redactor().text(plain) == plain
