"""A human's answer to what waits for one: approve, reject or send back, once, and only exactly what was asked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row

from server.actions import holding
from server.contract.digest import instant
from server.contract.redaction import Redactor
from server.contract.refusals import Refused
from server.domain.consequence import permissions, urgency_of, what_changes
from server.domain.decision import (
    EVENT_OF,
    STATE_OF,
    answers_to,
    carried_in_words,
    digest_of_question,
    may_answer,
    may_decide,
    state_at,
)
from server.domain.gap import after_answer
from server.storage import finding_store
from server.storage.access_store import Caller
from server.storage.database import Connection
from server.storage.event_store import append_event

LONGEST_REASON: Final = 4096
_REDACTOR: Final = Redactor()


def decide(
    connection: Connection, caller: Caller, decision: str, answer: str, *, digest: str, why: str | None = None,
    now: datetime,
) -> dict[str, Any]:  # fmt: skip
    """Answer an open decision: `approve`, `reject`, or `changes`, which sends it back to whoever proposed it.

    `digest` is that of what the person was shown; who sends something back says `why`. The answer to a hold goes
    to its minion as an order: what follows there the minion says (`shown`, `carried`).
    Only who came in as a person, with scope reviewer or admin, may; the door says so (`Caller.door`). Raises
    `NotFound`, `BadUse`, and `Refused` for anybody else, another digest, a second answer, or one that is too late.
    """
    may_decide(caller.scope, caller.door)
    at, row = instant(now), finding_store.find_decision(connection, decision)
    kept = digest_of_question(row.kind, row.subject, row.question, json.loads(row.evidence))
    stands = state_at(row.state, row.expires_at, at)
    said = None if why is None else _REDACTOR.text(why)[:LONGEST_REASON]
    may_answer(row.id, row.kind, stands, answer=answer, why=said, asked=row.digest, shown=digest, kept=kept)
    ending = STATE_OF[answer]
    if not finding_store.answer(connection, row.id, ending, by=caller.id, name=caller.name, why=said, now=at):
        hint = "hq decisions --state any shows it"
        raise Refused("decided", f"The decision {row.id} was answered meanwhile.", hint=hint)
    told = {"decision": row.id, "kind": row.kind, "subject": row.subject, "digest": row.digest, "why": said}
    who = {"door": caller.door, "by": caller.name}
    if row.kind == holding.KIND:
        told["order"] = holding.order_of(row.id)
    append_event(connection, f"decision.{EVENT_OF[answer]}", {**told, **who}, actor=caller.id, now=at)
    state = None
    if row.kind == "gap":
        state = _gap_answered(connection, row, answer, said, actor=caller.id, at=at)
    elif row.kind == holding.KIND:
        holding.send_answer(connection, row, answer, by=caller, now=at)
        state = "waiting"
    return {"decision": row.id, "state": ending, "subject": row.subject, "subject_state": state}


def shown(row: Row[Any], *, now: datetime, links: str | None) -> dict[str, Any]:
    """A decision as people and sessions see it; `links` is what the address of its page begins with.

    `changes` and `permissions` say what follows from a yes, `answers` which ones it takes, `carried` of a hold how
    far the answer came on its minion.
    """
    evidence, state = json.loads(row.evidence), state_at(row.state, row.expires_at, instant(now))
    about = evidence if isinstance(evidence, dict) else {}
    words = carried_in_words(row.carried, str(about.get("minion")), row.carried_why)
    carried = {"carried": row.carried, "carried_words": words} if words else {}
    names = ("id", "kind", "subject", "question", "digest", "asked_by", "asked_at", "expires_at")
    answers = ("answered_by", "answered_name", "answered_at", "why")
    answer = {name: getattr(row, name) for name in answers if getattr(row, name)}
    return {
        **{name: getattr(row, name) for name in names}, "changes": what_changes(row.kind, about),
        "permissions": permissions(row.kind, about), "urgency": urgency_of(row.kind, about, row.expires_at),
        "evidence": evidence, "state": state, "answers": list(answers_to(row.kind)) if state == "open" else [],
        **answer, **carried, "link": link_to(row.id, links),
    }  # fmt: skip


def seen(connection: Connection, decision: str, *, now: datetime, links: str | None = None) -> dict[str, Any]:
    """A decision, by its id or the beginning of one, as it is shown (a query). Raises `NotFound`, `Refused`."""
    return shown(finding_store.look_for_decision(connection, decision), now=now, links=links)


def listed(
    connection: Connection, state: str, limit: int | None = None, *, now: datetime, links: str | None = None,
    newest: bool = False,
) -> list[dict[str, Any]]:  # fmt: skip
    """Decisions of a state, or of `any`, the oldest first unless `newest` (a query)."""
    asked = None if state == "any" else state
    rows = finding_store.list_decisions(connection, state=asked, now=instant(now), limit=limit, newest=newest)
    return [shown(row, now=now, links=links) for row in rows]


def digest_of_shown(said: Mapping[str, Any]) -> str:
    """The digest of a decision as somebody was shown it: what their answer is an answer to."""
    return digest_of_question(said["kind"], said["subject"], said["question"], said["evidence"])


def link_to(decision: str, links: str | None) -> str | None:
    """Where a person signs in and decides; None where HQ answers at no address."""
    return None if links is None else f"{links}/decisions/{decision}"


def _gap_answered(
    connection: Connection, row: Row[Any], answer: str, why: str | None, *, actor: str, at: str
) -> str:
    """What becomes of the gap that a proposal was made for: it stays open until a run passes with it.

    Why a proposal was sent back stands with the gap: whoever proposes the next one sees it there.
    """
    gap = finding_store.find_gap(connection, row.subject)
    if gap.state != "proposed" or gap.decision_id != row.id:
        hint = "list_gaps shows how it stands"
        raise Refused("proposal_gone", f"The proposal for the gap {gap.id} stands no more.", hint=hint)
    state, sent_back = after_answer(answer == "approve"), why if answer == "changes" else None
    finding_store.set_gap(connection, gap.id, state=state, sent_back=sent_back)
    told = {"gap": gap.id, "decision": row.id, "sent_back": sent_back}
    append_event(connection, f"gap.{state}", told, actor=actor, now=at)
    return state
