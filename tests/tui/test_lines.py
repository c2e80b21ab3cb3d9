"""Lines in columns: what is cut, what is left out, and that text from outside is text."""

from __future__ import annotations

from datetime import timedelta

import pytest

from minion.tui.lines import Column, bars, clocked, due, laid_out, moment, span, text
from tests.tui.stories import FRIDAY, ZONE

COLUMNS = (Column("a", least=4), Column("b"), Column("c", right=True, spare=1), Column("d", spare=2))
ROWS = [["a long name", "whole", "7", "beside"], ["short", "w", "12", "b"]]


@pytest.mark.parametrize(
    ("width", "lines"),
    [
        (40, ["a long name  whole   7  beside", "short        w      12  b"]),
        (25, ["a lon…  whole   7  beside", "short   w      12  b"]),
        (20, ["a long n…  whole   7", "short      w      12"]),
        (13, ["a lon…  whole", "short   w"]),
        (11, ["a l…  whole", "sho…  w"]),
    ],
)
def test_columns_are_cut_where_they_may_be_and_then_left_out_the_most_spare_first(
    width: int, lines: list[str]
) -> None:
    assert [line.plain for line in laid_out(COLUMNS, ROWS, width)] == lines


def test_a_column_in_which_nothing_stands_takes_no_room() -> None:
    assert [line.plain for line in laid_out(COLUMNS, [["x", "", "", "z"]], 40)] == ["x  z"]


def test_what_others_wrote_is_no_markup_and_drives_no_terminal() -> None:
    assert text("[b]x[/b]\x1b[31m\ny\x07").plain == "[b]x[/b][31m y"


def test_a_run_is_as_high_as_it_took_long_and_one_that_is_not_well_is_its_mark() -> None:
    verdicts = ["ok", "ok", "ok", "failed", "running", "partial"]
    assert bars([10, 10, 30, 10, None, 10], verdicts).plain == "▃▃▇✗●◐"


def test_moments_are_told_as_near_as_they_are() -> None:
    now = FRIDAY
    told = [moment((now - timedelta(days=days)).isoformat(), now, ZONE) for days in (0, 2, 20, 400)]
    assert told == ["09:05", "Wed 09:05", "20 Dec", "5 Dec 2024"]
    assert due("2026-01-12T09:00:00+01:00", now) == "Mon 09:00"
    assert due("2026-02-12T09:00:00+01:00", now) == "12 Feb 09:00"
    assert [span(seconds) for seconds in (5, 65, 7300, 200_000)] == ["5s", "1m", "2h", "2d"]
    assert [clocked(seconds) for seconds in (5, 112, 7300)] == ["5s", "1m52s", "2h01m"]
