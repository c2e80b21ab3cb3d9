"""Limits of a run, a day and a month: what is reached, what is near, and how many runs a plan admits."""

from __future__ import annotations

from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.contract.quota import Limits, SpendingCaps, Spent, Standing, runs_left, spending, standing

NAMES = ("wall_clock_s", "turns", "tokens", "dollars")


def test_the_defaults_are_a_dollar_a_run_five_a_day_and_fifty_a_month() -> None:
    assert (Limits().dollars, SpendingCaps()) == (1.0, SpendingCaps(5.0, 50.0))
    assert (Limits().wall_clock_s, Limits().turns, Limits().tokens, Limits().output_bytes) == (
        3600.0,
        50,
        2_000_000,
        262_144,
    )


def test_what_a_routine_does_not_say_keeps_its_default_and_what_is_unknown_is_passed_over() -> None:
    assert Limits.from_data({}) == Limits()
    assert Limits.from_data({"turns": 3, "colour": "red"}) == Limits(turns=3)
    every = {field.name: number for number, field in enumerate(fields(Limits), 1)}
    assert Limits.from_data(every) == Limits(*range(1, len(every) + 1))


@pytest.mark.parametrize(
    ("wall_clock_s", "reserve"), [(3600.0, 15.0), (75.0, 15.0), (50.0, 10.0), (0.1, 0.02)]
)
def test_a_fifth_of_the_time_and_at_most_fifteen_seconds_is_kept_for_the_report(
    wall_clock_s: float, reserve: float
) -> None:
    assert Limits(wall_clock_s=wall_clock_s).report_reserve_s == pytest.approx(reserve)


LIMITS = Limits(wall_clock_s=100.0, turns=10, tokens=1000, dollars=1.0)


def test_a_run_that_spent_nothing_is_near_nothing() -> None:
    assert standing(Spent(), LIMITS) == Standing()


@pytest.mark.parametrize(
    ("spent", "over", "near"),
    [
        (Spent(wall_clock_s=79.9, turns=7, tokens=799, dollars=0.79), (), ()),
        (Spent(wall_clock_s=80.0), (), ("wall_clock_s",)),
        (Spent(turns=8), (), ("turns",)),
        (Spent(tokens=999), (), ("tokens",)),
        (Spent(dollars=0.8), (), ("dollars",)),
        (Spent(wall_clock_s=100.0), ("wall_clock_s",), ()),
        (Spent(turns=10), ("turns",), ()),
        (Spent(tokens=1500), ("tokens",), ()),
        (Spent(dollars=1.0, turns=9), ("dollars",), ("turns",)),
    ],
    ids=str,
)
def test_a_cap_is_near_from_four_fifths_and_over_when_nothing_is_left(
    spent: Spent, over: tuple[str, ...], near: tuple[str, ...]
) -> None:
    assert standing(spent, LIMITS) == Standing(over, near)


@given(st.lists(st.floats(0, 2), min_size=4, max_size=4))
def test_every_cap_is_over_near_or_neither_and_never_both(shares: list[float]) -> None:
    clock, turns, tokens, dollars = shares
    spent = Spent(clock * 100, round(turns * 10), round(tokens * 1000), dollars)
    found = standing(spent, LIMITS)
    assert not set(found.over) & set(found.near)
    for name in NAMES:
        used, cap = getattr(spent, name), getattr(LIMITS, name)
        assert (name in found.over) == (used >= cap)
        assert (name in found.near) == (0.8 * cap <= used < cap)


def test_a_day_and_a_month_are_counted_apart() -> None:
    caps = SpendingCaps()
    assert spending(0.0, 0.0, caps) == Standing()
    assert spending(4.0, 39.9, caps) == Standing((), ("dollars_per_day",))
    assert spending(5.0, 45.0, caps) == Standing(("dollars_per_day",), ("dollars_per_month",))
    assert spending(0.1, 50.0, caps) == Standing(("dollars_per_month",), ())


def test_plans_admit_five_runs_a_day_twenty_five_or_any_number() -> None:
    assert [runs_left("pro", counted) for counted in (0, 4, 5, 9)] == [5, 1, 0, 0]
    assert [runs_left("team", counted) for counted in (0, 25)] == [25, 0]
    assert runs_left("own", 10_000) is None


def test_a_one_off_run_does_not_count() -> None:
    assert runs_left("pro", 99, one_off=True) is None
