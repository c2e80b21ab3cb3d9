"""Alerts in the store: opened once for a routine and a kind, kept current while open, closed when it is over.

Opening and end each make one notice for every way to tell. A notice stays until it is sent, or given up, visibly,
after a day; what it says is what its alert says when it is sent.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Literal

from server.contract.digest import canonical_json, instant, parse_instant

if TYPE_CHECKING:
    from aiosqlite import Connection

Kind = Literal[
    "slot_missed", "not_delivered", "failing", "cost_rise", "bad_file", "waits", "auto_paused", "ping_failed",
]  # fmt: skip
# What opens within so many seconds goes out as one message, and messages to one place are as far apart as that.
GATHER_S: Final = 2
SPACING_S: Final = 30
# Seconds until the next try, by how many failed; the last one again and again, until it is given up.
PAUSES_S: Final = (30, 120, 600, 3600)
GIVE_UP_S: Final = 24 * 3600
# So many closed alerts are kept to be read, and so many open ones are held in memory.
KEPT_ALERTS: Final = 500
SHOWN_ALERTS: Final = 100


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert. `ref`: the run or decision it is about; `tally`: how many slots or runs; times are UTC."""

    position: int
    routine: str
    kind: Kind
    text: str
    ref: str | None
    tally: int
    opened_at: str
    closed_at: str | None
    closing: str | None


@dataclass(frozen=True, slots=True)
class Notice:
    """What is to be told one way (an entry of a routine's `notify`): that an alert opened, or is `over`."""

    position: int
    alert: Alert
    over: bool
    way: Mapping[str, Any]
    made_at: str
    tries: int


@dataclass(frozen=True, slots=True)
class Overview:
    """The newest open alerts, how many there are, how many notices did not arrive, when the next is to be sent."""

    open: tuple[Alert, ...] = ()
    opened: int = 0
    unsent: int = 0
    next_try_at: str | None = None


async def open_alert(
    db: Connection, routine: str, kind: Kind, text: str, *, ways: Sequence[Mapping[str, Any]], now: str,
    ref: str | None = None, tally: int = 1,
) -> bool:  # fmt: skip
    """Open an alert and have it told; one that is open only says what is so now. Whether it is new."""
    before = await open_one(db, routine, kind)
    if before is not None:
        update = "UPDATE alerts SET text = ?, ref = ?, tally = ? WHERE position = ?"
        await db.execute(update, (text, ref, tally, before.position))
        return False
    cursor = await db.execute(
        "INSERT INTO alerts (routine, kind, text, ref, tally, opened_at) VALUES (?, ?, ?, ?, ?, ?)",
        (routine, kind, text, ref, tally, now),
    )
    await make_notices(db, cursor.lastrowid or 0, ways, over=False, now=now)
    return True


async def close_alert(
    db: Connection, routine: str, kind: Kind, closing: str, *, now: str, quietly: bool = False
) -> bool:
    """Close an alert if it is open, and tell whoever was told of it; nobody when `quietly`. Whether it was."""
    alert = await open_one(db, routine, kind)
    if alert is None:
        return False
    update = "UPDATE alerts SET closed_at = ?, closing = ? WHERE position = ?"
    await db.execute(update, (now, closing, alert.position))
    if quietly:
        await db.execute("DELETE FROM notices WHERE alert = ? AND sent_at IS NULL", (alert.position,))
        return True
    query = "SELECT DISTINCT way FROM notices WHERE alert = ? AND over = 0 ORDER BY position"
    ways = [json.loads(row["way"]) for row in await db.execute_fetchall(query, (alert.position,))]
    await make_notices(db, alert.position, ways, over=True, now=now)
    return True


async def open_one(db: Connection, routine: str, kind: Kind) -> Alert | None:
    """The open alert of a routine and kind."""
    query = "SELECT * FROM alerts WHERE routine = ? AND kind = ? AND closed_at IS NULL"
    rows = list(await db.execute_fetchall(query, (routine, kind)))
    return _alert(rows[0]) if rows else None


async def open_ones(db: Connection, kind: Kind | None = None) -> list[Alert]:
    """The open alerts, of one kind if asked, oldest first."""
    query = "SELECT * FROM alerts WHERE closed_at IS NULL AND ? IN (kind, '') ORDER BY position"
    return [_alert(row) for row in await db.execute_fetchall(query, (kind or "",))]


async def make_notices(
    db: Connection, alert: int, ways: Iterable[Mapping[str, Any]], *, over: bool, now: str
) -> None:
    """Have an alert, or its end, told these ways, a moment from now and not too soon after the last message."""
    for way in dict.fromkeys(canonical_json(dict(each)) for each in ways):
        ((sent,),) = await db.execute_fetchall("SELECT max(sent_at) FROM notices WHERE way = ?", (way,))
        at = parse_instant(now)
        due = at + timedelta(seconds=GATHER_S)
        if sent is not None and parse_instant(sent) <= at:  # else the clock was set back
            due = max(due, parse_instant(sent) + timedelta(seconds=SPACING_S))
        await db.execute(
            "INSERT INTO notices (alert, over, way, made_at, tries, next_try_at) VALUES (?, ?, ?, ?, 0, ?)",
            (alert, int(over), way, now, instant(due)),
        )


async def due_notices(db: Connection, *, now: str, at_once: bool = False) -> list[Notice]:
    """What waits for each way of which something is due, oldest first: it goes out together.

    `at_once`: what was not tried yet is due whenever it was to be sent.
    """
    # One that waits longer than any pause waits for a clock that was set back.
    latest = instant(parse_instant(now) + timedelta(seconds=PAUSES_S[-1]))
    query = (
        "SELECT n.position AS number, n.over, n.way, n.made_at, n.tries, a.* FROM notices n"
        " JOIN alerts a ON a.position = n.alert WHERE n.next_try_at IS NOT NULL AND n.way IN (SELECT way"
        " FROM notices WHERE next_try_at <= ? OR next_try_at > ? OR (next_try_at IS NOT NULL AND tries = 0 AND ?))"
        " ORDER BY n.position"
    )
    return [
        Notice(row["number"], _alert(row), bool(row["over"]), json.loads(row["way"]), row["made_at"], row["tries"])
        for row in await db.execute_fetchall(query, (now, latest, int(at_once)))
    ]


async def settle_notices(db: Connection, notices: Sequence[Notice], problem: str | None, *, now: str) -> None:
    """Note that notices were sent, or with a `problem` that they were not: tried again later, or given up."""
    for notice in notices:
        tries, next_try = notice.tries + 1, None
        if problem is not None:
            next_at = parse_instant(now) + timedelta(seconds=PAUSES_S[min(tries, len(PAUSES_S)) - 1])
            given_up = next_at > parse_instant(notice.made_at) + timedelta(seconds=GIVE_UP_S)
            next_try = None if given_up else instant(next_at)
        await db.execute(
            "UPDATE notices SET tries = ?, next_try_at = ?, sent_at = ?, problem = ? WHERE position = ?",
            (tries, next_try, now if problem is None else None, problem, notice.position),
        )


async def unsent_ways(db: Connection) -> list[tuple[int, str, str]]:
    """Each notice of an open alert, or that waits, and was not sent: its position, routine and way (JSON)."""
    query = (
        "SELECT n.position, a.routine, n.way FROM notices n JOIN alerts a ON a.position = n.alert"
        " WHERE n.sent_at IS NULL AND (n.next_try_at IS NOT NULL OR a.closed_at IS NULL)"
    )
    return [(row["position"], row["routine"], row["way"]) for row in await db.execute_fetchall(query)]


async def withdraw_notice(db: Connection, position: int) -> None:
    """Take a notice back that nobody is to get that way any more."""
    await db.execute("DELETE FROM notices WHERE position = ?", (position,))


async def untold_alerts(db: Connection) -> list[Alert]:
    """The open alerts that nobody was told of or is about to be."""
    query = (
        "SELECT * FROM alerts a WHERE closed_at IS NULL"
        " AND NOT EXISTS (SELECT 1 FROM notices n WHERE n.alert = a.position AND n.over = 0) ORDER BY position"
    )
    return [_alert(row) for row in await db.execute_fetchall(query)]


async def prune_alerts(db: Connection, *, keep: int = KEPT_ALERTS) -> None:
    """Remove the closed alerts but the newest, with their notices; one that somebody is still to hear of stays."""
    query = (
        "SELECT position FROM alerts a WHERE closed_at IS NOT NULL AND NOT EXISTS (SELECT 1 FROM notices n"
        " WHERE n.alert = a.position AND n.next_try_at IS NOT NULL) ORDER BY position DESC LIMIT -1 OFFSET ?"
    )
    for row in list(await db.execute_fetchall(query, (keep,))):
        await db.execute("DELETE FROM notices WHERE alert = ?", (row["position"],))
        await db.execute("DELETE FROM alerts WHERE position = ?", (row["position"],))


async def overview_of(db: Connection) -> Overview:
    """How things stand, for who keeps it at hand."""
    query = "SELECT * FROM alerts WHERE closed_at IS NULL ORDER BY position DESC LIMIT ?"
    shown = tuple(_alert(row) for row in await db.execute_fetchall(query, (SHOWN_ALERTS,)))
    ((opened,),) = await db.execute_fetchall("SELECT count(*) FROM alerts WHERE closed_at IS NULL")
    ((unsent,),) = await db.execute_fetchall(_UNSENT)
    ((next_try,),) = await db.execute_fetchall("SELECT min(next_try_at) FROM notices")
    return Overview(shown, opened, unsent, next_try)


def list_alerts(
    db: sqlite3.Connection, *, open_only: bool = True, routine: str | None = None
) -> list[dict[str, Any]]:
    """The open alerts, newest first, or all that are kept; of one routine if asked.

    `run` or `decision` is what it is about. `told` has one entry for each notice: `way`, `over` (that it ended),
    `state` (sent, waiting, given_up), `at` (sent, or tried next), `tries` and `problem`.
    """
    query = (
        "SELECT * FROM alerts WHERE (closed_at IS NULL OR ?) AND (routine = ? OR ?) ORDER BY position DESC"
    )
    rows = db.execute(query, (not open_only, routine, routine is None)).fetchall()
    return [_listed(db, _alert(row)) for row in rows]


def unsent_notices(db: sqlite3.Connection) -> int:
    """How many notices wait to be sent, or were given up of an alert that is still open."""
    return int(db.execute(_UNSENT).fetchone()[0])


_UNSENT: Final = (
    "SELECT count(*) FROM notices n JOIN alerts a ON a.position = n.alert WHERE n.sent_at IS NULL"
    " AND (n.next_try_at IS NOT NULL OR a.closed_at IS NULL)"
)


def _listed(db: sqlite3.Connection, alert: Alert) -> dict[str, Any]:
    rows = db.execute("SELECT * FROM notices WHERE alert = ? ORDER BY position", (alert.position,)).fetchall()
    return {**as_data(alert), "told": [_told(row) for row in rows]}


def as_data(alert: Alert) -> dict[str, Any]:
    """An alert as a listing and a notify command get it."""
    ref = alert.ref or ""
    return {
        "routine": alert.routine, "kind": alert.kind, "state": "open" if alert.closed_at is None else "over",
        "text": alert.text, "since": alert.opened_at, "until": alert.closed_at, "closing": alert.closing,
        "run": ref if ref.startswith("run_") else None, "decision": ref if ref.startswith("dec_") else None,
    }  # fmt: skip


def _told(row: sqlite3.Row) -> dict[str, Any]:
    state = "sent" if row["sent_at"] else "waiting" if row["next_try_at"] else "given_up"
    return {
        "way": json.loads(row["way"]), "over": bool(row["over"]), "state": state,
        "at": row["sent_at"] or row["next_try_at"], "tries": row["tries"], "problem": row["problem"],
    }  # fmt: skip


def _alert(row: sqlite3.Row) -> Alert:
    names = ("position", "routine", "kind", "text", "ref", "tally", "opened_at", "closed_at", "closing")
    return Alert(**{name: row[name] for name in names})
