"""Gaps: what a run lacked is written down, merged with what was lacked before, and becomes urgent as it recurs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row

from server.contract.digest import canonical_json, instant, is_id
from server.contract.redaction import Redactor
from server.contract.refusals import BadUse, Refused
from server.contract.run import GAP_TYPES
from server.domain.consequence import joined_deltas
from server.domain.gap import STILL_OPEN, escalates, priority_of
from server.domain.skill_files import permission_delta, readable_skill
from server.storage import definition_store, finding_store
from server.storage.access_store import Caller, once
from server.storage.database import Connection
from server.storage.event_store import append_event
from server.storage.run_store import find_run

MOST_SAMPLES: Final = 10
LONGEST_SAMPLES: Final = 16_384
LONGEST_DESCRIPTION: Final = 4096
LONGEST_CODE: Final = 100
# Of so many times that a gap was met a human is shown what was said.
SHOWN_EVIDENCE: Final = 3
_REDACTOR: Final = Redactor()


def record_gap(
    connection: Connection, caller: Caller, gap_type: str, requested_code: str, description: str, *,
    agent_id: str | None = None, context_samples: Sequence[Mapping[str, Any]] = (), run: str | None = None,
    client_key: str | None = None, now: datetime,
) -> dict[str, Any]:  # fmt: skip
    """Write down that something was lacked; the same type and code again counts the gap that is open.

    From three times on it is of medium priority, from five of high (DESIGN §8). `run` is a run's id, also one
    that HQ has not heard of yet, or the beginning of one it has. Raises `BadUse`, `NotFound`, and `Refused` for
    a client key of another call.
    """
    at, code = instant(now), _REDACTOR.text(requested_code.strip())
    if gap_type not in GAP_TYPES:
        raise BadUse("bad_gap_type", f"{gap_type[:40]!r} is no type of gap.", hint=f"say {', '.join(GAP_TYPES)}")
    if not code or len(code) > LONGEST_CODE or not code.isprintable():
        hint = "give what was lacked a short name, such as LLM-SUMMARIZE-ALERT"
        raise BadUse("bad_requested_code", "The requested_code is no name of one line.", hint=hint)
    samples = canonical_json(_REDACTOR.data([dict(sample) for sample in context_samples]))
    if len(context_samples) > MOST_SAMPLES or len(samples) > LONGEST_SAMPLES:
        hint = f"give at most {MOST_SAMPLES}, of {LONGEST_SAMPLES:,} characters together"
        raise BadUse("too_many_samples", "The context_samples are too much.", hint=hint)
    said, agent = _REDACTOR.text(description)[:LONGEST_DESCRIPTION], _REDACTOR.text(agent_id or caller.name)
    run_id = run if run is None or is_id(run, "run_") else find_run(connection, run).id

    def do() -> dict[str, Any]:
        before = finding_store.open_gap(connection, gap_type, code)
        frequency = 1 if before is None else before.frequency + 1
        priority = priority_of(frequency)
        if before is None:
            fresh = {"gap_type": gap_type, "requested_code": code, "description": said, "state": "open"}
            gap_id = finding_store.add_gap(connection, {**fresh, "priority": priority}, now=at)
        else:
            gap_id = before.id
            finding_store.meet_again(connection, gap_id, frequency=frequency, priority=priority, now=at)
        evidence = {"run_id": run_id, "agent": agent, "description": said, "samples": samples}
        finding_store.add_evidence(connection, gap_id, evidence, frequency=frequency, now=at)
        reached = escalates(frequency - 1, frequency)
        told = {"gap": gap_id, "gap_type": gap_type, "requested_code": code, "frequency": frequency, "run": run_id}
        append_event(connection, "gap.recorded", {**told, "priority": priority}, actor=caller.id, now=at)
        state = "open" if before is None else before.state
        return {
            "gap": gap_id, "requested_code": code, "gap_type": gap_type, "frequency": frequency,
            "priority": priority, "state": state, "merged": before is not None, "escalated_to": reached,
        }  # fmt: skip

    request = {
        "gap_type": gap_type, "requested_code": code, "description": description, "agent_id": agent_id,
        "context_samples": [dict(sample) for sample in context_samples], "run": run,
    }  # fmt: skip
    return once(connection, caller.client, client_key, "record_gap", request, do, now=at)


def _lacked(connection: Connection, gap: Row[Any]) -> dict[str, Any]:
    """What a human should know of a gap before they answer: what was lacked, by whom, how often."""
    met = [
        {"by": each.agent, "at": each.at, "run": each.run_id, "description": each.description,
         "context_samples": json.loads(each.samples)}
        for each in finding_store.evidence_of(connection, gap.id, limit=SHOWN_EVIDENCE)
    ]  # fmt: skip
    return {
        "gap": gap.id, "gap_type": gap.gap_type, "requested_code": gap.requested_code, "priority": gap.priority,
        "frequency": gap.frequency, "description": gap.description, "met": met,
        **({"sent_back_before": gap.sent_back} if gap.sent_back else {}),
    }  # fmt: skip


def _asked_for(
    connection: Connection, skill: str | None, needs: Mapping[str, Sequence[str]] | None
) -> dict[str, Any]:
    """What a proposal brings, and what may be done then that may not be done today; nothing where nobody says."""
    said: dict[str, Any] = {}
    if needs is not None:
        said["needs"] = {kind: sorted(set(_REDACTOR.data(list(names)))) for kind, names in needs.items() if names}
    if skill is not None:
        row = definition_store.find_skill(connection, skill)
        before, version = None, row.version - 1
        if version:
            earlier = definition_store.find_skill(connection, skill, version=version)
            before = readable_skill(json.loads(earlier.archive))
        now = readable_skill(json.loads(row.archive))
        said["skill"] = {
            "name": row.name, "version": row.version, "digest": row.digest, "before": version or None,
        }  # fmt: skip
        if now is not None:
            said["permissions"] = joined_deltas([permission_delta(before, now)])
    return said


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"


def resolve_gap(
    connection: Connection, caller: Caller, gap: str, resolution: str, reason: str, *, skill: str | None = None,
    needs: Mapping[str, Sequence[str]] | None = None, now: datetime,
) -> dict[str, Any]:  # fmt: skip
    """Propose what closes a gap (`propose`: a human decides), or `decline` it.

    `skill` names a published one, whose newest version is proposed: what it may do that the one before might not
    is read from it. `needs` says what else may be done then that may not be done today, by kind: hosts, secrets,
    effects, tools. Raises `NotFound`, `BadUse`, and `Refused` for a gap that is over, or about which a human is
    asked already.
    """
    at, row = instant(now), finding_store.find_gap(connection, gap)
    if resolution not in ("propose", "decline"):
        raise BadUse("bad_resolution", f"{resolution[:40]!r} is no resolution.", hint="say propose or decline")
    if row.state not in STILL_OPEN:
        raise Refused("gap_over", f"The gap {row.id} is {row.state}.", hint="list_gaps shows the open ones")
    if row.state == "approved":
        says = f"What was proposed for {row.id} was approved by a human."
        raise Refused("gap_approved", says, hint="have a run use it: the first that passes closes the gap")
    said = _REDACTOR.text(reason)[:LONGEST_DESCRIPTION]
    if resolution == "decline":
        finding_store.set_gap(connection, row.id, state="declined", resolution=said, sent_back=None)
        if row.state == "proposed":  # nobody need answer any more
            who = {"by": caller.id, "name": caller.name}
            finding_store.answer(connection, row.decision_id, "withdrawn", **who, why=said, now=at)
            over = {"decision": row.decision_id, "kind": "gap", "subject": row.id, "why": said}
            append_event(connection, "decision.withdrawn", over, actor=caller.id, now=at)
        state, decision = "declined", None
    else:
        if row.state == "proposed":
            hint = f"decide {row.decision_id} first"
            raise Refused("gap_proposed", f"A proposal for {row.id} waits already.", hint=hint)
        question = f"Close the gap {row.requested_code} ({row.gap_type}, met {_times(row.frequency)}): {said}"
        shown = {**_lacked(connection, row), "proposal": said, "asked_by": caller.name}
        shown |= _asked_for(connection, skill, needs)
        decision = finding_store.ask(connection, "gap", row.id, question, shown, by=caller.id, now=at)
        fresh = {"resolution": said, "decision_id": decision, "sent_back": None}
        finding_store.set_gap(connection, row.id, state="proposed", **fresh)
        state = "proposed"
    told = {"gap": row.id, "state": state, "reason": said, "decision": decision}
    append_event(connection, f"gap.{state}", told, actor=caller.id, now=at)
    return {"gap": row.id, "requested_code": row.requested_code, "state": state, "decision": decision}
