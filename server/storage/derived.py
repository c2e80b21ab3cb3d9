"""Whether what HQ shows follows from its log: its runs, tokens, gaps, decisions and routines as they stand.

The log is chained and these rows are not: what somebody wrote into them by hand is found by deriving them anew.
Runs stream by; of the others, of which there are few, what the log says is held.
"""

from __future__ import annotations

import heapq
import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import Any, Final, get_args

from server.contract.digest import digest_of
from server.contract.run import Truths, verdict_of
from server.domain.decision import digest_of_question
from server.domain.gap import GapState

# The tables that are derived; a breach in one is named by it.
SHOWN: Final = ("runs", "tokens", "gaps", "decisions", "routines")
_OPENED: Final = ("order_key", "routine_id", "routine", "trigger", "variant", "source")
_CLOSED: Final = ("verdict", "fingerprint", "conformance", "drift")
_RUN_EVENTS: Final = """SELECT run_id, type, data FROM events
    WHERE run_id IS NOT NULL AND type IN ('run.opened', 'run.moved', 'run.closed') ORDER BY run_id, entry"""
_RUNS: Final = f"SELECT id, state, {', '.join((*_CLOSED, *_OPENED))} FROM runs ORDER BY id"  # noqa: S608
# No event of a run has to do with the other tables, and no other event has an entry.
_EVENTS: Final = """SELECT type, actor, data FROM events
    WHERE run_id IS NULL AND entry IS NULL ORDER BY position"""
_ROWS: Final[Mapping[str, str]] = {
    "tokens": """SELECT id, name, scope, bound_to, digest, expires_at,
        CASE WHEN revoked_at IS NULL THEN 'live' ELSE 'revoked' END AS revoked_at FROM tokens ORDER BY position""",
    "gaps": "SELECT id, gap_type, requested_code, frequency, priority, state FROM gaps ORDER BY position",
    "decisions": """SELECT id, kind, subject, digest, expires_at, state, answered_by, question, evidence
        FROM decisions ORDER BY position""",
    "routines": """SELECT id, name, minion_id, digest,
        CASE WHEN removed_at IS NULL THEN 'in use' ELSE 'deleted' END AS removed_at, document
        FROM routines ORDER BY id""",
}
_LONGEST: Final = 80
_STATES: Final = get_args(GapState)
_ENDINGS: Final = ("approved", "rejected", "expired", "withdrawn")
_Row = dict[str, Any]


def departures(db: sqlite3.Connection) -> Iterator[tuple[str, str]]:
    """Each row that does not follow from the log: its table, and what is wrong. What is read is of one moment."""
    yield from (("runs", what) for what in _runs(db))
    said = _Said()
    for type_, actor, data in db.execute(_EVENTS):
        said.hear(str(type_), actor, _of(data))
    for table, query in _ROWS.items():
        yield from ((table, what) for what in _against(table, _rows(db, query), said.of[table]))


def place_of(value: Any) -> tuple[int, Any]:
    """Where SQLite sorts a value, whatever somebody put there: nothing, numbers, texts, bytes."""
    if value is None:
        return 0, 0
    if isinstance(value, str):
        return 2, value.encode("utf-8", "surrogateescape")
    return (3, value) if isinstance(value, bytes) else (1, value)


@dataclass(slots=True)
class _Said:
    """What the log says of each row of a table, by the row's id."""

    of: dict[str, dict[str, _Row]] = field(default_factory=lambda: {table: {} for table in _ROWS})

    def hear(self, type_: str, actor: Any, data: _Row) -> None:
        """Take in an event that belongs to no run."""
        kind, _, word = type_.partition(".")
        hears: Callable[[_Row, str, Any, _Row], None] | None = _HEARS.get(kind)
        row_id = data.get(kind)
        if hears is None or not isinstance(row_id, str):
            return
        rows = self.of[f"{kind}s"]
        if word in _FIRST[kind]:
            rows.setdefault(row_id, {})
        if row_id in rows:
            hears(rows[row_id], word, actor, data)


def _token(row: _Row, word: str, _: Any, data: _Row) -> None:
    if word == "created":
        names = ("name", "scope", "bound_to", "digest", "expires_at")
        row.update({name: data.get(name) for name in names} | {"revoked_at": "live"})
    elif word == "revoked":
        row["revoked_at"] = "revoked"


def _gap(row: _Row, word: str, _: Any, data: _Row) -> None:
    if word == "recorded":
        row.setdefault("state", "open")
        row.update({name: data.get(name) for name in ("gap_type", "requested_code", "frequency", "priority")})
    elif word in _STATES:
        row["state"] = word


def _decision(row: _Row, word: str, actor: Any, data: _Row) -> None:
    if word == "asked":
        row.update({name: data.get(name) for name in ("kind", "subject", "digest", "expires_at")})
        row.update(state="open", answered_by=None)
    elif word in _ENDINGS:
        row.update(state=word, answered_by=actor)


def _routine(row: _Row, word: str, _: Any, data: _Row) -> None:
    if word in ("created", "changed"):
        row.update(name=data.get("name"), minion_id=data.get("minion"), digest=data.get("digest"))
        row["removed_at"] = "in use"
    elif word == "deleted":
        row["removed_at"] = "deleted"


_HEARS: Final = {"token": _token, "gap": _gap, "decision": _decision, "routine": _routine}
_FIRST: Final = {"token": ("created",), "gap": ("recorded",), "decision": ("asked",), "routine": ("created",)}


def _runs(db: sqlite3.Connection) -> Iterator[str]:
    """Every run, and the events that say how it stands."""
    items = heapq.merge(
        (((place_of(row["run_id"]), 0), row) for row in _rows(db, _RUN_EVENTS)),
        (((place_of(row["id"]), 1), row) for row in _rows(db, _RUNS)),
        key=itemgetter(0),
    )
    for _, found in groupby(items, key=lambda item: item[0][0]):
        said: _Row = {}
        for (_, kind), row in found:
            if kind == 0:
                _hear_of_run(said, row["type"], _of(row["data"]))
            else:
                yield from _differences(row, _as_closed(said) if said else None)


def _hear_of_run(said: _Row, type_: str, data: _Row) -> None:
    if type_ == "run.opened":
        said.update({name: data.get(name) for name in _OPENED} | {"state": "draft"})
    elif type_ == "run.moved":
        said["state"] = data.get("to")
    else:
        said.update({name: data.get(name) for name in _CLOSED})


def _as_closed(said: _Row) -> _Row:
    """What a run that was not closed shows: it is under way, or was called off before it began."""
    if "verdict" not in said:
        verdict = verdict_of(Truths(said.get("state"), "unknown"))  # type: ignore[arg-type]
        said.update(verdict=verdict, fingerprint=None, conformance=None, drift=None)
    return said


def _against(table: str, rows: Iterator[_Row], said: dict[str, _Row]) -> Iterator[str]:
    """What does not follow of a table; an id that the log names and no row has is missing."""
    for row in rows:
        stands = said.pop(row["id"], None) if isinstance(row["id"], str) else None
        if stands is not None and table == "routines":
            row["document"], stands["document"] = _digest(row["document"]), stands.get("digest")
        if table == "decisions":
            question, evidence = row.pop("question"), row.pop("evidence")
            if stands is not None:
                row["question"], stands["question"] = _asked(row, question, evidence), stands.get("digest")
        yield from _differences(row, stands)
    yield from (f"{_shown(row_id)}: it is missing, and the log says that it was made" for row_id in said)


def _differences(row: _Row, said: _Row | None) -> Iterator[str]:
    if said is None:
        yield f"{_shown(row['id'])}: no event says that it was made"
        return
    for column, stands in said.items():
        if row[column] != stands:
            yield f"{_shown(row['id'])}: {column} is {_shown(row[column])}; the log says {_shown(stands)}"


def _digest(document: Any) -> str:
    try:
        return digest_of(json.loads(document))
    except (TypeError, ValueError, RecursionError):
        return "what is no document"


def _asked(row: _Row, question: Any, evidence: Any) -> str:
    try:
        return digest_of_question(row["kind"], row["subject"], question, json.loads(evidence))
    except (TypeError, ValueError, RecursionError):
        return "what is no question"


def _of(data: Any) -> _Row:
    """What an event says; nothing where somebody made it unreadable, which breaks its chain."""
    try:
        said = json.loads(data)
    except (TypeError, ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _rows(db: sqlite3.Connection, query: str) -> Iterator[_Row]:
    cursor = db.execute(query)
    names = [column[0] for column in cursor.description]
    return (dict(zip(names, values, strict=True)) for values in cursor)


def _shown(value: Any) -> str:
    """A value in one line, whatever somebody put there."""
    if value is None:
        return "nothing"
    plain = isinstance(value, str) and value.isprintable() and value
    return (value if plain else ascii(value))[:_LONGEST]
