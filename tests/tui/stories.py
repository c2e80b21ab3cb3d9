"""Homes with a week behind them, for the terminal view: stores told run by run, at a fixed time of a fixed Friday.

`FRIDAY` is 9:05 in Berlin on the 9th of January 2026. No daemon runs unless a test starts one.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

from minion.app import initialise
from minion.config import Config, Home, load_config, save_config
from minion.store.decisions import accept_lock, ask_about_lock
from minion.store.routines import keep_routine
from minion.store.run_end import end_run
from minion.store.run_log import move, open_run, take_event
from minion.store.slots import SlotRecord, SlotState, claim, settle
from minion.store.standing import first_up
from minion.store.writer import Writer, open_writer
from server.contract.digest import instant
from server.contract.run import RunState
from tests.minion.stored_runs import CODES, MINION_ID, Teller, create, make_order, numbered_id

FRIDAY: Final = datetime(2026, 1, 9, 8, 5, 12, tzinfo=UTC)
ZONE: Final = "Europe/Berlin"
Story = Callable[["Shelf"], Awaitable[None]]


def at_friday() -> datetime:
    """The fixed time of these stories."""
    return FRIDAY


def before(**since: float) -> datetime:
    """So long before Friday 9:05, as for `timedelta`."""
    return FRIDAY - timedelta(**since)


class Shelf:
    """A home whose store is being filled."""

    def __init__(self, home: Home, writer: Writer) -> None:
        self.home = home
        self.writer = writer
        self.routines: dict[str, str] = {}
        self._runs = 0

    async def routine(self, name: str, *, cron: str | None = None, **changes: Any) -> str:
        """A routine with a file; its id."""
        number = len(self.routines) + 1
        triggers = [] if cron is None else [{"type": "schedule", "cron": cron, "timezone": ZONE}]
        document = {
            "name": name, "id": numbered_id("trig_", number), "minion_id": MINION_ID, "pipeline": [],
            "content": "Say hello", "paused": False, "scheduled_by": "minion", "timezone": ZONE, "engine": None,
            "overlap": "skip", "catch_up": "latest", "catch_up_window_s": None, "stagger_s": 0,
            "cron_expression": cron, "triggers": triggers, "limits": {"dollars": 1.0}, "repositories": [],
            "notify": [], "expect": [], "lock": "warn", "resume": False, **changes,
        }  # fmt: skip
        (self.home.routines / f"{name}.json").write_text(json.dumps({"name": name}))
        self.routines[name] = document["id"]
        at = instant(before(days=40))
        await self.writer.transact(
            lambda db: keep_routine(db, document, source=f"{name}.json", replace=True, now=at)
        )
        return str(document["id"])

    async def run(
        self, name: str, began: datetime, *, seconds: float = 40, tell: Callable[[Teller], Any] | None = None,
        end: RunState | None = "completed", why: str | None = None, dollars: float | None = None,
        trigger: str = "schedule", engine: str = "script", pipeline: Sequence[str] = (),
    ) -> str:  # fmt: skip
        """A run of a routine, told by `tell`, else one that was delivered; its id. `end` None: it goes on."""
        self._runs += 1
        number = self._runs
        order = make_order(number, routine=name, pipeline=pipeline)
        folder = self.home.runs / order.run_id
        folder.mkdir(parents=True, exist_ok=True)
        order = replace(
            order, trigger=trigger, engine=engine, run_dir=str(folder),
            routine={**order.routine, "id": self.routines[name]},
        )  # fmt: skip
        told = Teller(number)
        (tell or delivered)(told)
        if dollars is not None:
            told.tell("usage", wall_ms=round(seconds * 1000), dollars=dollars, turns=12, tokens=18_400)
        await self._perform(order, told, began, seconds, end, why)
        return order.run_id

    async def _perform(
        self, order: Any, told: Teller, began: datetime, seconds: float, end: RunState | None, why: str | None
    ) -> None:
        pace = timedelta(seconds=seconds / max(1, len(told.events)))
        moments = [began + pace * number for number in range(len(told.events))]

        async def open_it(db: Any) -> None:
            lock = {"engine": order.engine}
            await open_run(db, order, folder=order.run_dir, lock=lock, now=instant(began))
            path: tuple[RunState, ...] = ("draft", "validated", "queued", "running")
            for one, other in pairwise(path):
                await move(db, order.run_id, one, other, now=instant(began))
            begun: dict[Any, str] = {}
            for event, moment in zip(told.events, moments, strict=True):
                data, at = dict(event.data), instant(moment)
                if event.type == "step.started":
                    begun[data["number"]] = at
                elif event.type == "step.finished" and data["started_at"] is not None:
                    data["started_at"] = begun.get(data["number"], at)
                await take_event(db, order.run_id, replace(event, at=at, data=data))
            if end is not None:
                ended = instant(began + timedelta(seconds=seconds))
                await end_run(db, order.run_id, end, now=ended, why=why)

        await self.writer.transact(open_it)

    async def slot(
        self, name: str, due: datetime, state: SlotState, *, run: str | None = None, why: str | None = None,
        count: int = 1,
    ) -> None:  # fmt: skip
        """A slot of a routine and what became of it."""
        shown = due.astimezone(ZoneInfo(ZONE)).isoformat()
        key = f"cron|{ZONE}|{instant(due)}"
        opens: SlotState = state if state in ("missed", "skipped") else "due"
        record = SlotRecord(
            self.routines[name], name, "cron", key, instant(due), shown, count=count, state=opens, why=why
        )
        await self.writer.transact(lambda db: claim(db, record, now=instant(due)))
        if state in ("ran", "late"):
            await self.writer.transact(
                lambda db: settle(db, self.routines[name], key, state, now=instant(due), run_id=run)
            )

    async def question(self, name: str) -> str:
        """A change of what a strict routine runs with, which waits for a person; the decision's id."""
        now = instant(before(hours=20))
        allowed = {"engine": "script", "skill:write-daily-report": "sha256:" + "1" * 64}
        changed = allowed | {"skill:write-daily-report": "sha256:" + "2" * 64}

        async def asked(db: Any) -> str:
            await accept_lock(db, self.routines[name], allowed, by="its first run", now=instant(before(days=9)))
            parts = ["skill:write-daily-report"]
            return (await ask_about_lock(db, self.routines[name], name, changed, parts, now=now)).id

        return await self.writer.transact(asked)


def delivered(told: Teller) -> Teller:
    """A plain run whose message arrived."""
    told.beginning().step("LLM-EXECUTE-PROMPT").report(summary="12 commits by 3 people, none left open.").leave()
    told.enter(CODES[3]).perform("delivered").step("SCR-PUSH-BRANCH").leave()
    return told


def not_delivered(told: Teller) -> Teller:
    """A run that wrote its report, which the webhook did not take."""
    told.beginning().step("LLM-EXECUTE-PROMPT").report(summary="9 commits by 2 people.").leave()
    told.enter(CODES[3])
    effect = told.stage()
    told.intend(effect)
    told.tell("effect.result", id=effect, state="failed", detail="HTTP 404: no_service",
              destination="slack webhook", reverse=None)  # fmt: skip
    return told.step("SCR-PUSH-BRANCH").leave()


def under_way(told: Teller) -> Teller:
    """A run that is in its session."""
    return told.beginning().begin_step("LLM-EXECUTE-PROMPT")


def lacking(told: Teller) -> Teller:
    """A run that could not do what it should, because it had no connector for it."""
    told.beginning().begin_step("LLM-EXECUTE-PROMPT")
    told.tell("gap", gap_type="connector", requested_code="HTTP-LINEAR",
              description="the connector linear is not configured")  # fmt: skip
    told.end_step("LLM-EXECUTE-PROMPT").report("partial", "The issues could not be read.").leave()
    return told.block(CODES[3], "SCR-PUSH-BRANCH")


async def a_week(shelf: Shelf) -> None:
    """What the issue draws: a report that did not arrive, a gap, a review under way, a routine that is paused."""
    await shelf.routine("morning-report", cron="0 9 * * 1-5")
    await shelf.routine("pr-review")
    await shelf.routine("weekly-digest", cron="0 17 * * 5", paused=True)
    for day in range(27, 0, -1):
        due = before(days=day, minutes=5, seconds=12)
        if due.weekday() < 5:
            run = await shelf.run("morning-report", due, seconds=50 + day % 9, dollars=0.11)
            await shelf.slot("morning-report", due, "ran", run=run)
    for number in range(19, 0, -1):
        await shelf.run(
            "pr-review", before(hours=6 * number), seconds=90 if number % 5 else 40, dollars=0.21, trigger="api",
            engine="claude-code", tell=lacking if number in (3, 7, 8) else None,
        )  # fmt: skip
    await shelf.run("weekly-digest", datetime(2025, 12, 12, 16, 0, tzinfo=UTC), seconds=70)
    due = before(minutes=5, seconds=12)
    run = await shelf.run("morning-report", due, seconds=55, tell=not_delivered, dollars=0.11)
    await shelf.slot("morning-report", due, "ran", run=run)


async def under_way_now(shelf: Shelf) -> None:
    """The week, and a review that goes on."""
    await a_week(shelf)
    await shelf.run(
        "pr-review", before(minutes=1, seconds=52), seconds=100, tell=under_way, end=None, trigger="api",
        engine="claude-code", dollars=0.08,
    )  # fmt: skip


async def held_one(shelf: Shelf) -> None:
    """The week, and a strict routine that waits for a person since its skill has changed."""
    await a_week(shelf)
    await shelf.routine("careful-audit", cron="30 7 * * *", lock="strict")
    await shelf.run("careful-audit", before(days=2), seconds=12)
    await shelf.question("careful-audit")


async def many_runs(shelf: Shelf) -> None:
    """As many runs as are kept, of 50 steps each."""

    def told(teller: Teller) -> None:
        teller.beginning()
        for number in range(47):
            teller.step(f"bash {number}", kind="tool_call")
        teller.step("LLM-EXECUTE-PROMPT").report().leave()
        teller.block(CODES[3], "SCR-PUSH-BRANCH")

    names = [f"routine-{number:02d}" for number in range(20)]
    for name in names:
        await shelf.routine(name, cron="0 * * * *")
    for number in range(200):
        await shelf.run(names[number % 20], before(hours=200 - number), tell=told, dollars=0.05)


def make_home(folder: Path, story: Story | None, *, name: str = "alice") -> tuple[Home, Config]:
    """A home with what the story tells; with None one in which nothing was added or run yet."""
    home = Home(folder / "home")
    initialise(home, name=name, timezone=ZONE)
    config = replace(load_config(home), minion_id=MINION_ID, engine="claude-code")
    save_config(home, config)
    if story is not None:
        create(home.store, MINION_ID)

        async def told() -> None:
            async with open_writer(home.store) as writer:
                await writer.transact(lambda db: first_up(db, now=instant(before(days=41))))
                await story(Shelf(home, writer))

        asyncio.run(told())
    return home, load_config(home)
