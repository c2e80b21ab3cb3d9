"""How much each caller may ask: so many a minute, so many at once."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

# What one client may ask in a minute, and at once.
RATE_A_MINUTE: Final = 6_000
BURST: Final = 600
# Of so many callers it is known how much they asked; who asked longest ago is forgotten first.
MOST_KNOWN: Final = 10_000


@dataclass(slots=True)
class Rates:
    """A bucket for each caller, which fills up again."""

    a_minute: int = RATE_A_MINUTE
    burst: int = BURST
    clock: Callable[[], float] = time.monotonic
    _buckets: dict[str, tuple[float, float]] = field(default_factory=dict)

    def wait_s(self, who: str) -> float:
        """Take one; 0 when there was one, else the seconds until there is."""
        now = self.clock()
        left, at = self._buckets.pop(who, (float(self.burst), now))
        left = min(float(self.burst), left + (now - at) * self.a_minute / 60)
        self._buckets[who] = (left - 1, now) if left >= 1 else (left, now)
        if len(self._buckets) > MOST_KNOWN:
            del self._buckets[next(iter(self._buckets))]
        return 0.0 if left >= 1 else (1 - left) * 60 / self.a_minute
