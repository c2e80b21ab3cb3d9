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


def all_routine_files(home: Home) -> list[Path]:
    """The routine files of a home by name; with a dot in front it is a draft, or an earlier state, and none."""
    files = sorted(home.routines.iterdir()) if home.routines.is_dir() else []
    return [path for path in files if path.suffix in SUFFIXES and path.name[0] != "." and path.is_file()]


def look_at_files(home: Home) -> list[Seen]:
    """The first file of each routine as it is now, by name; cheap, for a daemon looks every few seconds."""
    found: dict[str, Seen] = {}
    try:
        with os.scandir(home.routines) as entries:
            files = sorted((entry.name, entry) for entry in entries if entry.name.endswith(SUFFIXES))
    except OSError:
        return []
    for file, entry in files:
        name = file.rpartition(".")[0]
        with contextlib.suppress(OSError):  # it went away meanwhile
            if name in found or file[0] == "." or not entry.is_file():
                continue
            told = entry.stat()
            signature = f"{told.st_mtime_ns} {told.st_size} {told.st_ino} {told.st_ctime_ns}"
            found[name] = Seen(entry.path, name, signature, max(told.st_mtime, told.st_ctime))
    return list(found.values())


def routine_files(home: Home, name: str) -> list[Path]:
    """The files of a routine in the home; one, unless somebody put a second one there."""
    return [path for suffix in SUFFIXES if (path := home.routines / f"{name}{suffix}").is_file()]


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
