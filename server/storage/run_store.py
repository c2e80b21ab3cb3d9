"""Runs and their blocks as they stand: opened, moved by compare-and-set with the event beside it, and read.

What happened to a run lies in the log (`event_store`); the rows here follow from it and may be made again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Row, bindparam, func, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from server.contract.digest import CHAIN_START, canonical_json
from server.contract.refusals import NotFound, Refused
from server.contract.run import RunState, check_move, has_ended
from server.contract.topology import CanonicalBlock, TakenStep, canonical_sequence, fingerprint
from server.storage.database import Connection
from server.storage.event_store import append_event
from server.storage.prepared import Prepared
from server.storage.tables import BLOCK_RUNS, RUNS, STEP_LOG

_RUN: Final = Prepared(select(RUNS).where(RUNS.c.id == bindparam("run")))
_BLOCKS: Final = Prepared(
    select(BLOCK_RUNS).where(BLOCK_RUNS.c.run_id == bindparam("run")).order_by(BLOCK_RUNS.c.ordinal)
)
_STEPS: Final = (
    select(STEP_LOG)
    .where(STEP_LOG.c.run_id == bindparam("run"), STEP_LOG.c.entry > bindparam("after"))
    .order_by(STEP_LOG.c.entry)
)
# Of all that is logged these alone are compared: tool calls and answers are many, and never read for it.
_TAKEN: Final = Prepared(
    select(STEP_LOG.c.block, STEP_LOG.c.code, STEP_LOG.c.state)
    .where(STEP_LOG.c.run_id == bindparam("run"), STEP_LOG.c.kind == "step")
    .order_by(STEP_LOG.c.entry)
)
_COUNT: Final = Prepared(
    select(func.count().label("number")).select_from(STEP_LOG).where(STEP_LOG.c.run_id == bindparam("run"))
)
_MOVE: Final = update(RUNS).where(RUNS.c.id == bindparam("run"), RUNS.c.state == bindparam("before"))
_SET_BLOCK: Final = update(BLOCK_RUNS).where(
    BLOCK_RUNS.c.run_id == bindparam("run"), BLOCK_RUNS.c.code == bindparam("block")
)
_BEGIN_BLOCK: Final = insert(BLOCK_RUNS)
_SET_RUN: Final = update(RUNS).where(RUNS.c.id == bindparam("run"))
# What a listing of runs shows.
LISTED: Final = (
    "id", "routine", "trigger", "variant", "source", "state", "outcome", "delivery", "verdict", "fingerprint",
    "conformance", "drift", "created_at", "started_at", "ended_at",
)  # fmt: skip


def open_run(
    connection: Connection, run: Mapping[str, Any], blocks: Sequence[CanonicalBlock],
    names: Mapping[str, str], *, actor: str, now: str,
) -> None:  # fmt: skip
    """Insert a run in state `draft`. Raises `Refused` for a key that was taken before.

    `run` has its id, key, routine and its id, trigger, process, variant and source; `names` are those of blocks.
    """
    taken = connection.execute(select(RUNS.c.id).where(RUNS.c.order_key == run["order_key"])).scalar()
    if taken is not None:
        says = f"The order {run['order_key']} was taken before: it is the run {taken}."
        raise Refused("order_taken", says, hint="give another key: an order is run once")
    canonical = [
        {"code": b.code, "name": names.get(b.code, b.code), "kind": b.kind, "steps": list(b.steps)} for b in blocks
    ]
    row = {
        "state": "draft", "outcome": "unknown", "delivery": "none", "verdict": "running",
        "canonical": canonical_json(canonical), "canonical_fingerprint": fingerprint(canonical_sequence(blocks)),
        "topology": "[]", "created_at": now, "actor": actor, "head": CHAIN_START, "entries": 0, "revision": 0,
    }  # fmt: skip
    connection.execute(insert(RUNS), {**row, **run})
    said = {name: run[name] for name in ("order_key", "routine_id", "routine", "trigger", "variant", "source")}
    append_event(connection, "run.opened", said, actor=actor, now=now, run_id=run["id"])


def move(
    connection: Connection, run_id: str, before: RunState, after: RunState, *, actor: str, now: str,
    why: str | None = None, **changes: Any,
) -> None:  # fmt: skip
    """Take a run from one state to another and change these columns with it: a compare-and-set, and its event.

    Raises `IllegalMove` for a move the table does not have, `Refused` when the run is in another state.
    """
    check_move(before, after)
    values: dict[str, Any] = {"state": after, "revision": RUNS.c.revision + 1, **changes}
    if has_ended(after):
        values["why"] = why
    if after == "running":
        values["started_at"] = func.coalesce(RUNS.c.started_at, now)
    done = connection.execute(_MOVE.values(**values), {"run": run_id, "before": before})
    if done.rowcount != 1:
        raise Refused("run_moved", f"The run {run_id} is no longer {before}.", hint="get_run shows how it stands")
    append_event(
        connection, "run.moved", {"from": before, "to": after, "why": why}, actor=actor, now=now, run_id=run_id
    )


def find_run(connection: Connection, text: str) -> Row[Any]:
    """The run of this id, or the one whose id begins so. Raises `NotFound`, `Refused` where several do."""
    row: Row[Any] | None = _RUN.one(connection, {"run": text})
    if row is not None:
        return row
    found = []
    if len(text) > len("run_") and text.startswith("run_"):
        between = select(RUNS).where(RUNS.c.id > text, RUNS.c.id < text + "~").limit(2)
        found = list(connection.execute(between))
    if len(found) > 1:
        raise Refused("ambiguous_id", f"Several runs begin with {text[:40]}.", hint="give more of the id")
    if not found:
        raise NotFound("no_such_run", f"There is no run {text[:40]}.", hint="list_runs shows the newest ones")
    return found[0]


def known_run(connection: Connection, run_id: str) -> Row[Any] | None:
    """The run of this whole id; None where there is none."""
    found: Row[Any] | None = _RUN.one(connection, {"run": run_id})
    return found


def run_of_key(connection: Connection, order_key: str) -> str | None:
    """The id of the run that was opened by this key; None where none was."""
    return connection.execute(select(RUNS.c.id).where(RUNS.c.order_key == order_key)).scalar()


def count_steps(connection: Connection, run_id: str) -> int:
    """How many step logs a run has."""
    return int(_COUNT.one(connection, {"run": run_id}).number)


def keep_block(connection: Connection, run_id: str, block: Mapping[str, Any]) -> None:
    """Keep a block as its minion says that it stands."""
    row = connection.execute(select(RUNS.c.canonical).where(RUNS.c.id == run_id)).one()
    codes = [each["code"] for each in json.loads(row.canonical)]
    ordinal = codes.index(block["code"]) + 1 if block["code"] in codes else len(codes) + 1
    values = {name: block[name] for name in ("name", "kind", "state", "started_at", "ended_at")}
    query = upsert(BLOCK_RUNS).values(run_id=run_id, code=block["code"], ordinal=ordinal, **values)
    connection.execute(query.on_conflict_do_update(index_elements=["run_id", "code"], set_=values))


def blocks_of(connection: Connection, run_id: str) -> list[Row[Any]]:
    """The blocks of a run, in the order of its process."""
    return _BLOCKS.all(connection, {"run": run_id})


def steps_of(
    connection: Connection, run_id: str, *, after: int = 0, limit: int | None = None
) -> list[Row[Any]]:
    """The step logs of a run, in order; those behind an entry, and at most so many, if asked."""
    return list(connection.execute(_STEPS.limit(limit), {"run": run_id, "after": after}))


def taken_steps(connection: Connection, run_id: str) -> list[TakenStep]:
    """The steps (kind `step`) that a run took, in order."""
    return [TakenStep(row.block, row.code, row.state) for row in _TAKEN.all(connection, {"run": run_id})]


def begin_block(connection: Connection, run: Row[Any], code: str, *, actor: str, now: str) -> None:
    """Insert a block of a run as `running`, and its event."""
    blocks = json.loads(run.canonical)
    ordinal, block = next((n, b) for n, b in enumerate(blocks, 1) if b["code"] == code)
    connection.execute(
        _BEGIN_BLOCK,
        {"run_id": run.id, "code": code, "ordinal": ordinal, "name": block["name"], "kind": block["kind"],
         "state": "running", "started_at": now},
    )  # fmt: skip
    said = {"block": code, "name": block["name"], "kind": block["kind"]}
    append_event(connection, "block.started", said, actor=actor, now=now, run_id=run.id)


def end_block(
    connection: Connection, run_id: str, code: str, state: str, *, actor: str, now: str, why: str | None = None
) -> None:
    """Bring a block that runs to its end, and write the event."""
    connection.execute(_SET_BLOCK.values(state=state, why=why, ended_at=now), {"run": run_id, "block": code})
    said = {"block": code, "state": state, "why": why}
    append_event(connection, "block.finished", said, actor=actor, now=now, run_id=run_id)


def set_run(connection: Connection, run_id: str, **changes: Any) -> None:
    """Change what is derived of a run; its state moves by `move` alone."""
    connection.execute(_SET_RUN.values(**changes), {"run": run_id})


def canonical_of(run: Row[Any]) -> list[CanonicalBlock]:
    """The blocks that a run is held against."""
    return [CanonicalBlock(b["code"], b["kind"], tuple(b["steps"])) for b in json.loads(run.canonical)]


def list_runs(
    connection: Connection, *, routine_id: str | None = None, state: str | None = None,
    before: int | None = None, limit: int = 20,
) -> list[Row[Any]]:  # fmt: skip
    """The newest runs first, at most `limit`, of one routine, in one state, older than a position, if asked."""
    query = select(RUNS.c.position, *(RUNS.c[name] for name in LISTED)).order_by(RUNS.c.position.desc())
    for column, value in ((RUNS.c.routine_id, routine_id), (RUNS.c.state, state)):
        if value is not None:
            query = query.where(column == value)
    if before is not None:
        query = query.where(RUNS.c.position < before)
    return list(connection.execute(query.limit(limit)))


def overdue(connection: Connection, now: str, *, limit: int) -> list[Row[Any]]:
    """The runs that have no end and whose deadline is over, at most `limit`, the oldest first."""
    late = (RUNS.c.deadline_at.is_not(None), RUNS.c.deadline_at <= now)
    return list(connection.execute(select(RUNS).where(*late).order_by(RUNS.c.position).limit(limit)))
