"""How a run ends in the store: what was left open is closed, the truths are derived, old runs are pruned."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from minion.store.claims import claim_of
from minion.store.run_checks import CHECKS, checks_in
from minion.store.run_log import append_event, append_home, chain_heads, insert_step, move
from server.contract.digest import canonical_json, digest_of
from server.contract.run import RunState, Truths, Verdict, delivery_of, has_ended, verdict_of
from server.contract.topology import CanonicalBlock, TakenStep, compare, fingerprint, topology

if TYPE_CHECKING:
    from aiosqlite import Connection


async def end_run(
    db: Connection, run_id: str, end: RunState, *, now: str, why: str | None = None, hint: str | None = None,
    ended_at: str | None = None,
) -> RunState:  # fmt: skip
    """End a run: derive its topology, conformance, delivery and verdict, seal its chains; the final state.

    A `completed` or `failed` run whose rigid part was skipped, reordered or altered ends `violated`. `ended_at` is
    when it ended, if that was before `now`.
    """
    await close_what_is_open(db, run_id, now=ended_at or now)
    run = await _one(db, "SELECT * FROM runs WHERE id = ?", run_id)
    blocks = [CanonicalBlock(b["code"], b["kind"], tuple(b["steps"])) for b in json.loads(run["canonical"])]
    steps = [TakenStep(r["block"], r["code"], r["state"]) for r in await _steps(db, run_id)]
    begun = [r["code"] for r in await _rows(db, _BEGUN, run_id)]
    comparison = compare(blocks, steps, begun, completed=end == "completed")
    if comparison.conformance == "violation" and end in ("completed", "failed"):
        end, why = "violated", f"a rigid block was skipped, reordered or altered: {comparison.first_difference}"
    taken = topology(steps)
    truths = await _truths(db, run, end)
    await _file_missing_report(db, run, end, why, now=now)
    outcome = (await _one(db, "SELECT outcome FROM runs WHERE id = ?", run_id))["outcome"]
    await move(db, run_id, run["state"], end, now=now, why=why)
    await db.execute(
        "UPDATE runs SET delivery = ?, verdict = ?, topology = ?, fingerprint = ?, conformance = ?,"
        " first_difference = ?, why = ?, hint = ?, ended_at = ?, delivery_target = ?, runner_pid = NULL"
        " WHERE id = ?",
        (
            *(truths.delivery, verdict_of(truths), canonical_json(list(taken)), fingerprint(taken)),
            *(comparison.conformance, canonical_json(comparison.first_difference), why, hint, ended_at or now),
            *(await _delivery_target(db, run_id), run_id),
        ),
    )
    await _remember_delivery(db, run, truths)
    sealed = {"state": end, "outcome": outcome, "verdict": verdict_of(truths), **await chain_heads(db, run_id)}
    await append_home(db, "run", run_id, sealed)
    return end


async def restate(db: Connection, run_id: str, *, settled: str, again: bool = False) -> Verdict:
    """Derive an ended run's delivery and verdict anew, because an effect of it was settled; seal it again.

    Readers go by the newest seal; this one names the effect, and says no other end. `again`: the effect is not
    settled yet, but about to be performed once more, and what comes of it will be sealed too.
    """
    run = await _one(db, "SELECT * FROM runs WHERE id = ?", run_id)
    truths = await _truths(db, run, run["state"])
    verdict = verdict_of(truths)
    await db.execute(
        "UPDATE runs SET delivery = ?, verdict = ?, delivery_target = ?, revision = revision + 1 WHERE id = ?",
        (truths.delivery, verdict, await _delivery_target(db, run_id), run_id),
    )
    await _remember_delivery(db, run, truths)
    sealed = {"state": run["state"], "outcome": run["outcome"], "verdict": verdict, "settled": settled}
    sealed |= {"again": True} if again else {}
    await append_home(db, "run", run_id, sealed | await chain_heads(db, run_id))
    return verdict


async def last_heard(db: Connection, run_id: str) -> str | None:
    """When the last event of a run came; None when none did."""
    rows = await _rows(db, "SELECT max(at) AS at FROM events WHERE run_id = ?", run_id)
    return rows[0]["at"] if rows else None


async def close_what_is_open(db: Connection, run_id: str, *, now: str) -> None:
    """Steps and blocks without an end become `interrupted`, effects with an intent but no result `unknown`."""
    for row in await _rows(db, _OPEN_STEPS, run_id):
        data = json.loads(row["data"])
        ended = {"state": "interrupted", "why": "the run ended before it", "started_at": row["at"]}
        await insert_step(
            db, run_id, row["block"], {**data, **ended, "digest_out": digest_of(None)}, ended_at=now
        )
    await db.execute(
        "UPDATE block_runs SET state = 'interrupted', ended_at = ? WHERE run_id = ? AND state = 'running'",
        (now, run_id),
    )
    await db.execute(
        "UPDATE effects SET state = 'unknown', detail = 'interrupted: whether it happened is not known'"
        " WHERE run_id = ? AND state = 'intended'",
        (run_id,),
    )
    await db.execute(
        "UPDATE effects SET state = 'withheld', detail = 'the run ended before it', settled_at = ?"
        " WHERE run_id = ? AND state = 'staged'",
        (now, run_id),
    )


async def prune(db: Connection, *, keep: int, now: str) -> list[str]:
    """Remove all but the `keep` runs that ended last, each behind a tombstone; the folders that may go now.

    A run that has not ended is never pruned, and does not count. One with an effect that nobody settled is shown
    until somebody does, and counts apart: as many of those are kept again. Its end says how new a run is: one that
    took long would otherwise be gone the moment it ended. One whose report to HQ is not written down yet waits for
    that, a moment.
    """
    ended = [state for state in _STATES if has_ended(state)]
    marks = ", ".join("?" * len(ended))
    too_old: list[Any] = []
    for settled in (_SETTLED, f"NOT {_SETTLED}"):
        # Not by the clock, which may have been set back: the home's chain has the ends in their order.
        query = f"SELECT * FROM runs WHERE state IN ({marks}) AND {settled} ORDER BY {_END} DESC LIMIT -1 OFFSET ?"  # noqa: S608
        too_old += await db.execute_fetchall(query, (*ended, keep))
    unwritten = {row[0] for row in await db.execute_fetchall("SELECT run_id FROM outbox WHERE body IS NULL")}
    too_old = [run for run in too_old if run["id"] not in unwritten]
    folders = []
    for run in too_old:
        body = {name: run[name] for name in ("routine", "ended_at", "verdict")} | {"pruned_at": now}
        body["usage"] = json.loads(run["usage"])  # what was spent stays known for ever
        await append_home(db, "tombstone", run["id"], {**body, **await chain_heads(db, run["id"])})
        for table in ("events", "step_logs", "block_runs", "sessions", "effects", "gaps"):
            await db.execute(f"DELETE FROM {table} WHERE run_id = ?", (run["id"],))  # noqa: S608 - our names
        await db.execute("DELETE FROM runs WHERE id = ?", (run["id"],))
        folders.append(run["folder"])
    return folders


_STATES: Final[tuple[RunState, ...]] = ("completed", "failed", "cancelled", "timed_out", "interrupted", "violated")
_SETTLED: Final = "(id NOT IN (SELECT run_id FROM effects WHERE state IN ('unknown', 'intended')))"
# A run that was resumed ended again; one whose effect was settled afterwards only got another seal.
_END: Final = """(SELECT max(position) FROM home_chain
    WHERE ref = runs.id AND kind = 'run' AND json_extract(body, '$.settled') IS NULL)"""
_BEGUN: Final = "SELECT code FROM block_runs WHERE run_id = ? AND started_at IS NOT NULL ORDER BY ordinal"
_OPEN_STEPS: Final = """
SELECT at, block, data FROM events WHERE run_id = ? AND type = 'step.started'
    AND json_extract(data, '$.number') NOT IN (SELECT number FROM step_logs WHERE step_logs.run_id = events.run_id)
    ORDER BY ordinal
"""


async def _truths(db: Connection, run: Mapping[str, Any], end: RunState) -> Truths:
    effects = [row["state"] for row in await _rows(db, "SELECT state FROM effects WHERE run_id = ?", run["id"])]
    checks = checks_in(await _rows(db, CHECKS, run["id"]))
    expects = tuple((check["kind"], check["state"] == "passed") for check in checks)
    unknown = any(state == "unknown" for state in effects)
    return Truths(end, run["outcome"], delivery_of(effects), expects, unknown)


async def _remember_delivery(db: Connection, run: Mapping[str, Any], truths: Truths) -> None:
    if truths.delivery in ("delivered", "accepted"):
        await db.execute(
            # A run that began earlier and ended later tells nothing new: the instant only ever advances.
            "UPDATE routines SET last_delivered_at = max(coalesce(last_delivered_at, ''), ?) WHERE id = ?",
            (run["started_at"], run["routine_id"]),
        )


async def _file_missing_report(
    db: Connection, run: Mapping[str, Any], end: RunState, why: str | None, *, now: str
) -> None:
    """After a timeout, a cancel or a death the supervisor files the report with what is known (DESIGN §5.3)."""
    if run["summary"] is not None:
        return
    query = "SELECT count(*) AS n FROM step_logs WHERE run_id = ? AND kind = 'step' AND state = 'completed'"
    done = (await _one(db, query, run["id"]))["n"]
    words = {
        "timed_out": "Stopped at its time limit", "cancelled": "Cancelled", "interrupted": "Interrupted",
        "failed": "Stopped",
    }.get(end, "Ended without a report")  # fmt: skip
    because = f": {why.rstrip('.')}" if why else ""
    summary = f"{words} after {done} completed step{'' if done == 1 else 's'}{because}."
    report = {"outcome": "unknown", "summary": summary, "details": "", "filed_by": "supervisor"}
    claimed = await claim_of(db, run["id"])
    if claimed is not None:  # its session had reported, and its runner did not come to file it
        report = {**claimed, "filed_by": "supervisor"}
    await append_event(db, run["id"], "report", report, at=now)
    await db.execute(
        "UPDATE runs SET outcome = ?, summary = ?, details = ? WHERE id = ?",
        (report["outcome"], report["summary"], report["details"], run["id"]),
    )


async def _delivery_target(db: Connection, run_id: str) -> str | None:
    query = "SELECT destination FROM effects WHERE run_id = ? AND destination IS NOT NULL ORDER BY ordinal"
    places = [row["destination"] for row in await _rows(db, query, run_id)]
    return ", ".join(places) or None


async def _steps(db: Connection, run_id: str) -> list[Any]:
    query = "SELECT block, code, state FROM step_logs WHERE run_id = ? AND kind = 'step' ORDER BY number"
    return await _rows(db, query, run_id)


async def _rows(db: Connection, query: str, run_id: str) -> list[Any]:
    return list(await db.execute_fetchall(query, (run_id,)))


async def _one(db: Connection, query: str, run_id: str) -> Mapping[str, Any]:
    rows = await _rows(db, query, run_id)
    return dict(rows[0])
