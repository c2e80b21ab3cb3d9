"""The files of a run's folder: names, sizes and the beginning of a text, following no link out of it.

What a run left there was written by others: links are named and never followed, and nothing is read whole.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

# So much of a file is read to be shown.
SHOWN_BYTES: Final = 65_536
_MOST: Final = 400
_DEPTH: Final = 4
_EACH: Final = 60
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file below the folder by its relative `path`; `size` in bytes, None for what is no plain file (`what`)."""

    path: str
    size: int | None
    what: str = ""


@dataclass(frozen=True, slots=True)
class Beginning:
    """How a file begins; `size` is that of all of it, in bytes. `text` None: it is no text."""

    text: str | None
    size: int


def files_in(root: Path) -> tuple[FoundFile, ...]:
    """The files below a folder by name, files before folders; bounded, what is left out is counted."""
    try:
        folder = os.open(root, _FOLDER)
    except OSError:
        return ()
    try:
        found: list[FoundFile] = []
        for file in _walk(folder, "", _DEPTH):
            if len(found) == _MOST:
                found.append(FoundFile("", None, "… and more"))
                break
            found.append(file)
        return tuple(found)
    finally:
        os.close(folder)


def beginning_of(root: Path, path: str) -> Beginning:
    """How a file below `root` begins, opened part by part so that no link is followed.

    Raises `OSError` when it is not there, cannot be read, or is a link.
    """
    folder = os.open(root, _FOLDER)
    try:
        *parents, name = path.split("/")
        for part in parents:
            if part in ("", ".", ".."):
                raise FileNotFoundError(path)
            deeper = os.open(part, _FOLDER, dir_fd=folder)
            os.close(folder)
            folder = deeper
        # Without O_NONBLOCK a named pipe would be waited for.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        file = os.open(name, flags, dir_fd=folder)
    finally:
        os.close(folder)
    try:
        told = os.fstat(file)
        if not stat.S_ISREG(told.st_mode):
            raise FileNotFoundError(path)
        body = os.read(file, SHOWN_BYTES)
    finally:
        os.close(file)
    text = None if b"\0" in body else body.decode(errors="replace")
    return Beginning(text, told.st_size)


def _walk(folder: int, above: str, depth: int) -> Iterator[FoundFile]:
    try:
        with os.scandir(folder) as entries:
            kept = sorted(_some(entries), key=lambda entry: (entry.is_dir(follow_symlinks=False), entry.name))
    except OSError:
        return
    for number, entry in enumerate(kept):
        if number == _EACH:
            left = f"{len(kept) - _EACH} more" if len(kept) < _MOST else "many more"
            yield FoundFile(above, None, f"… {left}")
            return
        path = f"{above}{entry.name}"
        if entry.is_symlink():
            yield FoundFile(path, None, "a link, not followed")
        elif entry.is_dir(follow_symlinks=False):
            yield from _below(folder, entry.name, path, depth)
        else:
            yield _file(entry, path)


def _some(entries: Iterator[os.DirEntry[str]]) -> Iterator[os.DirEntry[str]]:
    """Not all of a folder in which somebody made a million files."""
    for _, entry in zip(range(_MOST), entries, strict=False):
        yield entry


def _below(folder: int, name: str, path: str, depth: int) -> Iterator[FoundFile]:
    if depth == 1:
        yield FoundFile(f"{path}/", None, "a folder")
        return
    try:
        deeper = os.open(name, _FOLDER, dir_fd=folder)
    except OSError:
        yield FoundFile(f"{path}/", None, "a folder that cannot be read")
        return
    try:
        yield from _walk(deeper, f"{path}/", depth - 1)
    finally:
        os.close(deeper)


def _file(entry: os.DirEntry[str], path: str) -> FoundFile:
    try:
        told = entry.stat(follow_symlinks=False)
    except OSError:
        return FoundFile(path, None, "gone")
    return FoundFile(path, told.st_size) if stat.S_ISREG(told.st_mode) else FoundFile(path, None, "no plain file")
