"""Reads what the terminal view shows: from the store, read-only, and what only the daemon knows from the daemon.

Everything here blocks, and is called beside the event loop. What cannot be read is said, and nothing is changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

from minion.clock import Clock
from minion.config import Config, Home, load_config
from minion.daemon_client import live_now
from minion.routines.files import all_routine_files
from minion.standing import standing
from minion.store.board import Spending, gaps_found, progress, recent_runs, slots_since, spending
from minion.store.local_db import read_only
from minion.store.overview import Reader
from server.contract.refusals import NotFound, Refusal, StoreUnreadable

T = TypeVar("T")
# A daemon that is well answers in milliseconds; one that hangs must not hold up what the store can tell.
_PATIENCE_S: Final = 2.0
# What a row that somebody, or a bad disk, has altered may raise when it is read.
_ALTERED: Final = (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError)
DAY: Final = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """How the minion stands at one moment.

    `live` is what the daemon says of itself, None without one. `document` is that of `minion status`, None where
    the store cannot be read. `problems` say what could not be read.
    """

    now: datetime
    config: Config
    live: Mapping[str, Any] | None = None
    document: Mapping[str, Any] | None = None
    runs: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    progress: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    spent: Spending = field(default_factory=Spending)
    slots: Sequence[Mapping[str, Any]] = ()
    gaps: Sequence[Mapping[str, Any]] = ()
    problems: tuple[Refusal, ...] = ()

    @property
    def is_up(self) -> bool:
        """Whether a daemon runs this minion and answers."""
        return self.live is not None and self.live.get("health") != "silent"


class Reading:
    """Reads one home. `config` is the one it began with; it is read again with every snapshot."""

    def __init__(self, home: Home, config: Config, clock: Clock) -> None:
        self.home = home
        self.config = config
        self.clock = clock

    def live(self) -> Mapping[str, Any] | None:
        """What the daemon says of itself; None where none runs."""
        return live_now(self.home, within_s=_PATIENCE_S)

    def snapshot(self) -> Snapshot:
        """How the minion stands now. Raises nothing: what cannot be read stands among its problems."""
        now, problems = self.clock(), list[Refusal]()
        try:
            self.config = load_config(self.home)
            live = self.live()
            files = {file.stem for file in all_routine_files(self.home)}
        except Refusal as refusal:
            problems.append(refusal)
            live, files = None, set()
        config = self.config

        def whole(db: Reader) -> dict[str, Any]:
            return {name: read(db) for name, read in parts.items()}

        parts: dict[str, Callable[[Reader], Any]] = {
            "document": lambda db: standing(db, config, now=now, live=live, files=files),
            "runs": recent_runs, "progress": progress,
            "spent": lambda db: spending(db, zone=config.timezone, now=now),
            "slots": lambda db: slots_since(db, now - DAY), "gaps": gaps_found,
        }  # fmt: skip
        try:
            found = self.read(whole)  # of one moment
        except Refusal:
            found = self._in_parts(parts, problems)
        return Snapshot(now, config, live, **found, problems=tuple(problems))

    def _in_parts(
        self, parts: Mapping[str, Callable[[Reader], Any]], problems: list[Refusal]
    ) -> dict[str, Any]:
        """The parts that can be read, where not all of them can; why not is added to `problems`."""
        found = {}
        for name, read in parts.items():
            try:
                found[name] = self.read(read)
            except NotFound:
                continue  # nothing was added or run yet
            except Refusal as refusal:
                if refusal.sentence not in {known.sentence for known in problems}:
                    problems.append(refusal)
        return found

    def read(self, look: Callable[[Reader], T]) -> T:
        """What `look` finds through a read-only connection.

        Raises `NotFound` where there is no store yet, `StoreUnreadable` for one that cannot be read or of which a
        row cannot be understood.
        """
        with read_only(self.home.store) as db:
            return understood(lambda: look(db))


def understood(work: Callable[[], T]) -> T:
    """What `work` makes of rows that it reads. Raises `StoreUnreadable` where one cannot be understood."""
    try:
        return work()
    except _ALTERED as error:
        says = f"A row of the run store cannot be understood ({type(error).__name__})."
        raise StoreUnreadable("row_unreadable", says, hint="minion verify") from error
