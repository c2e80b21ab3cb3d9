"""Puts a minion together for one owner of its home: lock, store, supervisor; and what commands ask of it."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import server.contract
from minion.admission import (
    ScheduleCheck,
    admit,
    admit_fresh,
    changed,
    process_candidate,
    routine_candidate,
)
from minion.clock import Clock
from minion.config import Config, Home, held, load_config, save_config, unwritable_home, write_private
from minion.daemon.orders import Ingredients, lock_of, make_order
from minion.daemon.supervisor import OnEvent, Supervisor
from minion.daemon.triggers import Trigger
from minion.engines.registry import AVAILABLE
from minion.repositories import repository_at, top_level
from minion.routines.files import SUFFIXES, as_before, read_file, routine_files
from minion.secrets_file import read_secrets
from minion.skills.loader import REPORT, SkillFolder, check_codes, check_requires, load_skill, pinned_digests
from minion.store.local_db import create, examine, read_only
from minion.store.routines import KeptRoutine, find_routine, keep_routine, remove_routine
from minion.store.writer import Writer, open_writer
from minion.wire import Order
from server.contract.digest import instant
from server.contract.refusals import BadDocument, NotFound, Refusal, Refused

if TYPE_CHECKING:
    from minion.store.writer import Connection

PROCESS: Final = "WF-ROUTINE-EXEC"


@dataclass(frozen=True, slots=True)
class Added:
    """A routine as it was added: as kept, its file, its next instants, and whether it was known as it is."""

    kept: KeptRoutine
    file: Path
    next: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Ready:
    """A routine that may be kept: as admitted, its file's body and place, its next instants."""

    document: Mapping[str, Any]
    body: bytes
    target: Path
    due: tuple[str, ...]


@dataclass(slots=True)
class Minion:
    """A minion whose home this process owns. `alert` is called with what an owner must hear of."""

    home: Home
    config: Config
    writer: Writer
    supervisor: Supervisor
    clock: Clock
    alert: Callable[[str], None]

    async def add_routine(self, source: Path, *, replace: bool, folder: Path) -> Added:
        """Admit a routine file and put it into the home; `folder` is where its repositories default to.

        Raises a `Refusal` with nothing written.
        """
        return await self._put(source, read_file(source), replace=replace, folder=folder)

    async def edit_routine(self, name: str, draft: Path, *, begun: bytes, folder: Path) -> Added:
        """Put a routine's edited file in the place of its file, which held `begun` when editing began.

        Raises a `Refusal` with nothing written: also when the file says something else by now, and when the
        draft names another routine.
        """
        file = self._file_of(name)
        if read_file(file) != begun:
            says = f"{file} was changed by somebody else while you edited."
            raise Refused("changed_meanwhile", says, hint=f"compare it with your draft {draft}")
        return await self._put(draft, read_file(draft), replace=True, folder=folder, name=name)

    async def change_routine(self, name: str, changes: Mapping[str, Any]) -> Added:
        """Change top-level keys of a routine's file, all else in it staying as written.

        Raises a `Refusal` with nothing written.
        """
        file = self._file_of(name)
        body = await asyncio.to_thread(changed, file, read_file(file), changes)
        return await self._put(file, body, replace=True, folder=self.home.root, name=name)

    async def import_routines(
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
        self, source: Path, body: bytes, *, replace: bool, folder: Path, name: str | None = None
    ) -> Added:
        # A routine that is there already may have one whose one time is over.
        ready = await self._ready(source, body, folder=folder, name=name, past=name is not None)
        (added,) = await self._keep([ready], replace=replace)
        return added

    async def _ready(
        self, source: Path, body: bytes, *, folder: Path, name: str | None = None, past: bool = False
    ) -> _Ready:
        """A routine admitted, complete with its repositories, and fit for this minion; nothing is written."""
        check = ScheduleCheck(self.config.timezone, self._now(), past)
        (document,) = await asyncio.to_thread(admit_fresh, [routine_candidate(source, body)], check)
        due = tuple(document.pop("next"))
        _check_name(source, document, name)
        if document["repositories"] is None:
            top = top_level(folder)
            found = {"repositories": [str(top)] if top is not None else []}
            body = await asyncio.to_thread(changed, source, body, found)
            (document,) = await admit(self.writer, [routine_candidate(source, body)])
        await self._check_fit(document)
        # A name without a known ending was read as YAML, which JSON is too.
        suffix = source.suffix if source.suffix in SUFFIXES else ".yaml"
        return _Ready(self._owned(document), body, self.home.routines / f"{document['name']}{suffix}", due)

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
            for other in routine_files(self.home, item.document["name"]):
                if other != item.target:
                    other.unlink()
        return [Added(one, item.target, item.due) for one, item in zip(kept, ready, strict=True)]

    async def remove(self, name: str) -> None:
        """Take a routine out of use and its file away; its runs and history stay. Raises `NotFound`."""
        now = self._now()
        await self.writer.transact(lambda db: remove_routine(db, name, now=now))
        for file in routine_files(self.home, name):
            file.unlink()

    async def prepare(
        self, text: str, trigger: Trigger, *, engine: str | None, repository: str | None
    ) -> tuple[Order, dict[str, str]]:
        """The order for one run of a routine and its lock; routine, process and skills are read fresh.

        Raises a `Refusal` before anything is recorded.
        """
        # Refused here with the remedy; the runner, which opens the file itself, could only give up.
        read_secrets(self.home.secrets_file)
        kept = await self._current(text)
        chosen = self._engine(engine or kept.document["engine"] or self.config.engine)
        repositories = kept.document["repositories"] or ()
        if repository is not None:
            repositories = (repository_at(repository),)
        parts = await self._gather(kept)
        order = make_order(
            parts, trigger, home=self.home, config=self.config, repositories=repositories, engine=chosen
        )
        return order, lock_of(order, parts.process)

    async def run(self, order: Order, lock: dict[str, str]) -> None:
        """Perform one run to its end and have the store keep it."""
        await self.supervisor.run(order, lock)

    async def _current(self, text: str) -> KeptRoutine:
        """The routine as its file says now; a file that became bad leaves the last good version in force."""
        name = _known_name(self.home, text)
        files = routine_files(self.home, name)
        if not files:
            gone = "put its file back, or add it again: minion routine add FILE"
            hint = "minion routine list" if name == text else gone
            raise NotFound("no_such_routine", f"There is no routine {text}.", hint=hint)
        now = self._now()
        try:
            (document,) = await admit(self.writer, [routine_candidate(files[0], read_file(files[0]))])
            _check_name(files[0], document, name)
            full = self._owned(document)
        except Refusal as refusal:
            good = _last_good(self.home, name)
            if good is None:
                raise
            self.alert(f"{refusal.sentence} The last good version is in force; hint: {refusal.hint}")
            return good
        return await self.writer.transact(
            lambda db: keep_routine(db, full, source=str(files[0]), replace=True, now=now)
        )

    def _file_of(self, name: str) -> Path:
        files = routine_files(self.home, name)
        if not files:
            says = f"The routine {name} has no file in {self.home.routines}."
            raise NotFound("no_such_routine", says, hint="minion routine list")
        return files[0]

    async def _gather(self, kept: KeptRoutine) -> Ingredients:
        folders: dict[str, SkillFolder] = {}
        for name in dict.fromkeys((*kept.document["pipeline"], REPORT)):
            try:
                folders[name] = load_skill(self.home, name)
            except NotFound:
                if name == REPORT:
                    raise
                # The run itself says so, and records the gap.
        candidates = [folder.candidate() for folder in folders.values()]
        process, *skills = await admit(self.writer, [process_candidate(PROCESS, process_file()), *candidates])
        check_requires(self.home, skills)
        check_codes(process, skills)
        admitted = dict(zip(folders, skills, strict=True))
        return Ingredients(kept, process, folders, admitted, pinned_digests())

    async def _check_fit(self, document: Mapping[str, Any]) -> None:
        """Refuse at save what could never run here: unknown skills, a missing engine, another minion's routine."""
        self._owned(document)
        folders = [load_skill(self.home, name) for name in dict.fromkeys(document["pipeline"])]
        candidates = [folder.candidate() for folder in folders]
        process, *skills = await admit(self.writer, [process_candidate(PROCESS, process_file()), *candidates])
        check_requires(self.home, skills)
        check_codes(process, skills)
        if document["engine"] is not None:
            self._engine(document["engine"])

    def _owned(self, document: Mapping[str, Any]) -> dict[str, Any]:
        if document["minion_id"] not in (None, self.config.minion_id):
            raise Refused(
                "other_minion",
                f"The routine {document['name']} belongs to the minion {document['minion_id']}.",
                hint=f"write this minion's own id, {self.config.minion_id}, or leave minion_id out",
            )
        return {**document, "minion_id": self.config.minion_id}

    def _engine(self, name: str) -> str:
        if name not in AVAILABLE:
            raise Refused(
                "engine_missing",
                f"The engine {name} is not installed here.",
                hint=f"use --engine {AVAILABLE[0]}, or write `engine: {AVAILABLE[0]}` into the routine",
            )
        return name

    def _now(self) -> str:
        return instant(self.clock())


@asynccontextmanager
async def opened(
    home: Home,
    command: str,
    *,
    clock: Clock,
    alert: Callable[[str], None],
    on_event: OnEvent | None = None,
    owns_process: bool = True,
    begin: Callable[[], Config] | None = None,
) -> AsyncIterator[Minion]:
    """Own a home: take its lock, open its store, end what a dead owner left. Raises a `Refusal`.

    `begin` makes a home that is not there yet; of several processes that begin at once, one does.
    """
    config = load_config(home) if begin is None else None
    with held(home, command):
        config = config or (begin() if begin is not None else load_config(home))
        if not examine(home.store, minion_id=config.minion_id, runs_dir=home.runs):
            create(home.store, config.minion_id)
        async with open_writer(home.store) as writer:
            supervisor = Supervisor(
                config, writer, clock, runs_dir=home.runs, on_event=on_event, owns_process=owns_process
            )
            for run_id in await supervisor.recover():
                alert(f"The run {run_id} was left unfinished by an earlier owner of this home; it is closed now.")
            yield Minion(home, config, writer, supervisor, clock, alert)


def initialise(home: Home, *, name: str, timezone: str) -> Config:
    """Make a home: its folders (0700) and who the minion is, with a fresh id.

    Raises `Refused` when there is a minion already or the folder cannot be made.
    """
    try:
        if home.config_file.exists():
            raise Refused("home_exists", f"There is a minion in {home.root} already.", hint="minion routine list")
        for folder in (home.root, home.routines, home.skills, home.runs, home.outbox):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable_home(home, error) from error
    config = Config(str(uuid.uuid4()), name, timezone=timezone)
    save_config(home, config)
    return config


def process_file() -> bytes:
    """The bundled process document that runs walk."""
    package = Path(server.contract.__file__).parent
    return (package / "processes" / f"{PROCESS.lower()}.yaml").read_bytes()


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
