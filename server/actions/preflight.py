"""What is answered about a routine before it runs: whether it will fire, when, on what, and who is told."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row

from server.domain import explanation
from server.domain.explanation import Facts, LastRun, Said
from server.storage import routine_facts
from server.storage.database import Connection
from server.storage.definition_store import HeldRoutine, list_minions


def facts_of(connection: Connection, held: HeldRoutine, *, joined: Sequence[Row[Any]] | None = None) -> Facts:
    """What is known of where a routine stands; `joined` are the minions, where they were read before."""
    names = [row.name for row in (list_minions(connection) if joined is None else joined)]
    minion = routine_facts.minion_of(connection, held.minion_id) if held.minion_id else None
    zone = explanation.known_zone(said_of(minion).get("timezone"))
    name = None if held.minion_id is None else held.minion_id if minion is None else minion.name
    left = held.minion_id is not None and (minion is None or minion.left_at is not None)
    return Facts(held.name, held.document, name, left, names, zone)


def preflight(connection: Connection, held: HeldRoutine, *, now: datetime) -> dict[str, Any]:
    """Whether a routine will fire and why not, its next instants, engine, cost, who is told, and warnings."""
    facts = facts_of(connection, held)
    due = explanation.next_instants(facts, held.id, now)
    standing = explanation.hindrance(facts, due)
    minion = routine_facts.minion_of(connection, held.minion_id) if held.minion_id else None
    said = said_of(minion)
    spent = routine_facts.dollars_of_runs(connection, held.id)
    estimate, words = explanation.cost_estimate(spent, held.document["limits"]["dollars"])
    return {
        "id": held.id, "name": held.name, "revision": held.revision,
        "minion": facts.minion, "will_fire": standing is None,
        "why_not": standing.sentence if standing else None, "do": standing.remedy if standing else None,
        "next": due, "schedules": explanation.in_words(facts),
        "engine": held.document["engine"] or said.get("engine") or "its minion's",
        "cost_estimate": estimate, "cost_note": words,
        "told_when_it_fails": explanation.told_when_it_fails(held.document["notify"] or said.get("notify") or ()),
        "warnings": explanation.warnings(facts),
    }  # fmt: skip


def explain(connection: Connection, held: HeldRoutine, *, now: datetime) -> dict[str, Any]:
    """Why a routine did not run or will not, in one sentence with what to do."""
    facts = facts_of(connection, held)
    due = explanation.next_instants(facts, held.id, now)
    standing = explanation.hindrance(facts, due)
    last = last_run(connection, held.id)
    said: Said = explanation.explained(standing, due, last)
    return {
        "id": held.id, "name": held.name, "minion": facts.minion, "will_fire": standing is None,
        "sentence": said.sentence, "do": said.remedy, "next": due, "schedules": explanation.in_words(facts),
        "last_run": None if last is None else {
            "run": last.id, "state": last.state, "verdict": last.verdict, "at": last.at, "why": last.why,
            "first_difference": last.difference,
        },
    }  # fmt: skip


def last_run(connection: Connection, routine_id: str) -> LastRun | None:
    """The newest run of a routine."""
    row = routine_facts.newest_run(connection, routine_id)
    if row is None:
        return None
    difference = json.loads(row.first_difference) if row.first_difference else None
    at = row.ended_at or row.started_at or row.created_at
    return LastRun(row.id, row.state, row.verdict, at, row.why, difference)


def said_of(minion: Row[Any] | None) -> dict[str, Any]:
    """What a minion said of itself as it joined; nothing for one that did not."""
    said = json.loads(minion.said) if minion is not None else {}
    return said if isinstance(said, dict) else {}
