"""What becomes of slots that came due: started, caught up, missed, or kept from overlapping; exactly counted.

Rules: DESIGN §6. The schedule says when; this says what then, without a clock.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from server.contract.schedule import Schedule, Slot, local_date, slots_between

MOST_MISSED: Final = 100
# As many as a full catch-up window may bring: a shorter queue would drop what `window` promised to run.
MOST_QUEUED: Final = 100

# The reasons that `catch_up` gives for slots that are not run, which it counts in `missed`.
_LEFT_OUT: Final = re.compile(
    r"(?:missed \d+: )?(?:catch-up is off|only the newest due slot|the local day of the newest due slot"
    r"|(?:the others|all) came due over|over \d+ came due)"
)

CatchUpPolicy = Literal["latest", "window", "none"]
OverlapPolicy = Literal["skip", "queue", "allow"]


@dataclass(frozen=True, slots=True)
class CatchUp:
    """What to do about slots that came due unseen.

    `run`: to start, oldest first. `missed`: the exact number of due slots that are not run; `missed_slots`:
    the newest 100 of them. `why`: one line for people, true of each. `handled_until`: the `last` of the next call.
    """

    run: tuple[Slot, ...]
    missed: int
    missed_slots: tuple[Slot, ...]
    why: str
    handled_until: datetime


def stagger_s(routine_id: str, spread_s: int) -> int:
    """Seconds from 0 to `spread_s`, always the same for one routine, spread evenly over many.

    Raises `ValueError` for a negative spread.
    """
    if spread_s < 0:
        raise ValueError(f"a spread of {spread_s} seconds is negative")
    return int.from_bytes(hashlib.sha256(routine_id.encode()).digest()[:8]) % (spread_s + 1)


def catch_up(
    schedule: Schedule,
    last: datetime | None,
    now: datetime,
    *,
    policy: CatchUpPolicy,
    window_s: int,
    stagger: int = 0,
    on_time_s: float = 0,
) -> CatchUp:
    """What to run and what to report as missed of the slots due after `last`, at most `now`.

    `last` is the `at` of the newest slot that has a record, or when the trigger was admitted; None means that
    nothing is due yet. `stagger` (seconds) moves every slot's due time. Slots less than `on_time_s` seconds old
    are not late and run by any policy. Of the late ones, `latest` runs the newest due slot, until the end of its
    local day; `window` every one due in the last `window_s` seconds; `none` nothing. When more than 100 came
    due, at most the newest is run (DESIGN §6). A clock set back past `last` gives none.
    """
    reached = now - timedelta(seconds=stagger)
    if last is None:
        return CatchUp((), 0, (), "nothing was due: the schedule has only just begun", now)
    handled = max(reached.astimezone(UTC), last.astimezone(UTC))
    slots, total = slots_between(schedule, last, reached, MOST_MISSED + 1)
    if total == 0:
        return CatchUp((), 0, (), "nothing was due", handled)
    run = [slot for slot in slots if (reached - slot.at).total_seconds() < on_time_s]
    reason = "catch-up is off for it"
    if policy == "latest":
        # Compared with the slot's own date, so a stagger past midnight does not count against it.
        in_time = local_date(schedule, reached) <= slots[-1].at.date()
        run = run or (slots[-1:] if in_time else [])
        reason = "only the newest due slot is run" if run else "the local day of the newest due slot is over"
    elif policy == "window":
        run = [slot for slot in slots if slot in run or (reached - slot.at).total_seconds() <= window_s]
        reason = f"{'the others' if run else 'all'} came due over {window_s} s ago"
    if total > MOST_MISSED and run:
        run, reason = run[-1:], f"over {MOST_MISSED} came due, so only the newest is run"
    missed = total - len(run)
    left = tuple(slot for slot in slots if slot not in run)[-MOST_MISSED:]
    why = reason if missed else f"due {len(run)}, missed none"
    return CatchUp(tuple(run), missed, left, why, handled)


def left_out(why: str) -> bool:
    """Whether a slot's record says that catching up left the slot out; up to 0.2 a count stood before it."""
    return _LEFT_OUT.match(why) is not None


def overlap_decision(policy: OverlapPolicy, running: int, queued: int) -> Literal["start", "queue", "skip"]:
    """What becomes of a due slot while `running` runs of its routine go on and `queued` ones wait.

    `allow` always starts; `skip` starts only when nothing runs or waits; `queue` waits its turn behind the
    others, and is skipped once 100 wait.
    """
    if policy == "allow" or (running <= 0 and queued <= 0):
        return "start"
    if policy == "queue" and queued < MOST_QUEUED:
        return "queue"
    return "skip"
