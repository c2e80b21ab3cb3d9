"""What is asked about routines and runs beside what they are: names taken, last runs, costs, counts."""

from __future__ import annotations

import json
from typing import Any, Final

from sqlalchemy import Row, bindparam, func, select

from server.contract.run import RunState
from server.storage.database import Connection
from server.storage.tables import EVENTS, MINIONS, ROUTINE_HISTORY, ROUTINES, RUNS, STEP_LOG

# As many of a routine's newest ended runs say what the next one may cost.
COUNTED_RUNS: Final = 20
_MINION: Final = select(MINIONS).where(MINIONS.c.id == bindparam("minion"))
_NAMED: Final = select(ROUTINES.c.id).where(
    ROUTINES.c.name == bindparam("name"), ROUTINES.c.minion_id.is_not_distinct_from(bindparam("minion")),
    ROUTINES.c.removed_at.is_(None),
)  # fmt: skip
_EVENTS: Final = select(func.count()).select_from(EVENTS).where(EVENTS.c.run_id == bindparam("run"))
_RUNS: Final = select(func.count()).select_from(RUNS).where(RUNS.c.routine_id == bindparam("routine"))
_NEWEST: Final = (
    select(RUNS).where(RUNS.c.routine_id == bindparam("routine")).order_by(RUNS.c.position.desc()).limit(1)
)
_IN_STATE: Final = (
    select(RUNS)
    .where(RUNS.c.routine_id == bindparam("routine"), RUNS.c.state == bindparam("state"))
    .order_by(RUNS.c.position)
)
_ENDED: Final = (
    select(RUNS.c.id)
    .where(RUNS.c.routine_id == bindparam("routine"), RUNS.c.started_at.is_not(None), RUNS.c.ended_at.is_not(None))
    .order_by(RUNS.c.position.desc())
    .limit(COUNTED_RUNS)
)
_COSTS: Final = select(STEP_LOG.c.run_id, STEP_LOG.c.cost).where(
    STEP_LOG.c.run_id.in_(_ENDED.scalar_subquery()), STEP_LOG.c.cost != "{}"
)


def minion_of(connection: Connection, minion_id: str) -> Row[Any] | None:
    """The minion of this id, also one that has left; None for one that never joined."""
    return connection.execute(_MINION, {"minion": minion_id}).one_or_none()


def named(connection: Connection, name: str, minion_id: str | None) -> str | None:
    """The id of the routine that a minion has under a name (None: of those that no minion has)."""
    return connection.execute(_NAMED, {"name": name, "minion": minion_id}).scalar()


def once_named(connection: Connection, name: str, minion_id: str) -> str | None:
    """The id of the routine that a minion had last under a name, whoever has it now; None where it never had one.

    What it reports of its runs may come long after the routine went to another minion, or was deleted.
    """
    said = ROUTINE_HISTORY.c.document
    query = (
        select(ROUTINE_HISTORY.c.routine_id)
        .where(func.json_extract(said, "$.name") == name, func.json_extract(said, "$.minion_id") == minion_id)
        .order_by(ROUTINE_HISTORY.c.at.desc(), ROUTINE_HISTORY.c.revision.desc())
        .limit(1)
    )
    return connection.execute(query).scalar()


def newest_run(connection: Connection, routine_id: str) -> Row[Any] | None:
    """The newest run of a routine, whatever its state."""
    return connection.execute(_NEWEST, {"routine": routine_id}).one_or_none()


def runs_in(connection: Connection, routine_id: str, state: RunState) -> list[Row[Any]]:
    """The runs of a routine that are in one state, the oldest first."""
    return list(connection.execute(_IN_STATE, {"routine": routine_id, "state": state}))


def count_runs(connection: Connection, routine_id: str) -> int:
    """How many runs of a routine are kept."""
    return int(connection.execute(_RUNS, {"routine": routine_id}).scalar() or 0)


def count_events(connection: Connection, run_id: str) -> int:
    """How many events a run has."""
    return int(connection.execute(_EVENTS, {"run": run_id}).scalar() or 0)


def dollars_of_runs(connection: Connection, routine_id: str) -> list[float]:
    """What each of a routine's newest runs cost in US dollars; only those whose steps name a cost."""
    spent: dict[str, float] = {}
    for row in connection.execute(_COSTS, {"routine": routine_id}):
        dollars = json.loads(row.cost).get("dollars")
        if dollars is not None:
            spent[row.run_id] = spent.get(row.run_id, 0.0) + float(dollars)
    return list(spent.values())
