"""What a watchdog takes in: runs and slots as they ended, in the order of the home's chain, each exactly once.

How far it has come is noted in the transaction that also keeps what was made of them, so a kill loses and repeats
nothing; and what ended under an earlier owner of the home, or without a daemon, is taken in by the next.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from server.contract.digest import canonical_json
from server.contract.run import has_ended

if TYPE_CHECKING:
    from aiosqlite import Connection

# So many runs' costs are remembered of a routine: five new ones beside twenty earlier ones.
KEPT_COSTS: Final = 25
_CURSOR: Final = "watched_until"
_OVERTAKEN: Final = """SELECT 1 FROM runs AS old JOIN runs AS new ON new.routine = old.routine
    WHERE old.id = ? AND new.ordinal > old.ordinal AND new.ended_at IS NOT NULL LIMIT 1"""


@dataclass(frozen=True, slots=True)
class RunEnded:
    """A run as it was sealed at its end; `why` is one line for people, `cost` (US dollars, tokens).

    `restated`: it was told before, and an effect of it was settled since. `final`: it was interrupted, and will
    not go on although it might have.
    """

    run_id: str
    routine: str
    state: str
    verdict: str
    why: str | None
    ended_at: str
    cost: tuple[float, float]
    restated: bool = False
    final: bool = False


@dataclass(frozen=True, slots=True)
class SlotEnded:
    """A slot as it was settled, or `count` missed together; `due` has its zone's offset where that is known."""

    routine: str
    state: str
    count: int
    due: str
    why: str | None


@dataclass(frozen=True, slots=True)
class Watched:
    """What was counted of a routine: bad runs in a row and what is said of the newest, its newest runs' costs.

    `paused`: whether it paused itself; `due` where it is about to, so that a kill on the way forgets nothing.
    """

    failures: int = 0
    newest: str | None = None
    paused: Literal["no", "due", "itself"] = "no"
    costs: tuple[tuple[float, float], ...] = ()


async def begin_watching(db: Connection) -> None:
    """Watch from now on; one who watched before goes on from where that ended."""
    ((newest,),) = await db.execute_fetchall("SELECT coalesce(max(position), 0) FROM home_chain")
    rows = list(await db.execute_fetchall("SELECT value FROM meta WHERE key = ?", (_CURSOR,)))
    if not rows or int(rows[0][0]) > newest:  # a backup may have been put in the store's place
        await _advance(db, newest)


async def take_facts(db: Connection, *, most: int) -> tuple[list[RunEnded | SlotEnded], bool]:
    """What ended since the last call, at most `most` links of the chain; and whether there may be more.

    The same transaction must keep what is made of them: they are not told again.
    """
    rows = list(await db.execute_fetchall("SELECT value FROM meta WHERE key = ?", (_CURSOR,)))
    since = int(rows[0][0]) if rows else 0
    query = "SELECT position, kind, ref, body FROM home_chain WHERE position > ? ORDER BY position LIMIT ?"
    links = list(await db.execute_fetchall(query, (since, most)))
    if not links:
        return [], False
    await _advance(db, links[-1]["position"])
    found: list[RunEnded | SlotEnded | None] = []
    for row in links:
        body = json.loads(row["body"])
        if row["kind"] == "run":
            found.append(await _run(db, row["ref"], row["position"], body, since))
        elif row["kind"] == "slot":
            found.append(await _slot(db, row["ref"], body))
    return [fact for fact in found if fact is not None], len(links) == most


async def watched_of(db: Connection, routine: str) -> Watched:
    """What was counted of a routine so far."""
    rows = list(await db.execute_fetchall("SELECT * FROM watches WHERE routine = ?", (routine,)))
    if not rows:
        return Watched()
    costs = tuple((dollars, tokens) for dollars, tokens in json.loads(rows[0]["costs"]))
    return Watched(rows[0]["failures"], rows[0]["newest"], rows[0]["paused"], costs)


async def keep_watched(db: Connection, routine: str, watched: Watched) -> None:
    """Keep what was counted of a routine."""
    costs = canonical_json([list(cost) for cost in watched.costs[-KEPT_COSTS:]])
    values = (routine, watched.failures, watched.newest, watched.paused, costs)
    await db.execute("INSERT OR REPLACE INTO watches VALUES (?, ?, ?, ?, ?)", values)


async def forget_watched(db: Connection, routine: str) -> None:
    """Forget what was counted of a routine that is gone."""
    await db.execute("DELETE FROM watches WHERE routine = ?", (routine,))


async def paused_ones(db: Connection, how: Literal["due", "itself"]) -> list[str]:
    """The routines that paused themselves and were not resumed as far as is known, or that are about to."""
    query = "SELECT routine FROM watches WHERE paused = ? ORDER BY routine"
    return [row[0] for row in await db.execute_fetchall(query, (how,))]


async def pause_due(db: Connection) -> list[str]:
    """The routines that went wrong so often in a row that they are to pause themselves (`watch.pause_after`).

    One that was refused it for its newest failure, which its open alert counts, has no second try for that.
    """
    query = """
        SELECT w.routine FROM watches w JOIN routines r ON r.name = w.routine AND r.removed_at IS NULL
        WHERE w.failures > 0 AND w.paused = 'no' AND NOT json_extract(r.document, '$.paused')
        AND w.failures >= json_extract(r.document, '$.watch.pause_after')
        AND NOT EXISTS (SELECT 1 FROM alerts a WHERE a.routine = w.routine AND a.kind = 'auto_paused'
                        AND a.closed_at IS NULL AND a.tally = w.failures) ORDER BY w.routine
    """
    return [row[0] for row in await db.execute_fetchall(query)]


async def document_of(db: Connection, routine: str) -> dict[str, Any] | None:
    """The routine as it was admitted last; None when it never was."""
    rows = list(await db.execute_fetchall("SELECT document FROM routines WHERE name = ?", (routine,)))
    return dict(json.loads(rows[0][0])) if rows else None


async def bad_files(db: Connection) -> dict[str, tuple[str, bool]]:
    """What is wrong with routine files by the routine's name, and whether a good version of it is in force."""
    query = (
        "SELECT f.name, f.problem, r.id IS NOT NULL AS good FROM routine_files f"
        " LEFT JOIN routines r ON r.name = f.name AND r.removed_at IS NULL WHERE f.problem IS NOT NULL"
    )
    return {row["name"]: (row["problem"], bool(row["good"])) for row in await db.execute_fetchall(query)}


async def open_questions(db: Connection) -> dict[str, tuple[str, str, str]]:
    """The oldest open decision of each routine that has one: its id, its kind and its question.

    One that holds the routine comes before what a run asked, for which nothing waits.
    """
    query = (
        "SELECT id, kind, routine, question FROM decisions WHERE answer IS NULL"
        " ORDER BY kind <> 'question', rowid DESC"
    )
    rows = await db.execute_fetchall(query)
    return {row["routine"]: (row["id"], row["kind"], row["question"]) for row in rows}


async def is_question(db: Connection, decision: str | None) -> bool:
    """Whether a decision is a question that a run asked."""
    query = "SELECT 1 FROM decisions WHERE id = ? AND kind = 'question'"
    return bool(list(await db.execute_fetchall(query, (decision,))))


async def answer_to(db: Connection, decision: str) -> str | None:
    """How a decision was answered and by whom, for people; None while it is open."""
    query = "SELECT answer, answered_by FROM decisions WHERE id = ? AND answer IS NOT NULL"
    rows = list(await db.execute_fetchall(query, (decision,)))
    words = {"approve": "approved", "reject": "rejected"}
    return f"{words[rows[0]['answer']]} by {rows[0]['answered_by']}" if rows else None


async def undelivered(db: Connection, run_id: str) -> str | None:
    """Which effect of a run did not arrive, and what is known of it."""
    query = (
        "SELECT kind, target, state, detail FROM effects WHERE run_id = ?"
        " AND state IN ('failed', 'refused', 'withheld') ORDER BY ordinal LIMIT 1"
    )
    rows = list(await db.execute_fetchall(query, (run_id,)))
    if not rows:
        return None
    row = rows[0]
    detail = f" ({row['detail']})" if row["detail"] else ""
    return f"{row['kind']}:{row['target']} {row['state']}{detail}"


async def _advance(db: Connection, position: int) -> None:
    await db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (_CURSOR, str(position)))


async def _run(
    db: Connection, run_id: str, position: int, seal: dict[str, Any], since: int
) -> RunEnded | None:
    """The fact of a sealed run; None where it was resumed since, for its own end comes or came later, and where
    an effect of it is about to be performed again: what comes of that is sealed too.

    An effect that is settled says something new of the routine's newest run only. What was taken in before lies
    at or before `since`.
    """
    settled = seal.get("settled") is not None
    if seal.get("again"):
        return None
    if settled and list(await db.execute_fetchall(_OVERTAKEN, (run_id,))):
        return None
    query = "SELECT 1 FROM home_chain WHERE ref = ? AND kind = 'run' AND position > ?"
    if list(await db.execute_fetchall(query, (run_id, position))):
        return None
    rows = list(await db.execute_fetchall("SELECT * FROM runs WHERE id = ?", (run_id,)))
    if rows:
        run = rows[0]
        if not has_ended(run["state"]):
            return None
        why, usage = run["why"] or run["summary"], json.loads(run["usage"])
    else:
        query = "SELECT body FROM home_chain WHERE ref = ? AND kind = 'tombstone'"
        stones = list(await db.execute_fetchall(query, (run_id,)))
        if not stones:
            return None
        run, why = json.loads(stones[0]["body"]), None
        usage = run.get("usage") or {}
    cost = (float(usage.get("dollars") or 0), float(usage.get("tokens") or 0))
    query = "SELECT 1 FROM home_chain WHERE ref = ? AND kind = 'run' AND position <= ?"
    told = settled and bool(list(await db.execute_fetchall(query, (run_id, since))))
    ends = (seal["state"], seal["verdict"], why, run["ended_at"])
    return RunEnded(run_id, run["routine"], *ends, cost, told, seal.get("not_resumed") is not None)


async def _slot(db: Connection, ref: str, seal: dict[str, Any]) -> SlotEnded | None:
    routine_id, _, key = ref.partition(" ")
    names = list(await db.execute_fetchall("SELECT name FROM routines WHERE id = ?", (routine_id,)))
    if not names:
        return None
    query = "SELECT shown FROM slots WHERE routine_id = ? AND key = ?"
    shown = list(await db.execute_fetchall(query, (routine_id, key)))
    due = shown[0]["shown"] if shown else seal["due_at"]
    return SlotEnded(names[0]["name"], seal["state"], seal["count"], due, seal["why"])
