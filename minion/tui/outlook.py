"""What takes longer to find out than a look: whether the log is intact, what the next seven days bring."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from minion.daemon.timetable import Schedules, entries_of
from minion.store.overview import Reader, handled_until
from minion.store.routines import list_routines
from minion.store.run_history import breaches, log_size
from server.contract.refusals import BadDocument
from server.contract.schedule import slots_between

WEEK: Final = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Outlook:
    """`broken` names the first place where the log is broken, None where it is intact; `entries` were looked at.

    `due` is how often routines come due in the next seven days, `dollars` what that costs if runs cost what the
    last ones did (US dollars).
    """

    broken: str | None
    entries: int
    due: int
    dollars: float


def outlook(db: Reader, *, zone: str, now: datetime, runs: Mapping[str, Any]) -> Outlook:
    """The outlook at `now`; `runs` are the newest ones of each routine, which tell what one costs."""
    broken, size = breaches(db), log_size(db)
    handled, schedules, due, dollars = handled_until(db), Schedules(), 0, 0.0
    for kept in list_routines(db):
        try:
            entries = entries_of(
                kept.id, kept.document, default_zone=zone, since=now, handled=handled.get(kept.id, {}),
                schedules=schedules,
            )  # fmt: skip
        except BadDocument:  # a zone that this machine lost
            continue
        times = sum(slots_between(entry.schedule, now, now + WEEK, 0)[1] for entry in entries)
        due += times
        dollars += times * _usual(runs.get(kept.name, ()))
    at = f"{broken[0].chain} at {broken[0].position}" if broken else None
    return Outlook(at, size["events"] + size["steps"] + size["tombstones"], due, dollars)


def _usual(runs: Any) -> float:
    """What a run of a routine costs as a rule, in US dollars."""
    spent = [run["dollars"] for run in runs if run["dollars"]]
    return sum(spent) / len(spent) if spent else 0.0
