"""What a routine may cost, told before it runs: as its earlier runs did, else roughly, and said to be assumed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from server.contract.estimates import FRAME, MANY_TURNS, SKILL, Due, Task, assumed, due_in_a_month, tokens_in
from server.contract.prices import DEFAULT_MODEL, as_of, price_of
from server.contract.quota import Limits
from server.contract.schedule import Schedule

# The engine that is billed by the token, and the one that nobody is billed for.
_BILLED: Final = "messages"
_FREE: Final = "script"


def cost_estimate(
    document: Mapping[str, Any], spent: Sequence[float], *, engine: str | None, schedules: Sequence[Schedule],
    now: datetime,
) -> tuple[dict[str, Any] | None, str]:  # fmt: skip
    """What a run and the runs of 30 days may cost in US dollars, None where nobody can say; and a sentence on it.

    `spent` is what earlier runs cost; without any, and on the engine that is billed by the token, it is assumed.
    `engine` is what performs it, as far as that is known. `most`: what a costly run does; `runs`: how many earlier
    ones that rests on.
    """
    limits = Limits.from_data(document["limits"])
    limit = f"a run is stopped at ${limits.dollars:g}"
    due = due_in_a_month(schedules, now) if schedules else None
    if spent:
        mean = round(sum(spent) / len(spent), 4)
        found = {"dollars": mean, "most": round(max(spent), 4), "runs": len(spent), **_month(mean, due)}
        rests = f"The mean of {len(spent)} earlier run{'s' if len(spent) > 1 else ''}"
        return found, f"{rests}{_in_words(found)}; {limit}."
    if engine == _FREE:
        return None, "It has no model, so its runs cost nothing."
    model = document["model"] or DEFAULT_MODEL
    price = price_of(model) if engine == _BILLED else None
    if price is None:
        return None, f"No earlier run of it names a cost; {limit}."
    first = FRAME + tokens_in(document["content"] or "") + (SKILL if document["pipeline"] else 0)
    tasks = [Task(first, price), *(Task(SKILL, price) for _ in document["pipeline"][1:])]
    usual, costly = round(assumed(tasks, limits).dollars, 4), assumed(tasks, limits, turns=MANY_TURNS).dollars
    found = {"dollars": usual, "most": round(costly, 4), "runs": 0, **_month(usual, due)}
    rests = f"Assumed from the price of {model} on {as_of()}, for no run has shown it: about ${usual:.2f}"
    return found, f"{rests}{_in_words(found)}; {limit}."


def _month(each: float, due: Due | None) -> dict[str, float]:
    """The runs of 30 days and what they cost; nothing for a routine without a schedule."""
    return {} if due is None else {"month_runs": due.month, "month_dollars": round(each * due.month, 2)}


def _in_words(found: Mapping[str, float]) -> str:
    if "month_runs" not in found:
        return ""
    runs = found["month_runs"]
    return f"; ${found['month_dollars']:,.2f} a month ({runs} run{'' if runs == 1 else 's'})"
