"""Sees that nothing stays open whose time is over: runs past their deadline, decisions that nobody answered."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from server.actions.compare import close_run
from server.contract.digest import instant
from server.domain.gap import after_answer
from server.storage import finding_store, run_store
from server.storage.database import Connection
from server.storage.event_store import append_event

# At most so many of each kind in one transaction: others wait for the writer too.
AT_ONCE: Final = 100
SWEEPER: Final = "hq"


def sweep(connection: Connection, *, now: datetime) -> int:
    """End what is over: runs become `interrupted`, with their open blocks, decisions `expired`; how many.

    When it answers less than `AT_ONCE`, nothing more is over.
    """
    at = instant(now)
    runs = run_store.overdue(connection, at, limit=AT_ONCE)
    for run in runs:
        why = f"no finish by its deadline, {run.deadline_at}"
        close_run(connection, run.id, "interrupted", actor=SWEEPER, now=at, why=why)
    decisions = finding_store.late_decisions(connection, at, limit=AT_ONCE)
    for decision in decisions:
        _expire(connection, decision.id, decision.kind, decision.subject, at)
    return max(len(runs), len(decisions))


def anything_over(connection: Connection, *, now: datetime) -> bool:
    """Whether a sweep would end something (a query)."""
    at = instant(now)
    return bool(
        run_store.overdue(connection, at, limit=1) or finding_store.late_decisions(connection, at, limit=1)
    )


def _expire(connection: Connection, decision: str, kind: str, subject: str, at: str) -> None:
    finding_store.answer(connection, decision, "expired", by=SWEEPER, why=None, now=at)
    told = {"decision": decision, "kind": kind, "subject": subject}
    append_event(connection, "decision.expired", told, actor=SWEEPER, now=at)
    if kind != "gap":
        return
    gap = finding_store.find_gap(connection, subject)
    if gap.state == "proposed" and gap.decision_id == decision:
        state = after_answer(approved=False)
        finding_store.set_gap(connection, gap.id, state=state)
        append_event(connection, f"gap.{state}", {"gap": gap.id, "decision": decision}, actor=SWEEPER, now=at)
