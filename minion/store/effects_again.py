"""Effects that did not arrive and are performed again: what of a run may be, that it will be, what came of it.

The run is not run again: its steps, outcome and state stay, its delivery and verdict follow from its effects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from minion.store.effects_ledger import Settlement, keep_settlement
from minion.store.run_end import restate
from minion.store.run_log import append_event
from minion.store.run_resume import run_goes_on
from minion.store.standing import halt_of
from server.contract.refusals import Refused
from server.contract.run import Verdict, has_ended

if TYPE_CHECKING:
    from aiosqlite import Connection

# Who says how an effect came out that was performed again, and one whose owner died meanwhile.
AGAIN: Final = "redelivery"
CUT_OFF: Final = "interrupted: whether it happened is not known"
_OF_ENDED: Final = """
SELECT e.* FROM effects AS e JOIN runs AS r ON r.id = e.run_id WHERE e.state = 'intended'
    AND r.state NOT IN ('draft', 'validated', 'queued', 'running', 'waiting') ORDER BY r.ordinal, e.ordinal
"""


@dataclass(frozen=True, slots=True)
class Undelivered:
    """An effect that did not arrive: `key` and `digest` say what it was; `detail` is what was seen of it."""

    id: str
    key: str
    ordinal: int
    kind: str
    target: str
    digest: str
    detail: str | None


@dataclass(frozen=True, slots=True)
class Redeliverable:
    """A run that did its work, its folder, and its effects that did not arrive, in their order."""

    run_id: str
    routine: str
    folder: str
    effects: tuple[Undelivered, ...]


async def redeliverable(db: Connection, run_id: str) -> Redeliverable:
    """What of a run can be delivered again. Raises `Refused` when nothing may be, or nothing is left to."""
    run = await _run(db, run_id)
    query = "SELECT * FROM effects WHERE run_id = ? ORDER BY ordinal"
    effects = [dict(row) for row in await db.execute_fetchall(query, (run_id,))]
    failed = tuple(_undelivered(effect) for effect in effects if effect["state"] == "failed")
    _refuse_unclear(run_id, effects)
    if not failed:
        raise _nothing(run, effects)
    if run["state"] != "completed" or run["outcome"] not in ("success", "partial"):
        ended = run["outcome"] if run["state"] == "completed" else run["state"]
        says = f"The run {run_id} did not do its work ({ended}), so nothing of it is delivered again."
        raise Refused("work_not_done", says, hint=f"run the routine again: minion run {run['routine']}")
    await _refuse_now(db, run)
    return Redeliverable(run_id, run["routine"], run["folder"], failed)


async def begin_again(
    db: Connection, run_id: str, effect_id: str, *, by: str, means: str, now: str
) -> None:
    """Say that an effect which did not arrive is about to be performed again, by whom and by which `means`.

    A compare-and-set. Raises `Refused` when it is not `failed` any more, when another effect of its run is about
    to be performed, or when nothing goes out now.
    """
    run = await _run(db, run_id)
    await _refuse_now(db, run)
    cursor = await db.execute(
        "UPDATE effects SET state = 'intended', intended_at = ?, settled_at = NULL, detail = NULL"
        " WHERE id = ? AND run_id = ? AND state = 'failed'"
        " AND NOT EXISTS (SELECT 1 FROM effects AS e WHERE e.run_id = ? AND e.state = 'intended')",
        (now, effect_id, run_id, run_id),
    )
    if cursor.rowcount != 1:
        raise under_way(run_id)
    await append_event(db, run_id, "effect.again", {"id": effect_id, "by": by, "means": means}, at=now)
    await restate(db, run_id, settled=effect_id, again=True)


async def settle_again(
    db: Connection, run_id: str, effect_id: str, settled: Settlement, *, now: str
) -> Verdict | None:
    """Write down what came of an effect that was performed again; the run's verdict now.

    None when its intent is not the one of `settled.intended_at` (any more): somebody else has settled it.
    """
    query = "SELECT 1 FROM effects WHERE id = ? AND run_id = ? AND state = 'intended' AND intended_at = ?"
    if not list(await db.execute_fetchall(query, (effect_id, run_id, settled.intended_at))):
        return None
    return await keep_settlement(db, run_id, effect_id, settled, now=now)


async def give_up_intents(db: Connection, *, now: str) -> list[str]:
    """Have effects of ended runs be unknown that a dead owner was about to perform again; the runs' ids."""
    runs = []
    for effect in list(await db.execute_fetchall(_OF_ENDED)):
        lost = Settlement("unknown", CUT_OFF, AGAIN)
        await keep_settlement(db, effect["run_id"], effect["id"], lost, now=now)
        runs.append(effect["run_id"])
    return list(dict.fromkeys(runs))


async def verdict_now(db: Connection, run_id: str) -> str:
    """The verdict of a run as it stands."""
    return str((await _run(db, run_id))["verdict"])


def under_way(run_id: str) -> Refused:
    """The refusal where effects of a run are being performed again just now."""
    says = f"Effects of the run {run_id} are being performed again already."
    return Refused("redelivery_under_way", says, hint=f"wait for their end: minion effects {run_id}")


async def _run(db: Connection, run_id: str) -> Mapping[str, Any]:
    query = (
        "SELECT runs.*, routines.removed_at IS NOT NULL OR routines.id IS NULL AS removed"
        " FROM runs LEFT JOIN routines ON routines.id = runs.routine_id WHERE runs.id = ?"
    )
    (run,) = await db.execute_fetchall(query, (run_id,))
    if not has_ended(run["state"]):
        raise run_goes_on(run_id)
    return dict(run)


async def _refuse_now(db: Connection, run: Mapping[str, Any]) -> None:
    """Raise `Refused` where nothing goes out of this run as things stand."""
    if run["removed"]:
        says = f"The routine {run['routine']} was removed, so nothing of its runs is delivered any more."
        raise Refused("routine_removed", says, hint="add the routine again, or send it yourself")
    halted = await halt_of(db)
    if halted is not None:
        raise Refused("halted", f"The minion is halted: {halted['why']}.", hint="minion unhalt")


def _refuse_unclear(run_id: str, effects: Sequence[Mapping[str, Any]]) -> None:
    states = {effect["state"]: effect for effect in effects}
    if "intended" in states:
        raise under_way(run_id)
    unclear = states.get("unknown")
    if unclear is not None:
        says = f"Nobody knows whether {unclear['kind']}:{unclear['target']} of the run {run_id} arrived."
        settle = f"minion effects settle {unclear['id']} failed"
        hint = f"look first: minion effects check {run_id}; or say what you saw: {settle}"
        raise Refused("effect_unknown", says, hint=hint)


def _nothing(run: Mapping[str, Any], effects: Sequence[Mapping[str, Any]]) -> Refused:
    """The refusal where no effect failed."""
    held = next((effect for effect in effects if effect["state"] in ("refused", "withheld")), None)
    if held is not None:
        says = f"The effect {held['kind']}:{held['target']} of the run {run['id']} was {held['state']}."
        hint = f"mend what it was {held['state']} for, then run the routine again: minion run {run['routine']}"
        return Refused("nothing_to_redeliver", says, hint=hint)
    says = f"Nothing of the run {run['id']} failed to arrive."
    return Refused("nothing_to_redeliver", says, hint=f"see what became of it: minion effects {run['id']}")


def _undelivered(effect: Mapping[str, Any]) -> Undelivered:
    return Undelivered(*(effect[name] for name in Undelivered.__slots__))
