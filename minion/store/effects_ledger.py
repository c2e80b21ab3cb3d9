"""The ledger of effects: which of them nobody knows the end of, and how one is settled afterwards.

An effect is `unknown` when it was cut off between its intent and its result, or its target gave no answer. It is
settled once: by a read-back that saw what is there, or by a person's word (DESIGN §3 "Effects").
"""

from __future__ import annotations

import fnmatch
import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from minion.store.run_checks import CHECKS, checks_in
from minion.store.run_end import restate
from minion.store.run_log import append_event
from server.contract.digest import begins_id
from server.contract.refusals import BadUse, NotFound, Refused
from server.contract.run import EffectState, Verdict, has_ended

if TYPE_CHECKING:
    from aiosqlite import Connection

READ_BACK: Final = "read-back"
_UNKNOWN: Final = """
SELECT e.*, r.routine, r.folder, (SELECT json_extract(data, '$.means') FROM events
        WHERE run_id = e.run_id AND type = 'effect.again' AND json_extract(data, '$.id') = e.id
        ORDER BY ordinal DESC LIMIT 1) AS means
    FROM effects AS e JOIN runs AS r ON r.id = e.run_id
WHERE e.state = 'unknown' AND r.state NOT IN ('draft', 'validated', 'queued', 'running', 'waiting')
ORDER BY r.ordinal, e.ordinal
"""
_WORDS: Final = 400


@dataclass(frozen=True, slots=True)
class Unknown:
    """An effect of an ended run whose end is not known; `folder` is its run's, `intended_at` a UTC instant.

    `means`: by which way it was performed again last; None when it was not.
    """

    id: str
    run_id: str
    routine: str
    folder: str
    kind: str
    target: str
    ordinal: int
    digest: str
    intended_at: str
    detail: str | None
    means: str | None = None


@dataclass(frozen=True, slots=True)
class Settlement:
    """How an effect came out: its state, what was seen, where it went, the command that reverses it, who says so.

    `intended_at` is that of the intent which was looked at: a later one is another matter.
    """

    state: EffectState
    detail: str
    by: str
    destination: str | None = None
    reverse: str | None = None
    intended_at: str | None = None


async def unknown_effects(db: Connection, run_id: str | None = None) -> list[Unknown]:
    """The effects of ended runs that nobody knows the end of, for the home's owner: of all runs, or of one."""
    names = ("id", "run_id", "routine", "folder", "kind", "target", "ordinal", "digest", "intended_at", "detail",
             "means")  # fmt: skip
    found = [Unknown(*(row[name] for name in names)) for row in await db.execute_fetchall(_UNKNOWN)]
    return [effect for effect in found if run_id in (None, effect.run_id)]


async def settle_effect(db: Connection, text: str, settled: Settlement, *, now: str) -> dict[str, Any]:
    """Say how an unknown effect came out; its run's delivery and verdict follow, and are sealed anew.

    `text` is the effect's id or the beginning of it. Answers `effect run routine kind target state verdict`.
    Raises `NotFound`, `BadUse` when a beginning fits several, `Refused` when it is not unknown (any more) or its
    run goes on.
    """
    effect = await _found(db, text)
    effect_id, run_id = effect["id"], effect["run_id"]
    if not has_ended(effect["run_state"]):
        says = f"The run {run_id} of the effect {effect_id} goes on."
        raise Refused("effect_under_way", says, hint=f"wait for its end: minion logs -f {run_id}")
    again = settled.intended_at not in (None, effect["intended_at"])
    if effect["state"] != "unknown" or again:
        says = f"The effect {effect_id} is not unknown: it is {effect['state']}."
        raise Refused("effect_settled", says, hint=f"minion effects {run_id}")
    verdict = await keep_settlement(db, run_id, effect_id, settled, now=now)
    told = {name: effect[name] for name in ("routine", "kind", "target")}
    return {"effect": effect_id, "run": run_id, **told, "state": settled.state, "verdict": verdict}


async def keep_settlement(
    db: Connection, run_id: str, effect_id: str, settled: Settlement, *, now: str
) -> Verdict:
    """Write down how an effect of an ended run came out; the run's verdict now, which is sealed anew."""
    said = {"id": effect_id, "state": settled.state, "detail": settled.detail[:_WORDS], "by": settled.by}
    await append_event(db, run_id, "effect.settled", said, at=now)
    await db.execute(
        "UPDATE effects SET state = ?, detail = ?, destination = coalesce(?, destination), reverse = ?,"
        " settled_at = ? WHERE id = ?",
        (settled.state, said["detail"], settled.destination, settled.reverse, now, effect_id),
    )
    if settled.state == "delivered":
        await _confirm_delivery(db, run_id, effect_id, at=now)
    return await restate(db, run_id, settled=effect_id)


async def note_effect(db: Connection, effect_id: str, detail: str) -> None:
    """Note what was seen of an effect that stays unknown."""
    query = "UPDATE effects SET detail = ? WHERE id = ? AND state = 'unknown' AND detail IS NOT ?"
    await db.execute(query, (detail[:_WORDS], effect_id, detail[:_WORDS]))


async def _confirm_delivery(db: Connection, run_id: str, effect_id: str, *, at: str) -> None:
    """Have the expectations that wait for an effect's delivery hold: it was delivered after the run had ended."""
    query = "SELECT kind, target FROM effects WHERE id = ?"
    ((kind, target),) = [tuple(row) for row in await db.execute_fetchall(query, (effect_id,))]
    rows = [dict(row) for row in await db.execute_fetchall(CHECKS, (run_id,))]
    for check in checks_in(rows):
        # As the runner compares them: with its kind or without, `*` for any text.
        named = any(fnmatch.fnmatchcase(name, check["expected"]) for name in (target, f"{kind}:{target}"))
        if check["kind"] == "delivered" and check["state"] == "failed" and named:
            held = {**check, "state": "passed", "detail": "confirmed after the run"}
            await append_event(db, run_id, "check", held, at=at)


async def _found(db: Connection, text: str) -> sqlite3.Row:
    query = (
        "SELECT e.*, r.routine, r.state AS run_state FROM effects AS e JOIN runs AS r ON r.id = e.run_id"
        " WHERE substr(e.id, 1, ?) = ? LIMIT 2"
    )
    rows = list(await db.execute_fetchall(query, (len(text), text))) if begins_id(text, "eff_") else []
    hint = "minion effects --unsettled"
    if len(rows) > 1:
        raise BadUse("ambiguous", f"Several effects begin with {text[:40]}.", hint=hint)
    if not rows:
        raise NotFound("no_such_effect", f"There is no effect {text[:40]!r}.", hint=hint)
    return rows[0]
