"""Which store this is, and how far its definitions have come: by that minions know what they have of it."""

from __future__ import annotations

import os
from typing import Any, Final

from sqlalchemy import Connection, bindparam, select
from sqlalchemy.dialects.sqlite import insert

from server.storage.tables import META

# A store that was restored is another one: what minions had of it may be of a time that never was.
_EPOCH: Final = "epoch"
# Counts the changes of routines and skills.
_DEFINITIONS: Final = "definitions"
_LONGEST_SEQ: Final = 18
_SAID: Final = select(META.c.value).where(META.c.key == bindparam("key"))


def begin_epoch(connection: Connection) -> None:
    """Give a store a name that none ever had."""
    _say(connection, _EPOCH, os.urandom(8).hex())


def epoch(connection: Connection) -> str:
    """The name of this store."""
    return str(_said(connection, _EPOCH))


def cursor(connection: Connection) -> str:
    """How far the definitions have come, as `epoch:seq`."""
    return f"{epoch(connection)}:{_said(connection, _DEFINITIONS) or 0}"


def seq_of(text: str | None, of_epoch: str) -> int | None:
    """How far a cursor had come; None for one of another store, or none."""
    name, _, seq = (text or "").rpartition(":")
    # What a minion sends may be anything, and a number that SQLite cannot keep no number of ours.
    return int(seq) if name == of_epoch and seq.isascii() and seq.isdigit() and len(seq) < _LONGEST_SEQ else None


def definitions_changed(connection: Connection) -> int:
    """Have minions notice that a routine or skill changed; the change's number."""
    seq = int(_said(connection, _DEFINITIONS) or 0) + 1
    _say(connection, _DEFINITIONS, str(seq))
    return seq


def _said(connection: Connection, key: str) -> Any:
    return connection.execute(_SAID, {"key": key}).scalar()


def _say(connection: Connection, key: str, value: str) -> None:
    query = insert(META).values(key=key, value=value)
    connection.execute(query.on_conflict_do_update(index_elements=["key"], set_={"value": value}))
