"""Dead-man's switches: which are to be called, in which order, and when one is given up. In memory alone.

A switch is called when a run begins and when it ends, well or badly; the end of a run that a person cancelled
calls none. What cannot be called within a few minutes is given up: the switch then tells people by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from minion.daemon.courier import Outcome

PAUSES_S: Final = (10, 30, 60, 120)
GIVE_UP_S: Final = 300


@dataclass(slots=True, eq=False)
class Ping:
    """One call of a routine's switch: `secret` names its address, `end` is what the address is to end in."""

    routine: str
    secret: str
    end: str
    run_id: str
    at: datetime
    next_at: datetime
    tries: int = 0

    def item(self) -> dict[str, Any]:
        """The call as the messenger takes it."""
        return {"ping": self.secret, "end": self.end}


@dataclass(slots=True)
class Switches:
    """The calls that wait."""

    _waiting: list[Ping] = field(default_factory=list)

    def began(self, routine: str, secret: str, run_id: str, now: datetime) -> None:
        """A run begins."""
        self._waiting.append(Ping(routine, secret, "/start", run_id, now, now))

    def ended(self, routine: str, secret: str, run_id: str, at: datetime, good: bool, now: datetime) -> None:
        """A run ended `at`, which overtakes what of its routine could not be told so far."""
        if (now - at).total_seconds() > GIVE_UP_S:
            return
        self._waiting = [
            ping for ping in self._waiting
            if ping.routine != routine or (ping.tries == 0 and (ping.run_id, ping.end) != (run_id, "/start"))
        ]  # fmt: skip
        self._waiting.append(Ping(routine, secret, "" if good else "/fail", run_id, at, now))

    def due(self, now: datetime) -> list[Ping]:
        """What is to be called now, in its order."""
        # Longer than any pause: the clock was set back.
        latest = now + timedelta(seconds=PAUSES_S[-1])
        return [ping for ping in self._waiting if not now < ping.next_at <= latest]

    def soonest(self) -> datetime | None:
        """When the next call is due."""
        return min((ping.next_at for ping in self._waiting), default=None)

    def settle(self, pings: Sequence[Ping], outcomes: Sequence[Outcome], now: datetime) -> dict[str, str | None]:
        """Note how calls went: by routine, None for a switch that was called, why for one that is given up."""
        told: dict[str, str | None] = {}
        for ping, outcome in zip(pings, outcomes, strict=True):
            ping.tries += 1
            pause = timedelta(seconds=PAUSES_S[min(ping.tries, len(PAUSES_S)) - 1])
            late = (now + pause - ping.at).total_seconds() > GIVE_UP_S
            if outcome.state == "sent":
                told[ping.routine] = None
            elif outcome.state == "missing" or ping.end == "/start" or late:
                if ping.end != "/start" or outcome.state == "missing":
                    told[ping.routine] = outcome.problem or outcome.state
            else:
                ping.next_at = now + pause
                continue
            if ping in self._waiting:  # else a later run has overtaken it
                self._waiting.remove(ping)
        return told
