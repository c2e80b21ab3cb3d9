"""What HQ notes as it watches over its minions: since when it was there itself, who is silent, whom to tell."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Row, bindparam, func, select, update
from sqlalchemy.dialects.sqlite import insert

from server.contract.digest import canonical_json, instant, parse_instant
from server.domain.silence import Awake
from server.storage.database import Connection
from server.storage.tables import META, MINIONS, NOTICES

WAITS: Final = "waiting"
_AWAKE: Final = "awake"
_SAID: Final = select(META.c.value).where(META.c.key == _AWAKE)
_SETTLE: Final = update(NOTICES).where(NOTICES.c.position == bindparam("notice"), NOTICES.c.state == WAITS)


def awake_of(connection: Connection) -> Awake | None:
    """Since when HQ was there, as it looked last; None before it ever did."""
    text = connection.execute(_SAID).scalar()
    if text is None:
        return None
    said = json.loads(text)
    return Awake(parse_instant(said["since"]), parse_instant(said["looked"]))


def keep_awake(connection: Connection, hq: Awake) -> None:
    """Note that HQ is there, and looked."""
    value = canonical_json({"since": instant(hq.since), "looked": instant(hq.looked)})
    query = insert(META).values(key=_AWAKE, value=value)
    connection.execute(query.on_conflict_do_update(index_elements=["key"], set_={"value": value}))


def set_silent(connection: Connection, minion_id: str, since: str | None) -> None:
    """Note since when a minion is silent; None: it is not."""
    connection.execute(update(MINIONS).where(MINIONS.c.id == minion_id).values(silent_since=since))


def put_notice(connection: Connection, key: str, ways: Sequence[str], text: str, *, now: str) -> None:
    """Have people told in each of these ways, once; what was put before stays as it is."""
    for way in ways:
        values = {
            "key": key, "way": way, "text": text, "state": WAITS, "made_at": now, "next_at": now, "tries": 0,
        }  # fmt: skip
        connection.execute(insert(NOTICES).values(**values).on_conflict_do_nothing())


def notices_of(connection: Connection, key: str) -> list[Row[Any]]:
    """The notices of a key, one for each way."""
    return list(connection.execute(select(NOTICES).where(NOTICES.c.key == key).order_by(NOTICES.c.position)))


def due_notices(connection: Connection, ways: Sequence[str], *, now: str, old: str, most: int) -> list[Row[Any]]:
    """The notices that are to be sent by now in these ways, oldest first; of other ways those made by `old`."""
    query = select(NOTICES).where(NOTICES.c.state == WAITS, NOTICES.c.next_at <= now)
    query = query.where(NOTICES.c.way.in_(list(ways)) | (NOTICES.c.made_at <= old))
    return list(connection.execute(query.order_by(NOTICES.c.position).limit(most)))


def waiting_notices(connection: Connection, positions: Sequence[int]) -> dict[int, Row[Any]]:
    """Those of these notices that still wait, by their position."""
    query = select(NOTICES).where(NOTICES.c.position.in_(list(positions)), NOTICES.c.state == WAITS)
    return {row.position: row for row in connection.execute(query)}


def try_again(connection: Connection, notice: int, *, at: str, problem: str) -> None:
    """Note why a notice could not be sent, and when it is tried again."""
    changes = {"tries": NOTICES.c.tries + 1, "next_at": at, "problem": problem}
    connection.execute(_SETTLE.values(**changes), {"notice": notice})


def end_notice(connection: Connection, notice: int, state: str, *, now: str, problem: str | None = None) -> bool:
    """Bring a notice to its end: `sent`, `given up` or `withdrawn`; False where it had come to one before."""
    changes: dict[str, Any] = {"state": state, "ended_at": now, "problem": problem}
    if state == "sent":
        changes["tries"] = NOTICES.c.tries + 1
    return connection.execute(_SETTLE.values(**changes), {"notice": notice}).rowcount > 0


def notices_overview(connection: Connection) -> dict[str, Any]:
    """How many notices there are by state, and the newest that is in trouble: its way, and why."""
    counted = select(NOTICES.c.state, func.count()).group_by(NOTICES.c.state)
    states = {str(state): int(number) for state, number in connection.execute(counted)}
    troubled = (
        select(NOTICES.c.way, NOTICES.c.problem, NOTICES.c.made_at, NOTICES.c.state)
        .where(NOTICES.c.problem.is_not(None), NOTICES.c.state.in_((WAITS, "given up")))
        .order_by(NOTICES.c.position.desc())
        .limit(1)
    )
    row = connection.execute(troubled).one_or_none()
    return {"states": states, "trouble": dict(row._mapping) if row is not None else None}
