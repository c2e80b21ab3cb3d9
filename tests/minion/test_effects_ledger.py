"""The ledger of effects: what is unknown is listed until it is settled, once, and the run's verdict follows."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from minion.daemon.reconciler import SETTLING_S, settling_s
from minion.store.effects_ledger import (
    READ_BACK,
    Settlement,
    note_effect,
    settle_effect,
    unknown_effects,
)
from minion.store.overview import unsettled_effects
from minion.store.routines import keep_routine
from minion.store.run_end import end_run, prune
from minion.store.run_history import breaches, seal_of
from minion.store.run_resume import MOST_RESUMES, interrupted_runs, reopen, spent_s, why_not_resumed
from minion.store.standing import set_halt
from minion.store.writer import Writer
from server.contract.refusals import BadUse, NotFound, Refused
from server.contract.run import EffectState
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

RUN = numbered_id("run_", 1)
FIRST, SECOND = numbered_id("eff_", 101), numbered_id("eff_", 102)
DECIDED = {numbered_id("eff_", 103): "failed", numbered_id("eff_", 104): "withheld"}
DOCUMENT = {"name": "morning-report", "id": ROUTINE_ID, "minion_id": None, "content": "Say hello", "resume": True}
SOON = datetime(2026, 1, 5, 9, 30, tzinfo=UTC)


def unsure() -> Teller:
    """A run that ended with one message unknown and one delivered."""
    teller = Teller().plain()
    teller.intend(teller.stage(target="slack"))
    return teller.perform("delivered", "ops")


def said(state: EffectState, by: str = "ada", **fields: Any) -> Settlement:
    """A settlement in somebody's words."""
    return Settlement(state, f"{by} says so", by, **fields)


def kept(folder: Path, *tellers: Teller, then: Callable[[Writer], Awaitable[Any]] | None = None) -> Any:
    """What `then` answers once these runs, numbered from 1, are kept."""

    async def story(writer: Writer) -> Any:
        await writer.transact(lambda db: keep_routine(db, DOCUMENT, source="f", replace=False, now=NOW))
        for number, teller in enumerate(tellers, 1):
            await perform(writer, make_order(number), teller)
        return await then(writer) if then is not None else None

    return with_store(folder, story)


def settling(text: str, settled: Settlement) -> Callable[[Writer], Awaitable[Any]]:
    """Settles an effect."""
    return lambda writer: writer.transact(lambda db: settle_effect(db, text, settled, now=LATER))


TRUTHS = "SELECT delivery, verdict FROM runs"


@pytest.mark.promise("EFF-1")
def test_an_unknown_effect_of_an_ended_run_is_listed_until_it_is_settled(tmp_path: Path) -> None:
    kept(tmp_path, unsure())
    assert rows(tmp_path, TRUTHS) == [("unknown", "unknown")]
    with looking(tmp_path) as db:
        assert unsettled_effects(db) == [
            {
                "id": FIRST, "run": RUN, "routine": "morning-report", "kind": "message", "target": "slack",
                "destination": None, "since": NOW, "detail": "interrupted: whether it happened is not known",
            }
        ]  # fmt: skip
    with_store(tmp_path, settling(FIRST, said("delivered")))
    with looking(tmp_path) as db:
        assert unsettled_effects(db) == []


@pytest.mark.parametrize(
    ("state", "truths", "since"),
    [("delivered", ("delivered", "ok"), NOW), ("failed", ("failed", "not-delivered"), None)],
)
def test_the_verdict_follows_a_settlement_and_the_log_stays_intact(
    tmp_path: Path, state: EffectState, truths: tuple[str, str], since: str | None
) -> None:
    settled = said(state, destination="slack webhook", reverse=None)
    answer = kept(tmp_path, unsure(), then=settling(FIRST, settled))
    assert answer == {
        "effect": FIRST, "run": RUN, "routine": "morning-report", "kind": "message", "target": "slack",
        "state": state, "verdict": truths[1],
    }  # fmt: skip
    assert rows(tmp_path, TRUTHS) == [truths]
    assert rows(tmp_path, "SELECT delivery_target FROM runs") == [("slack webhook, ops webhook",)]
    assert rows(tmp_path, "SELECT state, detail, settled_at FROM effects ORDER BY ordinal")[0] == (
        state, "ada says so", LATER,
    )  # fmt: skip
    assert rows(tmp_path, "SELECT last_delivered_at FROM routines") == [(since,)]
    (event,) = rows(tmp_path, "SELECT seq, data FROM events WHERE type = 'effect.settled'")
    assert (event[0], json.loads(event[1])) == (
        None, {"id": FIRST, "state": state, "detail": "ada says so", "by": "ada"},
    )  # fmt: skip
    with looking(tmp_path) as db:
        assert breaches(db) == []
        seal = seal_of(db, RUN)
        assert seal is not None
        assert (seal["verdict"], seal["settled"]) == (truths[1], FIRST)
    assert rows(tmp_path, "SELECT count(*) FROM home_chain WHERE kind = 'run'") == [(2,)]


@pytest.mark.parametrize(
    ("text", "kind", "code"),
    [
        (SECOND, Refused, "effect_settled"),
        ("eff_01", BadUse, "ambiguous"),
        ("eff_01ZZZZ", NotFound, "no_such_effect"),
        ("slack", NotFound, "no_such_effect"),
    ],
)
def test_only_one_unknown_effect_can_be_settled(
    tmp_path: Path, text: str, kind: type[Refused], code: str
) -> None:
    before = kept(tmp_path, unsure()) or rows(tmp_path, "SELECT count(*) FROM events")
    with pytest.raises(kind) as refused:
        with_store(tmp_path, settling(text, said("failed")))
    assert refused.value.code == code
    assert rows(tmp_path, "SELECT count(*) FROM events") == before


def test_an_effect_is_settled_once(tmp_path: Path) -> None:
    kept(tmp_path, unsure(), then=settling(FIRST, said("delivered")))
    with pytest.raises(Refused, match="it is delivered") as refused:
        with_store(tmp_path, settling(FIRST, said("failed")))
    assert refused.value.code == "effect_settled"
    assert rows(tmp_path, TRUTHS) == [("delivered", "ok")]


def test_a_look_at_an_earlier_intent_settles_nothing(tmp_path: Path) -> None:
    with pytest.raises(Refused) as refused:
        kept(tmp_path, unsure(), then=settling(FIRST, said("failed", READ_BACK, intended_at=LATER)))
    assert refused.value.code == "effect_settled"
    with_store(tmp_path, settling(FIRST, said("failed", READ_BACK, intended_at=NOW)))


def test_an_effect_of_a_run_that_goes_on_is_neither_listed_nor_settled(tmp_path: Path) -> None:
    async def story(writer: Writer) -> None:
        await start(writer, make_order())
        teller = Teller().beginning()
        await take(writer, teller.intend(teller.stage()).settle(FIRST, "unknown"))
        assert await writer.transact(unknown_effects) == []
        await writer.transact(lambda db: settle_effect(db, FIRST, said("failed"), now=LATER))

    with pytest.raises(Refused) as refused:
        with_store(tmp_path, story)
    assert refused.value.code == "effect_under_way"
    with looking(tmp_path) as db:
        assert unsettled_effects(db) == []


def test_what_was_seen_of_an_effect_that_stays_unknown_is_noted(tmp_path: Path) -> None:
    def note(writer: Writer) -> Awaitable[None]:
        async def both(db: Any) -> None:
            for effect in (FIRST, SECOND):
                await note_effect(db, effect, "the remote could not be asked")

        return writer.transact(both)

    kept(tmp_path, unsure(), then=note)
    details = rows(tmp_path, "SELECT detail FROM effects ORDER BY ordinal")
    assert details == [("the remote could not be asked",), ("d",)]


@pytest.mark.promise("EFF-1")
def test_a_run_with_an_unsettled_effect_is_not_pruned_and_a_settled_one_is_no_newer_than_its_end(
    tmp_path: Path,
) -> None:
    def pruning(keep: int) -> Callable[[Writer], Awaitable[list[str]]]:
        return lambda writer: writer.transact(lambda db: prune(db, keep=keep, now=LATER))

    kept(tmp_path, unsure(), Teller(2).plain(), Teller(3).plain())
    assert with_store(tmp_path, pruning(1)) == [f"/nowhere/{numbered_id('run_', 2)}"]
    with_store(tmp_path, settling(FIRST, said("delivered")))
    assert with_store(tmp_path, pruning(1)) == [f"/nowhere/{RUN}"]
    with looking(tmp_path) as db:
        assert breaches(db) == []


@pytest.mark.parametrize(
    ("age_s", "left"), [(0.0, SETTLING_S), (1.0, SETTLING_S - 1), (SETTLING_S, 0.0), (600.0, -597.0), (-5.0, 0.0)]
)
def test_what_was_just_sent_has_a_moment_to_arrive(age_s: float, left: float) -> None:
    assert settling_s(SOON - timedelta(seconds=age_s), SOON) == pytest.approx(left)


async def unsure_run(scene: Scene, number: int) -> str:
    """A run whose message is unknown; the effect's id."""
    teller = Teller(number).plain()
    effect = teller.stage()
    await perform(scene.writer, make_order(number), teller.intend(effect))
    return effect


def test_who_watches_counts_a_run_once_whose_effect_is_settled_later(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        effect = await unsure_run(scene, 7)
        assert len(await scene.later()) == 1
        await scene.writer.transact(lambda db: settle_effect(db, effect, said("failed"), now=LATER))
        await scene.later()
        await scene.run("failed")
        await scene.later()
        (failing,) = [alert for alert in scene.alerts() if alert["kind"] == "failing"]
        assert "went wrong 2 times in a row" in failing["text"]

    played(tmp_path, story)


def test_an_effect_of_the_newest_run_that_arrived_after_all_is_a_recovery_and_of_an_older_one_none(
    tmp_path: Path,
) -> None:
    async def story(scene: Scene) -> None:
        older = await unsure_run(scene, 7)
        await scene.later()
        newer = await unsure_run(scene, 8)
        await scene.later()
        await scene.writer.transact(lambda db: settle_effect(db, older, said("delivered"), now=LATER))
        assert (await scene.later(), len(scene.open())) == ([], 1)
        await scene.writer.transact(lambda db: settle_effect(db, newer, said("delivered"), now=LATER))
        (text,) = await scene.later()
        assert "is well again after 2 bad runs" in text
        assert scene.open() == []

    played(tmp_path, story)


def cut_off() -> Teller:
    """A run that was cut off in its last block: one effect unknown, one never begun."""
    teller = Teller().beginning().step("LLM-EXECUTE-PROMPT").report().leave().enter(CODES[3])
    teller.begin_step("SCR-PUSH-BRANCH")
    first = teller.stage(target="slack")
    teller.stage(target="ops")
    teller.perform("failed", "desk")
    teller.settle(teller.stage("push", "shop:claude/fix"), "withheld")
    return teller.intend(first)


def interrupted(folder: Path, then: Callable[[Writer], Awaitable[Any]]) -> Any:
    """What `then` answers once that run is kept, interrupted."""

    async def story(writer: Writer) -> Any:
        await writer.transact(lambda db: keep_routine(db, DOCUMENT, source="f", replace=False, now=NOW))
        await perform(writer, make_order(), cut_off(), "interrupted", why="killed")
        return await then(writer)

    return with_store(folder, story)


@pytest.mark.promise("RES-1")
def test_a_reopened_run_has_left_to_do_what_was_not_begun_or_did_not_arrive(tmp_path: Path) -> None:
    async def story(writer: Writer) -> tuple[Any, Any, Any]:
        found = await writer.transact(lambda db: interrupted_runs(db, now=SOON))
        first = await writer.transact(lambda db: reopen(db, RUN, now=SOON))
        again = await writer.transact(lambda db: reopen(db, RUN, now=SOON))
        return [run.run_id for run in found], first, again

    found, first, again = interrupted(tmp_path, story)
    assert (found, again) == ([RUN], "it is not interrupted")
    # What its runner itself had found failed, or withheld, stays so.
    assert (first.effects, first.resumes) == ({FIRST: "unknown", SECOND: "staged", **DECIDED}, 1)
    assert rows(tmp_path, "SELECT state, verdict, ended_at, why, summary FROM runs") == [
        ("running", "running", None, None, "All done."),
    ]  # fmt: skip
    states = ["unknown", "staged", "failed", "withheld"]
    assert rows(tmp_path, "SELECT state FROM effects ORDER BY ordinal") == [(state,) for state in states]
    with looking(tmp_path) as db:
        assert breaches(db) == []


@pytest.mark.promise("RES-1")
def test_what_is_known_not_to_have_arrived_is_left_to_do_and_what_did_is_not(tmp_path: Path) -> None:
    async def story(writer: Writer) -> Any:
        await writer.transact(lambda db: settle_effect(db, FIRST, said("failed"), now=LATER))
        return await writer.transact(lambda db: reopen(db, RUN, now=SOON))

    assert interrupted(tmp_path, story).effects == {FIRST: "staged", SECOND: "staged", **DECIDED}


async def _paused(db: Any) -> None:
    await keep_routine(db, {**DOCUMENT, "paused": True}, source="f", replace=True, now=LATER)


async def _not_allowed(db: Any) -> None:
    await keep_routine(db, {**DOCUMENT, "resume": False}, source="f", replace=True, now=LATER)


async def _removed(db: Any) -> None:
    await db.execute("UPDATE routines SET removed_at = ?", (LATER,))


async def _halted(db: Any) -> None:
    await set_halt(db, "enough", at=LATER)


@pytest.mark.promise("RES-1")
@pytest.mark.parametrize(
    ("change", "why"),
    [
        (_not_allowed, "its routine does not allow it"),
        (_removed, "its routine does not allow it"),
        (_paused, "its routine is paused"),
        (_halted, "the minion is halted"),
    ],
    ids=["not allowed", "removed", "paused", "halted"],
)
def test_a_run_goes_on_only_where_everything_allows_it(
    tmp_path: Path, change: Callable[[Any], Awaitable[None]], why: str
) -> None:
    async def story(writer: Writer) -> tuple[Any, ...]:
        await writer.transact(change)
        found = await writer.transact(lambda db: interrupted_runs(db, now=SOON))
        return found, await writer.transact(lambda db: reopen(db, RUN, now=SOON))

    assert interrupted(tmp_path, story) == ([], why)
    assert rows(tmp_path, "SELECT state FROM runs") == [("interrupted",)]


def test_a_run_goes_on_within_a_day_and_so_many_times(tmp_path: Path) -> None:
    late = SOON + timedelta(hours=24)

    async def story(writer: Writer) -> list[Any]:
        said = [await writer.transact(lambda db: why_not_resumed(db, RUN, now=late))]
        for _ in range(MOST_RESUMES):
            await writer.transact(lambda db: reopen(db, RUN, now=SOON))
            await writer.transact(_interrupt)
        return [*said, await writer.transact(lambda db: why_not_resumed(db, RUN, now=SOON))]

    assert interrupted(tmp_path, story) == ["it was interrupted over 24 hours ago", "it was resumed 3 times"]


async def _interrupt(db: Any) -> None:
    await end_run(db, RUN, "interrupted", now=LATER, why="killed again")


def test_a_run_that_was_being_stopped_does_not_go_on(tmp_path: Path) -> None:
    async def story(writer: Writer) -> Any:
        await writer.transact(lambda db: keep_routine(db, DOCUMENT, source="f", replace=False, now=NOW))
        teller = Teller().beginning().step("LLM-EXECUTE-PROMPT", "cancelled").leave("cancelled")
        await perform(writer, make_order(), teller, "interrupted")
        return await writer.transact(lambda db: why_not_resumed(db, RUN, now=SOON))

    assert with_store(tmp_path, story) == "it was being stopped when it was interrupted"


def test_only_the_time_of_a_runs_sessions_counts_as_spent(tmp_path: Path) -> None:
    later = "2026-01-05T09:40:00.000Z"  # ten minutes after it went on

    async def story(writer: Writer) -> list[float]:
        await writer.transact(lambda db: keep_routine(db, DOCUMENT, source="f", replace=False, now=NOW))
        teller = Teller().beginning()
        teller.events[-1] = replace(teller.events[-1], at=LATER)
        await perform(writer, make_order(), teller, "interrupted")
        spent = [await writer.transact(lambda db: spent_s(db, RUN))]
        await writer.transact(lambda db: reopen(db, RUN, now=SOON))
        told = replace(teller.tell("log", level="info", text="on").events[-1], at=later)
        await take(writer, teller, [told])
        await writer.transact(_interrupt)
        return [*spent, await writer.transact(lambda db: spent_s(db, RUN))]

    assert with_store(tmp_path, story) == [300.0, 900.0]
