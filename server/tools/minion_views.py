"""How minions stand, as `list_minions` and `hq minions` show it: what they said last, and what HQ makes of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row

from server.actions.preflight import said_of
from server.actions.watch import risks_of
from server.domain.legible import seconds_ago
from server.domain.silence import Awake
from server.queue import embedded
from server.storage import definition_store, notice_store, run_store
from server.storage.database import Connection
from server.storage.definition_store import HeldRoutine


def minions(connection: Connection, *, now: datetime) -> dict[str, Any]:
    """The minions that have joined, by name: what each said as it was seen, its slots at risk, what waits for it.

    A slot counts as at risk once HQ has looked: while HQ is away, nobody does.
    """
    held = definition_store.list_routines(connection)
    hq = notice_store.awake_of(connection)
    found = [_minion(connection, row, held, hq, now) for row in definition_store.list_minions(connection)]
    return {"minions": found, "routines_without_minion": sum(each.minion_id is None for each in held)}


def _minion(
    connection: Connection, row: Row[Any], held: Sequence[HeldRoutine], hq: Awake | None, now: datetime
) -> dict[str, Any]:
    said, live = said_of(row), json.loads(row.live)
    risks = risks_of(row, held, hq)
    seen = row.seen_at or row.joined_at
    silent = row.silent_since if (row.seen_at or "") <= (row.silent_since or "") else None
    return {
        "name": row.name, "id": row.id, "joined_at": row.joined_at, "seen_at": row.seen_at,
        "seen": seconds_ago(seen, now), "silent_since": silent,
        "version": said.get("version"), "engine": said.get("engine"), "timezone": said.get("timezone"),
        "roles": json.loads(row.roles), "health": live.get("health"),
        "running": [_run(connection, run_id) for run_id in live.get("running", ())],
        "next_due": live.get("next_due"),
        "slots_at_risk": [each.as_data() for each in risks.slots], "slots_at_risk_count": risks.count,
        "troubles": [_trouble(each, held) for each in live.get("troubles", ())],
        "routines": sum(routine.minion_id == row.id for routine in held),
        "orders_waiting": embedded.count_waiting(connection, row.id),
    }  # fmt: skip


def _run(connection: Connection, run_id: str) -> dict[str, Any]:
    """A run that goes on, and of which routine; None of one that HQ has not heard of yet."""
    run = run_store.known_run(connection, run_id)
    return {"run": run_id, "routine": None if run is None else run.routine}


def _trouble(said: Mapping[str, Any], held: Sequence[HeldRoutine]) -> dict[str, Any]:
    name = next((each.name for each in held if each.id == said["routine"]), None)
    return {"routine": name or said["routine"], "says": said["sentence"], "do": said["hint"]}
