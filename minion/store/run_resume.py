"""How an interrupted run is taken up again in the store: whether it may be, and what it then still has to do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from minion.store.run_end import end_run
from minion.store.run_log import append_home, chain_heads, move
from minion.store.standing import halt_of
from server.contract.digest import instant, parse_instant
from server.contract.refusals import Refused
from server.contract.run import has_ended

if TYPE_CHECKING:
    from aiosqlite import Connection

# Longer ago, or more often, and a person should look first.
WITHIN: Final = timedelta(hours=24)
MOST_RESUMES: Final = 3
# A run that ended by its own word, as the API could not be used, is tried again after so long: each time longer.
PAUSES: Final = (timedelta(minutes=5), timedelta(minutes=15), timedelta(minutes=45))
# Why a run went on that a person took up again: that does not count among those.
_BY_HAND: Final = "resumed by a person"
NOT_ALLOWED: Final = "its routine does not allow it"
_NOT: Final = "; not resumed: "
# Why runs are interrupted that a person cut off: nothing went wrong with them.
STOPPED_BY_A_PERSON: Final = "a person stopped the minion"


@dataclass(frozen=True, slots=True)
class Interrupted:
    """A run that was interrupted and may go on.

    `not_before`: a runner that lives said itself that it could not go on, and is to be left alone until then.
    """

    run_id: str
    routine_id: str
    routine: str
    folder: str
    not_before: datetime | None = None


@dataclass(frozen=True, slots=True)
class Reopened:
    """A run that is `running` again: its effects' states by id, and how often it was resumed by now.

    Effects that are `staged` are to be performed: they were not begun, or are known not to have arrived.
    """

    effects: dict[str, str]
    resumes: int


async def interrupted_runs(db: Connection, *, now: datetime) -> list[Interrupted]:
    """The runs that may go on by their routine, their age and how often they did; oldest first."""
    query = (
        "SELECT runs.* FROM runs JOIN routines ON routines.id = runs.routine_id"
        " WHERE runs.state = 'interrupted' AND runs.ended_at > ? AND routines.removed_at IS NULL"
        " AND json_extract(routines.document, '$.resume') ORDER BY runs.ordinal"
    )
    found = []
    for row in await db.execute_fetchall(query, (instant(now - WITHIN),)):
        if await why_not_resumed(db, row["id"], now=now) is None:
            not_before = await _not_before(db, row["id"], row["ended_at"])
            found.append(Interrupted(row["id"], row["routine_id"], row["routine"], row["folder"], not_before))
    return found


async def to_resume_by_hand(db: Connection, run_id: str, *, now: datetime, anyway: bool) -> Interrupted:
    """The run that a person wants to go on; `anyway`: though it was interrupted long ago.

    Its routine need not allow it, may be paused, and how often it went on does not count. Raises `Refused`.
    """
    query = (
        "SELECT runs.*, routines.removed_at IS NOT NULL OR routines.id IS NULL AS removed,"
        " json_extract(routines.document, '$.paused') AS paused"
        " FROM runs LEFT JOIN routines ON routines.id = runs.routine_id WHERE runs.id = ?"
    )
    (run,) = await db.execute_fetchall(query, (run_id,))
    if not has_ended(run["state"]):
        raise run_goes_on(run_id)
    anew = f"run the routine again: minion run {run['routine']}"
    if run["state"] != "interrupted":
        says = f"The run {run_id} is {run['state']}, and only an interrupted one can go on."
        fires = f"to let its routine fire again: minion schedule resume {run['routine']}"
        raise Refused("not_interrupted", says, hint=fires if run["paused"] else anew)
    if run["removed"]:
        says = f"The routine {run['routine']} was removed, so none of its runs goes on any more."
        raise Refused("routine_removed", says, hint="add the routine again: minion routine add FILE")
    halted = await halt_of(db)
    if halted is not None:
        raise Refused("halted", f"The minion is halted: {halted['why']}.", hint="minion unhalt")
    if await _was_being_stopped(db, run_id):
        # What was cut off was said to be over, so that nobody would come back to it.
        raise Refused("was_stopped", f"The run {run_id} was being stopped when it was interrupted.", hint=anew)
    if parse_instant(run["ended_at"]) <= now - WITHIN and not anyway:
        says = f"The run {run_id} was interrupted over 24 hours ago, and much may have changed since."
        raise Refused("long_interrupted", says, hint=f"minion resume {run_id} --anyway, or {anew}")
    return Interrupted(run_id, run["routine_id"], run["routine"], run["folder"])


def run_goes_on(run_id: str) -> Refused:
    """The refusal of a run that is under way already."""
    return Refused("run_goes_on", f"The run {run_id} goes on.", hint=f"wait for its end: minion logs -f {run_id}")


async def why_not_resumed(db: Connection, run_id: str, *, now: datetime) -> str | None:
    """Why a run may not go on by itself; None when it may. Its folder is not looked at."""
    rows = list(await db.execute_fetchall("SELECT * FROM runs WHERE id = ?", (run_id,)))
    if not rows or rows[0]["state"] != "interrupted":
        return "it is not interrupted"
    run = rows[0]
    query = "SELECT document FROM routines WHERE id = ? AND removed_at IS NULL"
    kept = list(await db.execute_fetchall(query, (run["routine_id"],)))
    routine: dict[str, Any] = json.loads(kept[0]["document"]) if kept else {}
    halted = await halt_of(db)
    words = (
        (not routine.get("resume"), NOT_ALLOWED),
        (routine.get("paused"), "its routine is paused"),
        (halted is not None, "the minion is halted"),
        (parse_instant(run["ended_at"]) <= now - WITHIN, "it was interrupted over 24 hours ago"),
        (await _resumes(db, run_id) >= MOST_RESUMES, f"it was resumed {MOST_RESUMES} times"),
        (await _was_being_stopped(db, run_id), "it was being stopped when it was interrupted"),
    )
    return next((why for holds, why in words if holds), None)


def goes_on(run: Mapping[str, Any], routine: Mapping[str, Any]) -> bool:
    """Whether an interrupted run will be tried to go on with, as far as it and its routine say."""
    return bool(routine.get("resume")) and not routine.get("paused") and _NOT not in (run["why"] or "")


async def events_taken(db: Connection, run_id: str) -> int:
    """How many events of its runner a run has in the store."""
    query = "SELECT count(seq) AS taken FROM events WHERE run_id = ?"
    (row,) = await db.execute_fetchall(query, (run_id,))
    return int(row["taken"])


async def reopen(db: Connection, run_id: str, *, now: datetime, by_hand: bool = False) -> Reopened | str:
    """Take a run from `interrupted` to `running`; why not, when it may not (any more).

    `by_hand`: because a person asked. What the interruption had derived is taken back, but for the report if a
    session made it; what is still to be done follows from the log.
    """
    if by_hand:
        await to_resume_by_hand(db, run_id, now=now, anyway=True)
    elif (why := await why_not_resumed(db, run_id, now=now)) is not None:
        return why
    effects = await _effects_now(db, run_id)
    query = "SELECT 1 FROM events WHERE run_id = ? AND type = 'report' AND seq IS NOT NULL"
    reported = bool(list(await db.execute_fetchall(query, (run_id,))))
    unsaid = "" if reported else ", summary = NULL, details = NULL, outcome = 'unknown'"
    await db.execute(
        "UPDATE runs SET delivery = 'none', verdict = 'running', topology = '[]', fingerprint = NULL,"  # noqa: S608
        f" conformance = NULL, first_difference = NULL, why = NULL, hint = NULL, ended_at = NULL{unsaid}"
        " WHERE id = ?",
        (run_id,),
    )
    await move(db, run_id, "interrupted", "running", now=instant(now), why=_BY_HAND if by_hand else "resumed")
    return Reopened(effects, await _resumes(db, run_id))


async def call_off(db: Connection, run_id: str, why: str, *, now: str) -> None:
    """End an interrupted run for good: somebody stopped it while it was about to go on."""
    rows = list(await db.execute_fetchall("SELECT state FROM runs WHERE id = ?", (run_id,)))
    if rows and rows[0]["state"] == "interrupted":
        await move(db, run_id, "interrupted", "running", now=now, why="called off")
        await end_run(db, run_id, "cancelled", now=now, why=why)


async def note_not_resumed(db: Connection, run_id: str, why: str) -> None:
    """Say in an interrupted run's own words why it does not go on although its routine allows it."""
    rows = list(await db.execute_fetchall("SELECT * FROM runs WHERE id = ?", (run_id,)))
    if not rows or rows[0]["state"] != "interrupted":
        return
    run = rows[0]
    before = str(run["why"] or "").partition(_NOT)[0]
    await db.execute("UPDATE runs SET why = ? WHERE id = ?", (f"{before}{_NOT}{why}".removeprefix("; "), run_id))
    # Sealed again: only now this end is the last one, and whoever watches is to hear of it.
    sealed = {name: run[name] for name in ("state", "outcome", "verdict")} | {"not_resumed": why}
    await append_home(db, "run", run_id, sealed | await chain_heads(db, run_id))


async def note_overdue(db: Connection, *, now: datetime) -> None:
    """Say of interrupted runs that could have gone on, and cannot any more, that they do not."""
    query = (
        "SELECT runs.id FROM runs JOIN routines ON routines.id = runs.routine_id WHERE runs.state = 'interrupted'"
        " AND json_extract(routines.document, '$.resume') AND coalesce(runs.why, '') NOT LIKE ?"
        " ORDER BY runs.ordinal"
    )
    for row in list(await db.execute_fetchall(query, (f"%{_NOT}%",))):
        why = await why_not_resumed(db, row["id"], now=now)
        if why is not None:
            await note_not_resumed(db, row["id"], why)


async def _effects_now(db: Connection, run_id: str) -> dict[str, str]:
    """The states of a run's effects, those staged anew that may be performed."""
    last: dict[str, str] = {}
    query = "SELECT type, data FROM events WHERE run_id = ? AND type LIKE 'effect.%' ORDER BY ordinal"
    for row in await db.execute_fetchall(query, (run_id,)):
        last[json.loads(row["data"])["id"]] = row["type"]
    effects = {}
    for row in await db.execute_fetchall("SELECT id, state FROM effects WHERE run_id = ?", (run_id,)):
        begun_never = row["state"] == "withheld" and last[row["id"]] != "effect.result"
        not_there = row["state"] == "failed" and last[row["id"]] == "effect.settled"
        effects[row["id"]] = "staged" if begun_never or not_there else row["state"]
    for effect_id in (key for key, state in effects.items() if state == "staged"):
        await db.execute(
            "UPDATE effects SET state = 'staged', detail = NULL, destination = NULL, reverse = NULL,"
            " settled_at = NULL WHERE id = ?",
            (effect_id,),
        )
    return effects


async def spent_s(db: Connection, run_id: str) -> float:
    """Seconds that the run's sessions took together, each from its start to when it was last heard of."""
    spent, begun, heard = 0.0, None, None
    query = "SELECT seq, at, type, data FROM events WHERE run_id = ? ORDER BY ordinal"
    for row in await db.execute_fetchall(query, (run_id,)):
        if row["seq"] is not None:
            heard = parse_instant(row["at"])
        elif row["type"] == "run.moved":
            if begun is not None and heard is not None:
                spent += max(0.0, (heard - begun).total_seconds())
            begun, heard = parse_instant(row["at"]), None  # nothing is heard of it between two sessions
    return spent


async def _not_before(db: Connection, run_id: str, ended_at: str) -> datetime | None:
    """When a run that ended by its runner's own word may be tried again; None for one whose runner died."""
    query = (
        "SELECT 1 FROM events WHERE run_id = ?1 AND type = 'run.finished' AND ordinal > (SELECT max(ordinal) FROM"
        " events WHERE run_id = ?1 AND type = 'run.moved' AND json_extract(data, '$.to') = 'running') LIMIT 1"
    )
    if not list(await db.execute_fetchall(query, (run_id,))):
        return None
    resumes = await _resumes(db, run_id)
    return parse_instant(ended_at) + PAUSES[min(resumes, len(PAUSES) - 1)]


async def _resumes(db: Connection, run_id: str) -> int:
    """How often a run went on by itself."""
    query = "SELECT data FROM events WHERE run_id = ? AND type = 'run.moved'"
    rows = await db.execute_fetchall(query, (run_id,))
    moves = [json.loads(row["data"]) for row in rows]
    return sum(move["from"] == "interrupted" and move["why"] != _BY_HAND for move in moves)


async def _was_being_stopped(db: Connection, run_id: str) -> bool:
    query = (
        "SELECT 1 FROM events WHERE run_id = ? AND type IN ('step.finished', 'block.finished')"
        " AND json_extract(data, '$.state') = 'cancelled' LIMIT 1"
    )
    return bool(list(await db.execute_fetchall(query, (run_id,))))
