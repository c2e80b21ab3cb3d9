"""When a minion is silent, and which slots are at risk by that: rules without a clock, and the words for people.

A minion goes by its own schedule without HQ. HQ only knows that it has not heard of it, and which of its slots
have passed their grace since: those it calls at risk, never missed (issue 6).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from server.contract.catch_up import stagger_s
from server.contract.digest import instant, parse_instant
from server.contract.refusals import BadDocument
from server.contract.schedule import Schedule, restore_schedule, slots_between
from server.contract.wire import LONGEST_WAIT_S

# Two polls, and as long as a minion waits at most before it tries again to reach HQ.
SILENT_AFTER_S: Final = 2 * LONGEST_WAIT_S + 60
# HQ that was away itself first lets those come back who found it so.
RETURN_S: Final = 120
# HQ looks every half minute: who has not looked for longer was stopped, or asleep with its machine.
AWAY_S: Final = 90
# As long after its time a slot still begins in time at its minion.
GRACE_S: Final = 60
# So many slots are named, the newest; the others are counted.
MOST_NAMED: Final = 10
_NAMED_IN_TEXT: Final = 5
_FALLBACK_ZONE: Final = "UTC"


@dataclass(frozen=True, slots=True)
class Awake:
    """Since when HQ has been there without a break, and when it looked last."""

    since: datetime
    looked: datetime


@dataclass(frozen=True, slots=True)
class Given:
    """A routine that a minion is to run by its schedule, as HQ has it since the instant `since`."""

    id: str
    name: str
    document: Mapping[str, Any]
    since: datetime


@dataclass(frozen=True, slots=True)
class Risk:
    """A slot of which nobody knows whether it ran: `due` with its zone's offset where that is known."""

    routine: str
    due: datetime
    grace_until: datetime

    def as_data(self) -> dict[str, str]:
        """The slot as JSON has it."""
        return {"routine": self.routine, "due": shown(self.due), "grace_until": instant(self.grace_until)}


@dataclass(frozen=True, slots=True)
class Risks:
    """The newest slots at risk, in order of time, and how many there are of all."""

    slots: tuple[Risk, ...] = ()
    count: int = 0


def awake(before: Awake | None, now: datetime, *, begins: bool) -> Awake:
    """How long HQ has been there, as it looks anew; `begins`: it has only just been started.

    A look that comes too late after the last, or before it, says that HQ was not there in between.
    """
    if begins or before is None or not 0 <= (now - before.looked).total_seconds() <= AWAY_S:
        return Awake(now, now)
    return Awake(before.since, now)


def is_quiet(seen: datetime, hq: Awake) -> bool:
    """Whether a minion was not heard of for so long, as HQ looked last, that it no longer waits for an answer."""
    unheard, there = hq.looked - seen, hq.looked - hq.since
    return unheard.total_seconds() >= SILENT_AFTER_S and there.total_seconds() >= RETURN_S


def slots_at_risk(
    seen: datetime, hq: Awake, next_due: Mapping[str, str] | None, given: Iterable[Given], *, zone: str | None
) -> Risks:
    """The slots of a quiet minion that passed their grace since it was seen, and while HQ was there.

    `next_due` is the slot that it named when it was seen, `zone` (IANA) its own; both may be unknown.
    """
    if not is_quiet(seen, hq):
        return Risks()
    found: list[Risk] = []
    count = 0
    for routine in given:
        slots, total = _of_routine(routine, seen, hq, zone or _FALLBACK_ZONE)
        found += slots
        count += total
    if next_due is not None:
        # Of this slot the minion itself said until when it begins in time.
        own = Risk(next_due["routine"], parse_instant(next_due["due"]), parse_instant(next_due["grace_until"]))
        same = [each for each in found if (each.routine, each.due) == (own.routine, own.due)]
        over = [*same, own][:1] if hq.since < own.grace_until <= hq.looked else []
        count += len(over) - len(same)
        found = [*(each for each in found if each not in same), *over]
    found.sort(key=lambda each: (each.due.astimezone(UTC), each.routine))
    return Risks(tuple(found[-MOST_NAMED:]), count)


def shown(moment: datetime) -> str:
    """An instant with the offset that it came with, to the second."""
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def words_of_silence(name: str, seen: datetime, slots: Sequence[Mapping[str, str]], count: int) -> str:
    """What people are told when a minion has fallen silent."""
    said = f"The minion {name} is silent: HQ has not heard of it since {_minute(shown(seen))}. "
    return f"{said}Due since then: {_list(slots, count)}. Whether they ran is not known until it is back."


def words_of_return(name: str, silent_since: str, heard: str) -> str:
    """What people are told when a minion that was silent is heard of again; both instants as text."""
    said = f"The minion {name} is back: HQ had not heard of it from {_minute(silent_since)} to {_minute(heard)}."
    return f"{said} What ran there meanwhile it reports now."


def _of_routine(routine: Given, seen: datetime, hq: Awake, zone: str) -> tuple[list[Risk], int]:
    document = routine.document
    if document["paused"]:
        return [], 0
    stagger, grace = timedelta(seconds=stagger_s(routine.id, document["stagger_s"])), timedelta(seconds=GRACE_S)
    # Due after it was seen, and out of its grace while HQ was there.
    after = max(seen, routine.since, hq.since - grace) - stagger
    until = hq.looked - grace - stagger
    found, count = [], 0
    for schedule in _schedules(document, zone):
        slots, total = slots_between(schedule, after, until, MOST_NAMED)
        found += [Risk(routine.name, slot.at + stagger, slot.at + stagger + grace) for slot in slots]
        count += total
    return found, count


def _schedules(document: Mapping[str, Any], zone: str) -> list[Schedule]:
    found = []
    for trigger in document["triggers"]:
        text = trigger["at"] if trigger["type"] == "once" else trigger["cron"]
        try:
            found.append(restore_schedule(text, trigger["timezone"] or document["timezone"] or zone))
        except BadDocument:  # a zone that is no longer known here
            continue
    return found


def _list(slots: Sequence[Mapping[str, str]], count: int) -> str:
    named = [f"{each['routine']} at {_minute(each['due'])}" for each in slots[-_NAMED_IN_TEXT:]]
    more = count - len(named)
    return ", ".join([*([f"{more} earlier"] if more > 0 else []), *named]) or "nothing"


def _minute(text: str) -> str:
    """An instant for people: date, time to the minute, and its offset."""
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    offset = moment.strftime("%z")
    zone = "UTC" if offset in ("+0000", "") else f"{offset[:3]}:{offset[3:5]}"
    return f"{moment:%Y-%m-%d %H:%M} {zone}"
