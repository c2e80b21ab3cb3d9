"""Reads the events of a run as they were written down, and finds those of one step."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any

from server.contract.refusals import NotFound


class EventReader:
    """Reads the events of a run as it goes on: each once, in order, however often it is asked."""

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._ordinal = 0
        self._under_way: list[str] = []
        self.seq = 0

    def more(self, db: sqlite3.Connection) -> list[dict[str, Any]]:
        """The events since the last call, as `run_events` has them; `seq` is then the runner's newest number."""
        query = (
            "SELECT ordinal, seq, at, type, block, data FROM events WHERE run_id = ? AND ordinal > ?"
            " ORDER BY ordinal"
        )
        found: list[dict[str, Any]] = []
        for row in db.execute(query, (self._run_id, self._ordinal)).fetchall():
            event = {name: row[name] for name in ("seq", "at", "type", "block")}
            data = json.loads(row["data"])
            if event["type"] == "step.started":
                self._under_way.append(data["code"])
            found.append({**event, "step": _step_of(event, data, self._under_way), "data": data})
            if event["type"] == "step.finished" and data["code"] in self._under_way:
                self._under_way.remove(data["code"])
            self._ordinal, self.seq = row["ordinal"], max(self.seq, event["seq"] or 0)
        return found


def run_events(db: sqlite3.Connection, run_id: str) -> list[dict[str, Any]]:
    """A run's events in order: `seq` (null for the supervisor's own), `at`, `type`, `block`, `step`, `data`.

    `step` is the code of the step during which the runner said it, null outside one.
    """
    return EventReader(run_id).more(db)


def _step_of(event: dict[str, Any], data: dict[str, Any], under_way: list[str]) -> str | None:
    if event["type"].startswith("step."):
        return str(data["code"])
    return under_way[-1] if under_way and event["seq"] is not None else None


def within_step(events: Sequence[dict[str, Any]], text: str) -> list[dict[str, Any]]:
    """The events of one step from its start to its end: by code, number or skill; or of a block by its code.

    Raises `NotFound`, its hint naming the steps there are.
    """
    if any(event["block"] == text for event in events):
        return [event for event in events if event["block"] == text]
    found: dict[int, dict[str, Any]] = {}
    for start, end in _spans(events):
        part = events[start : end + 1]
        data = part[0]["data"]
        skills = {event["data"]["skill"] for event in part if event["type"] == "skill.result"}
        if text.upper() == data["code"].upper() or text == str(data["number"]) or text in skills:
            found |= {start + offset: event for offset, event in enumerate(part)}
    if not found:
        codes = dict.fromkeys(events[start]["data"]["code"] for start, _ in _spans(events))
        hint = f"name one of: {', '.join(codes)}" if codes else "leave --step out: the run came to no step"
        raise NotFound("no_such_step", f"The run has no step {text[:80]!r}.", hint=hint)
    return [found[place] for place in sorted(found)]


def _spans(events: Sequence[dict[str, Any]]) -> list[tuple[int, int]]:
    """First and last event of each step; a skipped one has but its end, an interrupted one goes on to the last."""
    spans = []
    starts: dict[int, int] = {}
    for place, event in enumerate(events):
        if event["type"] == "step.started":
            starts[event["data"]["number"]] = place
        elif event["type"] == "step.finished":
            spans.append((starts.pop(event["data"]["number"], place), place))
    return sorted([*spans, *((start, len(events) - 1) for start in starts.values())])
