"""The minions that have joined: who they are, when they were seen, and how they stood then."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Row, bindparam, insert, select, update

from server.contract.digest import canonical_json
from server.storage.database import Connection
from server.storage.prepared import Prepared
from server.storage.tables import MINIONS, RUNS

_SEEN: Final = Prepared(update(MINIONS).where(MINIONS.c.id == bindparam("minion")), "seen_at", "live")
_ACKED: Final = Prepared(update(MINIONS).where(MINIONS.c.id == bindparam("minion")), "acked")
_TOLD: Final = Prepared(update(MINIONS).where(MINIONS.c.id == bindparam("minion")), "told")
_BY_ID: Final = Prepared(select(MINIONS).where(MINIONS.c.id == bindparam("minion")))


def minion_of_id(connection: Connection, minion_id: str) -> Row[Any] | None:
    """The minion of this id, also one that has left."""
    found: Row[Any] | None = _BY_ID.one(connection, {"minion": minion_id})
    return found


def minion_of_name(connection: Connection, name: str) -> Row[Any] | None:
    """The minion that has this name and has not left."""
    query = select(MINIONS).where(MINIONS.c.name == name, MINIONS.c.left_at.is_(None))
    return connection.execute(query).one_or_none()


def keep_minion(
    connection: Connection, minion_id: str, name: str, said: Mapping[str, Any], *, roles: tuple[str, ...], now: str
) -> bool:
    """Keep who a minion says it is; whether it is new, or had left."""
    before = minion_of_id(connection, minion_id)
    values = {
        "name": name, "roles": canonical_json(list(roles)), "said": canonical_json(dict(said)), "seen_at": now,
    }  # fmt: skip
    if before is None:
        connection.execute(insert(MINIONS), {"id": minion_id, "joined_at": now, **values})
        return True
    fresh = {"left_at": None, **({"joined_at": now} if before.left_at is not None else {})}
    connection.execute(update(MINIONS).where(MINIONS.c.id == minion_id).values(**values, **fresh))
    return before.left_at is not None


def acked(connection: Connection, minion_id: str, cursor: str | None) -> None:
    """Note how far a minion says that it goes by HQ's definitions."""
    _ACKED.do(connection, {"minion": minion_id, "acked": cursor})


def told(connection: Connection, minion_id: str, cursor: str) -> None:
    """Note how far a minion was told of HQ's definitions: what came later it cannot know."""
    _TOLD.do(connection, {"minion": minion_id, "told": cursor})


def left(connection: Connection, minion_id: str, *, now: str) -> None:
    """Note that a minion has left; how it stood counts no more."""
    gone = update(MINIONS).where(MINIONS.c.id == minion_id)
    connection.execute(gone.values(left_at=now, live="{}", silent_since=None))


def open_runs(connection: Connection, minion_id: str) -> list[str]:
    """The runs that a minion has begun and not ended, as far as HQ heard, the oldest first."""
    begun = (RUNS.c.minion_id == minion_id, RUNS.c.source == "observed", RUNS.c.state.in_(("running", "waiting")))
    return list(connection.execute(select(RUNS.c.id).where(*begun).order_by(RUNS.c.position)).scalars())


def seen(connection: Connection, minion_id: str, live: Mapping[str, Any], *, now: str) -> None:
    """Note that a minion was heard of, and how it stands."""
    _SEEN.do(connection, {"minion": minion_id, "seen_at": now, "live": json.dumps(dict(live))})

