"""Reads, writes and gathers files below a folder that somebody else can write to, following no link out of it."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path


def is_plain_path(text: str) -> bool:
    """Whether `text` is a relative POSIX path without `..`, empty parts, backslashes or control characters."""
    parts = text.split("/")
    clean = all(character >= " " and character not in "\\\x7f" for character in text)
    return clean and 0 < len(text) <= 255 and all(part not in ("", ".", "..") for part in parts)


def read_beneath(root: Path, relative: str, cap: int) -> bytes:
    """A regular file below `root`, at most `cap` bytes, opened part by part so that no link is followed.

    Raises `ValueError` for another path or a larger file, `OSError` when it is not there or is a link.
    """
    if not is_plain_path(relative):
        raise ValueError("no plain relative path")
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        *parents, name = relative.split("/")
        for part in parents:
            deeper = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            os.close(folder)
            folder = deeper
        # Without O_NONBLOCK a named pipe in the workspace would hold the runner for ever.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with os.fdopen(os.open(name, flags, dir_fd=folder), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ValueError("no regular file")
            body = file.read(cap + 1)
    finally:
        os.close(folder)
    if len(body) > cap:
        raise ValueError(f"over {cap} bytes")
    return body


def gather_beneath(root: Path, target: Path) -> None:
    """Have `target` (made, on the same file system) hold every regular file and symbolic link below `root`.

    Files are hard links: cheap, and what has a name here cannot be exchanged for a link to another place between a
    look at it and its reading, though its content may still change. Raises `OSError` when `root`, or a folder
    below it at the moment it is entered, is a link or is gone.
    """
    target.mkdir(mode=0o700)
    below: list[tuple[str, ...]] = [()]
    while below:
        parts = below.pop()
        folder, place = _folder_beneath(root, parts), target.joinpath(*parts)
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        below.append((*parts, entry.name))
                        (place / entry.name).mkdir(mode=0o700)
                    elif entry.is_symlink():
                        (place / entry.name).symlink_to(os.readlink(entry.name, dir_fd=folder))
                    elif entry.is_file(follow_symlinks=False):
                        _link(folder, entry.name, place / entry.name)
        finally:
            os.close(folder)


def _folder_beneath(root: Path, parts: tuple[str, ...]) -> int:
    """A descriptor of a folder below `root`, `root` itself included, opened part by part; none may be a link."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    folder = os.open(root, flags)
    for part in parts:
        try:
            deeper = os.open(part, flags, dir_fd=folder)
        finally:
            os.close(folder)
        folder = deeper
    return folder


def _link(folder: int, name: str, place: Path) -> None:
    with contextlib.suppress(FileNotFoundError):  # it was taken away in the meantime
        os.link(name, place, src_dir_fd=folder, follow_symlinks=False)
        # What has this name now was a file a moment ago; a named pipe, say, would hold its reader for ever.
        if not stat.S_ISREG(place.lstat().st_mode):
            place.unlink()


def write_beneath(root: Path, relative: str, body: bytes) -> Path:
    """Write a file below `root` at once or not at all, mode 0600, following no link; its path.

    Raises `OSError` when a part of the path is a link or no folder, or the disk is full.
    """
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        *parents, name = relative.split("/")
        for part in parents:
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, 0o700, dir_fd=folder)
            deeper = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            os.close(folder)
            folder = deeper
        draft = f".{name[:100]}.{os.getpid()}.part"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with os.fdopen(os.open(draft, flags, 0o600, dir_fd=folder), "wb") as file:
                file.write(body)
                file.flush()
                os.fsync(file.fileno())
            os.rename(draft, name, src_dir_fd=folder, dst_dir_fd=folder)
        except OSError:
            os.unlink(draft, dir_fd=folder)
            raise
    finally:
        os.close(folder)
    return root / relative
