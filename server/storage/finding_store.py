"""What HQ found out, or was told, is amiss: gaps with their evidence, and the decisions that wait for a human."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import Row, and_, bindparam, delete, func, insert, literal_column, or_, select, update

from server.contract.digest import begins_id, canonical_json, new_id
from server.contract.refusals import NotFound, Refused
from server.domain.decision import Carried, digest_of_question
from server.domain.gap import STILL_OPEN
from server.storage.database import Connection
from server.storage.event_store import append_event
from server.storage.prepared import Prepared
from server.storage.tables import DECISIONS, GAP_EVIDENCE, GAPS

# Of each gap the newest evidence is kept; how often it was met is counted for ever.
KEPT_EVIDENCE: Final = 50
# The states in so many words: SQLite takes a partial index only for a condition that says what the index says.
_OPEN: Final = Prepared(select(GAPS).where(
    GAPS.c.gap_type == bindparam("gap_type"), GAPS.c.requested_code == bindparam("requested_code"),
    GAPS.c.state.in_([literal_column(f"'{state}'") for state in STILL_OPEN]),
))  # fmt: skip
_MINE: Final = update(GAPS).where(GAPS.c.id == bindparam("gap"))
_MET_AGAIN: Final = Prepared(_MINE, "frequency", "priority", "last_at")
# What a minion waits with, or has not carried out yet.
_STANDING: Final = Prepared(
    select(DECISIONS)
    .where(
        DECISIONS.c.minion_id == bindparam("minion"), DECISIONS.c.minion_id.is_not(None),
        or_(DECISIONS.c.state == literal_column("'open'"), DECISIONS.c.carried.in_([
            literal_column("'waiting'"), literal_column("'taken'"),
        ])),
    )
    .order_by(DECISIONS.c.position)
)  # fmt: skip
_ADD_EVIDENCE: Final = Prepared(insert(GAP_EVIDENCE), "gap_id", "run_id", "agent", "description", "samples", "at")


def open_gap(connection: Connection, gap_type: str, requested_code: str) -> Row[Any] | None:
    """The open gap of what is lacked; None where there is none."""
    found: Row[Any] | None = _OPEN.one(connection, {"gap_type": gap_type, "requested_code": requested_code})
    return found


def add_gap(connection: Connection, gap: Mapping[str, Any], *, now: str) -> str:
    """Insert a gap that was met for the first time; its id."""
    gap_id = new_id("gap_")
    connection.execute(insert(GAPS), {"id": gap_id, "frequency": 1, "first_at": now, "last_at": now, **gap})
    return gap_id


def meet_again(connection: Connection, gap_id: str, *, frequency: int, priority: str, now: str) -> None:
    """Count an open gap once more."""
    said = {"frequency": frequency, "priority": priority, "last_at": now}
    _MET_AGAIN.do(connection, {"gap": gap_id, **said})


def add_evidence(
    connection: Connection, gap_id: str, evidence: Mapping[str, Any], *, frequency: int, now: str
) -> None:
    """Keep what was said of a gap this time; beyond the newest of them the oldest goes."""
    _ADD_EVIDENCE.do(connection, {"gap_id": gap_id, "at": now, **evidence})
    if frequency > KEPT_EVIDENCE and frequency % KEPT_EVIDENCE == 0:
        mine = GAP_EVIDENCE.c.gap_id == gap_id
        kept = select(GAP_EVIDENCE.c.position).where(mine).order_by(GAP_EVIDENCE.c.position.desc())
        oldest = connection.execute(kept.offset(KEPT_EVIDENCE - 1).limit(1)).scalar()
        connection.execute(delete(GAP_EVIDENCE).where(mine, GAP_EVIDENCE.c.position < oldest))


def set_gap(connection: Connection, gap_id: str, **changes: Any) -> None:
    """Change how a gap stands."""
    connection.execute(_MINE.values(**changes), {"gap": gap_id})


def find_gap(connection: Connection, text: str) -> Row[Any]:
    """The gap of this id, or the open one of this code. Raises `NotFound`, `Refused` where several fit."""
    row = connection.execute(select(GAPS).where(GAPS.c.id == text)).one_or_none()
    if row is not None:
        return row
    fits = select(GAPS).where(GAPS.c.requested_code == text, GAPS.c.state.in_(STILL_OPEN)).limit(2)
    found = list(connection.execute(fits))
    if len(found) > 1:
        ids = ", ".join(f"{each.id} ({each.gap_type})" for each in found)
        raise Refused("ambiguous_gap", f"Several gaps ask for {text[:60]}.", hint=f"give an id: {ids}")
    if not found:
        says = f"There is no open gap {text[:60]!r}."
        raise NotFound("no_such_gap", says, hint="list_gaps shows them; with state any also those that are over")
    return found[0]


def list_gaps(
    connection: Connection, *, states: Sequence[str] | None = None, gap_type: str | None = None, skip: int = 0,
    limit: int = 50,
) -> tuple[list[Row[Any]], int]:  # fmt: skip
    """Gaps, most often met first, and how many there are; in these states, of one type, if asked."""
    fits: list[sa.ColumnElement[bool]] = [] if states is None else [GAPS.c.state.in_(states)]
    fits += [] if gap_type is None else [GAPS.c.gap_type == gap_type]
    query = select(GAPS).where(*fits).order_by(GAPS.c.frequency.desc(), GAPS.c.last_at.desc(), GAPS.c.position)
    total = int(connection.execute(select(func.count()).select_from(GAPS).where(*fits)).scalar() or 0)
    return list(connection.execute(query.offset(skip).limit(limit))), total


def evidence_of(connection: Connection, gap_id: str, *, limit: int = 10) -> list[Row[Any]]:
    """What was said of a gap, the newest first."""
    query = select(GAP_EVIDENCE).where(GAP_EVIDENCE.c.gap_id == gap_id)
    return list(connection.execute(query.order_by(GAP_EVIDENCE.c.position.desc()).limit(limit)))


def ask(
    connection: Connection, kind: str, subject: str, question: str, evidence: Mapping[str, Any], *,
    by: str, now: str, expires_at: str | None = None, minion_id: str | None = None,
) -> str:  # fmt: skip
    """Put a decision before a human; its id. Its digest binds the answer to what was asked.

    `minion_id` is the minion on which a hold waits.
    """
    decision_id = new_id("dec_")
    text, digest = canonical_json(dict(evidence)), digest_of_question(kind, subject, question, evidence)
    connection.execute(insert(DECISIONS), {
        "id": decision_id, "kind": kind, "subject": subject, "question": question, "evidence": text,
        "digest": digest, "state": "open", "asked_by": by, "asked_at": now, "expires_at": expires_at,
        "minion_id": minion_id,
    })  # fmt: skip
    said = {"decision": decision_id, "kind": kind, "subject": subject, "digest": digest, "minion": minion_id}
    append_event(connection, "decision.asked", {**said, "expires_at": expires_at}, actor=by, now=now)
    return decision_id


def find_decision(connection: Connection, text: str) -> Row[Any]:
    """The decision of this whole id. Raises `NotFound`."""
    row = connection.execute(select(DECISIONS).where(DECISIONS.c.id == text)).one_or_none()
    if row is None:
        raise _no_decision(text)
    return row


def look_for_decision(connection: Connection, text: str) -> Row[Any]:
    """The one decision whose id begins so, to be looked at. Raises `NotFound`, `Refused` where several do.

    It is answered by its whole id: who begins to type one does not yet say which.
    """
    begun = select(DECISIONS).where(DECISIONS.c.id.startswith(text, autoescape=True)).limit(2)
    found = list(connection.execute(begun)) if begins_id(text, "dec_") else []
    if len(found) > 1:
        says = f"Several decisions begin with {text[:60]}."
        raise Refused("ambiguous_decision", says, hint="give more of the id")
    if not found:
        raise _no_decision(text)
    return found[0]


def _no_decision(text: str) -> NotFound:
    hint = "hq decisions --state any lists them all"
    return NotFound("no_such_decision", f"There is no decision {text[:60]}.", hint=hint)


def answer(
    connection: Connection, decision_id: str, state: str, *, by: str, name: str | None = None, why: str | None,
    now: str,
) -> bool:  # fmt: skip
    """Answer an open decision: a compare-and-set; False when somebody was faster.

    `by` is the id of who answers, `name` what they are called.
    """
    query = update(DECISIONS).where(DECISIONS.c.id == decision_id, DECISIONS.c.state == "open")
    said = {"answer": state, "answered_by": by, "answered_name": name, "answered_at": now, "why": why}
    done = connection.execute(query.values(state=state, **said))
    return done.rowcount == 1


def standing_holds(connection: Connection, minion_id: str) -> list[Row[Any]]:
    """A minion's holds that are open, or whose answer it has not carried out yet, the oldest first."""
    return _STANDING.all(connection, {"minion": minion_id})


def carry(connection: Connection, decision_id: str, carried: Carried, why: str | None = None) -> None:
    """Note how far the answer to a hold came on its minion."""
    query = update(DECISIONS).where(DECISIONS.c.id == decision_id)
    connection.execute(query.values(carried=carried, carried_why=why))


def list_decisions(
    connection: Connection, *, state: str | None = "open", now: str, limit: int | None = 50, newest: bool = False
) -> list[Row[Any]]:
    """Decisions as they stand at an instant, the oldest first unless `newest`; all with `state` None.

    One whose time is over is `expired`, also where nobody has written that down yet.
    """
    query = select(DECISIONS).order_by(DECISIONS.c.position.desc() if newest else DECISIONS.c.position)
    late = and_(DECISIONS.c.state == "open", DECISIONS.c.expires_at.is_not(None), DECISIONS.c.expires_at <= now)
    if state == "open":
        query = query.where(DECISIONS.c.state == "open", ~late)
    elif state == "expired":
        query = query.where(or_(DECISIONS.c.state == "expired", late))
    elif state is not None:
        query = query.where(DECISIONS.c.state == state)
    return list(connection.execute(query.limit(limit)))


def late_decisions(connection: Connection, now: str, *, limit: int) -> list[Row[Any]]:
    """Open decisions whose time is over, at most `limit`, the oldest first."""
    late = (DECISIONS.c.state == "open", DECISIONS.c.expires_at.is_not(None), DECISIONS.c.expires_at <= now)
    return list(connection.execute(select(DECISIONS).where(*late).order_by(DECISIONS.c.position).limit(limit)))
