"""What minions report of their runs: each revision taken once, its steps logged once, compared by HQ itself.

A report is what `minion show RUN --json` prints. HQ takes a minion's word for what happened, and nobody's for what
follows from it: topology, conformance and drift are computed here, where the report has steps (DESIGN §7 "Audit").
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row

from server.actions.escalate import record_gap
from server.actions.ground import ROUTINE_PROCESS, VARIANT_OF, blocks_of
from server.actions.joining import joined_minion
from server.contract.digest import canonical_json, digest_of, instant
from server.contract.documents import admit
from server.contract.joining import Receipt, Refusal, Reports
from server.contract.process import Process
from server.contract.redaction import Redactor
from server.contract.refusals import BadDocument
from server.contract.reports import RunReport
from server.contract.run import GAP_TYPES, RunState, has_ended, way_to
from server.contract.topology import CanonicalBlock, compare, fingerprint, topology
from server.domain.drift import drift_verdict
from server.storage import routine_facts, run_store
from server.storage.access_store import Caller
from server.storage.database import Connection
from server.storage.event_store import append_event, append_steps

_REDACTOR: Final = Redactor()
_LONGEST: Final = 65_536


def take_reports(
    connection: Connection, caller: Caller, processes: Mapping[str, Process], said: Reports, *, now: datetime
) -> dict[str, Any]:
    """Take reports of a minion's runs, all of them in one transaction; which were taken, and which never will be.

    A revision that was taken before is taken again, and nothing is done. Raises `Refused` for another's token.
    """
    minion = joined_minion(connection, caller, said.minion)
    taken: list[tuple[str, int]] = []
    reports, refused = _read(said)
    for report in reports:
        row = run_store.known_run(connection, report.id)
        problem = _problem(row, minion, report)
        if problem is not None:
            refused.append(problem)
            continue
        if row is None:
            row = _opened(connection, processes[ROUTINE_PROCESS], minion, report, actor=caller.id)
        if row.reported is None or report.revision > row.reported:
            _take(connection, caller, row, report, now=now)
        taken.append((report.id, report.revision))
    return Receipt(taken=tuple(taken), refused=tuple(refused)).model_dump(mode="json")


def _read(said: Reports) -> tuple[list[RunReport], list[Refusal]]:
    """The reports that can be read, and why the others cannot."""
    reports, refused = [], []
    for each in said.reports:
        try:
            reports.append(admit(RunReport, each, source="The report"))
        except BadDocument as problem:
            refused.append(Refusal(id=str(each.get("id"))[:64], code=problem.code, sentence=problem.sentence))
    return reports, refused


def _problem(row: Row[Any] | None, minion: Row[Any], report: RunReport) -> Refusal | None:
    """Why a report is not taken, however often it comes; None where it is."""
    if row is None or (row.reported is not None and report.revision <= row.reported):
        return None
    if row.minion_id != minion.id or row.source != "observed":
        says = f"The run {report.id} is not one of this minion's."
        return Refusal(id=report.id, code="not_its_run", sentence=says)
    if way_to(row.state, report.state) is None:
        says = f"The run {report.id} is {row.state}, and cannot become {report.state}."
        return Refusal(id=report.id, code="illegal_move", sentence=says)
    return None


def _opened(
    connection: Connection, process: Process, minion: Row[Any], report: RunReport, *, actor: str
) -> Row[Any]:
    """A run that HQ did not order: opened by its minion, by its own cron or by hand there."""
    variant = VARIANT_OF.get(report.trigger, "V01")
    blocks = _blocks(process, variant, report.canonical)
    routine_id = routine_facts.named(connection, report.routine, minion.id)
    routine_id = routine_id or routine_facts.once_named(connection, report.routine, minion.id)
    run = {
        "id": report.id, "order_key": f"minion:{report.id}", "routine": report.routine,
        # A routine that only its minion knows has no id here.
        "routine_id": routine_id or f"{minion.id}:{report.routine}",
        "minion_id": minion.id, "trigger": report.trigger, "process": process.code, "variant": variant,
        "source": "observed", "known": canonical_json([list(report.canonical)]), "novelty": None,
    }  # fmt: skip
    names = {block.code: block.name for block in process.blocks}
    run_store.open_run(connection, run, blocks, names, actor=actor, now=report.created_at)
    return run_store.find_run(connection, report.id)


def _take(connection: Connection, caller: Caller, row: Row[Any], report: RunReport, *, now: datetime) -> None:
    """Write down what a report says that was not written before."""
    at = instant(now)
    _log_steps(connection, row, report)
    ended = has_ended(report.state)
    compared = _compared(connection, row, report) if ended else {}
    changes = {
        "outcome": report.outcome, "delivery": report.delivery, "verdict": report.verdict,
        "summary": _text(report.summary), "details": _text(report.details), "why": _text(report.why),
        "started_at": report.started_at, "ended_at": report.ended_at, "reported": report.revision, **compared,
    }  # fmt: skip
    for before, after in _moves(row.state, report.state):
        run_store.move(connection, row.id, before, after, actor=caller.id, now=at)
    run_store.set_run(connection, row.id, **changes)
    told = {
        "revision": report.revision, "state": report.state, "verdict": report.verdict, "outcome": report.outcome,
        "delivery": report.delivery, "text": digest_of([changes["summary"], changes["details"]]), **compared,
    }  # fmt: skip
    append_event(connection, "run.reported", told, actor=caller.id, now=at, run_id=row.id)
    for gap in report.gaps:
        if gap.gap_type in GAP_TYPES:
            record_gap(
                connection, caller, gap.gap_type, gap.requested_code, gap.description or gap.requested_code,
                agent_id=row.routine, run=row.id, client_key=f"gap:{gap.id}", now=now,
            )  # fmt: skip


def _log_steps(connection: Connection, row: Row[Any], report: RunReport) -> None:
    """Log the blocks and steps that were not logged before: a minion's log only grows."""
    said = [(block, step) for block in report.blocks for step in block.steps if step.ended_at is not None]
    said.sort(key=lambda each: each[1].ended_at or "")
    known = run_store.count_steps(connection, row.id)
    fresh = [
        {"block": block.code, "code": _text(step.code, 200), "kind": step.kind, "state": step.state,
         "why": _text(step.why), "agent": row.routine, "attested": False, "started_at": step.started_at,
         "ended_at": step.ended_at, "cost": "{}", "digest_in": None, "digest_out": None}
        for block, step in said[known:]
    ]  # fmt: skip
    append_steps(connection, row.id, fresh)
    for block in report.blocks:
        if block.started_at is not None:
            run_store.keep_block(connection, row.id, block.model_dump(mode="json", exclude={"steps"}))


def _compared(connection: Connection, row: Row[Any], report: RunReport) -> dict[str, Any]:
    """How the run's steps stand to the canonical ones: HQ's own finding where it has them, else the minion's."""
    steps = run_store.taken_steps(connection, row.id)
    taken: Sequence[str] = report.topology
    conformance, difference = report.conformance or "incomplete", report.first_difference
    if steps:
        begun = [block.code for block in run_store.blocks_of(connection, row.id)]
        found = compare(run_store.canonical_of(row), steps, begun, completed=report.state == "completed")
        taken, conformance, difference = topology(steps), found.conformance, found.first_difference
    return {
        "topology": canonical_json(list(taken)), "fingerprint": fingerprint(taken),
        "claimed_topology": report.fingerprint, "conformance": conformance,
        "drift": drift_verdict(conformance, taken, json.loads(row.known), novelty=row.novelty),
        "first_difference": canonical_json(difference),
    }  # fmt: skip


def _moves(before: RunState, after: RunState) -> list[tuple[RunState, RunState]]:
    """The moves from one state to another, by way of those between."""
    way = way_to(before, after) or ()
    return list(zip((before, *way), way, strict=False))


def _blocks(process: Process, variant: str, canonical: Sequence[str]) -> list[CanonicalBlock]:
    """The blocks of a run that its minion opened: what it took for canonical, in the process's blocks."""
    chosen = next((each for each in process.variants if each.code == variant), None)
    own = blocks_of(process, chosen)
    rigid = {code for block in own if block.kind == "rigid" for code in block.steps}
    free = tuple(code for code in canonical if code not in rigid)
    return [CanonicalBlock(b.code, b.kind, free or b.steps) if b.kind == "elastic" else b for b in own]


def _text(text: str | None, most: int = _LONGEST) -> str | None:
    return None if text is None else _REDACTOR.text(text)[:most]

