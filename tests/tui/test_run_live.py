"""The screen of one run over a real daemon: what its skill does is shown while it does it, up to the verdict."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from minion.clock import utc_now
from minion.config import load_config
from minion.tui.screens.run import RunScreen
from minion.tui.tui_app import screen_of
from tests.tui.piloting import Seen, Stage, show
from tests.whole.daemons import DaemonAtWork, daemon_up
from tests.whole.homes import make_home, write_routine, write_skill

pytestmark = pytest.mark.heavy


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[DaemonAtWork]:
    """A daemon with a routine whose skill waits until its pipe is written to."""
    home = make_home(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    script = f"echo reading >&2\nread word < '{tmp_path / 'pipe'}'\necho '{{\"text\": \"# It is done\"}}'\n"
    write_skill(home, "long", sh=script)
    write_routine(home, "a-long-one", "long")
    with daemon_up(home) as daemon:
        yield daemon


def watching(daemon: DaemonAtWork, seen: Seen) -> None:
    """Begin a run and open it while it goes on."""

    async def look(stage: Stage) -> None:
        run = await asyncio.to_thread(daemon.begin, "a-long-one")
        stage.app.push_screen(screen_of("run", run))
        await stage.until(lambda: isinstance(stage.app.screen, RunScreen))
        await stage.shows("● LLM-LONG")
        await seen(stage)

    show(daemon.home, load_config(daemon.home), look, clock=utc_now)


def test_a_run_is_watched_from_its_first_step_to_its_report(daemon: DaemonAtWork) -> None:
    async def seen(stage: Stage) -> None:
        assert "● running" in stage.lines[1]
        assert "skill      long" in stage.text and "· ▣ Output & Branch Push" in stage.text
        await stage.press("tab")
        assert "LLM-LONG begins" in stage.text
        pipe = daemon.home.root.parent / "pipe"
        await asyncio.to_thread(pipe.write_text, "go\n")
        await stage.shows("running → completed")
        assert "○ unchecked" in stage.lines[1]
        await stage.press("tab")
        await stage.shows("It is done")
        await stage.press("shift+tab", "shift+tab")
        assert "✓ LLM-LONG" in stage.line("▸   ✓") and "✓ ▣ Output & Branch Push" in stage.text

    watching(daemon, seen)


def test_a_run_is_cancelled_where_it_is_watched(daemon: DaemonAtWork) -> None:
    async def seen(stage: Stage) -> None:
        await stage.press("c", "y")
        await stage.hears("The run of a-long-one was cancelled.")
        await stage.until(lambda: "– skipped" in stage.lines[1])
        assert "– LLM-LONG" in stage.line("▸   –") and "why: cancelled by" in stage.text

    watching(daemon, seen)
