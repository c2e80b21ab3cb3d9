"""What can be asked of a minion's owner, one function per verb: the daemon answers them over its socket, and a
command that owns the home for a moment answers them itself.

A verb takes and gives JSON data; what is refused is raised as a `Refusal`.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from minion.daemon.hub import Asker
from minion.daemon.triggers import Trigger
from minion.owner import Owner
from minion.params import Params
from minion.routines.files import all_routine_files
from minion.secrets_file import read_secrets
from minion.standing import standing
from minion.store.claims import take_claim
from minion.store.decisions import Answer, answer_decision
from minion.store.effects_ledger import Settlement, settle_effect
from minion.store.local_db import read_only
from minion.store.run_history import find_run, whole_run
from minion.store.run_resume import STOPPED_BY_A_PERSON
from minion.store.standing import halt_of, lift_halt, set_halt
from server.contract.digest import instant, new_id
from server.contract.redaction import Redactor
from server.contract.refusals import BadUse, NotFound, Refused
from server.contract.run import EffectState, has_ended

if TYPE_CHECKING:
    from minion.routines.added import Added
    from minion.wire import Order


async def _add(owner: Owner, params: Params, asker: Asker) -> Any:  # noqa: ARG001 - each verb takes the same
    added = await owner.minion.routines.add(
        Path(params.text("source")), params.bytes("body"), replace=params.flag("replace"),
        folder=Path(params.text("folder")),
    )  # fmt: skip
    return await _kept(owner, [added])


async def _edit(owner: Owner, params: Params, asker: Asker) -> Any:  # noqa: ARG001
    added = await owner.minion.routines.edit(
        params.text("name"), Path(params.text("draft")), params.bytes("body"), begun=params.bytes("begun"),
        folder=Path(params.text("folder")),
    )  # fmt: skip
    return await _kept(owner, [added])


async def _change(owner: Owner, params: Params, asker: Asker) -> Any:  # noqa: ARG001
    added = await owner.minion.routines.change(params.text("name"), params.table("changes"))
    return await _kept(owner, [added])


async def _pause(owner: Owner, params: Params, asker: Asker) -> Any:  # noqa: ARG001
    return await _kept(owner, [await owner.minion.routines.change(params.text("name"), {"paused": True})])


async def _resume(owner: Owner, params: Params, asker: Asker) -> Any:  # noqa: ARG001
    return await _kept(owner, [await owner.minion.routines.change(params.text("name"), {"paused": False})])


async def _import(owner: Owner, params: Params, asker: Asker) -> Any:  # noqa: ARG001
    entries = [Params(entry) for entry in params.items("entries") if isinstance(entry, dict)]
    files = [(Path(entry.text("source")), entry.bytes("body")) for entry in entries]
    added = await owner.minion.routines.take_over(
        files, replace=params.flag("replace"), folder=Path(params.text("folder"))
    )
    return await _kept(owner, added)


async def _remove(owner: Owner, params: Params, asker: Asker) -> Any:  # noqa: ARG001
    """Take a routine out of use; its runs that go on are cancelled, for nobody is left who wants them."""
    name, supervisor = params.text("name"), owner.minion.supervisor
    await owner.minion.routines.remove(name)
    stopped = supervisor.under_way_of(name)
    for run_id in stopped:
        supervisor.cancel(run_id, "its routine was removed")
    if owner.resident is not None:
        await owner.resident.refresh()
        for run_id in stopped:
            await owner.resident.ended(run_id)
    return {"removed": name, "cancelled": stopped}


async def _kept(owner: Owner, added: list[Added]) -> list[dict[str, Any]]:
    if owner.resident is not None:
        await owner.resident.refresh()
    return [one.as_data() for one in added]


async def _run(owner: Owner, params: Params, asker: Asker) -> Any:
    """Run a routine now: `routine engine model input repository detach`; tells `run`, then its events."""
    minion = owner.minion
    if params.flag("detach"):
        owner.always_on()
    if owner.resident is not None and owner.resident.stopping:
        raise Refused("stopping", "The minion is being stopped.", hint="run it again once it is down, or up again")
    trigger = Trigger("manual", f"manual:{new_id('dec_')[4:]}", minion.clock(), params.maybe("input"))
    order = await minion.open_run(
        params.text("routine"), trigger, engine=params.maybe("engine"), model=params.maybe("model"),
        repository=params.maybe("repository"),
    )  # fmt: skip
    return await _performed(owner, order, asker, detach=params.flag("detach"))


async def _resume_run(owner: Owner, params: Params, asker: Asker) -> Any:
    """Have an interrupted run go on: `run` as people name it, `anyway`, `detach`; tells as `run` does."""
    minion = owner.minion
    if params.flag("detach"):
        owner.always_on()
    if owner.resident is not None and owner.resident.stopping:
        hint = "run it again once it is down, or up again"
        raise Refused("stopping", "The minion is being stopped.", hint=hint)
    with read_only(minion.home.store) as db:
        run_id = find_run(db, params.text("run"))
    order = await minion.take_up(run_id, anyway=params.flag("anyway"))
    return await _performed(owner, order, asker, detach=params.flag("detach"))


async def _performed(owner: Owner, order: Order, asker: Asker, *, detach: bool) -> dict[str, Any]:
    """Have a run performed that was opened or taken up; answers when it has ended, or at once."""
    asker.tell({"run": order.run_id, "routine": order.routine["name"]})
    if owner.resident is None:
        await owner.minion.supervisor.perform(order)
    else:
        await owner.resident.begin(order)
        if not detach:
            await owner.resident.listen(asker, order.run_id)
    return {"run": order.run_id}


async def _cancel(owner: Owner, params: Params, asker: Asker) -> Any:  # noqa: ARG001
    """Stop a run: `run` as people name it, `why`. Answers when it has ended."""
    with read_only(owner.minion.home.store) as db:
        run_id = find_run(db, params.text("run"))
        state = whole_run(db, run_id)["state"]
    if not owner.minion.supervisor.cancel(run_id, params.maybe("why") or "cancelled by a person"):
        says = f"The run {run_id} is {state}: there is nothing to cancel."
        ended = has_ended(state)
        raise Refused("not_running", says, hint=f"minion show {run_id}" if ended else "minion status")
    if owner.resident is not None:
        await owner.resident.ended(run_id)
    return {"run": run_id}


async def _decide(owner: Owner, params: Params, asker: Asker) -> Any:  # noqa: ARG001
    """Answer a decision: `decision`, `answer` (approve or reject), `by`."""
    answers: dict[str, Answer] = {"approve": "approve", "reject": "reject"}
    answer = answers.get(params.text("answer"))
    if answer is None:
        raise BadUse("bad_answer", f"{params.text('answer')[:40]!r} is no answer.", hint="approve or reject")
    minion, now = owner.minion, instant(owner.minion.clock())
    by, text = params.maybe("by") or "a person", params.text("decision")
    decision = await minion.writer.transact(
        lambda db: answer_decision(db, text, answer, by=by, now=now)
    )
    if owner.resident is not None:
        await owner.resident.decided(decision, approved=answer == "approve")
    return {"decision": decision.id, "routine": decision.routine, "answer": answer, "kind": decision.kind}


async def _report(owner: Owner, params: Params, asker: Asker) -> Any:  # noqa: ARG001
    """Take the report of a run's own session: `run`, its `token`, and `report` {outcome, summary, details}."""
    from minion.runner.report import InvalidReport, validate  # what engines know, loaded when one speaks

    minion, run_id = owner.minion, params.text("run")
    flight = minion.supervisor.flight_of(run_id)
    token = flight.order.report_token if flight is not None else ""
    if flight is None or not token or not hmac.compare_digest(token.encode(), params.text("token").encode()):
        says = "The token is not that of a run that goes on."
        raise Refused("bad_token", says, hint="use the one that the run's session was given")
    try:
        report = validate(params.table("report"))
    except InvalidReport as error:
        says = f"The report cannot be taken: {str(error).rstrip('.')}."
        raise BadUse("bad_report", says, hint="send outcome, summary and details") from error
    redact = Redactor([*read_secrets(minion.home.secrets_file).values(), token]).data
    claim = redact({"outcome": report.outcome, "summary": report.summary, "details": report.details})
    now = instant(minion.clock())
    taken = await minion.writer.transact(lambda db: take_claim(db, run_id, claim, now=now))
    if taken:
        flight.hand_on(claim)
    return {"run": run_id, "taken": taken}


async def _settle(owner: Owner, params: Params, asker: Asker) -> Any:  # noqa: ARG001
    """Say how an unknown effect came out: `effect`, `state` (delivered or failed), `why`, `by`."""
    states: dict[str, EffectState] = {"delivered": "delivered", "failed": "failed"}
    said, state = params.text("state"), states.get(params.text("state"))
    if state is None:
        raise BadUse("bad_settlement", f"{said[:40]!r} is no end of an effect.", hint="delivered or failed")
    minion, now = owner.minion, instant(owner.minion.clock())
    by = params.maybe("by") or "a person"
    detail = f"{by} says so" + (f": {params.text('why')}" if params.maybe("why") else "")
    redact = Redactor(read_secrets(minion.home.secrets_file).values()).text
    settled = Settlement(state, redact(detail), by)
    return await minion.writer.transact(lambda db: settle_effect(db, params.text("effect"), settled, now=now))


async def _redeliver(owner: Owner, params: Params, asker: Asker) -> Any:  # noqa: ARG001
    """Perform the effects of an ended run again that did not arrive: `run` as people name it, `by`."""
    minion = owner.minion
    read_secrets(minion.home.secrets_file)  # refused here with the remedy; who performs them could only give up
    with read_only(minion.home.store) as db:
        run_id = find_run(db, params.text("run"))
    return await minion.supervisor.redeliveries.redeliver(run_id, params.maybe("by") or "a person")


async def _check_effects(owner: Owner, params: Params, asker: Asker) -> Any:  # noqa: ARG001
    """Read unknown effects back now, of one `run` or of all; what came of each."""
    minion, run_id = owner.minion, None
    if params.maybe("run") is not None:
        with read_only(minion.home.store) as db:
            run_id = find_run(db, params.text("run"))
    return [looked.as_data() for looked in await minion.supervisor.reconciler.look(run_id)]


async def _halt(owner: Owner, params: Params, asker: Asker) -> Any:  # noqa: ARG001
    """Start nothing until `unhalt`; what runs is cancelled, unless `let_finish`. `why` is shown to people."""
    minion, at = owner.minion, instant(owner.minion.clock())
    why = await minion.writer.transact(lambda db: set_halt(db, params.maybe("why") or None, at=at))
    if owner.resident is not None:
        await owner.resident.read_halt()  # before anything is cancelled: what waits must not take its place
    stopped = minion.supervisor.queued if params.flag("let_finish") else minion.supervisor.under_way
    for run_id in stopped:
        minion.supervisor.cancel(run_id, f"the minion was halted: {why}")
    if owner.resident is not None:
        await owner.resident.refresh()
        for run_id in stopped:
            await owner.resident.ended(run_id)
    return {"halted": True, "why": why, "cancelled": stopped}


async def _unhalt(owner: Owner, params: Params, asker: Asker) -> Any:  # noqa: ARG001
    minion = owner.minion
    was = await minion.writer.transact(halt_of)
    await minion.writer.transact(lift_halt)
    if owner.resident is not None:
        await owner.resident.refresh()
    return {"halted": False, "was": was}


async def _status(owner: Owner, params: Params, asker: Asker) -> Any:  # noqa: ARG001
    """How the minion stands, as `minion status --json` prints it."""
    live, minion = owner.always_on().live(), owner.minion

    def read() -> dict[str, Any]:
        with read_only(minion.home.store) as db:
            files = {file.stem for file in all_routine_files(minion.home)}
            return standing(db, minion.config, now=minion.clock(), live=live, files=files)

    return await asyncio.to_thread(read)


async def _live(owner: Owner, params: Params, asker: Asker) -> Any:  # noqa: ARG001
    """What only the daemon knows, which costs it nothing to say."""
    return owner.always_on().live()


async def _reload(owner: Owner, params: Params, asker: Asker) -> Any:  # noqa: ARG001
    return {"changed": await owner.always_on().refresh()}


async def _subscribe(owner: Owner, params: Params, asker: Asker) -> Any:  # noqa: ARG001
    await owner.always_on().listen(asker, None)
    return {}


async def _watch(owner: Owner, params: Params, asker: Asker) -> Any:  # noqa: ARG001
    """Tell whenever something has changed, at once to begin with, and not what."""
    await owner.always_on().watch(asker)
    return {}


async def _tail(owner: Owner, params: Params, asker: Asker) -> Any:
    """Tell the events of a run that is under way, until its end."""
    with read_only(owner.minion.home.store) as db:
        run_id = find_run(db, params.text("run"))
    if run_id in owner.minion.supervisor.under_way:
        # From here on nothing is missed: whoever follows reads now what was written down before.
        asker.tell({"run": run_id, "type": "tail.begun", "seq": None})
        await owner.always_on().listen(asker, run_id)
    return {"run": run_id}


async def _join(owner: Owner, params: Params, asker: Asker) -> Any:  # noqa: ARG001
    """Join the HQ at `url`, with `token`."""
    from minion.hq.joining import join  # what speaks to HQ, loaded when somebody does

    return await join(owner, params.text("url"), params.text("token"))


async def _leave(owner: Owner, params: Params, asker: Asker) -> Any:  # noqa: ARG001
    from minion.hq.joining import leave

    return await leave(owner)


async def _stop(owner: Owner, params: Params, asker: Asker) -> Any:  # noqa: ARG001
    owner.always_on().stop(grace_s=params.number("grace_s"), why=STOPPED_BY_A_PERSON)
    return {"pid": owner.always_on().live()["pid"]}


VERBS: Final[Mapping[str, Callable[[Owner, Params, Asker], Awaitable[Any]]]] = {
    "routine.add": _add, "routine.edit": _edit, "routine.change": _change, "routine.import": _import,
    "routine.remove": _remove, "pause": _pause, "resume": _resume,
    "run": _run, "run.resume": _resume_run,
    "cancel": _cancel, "report": _report, "tail": _tail, "subscribe": _subscribe, "watch": _watch,
    "join": _join, "leave": _leave,
    "decide": _decide, "settle": _settle, "effects.check": _check_effects, "redeliver": _redeliver,
    "status": _status, "live": _live, "reload": _reload,
    "halt": _halt, "unhalt": _unhalt, "stop": _stop,
}  # fmt: skip


async def do(owner: Owner, verb: str, said: Mapping[str, Any], asker: Asker) -> Any:
    """Do what a verb asks for. Raises `NotFound` for an unknown verb, and what the verb refuses."""
    asked = VERBS.get(verb)
    if asked is None:
        raise NotFound("no_such_verb", f"There is no verb {verb[:40]!r}.", hint="minion --help")
    return await asked(owner, Params(said), asker)
