"""What begins with what somebody has typed so far: names of routines, ids of runs, codes of gaps."""

from __future__ import annotations

from sqlalchemy import Column, Select, select

from server.domain.gap import STILL_OPEN
from server.storage.database import Connection
from server.storage.tables import GAPS, ROUTINES, RUNS

# Comes after every text that begins so: the last of all characters.
_LAST = "\U0010ffff"


def routine_names(connection: Connection, begun: str, *, limit: int) -> list[str]:
    """Names of routines in use, by name."""
    names = select(ROUTINES.c.name).where(ROUTINES.c.removed_at.is_(None)).distinct().order_by(ROUTINES.c.name)
    return _found(connection, names, ROUTINES.c.name, begun, limit)


def run_ids(connection: Connection, begun: str, *, limit: int) -> list[str]:
    """Ids of runs, the newest first."""
    return _found(connection, select(RUNS.c.id).order_by(RUNS.c.position.desc()), RUNS.c.id, begun, limit)


def gap_codes(connection: Connection, begun: str, *, limit: int) -> list[str]:
    """Codes that open gaps ask for, by code."""
    wanted = GAPS.c.requested_code
    codes = select(wanted).where(GAPS.c.state.in_(STILL_OPEN)).distinct().order_by(wanted)
    return _found(connection, codes, wanted, begun, limit)


def _found(
    connection: Connection, query: Select[tuple[str]], column: Column[str], begun: str, limit: int
) -> list[str]:
    if begun:
        query = query.where(column >= begun, column < begun + _LAST)
    return [str(value) for value in connection.execute(query.limit(limit)).scalars()]
