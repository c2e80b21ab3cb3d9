"""Slots in the store: claimed once, settled once, each with a record; and how far every trigger was handled.

A slot's key is unique per routine: whoever inserts it has claimed it. A settled slot is sealed in the home's
chain, which outlives the row (DECISIONS "Store").
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from minion.store.run_log import append_home
from server.contract.digest import canonical_json
from server.contract.refusals import Refused

if TYPE_CHECKING:
    from aiosqlite import Connection

SlotState = Literal["due", "held", "ran", "late", "skipped", "missed"]
# So many settled slots of a routine are kept to be read; the home's chain keeps all.
KEPT_SLOTS: Final = 1000
OPEN: Final = ("due", "held")
# In `meta`: from when on the slots of HQ's routines are this minion's, as it was gone by last.
_BEGAN: Final = "hq_begins"


@dataclass(frozen=True, slots=True)
class SlotRecord:
    """A slot of a routine. `due_at` is a UTC instant, `shown` the same with the zone's offset.

    `count` is over 1 for slots that were missed together: `key` and `shown` are those of the newest then.
    """

    routine_id: str
    routine: str
    trigger: str
    key: str
    due_at: str
    shown: str
    count: int = 1
    state: SlotState = "due"
    why: str | None = None


async def claim(db: Connection, slot: SlotRecord, *, now: str) -> bool:
    """Take a slot for its routine in its state; False when it was taken before.

    A slot that was missed can be taken still: it never ran (the clock was set back). What arrives settled is
    sealed at once.
    """
    settled = None if slot.state in OPEN else now
    cursor = await db.execute(
        "INSERT INTO slots (routine_id, routine, trigger, key, due_at, shown, count, state, why, noticed_at,"
        " settled_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (routine_id, key) DO UPDATE SET"
        " state = excluded.state, why = excluded.why, noticed_at = excluded.noticed_at,"
        " settled_at = excluded.settled_at WHERE slots.state = 'missed' AND excluded.state <> 'missed'",
        (slot.routine_id, slot.routine, slot.trigger, slot.key, slot.due_at, slot.shown, slot.count, slot.state,
         slot.why, now, settled),
    )  # fmt: skip
    taken = cursor.rowcount == 1
    if taken and settled is not None:
        await _seal(db, slot.routine_id, slot.key)
    return taken


async def settle(
    db: Connection, routine_id: str, key: str, state: SlotState, *, now: str,
    why: str | None = None, run_id: str | None = None,
) -> None:  # fmt: skip
    """Bring an open slot to its end and seal it. Raises `Refused` when it has one already."""
    cursor = await db.execute(
        "UPDATE slots SET state = ?, why = ?, run_id = ?, settled_at = ?"
        " WHERE routine_id = ? AND key = ? AND state IN ('due', 'held')",
        (state, why, run_id, now, routine_id, key),
    )
    if cursor.rowcount != 1:
        hint = "minion slots shows what became of it"
        raise Refused("slot_settled", f"The slot {key} was settled before.", hint=hint)
    await _seal(db, routine_id, key)


async def hold(db: Connection, routine_id: str, key: str, decision_id: str, *, why: str) -> None:
    """Have a due slot wait for a person's decision."""
    await db.execute(
        "UPDATE slots SET state = 'held', why = ?, decision_id = ? WHERE routine_id = ? AND key = ?"
        " AND state = 'due'",
        (why, decision_id, routine_id, key),
    )


async def release(db: Connection, decision_id: str) -> list[SlotRecord]:
    """The slots that waited for a decision, due again."""
    query = "SELECT * FROM slots WHERE decision_id = ? AND state = 'held' ORDER BY position"
    rows = await db.execute_fetchall(query, (decision_id,))
    update = "UPDATE slots SET state = 'due', why = NULL WHERE decision_id = ? AND state = 'held'"
    await db.execute(update, (decision_id,))
    return [_record(row) for row in rows]


async def open_slots(db: Connection) -> list[SlotRecord]:
    """The slots that were claimed and neither run nor given up, oldest first."""
    rows = await db.execute_fetchall("SELECT * FROM slots WHERE state = 'due' ORDER BY due_at, position")
    return [_record(row) for row in rows]


async def handled(db: Connection) -> dict[tuple[str, str], tuple[str, str | None]]:
    """How far each (routine id, trigger) was handled, and its floor, both as UTC instants."""
    rows = await db.execute_fetchall("SELECT * FROM schedules")
    return {(row["routine_id"], row["trigger"]): (row["handled_until"], row["floor"]) for row in rows}


async def advance(db: Connection, until: Sequence[tuple[str, str, str]]) -> None:
    """Note how far triggers were handled: (routine id, trigger, UTC instant) of each."""
    await db.executemany(
        "INSERT INTO schedules (routine_id, trigger, handled_until) VALUES (?, ?, ?)"
        " ON CONFLICT (routine_id, trigger) DO UPDATE SET handled_until = excluded.handled_until",
        until,
    )


async def keep_only(db: Connection, routine_id: str, triggers: Mapping[str, str]) -> None:
    """Forget the triggers that a routine has no more; a new one begins at the instant given with it."""
    rows = await db.execute_fetchall("SELECT trigger FROM schedules WHERE routine_id = ?", (routine_id,))
    known = {row["trigger"] for row in rows}
    for trigger in known - set(triggers):
        await db.execute("DELETE FROM schedules WHERE routine_id = ? AND trigger = ?", (routine_id, trigger))
    await advance(db, [(routine_id, trigger, triggers[trigger]) for trigger in sorted(set(triggers) - known)])


async def begin_anew(db: Connection, begins: Mapping[str, str]) -> None:
    """Forget how far routines were handled where they begin at another instant than they did: by routine, when.

    Somebody else saw to their slots meanwhile. One that was ever claimed here is not claimed again all the same.
    """
    rows = list(await db.execute_fetchall("SELECT value FROM meta WHERE key = ?", (_BEGAN,)))
    began = json.loads(rows[0]["value"]) if rows else {}
    for routine_id, at in begins.items():
        if began.get(routine_id) != at:
            await db.execute("DELETE FROM schedules WHERE routine_id = ?", (routine_id,))
    if began != begins:
        await db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (_BEGAN, canonical_json(dict(begins))))


async def handled_of(db: Connection, routine_ids: Collection[str]) -> dict[str, str]:
    """Up to when the slots of routines were seen to: how far they were handled, or the last one claimed."""
    found = {}
    for routine_id in routine_ids:
        query = (
            "SELECT max(until) FROM (SELECT max(handled_until) AS until FROM schedules WHERE routine_id = ?"
            " UNION ALL SELECT max(due_at) FROM slots WHERE routine_id = ?)"
        )
        (row,) = await db.execute_fetchall(query, (routine_id, routine_id))
        if row[0] is not None:
            found[routine_id] = str(row[0])
    return found


async def prune_slots(db: Connection, routine_id: str, *, keep: int = KEPT_SLOTS) -> int:
    """Remove a routine's settled slots but the newest; how many. None at or before them is ever due again."""
    query = (
        "SELECT position, trigger, due_at FROM slots WHERE routine_id = ? AND state NOT IN ('due', 'held')"
        " ORDER BY position DESC LIMIT -1 OFFSET ?"
    )
    rows = list(await db.execute_fetchall(query, (routine_id, keep)))
    for trigger in {row["trigger"] for row in rows}:
        newest = max(row["due_at"] for row in rows if row["trigger"] == trigger)
        await db.execute(
            "UPDATE schedules SET floor = max(coalesce(floor, ''), ?) WHERE routine_id = ? AND trigger = ?",
            (newest, routine_id, trigger),
        )
    for row in rows:
        await db.execute("DELETE FROM slots WHERE position = ?", (row["position"],))
    return len(rows)


def list_slots(
    db: sqlite3.Connection, *, routine: str | None = None, state: str | None = None, limit: int = 20
) -> list[dict[str, Any]]:
    """The slots that were due last first, at most `limit`, of one routine and in one state if asked."""
    wheres, values = ["1"], []
    for column, value in (("routine", routine), ("state", state)):
        if value is not None:
            wheres.append(f"{column} = ?")
            values.append(value)
    query = f"SELECT * FROM slots WHERE {' AND '.join(wheres)} ORDER BY due_at DESC, position DESC LIMIT ?"  # noqa: S608
    names = ("routine", "shown", "due_at", "state", "count", "why", "run_id", "decision_id", "noticed_at",
             "settled_at", "key", "trigger")  # fmt: skip
    rows = db.execute(query, (*values, limit)).fetchall()
    return [{("due" if name == "shown" else name): row[name] for name in names} for row in rows]


async def _seal(db: Connection, routine_id: str, key: str) -> None:
    query = "SELECT * FROM slots WHERE routine_id = ? AND key = ?"
    (row,) = await db.execute_fetchall(query, (routine_id, key))
    await append_home(db, "slot", f"{routine_id} {key}", sealed_slot(dict(row)))


def sealed_slot(row: Mapping[str, Any]) -> dict[str, Any]:
    """What the home's chain says of a settled slot."""
    return {name: row[name] for name in ("due_at", "state", "count", "why", "run_id", "settled_at")}


def _record(row: sqlite3.Row) -> SlotRecord:
    names = ("routine_id", "routine", "trigger", "key", "due_at", "shown", "count", "state", "why")
    return SlotRecord(**{name: row[name] for name in names})
