"""Tokens: shown once, kept as digests, good for their scope; and the door that is for the home's owner alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from server.actions import entrust
from server.actions.desk import Desk
from server.actions.verbs import VERBS
from server.app import offered
from server.contract.digest import instant
from server.contract.refusals import Refusal
from server.storage.access_store import Caller, caller_of
from server.storage.token_store import SCOPES, digest_of_token, fresh_token
from server.web.door import Door
from server.web.gate import Hosts
from server.web.routes import web_app
from tests.server.desks import ADMIN, Clock, add_routine, desk_at

pytestmark = pytest.mark.promise("TOK-1")
PORT = 7717


async def make(desk: Desk, name: str = "laptop", scope: str = "session", **more: Any) -> dict[str, Any]:
    """A token, as its maker is shown it."""
    made: dict[str, Any] = await desk.database.transact(
        entrust.create_token, ADMIN, name, scope, now=desk.clock(), **more
    )
    return made


async def who(desk: Desk, text: str) -> Caller | None:
    """Whom HQ takes the holder of a token for."""
    digest = digest_of_token(text)
    return await desk.read(caller_of, digest, now=instant(desk.clock())) if digest is not None else None


async def refused(work: Awaitable[Any]) -> str:
    with pytest.raises(Refusal) as said:
        await work
    return said.value.code


def played(folder: Path, scene: Callable[[Desk, Clock], Awaitable[None]]) -> None:
    async def play() -> None:
        clock = Clock()
        async with desk_at(folder, clock) as desk:
            await scene(desk, clock)

    asyncio.run(play())


def test_a_token_lets_in_with_its_scope_and_its_text_is_nowhere_in_the_home(tmp_path: Path) -> None:
    texts: list[str] = []

    async def scene(desk: Desk, _: Clock) -> None:
        for scope in ("admin", "session", "ledger", "reviewer"):
            made = await make(desk, scope=scope)
            texts.append(made["token"])
            found = await who(desk, made["token"])
            assert found is not None
            assert (found.id, found.scope) == (made["id"], scope)
        listed = str(await desk.read(entrust.listed))
        assert [text for text in texts if text in listed] == []

    played(tmp_path, scene)
    held = b"".join(path.read_bytes() for path in (tmp_path / "hq").iterdir())
    assert texts
    assert [text for text in texts if text.encode() in held or text[-30:].encode() in held] == []


def test_a_text_that_is_mistyped_cut_or_another_scopes_is_no_token() -> None:
    text = fresh_token("session")
    assert digest_of_token(text) is not None
    wrong = [text[:-1], text + "0", text.replace("session", "admin"), text.upper(), "", "hq_session_"]
    wrong += [text[:at] + ("1" if text[at] != "1" else "2") + text[at + 1 :] for at in range(11, len(text))]
    assert [each for each in wrong if digest_of_token(each) is not None] == []
    assert len({fresh_token(scope) for scope in SCOPES for _ in range(50)}) == 50 * len(SCOPES)


def test_a_revoked_token_is_worthless_from_the_next_call_on(tmp_path: Path) -> None:
    async def scene(desk: Desk, _: Clock) -> None:
        made = await make(desk)
        await desk.database.transact(entrust.revoke_token, ADMIN, made["id"], now=desk.clock())
        assert await who(desk, made["token"]) is None
        again = desk.database.transact(entrust.revoke_token, ADMIN, made["id"], now=desk.clock())
        assert await refused(again) == "token_revoked"
        none = desk.database.transact(entrust.revoke_token, ADMIN, "tok_NONE", now=desk.clock())
        assert await refused(none) == "no_such_token"

    played(tmp_path, scene)


def test_rotation_keeps_two_live_and_ends_the_oldest(tmp_path: Path) -> None:
    async def scene(desk: Desk, clock: Clock) -> None:
        first = await make(desk)
        clock.pass_(hours=1)
        second = await desk.database.transact(entrust.rotate_token, ADMIN, first["id"], now=desk.clock())
        assert (second["revoked"], second["still_live"]) == ([], [first["id"]])
        clock.pass_(hours=1)
        assert await refused(make(desk)) == "too_many_tokens"
        third = await desk.database.transact(entrust.rotate_token, ADMIN, second["id"], now=desk.clock())
        assert (third["revoked"], third["still_live"]) == ([first["id"]], [second["id"]])
        live = [await who(desk, each["token"]) is not None for each in (first, second, third)]
        assert live == [False, True, True]

    played(tmp_path, scene)


def test_a_fire_token_names_its_routine_and_no_other_does(tmp_path: Path) -> None:
    async def scene(desk: Desk, _: Clock) -> None:
        routine = await add_routine(desk, "triage")
        made = await make(desk, scope="fire", routine="triage")
        found = await who(desk, made["token"])
        assert found is not None
        assert (found.scope, found.bound_to) == ("fire", routine.id)
        assert await refused(make(desk, scope="fire")) == "bad_binding"
        assert await refused(make(desk, scope="session", routine="triage")) == "bad_binding"
        assert await refused(make(desk, scope="fire", routine="nothing")) == "no_such_routine"
        assert await refused(make(desk, scope="root")) == "bad_scope"
        assert await refused(make(desk, name="\x1b[2J")) == "bad_token_name"

    played(tmp_path, scene)


@asynccontextmanager
async def asked(desk: Desk, door: Door) -> AsyncIterator[Callable[..., Awaitable[tuple[int, Any]]]]:
    """What the HTTP door answers to a verb: status and body."""
    app: Any = web_app(desk, offered(desk, version="test"), Hosts.of(PORT, None), door=door)
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url=f"http://127.0.0.1:{PORT}") as client:

        async def ask(token: str, verb: str, **params: Any) -> tuple[int, Any]:
            headers = {"authorization": f"Bearer {token}"}
            answer = await client.post(f"/v1/door/{verb}", json=params, headers=headers)
            return answer.status_code, answer.json()

        yield ask


def test_the_door_is_for_its_own_token_and_no_other_admin(tmp_path: Path) -> None:
    async def scene(desk: Desk, _: Clock) -> None:
        door, admin = Door("somebody"), await make(desk, scope="admin")
        async with asked(desk, door) as ask:
            status, made = await ask(door.text, "token.create", name="laptop", scope="session")
            assert (status, made["scope"], await who(desk, made["token"]) is not None) == (200, "session", True)
            for text in (admin["token"], made["token"], door.pass_for("admin"), door.pass_for("session")):
                status, said = await ask(text, "token.create", name="x", scope="admin")
                assert (status, said["error"]["code"]) == (403, "not_the_owner")
            for text in (Door("somebody").text, "", "x"):
                assert (await ask(text, "token.create", name="x", scope="admin"))[0] == 401
        assert len(await desk.read(entrust.listed)) == 2

    played(tmp_path, scene)


def test_a_pass_of_the_door_has_its_scope_alone(tmp_path: Path) -> None:
    async def scene(desk: Desk, _: Clock) -> None:
        door = Door("somebody")
        async with asked(desk, door) as ask:
            _, said = await ask(door.text, "pass", scope="session")
            found = door.caller_of(digest_of_token(said["token"]) or "")
            assert found == Caller("local:session", "somebody", "session")
            assert (await ask(door.text, "pass", scope="session"))[1] == said
            _, both = await ask(door.text, "pass", scope="session+ledger")
            found = door.caller_of(digest_of_token(both["token"]) or "")
            assert found == Caller("local:ledger+session", "somebody", "ledger+session")
            for scope in ("fire", "minion", "", "session+root"):
                status, refusal = await ask(door.text, "pass", scope=scope)
                assert (status, refusal["error"]["code"]) == (400, "bad_scope")

    played(tmp_path, scene)


def test_the_door_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    async def scene(desk: Desk, _: Clock) -> None:
        door = Door("somebody")
        async with asked(desk, door) as ask:
            assert (await ask(door.text, "no.such"))[1]["error"]["code"] == "no_such_verb"
            status, said = await ask(door.text, "token.revoke", tokn="x")
            assert (status, said["error"]["code"], said["error"]["kind"]) == (400, "bad_parameters", "BadUse")

    played(tmp_path, scene)
    assert sorted(VERBS) == [
        "decide", "minion.forget", "routine.delete", "routine.move", "routine.pause", "routine.resume",
        "routine.run", "run.cancel", "token.create", "token.revoke", "token.rotate",
    ]  # fmt: skip
