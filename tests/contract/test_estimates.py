"""Estimates: percentiles of what was, costs of what is assumed, and how often schedules are due in a month."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from server.contract.estimates import (
    DAYS,
    MANY_TURNS,
    SECONDS,
    TURNS,
    Due,
    Task,
    assumed,
    due_in_a_month,
    percentile,
    schedules_of,
    tokens_in,
)
from server.contract.prices import Price, Rates
from server.contract.quota import Limits
from server.contract.schedule import restore_schedule

NOW = datetime(2026, 11, 22, 20, tzinfo=UTC)
FREE = Limits(dollars=1_000_000)


def costing(*, reads: float = 0, writes: float = 0, output: float = 0) -> Price:
    """A price with these rates (US dollars per million tokens) and no others."""
    return Price(Rates(0, output, writes, 0, reads))


def test_a_percentile_is_the_smallest_value_that_so_many_are_not_above() -> None:
    values = [float(number) for number in range(20, 0, -1)]
    assert (percentile(values, 0.5), percentile(values, 0.95), percentile(values, 1)) == (10, 19, 20)
    assert (percentile([7], 0.5), percentile([7], 0.95)) == (7, 7)
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


def test_a_turn_writes_what_is_new_into_the_cache_and_reads_the_rest_from_it() -> None:
    # One task and its report: seven turns, of which the first writes 1,000 tokens and each other one 1,600.
    written = assumed([Task(1_000, costing(writes=1))], FREE)
    assert (written.turns, written.seconds) == (TURNS + 1, (TURNS + 1) * SECONDS)
    assert written.dollars == pytest.approx((1_000 + TURNS * 1_600) / 1e6)
    read = assumed([Task(1_000, costing(reads=1))], FREE)
    assert read.dollars == pytest.approx(sum(1_000 + 1_600 * turn for turn in range(TURNS)) / 1e6)
    assert assumed([Task(1_000, costing(output=1))], FREE).dollars == pytest.approx(7 * 400 / 1e6)


def test_a_later_task_adds_what_it_is_told_and_another_model_begins_without_a_cache() -> None:
    one, other = costing(reads=1), costing(reads=1, output=0.001)
    alike, apart = (assumed([Task(1_000, one), Task(500, second)], FREE) for second in (one, other))
    assert alike.turns == apart.turns == 2 * TURNS + 1
    assert apart.dollars < alike.dollars


def test_no_figure_is_above_what_the_run_may_use() -> None:
    dear = costing(writes=1_000)
    held = assumed([Task(1_000, dear)], Limits(dollars=1.5))
    assert (held.dollars, held.capped) == (1.5, True)
    assert assumed([Task(10, costing())], Limits(turns=3)).turns == 3
    assert assumed([Task(10, costing())], Limits(wall_clock_s=20), turns=MANY_TURNS).seconds == 20
    assert not assumed([Task(10, costing())], Limits()).capped


def test_schedules_are_counted_over_thirty_days_and_over_the_busiest_of_them() -> None:
    def due(*expressions: str) -> Due:
        return due_in_a_month([restore_schedule(each, "Europe/Berlin") for each in expressions], NOW)

    assert DAYS == 30
    assert due("0 9 * * 1-5") == Due(22, 1)
    assert due("0 9 * * 1-5", "30 17 * * *") == Due(52, 2)
    assert due("0 9 1 * *", "*/15 8 1 * *") == Due(5, 5)
    assert (due("2026-12-01T09:00"), due("2027-06-01T09:00"), due()) == (Due(1, 1), Due(0, 0), Due(0, 0))


def test_a_zone_that_is_lost_leaves_its_schedule_out() -> None:
    triggers = [
        {"type": "schedule", "cron": "0 9 * * *", "timezone": None},
        {"type": "once", "at": "2026-12-01T09:00", "timezone": "Nowhere/Atall"},
    ]
    (found,) = schedules_of({"triggers": triggers}, "Europe/Berlin")
    assert (found.expression, found.zone) == ("0 9 * * *", "Europe/Berlin")


def test_tokens_are_told_roughly_by_characters() -> None:
    assert (tokens_in(""), tokens_in("abcd", "e"), tokens_in("x" * 400)) == (0, 2, 100)
