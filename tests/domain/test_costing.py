"""What a routine may cost, before it runs: from its runs, or assumed and said to be, and of a month."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from server.contract.prices import DEFAULT_MODEL, as_of
from server.contract.quota import Limits
from server.contract.schedule import restore_schedule
from server.domain.costing import cost_estimate

NOW = datetime(2026, 11, 22, 20, tzinfo=UTC)
WEEKDAYS = [restore_schedule("0 9 * * 1-5", "Europe/Berlin")]


def estimate(engine: str | None, *, spent: Any = (), schedules: Any = (), **said: Any) -> Any:
    """The estimate of a prompt routine on an engine."""
    document = {"content": "Sum up.", "pipeline": [], "model": None, "limits": {"dollars": 2}, **said}
    return cost_estimate(document, spent, engine=engine, schedules=schedules, now=NOW)


def test_earlier_runs_count_before_any_assumption() -> None:
    assert estimate("messages", spent=[0.5]) == (
        {"dollars": 0.5, "most": 0.5, "runs": 1}, "The mean of 1 earlier run; a run is stopped at $2.",
    )  # fmt: skip
    found, note = estimate("messages", spent=[0.1, 0.3], schedules=WEEKDAYS)
    assert found == {"dollars": 0.2, "most": 0.3, "runs": 2, "month_runs": 22, "month_dollars": 4.4}
    assert note == "The mean of 2 earlier runs; $4.40 a month (22 runs); a run is stopped at $2."


def test_without_a_run_the_price_table_says_it_roughly_and_that_it_is_assumed() -> None:
    found, note = estimate("messages", schedules=WEEKDAYS)
    assert 0.01 < found["dollars"] < found["most"] <= 2
    assert (found["runs"], found["month_runs"]) == (0, 22)
    assert found["month_dollars"] == round(22 * found["dollars"], 2)
    assert note.startswith(f"Assumed from the price of {DEFAULT_MODEL} on {as_of()}, for no run has shown it: ")
    dearer, _ = estimate("messages", pipeline=["one", "two"])
    assert dearer["dollars"] > found["dollars"]
    assert estimate("messages", limits={"dollars": 0.001})[0]["most"] == Limits(dollars=0.001).dollars


def test_nothing_is_said_where_nobody_can_know_and_nothing_is_charged_without_a_model() -> None:
    assert estimate("script", schedules=WEEKDAYS) == (None, "It has no model, so its runs cost nothing.")
    for engine, said in ((None, {}), ("claude-code", {}), ("messages", {"model": "somebody-elses"})):
        assert estimate(engine, **said) == (None, "No earlier run of it names a cost; a run is stopped at $2.")
