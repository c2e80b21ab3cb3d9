"""Limits of a run, a day and a month, and how many runs a plan admits: pure sums, no clock and no store.

Rules: DESIGN §6 (defaults $1 a run, $5 a day, $50 a month, a warning at 80 %; plans pro 5 and team 25 runs a day).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

# Effects that one run may have, and gaps that it may record: beyond that nobody would read any of it.
EFFECTS_PER_RUN: Final = 20
GAPS_PER_RUN: Final = 40
Plan = Literal["own", "pro", "team"]
RUNS_PER_DAY: Final[dict[str, int | None]] = {"own": None, "pro": 5, "team": 25}
WARNING_SHARE: Final = 0.8
# What the closing report may take of the wall clock, so that a run which used up its time can still say so.
REPORT_SHARE: Final = 0.2
REPORT_LONGEST_S: Final = 15.0


@dataclass(frozen=True, slots=True)
class Limits:
    """The caps of one run: seconds, model turns, tokens, US dollars, bytes of output kept per skill.

    `processes` and `memory_bytes` (None: no cap) count all that the run started, `disk_bytes` its folder.
    """

    wall_clock_s: float = 3600.0
    turns: int = 50
    tokens: int = 2_000_000
    dollars: float = 1.0
    output_bytes: int = 262_144
    processes: int = 256
    disk_bytes: int = 2 * 1024**3
    memory_bytes: int | None = None

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Limits:
        """Limits from the admitted routine's `limits`; what is not said keeps its default."""
        known = {name: data[name] for name in cls.__slots__ if name in data}
        return cls(**known)

    @property
    def tasks(self) -> int:
        """How many tasks the kernel is to allow where it can: threads count there, which `processes` do not."""
        return 4 * self.processes + 64

    @property
    def report_reserve_s(self) -> float:
        """Seconds of the wall clock kept back for the execution report."""
        return min(REPORT_LONGEST_S, self.wall_clock_s * REPORT_SHARE)


@dataclass(frozen=True, slots=True)
class Spent:
    """What was used so far, in the units of `Limits`."""

    wall_clock_s: float = 0.0
    turns: int = 0
    tokens: int = 0
    dollars: float = 0.0


@dataclass(frozen=True, slots=True)
class SpendingCaps:
    """What a minion may spend, in US dollars."""

    dollars_per_day: float = 5.0
    dollars_per_month: float = 50.0


@dataclass(frozen=True, slots=True)
class Standing:
    """Which caps are reached (`over`) and which are past the warning share (`near`), by name."""

    over: tuple[str, ...] = field(default=())
    near: tuple[str, ...] = field(default=())


def standing(spent: Spent, limits: Limits) -> Standing:
    """How a run stands against its own limits; a cap is reached when nothing of it is left."""
    pairs = [
        ("wall_clock_s", spent.wall_clock_s, limits.wall_clock_s),
        ("turns", spent.turns, limits.turns),
        ("tokens", spent.tokens, limits.tokens),
        ("dollars", spent.dollars, limits.dollars),
    ]
    return _standing(pairs)


def spending(day_dollars: float, month_dollars: float, caps: SpendingCaps) -> Standing:
    """How a minion stands against its day's and month's dollars."""
    return _standing(
        [
            ("dollars_per_day", day_dollars, caps.dollars_per_day),
            ("dollars_per_month", month_dollars, caps.dollars_per_month),
        ]
    )


def runs_left(plan: Plan, counted_today: int, *, one_off: bool = False) -> int | None:
    """How many more runs the plan admits today; None without a cap. One-off runs do not count against it."""
    cap = RUNS_PER_DAY[plan]
    return None if cap is None or one_off else max(0, cap - counted_today)


def _standing(pairs: list[tuple[str, float, float]]) -> Standing:
    over = tuple(name for name, used, cap in pairs if used >= cap)
    near = tuple(name for name, used, cap in pairs if cap * WARNING_SHARE <= used < cap)
    return Standing(over, near)
