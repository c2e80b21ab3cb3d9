"""Minions at HQ's door: they join, are told what they lack, hear of orders at once, and report each run once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from server.actions.desk import Desk
from tests.server.desks import ADMIN, Asker, client_of, desk_at
from tests.server.gates import answering, ask, gate_of, make_token
from tests.waiting import wait_until

ALICE = "0b0c4e6e-7d1f-4e0a-9c1e-0a1b2c3d4e5f"
BOB = "1b0c4e6e-7d1f-4e0a-9c1e-0a1b2c3d4e5f"
SKILL = "---\nname: tell-weather\ndescription: Tells the weather of a day.\n---\nSay what the weather is.\n"


class Door:
    """A minion's way to HQ."""

    def __init__(self, http: httpx2.AsyncClient, minion: str) -> None:
        self._http = http
        self.minion = minion

    async def ask(self, verb: str, **said: Any) -> dict[str, Any]:
        """What HQ answers; a refusal fails the test."""
        answer = await self._http.post(f"/v1/minion/{verb}", json={"minion": self.minion, **said})
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def refused(self, verb: str, **said: Any) -> tuple[int, str]:
        """With which status and code HQ refuses."""
        answer = await self._http.post(f"/v1/minion/{verb}", json={"minion": self.minion, **said})
        return answer.status_code, answer.json()["error"]["code"]

    async def hello(self, name: str = "alice", **said: Any) -> dict[str, Any]:
        """Join."""
        return await self.ask("join", name=name, version="0.5.0", timezone="Europe/Berlin", **said)


@asynccontextmanager
async def door_of(desk: Desk, port: int, minion: str = ALICE, name: str = "alice") -> AsyncIterator[Door]:
    token = await make_token(desk, "minion", name)
    headers = {"authorization": f"Bearer {token['token']}"}
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=60) as http:
        yield Door(http, minion)


def play(folder: Path, scene: Callable[[Desk, Asker, Door, int], Awaitable[Any]]) -> None:
    """A scene at an HQ whose minion alice has a token."""

    async def played() -> None:
        async with (
            desk_at(folder) as desk, client_of(desk, ADMIN) as asker, answering(desk) as port,
            door_of(desk, port) as door,
        ):  # fmt: skip
            await scene(desk, asker, door, port)

    asyncio.run(played())


def test_a_minion_joins_under_the_name_of_its_token_and_no_other(tmp_path: Path) -> None:
    async def scene(desk: Desk, asker: Asker, door: Door, port: int) -> None:
        assert await door.refused("sync") == (409, "not_joined")
        first = await door.hello()
        assert (await door.hello())["joined_at"] == first["joined_at"]
        shown = (await asker.ask("list_minions"))["minions"]
        assert [(each["name"], each["timezone"]) for each in shown] == [("alice", "Europe/Berlin")]
        assert (await door.refused("join", name="bob", version="1", timezone="UTC"))[1] == "not_this_minion"
        async with door_of(desk, port, BOB) as other:
            again = await other.refused("join", name="alice", version="1", timezone="UTC")
            assert again[1] == "minion_name_taken"
        async with door_of(desk, port, BOB, "bob") as bob:
            await bob.hello("bob")
            bob.minion = ALICE
            assert (await bob.refused("poll"))[1] == "not_this_minion"

    play(tmp_path, scene)


def test_a_minion_is_told_what_it_lacks_and_only_that(tmp_path: Path) -> None:
    async def scene(_: Desk, asker: Asker, door: Door, __: int) -> None:
        await door.hello()
        nothing = await door.ask("sync")
        assert (nothing["routines"], nothing["skills"], nothing["gone"]) == ([], [], [])
        await asker.ask("publish_skill", files={"SKILL.md": SKILL})
        made = await asker.ask("create_routine", name="nightly", pipeline=["tell-weather", "their-own"])
        told = await door.ask("sync")
        assert told["cursor"] != nothing["cursor"]
        (routine,), (skill,) = told["routines"], told["skills"]
        assert (routine["id"], routine["document"]["name"]) == (made["id"], "nightly")
        assert (skill["name"], skill["files"]) == ("tell-weather", {"SKILL.md": SKILL})
        assert told["missing"] == ["their-own"]
        have = {"routines": {made["id"]: routine["digest"]}, "skills": {"tell-weather": skill["digest"]}}
        again = await door.ask("sync", **have)
        assert (again["routines"], again["skills"], again["cursor"]) == ([], [], told["cursor"])
        await asker.ask("delete_routine", routine="nightly")
        assert (await door.ask("sync", **have))["gone"] == [made["id"]]

    play(tmp_path, scene)


def test_a_minion_that_waits_hears_of_an_order_at_once_and_again_until_it_took_it(tmp_path: Path) -> None:
    async def scene(_: Desk, asker: Asker, door: Door, __: int) -> None:
        await door.hello()
        await asker.ask("create_routine", name="nightly", content="Triage.")
        cursor = (await door.ask("sync"))["cursor"]
        assert (await door.ask("poll", cursor="old", wait_s=20.0))["cursor"] == cursor
        waiting = asyncio.create_task(door.ask("poll", cursor=cursor, wait_s=20.0))
        run = (await asker.ask("run_routine", routine="nightly", text="now"))["run"]
        (order,) = (await waiting)["orders"]
        assert (order["kind"], order["routine"], order["run"], order["input"]) == ("run", "nightly", run, "now")
        assert (await door.ask("poll", cursor=cursor))["orders"] == [order]
        took = [{"order": order["id"], "state": "taken"}]
        assert (await door.ask("poll", cursor=cursor, settled=took))["orders"] == []
        assert (await asker.ask("cancel_run", run=run))["state"] == "cancelling"
        (stop,) = (await door.ask("poll", cursor=cursor))["orders"]
        assert (stop["kind"], stop["run"]) == ("cancel", run)
        await door.ask("poll", cursor=cursor, settled=[{"order": stop["id"], "state": "taken"}])
        second = (await asker.ask("run_routine", routine="nightly"))["run"]
        (order,) = (await door.ask("poll", cursor=cursor))["orders"]
        why = [{"order": order["id"], "state": "refused", "why": "it is halted"}]
        await door.ask("poll", cursor=cursor, settled=why)
        shown = await asker.ask("get_run", run=second)
        assert (shown["state"], shown["verdict"], shown["why"]) == ("failed", "failed", "it is halted")

    play(tmp_path, scene)


@pytest.mark.promise("JOI-6")
def test_a_minion_that_hangs_up_is_waited_for_no_longer_and_hears_of_no_order(tmp_path: Path) -> None:
    async def scene(desk: Desk, asker: Asker, door: Door, port: int) -> None:
        await door.hello()
        await asker.ask("create_routine", name="nightly", content="Triage.")
        cursor = (await door.ask("sync"))["cursor"]
        waiting = asyncio.create_task(door.ask("poll", cursor=cursor, wait_s=25.0))
        assert await asyncio.to_thread(wait_until, lambda: desk.questions._polls[ALICE] == 1, 20)
        waiting.cancel()
        assert await asyncio.to_thread(wait_until, lambda: desk.questions._polls[ALICE] == 0, 20)
        # Nobody can have begun the run: it is cancelled at once, and not asked of the minion.
        run = (await asker.ask("run_routine", routine="nightly"))["run"]
        assert (await asker.ask("cancel_run", run=run))["state"] == "cancelled"
        assert (await door.ask("poll", cursor=cursor))["orders"] == []

    play(tmp_path, scene)


@pytest.mark.promise("JOI-6")
@pytest.mark.parametrize(("stays", "state"), [(True, "cancelling"), (False, "cancelled")])
def test_an_order_counts_as_told_only_if_its_minion_was_there_to_hear_it(
    tmp_path: Path, stays: bool, state: str
) -> None:
    async def scene(desk: Desk, asker: Asker, door: Door, _: int) -> None:
        await door.hello()
        await asker.ask("create_routine", name="nightly", content="Triage.")
        beat = {"minion": ALICE, "cursor": (await door.ask("sync"))["cursor"]}
        run = (await asker.ask("run_routine", routine="nightly"))["run"]
        token = (await make_token(desk, "minion", "alice"))["token"]
        async with gate_of(desk) as app:
            said = [json.dumps(beat).encode()]
            await ask(app, "/v1/minion/poll", method="POST", token=token, body=said, stays=stays)
        assert (await asker.ask("cancel_run", run=run))["state"] == state

    play(tmp_path, scene)


def test_a_report_that_cannot_be_read_holds_up_no_other(tmp_path: Path) -> None:
    async def scene(_: Desk, asker: Asker, door: Door, __: int) -> None:
        await door.hello()
        good, odd = ("run_01" + letter * 20 for letter in "AB")
        said = [{"id": odd, "state": "dancing"}, {}, report(good, 7), {**report(odd, 7), "revision": -1}]
        receipt = await door.ask("reports", reports=said)
        assert receipt["taken"] == [[good, 7]]
        assert [each["id"] for each in receipt["refused"]] == [odd, "None", odd]
        assert all(each["sentence"] for each in receipt["refused"])
        assert [run["id"] for run in (await asker.ask("list_runs"))["runs"]] == [good]
        # Of a protocol that HQ does not speak the message is refused, and no report of it is given up.
        assert await door.refused("reports", reports=[report(good, 8)], protocol=7) == (400, "unknown_protocol")
        assert (await door.ask("reports", reports=[report(good, 8)], protocol=0))["taken"] == [[good, 8]]

    play(tmp_path, scene)


def report(run: str, revision: int, state: str = "completed", **said: Any) -> dict[str, Any]:
    """A report of a whole run of a plain prompt, as a minion makes it."""
    at = "2026-04-01T09:00:0{}.000Z"
    codes = ("TSK-VALIDATE-TRIGGER", "SCR-CLONE-REPO", "LLM-EXECUTE-PROMPT", "SCR-PUSH-BRANCH")
    blocks = [
        {"code": f"040.001.0{n}", "name": f"Block {n}", "kind": "elastic" if n == 3 else "rigid",
         "state": "completed", "started_at": at.format(n), "ended_at": at.format(n),
         "steps": [{"code": code, "kind": "step", "state": "completed", "ended_at": at.format(n)}]}
        for n, code in enumerate(codes, 1)
    ]  # fmt: skip
    return {
        "id": run, "routine": "nightly", "trigger": "schedule", "state": state, "outcome": "success",
        "delivery": "none", "verdict": "unchecked", "summary": "Done.", "topology": list(codes),
        "canonical": list(codes), "created_at": at.format(0), "started_at": at.format(0), "ended_at": at.format(5),
        "blocks": blocks, "revision": revision, **said,
    }  # fmt: skip


@pytest.mark.parametrize("ordered", [True, False])
def test_a_report_is_taken_once_and_compared_by_hq_itself(tmp_path: Path, ordered: bool) -> None:
    async def scene(desk: Desk, asker: Asker, door: Door, _: int) -> None:
        await door.hello()
        await asker.ask("create_routine", name="nightly", content="Triage.")
        run = "run_01" + "A" * 20
        if ordered:
            run = (await asker.ask("run_routine", routine="nightly"))["run"]
        process = await asker.ask("list_variants", process="WF-ROUTINE-EXEC")
        said = report(run, 7)
        for block, code in zip(said["blocks"], process["canonical"], strict=True):
            block["steps"][0]["code"] = code
        said["canonical"] = said["topology"] = process["canonical"]
        for _ in range(2):
            assert (await door.ask("reports", reports=[said]))["taken"] == [[run, 7]]
        shown = await asker.ask("get_run", run=run)
        assert (shown["state"], shown["verdict"], shown["summary"]) == ("completed", "unchecked", "Done.")
        assert (shown["fingerprint"], shown["conformance"]) == (process["fingerprint"], "conformant")
        assert [len(block["steps"]) for block in shown["blocks"]] == [1, 1, 1, 1]
        assert shown["blocks"][0]["steps"][0]["attested"] is False
        gone = await door.ask("reports", reports=[report(run, 8, "running")])
        assert gone["refused"][0]["code"] == "illegal_move"
        assert json.dumps(shown) == json.dumps(await asker.ask("get_run", run=run))

    play(tmp_path, scene)
