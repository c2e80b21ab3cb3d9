"""Proposals that are sent back: with a reason, which whoever proposes the next one is shown."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from server.actions.decide import decide
from server.actions.desk import Desk
from server.contract.refusals import Refusal
from server.storage.audit import audit
from server.storage.tables import DECISIONS, GAPS
from tests.server.browsers import Browser, play, refused, signed_in
from tests.server.desks import ADMIN, REVIEWER, Asker, client_of
from tests.server.gates import gate_of
from tests.server.joined_minions import act, events, rows

PERSON = replace(REVIEWER, door="cli")
CODE = "HTTP-LINEAR"
SKILL = "---\nname: linear-label\ndescription: Labels.\nmetadata:\n  minion-effects: {}\n---\nDo.\n"
pytestmark = pytest.mark.promise("INB-3")


async def proposed(asker: Asker, **said: Any) -> dict[str, Any]:
    """A gap for which something is proposed: the decision that waits."""
    await asker.ask("record_gap", gap_type="connector", requested_code=CODE, description="It was lacked.")
    await asker.ask("resolve_gap", gap=CODE, resolution="propose", reason="A connector.", **said)
    (decision,) = (await asker.ask("list_decisions"))["decisions"]
    return dict(decision)


async def answer(desk: Desk, said: dict[str, Any], word: str, **more: Any) -> dict[str, Any]:
    """A person's answer."""
    done: dict[str, Any] = await act(desk, decide, said["id"], word, digest=said["digest"], who=PERSON, **more)
    return done


def test_a_proposal_that_is_sent_back_leaves_its_gap_open_with_the_reason(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        async with client_of(desk, ADMIN) as asker:
            said = await proposed(asker)
            assert said["answers"] == ["approve", "reject", "changes"]
            reason = "Without write access, and not with sk-ant-abcdefgh12345678."
            done = await answer(desk, said, "changes", why=reason)
            assert (done["state"], done["subject_state"]) == ("changes", "open")
            (gap,) = (await asker.ask("list_gaps"))["gaps"]
            shown = "Without write access, and not with [redacted]."
            assert (gap["state"], gap["sent_back"]) == ("open", shown)
            assert [each["id"] for each in (await asker.ask("list_decisions", state="changes"))["decisions"]] == [
                said["id"]
            ]
            # Met again it stands there still; the next proposal carries it, and takes its place.
            again = await proposed(asker)
            assert again["evidence"]["sent_back_before"] == shown
            (gap,) = (await asker.ask("list_gaps"))["gaps"]
            assert (gap["state"], gap["sent_back"]) == ("proposed", None)
            await answer(desk, again, "approve")
        told = [type_ for type_, _ in await events(desk) if type_.startswith(("decision.", "gap."))]
        assert told == [
            "gap.recorded", "decision.asked", "gap.proposed", "decision.changes_asked", "gap.open", "gap.recorded",
            "decision.asked", "gap.proposed", "decision.approved", "gap.approved",
        ]  # fmt: skip

    play(tmp_path, scene)
    assert audit(tmp_path / "hq" / "hq.db").intact


@pytest.mark.promise("INB-6")
def test_sending_back_takes_a_reason_is_given_once_and_is_one_to_what_was_shown(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        async with client_of(desk, ADMIN) as asker:
            said = await proposed(asker)
            for why in (None, "", " \n"):
                with pytest.raises(Refusal) as caught:
                    await answer(desk, said, "changes", why=why)
                assert caught.value.code == "no_reason"
            with pytest.raises(Refusal) as caught:
                await answer(desk, {**said, "digest": "sha256:" + "0" * 64}, "changes", why="No.")
            assert caught.value.code == "other_digest"
            await answer(desk, said, "changes", why="No.")
            for word in ("approve", "reject", "changes"):
                with pytest.raises(Refusal) as caught:
                    await answer(desk, said, word, why="Again.")
                assert (caught.value.code, "is sent back already" in caught.value.sentence) == ("decided", True)

    play(tmp_path, scene)


def test_on_its_page_a_proposal_is_sent_back_with_one_button_and_says_so(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        async with client_of(desk, ADMIN) as asker, gate_of(desk) as app:
            said, browser = await proposed(asker), await signed_in(desk, app)
            without = await browser.answer(said["id"], "changes")
            assert refused(without) == (400, "no_reason")
            assert (await browser.answer(said["id"], "changes", why="Read only, please.")).status == 303
            page = (await browser.get(f"/decisions/{said['id']}")).body.decode()
            assert ("<strong>Sent back</strong> by ann" in page, 'name="answer"' in page) == (True, False)
            assert "<strong>Sent back</strong>" in (await browser.get("/decisions")).body.decode()

    play(tmp_path, scene)


@pytest.mark.promise("INB-2")
def test_what_a_proposal_newly_permits_is_read_from_its_skill_and_told_beside_what_its_proposer_says(
    tmp_path: Path,
) -> None:
    async def scene(desk: Desk) -> None:
        async with client_of(desk, ADMIN) as asker, gate_of(desk) as app:
            for effects in ("message:slack", "message:slack comment:shop"):
                await asker.ask("publish_skill", files={"SKILL.md": SKILL.format(effects)})
            needs = {"hosts": ["api.linear.app"], "secrets": ["LINEAR_KEY"]}
            said = await proposed(asker, skill="linear-label", needs=needs)
            assert said["permissions"] == [
                "+1 effect: comment:shop", "+1 host: api.linear.app, as its proposer says",
                "+1 secret: LINEAR_KEY, as its proposer says",
            ]  # fmt: skip
            assert said["changes"][0].startswith("the skill linear-label, version 2 (sha256:")
            assert said["changes"][0].endswith("…), is the answer, in place of version 1")
            page = (await (await signed_in(desk, app)).get(f"/decisions/{said['id']}")).body.decode()
            for each in ("What changes", "+1 host: api.linear.app", "in place of version 1"):
                assert each in page
            await answer(desk, said, "changes", why="Smaller.")
            plain = await proposed(asker)
            assert plain["permissions"] == ["not said: whoever proposes it named none"]
            await answer(desk, plain, "changes", why="Say what it needs.")
            assert (await proposed(asker, needs={}))["permissions"] == ["none, as its proposer says"]
            lack = {"gap_type": "skill", "requested_code": "LLM-X", "description": "Lacked."}
            await asker.ask("record_gap", **lack)
            said = {"gap": "LLM-X", "resolution": "propose", "reason": "x", "skill": "nobodys"}
            assert (await asker.refused("resolve_gap", **said))["code"] == "no_such_skill"

    play(tmp_path, scene)


def test_the_pages_group_what_waits_with_what_is_urgent_first(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        async with client_of(desk, ADMIN) as asker, gate_of(desk) as app:
            for code, times in (("LLM-SELDOM", 1), ("LLM-OFTEN", 5)):
                for _ in range(times):
                    await asker.ask("record_gap", gap_type="skill", requested_code=code, description="Lacked.")
                await asker.ask("resolve_gap", gap=code, resolution="propose", reason="A skill.")
            browser: Browser = await signed_in(desk, app)
            page = (await browser.get("/decisions")).body.decode()
            wanted = ("Lacked often", "LLM-OFTEN", "When there is time", "LLM-SELDOM")
            assert [page.index(each) for each in wanted] == sorted(page.index(each) for each in wanted)

    play(tmp_path, scene)


@pytest.mark.parametrize("table", [GAPS, DECISIONS])
def test_a_reason_that_somebody_changed_by_hand_is_found(tmp_path: Path, table: Any) -> None:
    async def scene(desk: Desk) -> None:
        async with client_of(desk, ADMIN) as asker:
            await answer(desk, await proposed(asker), "changes", why="Read only.")
        value = {"sent_back": "Anything goes."} if table is GAPS else {"why": "Anything goes."}
        await desk.database.transact(lambda db: db.execute(update(table).values(value)) and None)
        assert len(await rows(desk, table)) == 1

    play(tmp_path, scene)
    found = audit(tmp_path / "hq" / "hq.db")
    assert [each.chain for each in found.breaches] == [table.name]
    assert "the log says Read only." in json.dumps([each.what for each in found.breaches])
