"""Where a home's routine files lie, how they are read, and how a change of one is taken back."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from minion.config import Home, unwritable
from server.contract.refusals import NotFound, Refusal

if TYPE_CHECKING:
    from minion.store.routines import KeptRoutine

# What a routine's file in a home may end in.
SUFFIXES: Final = (".json", ".yaml", ".yml")
# One byte over what a document may have: enough to be refused as too large.
_READ_BYTES: Final = 256 * 1024 + 1


@dataclass(frozen=True, slots=True)
class Seen:
    """A routine's file as it was found: what `stat` says, and when it was changed (seconds since the epoch)."""

    path: str
    name: str
    signature: str
    changed: float


@dataclass(frozen=True, slots=True)
class Read:
    """What came of reading a changed file: the routine as kept, or the refusal that leaves it as it was."""

    seen: Seen
    kept: KeptRoutine | None
    refusal: Refusal | None = None


def hq_routines(home: Home) -> Path:
    """Where the routines lie that HQ gave this minion; nobody edits them here."""
    return home.routines / "hq"


def is_from_hq(home: Home, path: Path) -> bool:
    """Whether a routine's file is one of HQ's."""
    return path.parent == hq_routines(home)


def all_routine_files(home: Home) -> list[Path]:
    """The routine files of a home by name; with a dot in front it is a draft, or an earlier state, and none.

    Where HQ gave a routine of a name that one of the minion's own has, the own one counts.
    """
    found: dict[str, list[Path]] = {}
    for folder in (home.routines, hq_routines(home)):
        files = sorted(folder.iterdir()) if folder.is_dir() else []
        own = set(found)
        for path in files:
            if path.suffix in SUFFIXES and path.name[0] != "." and path.is_file() and path.stem not in own:
                found.setdefault(path.stem, []).append(path)
    return [path for name in sorted(found) for path in found[name]]


def look_at_files(home: Home) -> list[Seen]:
    """The first file of each routine as it is now, by name; cheap, for a daemon looks every few seconds."""
    found: dict[str, Seen] = {}
    for folder in (home.routines, hq_routines(home)):
        with contextlib.suppress(OSError), os.scandir(folder) as entries:
            for entry in sorted((each for each in entries if each.name.endswith(SUFFIXES)), key=_by_name):
                _look_at(entry, found)
    return sorted(found.values(), key=lambda seen: seen.name)


def _by_name(entry: os.DirEntry[str]) -> str:
    return entry.name


def _look_at(entry: os.DirEntry[str], found: dict[str, Seen]) -> None:
    name = entry.name.rpartition(".")[0]
    with contextlib.suppress(OSError):  # it went away meanwhile
        if name in found or entry.name[0] == "." or not entry.is_file():
            return
        told = entry.stat()
        signature = f"{told.st_mtime_ns} {told.st_size} {told.st_ino} {told.st_ctime_ns}"
        found[name] = Seen(entry.path, name, signature, max(told.st_mtime, told.st_ctime))


def routine_files(home: Home, name: str) -> list[Path]:
    """The files of a routine in the home; one, unless somebody put a second one there; else HQ's."""
    for folder in (home.routines, hq_routines(home)):
        found = [path for suffix in SUFFIXES if (path := folder / f"{name}{suffix}").is_file()]
        if found:
            return found
    return []


def read_file(path: Path) -> bytes:
    """A routine's file as it is, to one byte over the limit. Raises `NotFound` when it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(_READ_BYTES)
    except OSError as error:
        raise NotFound(
            "no_file", f"{path} cannot be read ({error.strerror}).", hint="give the path of a routine file"
        ) from error


@contextmanager
def as_before(file: Path) -> Iterator[None]:
    """Put a file back as it was, or away again, when the store did not keep what it was changed for.

    Raises `Refused` when there is no room for the copy that this takes.
    """
    kept = file.with_name(f".{file.name}.before")
    was_there = True
    try:
        shutil.copy2(file, kept)
    except FileNotFoundError:
        was_there = False
    except OSError as error:
        kept.unlink(missing_ok=True)
        raise unwritable(file, error) from error
    try:
        yield
    except BaseException:
        if was_there:
            kept.replace(file)
        else:
            file.unlink(missing_ok=True)
        raise
    if was_there:
        kept.unlink()
