"""The audit log: step logs and events, only ever added to, chained per run and all events of HQ in one chain.

A run's chain holds its step logs and its events in their order; each event says how far the run's chain had come,
so the one chain over all events seals the step logs too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Row, bindparam, insert, select, update

from server.contract.digest import CHAIN_START, canonical_json, link
from server.storage.committed import Happened, note, notes_of
from server.storage.database import Connection
from server.storage.prepared import Prepared
from server.storage.tables import EVENTS, RUNS, STEP_LOG

# What the hashes are over, column by column: of a step log in its run's chain, of an event in both.
STEP_COLUMNS: Final = (
    "run_id", "entry", "block", "code", "kind", "state", "why", "agent", "attested", "started_at", "ended_at",
    "cost", "digest_in", "digest_out",
)  # fmt: skip
EVENT_COLUMNS: Final = ("run_id", "entry", "type", "actor", "at", "data")

_LAST: Final = Prepared(select(EVENTS.c.position, EVENTS.c.hash).order_by(EVENTS.c.position.desc()).limit(1))
_HEAD: Final = Prepared(select(RUNS.c.head, RUNS.c.entries).where(RUNS.c.id == bindparam("run")))
_NEW_HEAD: Final = Prepared(update(RUNS).where(RUNS.c.id == bindparam("run")), "head", "entries")
_ADD_EVENT: Final = Prepared(insert(EVENTS), "position", "run_hash", "hash", *EVENT_COLUMNS)
_ADD_STEP: Final = Prepared(insert(STEP_LOG), "hash", *STEP_COLUMNS)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far the chain of all events had come: `position` counts events, `hash` is that of the last."""

    position: int
    hash: str


def append_event(
    connection: Connection, type_: str, data: Mapping[str, Any], *, actor: str, now: str, run_id: str | None = None
) -> None:
    """Add one event to the log, and to its run's chain if it belongs to one (which must exist)."""
    position, previous = last_event(connection)
    event: dict[str, Any] = {
        "run_id": run_id, "entry": None, "run_hash": None, "type": type_, "actor": actor, "at": now,
        "data": canonical_json(dict(data)),
    }  # fmt: skip
    if run_id is not None:
        head, entries = _HEAD.one(connection, {"run": run_id})
        event["entry"] = entries + 1
        event["run_hash"] = link(head, _body(EVENT_COLUMNS, event))
        _NEW_HEAD.do(connection, {"run": run_id, "head": event["run_hash"], "entries": entries + 1})
    event["hash"] = link(previous, sealed(event))
    _ADD_EVENT.do(connection, {"position": position + 1, **event})
    note(connection, Happened(type_, actor, now, run_id, data, position + 1, event["hash"]))


def append_steps(connection: Connection, run_id: str, steps: Sequence[Mapping[str, Any]]) -> int:
    """Add step logs, with the columns of `step_log`, to a run's chain, in order; the number of its last entry.

    An event of the run must follow in the same transaction: it alone seals them into the chain over all events.
    """
    head, entries = _HEAD.one(connection, {"run": run_id})
    rows = []
    for number, step in enumerate(steps, entries + 1):
        row = {**step, "run_id": run_id, "entry": number}
        head = link(head, _body(STEP_COLUMNS, row))
        rows.append({**row, "hash": head})
    if rows:
        _ADD_STEP.do_many(connection, rows)
        _NEW_HEAD.do(connection, {"run": run_id, "head": head, "entries": entries + len(rows)})
    return int(entries) + len(rows)


def last_event(connection: Connection) -> tuple[int, str]:
    """Position and hash of the newest event; 0 and the chain's start where there is none."""
    noted = notes_of(connection)
    if noted:  # of this transaction: nobody else writes
        return noted[-1].position, noted[-1].hash
    row = _LAST.one(connection)
    return (0, CHAIN_START) if row is None else (int(row.position), str(row.hash))


def sealed(event: Mapping[str, Any] | Row[Any]) -> bytes:
    """What the hash of an event is over: all it says, and its run's hash with it."""
    said = event if isinstance(event, Mapping) else event._mapping
    return canonical_json({"run_hash": said["run_hash"], **{name: said[name] for name in EVENT_COLUMNS}}).encode()


def in_run(kind: str, row: Mapping[str, Any] | Row[Any]) -> bytes:
    """What the hash of an entry (`step` or `event`) of a run's chain is over."""
    columns = STEP_COLUMNS if kind == "step" else EVENT_COLUMNS
    return _body(columns, row if isinstance(row, Mapping) else row._mapping)


def _body(names: Sequence[str], said: Mapping[Any, Any]) -> bytes:
    return canonical_json({name: said[name] for name in names}).encode()
