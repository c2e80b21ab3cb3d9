"""Which interrupted runs go on, when by themselves and what a person may have go on; told by stores alone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from minion.daemon.later import Later
from minion.store.routines import keep_routine
from minion.store.run_end import end_run
from minion.store.run_resume import (
    MOST_RESUMES,
    PAUSES,
    Interrupted,
    interrupted_runs,
    reopen,
    to_resume_by_hand,
    why_not_resumed,
)
from minion.store.standing import set_halt
from minion.store.writer import Writer
from server.contract.digest import parse_instant
from server.contract.refusals import Refused
from tests.minion.stored_runs import (
    LATER,
    NOW,
    ROUTINE_ID,
    Teller,
    make_order,
    numbered_id,
    perform,
    take,
    with_store,
)

RUN = numbered_id("run_", 1)
DOCUMENT = {"name": "morning-report", "id": ROUTINE_ID, "minion_id": None, "content": "Say hello", "resume": True}
SOON = datetime(2026, 1, 5, 9, 30, tzinfo=UTC)
API = {"state": "interrupted", "why": "The API is overloaded (529).", "hint": "minion resume"}


def stopped_by_the_api() -> Teller:
    """A run whose runner said itself that it cannot go on now."""
    teller = Teller().beginning().step("LLM-EXECUTE-PROMPT", "interrupted").leave("interrupted")
    return teller.tell("run.finished", **API)


def killed() -> Teller:
    """A run whose runner died in its session."""
    return Teller().beginning().begin_step("LLM-EXECUTE-PROMPT")


def interrupted(folder: Path, told: Teller, then: Callable[[Writer], Awaitable[Any]]) -> Any:
    """What `then` answers once a run is kept that was interrupted at `LATER`."""

    folder.mkdir(exist_ok=True)

    async def story(writer: Writer) -> Any:
        await writer.transact(lambda db: keep_routine(db, DOCUMENT, source="f", replace=False, now=NOW))
        await perform(writer, make_order(), told, "interrupted", why="so")
        return await then(writer)

    return with_store(folder, story)


@pytest.mark.promise("RES-1")
def test_a_run_that_the_api_stopped_waits_longer_each_time_and_one_that_died_not_at_all(tmp_path: Path) -> None:
    async def story(writer: Writer) -> list[Any]:
        teller, waits = stopped_by_the_api(), []
        for _ in range(MOST_RESUMES):
            (found,) = await writer.transact(lambda db: interrupted_runs(db, now=SOON))
            assert found.not_before is not None
            waits.append(found.not_before - parse_instant(LATER))
            await writer.transact(lambda db: reopen(db, RUN, now=SOON))
            again = teller.tell("run.finished", **API).events[-1]
            await take(writer, teller, [again])
            await writer.transact(lambda db: end_run(db, RUN, "interrupted", now=LATER, why="so"))
        return [*waits, await writer.transact(lambda db: interrupted_runs(db, now=SOON))]

    assert interrupted(tmp_path / "api", stopped_by_the_api(), story) == [*PAUSES, []]
    assert [pause.total_seconds() / 60 for pause in PAUSES] == [5, 15, 45]

    async def died(writer: Writer) -> Any:
        return [run.not_before for run in await writer.transact(lambda db: interrupted_runs(db, now=SOON))]

    assert interrupted(tmp_path / "died", killed(), died) == [None]


def test_what_waits_is_tried_when_its_time_has_come_and_once_only() -> None:
    run = Interrupted(RUN, ROUTINE_ID, "a", "/f", SOON)
    dead = Interrupted("run_2", ROUTINE_ID, "a", "/f")
    looks = []

    async def look() -> list[Interrupted]:
        looks.append(1)
        return [run, dead]

    async def story() -> list[list[Interrupted]]:
        later = Later(look)
        minute = timedelta(minutes=1)
        early = [await later.died(), await later.due(SOON - minute), await later.due(SOON - minute)]
        due = [await later.due(SOON), await later.due(SOON)]
        later.stir()
        again = [await later.due(SOON + minute)]
        # A clock that was set back by hours does not have it wait for them.
        other = Later(look)
        return [*early, *due, *again, await other.due(SOON - timedelta(hours=3))]

    assert asyncio.run(story()) == [[dead], [], [], [run], [], [], [run]]
    assert len(looks) == 4  # once for the dead, and once whenever something was stirred


async def _by_hand(writer: Writer, *, now: datetime = SOON, anyway: bool = False) -> str:
    """The code with which a person is refused; `goes on` when they are not."""
    try:
        await writer.transact(lambda db: to_resume_by_hand(db, RUN, now=now, anyway=anyway))
    except Refused as refusal:
        return refusal.code
    return "goes on"


async def _halted(db: Any) -> None:
    await set_halt(db, "enough", at=LATER)


async def _removed(db: Any) -> None:
    await db.execute("UPDATE routines SET removed_at = ?", (LATER,))


async def _again(db: Any) -> None:
    await reopen(db, RUN, now=SOON)


async def _called_off(db: Any) -> None:
    await reopen(db, RUN, now=SOON)
    await end_run(db, RUN, "cancelled", now=LATER, why="a person said so")


async def _paused(db: Any) -> None:
    await keep_routine(db, {**DOCUMENT, "paused": True}, source="f", replace=True, now=LATER)


async def _not_allowed(db: Any) -> None:
    await keep_routine(db, {**DOCUMENT, "resume": False}, source="f", replace=True, now=LATER)


@pytest.mark.promise("RES-2")
@pytest.mark.parametrize(
    ("change", "code"),
    [
        (_halted, "halted"), (_removed, "routine_removed"), (_again, "run_goes_on"),
        (_called_off, "not_interrupted"), (_paused, "goes on"), (_not_allowed, "goes on"),
    ],
    ids=["halted", "removed", "under way", "over", "paused", "not allowed"],
)  # fmt: skip
def test_a_person_is_refused_with_a_reason_or_has_the_run_go_on(
    tmp_path: Path, change: Callable[[Any], Awaitable[None]], code: str
) -> None:
    async def story(writer: Writer) -> Any:
        await writer.transact(change)
        return await _by_hand(writer)

    assert interrupted(tmp_path, killed(), story) == code


@pytest.mark.promise("RES-2")
def test_a_run_of_long_ago_goes_on_only_where_a_person_says_so_twice(tmp_path: Path) -> None:
    late = SOON + timedelta(hours=24)

    async def story(writer: Writer) -> Any:
        return [await _by_hand(writer, now=late), await _by_hand(writer, now=late, anyway=True)]

    assert interrupted(tmp_path, killed(), story) == ["long_interrupted", "goes on"]


def test_a_run_that_was_being_stopped_is_over_for_a_person_too(tmp_path: Path) -> None:
    told = Teller().beginning().step("LLM-EXECUTE-PROMPT", "cancelled").leave("cancelled")
    assert interrupted(tmp_path, told, _by_hand) == "was_stopped"


@pytest.mark.promise("RES-2")
def test_what_a_person_has_go_on_does_not_count_among_what_goes_on_by_itself(tmp_path: Path) -> None:
    async def story(writer: Writer) -> list[Any]:
        found = []
        for _ in range(MOST_RESUMES + 1):
            await writer.transact(lambda db: reopen(db, RUN, now=SOON, by_hand=True))
            await writer.transact(lambda db: end_run(db, RUN, "interrupted", now=LATER, why="killed again"))
            found.append(await writer.transact(lambda db: why_not_resumed(db, RUN, now=SOON)))
        return found

    assert interrupted(tmp_path, killed(), story) == [None] * (MOST_RESUMES + 1)
