"""Effects that did not arrive and are performed again, as the store has them: one at a time, said before."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from minion.store.effects_again import (
    AGAIN,
    CUT_OFF,
    begin_again,
    give_up_intents,
    redeliverable,
    settle_again,
)
from minion.store.effects_ledger import Settlement, settle_effect, unknown_effects
from minion.store.routines import keep_routine, remove_routine
from minion.store.run_end import prune
from minion.store.run_history import breaches, whole_run
from minion.store.standing import set_halt
from minion.store.writer import Writer
from minion.why.run_links import delivery
from server.contract.refusals import Refused
from server.contract.run import EffectState, RunState
from tests.minion.stored_runs import (
    CODES,
    LATER,
    NOW,
    ROUTINE_ID,
    Teller,
    looking,
    make_order,
    numbered_id,
    perform,
    rows,
    start,
    take,
    with_store,
)
from tests.minion.watched import Scene, played

pytestmark = pytest.mark.promise("EFF-2")

RUN = numbered_id("run_", 1)
FIRST, SECOND, THIRD = (numbered_id("eff_", 100 + number) for number in (1, 2, 3))
DOCUMENT = {"name": "morning-report", "id": ROUTINE_ID, "minion_id": None, "content": "Say hello"}
AGAIN_AT, DONE_AT = "2026-01-05T10:00:00.000Z", "2026-01-05T10:00:01.000Z"
TRUTHS = "SELECT state, outcome, delivery, verdict FROM runs"
Story = Callable[[Writer], Awaitable[Any]]


def undelivered(*more: str, number: int = 1, outcome: str = "success") -> Teller:
    """A run that ended with one message failed, and further ones in these states."""
    teller = Teller(number).beginning().step("LLM-EXECUTE-PROMPT").report(outcome).leave().enter(CODES[3])
    teller.begin_step("SCR-PUSH-BRANCH").perform("failed")
    for place, state in enumerate(more):
        teller.perform(state, f"desk{place}")
    return teller.end_step("SCR-PUSH-BRANCH").leave()


def kept(folder: Path, told: Teller, then: Story, *, end: RunState = "completed") -> Any:
    """What `then` answers once this run is kept."""

    async def story(writer: Writer) -> Any:
        await writer.transact(lambda db: keep_routine(db, DOCUMENT, source="f", replace=False, now=NOW))
        await perform(writer, make_order(), told, end)
        return await then(writer)

    return with_store(folder, story)


def begin(writer: Writer, effect: str = FIRST) -> Awaitable[None]:
    """Say that an effect is about to be performed again."""
    return writer.transact(
        lambda db: begin_again(db, RUN, effect, by="ada", means="webhook", now=AGAIN_AT)
    )


def came(writer: Writer, state: EffectState, effect: str = FIRST, *, at: str = AGAIN_AT) -> Awaitable[Any]:
    """Say what came of it; `at` is the intent that is answered."""
    settled = Settlement(state, "HTTP 200 ok", AGAIN, "slack webhook", None, at)
    return writer.transact(lambda db: settle_again(db, RUN, effect, settled, now=DONE_AT))


def ask(writer: Writer) -> Awaitable[Any]:
    """What may be delivered again."""
    return writer.transact(lambda db: redeliverable(db, RUN))


def test_what_did_not_arrive_of_a_run_that_did_its_work_may_be_delivered_again(tmp_path: Path) -> None:
    told = undelivered("delivered", "accepted", "failed", "refused", "withheld", outcome="partial")
    found = kept(tmp_path, told, ask)
    assert (found.run_id, found.routine, found.folder) == (RUN, "morning-report", f"/nowhere/{RUN}")
    assert [(effect.id, effect.target) for effect in found.effects] == [
        (FIRST, "slack"), (numbered_id("eff_", 104), "desk2"),
    ]  # fmt: skip


def test_that_it_is_about_to_be_performed_is_said_and_sealed_and_so_is_what_came_of_it(tmp_path: Path) -> None:
    async def story(writer: Writer) -> list[Any]:
        await begin(writer)
        before = rows(tmp_path, TRUTHS), rows(tmp_path, "SELECT state, intended_at, settled_at FROM effects")
        with looking(tmp_path) as db:
            assert breaches(db) == []
        return [*before, await came(writer, "delivered")]

    truths, effects, verdict = kept(tmp_path, undelivered(), story)
    assert truths == [("completed", "success", "unknown", "unknown")]
    assert effects == [("intended", AGAIN_AT, None)]
    assert (verdict, rows(tmp_path, TRUTHS)) == ("ok", [("completed", "success", "delivered", "ok")])
    assert rows(tmp_path, "SELECT last_delivered_at FROM routines") == [(NOW,)]
    told = rows(tmp_path, "SELECT type, seq, data FROM events WHERE type IN ('effect.again', 'effect.settled')")
    assert [(type_, seq, json.loads(data)) for type_, seq, data in told] == [
        ("effect.again", None, {"id": FIRST, "by": "ada", "means": "webhook"}),
        ("effect.settled", None, {"id": FIRST, "state": "delivered", "detail": "HTTP 200 ok", "by": AGAIN}),
    ]  # fmt: skip
    seals = [json.loads(body) for (body,) in rows(tmp_path, "SELECT body FROM home_chain ORDER BY position")]
    assert [(seal["verdict"], seal.get("settled"), seal.get("again")) for seal in seals] == [
        ("not-delivered", None, None), ("unknown", FIRST, True), ("ok", FIRST, None),
    ]  # fmt: skip
    with looking(tmp_path) as db:
        assert breaches(db) == []


def test_each_change_is_a_new_revision_that_hq_hears_of(tmp_path: Path) -> None:
    async def story(writer: Writer) -> list[Any]:
        async def joined(db: Any) -> None:
            await db.execute("INSERT INTO meta VALUES ('hq', 'https://hq.example')")

        await writer.transact(joined)
        (before,) = rows(tmp_path, "SELECT revision FROM runs")
        await begin(writer)
        await came(writer, "delivered")
        (after,) = rows(tmp_path, "SELECT revision FROM runs")
        return [after[0] - before[0], rows(tmp_path, "SELECT run_id FROM outbox")]

    assert kept(tmp_path, undelivered(), story) == [2, [(RUN,)]]


@pytest.mark.parametrize("other", [FIRST, THIRD], ids=["the same effect", "another one of the run"])
def test_of_two_at_once_for_one_run_the_second_is_refused(tmp_path: Path, other: str) -> None:
    async def story(writer: Writer) -> Any:
        await begin(writer)
        with pytest.raises(Refused) as refused:
            await begin(writer, other)
        with pytest.raises(Refused) as asked:
            await ask(writer)
        return refused.value.code, asked.value.code

    assert kept(tmp_path, undelivered("delivered", "failed"), story) == ("redelivery_under_way",) * 2
    assert rows(tmp_path, "SELECT count(*) FROM events WHERE type = 'effect.again'") == [(1,)]


def test_what_arrived_cannot_be_begun_again(tmp_path: Path) -> None:
    with pytest.raises(Refused) as refused:
        kept(tmp_path, undelivered("delivered"), lambda writer: begin(writer, SECOND))
    assert refused.value.code == "redelivery_under_way"
    assert rows(tmp_path, "SELECT state FROM effects ORDER BY ordinal") == [("failed",), ("delivered",)]


def test_what_came_of_another_intent_settles_nothing(tmp_path: Path) -> None:
    async def story(writer: Writer) -> Any:
        await begin(writer)
        return await came(writer, "delivered", at=NOW), await came(writer, "failed"), await came(writer, "failed")

    assert kept(tmp_path, undelivered(), story) == (None, "not-delivered", None)


def test_one_that_was_cut_off_is_unknown_for_the_next_owner_and_may_be_settled(tmp_path: Path) -> None:
    async def story(writer: Writer) -> Any:
        await begin(writer)
        given_up = [await writer.transact(lambda db: give_up_intents(db, now=DONE_AT)) for _ in range(2)]
        (unknown,) = await writer.transact(unknown_effects)
        with pytest.raises(Refused) as refused:
            await ask(writer)
        with looking(tmp_path) as db:
            assert breaches(db) == []
        said = Settlement("failed", "not there", "ada")
        await writer.transact(lambda db: settle_effect(db, FIRST, said, now=DONE_AT))
        again = await ask(writer)
        return given_up, unknown, refused.value, [effect.id for effect in again.effects]

    given_up, unknown, refused, again = kept(tmp_path, undelivered(), story)
    assert given_up == [[RUN], []]
    assert (unknown.id, unknown.intended_at, unknown.detail, unknown.means) == (
        FIRST, AGAIN_AT, CUT_OFF, "webhook",
    )  # fmt: skip
    assert refused.code == "effect_unknown"
    assert f"minion effects check {RUN}" in refused.hint
    assert again == [FIRST]


def test_an_intent_of_a_run_that_goes_on_is_not_given_up(tmp_path: Path) -> None:
    async def story(writer: Writer) -> Any:
        await start(writer, make_order())
        teller = Teller().beginning()
        await take(writer, teller.intend(teller.stage()))
        with pytest.raises(Refused) as refused:
            await ask(writer)
        return refused.value.code, await writer.transact(lambda db: give_up_intents(db, now=DONE_AT))

    assert with_store(tmp_path, story) == ("run_goes_on", [])


def test_a_run_is_not_pruned_while_an_effect_of_it_is_performed_again(tmp_path: Path) -> None:
    async def story(writer: Writer) -> list[Any]:
        await perform(writer, make_order(2), Teller(2).plain())
        await begin(writer)
        pruned = [await writer.transact(lambda db: prune(db, keep=1, now=DONE_AT))]
        await came(writer, "delivered")
        return [*pruned, await writer.transact(lambda db: prune(db, keep=1, now=DONE_AT))]

    assert kept(tmp_path, undelivered(), story) == [[], [f"/nowhere/{RUN}"]]


@pytest.mark.parametrize(
    ("told", "end", "code", "hint"),
    [
        (undelivered("unknown"), "completed", "effect_unknown", "minion effects check"),
        (undelivered(outcome="failure"), "completed", "work_not_done", "minion run morning-report"),
        (undelivered(outcome="unknown"), "completed", "work_not_done", "minion run morning-report"),
        (undelivered(), "interrupted", "work_not_done", "minion run morning-report"),
        (undelivered(), "cancelled", "work_not_done", "minion run morning-report"),
        (Teller().plain().perform("delivered"), "completed", "nothing_to_redeliver", "minion effects"),
        (Teller().plain().perform("refused"), "completed", "nothing_to_redeliver", "minion run morning-report"),
        (Teller().plain().perform("withheld"), "completed", "nothing_to_redeliver", "minion run morning-report"),
        (Teller().plain(), "completed", "nothing_to_redeliver", "minion effects"),
    ],
    ids=["unknown", "failure", "no outcome", "interrupted", "cancelled", "arrived", "refused", "withheld", "none"],
)
def test_nothing_else_is_delivered_again(
    tmp_path: Path, told: Teller, end: RunState, code: str, hint: str
) -> None:
    with pytest.raises(Refused) as refused:
        kept(tmp_path, told, ask, end=end)
    assert (refused.value.code, hint in refused.value.hint) == (code, True)


async def _removed(db: Any) -> None:
    await remove_routine(db, "morning-report", now=LATER)


async def _halted(db: Any) -> None:
    await set_halt(db, "enough", at=LATER)


@pytest.mark.parametrize(
    ("change", "code"), [(_removed, "routine_removed"), (_halted, "halted")], ids=["removed", "halted"]
)
def test_nothing_goes_out_of_a_removed_routine_or_a_halted_minion(
    tmp_path: Path, change: Callable[[Any], Awaitable[None]], code: str
) -> None:
    async def story(writer: Writer) -> list[str]:
        await writer.transact(change)
        codes = []
        for act in (ask, begin):
            with pytest.raises(Refused) as refused:
                await act(writer)
            codes.append(refused.value.code)
        return codes

    assert kept(tmp_path, undelivered(), story) == [code, code]
    assert rows(tmp_path, "SELECT state FROM effects") == [("failed",)]


@pytest.mark.parametrize("expected", ["slack", "message:slack", "sl*"])
def test_an_expected_delivery_that_came_afterwards_holds(tmp_path: Path, expected: str) -> None:
    told = undelivered("failed")
    for name in (expected, "desk0", "other"):
        told.tell("check", kind="delivered", expected=name, state="failed", detail="no confirmed delivery")

    async def story(writer: Writer) -> list[Any]:
        verdicts = []
        for effect in (FIRST, SECOND):
            await begin(writer, effect)
            verdicts.append(await came(writer, "delivered", effect))
        with looking(tmp_path) as db:
            assert breaches(db) == []
            return [verdicts, [(check["expected"], check["state"]) for check in whole_run(db, RUN)["checks"]]]

    verdicts, checks = kept(tmp_path, told, story)
    assert verdicts == ["not-delivered", "not-delivered"]
    assert checks == [(expected, "passed"), ("desk0", "passed"), ("other", "failed")]


def test_why_names_it_for_what_failed_and_not_for_what_was_refused() -> None:
    for state, verb in (("failed", "redeliver"), ("refused", "effects"), ("withheld", "effects")):
        effect = {"state": state, "kind": "message", "target": "slack", "detail": "HTTP 404"}
        assert delivery({"id": RUN, "state": "completed", "effects": [effect]}).fix == f"minion {verb} {RUN}"


def test_who_watches_hears_of_what_came_of_it_and_not_of_the_attempt(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        run_id, owner = await scene.undelivered(), scene.routine_id("morning-report")

        async def own(db: Any) -> None:
            await db.execute("UPDATE runs SET routine_id = ?", (owner,))

        await scene.writer.transact(own)
        (opened,) = await scene.later()
        assert f"minion redeliver {run_id}" in opened
        ((effect,),) = rows(tmp_path, "SELECT id FROM effects WHERE state = 'failed'")
        await scene.writer.transact(
            lambda db: begin_again(db, run_id, effect, by="ada", means="webhook", now=AGAIN_AT)
        )
        assert (await scene.later(), scene.open()) == ([], [("morning-report", "not_delivered")])
        settled = Settlement("delivered", "HTTP 200 ok", AGAIN, None, None, AGAIN_AT)
        await scene.writer.transact(lambda db: settle_again(db, run_id, effect, settled, now=DONE_AT))
        (closed,) = await scene.later()
        assert ("is well again" in closed, scene.open()) == (True, [])

    played(tmp_path, story)
