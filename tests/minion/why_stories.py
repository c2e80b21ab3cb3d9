"""Stores of one routine that is due on weekdays at nine in Berlin, made step by step, and what `why` says of them.

Monday the 5th of January 2026 is the day: it was due at 08:00 UTC, and `NOW` is an hour later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from minion.store.decisions import ask_about_lock
from minion.store.local_db import read_only
from minion.store.routines import find_routine, keep_routine, note_file
from minion.store.run_end import end_run
from minion.store.slots import SlotRecord, SlotState, advance, claim, settle
from minion.store.standing import first_up, set_halt
from minion.store.writer import Writer
from minion.why.asked import read_asked
from minion.why.chain import Chain, Facts, zone_of
from minion.why.walk import explain
from server.contract.digest import parse_instant
from server.contract.run import RunState
from tests.minion.stored_runs import (
    CODES,
    LATER,
    NOW,
    ROUTINE_ID,
    Teller,
    make_order,
    open_store,
    start,
    take,
)

Step = Callable[[Writer], Awaitable[None]]
ADDED: Final = "2026-01-01T00:00:00.000Z"
DUE: Final = "2026-01-05T08:00:00.000Z"
TRIGGER: Final = "0 9 * * 1-5|Europe/Berlin"
KEY: Final = "0 9 * * 1-5|Europe/Berlin|2026-01-05T09:00"
DOCUMENT: Final[Mapping[str, Any]] = {
    "name": "morning-report", "id": ROUTINE_ID, "pipeline": [], "content": "Say hello", "paused": False,
    "scheduled_by": "minion", "timezone": "Europe/Berlin", "engine": None, "overlap": "skip", "catch_up": "latest",
    "catch_up_window_s": None, "stagger_s": 0, "cron_expression": "0 9 * * 1-5",
    "triggers": [{"type": "schedule", "cron": "0 9 * * 1-5", "timezone": "Europe/Berlin"}],
}  # fmt: skip
UP: Final[Mapping[str, Any]] = {"pid": 4711, "health": "ok", "trouble": [], "stopping": False}


def kept(at: str = ADDED, **changes: Any) -> Step:
    """The routine is kept as it is, but for these changes."""

    async def step(writer: Writer) -> None:
        document = {**DOCUMENT, **changes}
        await writer.transact(lambda db: keep_routine(db, document, source="f", replace=True, now=at))

    return step


def been_up(at: str = ADDED, until: str = NOW) -> Step:
    """A daemon first came up `at`, and has handled what was due `until` then."""

    async def step(writer: Writer) -> None:
        await writer.transact(lambda db: first_up(db, now=at))
        await writer.transact(lambda db: advance(db, [(ROUTINE_ID, TRIGGER, until)]))

    return step


def slot(
    state: SlotState, why: str | None = None, *, run: int | None = None, noticed: str = DUE, settled: str = DUE,
    count: int = 1, decision: str | None = None,
) -> Step:  # fmt: skip
    """Monday's slot and what became of it."""

    async def step(writer: Writer) -> None:
        key = KEY if count == 1 else f"missed {count} until {KEY}"
        opens = state if state in ("missed", "skipped") and run is None else "due"
        record = SlotRecord(
            ROUTINE_ID, "morning-report", TRIGGER, key, DUE, "2026-01-05T09:00+01:00", count, opens,
            why if opens != "due" else None,
        )  # fmt: skip
        await writer.transact(lambda db: claim(db, record, now=noticed))
        if state in ("ran", "late"):
            run_id = Teller(run or 1).run_id
            await writer.transact(lambda db: settle(db, ROUTINE_ID, key, state, now=settled, run_id=run_id))
        update = "UPDATE slots SET state = ?, why = ?, decision_id = ? WHERE key = ?"
        if state == "held" or decision is not None:
            await writer.transact(lambda db: db.execute(update, (state, why, decision, key)))

    return step


def run(
    number: int = 1, told: Teller | None = None, end: RunState | None = "completed", *, why: str | None = None,
    hint: str | None = None,
) -> Step:  # fmt: skip
    """A run of the routine; with `end` None it goes on."""

    async def step(writer: Writer) -> None:
        order = make_order(number)
        await start(writer, order)
        await take(writer, told or Teller(number).plain())
        if end is not None:
            await writer.transact(lambda db: end_run(db, order.run_id, end, now=LATER, why=why, hint=hint))

    return step


def reported(outcome: str, summary: str) -> Teller:
    """A whole run with this report."""
    told = Teller().beginning().step("LLM-EXECUTE-PROMPT").report(outcome, summary).leave()
    return told.block(CODES[3], "SCR-PUSH-BRANCH")


def sent(state: str) -> Teller:
    """A whole run with one message in its last block."""
    told = Teller().beginning().step("LLM-EXECUTE-PROMPT").report().leave().enter(CODES[3])
    return told.perform(state).step("SCR-PUSH-BRANCH").leave()


def halted(why: str = "the key leaked") -> Step:
    """The minion is halted."""

    async def step(writer: Writer) -> None:
        await writer.transact(lambda db: set_halt(db, why, at=NOW))

    return step


def bad_file(problem: str) -> Step:
    """The routine's file is bad."""

    async def step(writer: Writer) -> None:
        await writer.transact(lambda db: note_file(db, "morning-report", "f", "s", problem))

    return step


def asked_decision(found: list[str]) -> Step:
    """Something it runs with has changed; the decision's id is put on the list."""

    async def step(writer: Writer) -> None:
        decision = await writer.transact(
            lambda db: ask_about_lock(db, ROUTINE_ID, "morning-report", {"skill a": "2"}, ["skill a"], now=NOW)
        )
        found.append(decision.id)

    return step


def explained(
    folder: Path, *steps: Step, at: str | None = None, now: str = NOW, daemon: Mapping[str, Any] | None = UP,
    alerts: Mapping[str, str] | None = None, engine: str = "script", files: Sequence[str] = ("morning-report",),
    secrets: Sequence[str] = (),
) -> Chain:  # fmt: skip
    """What is said of the routine after these steps; `at` is what somebody asks about."""

    async def tell() -> None:
        async with open_store(folder) as writer:
            for step in steps:
                await step(writer)

    asyncio.run(tell())
    facts = Facts(parse_instant(now), "UTC", engine, daemon, files, secrets)
    with read_only(folder / "minion.db") as db:
        kept_ = find_routine(db, "morning-report")
        zone = zone_of(kept_.document, "UTC")
        asked = None if at is None else read_asked(at, zone, facts.now)
        return explain(db, kept_, facts, asked=asked, alerts=alerts)


def ends(chain: Chain) -> tuple[str, str, str | None]:
    """The link that the walk stopped at, its state, and the command that mends it."""
    return chain.end.name, chain.end.state, chain.end.fix


def moment(text: str) -> datetime:
    """A UTC instant as it is written."""
    return datetime.fromisoformat(text)
