"""The ledger: a session that runs a process itself says what it does, and HQ holds it to the process.

Its steps are `attested`: nobody but the session saw them. What HQ itself saw (the trigger's validation) is not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Row

from server.actions.compare import close_run
from server.actions.ground import ground_of
from server.contract.digest import canonical_json, digest_of, instant, new_id
from server.contract.process import Process
from server.contract.redaction import Redactor
from server.contract.refusals import BadUse, Refused
from server.contract.run import OUTCOMES, has_ended
from server.contract.topology import CanonicalBlock
from server.domain.walk import may_finish, may_finish_block, may_log, may_say, may_start
from server.storage import run_store
from server.storage.access_store import Caller, once
from server.storage.database import Connection
from server.storage.definition_store import find_routine
from server.storage.event_store import append_event, append_steps

MOST_STEPS: Final = 100
LONGEST_CODE: Final = 200
LONGEST_TEXT: Final = 65_536
_BRANCH: Final = re.compile(r"claude/[a-z0-9][a-z0-9._/-]{0,100}")
_FINGERPRINT: Final = re.compile("T:[0-9a-f]{8}")
_REDACTOR: Final = Redactor()


def start_run(
    connection: Connection, caller: Caller, processes: Mapping[str, Process], routine: str, *,
    trigger: str, external_session: str | None, client_key: str | None, now: datetime,
) -> dict[str, Any]:  # fmt: skip
    """Open a run, `validated`, with its first block taken: the token and the trigger were looked at just now.

    `routine` is a name, an id or the beginning of one. Raises `NotFound`, `BadUse`, and `Refused` for a client key
    of another call.
    """
    at, held = instant(now), find_routine(connection, routine)
    request = {"routine": held.id, "trigger": trigger, "external_session": external_session}
    ground = ground_of(processes, held.document, trigger)

    def do() -> dict[str, Any]:
        run_id, actor = new_id("run_"), caller.id
        run: dict[str, Any] = {
            "id": run_id, "order_key": f"ledger:{run_id}", "routine_id": held.id, "routine": held.name,
            "minion_id": held.minion_id, "trigger": trigger, "process": ground.process,
            "variant": ground.variant, "source": "attested", "external_session": external_session,
            "actor": caller.client,
            "known": canonical_json([list(each) for each in ground.known]), "novelty": ground.novelty,
            "deadline_at": instant(now + timedelta(seconds=ground.deadline_s)),
        }  # fmt: skip
        run_store.open_run(connection, run, ground.blocks, ground.names, actor=actor, now=at)
        first = ground.blocks[0]
        row = run_store.find_run(connection, run_id)
        run_store.begin_block(connection, row, first.code, actor="hq", now=at)
        step = _step({"code": first.steps[0], "kind": "step", "state": "completed"}, first.code, "hq", at)
        append_steps(connection, run_id, [{**step, "attested": False, "digest_in": digest_of(request)}])
        run_store.end_block(connection, run_id, first.code, "completed", actor="hq", now=at)
        run_store.move(connection, run_id, "draft", "validated", actor="hq", now=at)
        return {
            "run": run_id, "state": "validated", "process": ground.process, "variant": ground.variant,
            "deadline_at": run["deadline_at"],
            "blocks": _shown(ground.blocks, ground.names, {first.code: "completed"}),
        }  # fmt: skip

    return once(connection, caller.client, client_key, "ledger_start_run", request, do, now=at)


def start_block(
    connection: Connection, caller: Caller, run: str, block: str, *, client_key: str | None, now: datetime
) -> dict[str, Any]:
    """Begin a block of a run. Raises `NotFound`, `BadUse`, and `Refused` for one whose turn it is not."""
    at = instant(now)

    def do() -> dict[str, Any]:
        row, states = _open(connection, caller, run, now)
        may_start(run_store.canonical_of(row), states, block)
        if row.state == "validated":
            run_store.move(connection, row.id, "validated", "queued", actor=caller.id, now=at)
            run_store.move(connection, row.id, "queued", "running", actor=caller.id, now=at)
        run_store.begin_block(connection, row, block, actor=caller.id, now=at)
        steps = next(each.steps for each in run_store.canonical_of(row) if each.code == block)
        return {"run": row.id, "block": block, "state": "running", "canonical": list(steps)}

    request = {"run": run, "block": block}
    return once(connection, caller.client, client_key, "ledger_start_block", request, do, now=at)


def log_steps(
    connection: Connection, caller: Caller, run: str, block: str, steps: Sequence[Mapping[str, Any]], *,
    client_key: str | None, now: datetime,
) -> dict[str, Any]:  # fmt: skip
    """Add steps to the block under way: all of them or none. Raises `NotFound`, `BadUse`, `Refused`."""
    at = instant(now)
    if not 1 <= len(steps) <= MOST_STEPS:
        hint = f"give 1 to {MOST_STEPS} steps at a time"
        raise BadUse("step_count", f"A call has 1 to {MOST_STEPS} steps, not {len(steps)}.", hint=hint)

    def do() -> dict[str, Any]:
        row, states = _open(connection, caller, run, now)
        blocks = run_store.canonical_of(row)
        for step in steps:
            may_log(blocks, states, block, kind=step["kind"], code=step["code"])
            may_say(step)
        rows = [_step(step, block, caller.name, at) for step in steps]
        last = append_steps(connection, row.id, rows)
        said = {"block": block, "steps": len(rows), "until": last}
        append_event(connection, "steps.logged", said, actor=caller.id, now=at, run_id=row.id)
        return {"run": row.id, "block": block, "logged": len(rows), "entries": last}

    request = {"run": run, "block": block, "steps": [dict(step) for step in steps]}
    return once(connection, caller.client, client_key, "ledger_log_step", request, do, now=at)


def finish_block(
    connection: Connection, caller: Caller, run: str, block: str, state: str, *,
    why: str | None = None, client_key: str | None, now: datetime,
) -> dict[str, Any]:  # fmt: skip
    """Bring the block under way to its end. Raises `NotFound`, `BadUse`, `Refused`."""
    at = instant(now)

    def do() -> dict[str, Any]:
        row, states = _open(connection, caller, run, now)
        blocks = run_store.canonical_of(row)
        logged = [step for step in run_store.taken_steps(connection, row.id) if step.block == block]
        may_finish_block(blocks, states, block, state, logged)
        run_store.end_block(connection, row.id, block, state, actor=caller.id, now=at, why=_text(why))
        left = [each.code for each in blocks if each.code not in states]
        return {"run": row.id, "block": block, "state": state, "next": left[0] if left else None}

    request = {"run": run, "block": block, "state": state, "why": why}
    return once(connection, caller.client, client_key, "ledger_finish_block", request, do, now=at)


def finish_run(
    connection: Connection, caller: Caller, run: str, outcome: str, *, summary: str | None,
    details: str | None = None, branch: str | None = None, claimed_topology: Sequence[str] | str | None = None,
    client_key: str | None, now: datetime,
) -> dict[str, Any]:  # fmt: skip
    """End a run as the session claims it went; how its steps compare follows from the log, and not from the claim.

    `claimed_topology` are codes, or their fingerprint. Raises `NotFound`, `BadUse`, and `Refused` for a claim that
    the run's blocks contradict.
    """
    at = instant(now)
    if isinstance(claimed_topology, str) and _FINGERPRINT.fullmatch(claimed_topology) is None:
        hint = "give the codes, or their fingerprint: T:36a61784"
        raise BadUse("bad_claim", f"{claimed_topology[:40]!r} is no fingerprint.", hint=hint)
    if outcome not in OUTCOMES:
        raise BadUse("bad_outcome", f"{outcome[:40]!r} is no outcome.", hint=f"say {', '.join(OUTCOMES)}")
    if branch is not None and _BRANCH.fullmatch(branch) is None:
        raise BadUse("bad_branch", f"{branch[:60]!r} is no branch of a run.", hint="branches begin with claude/")

    def do() -> dict[str, Any]:
        row, states = _open(connection, caller, run, now)
        completed = may_finish(run_store.canonical_of(row), states, outcome)
        report = _step({"code": "execution-report", "kind": "report", "state": "completed"}, None, caller.name, at)
        append_steps(connection, row.id, [report])
        run_store.set_run(
            connection, row.id, outcome=outcome, summary=_text(summary), details=_text(details), branch=branch
        )
        return close_run(
            connection, row.id, "completed" if completed else "failed", actor=caller.id, now=at,
            claimed=claimed_topology, why=None if completed else "the session says so",
        )  # fmt: skip

    request = {
        "run": run, "outcome": outcome, "summary": summary, "details": details, "branch": branch,
        "claimed_topology": claimed_topology,
    }  # fmt: skip
    return once(connection, caller.client, client_key, "ledger_finish_run", request, do, now=at)


def _open(connection: Connection, caller: Caller, text: str, now: datetime) -> tuple[Row[Any], dict[str, str]]:
    """A run that the caller may write on, and how its blocks stand. Raises `NotFound`, `Refused`."""
    row = run_store.find_run(connection, text)
    if row.source != "attested":
        says = f"The run {row.id} is performed by a minion, which says itself what it does."
        raise Refused("not_attested", says, hint="ledger_start_run opens one of your own")
    if row.actor != caller.client and caller.scope != "admin":
        raise Refused("other_session", f"The run {row.id} is another client's.", hint="go on as who opened it")
    if has_ended(row.state) or row.deadline_at <= instant(now):
        word = row.state if has_ended(row.state) else "over its deadline"
        raise Refused("run_over", f"The run {row.id} is {word}.", hint="ledger_start_run opens another")
    return row, {block.code: block.state for block in run_store.blocks_of(connection, row.id)}


def _step(step: Mapping[str, Any], block: str | None, agent: str, at: str) -> dict[str, Any]:
    """A row of the step log for what a session said."""
    cost = {name: step["cost"][name] for name in sorted(step.get("cost") or {})}
    return {
        "block": block, "code": _text(step["code"], LONGEST_CODE), "kind": step["kind"], "state": step["state"],
        "why": _text(step.get("why")), "agent": _text(step.get("agent") or agent, LONGEST_CODE), "attested": True,
        "started_at": step.get("started_at"), "ended_at": step.get("ended_at") or at,
        "cost": json.dumps(cost, separators=(",", ":")), "digest_in": step.get("digest_in"),
        "digest_out": step.get("digest_out"),
    }  # fmt: skip


def _text(text: str | None, most: int = LONGEST_TEXT) -> str | None:
    """A text as it is kept: without secrets, and not longer than this."""
    return None if text is None else _REDACTOR.text(text)[:most]


def _shown(
    blocks: Sequence[CanonicalBlock], names: Mapping[str, str], states: Mapping[str, str]
) -> list[dict[str, Any]]:
    return [
        {"block": b.code, "name": names.get(b.code, b.code), "kind": b.kind, "canonical": list(b.steps),
         "state": states.get(b.code)}
        for b in blocks
    ]  # fmt: skip
