"""What waits on minions for a person: kept as decisions of HQ's, answered by an order and in no other way.

A minion says with each beat what it holds. HQ asks once for each of them, and asks no more once the minion does
not hold it any longer; whether an answer given here counts is the minion's to say, for somebody may have been
faster there (issue 6, "Inbox").
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Row

from server.actions.ordering import put_order
from server.contract.digest import canonical_json
from server.contract.joining import Beat, Hold
from server.contract.orders import Order
from server.contract.redaction import Redactor
from server.contract.refusals import Refused
from server.domain.consequence import SKILL, changed_parts, joined_deltas
from server.domain.decision import Carried
from server.domain.skill_files import permission_delta, readable_skill
from server.storage import definition_store, finding_store, minion_store, routine_facts
from server.storage.access_store import Caller
from server.storage.database import Connection
from server.storage.event_store import append_event

KIND: Final = "hold"
# What is longer is answered where it waits: nobody is asked for a yes to what they were not shown.
LONGEST_ABOUT: Final = 65_536
MOST_HELD: Final = 100
_KEY: Final = "decide:"
# Another model may do what the one before might.
_LETS_NOBODY: Final = frozenset({"model"})
_NOT_HELD: Final = "it waits on its minion no more"
_REDACTOR: Final = Redactor()


def keep_holds(connection: Connection, caller: Caller, minion: Row[Any], said: Beat, *, now: str) -> None:
    """Ask for what a minion holds that was not asked for yet; ask no more for what it does not hold any longer."""
    standing = {_bound(row): row for row in finding_store.standing_holds(connection, minion.id)}
    held = {(each.id, each.digest): each for each in said.held}
    for key, row in standing.items():
        if key in held:
            continue
        if row.carried == "taken":
            _carried(connection, row.id, "carried_out", None, actor=caller.id, now=now)
        # A list as long as may be is perhaps not all of it.
        elif row.state == "open" and len(said.held) < MOST_HELD:
            _withdraw(connection, row, _NOT_HELD, actor=caller.id, now=now)
    for key, each in held.items():
        if key not in standing:
            evidence = _evidence(connection, minion, each)
            question = _REDACTOR.text(f"{minion.name} asks: {each.question}")
            finding_store.ask(
                connection, KIND, each.id, question, evidence, by=caller.id, now=now, minion_id=minion.id
            )


def drop_holds(connection: Connection, minion_id: str, why: str, *, actor: str, now: str) -> None:
    """Ask no more for anything that a minion holds: it has left, and what was answered does not reach it."""
    for row in finding_store.standing_holds(connection, minion_id):
        if row.state == "open":
            _withdraw(connection, row, why, actor=actor, now=now)
        elif row.carried == "waiting":
            _carried(connection, row.id, "refused_there", why, actor=actor, now=now)


def hold_settled(
    connection: Connection, order: Row[Any], state: str, why: str | None, *, actor: str, now: str
) -> None:
    """Note what a minion says became of the answer to a hold: `taken` or `refused`; nothing for another order."""
    if order.kind != "decide":
        return
    carried: Carried = "taken" if state == "taken" else "refused_there"
    _carried(connection, order.key.removeprefix(_KEY), carried, why, actor=actor, now=now)


def order_of(decision: str) -> str:
    """The id of the order that carries the answer to a hold: one for each decision, and so only once."""
    return f"order_{decision.removeprefix('dec_')}"


def send_answer(connection: Connection, row: Row[Any], answer: str, *, by: Caller, now: str) -> None:
    """Put the order by which a minion hears of the answer to what it holds, and whose it is.

    Raises `Refused` for a minion that has left, and for what was too long to be shown.
    """
    evidence = json.loads(row.evidence)
    minion = minion_store.minion_of_id(connection, row.minion_id)
    if minion is None or minion.left_at is not None:
        says = f"The minion {evidence['minion']}, on which it waits, has left."
        raise Refused("minion_left", says, hint="have it join again, or answer it there")
    if evidence["about"] is None:
        says = f"What {minion.name} asks is more than HQ can show."
        raise Refused("hold_not_shown", says, hint=f"answer it there: minion decide {row.subject} {answer}")
    order_id, routine = order_of(row.id), str(evidence["routine"])
    order = Order.model_validate({
        "id": order_id, "kind": "decide", "routine": routine, "key": order_id, "decision": row.subject,
        "digest": evidence["digest_there"], "answer": answer, "by": by.name,
        "issued_at": now,
    })  # fmt: skip
    # A routine that only its minion knows has no id here.
    routine_id = routine_facts.named(connection, routine, minion.id) or f"{minion.id}:{routine}"
    put_order(
        connection, order, key=f"{_KEY}{row.id}", minion_id=minion.id, routine_id=routine_id, actor=by.id, now=now,
        decision=row.id,
    )  # fmt: skip
    finding_store.carry(connection, row.id, "waiting")


def _carried(
    connection: Connection, decision: str, carried: Carried, why: str | None, *, actor: str, now: str
) -> None:
    finding_store.carry(connection, decision, carried, why)
    append_event(connection, f"decision.{carried}", {"decision": decision, "why": why}, actor=actor, now=now)


def _withdraw(connection: Connection, row: Row[Any], why: str, *, actor: str, now: str) -> None:
    finding_store.answer(connection, row.id, "withdrawn", by=actor, why=why, now=now)
    told = {"decision": row.id, "kind": KIND, "subject": row.subject, "why": why}
    append_event(connection, "decision.withdrawn", told, actor=actor, now=now)


def _bound(row: Row[Any]) -> tuple[str, str]:
    """Which question of its minion a decision is: the same one in other words is another one."""
    return row.subject, str(json.loads(row.evidence).get("digest_there"))


def _evidence(connection: Connection, minion: Row[Any], said: Hold) -> dict[str, Any]:
    """All that a person is shown of a hold, without secrets."""
    about = _shown(said.about)
    delta, unknown = _permissions(connection, about)
    evidence: dict[str, Any] = {
        "minion": minion.name, "minion_id": minion.id, "routine": said.routine, "held": _REDACTOR.text(said.kind),
        "opened_at": said.opened_at, "about": about, "digest_there": said.digest, "permissions": delta,
    }  # fmt: skip
    return evidence | ({"not_compared": unknown} if unknown else {})


def _shown(about: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a hold is about; None where it is longer than anybody is shown."""
    kept: dict[str, Any] = _REDACTOR.data(about)
    return kept if len(canonical_json(kept).encode()) <= LONGEST_ABOUT else None


def _permissions(
    connection: Connection, about: Mapping[str, Any] | None
) -> tuple[dict[str, dict[str, list[str]]] | None, list[str]]:
    """What the skills that changed may do now and might not before, where HQ knows both; and which it does not."""
    parts = changed_parts(about)
    if not parts:
        return None, []
    deltas, unknown = [], []
    for part, (before, after) in parts.items():
        if not part.startswith(SKILL):
            unknown += [f"the {part}"] if part not in _LETS_NOBODY else []
            continue
        if after is None:
            continue
        was, now = (_skill_of(connection, digest) for digest in (before, after))
        if now is None or (was is None and before is not None):
            unknown.append(f"the {part.replace(':', ' ')}")
        else:
            deltas.append(permission_delta(was, now))
    return joined_deltas(deltas), unknown


def _skill_of(connection: Connection, digest: str | None) -> Any:
    """The header of the skill of this digest, where it was published here: a minion's digests are the same."""
    row = None if digest is None else definition_store.skill_of_digest(connection, digest)
    return None if row is None else readable_skill(json.loads(row.archive))
