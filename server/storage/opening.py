"""How SQLite is told which store to open and how: never so that it makes a file, also where nobody may write."""

from __future__ import annotations

import os
from pathlib import Path

from server.contract.refusals import StoreUnreadable


def uri_to_write(path: Path) -> str:
    """The address of a store for its owner."""
    return f"{path.absolute().as_uri()}?mode=rw"


def uri_to_read(path: Path) -> str:
    """The address of a store, or of a backup, for who only reads.

    SQLite puts files of its own beside a store that it reads, and cannot where the folder is closed to it: there a
    store that nobody has open is read as one that stays as it is. Raises `StoreUnreadable` where that would leave
    out what was written last.
    """
    path = path.absolute()
    address = f"{path.as_uri()}?mode=ro"
    wal, shared = (path.with_name(path.name + end) for end in ("-wal", "-shm"))
    # Whoever has it open keeps both files there, and SQLite reads by what lies in them.
    if os.access(path.parent, os.W_OK) or os.path.lexists(shared) or not path.exists():
        return address
    try:
        left = wal.stat().st_size
    except OSError:
        left = 0
    if left == 0:
        return f"{address}&immutable=1"
    says = f"The store {path} cannot be read: its newest entries lie in {wal.name}, and its folder is read-only."
    hint = f"copy {path.parent} to where you may write, and name the copy with --home"
    raise StoreUnreadable("store_unreadable", says, hint=hint)
