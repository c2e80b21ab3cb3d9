"""What waits for a person, and what each routine was last allowed to run with.

An answer is given once; only a refusal can be taken back, by approving what was refused.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from server.contract.digest import begins_id, canonical_json, digest_of, new_id
from server.contract.refusals import BadUse, NotFound, Refused

if TYPE_CHECKING:
    from aiosqlite import Connection

Answer = Literal["approve", "reject"]
# A routine's own file is its owner's to change; what it runs with may change behind their back.
_OWN: Final = "routine"
ANSWERED: Final = """
SELECT question, answer FROM decisions WHERE routine_id = ?1 AND kind = 'question' AND answer IS NOT NULL
    AND answered_at > coalesce((SELECT max(created_at) FROM runs WHERE routine_id = ?1), '') ORDER BY rowid
"""
# One that waited already was not asked again (`run_log`): the one that waited stands for it.
_ASKED_BY: Final = """
SELECT json_extract(e.data, '$.question') AS question, e.at, d.id AS decision,
        CASE WHEN d.id IS NOT NULL THEN coalesce(d.answer, 'open') END AS state
    FROM events e JOIN runs r ON r.id = e.run_id LEFT JOIN decisions d ON d.rowid = (
        SELECT max(o.rowid) FROM decisions o WHERE o.routine_id = r.routine_id AND o.kind = 'question'
            AND o.question = json_extract(e.data, '$.question') AND o.opened_at <= e.at)
    WHERE e.run_id = ? AND e.type = 'decision' ORDER BY e.ordinal
"""


@dataclass(frozen=True, slots=True)
class Decision:
    """One question to a person; `subject` is what is approved or rejected, `answer` None while it is open."""

    id: str
    kind: str
    routine_id: str
    routine: str
    question: str
    subject: Mapping[str, Any]
    answer: Answer | None


async def accepted_lock(db: Connection, routine_id: str) -> dict[str, str] | None:
    """What a routine was last allowed to run with; None before its first run."""
    rows = list(await db.execute_fetchall("SELECT lock FROM locks WHERE routine_id = ?", (routine_id,)))
    return dict(json.loads(rows[0][0])) if rows else None


async def accept_lock(db: Connection, routine_id: str, lock: Mapping[str, str], *, by: str, now: str) -> None:
    """Allow a routine to run with these."""
    values = (routine_id, canonical_json(dict(lock)), now, by)
    await db.execute("INSERT OR REPLACE INTO locks VALUES (?, ?, ?, ?)", values)


def changed_parts(accepted: Mapping[str, str], lock: Mapping[str, str]) -> list[str]:
    """The parts of a lock that are not as they were accepted: skills, process, engine, model, tools."""
    names = sorted({*accepted, *lock} - {_OWN})
    return [name for name in names if accepted.get(name) != lock.get(name)]


async def ask_about_lock(
    db: Connection, routine_id: str, routine: str, lock: Mapping[str, str], parts: list[str], *, now: str
) -> Decision:
    """The decision on a changed lock: the one that was asked before on the same change, else a new one."""
    subject = {name: value for name, value in lock.items() if name != _OWN}
    what = f"{', '.join(parts)} changed since {routine} last ran; may it run with that?"
    return await ask(db, "lock", routine_id, routine, what, subject, now=now)


async def ask(
    db: Connection, kind: str, routine_id: str, routine: str, what: str, subject: Mapping[str, Any], *, now: str
) -> Decision:
    """A decision of this kind on `subject`: one that was asked before and not approved, else a new one."""
    query = "SELECT * FROM decisions WHERE routine_id = ? AND kind = ? ORDER BY rowid DESC"
    for row in await db.execute_fetchall(query, (routine_id, kind)):
        before = _decision(row)
        if before.subject == subject and before.answer != "approve":
            return before
    decision = Decision(new_id("dec_"), kind, routine_id, routine, what, subject, None)
    await db.execute(
        "INSERT INTO decisions (id, kind, routine_id, routine, question, subject, opened_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (decision.id, kind, routine_id, routine, what, canonical_json(dict(subject)), now),
    )
    return decision


async def answer_decision(db: Connection, text: str, answer: Answer, *, by: str, now: str) -> Decision:
    """Give a decision its answer.

    Raises `NotFound`, `BadUse` for a beginning that fits several, `Refused` when it has an answer already.
    """
    query = "SELECT * FROM decisions WHERE substr(id, 1, ?) = ? LIMIT 2"
    rows = list(await db.execute_fetchall(query, (len(text), text))) if begins_id(text, "dec_") else []
    if len(rows) > 1:
        raise BadUse("ambiguous", f"Several decisions begin with {text}.", hint="minion decisions")
    if not rows:
        raise NotFound("no_such_decision", f"There is no decision {text[:40]}.", hint="minion decisions")
    before = _decision(rows[0])
    if before.answer == answer or before.answer == "approve":
        said = {"approve": "approved", "reject": "rejected"}[before.answer]
        raise Refused("decided", f"The decision {before.id} was {said} before.", hint="minion decisions --all")
    await db.execute(
        "UPDATE decisions SET answer = ?, answered_at = ?, answered_by = ? WHERE id = ?",
        (answer, now, by, before.id),
    )
    if answer == "approve" and before.kind == "lock":
        await accept_lock(db, before.routine_id, {k: str(v) for k, v in before.subject.items()}, by=by, now=now)
    return before


async def answered_questions(db: Connection, routine_id: str) -> list[dict[str, str]]:
    """The questions of a routine's runs that people have answered since its newest run, oldest first.

    Each with `question` and `answer`: `approve` or `reject`. One run is told of each.
    """
    rows = await db.execute_fetchall(ANSWERED, (routine_id,))
    return [{"question": row["question"], "answer": row["answer"]} for row in rows]


async def answer_of(db: Connection, decision_id: str) -> tuple[str | None, str | None]:
    """The answer that a decision was given, and by whom."""
    query = "SELECT answer, answered_by FROM decisions WHERE id = ?"
    rows = list(await db.execute_fetchall(query, (decision_id,)))
    return (rows[0]["answer"], rows[0]["answered_by"]) if rows else (None, None)


async def digest_of_decision(db: Connection, decision_id: str) -> str | None:
    """The digest of what a decision asks, and of all that it is about; None where there is none."""
    rows = list(await db.execute_fetchall("SELECT * FROM decisions WHERE id = ?", (decision_id,)))
    return digest_of_question(dict(rows[0])) if rows else None


def digest_of_question(said: Mapping[str, Any]) -> str:
    """The digest of a decision's row: who answers it elsewhere binds the answer to that."""
    subject = said["subject"] if isinstance(said["subject"], str) else canonical_json(said["subject"])
    return digest_of({**{name: said[name] for name in ("kind", "routine", "question")}, "subject": subject})


def changes_of(db: sqlite3.Connection, decision_id: str) -> dict[str, dict[str, str | None]]:
    """What each part that changed was when a person last allowed it, and is now: `{part: {"from": …, "to": …}}`.

    None where it was not, or is not there. A decision's subject is the whole lock; one that is not about a lock
    changes nothing.
    """
    query = "SELECT d.kind, d.subject, l.lock FROM decisions d LEFT JOIN locks l USING (routine_id) WHERE d.id = ?"
    row = db.execute(query, (decision_id,)).fetchone()
    if row["kind"] != "lock":
        return {}
    now, before = json.loads(row["subject"]), json.loads(row["lock"] or "{}")
    return {name: {"from": before.get(name), "to": now.get(name)} for name in changed_parts(before, now)}


def questions_of(db: sqlite3.Connection, run_id: str) -> list[dict[str, Any]]:
    """What a run asked people, in order: `question`, `at`, the `decision` that it is here, and its `state`.

    `open`, `approve` or `reject`; both None where it is none here, as in a run from an archive.
    """
    return [dict(row) for row in db.execute(_ASKED_BY, (run_id,)).fetchall()]


def list_decisions(db: sqlite3.Connection, *, answered: bool = False) -> list[dict[str, Any]]:
    """The open decisions, oldest first; with `answered` all of them."""
    where = "" if answered else "WHERE answer IS NULL"
    rows = db.execute(f"SELECT * FROM decisions {where} ORDER BY rowid").fetchall()  # noqa: S608 - our words
    names = ("id", "kind", "routine", "question", "opened_at", "answer", "answered_at", "answered_by")
    return [{name: row[name] for name in names} | {"subject": json.loads(row["subject"])} for row in rows]


def rejected_changes(db: sqlite3.Connection) -> dict[str, str]:
    """The decision that keeps each routine, by its name, from running: rejected, and nothing came after it.

    What comes after it: a run, an approval, another question. A slot that was skipped for it renews it.
    """
    rows = db.execute(
        "SELECT d.id, d.routine FROM decisions d WHERE d.answer = 'reject' AND d.kind = 'lock'"
        " AND NOT EXISTS (SELECT 1 FROM decisions o WHERE o.routine_id = d.routine_id AND o.answer IS NULL)"
        " AND max(d.answered_at, coalesce((SELECT max(settled_at) FROM slots s"
        "   WHERE s.routine_id = d.routine_id AND s.decision_id = d.id), ''))"
        "  > max(coalesce((SELECT max(created_at) FROM runs r WHERE r.routine = d.routine), ''),"
        "   coalesce((SELECT max(answered_at) FROM decisions a"
        "    WHERE a.routine_id = d.routine_id AND a.answer = 'approve'), ''))"
        " ORDER BY d.answered_at"
    )
    return {row["routine"]: row["id"] for row in rows.fetchall()}


def _decision(row: sqlite3.Row) -> Decision:
    names = ("id", "kind", "routine_id", "routine", "question", "answer")
    return Decision(subject=json.loads(row["subject"]), **{name: row[name] for name in names})
