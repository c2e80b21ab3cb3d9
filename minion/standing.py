"""How a minion stands, as one document: its daemon, what runs and waits, each routine, what needs a person.

The daemon answers it to whoever asks for its status; without a daemon a command makes the same of the store.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from minion.config import Config
from minion.store.alerts import list_alerts, unsent_notices
from minion.store.decisions import list_decisions, rejected_changes
from minion.store.outbox import joined_hq
from minion.store.overview import (
    Reader,
    handled_until,
    last_ended_runs,
    runs_under_way,
    unsettled_effects,
    unsettled_slots,
)
from minion.store.routines import KeptRoutine, list_routines, problem_files
from minion.store.standing import halt_now
from server.contract.refusals import BadDocument

if TYPE_CHECKING:  # croniter is loaded when there is something to count with it
    from minion.daemon.timetable import Entry

# A routine's truth is its file: without it nothing of it runs, and its runs and history stay.
GONE: Final = "its file is gone from the home; put it back, or remove the routine"
# What of a daemon's `live` is about its process; the rest of it stands in the document under its own name.
_PROCESS: Final = ("pid", "since", "version", "health", "trouble", "stopping", "fix")


def scheduling(name: str) -> str:
    """The command that gives a routine a schedule, ready to be typed."""
    return f'minion schedule update {name} "every weekday at 9:00"'


def standing(
    db: Reader, config: Config, *, now: datetime, live: Mapping[str, Any] | None, files: Collection[str]
) -> dict[str, Any]:
    """The whole document, of one moment; `live` is what the daemon says of itself, None where none answers.

    `config` is the minion's: its zone is that of schedules which name none; `files` are the names of the routines
    that have a file. Instants are UTC, but `next` and `due`, which carry the offset of their zone.
    """
    db.execute("BEGIN")  # all that follows is of one moment
    routines = _routines(db, config.timezone, now, files)
    due = min((item["next"] for item in routines if item["next"]), key=datetime.fromisoformat, default=None)
    return {
        "minion": {"id": config.minion_id, "name": config.name},
        "daemon": None if live is None else {name: live.get(name) for name in _PROCESS},
        "pid": None if live is None else live["pid"],
        "hq": _hq(db, live),
        "halted": halt_now(db),
        "running": [run for run in runs_under_way(db) if run["state"] in ("running", "waiting")],
        "waiting": _waiting(db),
        "next_due": due,
        "routines": routines,
        "alerts": list_alerts(db),
        "unsent": unsent_notices(db),
        "decisions": list_decisions(db),
        "unknown_effects": unsettled_effects(db),
    }


def next_instant(entries: Iterable[Entry], now: datetime, memory: dict[Any, Any] | None = None) -> str | None:
    """When the first of a routine's triggers is due after `now`, with its zone's offset; None when never again.

    `memory` is for many routines: those that share a schedule share the work.
    """
    from server.contract.schedule import next_slots

    known = memory if memory is not None else {}
    found = []
    for entry in entries:
        after = now - timedelta(seconds=entry.rules.stagger)
        if entry.floor is not None and entry.floor > after:
            after = entry.floor
        key = (entry.trigger, after)
        if key not in known:
            known[key] = next_slots(entry.schedule, after, 1)
        found += [slot.at for slot in known[key]]
    return min(found).isoformat() if found else None


def _routines(db: Reader, zone: str, now: datetime, files: Collection[str]) -> list[dict[str, Any]]:
    from minion.daemon.timetable import Schedules, entries_of

    last, handled, problems = last_ended_runs(db), handled_until(db), problem_files(db)
    busy = {run["routine"]: run["state"] for run in runs_under_way(db)}
    open_slots = {slot["routine"]: slot["state"] for slot in unsettled_slots(db)}
    schedules, memory, rejected = Schedules(), dict[Any, Any](), rejected_changes(db)
    found = []
    for kept in list_routines(db):
        document = kept.document
        if kept.name not in files:
            problems[kept.name] = GONE
        entries: list[Entry] = []
        with contextlib.suppress(BadDocument):  # a zone that this machine lost
            entries = entries_of(
                kept.id, document, default_zone=zone, since=now, handled=handled.get(kept.id, {}),
                schedules=schedules,
            )  # fmt: skip
        due = None if kept.name not in files else next_instant(entries, now, memory)
        found.append({
            "name": kept.name, "id": kept.id, "state": _state(kept, problems, busy, open_slots, rejected),
            "next": due, "paused": document["paused"],
            "on_demand": not document["triggers"], "scheduled_by": document["scheduled_by"],
            "last_run": last.get(kept.name), "problem": problems.pop(kept.name, None),
            "rejected": rejected.get(kept.name),
        })  # fmt: skip
    empty = {"id": None, "state": "problem", "next": None, "paused": False, "on_demand": False}
    # A file that was never good has no routine: it is listed all the same.
    found += [
        {"name": name, **empty, "scheduled_by": "minion", "last_run": None, "problem": text, "rejected": None}
        for name, text in problems.items()
    ]
    return sorted(found, key=lambda item: str(item["name"]))


def _state(
    kept: KeptRoutine, problems: Mapping[str, str], busy: Mapping[str, str], slots: Mapping[str, str],
    rejected: Collection[str],
) -> str:
    """One word on how it stands: `problem running held waiting paused hq rejected scheduled` or `on-demand`."""
    document = kept.document
    words = (
        (kept.name in problems, "problem"),
        (busy.get(kept.name) in ("running", "waiting"), "running"),
        (slots.get(kept.name) == "held", "held"),
        (kept.name in busy or kept.name in slots, "waiting"),
        (document["paused"], "paused"),
        (document["scheduled_by"] != "minion", "hq"),
        (kept.name in rejected, "rejected"),
        (bool(document["triggers"]), "scheduled"),
    )
    return next((word for holds, word in words if holds), "on-demand")


def _hq(db: Reader, live: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The HQ that was joined: whether it answers, since when, why not, how many reports wait; None without one."""
    joined = joined_hq(db)
    if joined is None:
        return None
    told = (live or {}).get("hq") or {"linked": False, "since": None, "problem": None}
    names = ("linked", "since", "problem")
    return {"url": joined[0], **{name: told[name] for name in names}, "reports": joined[1]}


def _waiting(db: Reader) -> list[dict[str, Any]]:
    """What waits for its turn, oldest first: slots that are due, and runs that were asked for and not begun."""
    slots = [
        {"routine": slot["routine"], "due": slot["shown"], "run": None}
        for slot in unsettled_slots(db) if slot["state"] == "due"
    ]  # fmt: skip
    asked = [
        {"routine": run["routine"], "due": None, "run": run["run"]}
        for run in runs_under_way(db) if run["state"] not in ("running", "waiting")
    ]  # fmt: skip
    return slots + asked
