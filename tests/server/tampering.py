"""A log as it comes about, and everything that somebody who may write the file could do to it."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from server.contract.digest import CHAIN_START, link
from server.storage.audit import Breach, breaches, end_of
from server.storage.event_store import EVENT_COLUMNS, STEP_COLUMNS, Checkpoint, in_run, sealed
from server.storage.migrations import guards
from tests.server.desks import add_routine, client_of, desk_at

BLOCKS: Final = ("040.001.02", "040.001.03", "040.001.04")
CODES: Final = ("SCR-CLONE-REPO", "LLM-EXECUTE-PROMPT", "SCR-PUSH-BRANCH")
Attack = Callable[[sqlite3.Connection, random.Random], str]


def make_log(folder: Path, runs: int = 3) -> tuple[Path, Checkpoint]:
    """A store with this many runs, one of them not ended, and gaps; and how far its log has come."""

    async def lived() -> None:
        async with desk_at(folder) as desk:
            await add_routine(desk, "triage")
            async with client_of(desk) as asker:
                for number in range(runs):
                    run = (await asker.ask("ledger_start_run", routine="triage"))["run"]
                    for block, code in zip(BLOCKS, CODES, strict=True):
                        await asker.ask("ledger_start_block", run=run, block=block)
                        called = {"code": f"call {number}", "kind": "tool_call", "cost": {"tokens": 12}}
                        await asker.ask("ledger_log_step", run=run, block=block, steps=[called, {"code": code}])
                        if number < runs - 1 or block != BLOCKS[-1]:
                            await asker.ask("ledger_finish_block", run=run, block=block)
                    if number < runs - 1:
                        await asker.ask("ledger_finish_run", run=run, outcome="success", summary="Done.")
                    await asker.ask(
                        "record_gap", gap_type="skill", requested_code="LLM-SUM", description=f"No. {number}"
                    )

    asyncio.run(lived())
    path = folder / "hq" / "hq.db"
    return path, end_of(path)


def in_memory(path: Path) -> sqlite3.Connection:
    """A copy of a store to tamper with: whoever may write the file takes its triggers away first."""
    db = sqlite3.connect(":memory:", isolation_level=None)
    source = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
    source.backup(db)
    source.close()
    for name in guards():
        db.execute(f"DROP TRIGGER {name}")
    return db


def found(db: sqlite3.Connection, against: Checkpoint | None = None) -> list[Breach]:
    """What an audit finds, once the triggers are back as they were."""
    for name, text in guards().items():
        db.execute(f"DROP TRIGGER IF EXISTS {name}")
        db.execute(text)
    return list(breaches(db, against=against))


def flip(db: sqlite3.Connection, chance: random.Random) -> str:
    """One value of one row is another one."""
    table = chance.choice(("events", "step_log"))
    columns = (*EVENT_COLUMNS, "run_hash", "hash") if table == "events" else (*STEP_COLUMNS, "hash")
    column, position = chance.choice(columns), _any(db, table, chance)
    (value,) = db.execute(f"SELECT {column} FROM {table} WHERE position = ?", (position,)).fetchone()  # noqa: S608
    db.execute(f"UPDATE {table} SET {column} = ? WHERE position = ?", (_other(value, chance), position))  # noqa: S608
    return f"flip {table}.{column} {position}"


def delete(db: sqlite3.Connection, chance: random.Random) -> str:
    """One row is gone; of a run now and then all of it, the run itself too."""
    if chance.random() < 0.2:
        (run,) = chance.choice(db.execute("SELECT id FROM runs").fetchall())
        tables = chance.choice((("runs",), ("step_log",), ("events", "step_log", "runs")))
        for table in tables:
            db.execute(f"DELETE FROM {table} WHERE {'id' if table == 'runs' else 'run_id'} = ?", (run,))  # noqa: S608
        return f"delete run from {tables}"
    table = chance.choice(("events", "step_log"))
    position = _any(db, table, chance)
    db.execute(f"DELETE FROM {table} WHERE position = ?", (position,))  # noqa: S608
    return f"delete {table} {position}"


def insert(db: sqlite3.Connection, chance: random.Random) -> str:
    """A step that was never taken is put at the end of a run, with a right hash and head; or between others."""
    run, head, entries = chance.choice(db.execute("SELECT id, head, entries FROM runs").fetchall())
    row = dict.fromkeys(STEP_COLUMNS) | {
        "run_id": run, "entry": entries + 1, "block": BLOCKS[1], "code": "LLM-NEVER", "kind": "step",
        "state": "completed", "agent": "nobody", "attested": True, "ended_at": "2026-04-01T09:00:00.000Z",
        "cost": "{}",
    }  # fmt: skip
    if chance.random() < 0.5:
        row["entry"] = chance.randint(1, entries)
        taken = "DELETE FROM step_log WHERE run_id = ? AND entry = ?"
        db.execute(taken, (run, row["entry"]))
    row["hash"] = link(head, in_run("step", row))
    (last,) = db.execute("SELECT max(position) FROM step_log").fetchone()
    _add(db, "step_log", {"position": last + 1, **row})
    end = max(row["entry"], entries)
    db.execute("UPDATE runs SET head = ?, entries = ? WHERE id = ?", (row["hash"], end, run))
    return f"insert {row['entry']} of {entries}"


def reorder(db: sqlite3.Connection, chance: random.Random) -> str:
    """Two neighbours change places, with all they say, or only their numbers."""
    table = chance.choice(("events", "step_log"))
    (last,) = db.execute(f"SELECT max(position) FROM {table}").fetchone()  # noqa: S608
    one = chance.randint(1, last - 1)
    two = chance.randint(one + 1, last)
    if table == "step_log":  # where a step lies among those of other runs nobody says
        pairs = db.execute(
            "SELECT a.position, b.position FROM step_log a JOIN step_log b"
            " ON a.run_id = b.run_id AND a.position < b.position"
        ).fetchall()
        one, two = chance.choice(pairs)
    for before, after in ((one, -1), (two, one), (-1, two)):
        db.execute(f"UPDATE {table} SET position = ? WHERE position = ?", (after, before))  # noqa: S608
    return f"reorder {table} {one} {two}"


def truncate(db: sqlite3.Connection, chance: random.Random) -> str:
    """The newest events are gone, and everything else is made to fit."""
    (last,) = db.execute("SELECT max(position) FROM events").fetchone()
    kept = chance.randint(0, last - 1)
    db.execute("DELETE FROM events WHERE position > ?", (kept,))
    for run, in db.execute("SELECT id FROM runs").fetchall():
        entry, head = db.execute(
            "SELECT entry, run_hash FROM events WHERE run_id = ? ORDER BY entry DESC LIMIT 1", (run,)
        ).fetchone() or (0, CHAIN_START)
        db.execute("DELETE FROM step_log WHERE run_id = ? AND entry > ?", (run, entry))
        if entry:
            db.execute("UPDATE runs SET head = ?, entries = ? WHERE id = ?", (head, entry, run))
        else:
            db.execute("DELETE FROM runs WHERE id = ?", (run,))
    _renumber(db)
    return f"truncate to {kept} of {last}"


def rewrite(db: sqlite3.Connection, chance: random.Random) -> str:
    """Something is changed, and every hash and head after it is made anew."""
    said = "flip " + chance.choice(("step_log", "events"))
    if said == "flip step_log":
        position = _any(db, "step_log", chance)
        db.execute("UPDATE step_log SET code = code || '2' WHERE position = ?", (position,))
    else:
        position = _any(db, "events", chance)
        db.execute("UPDATE events SET actor = actor || '2' WHERE position = ?", (position,))
    rehash(db)
    return f"rewrite after {said} {position}"


ATTACKS: Final[tuple[Attack, ...]] = (flip, delete, insert, reorder, truncate, rewrite)


def rehash(db: sqlite3.Connection) -> None:
    """Make every hash and head fit what the rows say."""
    db.row_factory = sqlite3.Row
    for (run,) in db.execute("SELECT id FROM runs").fetchall():
        head, number = CHAIN_START, 0
        entries = [("step", row) for row in db.execute("SELECT * FROM step_log WHERE run_id = ?", (run,))]
        entries += [("event", row) for row in db.execute("SELECT * FROM events WHERE run_id = ?", (run,))]
        for kind, row in sorted(entries, key=lambda each: each[1]["entry"]):
            said = {name: row[name] for name in (STEP_COLUMNS if kind == "step" else EVENT_COLUMNS)}
            if kind == "step":
                said["attested"] = bool(said["attested"])
            head, number = link(head, in_run(kind, said)), number + 1
            name, table = ("hash", "step_log") if kind == "step" else ("run_hash", "events")
            db.execute(f"UPDATE {table} SET {name} = ? WHERE position = ?", (head, row["position"]))  # noqa: S608
        db.execute("UPDATE runs SET head = ?, entries = ? WHERE id = ?", (head, number, run))
    head = CHAIN_START
    for row in db.execute("SELECT * FROM events ORDER BY position").fetchall():
        head = link(head, sealed(dict(row)))
        db.execute("UPDATE events SET hash = ? WHERE position = ?", (head, row["position"]))
    db.row_factory = None


def _renumber(db: sqlite3.Connection) -> None:
    """Step logs without a gap in their numbers."""
    rows = db.execute("SELECT position FROM step_log ORDER BY position").fetchall()
    for number, (position,) in enumerate(rows, 1):
        db.execute("UPDATE step_log SET position = ? WHERE position = ?", (number, position))


def _any(db: sqlite3.Connection, table: str, chance: random.Random) -> int:
    return int(chance.choice(db.execute(f"SELECT position FROM {table}").fetchall())[0])  # noqa: S608


def _other(value: Any, chance: random.Random) -> Any:
    """Another value than this one, of its kind or of none."""
    if value is None:
        return chance.choice(("x", 1, b"\xff"))
    if isinstance(value, int):
        return value + chance.choice((-1, 1, 7))
    text = str(value)
    place = chance.randrange(len(text)) if text else 0
    others = [text[:place] + chr(ord(text[place]) ^ 1) + text[place + 1 :]] if text else []
    return chance.choice([*others, text + " ", None if chance.random() < 0.2 else text + "\x00", b"\xff\xfe"])


def _add(db: sqlite3.Connection, table: str, row: dict[str, Any]) -> None:
    marks = ", ".join("?" * len(row))
    db.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", tuple(row.values()))  # noqa: S608
