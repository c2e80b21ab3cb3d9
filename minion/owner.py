"""Who owns a home: a minion at work, and what the daemon around it can do besides, if there is one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from server.contract.refusals import Refused

if TYPE_CHECKING:
    from datetime import datetime

    from minion.app import Minion
    from minion.daemon.hub import Asker
    from minion.store.decisions import Decision
    from minion.wire import Order


class Resident(Protocol):
    """What a daemon can do beside what any owner can."""

    async def begin(self, order: Order) -> None:
        """Have an opened run performed as soon as there is a place for it."""

    async def ended(self, run_id: str) -> None:
        """Wait until a run is not under way any more."""

    async def refresh(self) -> list[str]:
        """Read settings and routine files again; the routines that changed."""

    async def read_halt(self) -> None:
        """Go by the kill switch as it stands in the store now."""

    async def listen(self, asker: Asker, run_id: str | None) -> None:
        """Tell what happens, of one run until its end or of all, while the asker is there."""

    async def watch(self, asker: Asker) -> None:
        """Tell that something has changed whenever it has, while the asker is there."""

    def changed(self) -> None:
        """Something changed that is not in the store, such as the tie to HQ."""

    def live(self) -> dict[str, Any]:
        """What only the daemon knows: its process, health, what runs and waits."""

    @property
    def stopping(self) -> bool:
        """Whether it has begun to stop."""

    def stop(self, *, grace_s: float | None, why: str) -> None:
        """Begin to stop: nothing new starts, runs have `grace_s` seconds; `why` is said of those cut off."""

    async def decided(self, decision: Decision, *, approved: bool) -> None:
        """Go on with what waited for a decision."""

    def next_slot(self) -> tuple[str, datetime, float] | None:
        """The slot that is due next: its routine, when, and how many seconds later it still counts as on time."""

    def join_changed(self) -> None:
        """Look anew which HQ the minion has joined."""

    async def untied(self) -> None:
        """Wait until nothing of the HQ is done any more that the minion had joined."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Who owns the home: a minion at work, and the daemon around it, if it is one."""

    minion: Minion
    resident: Resident | None = None

    def always_on(self) -> Resident:
        """The daemon. Raises `Refused` where none runs."""
        if self.resident is None:
            raise Refused("no_daemon", "No daemon runs this minion.", hint="minion up")
        return self.resident
