"""How a run is written down: its moves, its events and what follows from each, as transactions for the writer.

Events and step logs are append-only and hash-chained per run; blocks, effects and gaps follow from them. Every
function here takes the writer's connection and belongs inside one transaction.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from minion.store.chained import STEP_COLUMNS, event_body, home_body, step_body
from minion.wire import Event, Order
from server.contract.digest import CHAIN_START, canonical_json, link, new_id
from server.contract.refusals import Refused
from server.contract.run import RunState, check_move
from server.contract.topology import canonical_sequence, fingerprint

if TYPE_CHECKING:
    from aiosqlite import Connection

# How the keys of HQ's orders begin.
FROM_HQ = "hq:"


async def open_run(db: Connection, order: Order, *, folder: str, lock: Mapping[str, str], now: str) -> None:
    """Insert a run in state `draft`. Its key is unique: raises `Refused` when the order was taken before."""
    blocks = [{"code": b.code, "kind": b.kind, "steps": list(b.steps)} for b in order.blocks]
    row = {
        "id": order.run_id, "order_key": order.key, "routine_id": order.routine["id"],
        "routine": order.routine["name"], "trigger": order.trigger, "state": "draft", "outcome": "unknown",
        "delivery": "none", "verdict": "running", "engine": order.engine, "process": order.process,
        "variant": order.variant, "canonical": canonical_json(blocks), "topology": "[]",
        "canonical_fingerprint": fingerprint(canonical_sequence(order.blocks)), "lock": canonical_json(lock),
        "usage": "{}", "created_at": now, "folder": folder, "revision": 0,
    }  # fmt: skip
    marks = ", ".join(f":{name}" for name in row)
    try:
        await db.execute(f"INSERT INTO runs ({', '.join(row)}) VALUES ({marks})", row)  # noqa: S608 - our names
    except sqlite3.IntegrityError as error:
        raise Refused(
            "order_taken", f"The order {order.key} was run before.", hint="give another key: an order is run once"
        ) from error
    if order.key.startswith(FROM_HQ):
        # Whoever sends it again must find it, also when its run was pruned long since.
        await db.execute("INSERT INTO order_keys VALUES (?, ?, ?)", (order.key, order.run_id, now))
    said = {"key": order.key, "routine": order.routine_digest, "trigger": order.trigger}
    await append_event(db, order.run_id, "run.opened", said, at=now)


async def move(
    db: Connection, run_id: str, before: RunState, after: RunState, *, now: str, why: str | None = None
) -> None:
    """Take a run from one state to another: a compare-and-set, and its event in the same transaction.

    Raises `IllegalMove` for a move the table does not have, `Refused` when the run is in another state.
    """
    check_move(before, after)
    cursor = await db.execute(
        "UPDATE runs SET state = ?, revision = revision + 1 WHERE id = ? AND state = ?", (after, run_id, before)
    )
    if cursor.rowcount != 1:
        raise Refused("run_moved", f"The run {run_id} is no longer {before}.", hint=f"minion show {run_id}")
    if after == "running":
        await db.execute("UPDATE runs SET started_at = coalesce(started_at, ?) WHERE id = ?", (now, run_id))
    await append_event(db, run_id, "run.moved", {"from": before, "to": after, "why": why}, at=now)


async def append_event(
    db: Connection,
    run_id: str,
    type_: str,
    data: Mapping[str, Any],
    *,
    at: str,
    block: str | None = None,
    seq: int | None = None,
) -> None:
    """Add one event to a run's chain; `seq` is the runner's number, None for the daemon's own events."""
    ordinal, previous = await _chain_end(db, "events", run_id)
    text = canonical_json(dict(data))
    body = event_body(run_id, ordinal, seq, at, type_, block, text)
    await db.execute(
        "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (run_id, ordinal, seq, at, type_, block, text, link(previous, body)),
    )


async def take_event(db: Connection, run_id: str, event: Event) -> bool:
    """Write down one event of the runner and what follows from it; False when it was taken before."""
    known = await db.execute_fetchall("SELECT 1 FROM events WHERE run_id = ? AND seq = ?", (run_id, event.seq))
    if list(known):
        return False
    data = event.data
    await append_event(db, run_id, event.type, data, at=event.at, block=event.block, seq=event.seq)
    follow = _FOLLOWS.get(event.type)
    if follow is not None:
        try:
            await follow(db, run_id, event, data)
        except sqlite3.IntegrityError as error:
            raise ValueError(f"the event {event.type} contradicts an earlier one: {error}") from error
    return True


async def run_of_key(db: Connection, key: str) -> str | None:
    """The run that was opened for an order of this key, also one that was pruned; None where none was."""
    query = "SELECT id FROM runs WHERE order_key = ? UNION SELECT run_id FROM order_keys WHERE key = ?"
    rows = list(await db.execute_fetchall(query, (key, key)))
    return str(rows[0][0]) if rows else None


async def last_taken(db: Connection, run_id: str) -> int:
    """The number up to which a runner's events were all written down; 0 when none was, or one is missing."""
    query = "SELECT coalesce(max(seq), 0), count(seq) FROM events WHERE run_id = ?"
    ((last, taken),) = [tuple(row) for row in await db.execute_fetchall(query, (run_id,))]
    return int(last) if last == taken else 0


async def _session_opened(db: Connection, run_id: str, event: Event, data: Mapping[str, Any]) -> None:
    values = (data["session_id"], run_id, data["engine"], data["sandbox"], event.at)
    await db.execute("INSERT INTO sessions VALUES (?, ?, ?, ?, ?)", values)
    await db.execute("UPDATE runs SET sandbox = ? WHERE id = ?", (data["sandbox"], run_id))


async def _block_started(db: Connection, run_id: str, event: Event, data: Mapping[str, Any]) -> None:
    # In a run that goes on after an interruption, the block that it had come to is entered again.
    cursor = await db.execute(
        "UPDATE block_runs SET state = 'running', why = NULL, ended_at = NULL"
        " WHERE run_id = ? AND code = ? AND state = 'interrupted'",
        (run_id, event.block),
    )
    if cursor.rowcount == 1:
        return
    await db.execute(
        "INSERT INTO block_runs SELECT ?, count(*) + 1, ?, ?, ?, 'running', NULL, ?, NULL"
        " FROM block_runs WHERE run_id = ?",
        (run_id, event.block, data["name"], data["kind"], event.at, run_id),
    )


async def _block_finished(db: Connection, run_id: str, event: Event, data: Mapping[str, Any]) -> None:
    cursor = await db.execute(
        "UPDATE block_runs SET state = ?, why = ?, ended_at = ? WHERE run_id = ? AND code = ?",
        (data["state"], data["why"], event.at, run_id, event.block),
    )
    if cursor.rowcount == 0:  # never entered: an earlier block failed
        await db.execute(
            "INSERT INTO block_runs SELECT ?, count(*) + 1, ?, ?, ?, ?, ?, NULL, NULL"
            " FROM block_runs WHERE run_id = ?",
            (run_id, event.block, data["name"], data["kind"], data["state"], data["why"], run_id),
        )


async def _step_finished(db: Connection, run_id: str, event: Event, data: Mapping[str, Any]) -> None:
    await insert_step(db, run_id, event.block, data, ended_at=event.at)


async def insert_step(
    db: Connection, run_id: str, block: str | None, data: Mapping[str, Any], *, ended_at: str
) -> None:
    """Insert a step log row, once, at the step's end, linked to the one before it."""
    ordinal, previous = await _chain_end(db, "step_logs", run_id)
    row = {
        "run_id": run_id, "ordinal": ordinal, "number": data["number"], "block": block, "code": data["code"],
        "kind": data["kind"], "state": data["state"], "why": data["why"], "agent": data["agent"],
        "started_at": data["started_at"], "ended_at": ended_at,
        "cost": canonical_json(data.get("cost") or {}),
        "digest_in": data["digest_in"], "digest_out": data["digest_out"],
    }  # fmt: skip
    values = [row[name] for name in STEP_COLUMNS]
    marks = ", ".join("?" * (len(values) + 1))
    await db.execute(f"INSERT INTO step_logs VALUES ({marks})", (*values, link(previous, step_body(row))))  # noqa: S608


async def _effect_staged(db: Connection, run_id: str, event: Event, data: Mapping[str, Any]) -> None:
    names = ("key", "kind", "target", "title", "digest", "bytes", "state", "detail")
    await db.execute(
        "INSERT INTO effects"
        " (id, run_id, ordinal, key, kind, target, title, digest, bytes, state, detail, staged_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (data["id"], run_id, data["ordinal"], *(data[name] for name in names), event.at),
    )


async def _effect_intent(db: Connection, run_id: str, event: Event, data: Mapping[str, Any]) -> None:
    await db.execute(
        "UPDATE effects SET state = 'intended', intended_at = ? WHERE id = ? AND run_id = ?",
        (event.at, data["id"], run_id),
    )


async def _effect_result(db: Connection, run_id: str, event: Event, data: Mapping[str, Any]) -> None:
    await db.execute(
        "UPDATE effects SET state = ?, detail = ?, destination = ?, reverse = ?, settled_at = ?"
        " WHERE id = ? AND run_id = ?",
        (data["state"], data["detail"], data["destination"], data["reverse"], event.at, data["id"], run_id),
    )


async def _report(db: Connection, run_id: str, event: Event, data: Mapping[str, Any]) -> None:  # noqa: ARG001
    details = data["details"]
    if isinstance(details, dict):
        details = details["start"]
    await db.execute(
        "UPDATE runs SET outcome = ?, summary = ?, details = ? WHERE id = ?",
        (data["outcome"], data["summary"], details, run_id),
    )


async def _gap(db: Connection, run_id: str, event: Event, data: Mapping[str, Any]) -> None:
    await db.execute(
        "INSERT INTO gaps SELECT ?, id, routine, ?, ?, ?, ? FROM runs WHERE id = ?",
        (new_id("gap_"), data["gap_type"], data["requested_code"], data["description"], event.at, run_id),
    )


async def _decision(db: Connection, run_id: str, event: Event, data: Mapping[str, Any]) -> None:
    # What waits for an answer already is not asked again by every run that wonders.
    await db.execute(
        "INSERT INTO decisions (id, kind, routine_id, routine, question, subject, opened_at)"
        " SELECT ?1, 'question', routine_id, routine, ?2, ?3, ?4 FROM runs WHERE id = ?5 AND NOT EXISTS"
        " (SELECT 1 FROM decisions d WHERE d.routine_id = runs.routine_id AND d.kind = 'question'"
        "  AND d.question = ?2 AND d.answer IS NULL)",
        (data["id"], data["question"], canonical_json({"run": run_id}), event.at, run_id),
    )


async def _usage(db: Connection, run_id: str, event: Event, data: Mapping[str, Any]) -> None:  # noqa: ARG001
    rows = list(await db.execute_fetchall("SELECT usage FROM runs WHERE id = ?", (run_id,)))
    total = json.loads(rows[0][0])
    for name, amount in data.items():
        if name == "model":  # each that answered, in the order in which they first did
            total["models"] = list(dict.fromkeys((*total.get("models", ()), str(amount))))
        else:
            total[name] = round(total.get(name, 0) + amount, 6)
    await db.execute("UPDATE runs SET usage = ? WHERE id = ?", (canonical_json(total), run_id))


_FOLLOWS = {
    "session.opened": _session_opened,
    "block.started": _block_started,
    "block.finished": _block_finished,
    "step.finished": _step_finished,
    "effect.staged": _effect_staged,
    "effect.intent": _effect_intent,
    "effect.result": _effect_result,
    "report": _report,
    "gap": _gap,
    "decision": _decision,
    "usage": _usage,
}


async def append_home(db: Connection, kind: str, ref: str, body: Mapping[str, Any]) -> None:
    """Add a link to the home's own chain: the head of an ended run, or the tombstone of a pruned one."""
    rows = list(await db.execute_fetchall("SELECT hash FROM home_chain ORDER BY position DESC LIMIT 1"))
    text = canonical_json(dict(body))
    chained = link(rows[0][0] if rows else CHAIN_START, home_body(kind, ref, text))
    values = (kind, ref, text, chained)
    await db.execute("INSERT INTO home_chain (kind, ref, body, hash) VALUES (?, ?, ?, ?)", values)


async def chain_heads(db: Connection, run_id: str) -> dict[str, str]:
    """The last hashes of a run's two chains."""
    return {
        "events": (await _chain_end(db, "events", run_id))[1],
        "steps": (await _chain_end(db, "step_logs", run_id))[1],
    }


async def _chain_end(db: Connection, table: str, run_id: str) -> tuple[int, str]:
    """The next ordinal and the last hash of a run's chain in `table`."""
    query = f"SELECT ordinal, hash FROM {table} WHERE run_id = ? ORDER BY ordinal DESC LIMIT 1"  # noqa: S608
    rows = list(await db.execute_fetchall(query, (run_id,)))
    return (rows[0][0] + 1, rows[0][1]) if rows else (1, CHAIN_START)
