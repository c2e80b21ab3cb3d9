"""The home screen: what a person finds at 9:05, and what each key on it does where no daemon runs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from minion.tui.screens.asking import Confirm
from minion.tui.screens.help import HelpScreen
from minion.tui.tui_app import PLACES
from tests.minion.stored_runs import tamper
from tests.tui.piloting import Stage, home_with, on_stage, show
from tests.tui.stories import a_week, under_way_now


@pytest.mark.promise("TUI-1")
def test_what_needs_somebody_comes_first_and_then_each_routine_with_its_runs(tmp_path: Path) -> None:
    async def seen(stage: Stage) -> None:
        await stage.shows("log intact")
        lines = stage.lines
        titles = [line.split()[1] for line in lines if line.startswith("  ──")]
        assert titles == ["NEEDS", "ROUTINES", "RUNNING", "24"]
        assert "alice ○ no daemon, read-only" in lines[0] and lines[0].endswith("Fri 09:05 CET")
        assert "today ≈$0.40 of $5" in lines[0]
        need = stage.line("written, NOT DELIVERED")
        assert need.startswith("▸ ✗  morning-report") and need.endswith("w why  R redeliver")
        assert "3 runs lacked it" in stage.line("gap HTTP-LINEAR")
        assert "Mon 09:00" in stage.line("✗ not-delivered 09:00")
        review = stage.line("● running 09:03")
        assert "on demand" in review and "≈$4.07" in review and "▃●" in review and "◐" in review
        assert "paused" in stage.line("weekly-digest")
        assert "3/4 LLM-EXECUTE-PROMPT  1m52s  ≈$0.08 of $1" in stage.line("pr-review  3/4")
        assert stage.line("morning-report  ···").endswith("·✗")

    on_stage(tmp_path, under_way_now, seen)


@pytest.mark.parametrize("size", [(80, 24), (200, 60), (40, 12)])
def test_every_line_fits_the_terminal_it_is_shown_in(tmp_path: Path, size: tuple[int, int]) -> None:
    async def seen(stage: Stage) -> None:
        assert max(map(len, stage.lines)) <= size[0]
        assert "morning-report" in stage.text and "09:05" in stage.lines[0]

    on_stage(tmp_path, under_way_now, seen, size=size)


def test_a_home_in_which_nothing_was_run_yet_says_how_to_begin(tmp_path: Path) -> None:
    async def seen(stage: Stage) -> None:
        assert "minion routine new --list" in stage.text and "minion up" in stage.text

    on_stage(tmp_path, None, seen)


@pytest.mark.promise("TUI-2")
@pytest.mark.parametrize(
    ("keys", "says"),
    [
        (["r"], "Run morning-report now?"),
        (["down", "down", "down", "c"], "Cancel the run of pr-review?"),
        (["R"], "Deliver it again?"),
        (["H"], "Halt everything?"),
    ],
)
def test_what_cannot_be_undone_is_asked_about_and_done_by_no_single_key(
    tmp_path: Path, keys: list[str], says: str
) -> None:
    async def seen(stage: Stage) -> None:
        assert isinstance(stage.app.screen, Confirm)
        assert says in stage.text
        await stage.press(keys[-1], "enter", "space")
        assert isinstance(stage.app.screen, Confirm), "nothing but y does it, however often a key is pressed"
        await stage.press("n")
        assert not isinstance(stage.app.screen, Confirm)
        await stage.press(keys[-1], "y")
        await stage.hears("No daemon runs this minion, so this view only looks. hint: minion up")

    on_stage(tmp_path, under_way_now, seen, keys=keys)


def test_a_key_without_anything_it_could_mean_says_so(tmp_path: Path) -> None:
    async def seen(stage: Stage) -> None:
        await stage.press("c")  # the report's run has ended
        await stage.hears("Nothing of this is running.")
        await stage.press("down", "r")
        await stage.hears("There is no routine under the cursor.")
        await stage.press("d")
        await stage.hears("Nothing waits for a decision here.")

    on_stage(tmp_path, a_week, seen)


def test_finding_narrows_every_part_while_one_types_and_escape_shows_all(tmp_path: Path) -> None:
    async def seen(stage: Stage) -> None:
        await stage.press("slash", *"weekly")
        assert "weekly-digest" in stage.text and "morning-report" not in stage.text
        await stage.press("enter", "escape")
        assert "morning-report" in stage.text
        await stage.press("slash", *"nothing-like-it", "enter")
        assert "No routine is called so." in stage.text

    on_stage(tmp_path, under_way_now, seen)


def test_the_cursor_stays_on_its_line_when_others_come_and_go(tmp_path: Path) -> None:
    async def seen(stage: Stage) -> None:
        await stage.press("down", "down", "down")
        assert stage.line("▸").split()[1] == "pr-review"
        await stage.press("slash", *"review", "enter")
        assert stage.line("▸").split()[1] == "pr-review"
        await stage.press("escape", "G")
        assert "···" in stage.line("▸")
        await stage.press("g")
        assert "NOT DELIVERED" in stage.line("▸")
        await stage.press("pagedown", "pageup", "k", "j", "home", "end", "up")
        assert "1m52s" in stage.line("▸")

    on_stage(tmp_path, under_way_now, seen)


def test_a_click_chooses_a_line_and_another_one_opens_it(tmp_path: Path) -> None:
    async def seen(stage: Stage) -> None:
        at = next(number for number, line in enumerate(stage.lines) if "weekly-digest" in line)
        await stage.pilot.click(offset=(10, at))
        await stage.settled()
        assert "weekly-digest" in stage.line("▸")
        await stage.pilot.click(offset=(10, at - 3))
        await stage.settled()
        assert "weekly-digest" in stage.line("▸")  # a heading cannot be chosen

    on_stage(tmp_path, a_week, seen)


def test_tab_goes_from_part_to_part_and_round_again(tmp_path: Path) -> None:
    async def seen(stage: Stage) -> None:
        found = []
        for _ in range(5):
            found.append(stage.line("▸").split()[1])
            await stage.press("tab")
        assert found == ["✗", "morning-report", "pr-review", "morning-report", "✗"]
        await stage.press("shift+tab")
        assert "NOT DELIVERED" in stage.line("▸")

    on_stage(tmp_path, under_way_now, seen)


def test_a_key_can_be_clicked_where_it_is_named(tmp_path: Path) -> None:
    async def seen(stage: Stage) -> None:
        at = stage.lines[-1].index("r run")
        await stage.pilot.click(offset=(at, len(stage.lines) - 1))
        await stage.settled()
        assert isinstance(stage.app.screen, Confirm)

    on_stage(tmp_path, a_week, seen)


def test_every_theme_can_be_chosen_and_the_palette_leads_to_every_screen(tmp_path: Path) -> None:
    async def seen(stage: Stage) -> None:
        offered = [command.title for command in stage.app.get_system_commands(stage.app.screen)]
        assert {"Theme", *(f"Go: {title}" for _, _, title in PLACES)} <= set(offered)
        for theme in stage.app.available_themes:
            stage.app.theme = theme
            await stage.settled()
            assert "NOT DELIVERED" in stage.text
        await stage.press("ctrl+p")
        await stage.type("go: skills")
        await stage.shows("write-daily-report")

    on_stage(tmp_path, a_week, seen)


def test_help_shows_every_key_and_goes_away_again(tmp_path: Path) -> None:
    async def seen(stage: Stage) -> None:
        assert isinstance(stage.app.screen, HelpScreen)
        for words in ("why: the first broken link", "redeliver", "halt", "command palette"):
            assert words in stage.text
        await stage.press("question_mark")
        assert "NEEDS YOU" in stage.text

    on_stage(tmp_path, a_week, seen, keys=["question_mark"], size=(100, 40))


def test_a_log_that_somebody_altered_is_called_broken(tmp_path: Path) -> None:
    home, config = home_with(tmp_path, a_week)
    tamper(home.root, "UPDATE events SET data = '{}' WHERE rowid = (SELECT min(rowid) FROM events)")

    async def seen(stage: Stage) -> None:
        await stage.shows("log BROKEN")
        assert "minion verify" in stage.line("log BROKEN")

    show(home, config, seen)


@pytest.mark.promise("TUI-4")
@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("UPDATE routines SET document = 'no json'", "cannot be understood"),
        ("UPDATE runs SET usage = 'no json'", "cannot be read"),
        ("PRAGMA user_version = 99", "of a newer version"),
        ("DROP TABLE slots", "cannot be read"),
    ],
)
def test_what_cannot_be_read_is_said_with_what_mends_it_and_the_rest_is_shown(
    tmp_path: Path, statement: str, says: str
) -> None:
    home, config = home_with(tmp_path, a_week)
    tamper(home.root, statement)

    async def seen(stage: Stage) -> None:
        words = " ".join(stage.text.split())
        assert says in words and "hint:" in words
        assert "alice" in stage.lines[0]
        await stage.press("r", "c", "p", "d", "w", "escape", "question_mark", "escape", "slash", "x", "escape")

    show(home, config, seen)


def test_a_command_that_helps_is_shown_as_the_program_was_called(tmp_path: Path) -> None:
    home, config = home_with(tmp_path, a_week)

    async def seen(stage: Stage) -> None:
        assert "Start: ./m --home h up" in stage.text
        await stage.press("p")
        await stage.hears("hint: ./m --home h up")
        await stage.press("w")
        assert "hint: ./m --home h up" in stage.text
        await stage.press("y")
        await stage.hears("What mends it is copied: ./m --home h up")

    show(home, config, seen, called=lambda hint: hint.replace("minion up", "./m --home h up"))


@pytest.mark.promise("TUI-4")
def test_a_home_that_goes_away_while_it_is_shown_is_said_to_be_gone(tmp_path: Path) -> None:
    async def seen(stage: Stage) -> None:
        assert "NEEDS YOU" in stage.text
        shutil.rmtree(stage.home.root)
        await stage.until(lambda: "NEEDS YOU" not in stage.text)
        assert "hint:" in stage.text

    on_stage(tmp_path, a_week, seen)
