"""Reads the run store: lists of runs, one run whole, and whether its log is intact. Read-only connections only."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from minion.store.chained import event_body, home_body, step_body
from minion.store.decisions import questions_of
from minion.store.routines import nearest_name
from minion.store.run_checks import CHECKS, checks_in
from server.contract.digest import CHAIN_START, begins_id, first_broken_link
from server.contract.refusals import BadUse, NotFound
from server.contract.run import has_ended
from server.contract.topology import CanonicalBlock, canonical_sequence

LISTED: Final = 20
# The row as it was written, but for what it says of a run whose owner died (`local_db.read_only`).
_NOW: Final = """state_now(state) AS state, verdict_now(state, verdict) AS verdict,
    CASE WHEN state_now(state) <> state THEN 'the minion stopped while it was running' ELSE why END AS why, *"""


@dataclass(frozen=True, slots=True)
class Breach:
    """A place where the log does not follow from what stands before it; `position` counts from 0."""

    chain: str
    position: int


def list_runs(
    db: sqlite3.Connection, *, routine: str | None = None, state: str | None = None, limit: int = LISTED
) -> list[dict[str, Any]]:
    """The newest runs first, at most `limit`, of one routine and in one state or with one verdict if asked."""
    wheres, values = ["1"], []
    if routine is not None:
        wheres.append("(routine = ? OR routine_id = ?)")
        values += [routine, routine]
    if state is not None:
        wheres.append("(state_now(state) = ? OR verdict_now(state, verdict) = ?)")
        values += [state, state]
    query = f"SELECT {_NOW} FROM runs WHERE {' AND '.join(wheres)} ORDER BY ordinal DESC LIMIT ?"  # noqa: S608
    names = ("id", "routine", "trigger", "state", "outcome", "delivery", "verdict", "summary", "engine",
             "fingerprint", "created_at", "started_at", "ended_at")  # fmt: skip
    return [{name: row[name] for name in names} for row in db.execute(query, (*values, limit)).fetchall()]


def find_run(db: sqlite3.Connection, text: str) -> str:
    """The run that `text` means: an id, an id's unique beginning, a routine's name (its newest), `NAME@last`.

    Raises `NotFound`, or `BadUse` when a beginning fits several runs; a pruned run is named as such.
    """
    name = text.removesuffix("@last")
    if name == "last" or text == "last":
        rows = db.execute("SELECT id FROM runs ORDER BY ordinal DESC LIMIT 1").fetchall()
    else:
        query = "SELECT id FROM runs WHERE routine = ? ORDER BY ordinal DESC LIMIT 1"
        rows = db.execute(query, (name,)).fetchall()
    if not rows and begins_id(text, "run_"):
        rows = db.execute("SELECT id FROM runs WHERE substr(id, 1, ?) = ? LIMIT 2", (len(text), text)).fetchall()
    if len(rows) == 1:
        return str(rows[0]["id"])
    if rows:
        hint = "give more of the id; `minion runs` lists them"
        raise BadUse("ambiguous", f"Several runs begin with {text}.", hint=hint)
    stone = db.execute(
        "SELECT 1 FROM home_chain WHERE kind = 'tombstone' AND ref = ?", (text,)
    ).fetchone()
    if stone is not None:
        says = f"The run {text} was pruned to make room for newer ones; the log keeps its seal only."
        raise NotFound("pruned", says, hint="minion runs")
    routine = db.execute("SELECT 1 FROM routines WHERE name = ? AND removed_at IS NULL", (name,)).fetchone()
    if routine is not None:
        raise NotFound("never_ran", f"The routine {name} has not run yet.", hint=f"minion run {name}")
    names = [row["routine"] for row in db.execute("SELECT DISTINCT routine FROM runs ORDER BY routine").fetchall()]
    near = None if text.startswith("run_") else nearest_name(names, name)
    hint = "minion runs" if near is None else f"did you mean {near}? `minion runs` lists them all"
    raise NotFound("no_such_run", f"There is no run {text}.", hint=hint)


def whole_run(db: sqlite3.Connection, run_id: str) -> dict[str, Any]:
    """One run as `minion show --json` prints it (the fields of the contract's `RunReport`, and more)."""
    run = db.execute(f"SELECT {_NOW} FROM runs WHERE id = ?", (run_id,)).fetchone()  # noqa: S608
    blocks = [CanonicalBlock(b["code"], b["kind"], tuple(b["steps"])) for b in json.loads(run["canonical"])]
    plain = ("id", "routine", "trigger", "state", "outcome", "delivery", "verdict", "summary", "details", "why",
             "hint", "fingerprint", "canonical_fingerprint", "conformance", "created_at", "started_at", "ended_at",
             "engine", "sandbox", "delivery_target", "process", "variant", "revision")  # fmt: skip
    return {
        "protocol": 1,
        **{name: run[name] for name in plain},
        "folder": run["folder"],
        "topology": json.loads(run["topology"]),
        "canonical": list(canonical_sequence(blocks)),
        "first_difference": json.loads(run["first_difference"] or "null"),
        "usage": json.loads(run["usage"]),
        "lock": json.loads(run["lock"]),
        "blocks": _blocks(db, run_id),
        "effects": _effects(db, run_id),
        "sessions": _named_rows(db, "sessions", ("id", "engine", "sandbox", "opened_at"), run_id),
        "checks": checks_in(db.execute(CHECKS, (run_id,)).fetchall()),
        "gaps": _named_rows(db, "gaps", ("id", "gap_type", "requested_code", "description", "at"), run_id),
        "questions": questions_of(db, run_id),
    }


def results_of(db: sqlite3.Connection, run_id: str) -> list[dict[str, Any]]:
    """The results of a run's skills in order: name, state, text and why (a long text as its beginning)."""
    found = []
    for row in _events(db, run_id, "skill.result"):
        data = json.loads(row["data"])
        text = data["text"]
        if isinstance(text, dict):
            text = f"{text['start']}\n\n… {text['bytes']} bytes, whole in {text['file']}"
        found.append({"skill": data["skill"], "state": data["state"], "text": text, "why": data["why"]})
    return found


def seal_of(db: sqlite3.Connection, run_id: str) -> dict[str, Any] | None:
    """What was sealed when the run ended: its truths and the heads of its chains; None while it goes on."""
    row = db.execute(
        "SELECT body FROM home_chain WHERE kind = 'run' AND ref = ? ORDER BY position DESC LIMIT 1", (run_id,)
    ).fetchone()
    return _sealed(row["body"]) if row is not None else None


def breaches(db: sqlite3.Connection, run_id: str | None = None) -> list[Breach]:
    """Where the log is broken: of one run, or of all runs and the home; empty when all is intact.

    An ended run must follow its chains up to the heads sealed in the home's chain, and say what was sealed; a
    sealed run must still be there, or its tombstone. What nobody sealed yet (a run under way) can lose its tail
    unseen, and so can the home's own chain: for those a copy kept elsewhere is needed.
    """
    found = []
    query = "SELECT id FROM runs ORDER BY ordinal"
    runs = [run_id] if run_id is not None else [row["id"] for row in db.execute(query).fetchall()]
    for run in runs:
        found += _run_breaches(db, run)
    if run_id is None:
        rows = db.execute("SELECT * FROM home_chain ORDER BY position").fetchall()
        at = first_broken_link((home_body(r["kind"], r["ref"], r["body"]), r["hash"]) for r in rows)
        found += [Breach("home", at)] if at is not None else []
        found += [Breach(f"{row['ref']} is gone", row["position"] - 1) for row in db.execute(_GONE).fetchall()]
    return found


def log_size(db: sqlite3.Connection, run_id: str | None = None) -> dict[str, int]:
    """How many runs, events, steps and tombstones were looked at, of one run or of the home."""
    where, values = ("WHERE run_id = ?", (run_id,)) if run_id is not None else ("", ())
    runs = 1 if run_id is not None else db.execute("SELECT count(*) FROM runs").fetchone()[0]
    stones = "SELECT count(*) FROM home_chain WHERE kind = 'tombstone'"
    return {
        "runs": runs,
        "events": db.execute(f"SELECT count(*) FROM events {where}", values).fetchone()[0],  # noqa: S608
        "steps": db.execute(f"SELECT count(*) FROM step_logs {where}", values).fetchone()[0],  # noqa: S608
        "tombstones": 0 if run_id is not None else db.execute(stones).fetchone()[0],
    }


_GONE: Final = """
SELECT ref, min(position) AS position FROM home_chain WHERE kind = 'run' AND ref NOT IN (SELECT id FROM runs)
    AND ref NOT IN (SELECT ref FROM home_chain WHERE kind = 'tombstone') GROUP BY ref ORDER BY position
"""


def _run_breaches(db: sqlite3.Connection, run_id: str) -> list[Breach]:
    events = db.execute("SELECT * FROM events WHERE run_id = ? ORDER BY ordinal", (run_id,)).fetchall()
    steps = db.execute("SELECT * FROM step_logs WHERE run_id = ? ORDER BY ordinal", (run_id,)).fetchall()
    found = []
    at = first_broken_link(
        (event_body(r["run_id"], r["ordinal"], r["seq"], r["at"], r["type"], r["block"], r["data"]), r["hash"])
        for r in events
    )
    found += [Breach(f"{run_id} events", at)] if at is not None else []
    at = first_broken_link((step_body(dict(row)), row["hash"]) for row in steps)
    found += [Breach(f"{run_id} steps", at)] if at is not None else []
    return found + _seal_breaches(db, run_id, events, steps)


def _seal_breaches(
    db: sqlite3.Connection, run_id: str, events: Sequence[sqlite3.Row], steps: Sequence[sqlite3.Row]
) -> list[Breach]:
    """A cut-off tail leaves an intact chain: only the heads that were sealed at the run's end show it."""
    run = db.execute("SELECT state, outcome, verdict FROM runs WHERE id = ?", (run_id,)).fetchone()
    seal = db.execute(
        "SELECT body FROM home_chain WHERE kind = 'run' AND ref = ? ORDER BY position DESC LIMIT 1", (run_id,)
    ).fetchone()
    if run is None or not has_ended(run["state"]):
        return []
    if seal is None:
        return [Breach(f"{run_id} has no seal", 0)]
    found = []
    sealed = _sealed(seal["body"])
    for name, rows in (("events", events), ("steps", steps)):
        if (rows[-1]["hash"] if rows else CHAIN_START) != sealed.get(name):
            found.append(Breach(f"{run_id} {name} against its seal", len(rows)))
    if any(run[name] != sealed.get(name) for name in ("state", "outcome", "verdict")):
        found.append(Breach(f"{run_id} against its seal", 0))
    return found


def _sealed(body: str) -> dict[str, Any]:
    """What a seal says; nothing when somebody made it unreadable."""
    try:
        said = json.loads(body)
    except ValueError:
        said = None
    return said if isinstance(said, dict) else {}


def _blocks(db: sqlite3.Connection, run_id: str) -> list[dict[str, Any]]:
    steps: dict[str, list[dict[str, Any]]] = {}
    for row in db.execute("SELECT * FROM step_logs WHERE run_id = ? ORDER BY number", (run_id,)).fetchall():
        names = ("code", "state", "kind", "started_at", "ended_at", "why")
        steps.setdefault(row["block"], []).append({name: row[name] for name in names})
    rows = db.execute("SELECT * FROM block_runs WHERE run_id = ? ORDER BY ordinal", (run_id,)).fetchall()
    told = ("code", "name", "kind", "state", "why", "started_at", "ended_at")
    return [{**{name: row[name] for name in told}, "steps": steps.get(row["code"], [])} for row in rows]


def _effects(db: sqlite3.Connection, run_id: str) -> list[dict[str, Any]]:
    rows = db.execute("SELECT * FROM effects WHERE run_id = ? ORDER BY ordinal", (run_id,)).fetchall()
    names = ("id", "kind", "target", "title", "state", "detail", "destination", "reverse", "bytes", "digest",
             "staged_at", "intended_at", "settled_at")  # fmt: skip
    return [{name: row[name] for name in names} for row in rows]


def _named_rows(
    db: sqlite3.Connection, table: str, names: Sequence[str], run_id: str
) -> list[dict[str, Any]]:
    query = f"SELECT {', '.join(names)} FROM {table} WHERE run_id = ? ORDER BY rowid"  # noqa: S608 - our names
    return [dict(row) for row in db.execute(query, (run_id,)).fetchall()]


def _events(db: sqlite3.Connection, run_id: str, type_: str) -> Sequence[Mapping[str, Any]]:
    query = "SELECT data FROM events WHERE run_id = ? AND type = ? ORDER BY ordinal"
    return db.execute(query, (run_id, type_)).fetchall()
