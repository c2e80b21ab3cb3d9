"""The screens with a list: runs, slots, gaps, the inbox, skills, effects, why; full, narrowed, empty, broken."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import cast

import pytest
from textual.widgets import Input

from minion.store.writer import open_writer
from minion.tui.list_place import ListPlace
from tests.minion.stored_runs import tamper
from tests.tui.list_steps import go, pane, seek, words
from tests.tui.list_stories import a_full_month
from tests.tui.piloting import Stage, home_with, on_stage, show
from tests.tui.stories import FRIDAY, Shelf, a_week, before, under_way_now

pytestmark = pytest.mark.heavy

PLACES = {"2": "RUNS", "3": "SLOTS", "4": "GAPS", "5": "INBOX", "6": "SKILLS", "7": "EFFECTS", "8": "WHY"}


@pytest.mark.heavy
@pytest.mark.parametrize("size", [(80, 24), (100, 30), (200, 60)])
def test_every_list_shows_a_full_month_at_every_size(tmp_path: Path, size: tuple[int, int]) -> None:
    async def seen(stage: Stage) -> None:
        for key, headline in PLACES.items():
            await stage.press(key)
            assert f"── {headline} " in stage.text
            assert "▸" in stage.text and "✗ A row" not in stage.text
            assert max(map(len, stage.lines)) <= size[0]
            assert "\x1b" not in stage.text and "\x07" not in stage.text
            await stage.press("G", "g", "enter", "escape")

    on_stage(tmp_path, a_full_month, seen, size=size)


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("2", "Nothing has run yet: minion run NAME"),
        ("3", "Nothing was due yet: minion schedule update"),
        ("4", "No gaps:"),
        ("5", "Nothing needs you."),
        ("7", "No run has sent, pushed or written anything"),
        ("8", "No routines yet: minion routine new --list"),
    ],
)
def test_a_list_of_an_empty_home_says_what_comes_there_or_what_to_do(tmp_path: Path, key: str, says: str) -> None:
    async def seen(stage: Stage) -> None:
        assert says in words(stage)
        await stage.press("enter", "d", "y")
        await seek(stage, "x")
        assert "Nothing fits “x”; Escape shows all." in stage.text
        await stage.press("escape")
        assert says in words(stage)

    on_stage(tmp_path, None, seen, keys=[key])


@pytest.mark.promise("TUI-4")
@pytest.mark.parametrize(
    ("statement", "key"),
    [
        ("PRAGMA user_version = 99", "2"),
        ("PRAGMA user_version = 99", "3"),
        ("DROP TABLE runs", "8"),
        ("UPDATE routine_history SET document = '[{'", "3"),
        ("UPDATE runs SET started_at = 'long ago', created_at = 'long ago'", "2"),
        ("UPDATE slots SET due_at = 'tomorrow'", "3"),
        ("UPDATE slots SET shown = 'at nine', state = 'lost'", "3"),
        ("UPDATE effects SET staged_at = 'x', intended_at = 'x', settled_at = 'x'", "7"),
        ("UPDATE decisions SET subject = 'no json'", "5"),
        ("UPDATE gaps SET at = 'once'", "4"),
    ],
)
def test_what_cannot_be_read_is_said_where_the_list_would_be(tmp_path: Path, statement: str, key: str) -> None:
    home, config = home_with(tmp_path, a_full_month)
    tamper(home.root, statement)

    async def seen(stage: Stage) -> None:
        assert f"── {PLACES[key]} " in stage.text
        assert "✗ " in stage.text and "hint: " in stage.text
        await stage.press("enter", "y", "d")

    show(home, config, seen, keys=[key])


def test_runs_are_listed_newest_first_with_what_was_wrong_where_they_are_not_well(tmp_path: Path) -> None:
    async def seen(stage: Stage) -> None:
        assert "RUNS 41 · newest first" in stage.text
        shown = [line for line in stage.lines if re.search(r"[●✗✓◐?] [a-z-]+ +[a-z-]+ ", line)]
        assert re.match(r"▸ ● running +pr-review +09:03 +1m52s", shown[0])
        assert re.match(r"  ✗ not-delivered +morning-report +09:00 +55s .* slack: HTTP 404", shown[1])
        assert re.search(r"Thu 15:05 .* The issues could not be read\.", stage.text)

    on_stage(tmp_path, under_way_now, seen, keys=["2"], size=(120, 30))


def test_runs_are_narrowed_by_routine_verdict_trigger_and_id_while_one_types(tmp_path: Path) -> None:
    async def seen(stage: Stage) -> None:
        await stage.press("slash")
        typed = stage.app.screen.query_one("#find", Input)
        id_of_one = cast("ListPlace", stage.app.screen).found[0][5]["id"].lower()
        wanted = {"morning": 20, "partial": 3, "api review": 20, "schedule": 21, "running": 1, id_of_one: 1}
        for sought, many in wanted.items():
            typed.value = sought
            await stage.pilot.pause()
            assert f"RUNS {many} of 41" in stage.text, sought
        await seek(stage, "xyz")
        assert "Nothing fits “xyz”" in stage.text

    on_stage(tmp_path, under_way_now, seen, keys=["2"])


def test_the_runs_of_one_routine_are_headed_by_its_name_and_it_need_not_have_any(tmp_path: Path) -> None:
    async def seen(stage: Stage) -> None:
        await go(stage, "runs", "morning-report")
        assert "RUNS morning-report 20 · newest first" in stage.text and "pr-review" not in stage.text
        await go(stage, "runs", "never-there")
        assert "never-there has not run yet: r runs it." in stage.text
        await stage.press("r")
        assert "Run never-there now?" in stage.text

    on_stage(tmp_path, a_week, seen)


@pytest.mark.heavy
def test_a_run_that_goes_on_is_timed_by_the_clock(tmp_path: Path) -> None:
    now = [FRIDAY]
    home, config = home_with(tmp_path, under_way_now)

    async def seen(stage: Stage) -> None:
        assert "1m52s" in stage.line("running")
        for shown in ("2m52s", "3m52s"):  # within a second each, with nobody doing anything
            now[0] += timedelta(minutes=1)
            await stage.shows(shown)

    show(home, config, seen, keys=["2"], clock=lambda: now[0])


def test_enter_opens_the_run_and_y_copies_its_id(tmp_path: Path) -> None:
    async def seen(stage: Stage) -> None:
        await stage.press("down", "y")
        found = cast("ListPlace", stage.app.screen).subject
        await stage.hears(f"copied: {found.run}")
        assert stage.app.clipboard == found.run
        await stage.press("enter")
        assert type(stage.app.screen).__name__ == "RunScreen"

    on_stage(tmp_path, a_week, seen, keys=["2"])


def test_the_cursor_stays_on_its_run_when_another_one_begins(tmp_path: Path) -> None:
    async def more(stage: Stage) -> None:
        async with open_writer(stage.home.store) as writer:
            shelf = Shelf(stage.home, writer)
            shelf.routines["pr-review"] = "trig_0100000000000000000002"
            shelf._runs = 900
            await shelf.run("pr-review", before(minutes=1), seconds=3)

    async def seen(stage: Stage) -> None:
        await stage.press("down", "down", "down")
        chosen = cast("ListPlace", stage.app.screen).chosen
        await more(stage)
        cast("ListPlace", stage.app.screen).look()
        await stage.shows("RUNS 41")
        assert cast("ListPlace", stage.app.screen).chosen == chosen

    on_stage(tmp_path, a_week, seen, keys=["2"])


@pytest.mark.promise("TUI-8")
def test_slots_are_held_against_what_the_schedules_promised(tmp_path: Path) -> None:
    async def seen(stage: Stage) -> None:
        assert "✗ 6 without a record" in stage.text
        assert re.search(r"morning-report +✗✓··✓✓✓✓✓··✓✓✓✓✓··✓✓✗✓✓··✓✓✓✓✓ +22 +20 +✗ 2 +✓20", stage.text)
        nights = r"nightly-triage +MMMMMMMMMMMM✓✓✓✓✓✓L✓–✓✓✓✓\?✓✓✓● +30 +30 +✓ none +✓15 L1 –1 M12 ●1"
        assert re.search(nights, stage.text)
        assert "pr-review" not in stage.text  # it has no schedule

    on_stage(tmp_path, a_full_month, seen, keys=["3"])


@pytest.mark.promise("TUI-8")
def test_a_slot_without_a_record_stands_among_the_others_and_says_what_is_known_of_it(tmp_path: Path) -> None:
    async def seen(stage: Stage) -> None:
        await seek(stage, "no record")
        assert "SLOTS 6 of 45" in stage.text
        assert re.match(r"▸ 2 Jan 17:00 +release-notes +✗ no record", stage.line("▸ 2 Jan"))
        await stage.press("enter")
        assert pane(stage) and "it was seen to, but no record is kept" in stage.text
        await stage.press("escape")
        assert not pane(stage)

    on_stage(tmp_path, a_full_month, seen, keys=["3"])


@pytest.mark.heavy
def test_a_slot_opens_its_run_and_a_routine_its_slots_and_then_its_runs(tmp_path: Path) -> None:
    async def seen(stage: Stage) -> None:
        await stage.press("enter")
        assert type(stage.app.screen).__name__ == "RunScreen"
        await stage.press("escape", "shift+tab", "down")
        assert cast("ListPlace", stage.app.screen).subject.routine == "nightly-triage"
        await stage.press("enter")
        assert "SLOTS nightly-triage" in stage.text and "morning-report" not in stage.text
        assert re.search(r"22 Dec 02:00 +✗ missed 12", stage.text) and re.search(r"✓ late +10m00s", stage.text)
        await stage.press("shift+tab", "enter")
        assert "RUNS nightly-triage" in stage.text

    on_stage(tmp_path, a_full_month, seen, keys=["3"])


def test_a_routine_that_was_not_due_says_so(tmp_path: Path) -> None:
    async def seen(stage: Stage) -> None:
        await go(stage, "slots", "weekly-digest")
        assert "weekly-digest was not due in these 30 days: w says why." in stage.text
        await stage.press("w")
        assert "It is paused since" in stage.text

    on_stage(tmp_path, a_week, seen)


def test_gaps_are_merged_and_open_the_newest_run_that_met_them(tmp_path: Path) -> None:
    async def seen(stage: Stage) -> None:
        place = await go(stage, "gaps", "connector:HTTP-LINEAR")
        line = r"▸ \? HTTP-LINEAR +connector +2 +nightly-triage, pr-review +Mon 02:00 +08:05 +the connector linear"
        assert re.search(line, stage.text)
        subject = place.subject
        assert subject.routine == "pr-review"
        await seek(stage, "linear")
        await stage.press("enter")
        assert type(stage.app.screen).__name__ == "RunScreen"
        assert str(subject.run) in stage.text

    on_stage(tmp_path, a_full_month, seen, size=(140, 30))
