"""How runs are judged by the watchdog, and the sentences in which people hear of it. Pure: no clock, no store.

A run goes wrong when its verdict is `failed` (timed out and violated ones too), `unknown` (interrupted ones too:
the work was not done, or nobody can tell) or `not-delivered`. It goes well when it is `ok`, `unchecked` or
`partial`. A `skipped` one, cancelled by a person, is neither: it ends no row of failures and adds to none. So are
interrupted ones that a person's `minion down` cut off, or that may go on still (`resume`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, tzinfo
from typing import Final

from minion.spelling import clip, one_line
from minion.store.alerts import Kind
from minion.store.watches import KEPT_COSTS, RunEnded, SlotEnded, Watched
from server.contract.digest import parse_instant

BAD: Final = frozenset({"failed", "unknown", "not-delivered"})
GOOD: Final = frozenset({"ok", "unchecked", "partial"})
# What a slot's record says before the reason why its run could not be started.
COULD_NOT_START: Final = "it could not be started: "
# So many runs are compared with those before them, of which there must be as many.
_NEWEST: Final = 5
_LONGEST: Final = 300
_WORDS: Final = {"failed": "failed", "unknown": "ended unknown", "not-delivered": "was not delivered"}


def after(watched: Watched, run: RunEnded) -> Watched:
    """What is counted of a routine after one more run."""
    if run.state == "completed" and not run.restated:
        watched = replace(watched, costs=(*watched.costs, run.cost)[-KEPT_COSTS:])
    if run.verdict in GOOD:
        return replace(watched, failures=0, newest=None)
    if run.verdict in BAD:
        newest = f"the newest run, {run.run_id}, {_WORDS[run.verdict]}{_because(run.why)}"
        failures = max(watched.failures, 1) if run.restated else watched.failures + 1
        return replace(watched, failures=failures, newest=newest)
    return watched


def rise(costs: Sequence[tuple[float, float]]) -> tuple[float, str] | None:
    """How many times as much the newest five runs cost as those before them, and that in words.

    Medians are compared, so one dear run is no rise; dollars where there are any, else tokens. None while fewer
    than five runs are known from before, or they cost nothing.
    """
    newest, before = costs[-_NEWEST:], costs[:-_NEWEST]
    if len(before) < _NEWEST:
        return None
    for measure, shown in ((0, "${:.2f}"), (1, "{:,.0f} tokens")):
        now, then = (_median([cost[measure] for cost in some]) for some in (newest, before))
        if then > 0:
            told = f"its newest {_NEWEST} runs took {shown.format(now)} each (median), "
            return now / then, told + f"the {len(before)} before them {shown.format(then)}"
    return None


def is_missed(slot: SlotEnded) -> bool:
    """Whether a slot was missed, or was due and could not be started: nobody meant it not to run."""
    return slot.state == "missed" or (slot.why or "").startswith(COULD_NOT_START)


def failing(run: RunEnded, failures: int, zone: tzinfo) -> str:
    """That a routine's runs go wrong."""
    many = f"went wrong {failures} times in a row; the newest run " if failures > 1 else ""
    return f"{run.routine} {many}{_WORDS[run.verdict]} {moment(run.ended_at, zone)}{_because(run.why)}"


def not_delivered(run: RunEnded, effect: str | None, zone: tzinfo) -> str:
    """That a routine's result did not arrive."""
    says = f"{run.routine} ran {moment(run.ended_at, zone)}, but its result did not arrive"
    return says + _because(effect or run.why)


def well_again(run: RunEnded, bad: int, zone: tzinfo) -> str:
    """That a routine's newest run went well, after so many that went wrong."""
    before = f" after {bad} bad runs" if bad > 1 else ""
    return f"{run.routine} is well again{before}: its run of {moment(run.ended_at, zone)} is {run.verdict}."


def made_up_for(run: RunEnded, zone: tzinfo) -> str:
    """That a routine ran well after slots of it did not run."""
    return f"{run.routine} ran since: its run of {moment(run.ended_at, zone)} is {run.verdict}."


def missed(slot: SlotEnded, count: int, zone: tzinfo) -> str:
    """That slots of a routine did not run."""
    if slot.state != "missed":
        also = f" ({count} slots by now)" if count > 1 else ""
        return f"{slot.routine} was due {moment(slot.due, zone)} and did not run{also}{_because(slot.why)}"
    what = f"{count} slots, the newest" if count > 1 else "the slot"
    return f"{slot.routine} missed {what} of {moment(slot.due, zone)}{_because(slot.why)}"


def on_time_again(slot: SlotEnded, zone: tzinfo) -> str:
    """That a slot of a routine ran, after others did not."""
    late = ", late" if slot.state == "late" else ""
    return f"{slot.routine} runs again: its slot of {moment(slot.due, zone)} was started{late}."


def bad_file(routine: str, problem: str, *, good: bool) -> str:
    """That a routine's file is bad."""
    force = "its last good version is in force" if good else "it does not run"
    return f"The file of {routine} is bad, and until it is mended {force}{_because(problem)}"


def paused_itself(routine: str, watched: Watched) -> str:
    """That, and why, a routine paused itself."""
    return f"{routine} paused itself: it went wrong {_times(watched.failures)}; {watched.newest}"


def not_paused(routine: str, watched: Watched, why: str) -> str:
    """That a routine was to pause itself and could not."""
    return f"{routine} went wrong {_times(watched.failures)} and was to pause itself, but could not{_because(why)}"


def look(kind: Kind, routine: str, ref: str | None) -> list[str]:
    """The commands that show more, or help."""
    commands = {
        "slot_missed": [f"minion why {routine}"],
        "cost_rise": [f"minion runs --routine {routine}"],
        "bad_file": [f"minion routine edit {routine}"],
        "waits": [f"minion decide {ref} approve", f"minion decide {ref} reject"],
        "auto_paused": [f"minion why {routine}", f"minion schedule resume {routine}"],
        "ping_failed": [f"minion routine show {routine}"],
    }
    again = [f"minion redeliver {ref}"] if ref and kind == "not_delivered" else []
    return commands.get(kind, [f"minion why {routine}", *([f"minion show {ref}"] if ref else []), *again])


def moment(text: str, zone: tzinfo) -> str:
    """An instant for people anywhere: by its own offset, a UTC one by the clock of `zone`, offset shown."""
    at = parse_instant(text).astimezone(zone) if text.endswith("Z") else datetime.fromisoformat(text)
    return f"{at:%a %Y-%m-%d %H:%M} {at.isoformat()[-6:]}"


def brief(text: str) -> str:
    """A text from outside as one line of bounded length that drives no terminal."""
    return clip(one_line(text), _LONGEST)


def _median(figures: Sequence[float]) -> float:
    """The middle one; of an even number the mean of both. The standard library's loads a megabyte for it."""
    ordered, middle = sorted(figures), len(figures) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def _times(failures: int) -> str:
    return f"{failures} times in a row" if failures > 1 else "once"


def _because(why: str | None) -> str:
    words = brief(why or "").removeprefix(COULD_NOT_START)
    return f": {words}" + ("" if words.endswith((".", "…", "!", "?")) else ".") if words else "."
