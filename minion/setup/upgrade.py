"""Upgrades a home's store to this program's version: a backup first, and nothing where the next week would differ.

Everything is looked at inside the one transaction that migrates the store, before it is committed: a refusal, a
kill or a full disk at any point leaves the store as it was (or, after the commit, whole and new).
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from minion.admission import answers_of, routine_candidate
from minion.config import Config, Home, unwritable_home
from minion.daemon.plan import WEEK, Planner, difference
from minion.daemon.timetable import Schedules, entries_of
from minion.routines.files import read_file, routine_files
from minion.setup.backups import Backup, keep_newest, make_backup, remove_backup
from minion.store.local_db import SCHEMA_VERSION, examine
from minion.store.migrations import back_up, migrate, stored_version
from minion.store.plans import NotedPlan, Plan, all_noted
from minion.store.routines import KeptRoutine, list_routines
from minion.store.upgrade import Holdings, Reader, admitted_before, check_kept, holdings, older
from server.contract.digest import digest_of, instant, parse_instant
from server.contract.refusals import NotFound, Refusal, Refused
from server.contract.schedule import Schedule

# One child checks so many files at a time.
_BATCH: Final = 500
_SCRATCH: Final = ".upgrade-"
_ANY: Final = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Difference:
    """A routine whose next week would change: it `was` due at an instant (None: it was not) and `is_` due at one.

    Where both are the same, the two weeks part behind it. `noted_by`: the version of the program that noted the
    earlier plan; None where it was computed from what the store held.
    """

    routine: str
    was: str | None
    is_: str | None
    noted_by: str | None

    def sentence(self) -> str:
        """What would change, for people."""
        if self.was is None:
            return f"{self.routine} would be due at {self.is_} as well"
        if self.is_ is None:
            return f"{self.routine} would not be due at {self.was} any more"
        if self.was == self.is_:
            return f"{self.routine} would be due at other times from {self.was} on"
        return f"{self.routine} would be due at {self.is_} instead of {self.was}"

    def as_data(self) -> dict[str, str | None]:
        """The difference as JSON."""
        return {"routine": self.routine, "was": self.was, "is": self.is_, "noted_by": self.noted_by}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an upgrade did, or would do: schema versions, what was kept and compared, and the backup it made.

    `slots`: how many of the next week were compared, at most 200 a routine. `notes`: what an owner should
    know beside that.
    """

    before: int
    after: int
    routines: int
    slots: int
    runs: int
    differences: tuple[Difference, ...]
    notes: tuple[str, ...]
    backup: Backup | None = None


def check(home: Home, config: Config, now: datetime) -> Outcome:
    """What `upgrade` would do, tried out on a copy of the store; the home, which may be in use, stays as it is.

    Raises `StoreUnreadable`, `StoreFailed`, and `NotFound` where there is no store.
    """
    version = _version(home, config)
    if version == SCHEMA_VERSION:
        return _compared(home, config, now)
    try:
        folder = Path(tempfile.mkdtemp(prefix=_SCRATCH, dir=home.root))
    except OSError as error:
        raise unwritable_home(home, error) from error
    try:
        copy = folder / home.store.name
        _look_into(home, config, home.store, now)  # what is damaged is better named than copied
        back_up(home.store, copy)
        return _migrated(_look_into(home, config, copy, now), copy, SCHEMA_VERSION, accept=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def upgrade(home: Home, config: Config, now: datetime, *, accept: bool, to: int = SCHEMA_VERSION) -> Outcome:
    """Bring the store to this program's version; the caller owns the home.

    Raises `Refused` (`slots_differ`) where a routine's next week would change, unless that is accepted;
    `StoreUnreadable`, `StoreFailed`, `NotFound`. The store, and the backups, are as they were then.
    """
    version = _version(home, config)
    clear_scratch(home)
    if version == to:
        found = _compared(home, config, now)
        if found.differences and not accept:
            raise _differ(found.differences)
        return found
    before = _look_into(home, config, home.store, now)
    backup = make_backup(home, version, "upgrade", now)
    try:
        found = _migrated(before, home.store, to, accept=accept)
    except BaseException:
        remove_backup(backup)  # it is a copy of what is there still
        raise
    keep_newest(home)
    return Outcome(
        found.before, found.after, found.routines, found.slots, found.runs, found.differences, found.notes, backup
    )


def bring_up_to_date(home: Home, config: Config, now: datetime, alert: Callable[[str], None]) -> None:
    """Upgrade an older store when its owner opens it, and say so in one line.

    Raises what `upgrade` does, with the command that shows more as the hint.
    """
    done = upgrade(home, config, now, accept=False)
    backup = done.backup.folder if done.backup is not None else home.backups
    alert(
        f"The run store was upgraded from version {done.before} to {done.after}, with all it held; a backup from"
        f" before that is in {backup}."
    )
    for note in done.notes:
        alert(note)


def clear_scratch(home: Home) -> None:
    """Remove what a check that was killed left."""
    for folder in home.root.glob(f"{_SCRATCH}*"):
        shutil.rmtree(folder, ignore_errors=True)


def _version(home: Home, config: Config) -> int:
    if not examine(home.store, minion_id=config.minion_id, runs_dir=home.runs):
        hint = "minion routine new --list"
        raise NotFound("no_store", f"Nothing was added or run in {home.root} yet.", hint=hint)
    return stored_version(home.store)


@dataclass(frozen=True, slots=True)
class _Before:
    """An older store as it was found: what it held, when its routines are due, and what was noted of that.

    `read`: what this version reads in the files of routines that were not changed since, by routine id.
    """

    version: int
    held: Holdings
    routines: tuple[KeptRoutine, ...]
    week: Planner
    zones: _Zones
    noted: tuple[NotedPlan, ...]
    read: Mapping[str, Mapping[str, Any]]
    notes: tuple[str, ...]


def _look_into(home: Home, config: Config, path: Path, now: datetime) -> _Before:
    """An older store at `path`, before anything is done to it. Raises `StoreUnreadable` for a damaged one."""
    with older(path) as db:
        held, routines = holdings(db, path), tuple(list_routines(db))
        noted = tuple(all_noted(db, zone=config.timezone, now=instant(now)))
        read, notes = _read_anew(home, config, db, routines)
    if held.broken:
        chain = sorted(held.broken)[0][0]
        notes.append(f"The log was broken before the upgrade ({chain}), and is as it was: minion verify")
    week, zones = Planner(now, now + WEEK), _Zones(config.timezone)
    return _Before(stored_version(path), held, routines, week, zones, noted, read, tuple(notes))


def _migrated(was: _Before, path: Path, to: int, *, accept: bool) -> Outcome:
    """Migrate the store at `path`, if all it held is there afterwards and the next week is as before."""
    plans = {kept.id: was.week.plan(was.zones.schedules(kept.document)) for kept in was.routines}
    differences: list[Difference] = []

    def look(db: Reader) -> None:
        check_kept(was.held, holdings(db, path))
        after = {kept.id: was.read.get(kept.id, kept.document) for kept in list_routines(db)}
        differences.extend(_differences(was.routines, plans, after, was.week, was.zones))
        differences.extend(_broken_promises(was.noted, after, was.zones))
        if differences and not accept:
            raise _differ(differences)

    migrate(path, to, look)
    slots, runs = sum(plan.slots for plan in plans.values()), was.held.rows["runs"]
    return Outcome(was.version, to, len(plans), slots, runs, _one_each(differences), was.notes)


def _compared(home: Home, config: Config, now: datetime) -> Outcome:
    """How the next week is, held against what another version of the program noted, in a store of this version."""
    zones, week = _Zones(config.timezone), Planner(now, now + WEEK)
    with older(home.store) as db:
        kept, runs = list_routines(db), db.execute("SELECT count(*) FROM runs").fetchone()[0]
        noted = all_noted(db, zone=config.timezone, now=instant(now))
    documents = {one.id: one.document for one in kept}
    broken = _broken_promises(noted, documents, zones)
    slots = sum(week.plan(zones.schedules(document)).slots for document in documents.values())
    return Outcome(SCHEMA_VERSION, SCHEMA_VERSION, len(kept), slots, runs, _one_each(broken), ())


def _read_anew(
    home: Home, config: Config, db: Reader, kept: Sequence[KeptRoutine]
) -> tuple[dict[str, Mapping[str, Any]], list[str]]:
    """What this version reads in the files of routines that have not been changed since they were kept, by id.

    The next start reads all files anew, so these documents are what will be in force. A file that this version
    refuses is noted: its last good version stays in force.
    """
    asked = []
    for one in kept:
        for file in routine_files(home, one.name)[:1]:
            candidate = routine_candidate(file, read_file(file))
            earlier = admitted_before(db, candidate.digest)
            if earlier is not None and digest_of(_owned(earlier, one, config)) == one.digest:
                asked.append((one, candidate))
    found, notes = dict[str, Mapping[str, Any]](), list[str]()
    for start in range(0, len(asked), _BATCH):
        batch = asked[start : start + _BATCH]
        answers = answers_of([candidate for _, candidate in batch])
        for (one, candidate), answer in zip(batch, answers, strict=True):
            if isinstance(answer, Refusal):
                says = f"This version refuses {candidate.source}: {answer.sentence}"
                notes.append(f"{says} The last good version of {one.name} stays in force.")
            else:
                found[one.id] = _owned(answer, one, config)
    return found, notes


def _owned(document: Mapping[str, Any], kept: KeptRoutine, config: Config) -> dict[str, Any]:
    return {**document, "minion_id": config.minion_id, "id": kept.id}


class _Zones:
    """Reads the schedules of admitted routines, each once; `default` is the zone of those that name none."""

    def __init__(self, default: str) -> None:
        self._default = default
        self._read = Schedules()

    def schedules(self, document: Mapping[str, Any]) -> list[Schedule]:
        """The schedules by which a routine is due by itself."""
        entries = entries_of(
            document["id"], document, default_zone=self._default, since=_ANY, handled={}, schedules=self._read
        )
        return [entry.schedule for entry in entries]


def _differences(
    before: Sequence[KeptRoutine], plans: Mapping[str, Plan], after: Mapping[str, Mapping[str, Any]],
    week: Planner, zones: _Zones,
) -> list[Difference]:  # fmt: skip
    """Where the coming week of a routine is another one than it was; a routine that is gone is due at nothing."""
    names = {kept.id: kept.name for kept in before} | {i: str(document["name"]) for i, document in after.items()}
    found = []
    for routine_id, name in names.items():
        was = plans.get(routine_id) or week.plan(())
        is_ = week.plan(zones.schedules(after[routine_id]) if routine_id in after else ())
        differs = difference(was, is_)
        if differs is not None:
            found.append(Difference(name, *differs, None))
    return found


def _broken_promises(
    noted: Sequence[NotedPlan], documents: Mapping[str, Mapping[str, Any]], zones: _Zones
) -> list[Difference]:
    """Where a routine's week is not as another version of the program noted it."""
    planners: dict[tuple[str, str], Planner] = {}
    found = []
    for one in noted:
        span = (one.plan.begins_at, one.plan.ends_at)
        if span not in planners:
            planners[span] = Planner(parse_instant(span[0]), parse_instant(span[1]))
        document = documents.get(one.routine_id)
        is_ = planners[span].plan(zones.schedules(document) if document is not None else ())
        differs = difference(one.plan, is_)
        if differs is not None:
            found.append(Difference(one.routine, *differs, one.version))
    return found


def _one_each(differences: Sequence[Difference]) -> tuple[Difference, ...]:
    """The first difference of each routine, by name."""
    first: dict[str, Difference] = {}
    for each in differences:
        first.setdefault(each.routine, each)
    return tuple(first[name] for name in sorted(first))


def _differ(differences: Sequence[Difference]) -> Refused:
    told = _one_each(differences)
    more = f", and {len(told) - 1} more differ" if len(told) > 1 else ""
    noted = f" ({told[0].noted_by} noted that)" if told[0].noted_by else ""
    says = f"With this version {told[0].sentence()}{noted}{more}."
    hint = "minion upgrade --check; to take it, `minion upgrade --accept`"
    return Refused("slots_differ", says, hint=hint)

