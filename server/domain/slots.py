"""What becomes of the slots of a routine that HQ starts: which are due, start, wait, are too late or left out.

The rules are a minion's (DESIGN §6); the contract's schedules say when. Pure: `now` is an argument.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final, Literal

from server.contract.catch_up import CatchUp, catch_up, overlap_decision, stagger_s
from server.contract.refusals import BadDocument
from server.contract.schedule import Schedule, local_date, next_slots, restore_schedule, slots_between

# A slot that is noticed within this many seconds is on time; a later one is a matter of catching up.
ON_TIME_S: Final = 60
_FALLBACK_ZONE: Final = "UTC"
Turn = Literal["start", "queue", "skip"]


@dataclass(frozen=True, slots=True)
class Due:
    """A trigger of which slots came due, and what becomes of them by the routine's rule of catching up."""

    trigger: str
    arrived: CatchUp


def triggers_of(document: Mapping[str, Any], zone: str | None) -> dict[str, Schedule]:
    """The schedules of an admitted routine by the names of their triggers; `zone` counts where it names none.

    A paused one has none, and one whose zone is no longer known here is left out.
    """
    found = {}
    for trigger in document["triggers"] if not document["paused"] else ():
        expression = trigger["at"] if trigger["type"] == "once" else trigger["cron"]
        schedule = _schedule(expression, trigger["timezone"] or zone or _FALLBACK_ZONE)
        if schedule is not None:
            found[name_of(schedule)] = schedule
    return found


def name_of(schedule: Schedule) -> str:
    """What names a trigger among those of its routine."""
    return f"{schedule.expression}|{schedule.zone}"


def due_of(
    document: Mapping[str, Any], routine_id: str, zone: str | None, handled: Mapping[str, datetime],
    begins: datetime, now: datetime,
) -> list[Due]:  # fmt: skip
    """The triggers of which slots came due by `now`.

    `handled` is how far each was seen to; one that is not in it was as far as the others, or begins at `begins`.
    """
    last = max([*handled.values(), begins])
    found = []
    for name, schedule in triggers_of(document, zone).items():
        arrived = catch_up(
            schedule, handled.get(name, last), now, policy=document["catch_up"],
            window_s=document["catch_up_window_s"] or 0, stagger=_stagger(document, routine_id),
            on_time_s=ON_TIME_S,
        )  # fmt: skip
        if arrived.run or arrived.missed:
            found.append(Due(name, arrived))
    return found


def next_look(
    document: Mapping[str, Any], routine_id: str, zone: str | None, handled: Mapping[str, datetime],
    begins: datetime,
) -> datetime | None:  # fmt: skip
    """When a slot of a routine starts next (UTC); None where none ever does."""
    last = max([*handled.values(), begins])
    stagger = timedelta(seconds=_stagger(document, routine_id))
    found = [
        slots[0].at.astimezone(UTC) + stagger
        for name, schedule in triggers_of(document, zone).items()
        if (slots := next_slots(schedule, handled.get(name, last), 1))
    ]
    return min(found, default=None)


def turn_of(document: Mapping[str, Any], *, caught_up: bool, running: int, queued: int) -> Turn:
    """Whether a slot starts, waits its turn or is left out, while so many runs of its routine go on and wait."""
    # Who asked for every slot of a window gets them one after another, and not the first of them alone.
    queues = caught_up and document["catch_up"] == "window" and document["overlap"] == "skip"
    return overlap_decision("queue" if queues else document["overlap"], running, queued)


def is_late(document: Mapping[str, Any], routine_id: str, due: datetime, now: datetime) -> bool:
    """Whether a slot is not on time any more, its routine's stagger counted in."""
    return _age_s(document, routine_id, due, now) >= ON_TIME_S


def too_late(
    document: Mapping[str, Any], routine_id: str, trigger: str, due: datetime, now: datetime
) -> str | None:
    """Why a slot whose run waits for its minion is not to start any more; None while it may."""
    expression, _, zone = trigger.rpartition("|")
    schedule = _schedule(expression, zone)
    if schedule is None:
        return "its schedule is gone"
    age_s, rule = _age_s(document, routine_id, due, now), document["catch_up"]
    reached = now - timedelta(seconds=_stagger(document, routine_id))
    if rule == "latest" and document["overlap"] == "skip" and slots_between(schedule, due, reached, 0)[1]:
        return "a newer one came due meanwhile"
    if age_s < ON_TIME_S:
        return None
    if rule == "latest":
        same_day = local_date(schedule, reached) <= local_date(schedule, due)
        return None if same_day else "its local day is over"
    if rule == "window":
        window_s = document["catch_up_window_s"] or 0
        return None if age_s <= window_s else f"it came due over {window_s} s ago"
    return "catch-up is off for it"


def _stagger(document: Mapping[str, Any], routine_id: str) -> int:
    return stagger_s(routine_id, document["stagger_s"])


def _age_s(document: Mapping[str, Any], routine_id: str, due: datetime, now: datetime) -> float:
    return (now - due).total_seconds() - _stagger(document, routine_id)


@lru_cache(maxsize=4096)
def _schedule(expression: str, zone: str) -> Schedule | None:
    """A schedule that was admitted before; None where its zone is no longer known here."""
    try:
        return restore_schedule(expression, zone)
    except BadDocument:
        return None
