"""Closes a run: its steps are compared with what they should be, and its truths and verdict are derived."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from server.contract.digest import canonical_json
from server.contract.run import RunState, Truths, verdict_of
from server.contract.topology import compare, fingerprint, topology
from server.domain.drift import drift_verdict
from server.storage import run_store
from server.storage.database import Connection
from server.storage.event_store import append_event


def close_run(
    connection: Connection, run_id: str, end: RunState, *, actor: str, now: str,
    claimed: Sequence[str] | str | None = None, why: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """End a run: `violated` where its rigid part differs, else as said. How it conforms follows from its step log.

    A claim that does not match the log is kept beside it, and said.
    """
    row = run_store.find_run(connection, run_id)
    blocks = run_store.canonical_of(row)
    begun = run_store.blocks_of(connection, run_id)
    for block in begun:
        if block.state == "running":
            run_store.end_block(connection, run_id, block.code, "interrupted", actor=actor, now=now, why=why)
    steps = run_store.taken_steps(connection, run_id)
    comparison = compare(blocks, steps, [block.code for block in begun], completed=end == "completed")
    if comparison.conformance == "violation" and end in ("completed", "failed"):
        end, why = "violated", f"a rigid block was skipped, reordered or altered: {comparison.first_difference}"
    taken = topology(steps)
    drift = drift_verdict(comparison.conformance, taken, json.loads(row.known), novelty=row.novelty)
    claim = claimed if isinstance(claimed, str) or claimed is None else fingerprint(list(claimed))
    verdict = verdict_of(Truths(end, row.outcome, row.delivery))
    run_store.move(
        connection, run_id, row.state, end, actor=actor, now=now, why=why, ended_at=now,
        topology=canonical_json(list(taken)), fingerprint=fingerprint(taken), claimed_topology=claim,
        conformance=comparison.conformance, drift=drift, verdict=verdict,
        first_difference=canonical_json(comparison.first_difference), deadline_at=None,
    )  # fmt: skip
    answer = {
        "run": run_id, "state": end, "verdict": verdict, "topology": list(taken),
        "fingerprint": fingerprint(taken),
        "canonical": [code for block in json.loads(row.canonical) for code in block["steps"]],
        "canonical_fingerprint": row.canonical_fingerprint, "conformance": comparison.conformance, "drift": drift,
        "first_difference": comparison.first_difference,
        "claim_matches": None if claim is None else claim == fingerprint(taken),
    }  # fmt: skip
    truths = {"outcome": row.outcome, "delivery": row.delivery}
    append_event(connection, "run.closed", {**answer, **truths}, actor=actor, now=now, run_id=run_id)
    return answer
