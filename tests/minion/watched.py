"""A watchdog on a real store, with a clock that tests set and a list in place of those who are told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from minion.config import Config
from minion.daemon.courier import Outcome
from minion.daemon.watchdog import Watchdog
from minion.store.alerts import list_alerts, unsent_notices
from minion.store.routines import keep_routine
from minion.store.slots import SlotRecord, SlotState, claim, settle
from minion.store.watches import begin_watching
from minion.store.writer import Writer
from server.contract.digest import instant, parse_instant
from server.contract.refusals import Refused
from server.contract.run import RunState
from tests.minion.stored_runs import LATER, MINION_ID, Teller, looking, make_order, open_store, perform

SLACK: Mapping[str, Any] = {"slack": "slack_webhook"}
COMMAND: Mapping[str, Any] = {"command": ["/bin/tell", "us"]}
NAME = "morning-report"


class Scene:
    """A watchdog over a store: a clock that tests set, a list of what was sent, and answers that tests choose."""

    def __init__(self, folder: Path, writer: Writer) -> None:
        self.folder = folder
        self.writer = writer
        self.now = parse_instant(LATER)
        self.config = Config(MINION_ID, "desk", notify=(SLACK,))
        self.sent: list[Mapping[str, Any]] = []
        self.answer: Callable[[Mapping[str, Any]], Outcome] = lambda _: Outcome("sent")
        self.paused: list[str] = []
        self.refuses: Refused | None = None
        self.there: set[str] = set()
        self._runs = 0
        self._documents: dict[str, dict[str, Any]] = {}
        self.restart()

    def restart(self) -> None:
        """A new watchdog, as the next daemon has it."""
        self.dog = Watchdog(
            self.writer, lambda: self.now, config=lambda: self.config, send=self._send, pause=self._pause,
            there=lambda name: name in self.there,
        )  # fmt: skip

    async def routine(self, name: str = NAME, **said: Any) -> None:
        """Keep a routine; another one of its name takes its place."""
        watch = {"failures": 1, "pause_after": None, "cost_rise": 3.0, "ping": None} | said.pop("watch", {})
        document = {"name": name, "id": None, "paused": False, "notify": [], "watch": watch} | said
        self._documents[name] = document
        await self._keep(document)
        self.there.add(name)

    def routine_id(self, name: str) -> str:
        """The id of a routine."""
        with looking(self.folder) as db:
            return str(db.execute("SELECT id FROM routines WHERE name = ?", (name,)).fetchone()[0])

    async def run(
        self, end: RunState = "completed", name: str = NAME, *, why: str = "the door is shut", **usage: float
    ) -> str:
        """One run of a routine; all but a completed one end before they did anything. `usage`: what it cost."""
        self._runs += 1
        order, told = make_order(self._runs, routine=name), Teller(self._runs)
        if end == "completed":
            told.plain()
            if usage:
                told.tell("usage", **usage)
            await perform(self.writer, order, told, end)
        else:
            await perform(self.writer, order, told, end, why=why)
        return order.run_id

    async def undelivered(self) -> str:
        """One run whose message failed."""
        self._runs += 1
        told = Teller(self._runs)
        told.beginning().step("LLM-EXECUTE-PROMPT").report().leave().enter("040.001.04")
        told.perform("failed").step("SCR-PUSH-BRANCH").leave()
        await perform(self.writer, make_order(self._runs, routine=NAME), told)
        return told.run_id

    async def slot(self, state: SlotState, hour: int, *, name: str = NAME, why: str | None = None) -> None:
        """One slot of a routine, settled."""
        at = f"2026-01-05T{hour:02}:00"
        owner = self.routine_id(name)
        slot = SlotRecord(owner, name, "@hourly|UTC", at, f"{at}:00.000Z", f"{at}+00:00")

        async def happen(db: Any) -> None:
            await claim(db, slot, now=instant(self.now))
            await settle(db, slot.routine_id, slot.key, state, now=instant(self.now), why=why)

        await self.writer.transact(happen)

    async def later(self, seconds: float = 60) -> list[str]:
        """Let time pass, take in what happened and send what is due: the texts that went out."""
        before = len(self.sent)
        await self.dog.take_in()
        self.now += timedelta(seconds=seconds)
        await self.dog.send_due()
        return [item["text"] for item in self.sent[before:] if "text" in item]

    def open(self, **asked: Any) -> list[tuple[str, str]]:
        """The (routine, kind) of the open alerts."""
        return sorted((alert["routine"], alert["kind"]) for alert in self.alerts(**asked))

    def alerts(self, **asked: Any) -> list[dict[str, Any]]:
        """What a listing says."""
        with looking(self.folder) as db:
            return list_alerts(db, **asked)

    def unsent(self) -> int:
        """How many notices did not arrive, or not yet."""
        with looking(self.folder) as db:
            return unsent_notices(db)

    async def _send(self, items: Sequence[Mapping[str, Any]]) -> list[Outcome]:
        self.sent += items
        return [self.answer(item) for item in items]

    async def _pause(self, name: str) -> None:
        if self.refuses is not None:
            raise self.refuses
        self.paused.append(name)
        await self._keep(self._documents[name] | {"paused": True})

    async def _keep(self, document: Mapping[str, Any]) -> None:
        now = instant(self.now)
        await self.writer.transact(lambda db: keep_routine(db, document, source="here", replace=True, now=now))


def played(folder: Path, story: Callable[[Scene], Awaitable[None]]) -> None:
    """Tell a story to a fresh watchdog of a store with one routine."""

    async def play() -> None:
        async with open_store(folder) as writer:
            scene = Scene(folder, writer)
            await scene.routine()
            await writer.transact(begin_watching)
            await story(scene)

    asyncio.run(play())
