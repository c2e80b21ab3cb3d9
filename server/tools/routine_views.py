"""What the tools of routines and runs show: routines, runs with their blocks and steps."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row

from server.actions.preflight import facts_of, last_run, preflight
from server.contract.digest import is_id
from server.contract.run import RunState
from server.domain import explanation
from server.storage import definition_store, routine_facts, run_store
from server.storage.database import Connection

MOST_STEPS: Final = 500
_STEP: Final = (
    "entry", "code", "kind", "state", "why", "agent", "attested", "started_at", "ended_at", "digest_in",
    "digest_out",
)  # fmt: skip
_RUN: Final = (
    "id", "routine", "routine_id", "minion_id", "trigger", "process", "variant", "source", "external_session",
    "state", "outcome", "delivery", "verdict", "summary", "details", "branch", "why", "fingerprint",
    "canonical_fingerprint", "claimed_topology", "conformance", "drift", "created_at", "started_at", "ended_at",
    "deadline_at",
)  # fmt: skip


def routines(connection: Connection, *, minion: str, limit: int, skip: int, now: datetime) -> dict[str, Any]:
    """Routines by name, each with its next instant and how its last run went. Raises `NotFound`."""
    minion_id = definition_store.find_minion(connection, minion).id if minion else None
    held = definition_store.list_routines(connection, minion_id=minion_id)
    joined = definition_store.list_minions(connection)
    found = []
    for routine in held[skip : skip + limit]:
        facts = facts_of(connection, routine, joined=joined)
        due = explanation.next_instants(facts, routine.id, now, 1)
        last = last_run(connection, routine.id)
        found.append({
            "id": routine.id, "name": routine.name, "minion": facts.minion, "paused": routine.document["paused"],
            "will_fire": explanation.hindrance(facts, due) is None, "next": due[0] if due else None,
            "schedules": [each["words"] for each in explanation.in_words(facts)],
            "last_run": None if last is None else {"run": last.id, "verdict": last.verdict, "at": last.at},
        })  # fmt: skip
    return {"routines": found, "total": len(held)}


def routine(connection: Connection, text: str, *, now: datetime) -> dict[str, Any]:
    """One routine whole: its document, version, and what `create_routine` answers of it. Raises `NotFound`."""
    held = definition_store.find_routine(connection, text)
    return {
        **preflight(connection, held, now=now), "document": held.document, "digest": held.digest,
        "created_at": held.created_at, "changed_at": held.changed_at,
        "runs": routine_facts.count_runs(connection, held.id),
    }  # fmt: skip


def runs(
    connection: Connection, *, text: str, state: RunState | None, limit: int, before: int | None
) -> dict[str, Any]:
    """The newest runs first; `before` of the answer goes on with older ones. Raises `NotFound`.

    A deleted routine's runs are found by its whole id.
    """
    routine_id = None
    if text:
        routine_id = text if is_id(text, "trig_") else definition_store.find_routine(connection, text).id
    rows = run_store.list_runs(connection, routine_id=routine_id, state=state, before=before, limit=limit + 1)
    found = [
        {"position": row.position, **{name: getattr(row, name) for name in run_store.LISTED}}
        for row in rows[:limit]
    ]  # fmt: skip
    return {"runs": found, "before": found[-1]["position"] if len(rows) > limit else None}


def run(connection: Connection, text: str, *, after: int) -> dict[str, Any]:
    """One run whole: blocks with their steps, how they compare, and its chain. Raises `NotFound`, `Refused`.

    At most 500 steps, those behind the entry `after`; `after` of the answer goes on.
    """
    row = run_store.find_run(connection, text)
    entered = {block.code: block for block in run_store.blocks_of(connection, row.id)}
    logged = run_store.steps_of(connection, row.id, after=after, limit=MOST_STEPS + 1)
    shown = [(step.block, _step(step)) for step in logged[:MOST_STEPS]]
    blocks = [
        _block(said, entered.get(said["code"]), [step for block, step in shown if block == said["code"]])
        for said in json.loads(row.canonical)
    ]  # fmt: skip
    return {
        **{name: getattr(row, name) for name in _RUN},
        "topology": json.loads(row.topology), "canonical": [code for each in blocks for code in each["canonical"]],
        "claim_matches": None if row.claimed_topology is None else row.claimed_topology == row.fingerprint,
        "first_difference": json.loads(row.first_difference) if row.first_difference else None,
        "blocks": blocks, "steps_of_no_block": [step for block, step in shown if block is None],
        "after": shown[-1][1]["entry"] if len(logged) > MOST_STEPS else None,
        "events": routine_facts.count_events(connection, row.id),
        "chain": {"head": row.head, "entries": row.entries},
    }  # fmt: skip


def _block(said: Mapping[str, Any], entered: Row[Any] | None, steps: list[dict[str, Any]]) -> dict[str, Any]:
    stands = {name: getattr(entered, name, None) for name in ("state", "why", "started_at", "ended_at")}
    return {
        "block": said["code"], "name": said["name"], "kind": said["kind"], "canonical": said["steps"], **stands,
        "steps": steps,
    }  # fmt: skip


def _step(step: Row[Any]) -> dict[str, Any]:
    return {**{name: getattr(step, name) for name in _STEP}, "cost": json.loads(step.cost)}
