"""Says a command line to a furnished home in this process; hears what a person is told, and the code behind it."""

from __future__ import annotations

import contextlib
import hashlib
import io
import re
import shlex
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import click

from minion.cli import minion, run
from minion.config import Config, Home, write_private
from minion.store.run_end import prune
from server.contract.digest import canonical_json
from server.contract.refusals import Refusal
from tests.minion.stored_runs import LATER, MINION_ID, Teller, make_order, numbered_id, open_store, perform
from tests.whole.homes import admit_together, at_work, write_skill

# What an owner of the home leaves beside the store, and what says who the owner is.
_PASSING: Final = ("lock", "minion.db-wal", "minion.db-shm")
_UUID: Final = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")


class Told(NamedTuple):
    """How a command ended, what it printed and said, and the code and kind of what it was refused for."""

    code: str | None
    kind: str | None
    exit_code: int
    out: str
    err: str


@dataclass(frozen=True, slots=True)
class Place:
    """A folder that commands are said in: the home in it, and files beside the home."""

    folder: Path

    @property
    def home(self) -> Home:
        """The home."""
        return Home(self.folder / "home")

    def state(self) -> dict[str, str]:
        """Every file and folder with its mode and digest, but for what an owner leaves behind on its way.

        Of a readable store it is the rows that count, all but the documents that were found good before.
        """
        found = {}
        for path in sorted(self.folder.rglob("*")):
            if path.name not in _PASSING:
                body = path.read_bytes() if path.is_file() else b""
                if path == self.home.store:
                    body = _rows(path) or body
                mode = oct(path.lstat().st_mode)
                found[path.relative_to(self.folder).as_posix()] = f"{mode} {hashlib.sha256(body).hexdigest()}"
        return found


@dataclass(frozen=True, slots=True)
class Case:
    """One refusal: the words of the command line, the files beside the home, and what was done to it before.

    `code` is None for what click itself turns down. `around` holds while the command is said. With `fresh` there
    is no home yet. `heavy`: like another one, said in the longer suite only.
    """

    name: str
    code: str | None
    said: str
    files: Mapping[str, Any] = field(default_factory=dict)
    before: Callable[[Home], object] | None = None
    around: Callable[[Home], contextlib.AbstractContextManager[object]] | None = None
    fresh: bool = False
    heavy: bool = False


class Listening(click.Command):
    """The whole command line, which also remembers the refusal that a person is told in words only."""

    refusal: Refusal | None = None

    def main(self, *arguments: Any, **options: Any) -> Any:
        """Run `minion` as it is."""
        try:
            return minion.main(*arguments, **options)
        except Refusal as refusal:
            self.refusal = refusal
            raise


def _rows(store: Path) -> bytes | None:
    """What a store holds, as SQL; None when it cannot be read."""
    try:
        with contextlib.closing(sqlite3.connect(f"{store.as_uri()}?mode=ro", uri=True)) as db:
            lines = [line for line in db.iterdump() if not line.startswith('INSERT INTO "admissions"')]
    except sqlite3.DatabaseError:
        return None
    return "\n".join(lines).encode()


def say(place: Place, words: str, *, home: str | None = None) -> Told:
    """Say a command line, written as in a shell without its first word, in the folder of a home.

    `home` is what `--home` says instead of the home's path; with an empty one it is not given.
    """
    named = str(place.home.root) if home is None else home
    listening, out, err = Listening("minion"), io.StringIO(), io.StringIO()
    called, sys.argv = sys.argv, ["minion"]
    try:
        with contextlib.chdir(place.folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = run(listening, "minion", [*(["--home", named] if named else []), *shlex.split(words)])
    finally:
        sys.argv = called
    refusal = listening.refusal
    code, kind = (refusal.code, type(refusal).__name__) if refusal is not None else (None, None)
    return Told(code, kind, status, out.getvalue(), err.getvalue())


async def furnish(folder: Path) -> Place:
    """A place whose home has three skills, the routines `a` and `ab`, and three runs, the first of them pruned.

    Of the skills `say` is good, `lonely` requires one that is not there, `sly` claims a rigid step.
    """
    place = Place(folder)
    home = place.home
    for made in (home.root, home.routines, home.skills, home.runs, home.outbox):
        made.mkdir(mode=0o700)
    config = Config(MINION_ID, "tester", timezone="Europe/Berlin", keep_runs=2)
    write_private(home.config_file, canonical_json(config.as_data()))
    write_skill(home, "say", "print('hello')")
    write_skill(home, "sly", "print('hello')", code="SCR-PUSH-BRANCH")
    header = write_skill(home, "lonely", "print('hello')", code="LLM-LONELY") / "SKILL.md"
    header.write_text(header.read_text().replace('minion-code: "LLM-LONELY"', "minion-requires: nobody"))
    async with open_store(home.root) as writer:
        for number in (1, 2, 3):
            await perform(writer, make_order(number, routine="a"), Teller(number).plain())
        await writer.transact(lambda db: prune(db, keep=2, now=LATER))
    files = {name: routine(name=name) for name in ("a", "ab")}
    async with at_work(home) as owner:
        for name, body in files.items():
            file = folder / f"{name}.json"
            file.write_text(body)
            await owner.routines.add(file, file.read_bytes(), replace=False, folder=folder)
            file.unlink()
        await admit_together(owner)
    kept = home.runs / numbered_id("run_", 3)
    kept.mkdir()
    (kept / "events.ndjson").touch()
    return place


def routine(**changes: Any) -> str:
    """A good routine file with these changes."""
    return canonical_json({"name": "b", "pipeline": ["say"], "content": "x", "repositories": []} | changes)


@contextlib.contextmanager
def prepared(furnished: Place, folder: Path, case: Case) -> Iterator[Place]:
    """The place of one case: a copy of the furnished one with the case's files, and what is done to it."""
    place = Place(folder)
    if not case.fresh:
        shutil.copytree(furnished.folder, folder, symlinks=True, dirs_exist_ok=True)
    for name, body in case.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(body if isinstance(body, bytes) else body.encode())
    if case.before is not None:
        case.before(place.home)
    with case.around(place.home) if case.around is not None else contextlib.nullcontext():
        yield place


def as_shown(place: Place, told: Told) -> list[str]:
    """What a person is told, with the names of folders and the ids that differ each time written as words."""
    text = told.err.replace(f" --home {place.home.root}", "").replace(str(place.home.root), "HOME")
    text = text.replace(str(place.folder), "FOLDER")
    text = _UUID.sub(lambda match: match[0] if match[0] == MINION_ID else "UUID", text)
    return re.sub(r"\(process [0-9]+\)", "(process 4711)", text).splitlines()
