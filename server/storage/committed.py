"""What a transaction wrote into the log, told after its commit to whoever listens in this process.

An event is noted on the writer's connection as it is appended; an action that fails takes its notes with it, and a
commit that fails tells nobody. Listeners hear of it before the action's own answer is handed out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection

_NOTES: Final = "hq.committed"


@dataclass(frozen=True, slots=True)
class Happened:
    """An event of the log that is committed; `at` is an instant as text, `actor` whose doing it was.

    `position` and `hash` are its own in the chain over all events.
    """

    type: str
    actor: str
    at: str
    run_id: str | None
    data: Mapping[str, Any]
    position: int = 0
    hash: str = ""


# Called on the event loop that it was registered on, with what one commit wrote, in order; it must not raise.
Listener = Callable[[Sequence[Happened]], None]


def begin_notes(connection: Connection) -> None:
    """Begin anew, with the transaction."""
    connection.info[_NOTES] = []


def notes_of(connection: Connection) -> list[Happened]:
    """What was noted since; to be cut by whoever undoes a part of the transaction."""
    notes: list[Happened] = connection.info.get(_NOTES, [])
    return notes


def note(connection: Connection, happened: Happened) -> None:
    """Note an event on its way into the log; on a connection that begins no notes nobody asks for them."""
    notes = connection.info.get(_NOTES)
    if notes is not None:
        notes.append(happened)
