"""Removes a minion's home: its own entries and no other, never through a link, so that it can be done again."""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from minion.config import Home
from server.contract.refusals import Refused

# In the order they go: the store tells what was done outside and minion.json whose home it is, so they go late;
# the lock is held to the very end.
_ENTRIES: Final = (
    "backups", "runs", "environments", "outbox", "skills", "routines", "hq", "hq.json", "secrets.json",
    "socket", "daemon.log.1", "daemon.log", "daemon.err",
    "minion.db.new", "minion.db-shm", "minion.db-wal", "minion.db-journal", "minion.db", "minion.json", "lock",
)  # fmt: skip
# What a writer that was killed leaves of a file it was writing, and an upgrade's check of the copy it looked at.
_DRAFT: Final = re.compile(r"\..+\.[0-9]+\.part|\.upgrade-[a-z0-9_]{8}")


@dataclass(frozen=True, slots=True)
class Contents:
    """What lies in a home: `ours` in the order of removal, `others` that no minion put there, and how much."""

    home: Home
    ours: tuple[Path, ...]
    others: tuple[Path, ...]
    files: int
    bytes: int


def look_into(home: Home) -> Contents | None:
    """What a removal would take; None when there is no minion in it.

    Raises `Refused` for a folder that cannot be a minion's alone.
    """
    root = home.root
    if not os.path.lexists(root):
        return None
    try:
        entries = sorted(root.iterdir()) if root.is_dir() else []
    except OSError as error:
        says = f"{root} cannot be read ({error.strerror})."
        raise Refused("home_unreadable", says, hint="check its rights") from error
    drafts = [entry for entry in entries if _DRAFT.fullmatch(entry.name)]
    known = {entry.name: entry for entry in entries if entry.name in _ENTRIES}
    ours = (*drafts, *(known[name] for name in _ENTRIES if name in known))
    # A removal that was cut off at its very end leaves the lock alone.
    if "minion.json" not in known and set(known) != {"lock"}:
        return None
    _check_place(root)
    files, size = measure(ours)
    return Contents(home, ours, tuple(entry for entry in entries if entry not in ours), files, size)


def remove_home(contents: Contents) -> None:
    """Remove what `look_into` found to be a minion's, and the folder if nothing else is in it.

    The caller holds the home. Raises `Refused` when something cannot be removed; it can be called again.
    """
    try:
        for entry in contents.ours:
            _remove(entry)
        if not contents.others:
            contents.home.root.rmdir()
    except OSError as error:
        raise Refused(
            "not_removed",
            f"{error.filename} cannot be removed ({error.strerror}).",
            hint="put that right and call `minion uninstall` again: what is left is as it was",
        ) from error


def _check_place(root: Path) -> None:
    reals = {os.path.realpath(folder) for folder in (Path.home(), *Path.home().parents)}
    if root.is_symlink():
        what, hint = "is a link", f"name the folder itself: --home {os.path.realpath(root)}"
    elif os.path.realpath(root) in reals:
        what, hint = "holds more than a minion", "move the minion's files into a folder of their own first"
    elif os.path.lexists(root / ".git"):
        what, hint = "is a git checkout", "take the minion's files out of it yourself: minion where"
    else:
        return
    raise Refused("unsafe_home", f"{root} {what} and is not removed.", hint=hint)


def _remove(entry: Path) -> None:
    if entry.is_symlink() or not entry.is_dir():
        entry.unlink(missing_ok=True)  # a link goes, what it leads to stays
        return
    # A repository in a run's workspace may have folders that forbid writing; links among them are left alone.
    for folder, inside, _ in os.walk(entry):
        for name in inside:
            path = Path(folder, name)
            if not path.is_symlink():
                path.chmod(stat.S_IRWXU)
    shutil.rmtree(entry)


def measure(entries: Sequence[Path]) -> tuple[int, int]:
    """How many files there are and how many bytes they hold; links are not followed."""
    sizes = []
    for entry in entries:
        if entry.is_symlink() or not entry.is_dir():
            sizes.append(entry.lstat().st_size)
            continue
        for folder, _, names in os.walk(entry):
            sizes += [Path(folder, name).lstat().st_size for name in names]
    return len(sizes), sum(sizes)
