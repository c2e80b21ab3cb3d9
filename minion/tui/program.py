"""What a screen may ask of the program it is a part of, and what the line under the cursor is about."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from minion.clock import Clock
from minion.tui.reading import Reading, Snapshot
from minion.tui.steering import Steering

if TYPE_CHECKING:
    from minion.tui.outlook import Outlook


@dataclass(frozen=True, slots=True)
class Subject:
    """What stands under the cursor: the routine it is of, a run, a decision, an effect; None: no such thing."""

    routine: str | None = None
    run: str | None = None
    decision: str | None = None
    effect: str | None = None


class Program(Protocol):
    """The terminal view as its screens know it. `snapshot` and `outlook` are None until they were first read.

    `called` gives a hint in which commands stand as the program was called, ready to be typed.
    """

    clock: Clock
    reading: Reading
    steering: Steering
    snapshot: Snapshot | None
    outlook: Outlook | None
    called: Callable[[str], str]

    async def look(self) -> None:
        """Make a new snapshot and go by it."""

    def open(self, key: str, subject: Subject) -> None:
        """Show more of what was chosen: a list's key, `KIND:…`, and what it is about."""

    def show_why(self, routine: str) -> None:
        """Say why a routine ran, or did not."""
