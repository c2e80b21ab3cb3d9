"""An HQ in which everything happened that its log tells of: its store, to be held against the log."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from server.actions.cancel import cancel_run
from server.actions.decide import decide
from server.actions.desk import Desk
from server.actions.entrust import create_token, revoke_token, rotate_token
from server.actions.fire import run_routine
from server.actions.part import forget_minion
from server.actions.publish import create_routine, delete_routine, update_routine
from server.actions.sweep import sweep
from server.contract.digest import instant
from server.scheduling import tick
from server.storage import finding_store
from server.storage.database import Connection
from server.storage.event_store import append_event
from server.storage.tables import RUNS
from tests.server.desks import ADMIN, REVIEWER, Clock, client_of, desk_at
from tests.server.joined_minions import act, rows
from tests.server.tampering import BLOCKS, CODES
from tests.server.test_joining import report
from tests.server.wired_minions import WiredMinion, taken
from tests.server.wired_minions import refused as turned_down

PERSON: Final = replace(REVIEWER, door="cli")


def lived_in(folder: Path) -> Path:
    """The store of an HQ with runs that went well, were called off, are late and under way, and all the rest."""

    async def lived() -> None:
        clock = Clock()
        async with desk_at(folder, clock) as desk:
            await _routines_and_tokens(desk)
            await _gaps_and_decisions(desk)
            await desk.database.transact(_late, at=instant(clock()), until=instant(clock() + timedelta(days=1)))
            await _runs(desk)
            clock.pass_(days=30)
            await desk.database.transact(sweep, now=clock())
            async with client_of(desk) as asker:
                await asker.ask("ledger_start_run", routine="nightly")
            await _minions(desk, clock)

    asyncio.run(lived())
    return folder / "hq" / "hq.db"


async def _routines_and_tokens(desk: Desk) -> None:
    await WiredMinion(desk, "alice").hello()
    for name in ("nightly", "weekly"):
        await act(desk, create_routine, {"name": name, "content": "Sum up."}, who=ADMIN)
    await act(desk, update_routine, "nightly", {"content": "Sum it all up."}, who=ADMIN)
    made = await act(desk, create_token, "laptop", "session", who=ADMIN)
    await act(desk, rotate_token, made["id"], who=ADMIN)
    await act(desk, rotate_token, made["id"], who=ADMIN)  # the older one is revoked
    away = await act(desk, create_token, "away", "admin", who=ADMIN)
    await act(desk, revoke_token, away["id"], who=ADMIN)
    await act(desk, create_token, "pager", "fire", routine="weekly", who=ADMIN)
    await act(desk, run_routine, desk.processes, "weekly", who=ADMIN)
    await act(desk, delete_routine, "weekly", who=ADMIN)  # its token ends, and what waits of it


async def _gaps_and_decisions(desk: Desk) -> None:
    async with client_of(desk) as asker:
        ended = ("LLM-APPROVED", "LLM-REJECTED", "LLM-WITHDRAWN", "LLM-DECLINED")
        for code in (*ended, "LLM-OPEN", "LLM-AGAIN", "LLM-LATE"):
            for number in range(3):
                said = {"gap_type": "skill", "requested_code": code, "description": f"No. {number}"}
                await asker.ask("record_gap", **said)
            if code in ("LLM-APPROVED", "LLM-REJECTED", "LLM-WITHDRAWN", "LLM-AGAIN"):
                await asker.ask("resolve_gap", gap=code, resolution="propose", reason="A skill.")
            if code in ("LLM-WITHDRAWN", "LLM-DECLINED"):
                await asker.ask("resolve_gap", gap=code, resolution="decline", reason="Not now.")
        for waiting in (await asker.ask("list_decisions"))["decisions"]:
            word = {"APPROVED": "approve", "REJECTED": "reject"}.get(_code(waiting).removeprefix("LLM-"))
            if word is not None:
                await act(desk, decide, waiting["id"], word, digest=waiting["digest"], who=PERSON)


async def _minions(desk: Desk, clock: Clock) -> None:
    """Runs reported and under way, orders taken, refused and withdrawn, routines moved, and HQ's own schedule."""
    alice, bob = WiredMinion(desk, "alice"), await WiredMinion(desk, "bob").hello(engines=("script",))
    hourly = {"name": "hourly", "content": "Look.", "cron_expression": "0 * * * *", "scheduled_by": "hq"}
    await act(desk, create_routine, hourly, minion="alice", who=ADMIN)
    moves = {**hourly, "name": "moved", "scheduled_by": "minion"}
    await act(desk, create_routine, moves, minion="alice", who=ADMIN)
    await alice.catch_up()
    clock.pass_(hours=1)
    await tick(desk, 10.0)
    done, halted = (await alice.poll())["orders"]
    await alice.poll(taken(done), turned_down(halted, "It is halted."))
    told = await alice.report({**report(done["run"], 3), "routine": done["routine"]})
    assert told["taken"] == [[done["run"], 3]]
    going_on = report("run_01" + "B" * 20, 1, "running", outcome="unknown", verdict="running", ended_at=None)
    await alice.report({**going_on, "routine": "moved"})
    await act(desk, cancel_run, going_on["id"], who=ADMIN)
    await act(desk, update_routine, "moved", {}, minion="bob", who=ADMIN)
    await alice.catch_up()
    await bob.catch_up()
    await act(desk, update_routine, "moved", {}, minion="alice", who=ADMIN)
    clock.pass_(hours=1)
    await tick(desk, 10.0)
    await WiredMinion(desk, "carl").hello()
    await act(desk, forget_minion, "carl", who=ADMIN)


def _late(connection: Connection, *, at: str, until: str) -> None:
    """A proposal that nobody answers in time."""
    gap = finding_store.find_gap(connection, "LLM-LATE")
    said = {"requested_code": "LLM-LATE"}
    decision = finding_store.ask(connection, "gap", gap.id, "Late?", said, by="test", now=at, expires_at=until)
    finding_store.set_gap(connection, gap.id, state="proposed", decision_id=decision)
    append_event(connection, "gap.proposed", {"gap": gap.id, "decision": decision}, actor="test", now=at)


def _code(decision: dict[str, Any]) -> str:
    return str(decision["evidence"]["requested_code"])


async def _runs(desk: Desk) -> None:
    async with client_of(desk) as asker:
        for number in range(4):
            run = (await asker.ask("ledger_start_run", routine="nightly"))["run"]
            if number == 0:
                await act(desk, cancel_run, run, who=ADMIN)
                continue
            for block, code in zip(BLOCKS, CODES, strict=True):
                await asker.ask("ledger_start_block", run=run, block=block)
                await asker.ask("ledger_log_step", run=run, block=block, steps=[{"code": code}])
                if number < 3:
                    await asker.ask("ledger_finish_block", run=run, block=block)
                else:
                    break
            if number < 3:
                outcome = "success" if number == 1 else "partial"
                await asker.ask("ledger_finish_run", run=run, outcome=outcome, summary="Done.")
        await act(desk, run_routine, desk.processes, "nightly", who=ADMIN)  # it waits for its minion
    assert {row.state for row in await rows(desk, RUNS)} >= {"cancelled", "completed", "queued"}
