"""Keeps the timetable as the routine files say: read at the start, looked at now and then, one job at a time.

A file that was changed to something bad leaves its last good version in force, and the owner hears of it.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
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
    """`look` lists the routine files; `take_in` admits changed ones and keeps what is good."""

    timetable: Timetable
    writer: Writer
    clock: Clock
    look: Callable[[], Sequence[Seen]]
    take_in: Callable[[Sequence[Seen]], Awaitable[list[Read]]]
    alert: Callable[[str, str], None]
    zone: str
    # From when on the slots of routines are this minion's, by id, where another one had them before (an instant).
    begins: Callable[[], Mapping[str, str]] = dict
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
        done = await self.writer.transact(handled)
        found = self.look()
        unchanged = [seen for seen in found if noted.get(seen.path, ("", None))[0] == seen.signature]
        for start in range(0, len(unchanged), _BATCH):
            batch = {seen.name: seen for seen in unchanged[start : start + _BATCH]}
            known = await self.writer.transact(functools.partial(kept_named, names=list(batch)))
            await self._put(known, done)
            for kept in known:
                seen = batch[kept.name]
                self._seen[seen.path] = seen.signature
                problem = noted[seen.path][1]
                if problem is not None:
                    self.problems[seen.name] = problem
        # A file that is noted without a routine in use was never good, or was removed meanwhile.
        await self._read([seen for seen in found if seen.path not in self._seen], at_once=True)
        return [entry for routine_id in self._ids.values() for entry in self.timetable.entries(routine_id)]

    async def scan(self, *, at_once: bool = False) -> list[str]:
        """Look at all files and take in those that changed; the names of the routines that did.

        `at_once` also takes a file that was changed a moment ago, because somebody says that it is done, and one
        that was refused for want of an engine.
        """
        found = self.look()
        there = {seen.path for seen in found}
        gone = [path for path in self._seen if path not in there]
        names = [Path(path).stem for path in gone]
        if gone:
            for path in gone:
                del self._seen[path]
            left = {Path(path).stem for path in there}
            lost = [name for name in names if name not in left]
            self._drop(lost)
            await self.writer.transact(lambda db: forget_files(db, lost))
        # Whether an engine is ready changes without the file; all else that is refused stays bad until it changes.
        lacking = {name for name, says in self.problems.items() if at_once and says.startswith("The engine ")}
        changed = [
            seen for seen in found if self._seen.get(seen.path) != seen.signature or seen.name in lacking
        ]
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
            names += await self._note(answers)
        return names

    async def _note(self, answers: Sequence[Read]) -> list[str]:
        """Note how the files are; the names of those that are not as they were noted before."""
        names = []
        for read in answers:
            name, refusal = read.seen.name, read.refusal
            same = self._seen.get(read.seen.path) == read.seen.signature
            self._seen[read.seen.path] = read.seen.signature
            if same and refusal is not None and self.problems.get(name) == refusal.sentence:
                continue
            names.append(name)
            if refusal is None:
                self.problems.pop(name, None)
                continue
            self.problems[name] = refusal.sentence
            in_force = "the last good version is in force" if name in self._ids else "it does not run"
            self.alert(name, f"{refusal.sentence} Until it is mended, {in_force}; hint: {refusal.hint}")

        async def write(db: Connection) -> None:
            for read in answers:
                problem = read.refusal.sentence if read.refusal is not None else None
                await note_file(db, read.seen.name, read.seen.path, read.seen.signature, problem)

        await self.writer.transact(write)
        return names

    async def _put(
        self, routines: Sequence[KeptRoutine], done: Mapping[tuple[str, str], tuple[str, str | None]] | None = None
    ) -> None:
        if not routines:
            return
        done = await self.writer.transact(handled) if done is None else done
        by_routine: dict[str, dict[str, tuple[str, str | None]]] = {}
        for (routine_id, trigger), until in done.items():
            by_routine.setdefault(routine_id, {})[trigger] = until
        current: dict[str, list[str]] = {}
        begins = self.begins()
        for kept in routines:
            if self._ids.get(kept.name, kept.id) != kept.id:  # HQ gave another one under this name
                self.timetable.drop(self._ids[kept.name])
        for kept in routines:
            since = max(parse_instant(kept.changed_at), self.since or parse_instant(kept.changed_at))
            # What HQ changes of a routine that goes on here begins when it is changed, as one's own does.
            if begins.get(kept.id) and kept.id not in by_routine:
                since = parse_instant(begins[kept.id])
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
