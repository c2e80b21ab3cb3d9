"""Decisions: a person answers, once, exactly what was asked and in time; no session ever does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from server.actions.decide import decide
from server.actions.desk import Desk, asking
from server.contract.digest import instant
from server.contract.refusals import Refusal
from server.storage import finding_store
from server.storage.access_store import Caller
from server.storage.tables import DECISIONS, EVENTS, GAPS, RUNS
from server.sweeping import swept
from tests.server.desks import ADMIN, LEDGER, REVIEWER, SESSION, Clock, add_routine, client_of, desk_at

PERSON = replace(REVIEWER, door="cli")
CODE = "LLM-SUMMARIZE-ALERT"


def play(folder: Path, scene: Callable[[Desk], Awaitable[Any]], clock: Clock | None = None) -> Any:
    """What a scene at a desk answers."""

    async def played() -> Any:
        async with desk_at(folder, clock) as desk:
            return await scene(desk)

    return asyncio.run(played())


async def proposed(desk: Desk) -> dict[str, Any]:
    """A gap for which something is proposed: the decision that waits, as a reviewer sees it."""
    async with client_of(desk, ADMIN) as asker:
        await asker.ask("record_gap", gap_type="step", requested_code=CODE, description="It was lacked.")
        await asker.ask("resolve_gap", gap=CODE, resolution="propose", reason="A skill that sums alerts up.")
        (decision,) = (await asker.ask("list_decisions"))["decisions"]
        return dict(decision)


async def answer(
    desk: Desk, decision: dict[str, Any], said: str = "approve", who: Caller = PERSON
) -> dict[str, Any]:
    """Somebody's answer to a decision as it was shown."""
    before = asking.set(who)
    try:
        return await desk.do(decide, decision["id"], said, digest=decision["digest"], why="Looks right.")
    finally:
        asking.reset(before)


async def refused(desk: Desk, decision: dict[str, Any], said: str = "approve", who: Caller = PERSON) -> str:
    """The code with which an answer is refused."""
    with pytest.raises(Refusal) as caught:
        await answer(desk, decision, said, who)
    return caught.value.code


async def gap_state(desk: Desk) -> str:
    """How the gap stands."""
    return str(await desk.read(lambda db: db.execute(GAPS.select()).one().state))


@pytest.mark.promise("DEC-1")
@pytest.mark.parametrize(
    ("said", "state", "gap"), [("approve", "approved", "approved"), ("reject", "rejected", "open")]
)
def test_a_persons_answer_is_kept_with_what_follows_from_it(
    tmp_path: Path, said: str, state: str, gap: str
) -> None:
    async def scene(desk: Desk) -> None:
        decision = await proposed(desk)
        ended = await answer(desk, decision, said)
        assert ended == {
            "decision": decision["id"], "state": state, "subject": decision["subject"], "subject_state": gap,
        }  # fmt: skip
        assert await gap_state(desk) == gap
        row = await desk.read(finding_store.find_decision, decision["id"])
        assert (row.state, row.answered_by, row.why) == (state, PERSON.id, "Looks right.")
        events = await desk.read(lambda db: list(db.execute(EVENTS.select())))
        event = next(each for each in events if each.type == f"decision.{state}")
        assert json.loads(event.data)["digest"] == decision["digest"]
        assert f"gap.{gap}" in {each.type for each in events}

    play(tmp_path, scene)


@pytest.mark.promise("DEC-1")
def test_an_approved_gap_stays_open_counts_on_and_is_not_asked_about_again(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        await answer(desk, await proposed(desk))
        async with client_of(desk, ADMIN) as asker:
            again = await asker.ask("record_gap", gap_type="step", requested_code=CODE, description="Still.")
            assert (again["merged"], again["frequency"], again["state"]) == (True, 2, "approved")
            for resolution in ("propose", "decline"):
                said = await asker.refused("resolve_gap", gap=CODE, resolution=resolution, reason="Again.")
                assert said["code"] == "gap_approved"
            assert (await asker.ask("list_decisions"))["decisions"] == []

    play(tmp_path, scene)


@pytest.mark.promise("DEC-1")
def test_an_answer_is_given_once_also_when_many_give_it_at_the_same_time(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        decision = await proposed(desk)
        tries = [answer(desk, decision, ("approve", "reject")[number % 2]) for number in range(40)]
        ended = await asyncio.gather(*tries, return_exceptions=True)
        assert sum(isinstance(each, dict) for each in ended) == 1
        assert {each.code for each in ended if isinstance(each, Refusal)} == {"decided"}
        assert await refused(desk, decision, "reject") == "decided"
        events = await desk.read(lambda db: list(db.execute(EVENTS.select())))
        assert sum(each.type in ("decision.approved", "decision.rejected") for each in events) == 1

    play(tmp_path, scene)


@pytest.mark.promise("DEC-1")
def test_only_a_person_with_the_right_scope_decides_whatever_token_is_sent_over_mcp(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        decision = await proposed(desk)
        for door in ("", "mcp", "http"):
            for who in (ADMIN, REVIEWER):
                assert await refused(desk, decision, who=replace(who, door=door)) == "not_a_person"
        for who in (SESSION, LEDGER):
            assert await refused(desk, decision, who=replace(who, door="page")) == "may_not_decide"
        async with client_of(desk, ADMIN) as asker:
            said = await asker.ask("decide", decision=decision["id"])
            assert said["state"] == "open"
        assert await gap_state(desk) == "proposed"

    play(tmp_path, scene)


@pytest.mark.promise("DEC-1")
def test_an_answer_to_something_else_is_none(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        decision = await proposed(desk)
        assert await refused(desk, {**decision, "digest": "sha256:" + "0" * 64}) == "other_digest"
        assert await refused(desk, decision, "maybe") == "bad_answer"
        assert await refused(desk, {**decision, "id": "dec_01"}) == "no_such_decision"
        altered = update(DECISIONS).values(evidence='{"proposal":"rm -rf /"}')
        await desk.database.transact(lambda db: db.execute(altered).rowcount)
        assert await refused(desk, decision) == "decision_altered"
        assert await gap_state(desk) == "proposed"

    play(tmp_path, scene)


@pytest.mark.promise("DEC-1")
def test_a_decision_whose_time_is_over_takes_no_answer_and_is_written_down_as_expired(tmp_path: Path) -> None:
    clock = Clock()

    async def scene(desk: Desk) -> None:
        decision = await proposed(desk)
        clock.pass_(days=1)
        at = instant(clock())
        await desk.database.transact(lambda db: db.execute(update(DECISIONS).values(expires_at=at)).rowcount)
        assert await refused(desk, decision) == "decision_expired"
        row = await desk.read(finding_store.find_decision, decision["id"])
        assert (row.state, row.answered_by) == ("expired", "hq")
        assert await gap_state(desk) == "open"

    play(tmp_path, scene, clock)


def test_a_gap_that_is_declined_takes_its_open_decision_with_it(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        decision = await proposed(desk)
        async with client_of(desk, REVIEWER) as asker:
            await asker.ask("resolve_gap", gap=CODE, resolution="decline", reason="It is not needed.")
            assert (await asker.ask("list_decisions", state="withdrawn"))["decisions"][0]["id"] == decision["id"]
        assert await refused(desk, decision) == "decided"

    play(tmp_path, scene)


def test_a_proposal_for_a_gap_that_stands_otherwise_now_is_not_approved(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        decision = await proposed(desk)
        await desk.database.transact(finding_store.set_gap, decision["subject"], state="resolved")
        assert await refused(desk, decision) == "proposal_gone"
        row = await desk.read(finding_store.find_decision, decision["id"])
        assert row.state == "open"  # nothing of the refused answer was kept

    play(tmp_path, scene)


@pytest.mark.promise("MCP-1")
@pytest.mark.parametrize("mode", ["auto", "legacy"])
@pytest.mark.promise("INB-5")
def test_a_session_sees_what_waits_and_is_told_where_a_person_decides(tmp_path: Path, mode: str) -> None:
    async def scene(desk: Desk) -> None:
        waiting = await proposed(desk)
        before = await desk.read(lambda db: db.execute(DECISIONS.select()).one())
        for who, there in ((SESSION, True), (LEDGER, False), (REVIEWER, True), (ADMIN, True)):
            async with client_of(desk, who, mode) as asker:
                tools = await asker.tools()
                assert ("list_decisions" in tools, "decide" in tools) == (True, there)
                assert len((await asker.ask("list_decisions"))["decisions"]) == 1
                if not there:
                    result = await asker.client.call_tool("decide", {"decision": "dec_01"})
                    assert result.is_error
                    assert "There is no tool" in result.content[0].text
                    continue
                told = await asker.ask("decide", decision=waiting["id"])
                assert told["note"].startswith("Nothing was decided. A person decides")
                assert not {"code", "token"} & set(told)
                assert "sign-in" not in json.dumps(told)
                said = await asker.refused("decide", decision=waiting["id"], answer="approve")
                assert said["code"] == "unknown_argument"
        assert await desk.read(lambda db: db.execute(DECISIONS.select()).one()) == before

    play(tmp_path, scene)


@pytest.mark.promise("MCP-1")
def test_each_scope_sees_its_own_tools_group_by_group_and_may_call_no_other(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        lists = {}
        for who in (ADMIN, SESSION, LEDGER, REVIEWER):
            async with client_of(desk, who) as asker:
                lists[who.scope] = await asker.tools()
        assert all(set(each) < set(lists["admin"]) for name, each in lists.items() if name != "admin")
        assert lists["ledger"] == [
            "list_routines", "list_runs", "get_run", "cancel_run", "ledger_start_run", "ledger_start_block",
            "ledger_log_step", "ledger_finish_block", "ledger_finish_run", "record_gap", "list_gaps",
            "list_decisions", *lists["ledger"][12:],
        ]  # fmt: skip
        assert lists["session"][-7:-5] == ["list_decisions", "decide"]
        assert lists["reviewer"] == ["list_gaps", "resolve_gap", "list_decisions", "decide"]
        for who in (SESSION, LEDGER, REVIEWER):
            async with client_of(desk, who) as asker:
                for tool in sorted(set(lists["admin"]) - set(lists[who.scope])):
                    result = await asker.client.call_tool(tool, {})
                    assert "There is no tool" in result.content[0].text, (who.scope, tool)

    play(tmp_path, scene)


def test_what_is_over_is_ended_at_the_start_with_its_open_blocks(tmp_path: Path) -> None:
    clock = Clock()

    async def scene(desk: Desk) -> None:
        await add_routine(desk, "oncall-triage")
        async with client_of(desk, LEDGER) as asker:
            run = (await asker.ask("ledger_start_run", routine="oncall-triage"))["run"]
            await asker.ask("ledger_start_block", run=run, block="040.001.02")
            other = (await asker.ask("ledger_start_run", routine="oncall-triage"))["run"]
        clock.pass_(minutes=1)
        async with swept(desk):
            rows = await desk.read(lambda db: {row.id: row for row in db.execute(RUNS.select())})
            assert {row.state for row in rows.values()} == {"running", "validated"}
        clock.pass_(days=1)
        async with swept(desk):
            rows = await desk.read(lambda db: {row.id: row for row in db.execute(RUNS.select())})
        assert {row.state for row in rows.values()} == {"interrupted"}
        assert {row.verdict for row in rows.values()} == {"unknown"}
        assert rows[other].why.startswith("no finish by its deadline")
        events = await desk.read(lambda db: list(db.execute(EVENTS.select().where(EVENTS.c.run_id == run))))
        ended = [json.loads(each.data) for each in events if each.type == "block.finished"]
        states = [(each["block"][-2:], each["state"]) for each in ended]
        assert states == [("01", "completed"), ("02", "interrupted")]

    play(tmp_path, scene, clock)


def test_who_comes_too_late_is_refused_and_the_run_is_interrupted_with_it(tmp_path: Path) -> None:
    clock = Clock()

    async def scene(desk: Desk) -> None:
        await add_routine(desk, "oncall-triage")
        async with client_of(desk, LEDGER) as asker:
            run = (await asker.ask("ledger_start_run", routine="oncall-triage"))["run"]
            clock.pass_(days=1)
            said = await asker.refused("ledger_start_block", run=run, block="040.001.02")
            assert said["code"] == "run_over"
        (row,) = await desk.read(lambda db: list(db.execute(RUNS.select())))
        assert row.state == "interrupted"

    play(tmp_path, scene, clock)


def test_the_sweeper_sweeps_again_and_again_and_ends_with_its_block(tmp_path: Path) -> None:
    clock = Clock()

    async def scene(desk: Desk) -> None:
        await add_routine(desk, "oncall-triage")
        ended = asyncio.Event()
        desk.listen(lambda happened: ended.set() if any(e.type == "run.closed" for e in happened) else None)
        async with swept(desk, every_s=0.01):
            async with client_of(desk, LEDGER) as asker:
                await asker.ask("ledger_start_run", routine="oncall-triage")
            clock.pass_(days=1)
            await asyncio.wait_for(ended.wait(), 10)
        assert len(asyncio.all_tasks()) == 1

    play(tmp_path, scene, clock)
