"""Keeps the timetable as the routine files say: read at the start, looked at now and then, one job at a time.

A file that was changed to something bad leaves its last good version in force, and the owner hears of it.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from minion.clock import Clock
from minion.daemon.timetable import Entry, Schedules, Timetable, entries_of
from minion.routines.files import Read, Seen
from minion.store.routines import KeptRoutine, forget_files, kept_named, note_file, noted_files
from minion.store.slots import handled, keep_only
from server.contract.digest import instant, parse_instant

if TYPE_CHECKING:
    from minion.store.writer import Connection, Writer

# A file younger than this may still be in the making: it is looked at again.
_SETTLED_S: Final = 1.0
# One child checks so many files at a time.
_BATCH: Final = 500
log = logging.getLogger(__name__)


@dataclass(slots=True)
class Roster:
    """`files` lists the routine files; `take_in` admits changed ones and keeps what is good."""

    timetable: Timetable
    writer: Writer
    clock: Clock
    files: Callable[[], Sequence[Path]]
    take_in: Callable[[Sequence[Seen]], Awaitable[list[Read]]]
    alert: Callable[[str, str], None]
    zone: str
    since: datetime | None = None
    schedules: Schedules = field(default_factory=Schedules)
    problems: dict[str, str] = field(default_factory=dict)
    _seen: dict[str, str] = field(default_factory=dict)
    _ids: dict[str, str] = field(default_factory=dict)
    unsettled: bool = False

    def __len__(self) -> int:
        """How many routines are known, scheduled or not."""
        return len(self._ids)

    async def load(self) -> list[Entry]:
        """Fill the timetable at the start; files that are as they were noted are not read. All entries."""
        noted = await self.writer.transact(noted_files)
        found = self._look()
        unchanged = {seen.path.stem for seen in found if noted.get(str(seen.path), ("",))[0] == seen.signature}
        known = await self.writer.transact(kept_named)
        for seen in found:
            problem = noted.get(str(seen.path), ("", None))[1]
            if seen.path.stem in unchanged:
                self._seen[str(seen.path)] = seen.signature
                if problem is not None:
                    self.problems[seen.path.stem] = problem
        await self._put([kept for kept in known if kept.name in unchanged])
        known_names = {kept.name for kept in known}
        # A row that is noted without a routine in use was removed meanwhile: its file is read again.
        self._seen = {path: s for path, s in self._seen.items() if Path(path).stem in known_names}
        await self._read([seen for seen in found if str(seen.path) not in self._seen], at_once=True)
        return [entry for routine_id in self._ids.values() for entry in self.timetable.entries(routine_id)]

    async def scan(self, *, at_once: bool = False) -> list[str]:
        """Look at all files and take in those that changed; the names of the routines that did.

        `at_once` also takes a file that was changed a moment ago, because somebody says that it is done.
        """
        found = self._look()
        there = {str(seen.path) for seen in found}
        gone = [path for path in self._seen if path not in there]
        names = [Path(path).stem for path in gone]
        if gone:
            for path in gone:
                del self._seen[path]
            left = {Path(path).stem for path in there}
            lost = [name for name in names if name not in left]
            self._drop(lost)
            await self.writer.transact(lambda db: forget_files(db, lost))
        changed = [seen for seen in found if self._seen.get(str(seen.path)) != seen.signature]
        return names + await self._read(changed, at_once=at_once)

    async def take(self, kept: Iterable[KeptRoutine]) -> None:
        """Put routines that were just kept into the timetable, their files included."""
        await self._put(list(kept))
        await self.scan(at_once=True)

    async def _read(self, changed: Sequence[Seen], *, at_once: bool) -> list[str]:
        now = self.clock().timestamp()
        ready = [seen for seen in changed if at_once or abs(now - seen.changed) >= _SETTLED_S]
        self.unsettled = len(ready) < len(changed)
        names = []
        for start in range(0, len(ready), _BATCH):
            answers = await self.take_in(ready[start : start + _BATCH])
            await self._put([read.kept for read in answers if read.kept is not None])
            await self._note(answers)
            names += [read.seen.path.stem for read in answers]
        return names

    async def _note(self, answers: Sequence[Read]) -> None:
        for read in answers:
            name = read.seen.path.stem
            self._seen[str(read.seen.path)] = read.seen.signature
            if read.refusal is None:
                self.problems.pop(name, None)
                continue
            self.problems[name] = read.refusal.sentence
            in_force = "the last good version is in force" if name in self._ids else "it does not run"
            self.alert(name, f"{read.refusal.sentence} Until it is mended, {in_force}; hint: {read.refusal.hint}")

        async def write(db: Connection) -> None:
            for read in answers:
                problem = read.refusal.sentence if read.refusal is not None else None
                await note_file(db, read.seen.path.stem, str(read.seen.path), read.seen.signature, problem)

        await self.writer.transact(write)

    async def _put(self, routines: Sequence[KeptRoutine]) -> None:
        if not routines:
            return
        done = await self.writer.transact(handled)
        by_routine: dict[str, dict[str, tuple[str, str | None]]] = {}
        for (routine_id, trigger), until in done.items():
            by_routine.setdefault(routine_id, {})[trigger] = until
        current: dict[str, list[str]] = {}
        for kept in routines:
            since = max(parse_instant(kept.changed_at), self.since or parse_instant(kept.changed_at))
            entries = entries_of(
                kept.id, kept.document, default_zone=self.zone, since=since,
                handled=by_routine.get(kept.id, {}), schedules=self.schedules,
            )  # fmt: skip
            self._ids[kept.name] = kept.id
            self.timetable.put(kept.id, entries)
            current[kept.id] = [entry.trigger for entry in entries]
        begun = {
            (routine_id, entry.trigger): instant(entry.last)
            for routine_id in current
            for entry in self.timetable.entries(routine_id)
        }
        paused = {kept.id for kept in routines if kept.document["paused"]}

        async def keep(db: Connection) -> None:
            for routine_id, triggers in current.items():
                if routine_id not in paused:
                    await keep_only(db, routine_id, {t: begun[(routine_id, t)] for t in triggers})

        if any(set(by_routine.get(i, {})) != set(ts) for i, ts in current.items() if i not in paused):
            await self.writer.transact(keep)

    def _drop(self, names: Sequence[str]) -> None:
        for name in names:
            self.problems.pop(name, None)
            routine_id = self._ids.pop(name, None)
            if routine_id is not None:
                self.timetable.drop(routine_id)

    def _look(self) -> list[Seen]:
        """The first file of each routine, by name."""
        found: dict[str, Seen] = {}
        for path in self.files():
            try:
                told = path.stat()
            except OSError:
                continue
            signature = f"{told.st_mtime_ns} {told.st_size} {told.st_ino} {told.st_ctime_ns}"
            found.setdefault(path.stem, Seen(path, signature, max(told.st_mtime, told.st_ctime)))
        return list(found.values())
