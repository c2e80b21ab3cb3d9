"""What is answered about a routine before it runs: whether it will fire, when, on what, and who is told."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Row

from server.contract.digest import parse_instant
from server.domain import explanation
from server.domain.costing import cost_estimate
from server.domain.explanation import Facts, LastRun, Said
from server.domain.moving import HQ, seen_words, starter_of, waits_words
from server.domain.readiness import There
from server.domain.silence import SILENT_AFTER_S
from server.storage import routine_facts
from server.storage.database import Connection
from server.storage.definition_store import HeldRoutine, list_minions, newest_version


def facts_of(connection: Connection, held: HeldRoutine, *, joined: Sequence[Row[Any]] | None = None) -> Facts:
    """What is known of where a routine stands; `joined` are the minions, where they were read before."""
    names = [row.name for row in (list_minions(connection) if joined is None else joined)]
    minion = routine_facts.minion_of(connection, held.minion_id) if held.minion_id else None
    zone = explanation.known_zone(said_of(minion).get("timezone"))
    name = None if held.minion_id is None else held.minion_id if minion is None else minion.name
    left = held.minion_id is not None and (minion is None or minion.left_at is not None)
    published = {skill for skill in held.document["pipeline"] if newest_version(connection, skill)}
    return Facts(held.name, held.document, name, left, names, zone, _there(minion, held), published)


def preflight(connection: Connection, held: HeldRoutine, *, now: datetime) -> dict[str, Any]:
    """Whether a routine will fire and why not, its next instants, engine, cost, who is told, and warnings."""
    facts = facts_of(connection, held)
    due = explanation.next_instants(facts, held.id, now)
    standing = explanation.hindrance(facts, due)
    moving = on_its_way(connection, held, facts, now)
    minion = routine_facts.minion_of(connection, held.minion_id) if held.minion_id else None
    said = said_of(minion)
    spent = routine_facts.dollars_of_runs(connection, held.id)
    engine = held.document["engine"] or said.get("engine")
    estimate, words = cost_estimate(
        held.document, spent, engine=engine, schedules=explanation.schedules_of(facts), now=now
    )
    return {
        "id": held.id, "name": held.name, "revision": held.revision,
        "minion": facts.minion, "will_fire": standing is None,
        "started_by": _starter(held, facts.minion) if moving is None else moving["from"],
        "why_not": standing.sentence if standing else None, "do": standing.remedy if standing else None,
        "moving": moving, "next": due, "schedules": explanation.in_words(facts),
        "engine": engine or "its minion's",
        "cost_estimate": estimate, "cost_note": words,
        "told_when_it_fails": explanation.told_when_it_fails(held.document["notify"] or said.get("notify") or ()),
        "warnings": [*explanation.warnings(facts), *_remarks(held, minion, now)],
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
        "sentence": said.sentence, "do": said.remedy, "moving": on_its_way(connection, held, facts, now),
        "next": due, "schedules": explanation.in_words(facts),
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


def on_its_way(
    connection: Connection, held: HeldRoutine, facts: Facts, now: datetime
) -> dict[str, Any] | None:
    """What may still fire where, of a routine that another one has not let go of yet; None where nothing may."""
    old = None if held.released_by is None else routine_facts.minion_of(connection, held.released_by)
    if old is None:
        return None
    new = None if held.minion_id is None else routine_facts.minion_of(connection, held.minion_id)
    to = _starter(held, None if new is None else new.name) or "nobody"
    there = replace(facts, zone=explanation.known_zone(said_of(old).get("timezone")))
    due = [] if held.document["paused"] else explanation.next_instants(there, held.id, now)
    return {
        "from": old.name, "to": to, "waits_for": old.name, "seen_at": old.seen_at,
        "may_still_fire_there": due, "says": waits_words(old.name, old.seen_at, to, due, now),
    }  # fmt: skip


def said_of(minion: Row[Any] | None) -> dict[str, Any]:
    """What a minion said of itself as it joined; nothing for one that did not."""
    said = json.loads(minion.said) if minion is not None else {}
    return said if isinstance(said, dict) else {}


def _starter(held: HeldRoutine, minion: str | None) -> str | None:
    """Who starts a routine by its schedule, by name; None where it has no minion."""
    starter = starter_of(held.document, held.minion_id)
    return starter if starter is None else "HQ" if starter == HQ else minion


def _there(minion: Row[Any] | None, held: HeldRoutine) -> There | None:
    """What the minion of a routine said of itself, and of this routine."""
    if minion is None or minion.left_at is not None:
        return None
    said, live = said_of(minion), json.loads(minion.live)
    troubles = [
        (str(each["sentence"]), each.get("hint")) for each in live.get("troubles") or ()
        if each["routine"] == held.id
    ]  # fmt: skip
    return There(minion.name, said.get("engines"), said.get("skills"), said.get("connectors"), troubles)


def _remarks(held: HeldRoutine, minion: Row[Any] | None, now: datetime) -> list[str]:
    """What whoever looks at a routine should know of who starts it."""
    found: list[str] = []
    if minion is None or minion.left_at is not None:
        return found
    if starter_of(held.document, held.minion_id) == HQ:
        found.append("HQ starts it: while HQ is down nothing does, and then its rule of catching up counts.")
    if minion.seen_at is not None and (now - parse_instant(minion.seen_at)).total_seconds() >= SILENT_AFTER_S:
        found.append(f"{seen_words(minion.name, minion.seen_at, now)}.")
    return found
