"""Holds: what waits on a minion waits in HQ's inbox too, and is answered by an order, once and not otherwise."""

from __future__ import annotations

import json
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from server.actions import decide as deciding
from server.actions import holding, joining
from server.actions.desk import Desk
from server.contract.digest import digest_of, instant
from server.contract.documents import admit
from server.contract.joining import Beat, Hello
from server.contract.refusals import Refusal
from server.queue import embedded
from server.storage import finding_store
from server.storage.access_store import Caller
from server.storage.audit import audit
from server.storage.tables import DECISIONS, MINIONS, ORDERS
from tests.server.browsers import HOSTILE, play
from tests.server.desks import ADMIN, REVIEWER, Clock, client_of
from tests.server.joined_minions import act, events, rows

PERSON = replace(REVIEWER, door="cli")
ALICE = Caller("tok_alice", "alice", "minion", "alice")
HELD = "dec_01" + "H" * 20
ONE, TWO = "sha256:" + "1" * 64, "sha256:" + "2" * 64
SKILL = "---\nname: tell-weather\ndescription: Tells the weather.\nmetadata:\n  minion-effects: {}\n---\nSay it.\n"
pytestmark = pytest.mark.promise("INB-1")


def hold(of: str = HELD, **said: Any) -> dict[str, Any]:
    """What waits on a minion: a skill that changed."""
    changes = {"skill:tell-weather": {"from": ONE, "to": TWO}}
    return {
        "id": of, "kind": "lock", "routine": "nightly", "question": "skill:tell-weather changed; may it run?",
        "about": {"changes": changes}, "digest": digest_of([of, 1]), "opened_at": "2026-04-01T08:00:00.000Z",
        **said,
    }  # fmt: skip


async def join(desk: Desk, name: str = "alice") -> str:
    """A minion that joined; its id."""
    minion = str(uuid.uuid5(uuid.NAMESPACE_DNS, name))
    said = {"minion": minion, "name": name, "version": "1", "timezone": "UTC"}
    who = Caller(f"tok_{name}", name, "minion", name)
    await act(desk, joining.join, admit(Hello, said, source="A hello"), version="1", who=who)
    return minion


async def beat(desk: Desk, *held: dict[str, Any], who: Caller = ALICE, **said: Any) -> None:
    """A minion says how it stands, and what waits there."""
    (minion,) = [each.id for each in await rows(desk, MINIONS) if each.name == who.name]
    message = admit(Beat, json.loads(json.dumps({"minion": minion, "held": held, **said})), source="The message")
    await act(desk, joining.beat, message, who=who)


async def inbox(desk: Desk, state: str = "open") -> list[dict[str, Any]]:
    """What waits for a person."""
    return await desk.read(deciding.listed, state, now=desk.clock())


async def answer(desk: Desk, said: dict[str, Any], word: str = "approve", **more: Any) -> dict[str, Any]:
    """A person's answer to what they were shown."""
    given = {"digest": said["digest"], **more}
    done: dict[str, Any] = await act(desk, deciding.decide, said["id"], word, who=PERSON, **given)
    return done


async def refused(desk: Desk, said: dict[str, Any], word: str = "approve", **more: Any) -> str:
    """The code with which an answer is refused; no order was put for it."""
    before = len(await rows(desk, ORDERS))
    with pytest.raises(Refusal) as caught:
        await answer(desk, said, word, **more)
    assert len(await rows(desk, ORDERS)) == before
    return caught.value.code


async def kinds(desk: Desk) -> list[str]:
    """What was written into the log of decisions and orders."""
    return [type_ for type_, _ in await events(desk) if type_.startswith(("decision.", "order."))]


def test_a_hold_is_asked_once_however_often_it_is_said_and_no_more_once_it_is_gone(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        await join(desk)
        for _ in range(3):
            await beat(desk, hold())
        (said,) = await inbox(desk)
        assert (said["kind"], said["subject"], said["urgency"]) == ("hold", HELD, "now")
        assert said["question"] == "alice asks: skill:tell-weather changed; may it run?"
        assert said["changes"][1] == "the skill tell-weather: sha256:11111111… → sha256:22222222…"
        assert said["permissions"] == ["not known for the skill tell-weather: HQ has nothing to compare"]
        assert (said["evidence"]["minion"], said["evidence"]["routine"]) == ("alice", "nightly")
        assert said["answers"] == ["approve", "reject"]
        await beat(desk, hold(), hold("dec_01" + "J" * 20))
        assert len(await inbox(desk)) == 2
        await beat(desk)
        assert await inbox(desk) == []
        gone = await inbox(desk, "withdrawn")
        assert [each["why"] for each in gone] == ["it waits on its minion no more"] * 2
        assert await kinds(desk) == ["decision.asked"] * 2 + ["decision.withdrawn"] * 2
        assert await rows(desk, ORDERS) == []

    play(tmp_path, scene)


@pytest.mark.parametrize("word", ["approve", "reject"])
def test_an_answer_is_an_order_for_the_minion_bound_to_what_it_asked(tmp_path: Path, word: str) -> None:
    async def scene(desk: Desk) -> None:
        minion = await join(desk)
        await beat(desk, hold())
        (said,) = await inbox(desk)
        done = await answer(desk, said, word, why="Looked at it.")
        assert done["subject_state"] == "waiting"
        (order,) = await rows(desk, ORDERS)
        body = json.loads(order.body)
        assert (order.minion_id, order.run_id, order.state) == (minion, None, "queued")
        assert (body["kind"], body["decision"], body["digest"], body["answer"]) == (
            "decide", HELD, hold()["digest"], word,
        )  # fmt: skip
        waiting = await desk.read(embedded.waiting_for, minion)
        assert [each.id for each in waiting] == [order.id]
        # The minion has not heard of it yet, or not done it yet: nobody is asked again.
        await beat(desk, hold())
        await beat(desk, hold(), settled=[{"order": order.id, "state": "taken"}])
        await beat(desk, hold())
        assert await inbox(desk) == []
        (over,) = await inbox(desk, "any")
        assert (over["state"], over["carried"]) == ({"approve": "approved", "reject": "rejected"}[word], "taken")
        await beat(desk)
        (over,) = await inbox(desk, "any")
        assert over["carried_words"] == "alice has the answer and goes by it."
        assert await kinds(desk) == [
            "decision.asked", f"decision.{over['state']}", "order.queued", "order.settled", "decision.taken",
            "decision.carried_out",
        ]  # fmt: skip
        # Held again after all that, as by a minion whose store was put back: it is asked anew.
        await beat(desk, hold())
        assert [each["subject"] for each in await inbox(desk)] == [HELD]

    play(tmp_path, scene)
    assert audit(tmp_path / "hq" / "hq.db").intact


def test_a_minion_that_was_answered_there_meanwhile_refuses_and_the_decision_says_so(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        await join(desk)
        await beat(desk, hold())
        await answer(desk, (await inbox(desk))[0])
        (order,) = await rows(desk, ORDERS)
        why = "it was rejected there by ann; its key sk-ant-abcdefgh12345678 is known"
        await beat(desk, settled=[{"order": order.id, "state": "refused", "why": why}])
        (said,) = await inbox(desk, "any")
        assert (said["state"], said["carried"]) == ("approved", "refused_there")
        assert said["carried_words"] == (
            "alice did not take the answer: it was rejected there by ann; its key [redacted] is known"
        )
        assert "sk-ant-abcdefgh" not in json.dumps(await events(desk))
        # Refused and held still: only a person can say what now.
        await beat(desk, hold())
        assert len(await inbox(desk)) == 1

    play(tmp_path, scene)


@pytest.mark.promise("INB-6")
def test_an_answer_to_a_hold_is_given_once_and_is_one_to_what_was_shown(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        await join(desk)
        await beat(desk, hold(), hold("dec_01" + "J" * 20))
        first, second = await inbox(desk)
        assert await refused(desk, {**first, "digest": TWO}) == "other_digest"
        assert await refused(desk, first, "changes", why="Another skill.") == "cannot_send_back"
        assert await refused(desk, first, "perhaps") == "bad_answer"
        evidence = {**second["evidence"], "digest_there": TWO}
        change = update(DECISIONS).where(DECISIONS.c.id == second["id"]).values(evidence=json.dumps(evidence))
        await desk.database.transact(lambda db: db.execute(change) and None)
        assert await refused(desk, second) == "decision_altered"
        await answer(desk, first)
        for word in ("approve", "reject"):
            assert await refused(desk, first, word) == "decided"
        assert len(await rows(desk, ORDERS)) == 1

    play(tmp_path, scene)


@pytest.mark.promise("INB-6")
def test_a_hold_never_runs_out_and_one_that_asks_something_else_now_is_another(tmp_path: Path) -> None:
    clock = Clock()

    async def scene(desk: Desk) -> None:
        await join(desk)
        await beat(desk, hold())
        (before,) = await inbox(desk)
        clock.pass_(days=4000)
        await desk.sweep()
        await beat(desk, hold())
        assert [each["id"] for each in await inbox(desk)] == [before["id"]]
        await beat(desk, hold(digest=TWO, question="Everything changed; may it run?"))
        (after,) = await inbox(desk)
        assert (after["subject"], after["id"] != before["id"]) == (HELD, True)
        assert await refused(desk, before) == "decided"
        assert [each["id"] for each in await inbox(desk, "withdrawn")] == [before["id"]]

    play(tmp_path, scene, clock)


def test_two_minions_may_hold_what_has_one_id_and_one_speaks_for_itself_alone(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        bob = Caller("tok_bob", "bob", "minion", "bob")
        for name in ("alice", "bob"):
            await join(desk, name)
        await beat(desk, hold())
        await beat(desk, hold(), who=bob)
        assert {each["evidence"]["minion"] for each in await inbox(desk)} == {"alice", "bob"}
        await beat(desk, who=bob)
        assert [each["evidence"]["minion"] for each in await inbox(desk)] == ["alice"]

    play(tmp_path, scene)


def test_what_a_changed_skill_newly_may_do_is_told_where_hq_knows_both_versions(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        await join(desk)
        async with client_of(desk, ADMIN) as asker:
            one, two = [
                await asker.ask("publish_skill", files={"SKILL.md": SKILL.format(effects)})
                for effects in ("message:slack", "message:slack pull_request:shop")
            ]
        changes = {
            "skill:tell-weather": {"from": one["digest"], "to": two["digest"]}, "model": {"from": "a", "to": "b"},
        }  # fmt: skip
        await beat(desk, hold(about={"changes": changes}))
        (said,) = await inbox(desk)
        assert said["permissions"] == ["+1 effect: pull_request:shop"]
        changes["skill:tell-weather"] = {"from": two["digest"], "to": one["digest"]}
        changes["engine"] = {"from": "script", "to": "messages"}
        await beat(desk, hold(about={"changes": changes}, digest=TWO))
        (said,) = await inbox(desk)
        assert said["permissions"] == [
            "-1 effect: pull_request:shop", "not known for the engine: HQ has nothing to compare",
        ]  # fmt: skip

    play(tmp_path, scene)


def test_secrets_are_taken_out_and_what_cannot_be_shown_whole_is_not_answered_here(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        await join(desk)
        secret = "ghp_" + "a" * 36
        await beat(desk, hold(about={"note": f"token {secret}", HOSTILE: HOSTILE}, question=f"May {secret}?"))
        (said,) = await inbox(desk)
        assert secret not in json.dumps(said) + json.dumps(await events(desk))
        assert said["evidence"]["about"]["note"] == "token [redacted]"
        assert said["question"] == "alice asks: May [redacted]?"
        await answer(desk, said)
        await beat(desk, hold("dec_01" + "J" * 20, about={"x": "y" * 70_000}))
        (said,) = await inbox(desk)
        assert (said["evidence"]["about"], await refused(desk, said)) == (None, "hold_not_shown")

    play(tmp_path, scene)


def test_a_list_that_is_as_long_as_may_be_withdraws_nothing(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        await join(desk)
        await beat(desk, hold())
        many = [hold(f"dec_01{number:020}") for number in range(holding.MOST_HELD)]
        await beat(desk, *many)
        assert len(await inbox(desk)) == holding.MOST_HELD + 1

    play(tmp_path, scene)


def test_what_a_minion_held_that_left_is_withdrawn_and_an_answer_on_its_way_did_not_come(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        minion = await join(desk)
        await beat(desk, hold(), hold("dec_01" + "J" * 20))
        first, _ = await inbox(desk)
        await answer(desk, first)
        await desk.database.transact(
            holding.drop_holds, minion, "the minion alice left", actor="test", now=instant(desk.clock())
        )
        assert await inbox(desk) == []
        over = {each["id"]: each for each in await inbox(desk, "any")}
        assert over[first["id"]]["carried_words"] == "alice did not take the answer: the minion alice left"
        assert {each["state"] for each in over.values()} == {"approved", "withdrawn"}

    play(tmp_path, scene)


def test_a_hold_of_a_minion_that_has_left_cannot_be_answered(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        await join(desk)
        await beat(desk, hold())
        (said,) = await inbox(desk)
        gone = update(MINIONS).values(left_at=instant(desk.clock()))
        await desk.database.transact(lambda db: db.execute(gone) and None)
        assert await refused(desk, said) == "minion_left"
        assert (await desk.read(finding_store.find_decision, said["id"])).state == "open"

    play(tmp_path, scene)


@pytest.mark.parametrize(
    ("column", "value"),
    [("carried", "carried_out"), ("why", "Because."), ("minion_id", "another"), ("state", "rejected")],
)
def test_what_somebody_changed_by_hand_in_a_hold_is_found(tmp_path: Path, column: str, value: str) -> None:
    async def scene(desk: Desk) -> None:
        await join(desk)
        await beat(desk, hold())
        await answer(desk, (await inbox(desk))[0])
        await desk.database.transact(lambda db: db.execute(update(DECISIONS).values({column: value})) and None)

    play(tmp_path, scene)
    found = audit(tmp_path / "hq" / "hq.db")
    assert [each for each in found.breaches if column in str(each)], found
