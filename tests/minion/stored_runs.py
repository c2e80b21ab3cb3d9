"""Stores in a test's folder, and runs told to them event by event as a runner would tell them."""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, TypeVar

from minion.store.local_db import create, read_only
from minion.store.run_end import end_run
from minion.store.run_log import move, open_run, take_event
from minion.store.writer import Writer, open_writer
from minion.wire import Event, Order, OrderedRepository, OrderedSkill
from server.contract.digest import CROCKFORD, digest_of
from server.contract.quota import Limits
from server.contract.run import RunState
from server.contract.topology import CanonicalBlock, canonical_blocks

T = TypeVar("T")
MINION_ID: Final = "6f1f8a52-3a51-4d1c-9a43-2f6f6f1d9d10"
NOW: Final = "2026-01-05T09:00:00.000Z"
LATER: Final = "2026-01-05T09:05:00.000Z"
ROUTINE_ID: Final = "trig_0100000000000000000000"
PROCESS: Final = (
    CanonicalBlock("040.001.01", "rigid", ("TSK-VALIDATE-TRIGGER",)),
    CanonicalBlock("040.001.02", "rigid", ("SCR-CLONE-REPO",)),
    CanonicalBlock("040.001.03", "elastic", ("LLM-EXECUTE-PROMPT",)),
    CanonicalBlock("040.001.04", "rigid", ("SCR-PUSH-BRANCH",)),
)
CODES: Final = tuple(block.code for block in PROCESS)


def numbered_id(prefix: str, number: int) -> str:
    """The same well-formed id for the same number."""
    digits = ""
    for _ in range(20):
        number, digit = divmod(number, 32)
        digits = CROCKFORD[digit] + digits
    return f"{prefix}01{digits}"


def make_order(
    number: int = 1, *, routine: str = "morning-report", pipeline: Sequence[str] = (), key: str | None = None
) -> Order:
    """The order of the numbered run of a routine; with no pipeline it is a plain prompt."""
    skills = tuple(
        OrderedSkill(name, f"LLM-{name.upper()}", "/s", "sha256:0", None, pinned=True) for name in pipeline
    )
    run_id = numbered_id("run_", number)
    return Order(
        run_id=run_id,
        session_id=numbered_id("session_", number),
        key=key or f"key {number}",
        trigger="manual",
        routine={"id": ROUTINE_ID, "name": routine, "content": "Say hello"},
        routine_digest=digest_of(routine),
        minion_id=MINION_ID,
        agent="tester",
        engine="script",
        process="WF-ROUTINE-EXEC",
        variant="V01",
        blocks=canonical_blocks(PROCESS, [skill.code for skill in skills]),
        block_names={code: f"Block {code[-2:]}" for code in CODES},
        skills=skills,
        report_skill=OrderedSkill(
            "execution-report", "LLM-EXECUTION-REPORT", "/s", "sha256:0", None, pinned=True
        ),
        repositories=(OrderedRepository("shop", "/srv/shop", None, local=True),),
        limits=Limits(),
        sandbox="none",
        effects=("message:slack",),
        since=NOW,
        timezone="Europe/Berlin",
        run_dir=f"/nowhere/{run_id}",
        outbox_dir="/nowhere/outbox",
        secrets_file="/nowhere/secrets.json",
        search_path="/usr/bin:/bin",
    )


def _skill(name: str) -> OrderedSkill:
    return OrderedSkill(name, f"LLM-{name.upper()}", "/s", "sha256:0", None, pinned=True)


class Teller:
    """Collects the events of one run, numbered from 1; each method tells one or two of them."""

    def __init__(self, number: int = 1) -> None:
        self.run_id = numbered_id("run_", number)
        self.events: list[Event] = []
        self._number = number
        self._block: str | None = None
        self._steps = 0
        self._effects = 0

    def tell(self, type_: str, **data: Any) -> Teller:
        """One event of the open block."""
        self.events.append(Event(len(self.events) + 1, NOW, type_, self._block, data))
        return self

    def enter(self, code: str) -> Teller:
        """A block begins."""
        self._block = code
        kind = next((block.kind for block in PROCESS if block.code == code), "rigid")
        return self.tell("block.started", name=f"Block {code[-2:]}", kind=kind)

    def leave(self, state: str = "completed", why: str | None = None) -> Teller:
        """The open block ends."""
        return self.tell("block.finished", state=state, why=why)

    def begin_step(self, code: str, kind: str = "step") -> Teller:
        """A step begins."""
        self._steps += 1
        return self.tell("step.started", **self._said(code, kind))

    def end_step(self, code: str, state: str = "completed", kind: str = "step") -> Teller:
        """The step that began last ends."""
        ended = {"state": state, "why": None, "started_at": NOW, "digest_out": digest_of(None)}
        return self.tell("step.finished", **self._said(code, kind), **ended)

    def step(self, code: str, state: str = "completed", kind: str = "step") -> Teller:
        """A whole step."""
        return self.begin_step(code, kind).end_step(code, state, kind)

    def skip_step(self, code: str) -> Teller:
        """A step that was never begun."""
        self._steps += 1
        ended = {"state": "skipped", "why": "an earlier one failed", "started_at": None}
        return self.tell("step.finished", **self._said(code, "step"), **ended, digest_out=digest_of(None))

    def block(self, code: str, *steps: str, state: str = "completed") -> Teller:
        """A whole block with these steps."""
        self.enter(code)
        for step in steps:
            self.step(step)
        return self.leave(state)

    def stage(self, kind: str = "message", target: str = "slack", state: str = "staged") -> str:
        """An effect is staged; its id."""
        self._effects += 1
        effect_id = numbered_id("eff_", self._number * 100 + self._effects)
        key = hashlib.sha256(effect_id.encode()).hexdigest()
        told = {
            "id": effect_id,
            "key": key,
            "ordinal": self._effects,
            "kind": kind,
            "target": target,
            "title": None,
        }
        self.tell("effect.staged", **told, digest="sha256:0", bytes=5, state=state, detail=None)
        return effect_id

    def intend(self, effect_id: str) -> Teller:
        """An effect is about to be performed."""
        return self.tell("effect.intent", id=effect_id, key="k")

    def settle(self, effect_id: str, state: str, destination: str | None = None) -> Teller:
        """An effect ended."""
        return self.tell(
            "effect.result", id=effect_id, state=state, detail="d", destination=destination, reverse=None
        )

    def perform(self, state: str, target: str = "slack", kind: str = "message") -> Teller:
        """An effect from staged to settled."""
        effect_id = self.stage(kind, target)
        return self.intend(effect_id).settle(effect_id, state, f"{target} webhook")

    def report(self, outcome: str = "success", summary: str = "All done.", details: Any = "") -> Teller:
        """The execution report."""
        return self.tell(
            "report", outcome=outcome, summary=summary, details=details, note=None, filed_by="session"
        )

    def beginning(self) -> Teller:
        """The two rigid blocks before the session, and the session opened."""
        self.block(CODES[0], "TSK-VALIDATE-TRIGGER").block(CODES[1], "SCR-CLONE-REPO").enter(CODES[2])
        session = numbered_id("session_", self._number)
        return self.tell("session.opened", session_id=session, engine="script", sandbox="unsandboxed")

    def plain(self) -> Teller:
        """A prompt's whole run, up to the report and the last block, without effects or checks."""
        self.beginning().step("LLM-EXECUTE-PROMPT").report().leave()
        return self.block(CODES[3], "SCR-PUSH-BRANCH")

    def _said(self, code: str, kind: str) -> dict[str, Any]:
        return {
            "number": self._steps,
            "code": code,
            "kind": kind,
            "agent": "tester",
            "digest_in": digest_of(None),
        }


@asynccontextmanager
async def open_store(folder: Path) -> AsyncIterator[Writer]:
    """The writer of the store in a folder, made when there is none."""
    path = folder / "minion.db"
    if not path.exists():
        create(path, MINION_ID)
    async with open_writer(path) as writer:
        yield writer


def with_store(folder: Path, story: Callable[[Writer], Awaitable[T]]) -> T:
    """What `story` answers, given the writer of the folder's store."""

    async def opened() -> T:
        async with open_store(folder) as writer:
            return await story(writer)

    return asyncio.run(opened())


async def start(writer: Writer, order: Order) -> None:
    """Open a run and take it to `running`."""

    async def open_it(db: Any) -> None:
        await open_run(db, order, folder=order.run_dir, lock={"engine": order.engine}, now=NOW)
        path: tuple[RunState, ...] = ("draft", "validated", "queued", "running")
        for before, after in pairwise(path):
            await move(db, order.run_id, before, after, now=NOW)

    await writer.transact(open_it)


async def take(writer: Writer, told: Teller, events: Iterable[Event] | None = None) -> list[bool]:
    """Have the store take the events (all told so far), each in a transaction of its own."""
    chosen = list(told.events if events is None else events)

    def taker(event: Event) -> Awaitable[bool]:
        return writer.transact(lambda db: take_event(db, told.run_id, event))

    return list(await asyncio.gather(*(taker(event) for event in chosen)))


async def perform(
    writer: Writer, order: Order, told: Teller, end: RunState = "completed", *, why: str | None = None
) -> RunState:
    """A whole run: started, told, ended; its final state."""
    await start(writer, order)
    await take(writer, told)
    return await writer.transact(lambda db: end_run(db, order.run_id, end, now=LATER, why=why))


def keep_plain_runs(folder: Path, *numbers: int) -> list[str]:
    """Keep the plain prompt runs with these numbers, completed; their ids."""

    async def story(writer: Writer) -> list[str]:
        for number in numbers:
            await perform(writer, make_order(number), Teller(number).plain())
        return [numbered_id("run_", number) for number in numbers]

    return with_store(folder, story)


@cache
def _three_runs() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        keep_plain_runs(Path(folder), 1, 2, 3)
        return (Path(folder) / "minion.db").read_bytes()


def put_three_runs(folder: Path) -> Path:
    """A store of the plain runs 1, 2 and 3 as an owner left it, made once and copied; its path."""
    path = folder / "minion.db"
    path.write_bytes(_three_runs())
    return path


@contextmanager
def looking(folder: Path) -> Iterator[sqlite3.Connection]:
    """A read-only connection to the folder's store."""
    with read_only(folder / "minion.db") as db:
        yield db


def rows(folder: Path, query: str, *values: Any) -> list[tuple[Any, ...]]:
    """What a read-only reader of the folder's store gets for a query."""
    with looking(folder) as db:
        return [tuple(row) for row in db.execute(query, values).fetchall()]


def tamper(folder: Path, *statements: str) -> None:
    """Change the file as someone would who owns it: with every guard dropped first."""
    connection = sqlite3.connect(folder / "minion.db", isolation_level=None)
    try:
        triggers = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall()
        for (name,) in triggers:
            connection.execute(f'DROP TRIGGER "{name}"')
        for statement in statements:
            assert connection.execute(statement).rowcount != 0, statement
    finally:
        connection.close()
