"""Where environments are kept: one folder for each key, with locks that tell who uses it and who makes it.

A lock file is never replaced while somebody holds it, and none is held through a crash: the kernel lets go.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from server.contract.digest import parse_instant

# The environments that are kept, by their last use; those in use beyond it too.
MOST_KEPT: Final = 10
_NAME: Final = re.compile(r"([0-9a-f]{40})(\.new|\.json|\.part|\.lock|\.sh)?")


class Lock:
    """A lock that is held until `close`, or until the process ends."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def share(self) -> None:
        """Let others use what was held alone. For a moment nobody holds it: whoever gets it then looks again."""
        fcntl.flock(self._descriptor, fcntl.LOCK_SH)

    def touch(self) -> None:
        """Note that what it guards was used now."""
        os.utime(self._descriptor)

    def close(self) -> None:
        """Let go; may be called often."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1


@dataclass(frozen=True, slots=True)
class Kept:
    """A whole environment, which stays where it is until `close`."""

    folder: Path
    made_text: str
    variables: Mapping[str, str]
    lock: Lock = field(repr=False)

    @property
    def made_at(self) -> datetime:
        """When it was made (aware UTC)."""
        return parse_instant(self.made_text)

    def close(self) -> None:
        """Use it no more."""
        self.lock.close()


class Shelf:
    """The place of one key among the environments of a home."""

    def __init__(self, root: Path, key: str) -> None:
        self._root = root
        self._folder = root / key
        self._new = root / f"{key}.new"
        self._script = root / f"{key}.sh"
        self._facts = root / f"{key}.json"
        self._lock = root / f"{key}.lock"
        root.mkdir(mode=0o700, exist_ok=True)

    def use(self) -> Kept | None:
        """The environment that is kept, held for use; None when there is none, or somebody makes it."""
        lock = _locked(self._lock, fcntl.LOCK_SH)
        if lock is None:
            return None
        kept = self.held(lock)
        if kept is None:
            lock.close()
        return kept

    def alone(self) -> Lock | None:
        """The place for oneself, to make the environment; None while anybody uses or makes it."""
        return _locked(self._lock, fcntl.LOCK_EX)

    def held(self, lock: Lock) -> Kept | None:
        """The environment that is kept, by a lock that is held already; None when there is none."""
        try:
            facts = json.loads(self._facts.read_bytes())
            kept = Kept(self._folder, facts["made_at"], facts["variables"], lock)
            return kept if kept.made_at and self._folder.is_dir() else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def begin(self, *, in_place: bool) -> Path:
        """An empty folder to make the environment in; an old one stays until there is a new one to keep.

        `in_place`: it is made where it will be kept, and the old one goes at once.
        """
        folder = self._folder if in_place else self._new
        if in_place:
            self._facts.unlink(missing_ok=True)
        _remove(folder)
        for each in (folder, folder / "bin", folder / "home", folder / "tmp"):
            each.mkdir(mode=0o700)
        return folder

    def script(self, text: str) -> Path:
        """The setup script as a file (0600)."""
        self._script.unlink(missing_ok=True)
        descriptor = os.open(self._script, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            file.write(text)
        return self._script

    def keep(self, folder: Path, made_at: str, variables: Mapping[str, str], lock: Lock) -> Kept:
        """Keep what was made in `folder`, and use it: the place is shared from now on. Raises `OSError`."""
        _remove(folder / "tmp")
        self._script.unlink(missing_ok=True)
        if folder != self._folder:
            self._facts.unlink(missing_ok=True)
            _remove(self._folder)
            folder.rename(self._folder)
        # Before it counts as whole: after a power cut a file of it could be there and empty.
        os.sync()
        draft = self._facts.with_suffix(".part")
        draft.write_text(json.dumps({"made_at": made_at, "variables": dict(variables)}))
        draft.replace(self._facts)
        lock.touch()
        lock.share()
        return Kept(self._folder, made_at, dict(variables), lock)

    def give_up(self, folder: Path) -> None:
        """Take away what was not finished; an old environment stays."""
        self._script.unlink(missing_ok=True)
        _remove(folder)

    def prune(self) -> None:
        """Take away all but the environments used last, and what a killed run left; none that is in use."""
        keys: dict[str, float] = {}
        for path in self._root.iterdir():
            if found := _NAME.fullmatch(path.name):
                keys.setdefault(found[1], 0.0)
                if found[2] == ".lock" and (self._root / f"{found[1]}.json").exists():
                    with contextlib.suppress(FileNotFoundError):
                        keys[found[1]] = path.stat().st_mtime
        for place, key in enumerate(sorted(keys, key=lambda key: -keys[key])):
            if place >= MOST_KEPT or not keys[key]:
                Shelf(self._root, key)._clear()

    def _clear(self) -> None:
        lock = self.alone()
        if lock is None:
            return
        try:
            self._facts.unlink(missing_ok=True)
            self._script.unlink(missing_ok=True)
            self._facts.with_suffix(".part").unlink(missing_ok=True)
            _remove(self._new)
            _remove(self._folder)
            self._lock.unlink(missing_ok=True)
        finally:
            lock.close()

    @staticmethod
    def size_of(folder: Path) -> int:
        """The bytes that a folder takes on the disk; links are not followed."""
        return sum(_sizes(folder))


def _sizes(folder: Path) -> Iterator[int]:
    seen: set[tuple[int, int]] = set()
    left = [str(folder)]
    while left:
        with contextlib.suppress(OSError), os.scandir(left.pop()) as entries:  # it may go away meanwhile
            for entry in entries:
                told = entry.stat(follow_symlinks=False)
                if entry.is_dir(follow_symlinks=False):
                    left.append(entry.path)
                if (told.st_dev, told.st_ino) not in seen:
                    seen.add((told.st_dev, told.st_ino))
                    yield told.st_blocks * 512


def _locked(path: Path, how: int) -> Lock | None:
    """The lock of a file as it lies there now; None when another holds it otherwise."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, how | fcntl.LOCK_NB)
            held = os.fstat(descriptor)
            with contextlib.suppress(FileNotFoundError):
                lies = path.lstat()
                if (lies.st_dev, lies.st_ino) == (held.st_dev, held.st_ino):
                    descriptor, kept = -1, descriptor
                    return Lock(kept)
        except BlockingIOError:
            return None
        finally:
            if descriptor >= 0:  # it was taken away between the opening and the lock: look again
                os.close(descriptor)


def _remove(folder: Path) -> None:
    """Take a folder away, whatever a script left in it; links below it are not followed. Raises `OSError`."""
    if folder.is_symlink() or not folder.is_dir():
        folder.unlink(missing_ok=True)
        return
    with contextlib.suppress(OSError, RecursionError):
        shutil.rmtree(folder)
        return
    # Go keeps its modules in folders nobody may write to, and folders go deeper than Python's recursion.
    for argv in (["chmod", "-R", "u+rwx"], ["rm", "-rf"]):
        subprocess.run([*argv, "--", str(folder)], check=False, capture_output=True)
    if folder.exists():
        raise OSError(errno.EBUSY, "could not be taken away", str(folder))
