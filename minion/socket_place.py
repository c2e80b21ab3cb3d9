"""Where the socket of a home's daemon lies: in a folder that only this user can enter, its path short enough."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from minion.config import Home, runtime_folders, write_private
from server.contract.refusals import Refused

# What fits into a socket's address everywhere: 104 bytes on macOS, 108 on Linux, one of them a NUL.
_LONGEST: Final = 103


def choose_place(home: Home, folders: Sequence[Path] | None = None) -> Path:
    """A free place for the daemon's socket, noted in the home. Raises `Refused` when there is none.

    The first of `folders` that will do; without them, the user's runtime folder, one in /tmp, the home.
    The home's owner alone may call this: a socket that is there is a dead owner's, and is taken away.
    """
    name = f"minion-{hashlib.sha256(os.fsencode(home.root.resolve())).hexdigest()[:16]}.sock"
    for folder in (*runtime_folders(), home.root) if folders is None else folders:
        path = folder / name
        if len(os.fsencode(path)) <= _LONGEST and _is_private(folder):
            path.unlink(missing_ok=True)
            write_private(home.socket_file, f"{path}\n")
            return path
    says = "No folder was found in which only this user can make a socket."
    raise Refused("no_socket_place", says, hint="set XDG_RUNTIME_DIR to a folder of yours with mode 0700")


def noted_place(home: Home) -> Path | None:
    """Where the home says its daemon's socket lies; None when it says nothing."""
    try:
        text = home.socket_file.read_text().strip()
    except (OSError, ValueError):
        return None
    return Path(text) if text.startswith("/") else None


def _is_private(folder: Path) -> bool:
    """Whether a folder is this user's alone, made if it was not there; somebody else may have made it before."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        told = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(told.st_mode) and told.st_uid == os.geteuid() and not told.st_mode & 0o077
