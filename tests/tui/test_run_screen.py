"""The screen of one run: what it opens on, its keys, a run that goes on, and runs that are odd or gone."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from textual.geometry import Offset

from minion.config import Home
from minion.daemon.kept_order import keep_order
from minion.store.run_end import end_run, prune
from minion.store.run_log import take_event
from minion.store.writer import open_writer
from minion.tui.messages import Changed
from minion.tui.reading import Reading
from minion.tui.run_reading import RunWatch
from minion.tui.screens.asking import Confirm
from minion.tui.screens.leaf import LeafScreen
from minion.tui.screens.run import RunScreen
from minion.tui.screens.why import WhyScreen
from minion.tui.widgets.paper import Paper
from minion.tui.widgets.parts import Parts
from minion.tui.widgets.transcript import Transcript
from minion.wire import Event
from server.contract.digest import instant
from server.contract.refusals import StoreUnreadable
from tests.minion.stored_runs import CODES, make_order, numbered_id, tamper
from tests.tui.opened import opened, said_beside
from tests.tui.piloting import SIZE, Stage, home_with, show
from tests.tui.run_stories import (
    FAILED,
    NOT_DELIVERED,
    UNDER_WAY,
    a_long_run,
    an_odd_run,
    runs_to_open,
)
from tests.tui.stories import FRIDAY, Shelf, at_friday, under_way_now

pytestmark = pytest.mark.heavy

NARROW = (80, 24)
ONLY = numbered_id("run_", 1)


@pytest.mark.promise("TUI-7")
@pytest.mark.parametrize("size", [NARROW, SIZE, (200, 60)])
def test_a_run_opens_on_its_verdict_and_the_first_failed_step_with_its_input_and_output(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    async def seen(stage: Stage) -> None:
        assert max(map(len, stage.lines)) <= size[0]
        head = stage.lines[1]
        assert "✗ failed" in head and "morning-report · 26.0 s" in head and FAILED in head
        assert "it did not work" in "\n".join(stage.lines[1:3])
        assert stage.line("why:").startswith(" why: send-to-slack failed: the script ended with exit code 3")
        assert stage.line("The report could not be sent.")
        assert "✗ LLM-SEND-TO-SLACK" in stage.line("▸   ")
        assert "━" in stage.line("▸   ") and "4.6 s" in stage.line("▸   ")
        await stage.press("enter")  # what is said of the step takes the keys
        about, said = stage.app.screen.query_one("#about", Paper), said_beside(stage)
        assert "✗ failed  4.6 s  06:05:26 to 06:05:31\nwhy: the script ended with exit code 3" in said
        assert "INPUT\nresult of  write-daily-report: completed" in said
        assert "│ " in stage.line("✗ failed  4.6 s") or "┃ " in stage.line("✗ failed  4.6 s")
        assert "OUTPUT\n✗ failed result of send-to-slack" in said and "half a message\ndata" in said
        assert "│   KeyError: 'text'" in said and "out  sha256:" in said
        assert about.has_focus
        await stage.press("escape")
        assert not about.has_focus and isinstance(stage.app.screen, RunScreen)
        await stage.press("escape")
        assert not isinstance(stage.app.screen, RunScreen)

    opened(tmp_path, FAILED, seen, size=size)


def test_blocks_are_marked_rigid_or_elastic_and_a_step_says_what_it_was_given(tmp_path: Path) -> None:
    def told(home: Home) -> None:
        order = make_order(1, pipeline=("write-daily-report", "send-to-slack"))
        routine = {**order.routine, "resume": True}
        keep_order(replace(order, run_dir=str(home.runs / FAILED), routine=routine, input="alert [b]7[/b]"))

    async def seen(stage: Stage) -> None:
        assert "✓ ▣ Block 01" in stage.text and "✗ ◇ Block 03" in stage.text and "▣ rigid  ◇ elastic" in stage.text
        assert "skill      send-to-slack" in stage.text and "fired with alert [b]7[/b]" in stage.text
        await stage.keys("up", "up", "up")
        assert said_beside(stage).splitlines()[:3] == [
            "040.001.03  Block 03", "elastic: here the session decides, inside its", "limits",
        ]  # fmt: skip
        assert "why: send-to-slack failed" in said_beside(stage)
        await stage.press("up")
        assert "repository shop  /srv/shop" in said_beside(stage)
        assert "info: cloned shop at" in said_beside(stage)
        await stage.press("home")
        assert "rigid: trusted code, always in this order" in stage.text

    opened(tmp_path, FAILED, seen, prepare=told)


def test_a_run_that_did_not_arrive_opens_where_its_effect_failed_and_says_what_sends_it_again(
    tmp_path: Path,
) -> None:
    async def seen(stage: Stage) -> None:
        assert "✗ not-delivered" in stage.lines[1]
        assert stage.line("✗ failed message:slack → slack webhook (HTTP 404: no_service)")
        assert stage.line("R redeliver")
        assert "▣ Block 04" in stage.line("▸ ✓")
        await stage.press("R")
        assert isinstance(stage.app.screen, Confirm) and "Deliver it again?" in stage.text
        await stage.press("n", "r")
        assert "Run morning-report now?" in stage.text
        await stage.press("y")
        await stage.hears("No daemon runs this minion, so this view only looks.")
        await stage.press("c")
        await stage.hears("Nothing of this is running.")
        await stage.press("w")
        assert isinstance(stage.app.screen, WhyScreen)

    opened(tmp_path, NOT_DELIVERED, seen)


def test_the_keys_tab_and_shift_tab_and_a_click_go_from_part_to_part(tmp_path: Path) -> None:
    async def seen(stage: Stage) -> None:
        for title in ("Transcript", "Report", "Compared", "Effects", "Files", "Facts"):
            await stage.pilot.press("tab")
            assert stage.app.screen.query_one(Parts).current == title.lower()
        assert "▸Facts" in stage.text
        await stage.keys("tab", "shift+tab")
        row = next(number for number, line in enumerate(stage.lines) if "▸Facts" in line)
        await stage.pilot.click(offset=Offset(stage.lines[row].index("Report") + 2, row))
        await stage.settled()
        assert "▸Report" in stage.text

    opened(tmp_path, FAILED, seen)


def test_what_happens_in_a_run_is_shown_as_it_happens_until_its_verdict(tmp_path: Path) -> None:
    async def seen(stage: Stage) -> None:
        assert "● running  it goes on" in stage.lines[1] and "1m52s" in stage.lines[1]
        assert "● LLM-EXECUTE-PROMPT" in stage.line("▸   ●") and "28s" in stage.line("▸   ●")
        await stage.press("tab")
        assert "used 1 min 40 s" in stage.line("▸ ")
        async with open_writer(stage.home.store) as writer:

            async def say(number: int, type_: str, **data: Any) -> None:
                event = Event(100 + number, instant(FRIDAY), type_, CODES[2], data)
                await writer.transact(lambda db: take_event(db, UNDER_WAY, event))
                stage.app.post_message(Changed())

            for number in range(30):
                await say(number, "log", level="info", text=f"word {number}")
            await stage.shows("word 29")
            assert "word 29" in stage.line("▸ ")  # it followed its end
            await stage.keys("up", "up")
            await say(40, "log", level="info", text="word 40")
            lines = stage.app.screen.query_one(Transcript)
            await stage.until(lambda: lines.entries[-1].line(80).plain.endswith("word 40"))
            assert "word 27" in stage.line("▸ ")  # somebody went up, and reads
            await stage.press("shift+tab")
            assert "INPUT" in stage.text and "word 29" not in stage.lines[1]

            async def end(db: Any) -> None:
                await end_run(db, UNDER_WAY, "failed", now=instant(FRIDAY), why="it broke")

            await writer.transact(end)
            stage.app.post_message(Changed())
            await stage.shows("✗ failed  it did not work")
            assert "why: it broke" in stage.text and "? LLM-EXECUTE-PROMPT" in stage.line("▸   ?")

    opened(tmp_path, UNDER_WAY, seen)


def test_a_run_that_goes_on_is_cancelled_once_that_was_confirmed(tmp_path: Path) -> None:
    async def seen(stage: Stage) -> None:
        await stage.press("c")
        assert isinstance(stage.app.screen, Confirm) and "Cancel the run of pr-review?" in stage.text
        await stage.press("y")
        await stage.hears("No daemon runs this minion")

    opened(tmp_path, UNDER_WAY, seen, keys=["tab", "tab", "tab"])


@pytest.mark.heavy
def test_the_times_of_a_run_that_goes_on_tick(tmp_path: Path) -> None:
    asked = iter(range(10**9))

    async def seen(stage: Stage) -> None:
        await stage.until(lambda: stage.app.outlook is not None)  # nothing else will be read any more
        before = stage.lines[1]
        await stage.until(lambda: stage.lines[1] != before)
        assert "● running" in stage.lines[1]

    opened(tmp_path, UNDER_WAY, seen, clock=lambda: FRIDAY + timedelta(seconds=next(asked)))


def test_a_run_that_is_pruned_while_it_is_shown_says_so_and_stays_readable(tmp_path: Path) -> None:
    async def seen(stage: Stage) -> None:
        async with open_writer(stage.home.store) as writer:
            await writer.transact(lambda db: prune(db, keep=0, now=instant(FRIDAY)))
        shutil.rmtree(stage.home.runs / FAILED)
        stage.app.post_message(Changed())
        await stage.shows("was pruned to make room for newer ones")
        assert "What stands below is how it was before." in stage.text and "LLM-SEND-TO-SLACK" in stage.text
        await stage.press("o")
        await stage.hears("The run's folder is gone")

    opened(tmp_path, FAILED, seen)


def test_a_run_that_is_not_there_or_cannot_be_read_says_so(tmp_path: Path) -> None:
    async def gone(stage: Stage) -> None:
        assert "✗ There is no run run_nothing." in stage.text and "hint: minion runs" in stage.text
        await stage.keys("tab", "y", "o", "w", "escape")

    opened(tmp_path / "one", "run_nothing", gone)

    async def altered(stage: Stage) -> None:
        assert "✗ A row of the run store cannot be understood" in stage.text
        assert "hint: minion verify" in stage.text

    def alter(home: Home) -> None:
        tamper(home.root, "UPDATE runs SET usage = '[]'")

    opened(tmp_path / "two", FAILED, altered, prepare=alter)


def test_a_run_whose_log_became_readable_again_is_told_from_its_beginning(tmp_path: Path) -> None:
    home, config = home_with(tmp_path, runs_to_open)
    watch, reading = RunWatch(FAILED), Reading(home, config, at_friday)
    whole = [(moment.place, moment.type) for moment in RunWatch(FAILED).read(reading).moments]
    tamper(home.root, "UPDATE events SET data = substr(data, 2) WHERE ordinal = 9")
    with pytest.raises(StoreUnreadable) as refused:
        watch.read(reading)
    assert refused.value.code == "row_unreadable"
    tamper(home.root, "UPDATE events SET data = '{' || data WHERE ordinal = 9")
    assert [(moment.place, moment.type) for moment in watch.read(reading).moments] == whole
    assert watch.read(reading).moments[-1].type == "run.moved"  # and each event once


def test_the_id_of_a_run_is_copied(tmp_path: Path) -> None:
    async def seen(stage: Stage) -> None:
        assert stage.app.clipboard == FAILED
        await stage.hears(f"Copied: {FAILED}")

    opened(tmp_path, FAILED, seen, keys=["y"])


def test_the_folder_is_opened_where_there_is_a_desktop_and_named_where_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = tmp_path / "told"
    (tmp_path / "bin").mkdir()
    for name in ("xdg-open", "open"):
        program = tmp_path / "bin" / name
        program.write_text(f'#!/bin/sh\nprintf "%s" "$*" > "{told}"\n')
        program.chmod(0o755)
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SSH_CONNECTION", "TEXTUAL_DRIVER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("SSH_CONNECTION", "10.0.0.1 1 10.0.0.2 22")

    async def seen(stage: Stage) -> None:
        folder = str(stage.home.runs / FAILED)
        await stage.hears(folder)
        assert not told.exists()  # whoever looks is at another machine
        monkeypatch.delenv("SSH_CONNECTION")
        monkeypatch.setenv("DISPLAY", ":9")
        await stage.press("o")
        await stage.hears(f"Opened: {folder}")
        assert told.read_text() == folder

    opened(tmp_path, FAILED, seen, keys=["o"])


def test_a_run_that_began_nothing_yet_has_empty_parts(tmp_path: Path) -> None:
    async def story(shelf: Shelf) -> None:
        await shelf.routine("morning-report")
        await shelf.run("morning-report", FRIDAY, tell=lambda told: told, end=None)

    async def seen(stage: Stage) -> None:
        assert "It has not begun its first block yet." in stage.text
        await stage.keys("tab", "tab")
        assert "It made no report." in stage.text
        await stage.press("tab")
        assert "not yet" in stage.line("LLM-EXECUTE-PROMPT") and "first difference" not in stage.text
        await stage.press("tab")
        assert "It staged no effects." in stage.text
        await stage.keys("u", "enter", "tab")
        assert "Its folder is empty, or gone." in stage.text

    opened(tmp_path, ONLY, seen, story=story)


@pytest.mark.heavy
def test_what_nobody_expects_in_a_run_is_shown_as_it_is_and_drives_no_terminal(tmp_path: Path) -> None:
    async def seen(stage: Stage) -> None:
        assert "? unknown" in stage.lines[1]
        for part in range(7):
            assert max(map(len, stage.lines)) <= NARROW[0], part
            assert not any(sign in stage.text for sign in ("\x1b", "\x07")), part
            await stage.keys("end", "home", "enter", "tab")
            if isinstance(stage.app.screen, LeafScreen):
                await stage.keys("end", "escape", "tab")
        await stage.keys("tab", "slash", *"forth", "enter")
        assert "brought.forth" in stage.line("▸ ") and '"what": {' in stage.text

    opened(tmp_path, ONLY, seen, story=an_odd_run, size=NARROW)


@pytest.mark.heavy
def test_a_run_of_five_thousand_events_is_walked_through_to_its_end(tmp_path: Path) -> None:
    async def seen(stage: Stage) -> None:
        assert "50" not in stage.lines[1] and "✓ LLM-GATHER" in stage.line("▸ ")
        assert "64,000,000 bytes, whole in bodies/000009" in " ".join(said_beside(stage).split())
        await stage.keys("end", "up", "enter", "end", "tab", "end")
        assert "running → completed" in stage.line("▸ ")
        await stage.press("pageup", "home")
        assert "opened by schedule" in stage.line("▸ ")

    opened(tmp_path, ONLY, seen, story=a_long_run)


def test_a_run_is_opened_from_the_home_screen(tmp_path: Path) -> None:
    home, config = home_with(tmp_path, under_way_now)

    async def seen(stage: Stage) -> None:
        await stage.press("enter")
        assert isinstance(stage.app.screen, RunScreen)
        assert "✗ not-delivered" in stage.lines[1] and "morning-report" in stage.lines[1]

    show(home, config, seen)
