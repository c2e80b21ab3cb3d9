"""Keeps the routines of a home: admitted, complete, fit for this minion, their files and the store as one.

Whatever is refused leaves nothing written.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minion.admission import (
    ScheduleCheck,
    admit,
    admit_each,
    admit_fresh,
    changed,
    process_candidate,
    routine_candidate,
)
from minion.clock import Clock
from minion.config import Config, Home, write_private
from minion.engines.registry import check_engine, has_model, payer_of
from minion.models import check_priced, models_for
from minion.repositories import top_level
from minion.routines.added import Added
from minion.routines.engines import is_auto, is_chosen, secrets_of, with_engine
from minion.routines.files import SUFFIXES, Read, Seen, as_before, is_from_hq, read_file, routine_files
from minion.routines.process_file import PROCESS, process_file
from minion.routines.secret_users import check_holds_none
from minion.skills.loader import check_codes, check_requires, load_skill
from minion.store.local_db import read_only
from minion.store.routines import KeptRoutine, find_routine, keep_routine, kept_named, remove_routine
from server.contract.digest import instant
from server.contract.refusals import BadDocument, NotFound, Refusal, Refused

if TYPE_CHECKING:
    from minion.store.writer import Connection, Writer


@dataclass(frozen=True, slots=True)
class _Chosen:
    """A routine whose engine is settled; `news` is what its owner must hear if `auto` chose one now."""

    document: dict[str, Any]
    news: str | None = None
    changed: bool = False


@dataclass(frozen=True, slots=True)
class _Ready:
    """A routine that may be kept: as admitted, its file's body and place, its next instants."""

    document: Mapping[str, Any]
    body: bytes
    target: Path
    due: tuple[str, ...]
    chosen: _Chosen


@dataclass(slots=True)
class RoutineKeeper:
    """The routines of one home, for its owner. `alert` is called with what the owner must hear of."""

    home: Home
    config: Config
    writer: Writer
    clock: Clock
    alert: Callable[[str], None]

    async def add(self, source: Path, body: bytes, *, replace: bool, folder: Path) -> Added:
        """Admit a routine's file and put it into the home; `folder` is where its repositories default to.

        Raises a `Refusal` with nothing written.
        """
        return await self._put(source, body, replace=replace, folder=folder)

    async def edit(
        self, name: str, draft: Path, body: bytes, *, begun: bytes, folder: Path
    ) -> Added:
        """Put a routine's edited file in the place of its file, which held `begun` when editing began.

        Raises a `Refusal` with nothing written: also when the file says something else by now, and when the
        draft names another routine.
        """
        file = self._file_of(name)
        if read_file(file) != begun:
            says = f"{file} was changed by somebody else while you edited."
            raise Refused("changed_meanwhile", says, hint=f"compare it with your draft {draft}")
        return await self._put(draft, body, replace=True, folder=folder, name=name)

    async def change(self, name: str, changes: Mapping[str, Any]) -> Added:
        """Change top-level keys of a routine's file, all else in it staying as written.

        Raises a `Refusal` with nothing written.
        """
        file = self._file_of(name)
        body = await asyncio.to_thread(changed, file, read_file(file), changes)
        # What can run no more, for want of a skill, can be paused all the same.
        fit = dict(changes) != {"paused": True}
        return await self._put(file, body, replace=True, folder=self.home.root, name=name, fit=fit)

    async def take_over(
        self, files: Sequence[tuple[Path, bytes]], *, replace: bool, folder: Path
    ) -> list[Added]:
        """Put several routines into the home, all of them or none; each comes with the name of its file.

        Raises the first `Refusal`, also when two have one name.
        """
        ready = [await self._ready(source, body, folder=folder, past=True) for source, body in files]
        names = [item.document["name"] for item in ready]
        twice = next((name for place, name in enumerate(names) if name in names[:place]), None)
        if twice is not None:
            raise BadDocument(
                "duplicate_name", f"Two of the routines are named {twice}.", hint="rename one of them"
            )
        return await self._keep(ready, replace=replace)

    async def _put(
        self, source: Path, body: bytes, *, replace: bool, folder: Path, name: str | None = None, fit: bool = True
    ) -> Added:
        # A routine that is there already may have one whose one time is over.
        ready = await self._ready(source, body, folder=folder, name=name, past=name is not None, fit=fit)
        (added,) = await self._keep([ready], replace=replace)
        return added

    async def _ready(
        self, source: Path, body: bytes, *, folder: Path, name: str | None = None, past: bool = False,
        fit: bool = True,
    ) -> _Ready:  # fmt: skip
        """A routine admitted, complete with its repositories, and `fit` for this minion; nothing is written."""
        check_holds_none(self.home, body)
        check = ScheduleCheck(self.config.timezone, self._now(), past)
        (document,) = await asyncio.to_thread(admit_fresh, [routine_candidate(source, body)], check)
        due = tuple(document.pop("next"))
        _check_name(source, document, name)
        if document["repositories"] is None:
            top = top_level(folder)
            found = {"repositories": [str(top)] if top is not None else []}
            body = await asyncio.to_thread(changed, source, body, found)
            (document,) = await admit(self.writer, [routine_candidate(source, body)])
        chosen = await self._with_engine(document, anew=fit, fit=fit)
        if fit:
            await self._check_fit(chosen.document)
        self._refuse_hqs(document["name"])
        # A name without a known ending was read as YAML, which JSON is too.
        suffix = source.suffix if source.suffix in SUFFIXES else ".yaml"
        target = self.home.routines / f"{document['name']}{suffix}"
        return _Ready(self._owned(chosen.document), body, target, due, chosen)

    async def _keep(self, ready: Sequence[_Ready], *, replace: bool) -> list[Added]:
        """Write the files and keep the routines, together or not at all."""
        now = self._now()

        async def keep(db: Connection) -> list[KeptRoutine]:
            kept = []
            for item in ready:
                target = str(item.target)
                kept.append(await keep_routine(db, item.document, source=target, replace=replace, now=now))
                write_private(item.target, item.body.decode())
            return kept

        with contextlib.ExitStack() as before:
            for item in ready:
                before.enter_context(as_before(item.target))
            kept = await self.writer.transact(keep)
        for item in ready:
            if item.chosen.changed:  # of a first one, the command itself tells
                self._tell(item.chosen)
            for other in routine_files(self.home, item.document["name"]):
                if other != item.target:
                    other.unlink()
        return [Added(one, item.target, item.due) for one, item in zip(kept, ready, strict=True)]

    async def remove(self, name: str) -> None:
        """Take a routine out of use and its file away; its runs and history stay. Raises `NotFound`."""
        self._refuse_hqs(name)
        await self._forget(name)
        for file in routine_files(self.home, name):
            if not is_from_hq(self.home, file):
                file.unlink()

    async def forget_hqs(self, name: str, *, is_another: bool = False) -> None:
        """Take a routine out of use that HQ took away; not one of the minion's own. Raises `NotFound`.

        `is_another`: HQ gave another routine under its name meanwhile.
        """
        files = routine_files(self.home, name)
        if not files or (is_another and is_from_hq(self.home, files[0])):
            await self._forget(name)

    async def _forget(self, name: str) -> None:
        now = self._now()
        await self.writer.transact(lambda db: remove_routine(db, name, now=now))

    async def current(self, text: str) -> KeptRoutine:
        """The routine as its file says now; a file that became bad leaves the last good version in force."""
        name = _known_name(self.home, text)
        files = routine_files(self.home, name)
        if not files:
            hint = f"put it back, or take the routine out of use: minion routine remove {name}"
            raise NotFound("routine_file_gone", f"The file of {name} is gone from the home.", hint=hint)
        now = self._now()
        try:
            (document,) = await admit(self.writer, [routine_candidate(files[0], read_file(files[0]))])
            _check_name(files[0], document, name)
            chosen = await self._with_engine(document, anew=False)
            full = self._owned(chosen.document)
        except Refusal as refusal:
            good = _last_good(self.home, name)
            if good is None:
                raise
            self.alert(f"{refusal.sentence} The last good version is in force; hint: {refusal.hint}")
            return good
        kept = await self.writer.transact(
            lambda db: keep_routine(db, full, source=str(files[0]), replace=True, now=now)
        )
        self._tell(chosen)
        return kept

    def _file_of(self, name: str) -> Path:
        files = routine_files(self.home, name)
        if not files:
            says = f"The routine {name} has no file in {self.home.routines}."
            raise NotFound("no_such_routine", says, hint="minion routine list")
        self._refuse_hqs(name)
        return files[0]

    def _refuse_hqs(self, name: str) -> None:
        """Raise `Refused` for a routine that HQ gave this minion: it is changed there, and comes by itself."""
        files = routine_files(self.home, name)
        if files and is_from_hq(self.home, files[0]):
            hint = f"change it there, such as by `hq routine pause {name}`; `minion halt` stops everything here"
            raise Refused("from_hq", f"The routine {name} is HQ's, and cannot be changed here.", hint=hint)

    async def take_in(self, seen: Sequence[Seen]) -> list[Read]:
        """Admit and keep files that were changed by hand; one that is bad changes nothing of its routine."""
        found, bodies = [], []
        for each in seen:
            try:
                body = read_file(Path(each.path))
                check_holds_none(self.home, body)
                bodies.append((each, body))
            except (NotFound, Refused) as refusal:
                found.append(Read(each, None, refusal))
        candidates = [routine_candidate(Path(each.path), body) for each, body in bodies]
        answers = await admit_each(self.writer, candidates)
        now = self._now()
        good: list[tuple[Seen, _Chosen]] = []
        for (each, _), answer in zip(bodies, answers, strict=True):
            try:
                if isinstance(answer, Refusal):
                    raise answer
                _check_name(Path(each.path), answer, each.name)
                good.append((each, await self._with_engine(self._owned(answer), anew=False)))
            except Refusal as refusal:
                found.append(Read(each, None, refusal))

        async def keep(db: Connection) -> list[Read]:
            kept = []
            for each, chosen in good:
                try:
                    one = await keep_routine(db, chosen.document, source=each.path, replace=True, now=now)
                    kept.append(Read(each, one))
                except Refused as refusal:
                    kept.append(Read(each, None, refusal))
            return kept

        found += await self.writer.transact(keep)
        for _, chosen in good:
            self._tell(chosen)
        return found

    async def _check_fit(self, document: Mapping[str, Any]) -> None:
        """Refuse at save what could never run here: unknown skills, a missing engine, another minion's routine."""
        self._owned(document)
        folders = [load_skill(self.home, name) for name in dict.fromkeys(document["pipeline"])]
        candidates = [folder.candidate() for folder in folders]
        process, *skills = await admit(self.writer, [process_candidate(PROCESS, process_file()), *candidates])
        check_requires(self.home, skills)
        check_codes(process, skills)
        engine = check_engine(document["engine"] or self.config.engine, secrets_of(self.home))
        if has_model(engine):
            check_priced(models_for(document, skills, self.config), self.config)

    async def _with_engine(self, document: Mapping[str, Any], *, anew: bool, fit: bool = True) -> _Chosen:
        """The routine with the engine that `auto` stands for; one that need not be `fit` may be left without."""
        if not is_auto(document, self.config):
            return _Chosen(dict(document))
        name = document["name"]
        kept = await self.writer.transact(lambda db: kept_named(db, [name]))
        before = kept[0].document if kept else None
        try:
            full = with_engine(self.home, document, before, anew=anew)
        except Refusal:
            if fit:
                raise
            return _Chosen(dict(document))
        engine, was = full["engine"], before and before["engine"]
        if before is not None and is_chosen(before) and engine == was:
            return _Chosen(full)
        instead = f" instead of {was}" if was not in (None, engine) else ""
        news = f"{name} runs on {engine}{instead}, chosen by auto and paid by {payer_of(engine)}."
        return _Chosen(full, news, changed=bool(instead))

    def _tell(self, chosen: _Chosen) -> None:
        if chosen.news is not None:
            self.alert(chosen.news)

    def _owned(self, document: Mapping[str, Any]) -> dict[str, Any]:
        if document["minion_id"] not in (None, self.config.minion_id):
            raise Refused(
                "other_minion",
                f"The routine {document['name']} belongs to the minion {document['minion_id']}.",
                hint=f"write this minion's own id, {self.config.minion_id}, or leave minion_id out",
            )
        return {**document, "minion_id": self.config.minion_id}

    def _now(self) -> str:
        return instant(self.clock())


def _known_name(home: Home, text: str) -> str:
    if routine_files(home, text) and "/" not in text:
        return text
    with read_only(home.store) as db:
        return find_routine(db, text).name


def _last_good(home: Home, name: str) -> KeptRoutine | None:
    with read_only(home.store) as db:
        try:
            return find_routine(db, name)
        except NotFound:
            return None


def _check_name(source: Path, document: Mapping[str, Any], name: str | None) -> None:
    if name is not None and document["name"] != name:
        says = f"{source} holds the routine {document['name']}, not {name}."
        raise BadDocument("routine_name", says, hint="rename the file, or mend its `name`")
