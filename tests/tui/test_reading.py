"""What the terminal view reads of a home, and how it says what it cannot."""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from minion.store.board import gaps_found, progress, recent_runs, slots_since, spending
from minion.store.local_db import read_only
from minion.tui.reading import Reading
from server.contract.refusals import NotFound, StoreUnreadable
from tests.tui.piloting import home_with
from tests.tui.stories import FRIDAY, ZONE, Shelf, a_week, at_friday, delivered, make_home, under_way_now


def test_a_row_that_cannot_be_understood_is_refused_with_what_looks_closer(tmp_path: Path) -> None:
    home, config = home_with(tmp_path, a_week)

    def odd(db: sqlite3.Connection) -> Any:
        return json.loads(db.execute("SELECT 'no json'").fetchone()[0])

    with pytest.raises(StoreUnreadable) as refused:
        Reading(home, config, at_friday).read(odd)
    assert (refused.value.code, refused.value.hint) == ("row_unreadable", "minion verify")


def test_a_snapshot_of_a_home_without_a_store_has_no_problem(tmp_path: Path) -> None:
    home, config = home_with(tmp_path, None)
    reading = Reading(home, config, at_friday)
    found = reading.snapshot()
    assert (found.problems, found.document, found.is_up) == ((), None, False)
    with pytest.raises(NotFound):
        reading.read(recent_runs)


def test_settings_that_became_bad_are_a_problem_and_the_store_is_read_all_the_same(tmp_path: Path) -> None:
    home, config = home_with(tmp_path, a_week)
    reading = Reading(home, config, at_friday)
    home.config_file.write_text("{")
    found = reading.snapshot()
    assert [problem.code for problem in found.problems] and found.document is not None


def test_the_newest_twenty_runs_of_each_routine_are_read_oldest_first(tmp_path: Path) -> None:
    home, _ = home_with(tmp_path, under_way_now)
    with read_only(home.store) as db:
        runs, far, gaps = recent_runs(db), progress(db), gaps_found(db)
        slots = slots_since(db, FRIDAY - timedelta(days=3))
    assert {name: len(found) for name, found in runs.items()} == {
        "morning-report": 20, "pr-review": 20, "weekly-digest": 1,
    }  # fmt: skip
    ended = [run["created_at"] for run in runs["morning-report"]]
    assert ended == sorted(ended) and runs["morning-report"][-1]["lost"] == "slack: HTTP 404: no_service"
    (step,) = far.values()
    assert (step["entered"], step["blocks"], step["step"]) == (3, 4, "LLM-EXECUTE-PROMPT")
    assert (step["dollars"], step["cap"]) == (0.08, 1.0)
    assert [(gap["requested_code"], gap["runs"], gap["routines"]) for gap in gaps] == [
        ("HTTP-LINEAR", 3, ["pr-review"])
    ]
    assert [slot["verdict"] for slot in slots] == ["ok", "ok", "not-delivered"]


def test_a_day_and_a_month_of_spending_are_those_of_the_minions_zone(tmp_path: Path) -> None:
    async def nights(shelf: Shelf) -> None:
        await shelf.routine("nightly")
        midnight = datetime(2026, 1, 8, 23, 0, tzinfo=UTC)  # in Berlin it is the 9th
        new_year = datetime(2025, 12, 31, 23, 0, tzinfo=UTC)
        for at in (midnight, midnight - timedelta(seconds=1), new_year, new_year - timedelta(seconds=1)):
            await shelf.run("nightly", at, tell=delivered, dollars=1.0)

    home, _ = make_home(tmp_path, nights)
    with read_only(home.store) as db:
        spent = spending(db, zone=ZONE, now=FRIDAY)
        elsewhere = spending(db, zone="UTC", now=FRIDAY)
    assert (spent.today, spent.month, spent.by_routine) == (1.0, 3.0, {"nightly": 3.0})
    assert (elsewhere.today, elsewhere.month) == (0.0, 2.0)


def test_runs_that_were_pruned_still_count_as_spent(tmp_path: Path) -> None:
    home, _ = home_with(tmp_path, a_week)
    with read_only(home.store) as db:
        was = spending(db, zone=ZONE, now=FRIDAY)
    connection = sqlite3.connect(home.store, isolation_level=None)
    (run,) = connection.execute("SELECT id FROM runs ORDER BY ordinal DESC").fetchone()
    said = {"routine": "morning-report", "ended_at": "2026-01-09T08:00:55.000Z", "usage": {"dollars": 0.5}}
    query = "INSERT INTO home_chain (kind, ref, body, hash) VALUES ('tombstone', ?, ?, 'x')"
    connection.execute(query, (run, json.dumps(said)))
    connection.close()
    with read_only(home.store) as db:
        assert spending(db, zone=ZONE, now=FRIDAY).today == pytest.approx(was.today + 0.5)
