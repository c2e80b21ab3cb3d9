"""Whether what HQ shows follows from its log: runs, orders, routines and all else as they stand.

The log is chained and these rows are not: what somebody wrote into them by hand is found by deriving them anew.
Runs and orders stream by; of the others, of which there are few, what the log says is held. What older versions
did not log of a row is not looked at.
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
from server.domain.decision import EVENT_OF, STATE_OF, Carried, digest_of_question
from server.domain.gap import GapState

# The tables that are derived; a breach in one is named by it.
SHOWN: Final = ("runs", "orders", "tokens", "gaps", "decisions", "minions", "routines", "schedules")
_OPENED: Final = ("order_key", "routine_id", "routine", "trigger", "variant", "source")
_CLOSED: Final = ("verdict", "fingerprint", "conformance", "drift")
_TRUTHS: Final = ("outcome", "delivery")
_RUN_EVENTS: Final = """SELECT run_id AS id, type, data FROM events WHERE run_id IS NOT NULL
    AND type IN ('run.opened', 'run.moved', 'run.closed', 'run.reported') ORDER BY run_id, entry"""
_RUNS: Final = f"""SELECT id, state, {', '.join((*_CLOSED, *_OPENED, *_TRUTHS))}, reported, summary, details
    FROM runs ORDER BY id"""  # noqa: S608
# The first version put one order for each run, and did not always say which.
_ORDER_EVENTS: Final = """SELECT CASE WHEN json_valid(data)
        THEN coalesce(json_extract(data, '$.order'), 'order_' || substr(run_id, 5)) END AS id, type, data, run_id
    FROM events WHERE type IN ('order.queued', 'order.settled', 'order.withdrawn', 'order.moved', 'order.let_out')
    ORDER BY 1, position"""
_ORDERS: Final = """SELECT id, "key", minion_id, kind, routine_id, run_id, state, body FROM orders ORDER BY id"""
_PUT: Final[Mapping[str, str]] = {
    "key": "key", "minion": "minion_id", "kind": "kind", "routine": "routine_id", "body": "body",
}  # fmt: skip
# No event of a run has to do with the other tables, and no other event has an entry.
_EVENTS: Final = """SELECT type, actor, data FROM events
    WHERE run_id IS NULL AND entry IS NULL AND type NOT LIKE 'order.%' ORDER BY position"""
_ROWS: Final[Mapping[str, str]] = {
    "tokens": """SELECT id, name, scope, bound_to, digest, expires_at,
        CASE WHEN revoked_at IS NULL THEN 'live' ELSE 'revoked' END AS revoked_at FROM tokens ORDER BY position""",
    "gaps": """SELECT id, gap_type, requested_code, frequency, priority, state, sent_back FROM gaps
        ORDER BY position""",
    "decisions": """SELECT id, kind, subject, digest, expires_at, state, answered_by, why, minion_id, carried,
        question, evidence FROM decisions ORDER BY position""",
    "routines": """SELECT id, name, minion_id, digest,
        CASE WHEN removed_at IS NULL THEN 'in use' ELSE 'deleted' END AS removed_at, document, scheduled_by,
        handled_until, released_by FROM routines ORDER BY id""",
    "minions": """SELECT id, name, CASE WHEN left_at IS NULL THEN 'here' ELSE 'left' END AS left_at, silent_since,
        said FROM minions ORDER BY id""",
    "schedules": "SELECT routine_id || ' ' || \"trigger\" AS id, handled_until FROM schedules ORDER BY id",
}
_LONGEST: Final = 80
_STATES: Final = get_args(GapState)
# How a decision stands by the word of the event that ended it, and what a minion says of an answer to a hold.
_ENDINGS: Final[Mapping[str, str]] = {
    **{event: STATE_OF[answer] for answer, event in EVENT_OF.items()}, "expired": "expired",
    "withdrawn": "withdrawn",
}  # fmt: skip
_CARRIED: Final = get_args(Carried)
_Row = dict[str, Any]


def departures(db: sqlite3.Connection) -> Iterator[tuple[str, str]]:
    """Each row that does not follow from the log: its table, and what is wrong. What is read is of one moment."""
    yield from (("runs", what) for what in _runs(db))
    yield from (("orders", what) for what in _orders(db))
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
        if word == _OVER:
            rows.pop(row_id, None)
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
        row.setdefault("sent_back", None)
        row.update({name: data.get(name) for name in ("gap_type", "requested_code", "frequency", "priority")})
    elif word in _STATES:
        row.update(state=word, sent_back=data.get("sent_back"))


def _decision(row: _Row, word: str, actor: Any, data: _Row) -> None:
    if word == "asked":
        row.update({name: data.get(name) for name in ("kind", "subject", "digest", "expires_at")})
        row.update(state="open", answered_by=None, why=None, minion_id=data.get("minion"), carried=None)
    elif word in _ENDINGS:
        row.update(state=_ENDINGS[word], answered_by=actor, why=data.get("why"))
        row["carried"] = "waiting" if data.get("order") is not None else None
    elif word in _CARRIED:
        row["carried"] = word


def _routine(row: _Row, word: str, _: Any, data: _Row) -> None:
    if word in ("created", "changed"):
        row.update(name=data.get("name"), minion_id=data.get("minion"), digest=data.get("digest"))
        row["removed_at"] = "in use"
    elif word == "deleted":
        row.update(removed_at="deleted", released_by=None)
    placed = {name: data.get(name) for name in ("handled_until", "released_by")}
    if word in ("created", "changed", "released") and "handled_until" in data:
        row.update(placed)
    elif word in ("created", "changed"):
        for name in placed:
            row.pop(name, None)


def _minion(row: _Row, word: str, _: Any, data: _Row) -> None:
    if word in ("joined", "changed"):
        row.update(name=data.get("name"), left_at="here", **({"said": data["said"]} if "said" in data else {}))
        row.setdefault("silent_since", None)
    elif word == "left":
        row.update(left_at="left", silent_since=None)
    elif word in ("silent", "heard"):
        row["silent_since"] = data.get("since") if word == "silent" else None


def _schedule(row: _Row, word: str, _: Any, data: _Row) -> None:
    if word == "handled":
        row["handled_until"] = data.get("until")


_HEARS: Final = {
    "token": _token, "gap": _gap, "decision": _decision, "routine": _routine, "minion": _minion,
    "schedule": _schedule,
}  # fmt: skip
_FIRST: Final = {
    "token": ("created",), "gap": ("recorded",), "decision": ("asked",), "routine": ("created",),
    "minion": ("joined",), "schedule": ("handled",),
}  # fmt: skip
_OVER: Final = "ended"


def _runs(db: sqlite3.Connection) -> Iterator[str]:
    """Every run, and the events that say how it stands."""
    for run, said in _side_by_side(db, _RUN_EVENTS, _RUNS, _hear_of_run):
        # That a run is missing its chain says.
        if run is not None:
            _digested(run, said, "summary", [run["summary"], run.pop("details")])
            yield from _differences(run, _as_closed(said) if said else None)


def _orders(db: sqlite3.Connection) -> Iterator[str]:
    """Every order, and the events that say what became of it."""
    for order, said in _side_by_side(db, _ORDER_EVENTS, _ORDERS, _hear_of_order):
        if order is None:
            yield f"{_shown(said['id'])}: it is missing, and the log says that it was put"
            continue
        if said and "body" in said:
            order["body"] = _digest(order["body"])
        yield from _differences(order, said or None)


def _side_by_side(
    db: sqlite3.Connection, events: str, rows: str, hear: Callable[[_Row, _Row, _Row], None]
) -> Iterator[tuple[_Row | None, _Row]]:
    """Each row with what its events say of it, both by id as they stream by; None for a row that is not there."""
    items = heapq.merge(
        (((place_of(row["id"]), 0), row) for row in _rows(db, events) if row["id"] is not None),
        (((place_of(row["id"]), 1), row) for row in _rows(db, rows)),
        key=itemgetter(0),
    )
    for _, found in groupby(items, key=lambda item: item[0][0]):
        said: _Row = {}
        there: _Row | None = None
        for (_, kind), row in found:
            if kind == 0:
                hear(said, row, _of(row["data"]))
            else:
                there = row
        if there is not None or said:
            yield there, said


def _hear_of_run(said: _Row, event: _Row, data: _Row) -> None:
    type_ = event["type"]
    if type_ == "run.opened":
        said.update({name: data.get(name) for name in _OPENED} | {"state": "draft", "reported": None})
    elif type_ == "run.moved":
        said["state"] = data.get("to")
    elif type_ == "run.closed":
        said.update({name: data.get(name) for name in _CLOSED})
        said.update({name: data[name] for name in _TRUTHS if name in data})
    else:
        # While it goes on nobody compares its steps.
        compared = {name: data.get(name, said.get(name)) for name in _CLOSED}
        said.update({**compared, "verdict": data.get("verdict"), "reported": data.get("revision")})
        said.update({name: data[name] for name in _TRUTHS if name in data})
        if "text" in data:
            said["summary"] = data["text"]


def _hear_of_order(said: _Row, event: _Row, data: _Row) -> None:
    type_ = event["type"]
    if type_ == "order.queued":
        said.update({column: data[name] for name, column in _PUT.items() if name in data})
        said.update(id=event["id"], run_id=event["run_id"], state=data.get("state", "queued"))
    elif said and type_ == "order.settled":
        said["state"] = data.get("state")
    elif said and type_ == "order.moved":
        said["minion_id"] = data.get("minion")
    elif said:
        said["state"] = "cancelled" if type_ == "order.withdrawn" else "queued"


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
            stands["scheduled_by"] = _of(row["document"]).get("scheduled_by", row["scheduled_by"])
            row["document"], stands["document"] = _digest(row["document"]), stands.get("digest")
        if stands is not None and table == "minions" and "said" in stands:
            row["said"] = _digest(row["said"])
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


def _digested(row: _Row, said: _Row, column: str, value: Any) -> None:
    """Have a column stand as a digest, where the log says which."""
    if column in said:
        try:
            row[column] = digest_of(value)
        except (TypeError, ValueError):
            row[column] = "what is no text"


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
