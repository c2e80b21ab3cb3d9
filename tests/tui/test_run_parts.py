"""The parts of a run's screen: transcript, report, comparison, effects, files, facts; and finding in them."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from textual.geometry import Offset
from textual.widgets import Input

from minion.config import Home
from minion.daemon.kept_order import keep_order
from minion.tui.screens.leaf import LeafScreen
from tests.minion.stored_runs import Teller, make_order, numbered_id, tamper
from tests.tui.opened import opened
from tests.tui.piloting import Stage
from tests.tui.run_stories import FAILED, STRAYED
from tests.tui.stories import Shelf, before

pytestmark = pytest.mark.heavy


def test_the_transcript_has_every_event_in_words_and_shows_one_whole(tmp_path: Path) -> None:
    async def seen(stage: Stage) -> None:
        assert stage.line("opened by schedule").startswith("▸ 06:05:12")
        assert "040.001.01  Block 01 (rigid)" in stage.text and "TSK-VALIDATE-TRIGGER begins" in stage.text
        assert "│ - see [notes](https://e.test/x) [bold]not markup[/]" in stage.text
        await stage.keys("slash", *"trace", "enter")
        assert "error: said by send-to-slack on stderr" in stage.line("▸ 06:05:29")
        await stage.press("enter")
        assert isinstance(stage.app.screen, LeafScreen)
        assert "entry 24 of the log" in stage.text and "KeyError: 'text'" in stage.text
        await stage.keys("escape", "escape")
        assert "result of write-daily-report" in stage.text

    opened(tmp_path, FAILED, seen, keys=["tab"])


def test_the_report_is_shown_as_markdown_and_none_of_its_links_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, browser = tmp_path / "told", tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\nprintf "%s" "$*" > "{told}"\n')
    browser.chmod(0o755)
    monkeypatch.setenv("BROWSER", f"{browser} %s")

    async def seen(stage: Stage) -> None:
        assert "shop: 12 commits" in stage.text and "# shop" not in stage.text
        assert "• see notes [bold]not markup[/]" in stage.text
        assert "Outcome: failure" in stage.text
        row = next(number for number, line in enumerate(stage.lines) if "see notes" in line)
        await stage.pilot.click(offset=Offset(stage.lines[row].index("notes") + 1, row))
        await stage.hears("https://e.test/x")
        assert not told.exists()

    opened(tmp_path, FAILED, seen, keys=["tab", "tab"])


def test_the_first_difference_from_the_planned_steps_is_pointed_at_in_words(tmp_path: Path) -> None:
    async def seen(stage: Stage) -> None:
        assert "steps changed" in stage.text
        assert stage.line("▸ first difference").endswith(
            "in 040.001.03 Block 03 LLM-VERIFY-OUTPUT was taken, which is not planned"
        )
        assert stage.line("LLM-VERIFY-OUTPUT     added").split() == ["▸", "–", "LLM-VERIFY-OUTPUT", "added"]
        assert stage.line("as planned").split() == ["TSK-VALIDATE-TRIGGER"] * 2 + ["as", "planned"]
        assert "T:36a61784" in stage.text and "T:f87a829f" in stage.text

    opened(tmp_path, STRAYED, seen, keys=["tab", "tab", "tab"])


def test_effects_say_where_they_went_and_how_they_are_taken_back(tmp_path: Path) -> None:
    async def seen(stage: Stage) -> None:
        undo = "git push shop --delete claude/review"
        assert "✓ delivered push:shop:claude/review" in stage.line("▸ ✓")
        assert stage.line("u undo").split("undo")[1].strip() == undo
        await stage.press("u")
        assert stage.app.clipboard == undo
        await stage.keys("y", "tab", "u")
        assert stage.app.clipboard == STRAYED  # only where effects are, one is copied
        await stage.keys("shift+tab")
        await stage.press("enter")
        assert "WHAT IT BRINGS" in stage.text and "a branch" in stage.text

    def kept(home: Home) -> None:
        folder = home.runs / STRAYED / "effects"
        folder.mkdir()
        (folder / "01.json").write_text('{"body": "a branch"}')

    opened(tmp_path, STRAYED, seen, keys=["tab"] * 4, prepare=kept)


def test_files_are_listed_and_read_from_their_beginning_and_no_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("the secret of somebody else")

    def kept(home: Home) -> None:
        folder = home.runs / FAILED
        (folder / "a.txt").write_text("[b]first[/b]\n" * 10_000)
        (folder / "b.bin").write_bytes(b"\0\1")
        (folder / "c.link").symlink_to(tmp_path / "outside")
        (folder / "d").symlink_to(tmp_path)
        os.mkfifo(folder / "e.pipe")
        (folder / "sub").mkdir()
        (folder / "sub" / "deep.txt").write_text("deep")

    async def seen(stage: Stage) -> None:
        assert "130,000" in stage.line("▸ a.txt")
        assert stage.text.count("a link, not followed") == 2
        assert "no plain file" in stage.line("e.pipe") and "outside" not in stage.text
        await stage.press("enter")
        await stage.until(lambda: isinstance(stage.app.screen, LeafScreen))
        assert "a.txt  130,000 bytes" in stage.text and "[b]first[/b]" in stage.text
        await stage.press("end")
        assert "… 64,464 more bytes" in stage.text
        await stage.keys("q", "down", "enter")
        await stage.hears("b.bin is no text.")
        await stage.press("down")
        assert "sub/deep.txt" in stage.line("▸ sub")

    opened(tmp_path, FAILED, seen, keys=["shift+tab", "shift+tab"], prepare=kept)


def test_facts_hold_usage_against_limits_and_say_whether_the_log_is_intact(tmp_path: Path) -> None:
    def told(home: Home) -> None:
        keep_order(replace(make_order(2), run_dir=str(home.runs / STRAYED)))

    async def seen(stage: Stage) -> None:
        for words in ("✓ ok  a check or", "delivery delivered", "≈$0.21 of $1", "18,400 of 2,000,000", "12 of 50",
                      "claude-code, ! unsandboxed", "WF-ROUTINE-EXEC.V01", "✓ intact", STRAYED):  # fmt: skip
            assert words in stage.text, words

    opened(tmp_path, STRAYED, seen, keys=["shift+tab"], prepare=told)


@pytest.mark.promise("MOD-5")
def test_what_a_run_asked_people_stands_beside_it_and_among_its_facts(tmp_path: Path) -> None:
    def asked(told: Teller) -> Teller:
        return told.plain().tell("decision", id=numbered_id("dec_", 1), question="May the old branch go?")

    async def story(shelf: Shelf) -> None:
        await shelf.routine("morning-report")
        await shelf.run("morning-report", before(hours=1), tell=asked)

    async def seen(stage: Stage) -> None:
        assert "asked: May the old branch go?" in stage.text
        await stage.press("shift+tab")
        assert "(waits for an answer: dec_" in stage.line("asked  ")

    opened(tmp_path, numbered_id("run_", 1), seen, story=story)


def test_a_log_that_somebody_altered_is_called_broken(tmp_path: Path) -> None:
    async def seen(stage: Stage) -> None:
        assert "✗ BROKEN:" in stage.line("log   ")

    def altered(home: Home) -> None:
        tamper(home.root, "UPDATE events SET at = '2020-01-01T00:00:00.000Z'")

    opened(tmp_path, FAILED, seen, keys=["shift+tab"], prepare=altered)


def test_finding_narrows_the_steps_and_escape_shows_all_of_them(tmp_path: Path) -> None:
    async def seen(stage: Stage) -> None:
        await stage.keys("slash", *"clone", "enter")
        assert "SCR-CLONE-REPO" in stage.line("▸ ") or "Block 02" in stage.line("▸ ")
        assert "LLM-WRITE-DAILY-REPORT" not in stage.text
        await stage.press("escape")
        assert "LLM-WRITE-DAILY-REPORT" in stage.text
        await stage.keys("tab", "tab", "tab", "slash")
        assert not stage.app.screen.query_one("#find", Input).display  # nothing there can be narrowed

    opened(tmp_path, FAILED, seen)
