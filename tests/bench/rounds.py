"""Measures contenders in turns, so that a busy moment of the machine meets all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Final

ROUNDS: Final = 9

# Runs once and answers with further figures of its own (milliseconds by name).
Contender = Callable[[], Mapping[str, float]]


def measured(contenders: Mapping[str, Contender], rounds: int = ROUNDS) -> dict[str, list[float]]:
    """Milliseconds of every contender by name, a figure per round; a first round is thrown away."""
    times: dict[str, list[float]] = {}
    for number in range(rounds + 1):
        for name, contender in contenders.items():
            begun = time.perf_counter()
            further = contender()
            took = {name: (time.perf_counter() - begun) * 1000, **further}
            for key, value in took.items() if number else ():
                times.setdefault(key, []).append(value)
    return times


def table(times: Mapping[str, list[float]], *, unit: str, goals: Mapping[str, float]) -> str:
    """Median, least and greatest of every contender, its ratio to the contender `unit`, and its goal."""
    base = statistics.median(times[unit])
    lines = [f"{'':<44} {'median':>9} {'least':>8} {'most':>8} {'ratio':>7}  goal"]
    for name, figures in times.items():
        median = statistics.median(figures)
        goal = f"{goals[name]:.0f} ms {'met' if median <= goals[name] else 'MISSED'}" if name in goals else ""
        spread = f"{min(figures):>8.0f} {max(figures):>8.0f}"
        lines.append(f"{name:<44} {median:>6.0f} ms {spread} {median / base:>6.1f}x  {goal}")
    return "\n".join(lines)
