"""Carries out what HQ orders: each key once, however often it is sent; what cannot be done is refused in words."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from minion.daemon.triggers import Trigger
from minion.routines.files import is_from_hq, routine_files
from minion.store.decisions import Answer, answer_decision, answer_of, digest_of_decision
from minion.store.run_log import FROM_HQ, run_of_key
from server.contract.digest import instant
from server.contract.refusals import NotFound, Refusal, Refused, StoreFailed

if TYPE_CHECKING:
    from minion.owner import Owner

log = logging.getLogger(__name__)


async def carry_out(owner: Owner, order: Mapping[str, Any]) -> dict[str, Any]:
    """Do what an order (the wire's `Order`) says; what HQ is told of it (the wire's `Settled`).

    Raises `StoreFailed` when it could not be written down: it is sent again then.
    """
    settled = {"order": str(order.get("id")), "state": "taken", "why": None}
    try:
        await perform(owner, order)
    except StoreFailed:
        raise
    except Refusal as refusal:
        log.warning("refused of HQ: %s %s: %s", order.get("kind"), order.get("routine"), refusal)
        return {**settled, "state": "refused", "why": f"{refusal.sentence} {refusal.hint}"[:1000]}
    except (KeyError, TypeError, ValueError) as error:
        log.error("HQ sent an order that cannot be read: %s", error)
        return {**settled, "state": "refused", "why": "the order cannot be read there"}
    return settled


async def perform(owner: Owner, order: Mapping[str, Any]) -> None:
    """Do what an order says. Raises a `Refusal` where that cannot be done, `KeyError` where it says too little."""
    do = _KINDS.get(str(order.get("kind")))
    if do is None:
        raise Refused("unknown_order", "This minion does not know such an order.", hint="bring it up to date")
    await do(owner, order)


async def _run(owner: Owner, order: Mapping[str, Any]) -> None:
    minion, key = owner.minion, f"{FROM_HQ}{order['key']}"
    if await minion.writer.transact(lambda db: run_of_key(db, key)) is not None:
        return  # it was taken before, and HQ did not hear of that
    name, slot = str(order["routine"]), order.get("slot")
    _check_hqs(owner, name)
    kind = "manual" if slot is None else "schedule"
    trigger = Trigger(kind, key, minion.clock(), order.get("input"), run_id=str(order["run"]))  # type: ignore[arg-type]
    opened = await minion.open_run(name, trigger)
    await owner.always_on().begin(opened)


def _check_hqs(owner: Owner, name: str) -> None:
    """Raise `Refused` where HQ's routine of this name is not the one that would run."""
    files = routine_files(owner.minion.home, name)
    if not files:
        raise NotFound("no_such_routine", f"The minion has no routine {name}.", hint="wait until it has synced")
    if not is_from_hq(owner.minion.home, files[0]):
        says = f"The minion has a routine {name} of its own, which is in the way of HQ's."
        raise Refused("own_routine", says, hint="rename one of them")


async def _cancel(owner: Owner, order: Mapping[str, Any]) -> None:
    run_id = str(order["run"])
    if not owner.minion.supervisor.cancel(run_id, f"cancelled from HQ: {order.get('input') or 'no reason given'}"):
        raise Refused("not_running", f"The run {run_id} does not go on here.", hint="its report says how it ended")


async def _pause(owner: Owner, order: Mapping[str, Any]) -> None:
    await _change(owner, order, paused=True)


async def _resume(owner: Owner, order: Mapping[str, Any]) -> None:
    await _change(owner, order, paused=False)


async def _change(owner: Owner, order: Mapping[str, Any], *, paused: bool) -> None:
    await owner.minion.routines.change(str(order["routine"]), {"paused": paused})
    await owner.always_on().refresh()


async def _decide(owner: Owner, order: Mapping[str, Any]) -> None:
    minion, answers = owner.minion, dict[str, Answer](approve="approve", reject="reject")
    now, answer = instant(minion.clock()), answers[order["answer"]]
    by = f"{order['by']} at HQ" if order.get("by") else "HQ"

    async def answered(db: Any) -> Any:
        shown = await digest_of_decision(db, str(order["decision"]))
        if shown != order["digest"]:
            says = f"The decision {order['decision']} is not what was decided upon."
            raise Refused("other_question", says, hint="look at it again: minion decisions")
        return await answer_decision(db, str(order["decision"]), answer, by=by, now=now)

    async def answered_before(db: Any) -> bool:
        return await answer_of(db, str(order["decision"])) == (answer, by)

    try:
        decision = await minion.writer.transact(answered)
    except Refused as refusal:
        if refusal.code == "decided" and await minion.writer.transact(answered_before):
            return  # it was taken before, and HQ did not hear of that
        raise
    await owner.always_on().decided(decision, approved=answer == "approve")


_KINDS: Final[Mapping[str, Callable[[Owner, Mapping[str, Any]], Awaitable[None]]]] = {
    "run": _run, "cancel": _cancel, "pause": _pause, "resume": _resume, "decide": _decide,
}  # fmt: skip
