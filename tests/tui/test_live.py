"""The terminal view over a real daemon: what is steered happens, what happens is shown, daemons come and go."""

from __future__ import annotations

import asyncio
import signal

import pytest

from minion.clock import utc_now
from minion.config import Home, load_config
from minion.tui.screens.asking import Deciding
from tests.tui.piloting import Seen, Stage, show
from tests.waiting import wait_until
from tests.whole.daemons import DONE_S, DaemonAtWork, start_daemon
from tests.whole.homes import write_routine, write_secrets, write_skill
from tests.whole.webhooks import webhook

pytestmark = pytest.mark.heavy


def watched(home: Home, seen: Seen) -> None:
    """Show the home as it is now."""
    show(home, load_config(home), seen, clock=utc_now)


def test_a_routine_is_run_watched_to_its_end_and_another_cancelled(daemon: DaemonAtWork) -> None:
    async def seen(stage: Stage) -> None:
        await stage.shows("● up")
        assert "a-quick-one" in stage.line("▸")
        await stage.press("r", "y")
        await stage.hears("a-quick-one was started.")
        await stage.until(lambda: "○ unchecked" in stage.line("a-quick-one"))
        await stage.press("down", "r", "y")
        await stage.shows("RUNNING 1")
        await stage.shows("LLM-LONG")
        await stage.press("c")
        assert "Cancel the run of b-long-one?" in stage.text
        await stage.press("y")
        await stage.hears("The run of b-long-one was cancelled.")
        await stage.until(lambda: "RUNNING" not in stage.text and "– skipped" in stage.line("b-long-one"))

    watched(daemon.home, seen)


@pytest.mark.promise("TUI-5")
def test_what_others_do_is_shown_without_anybody_pressing_a_key(daemon: DaemonAtWork) -> None:
    async def seen(stage: Stage) -> None:
        await stage.shows("● up")
        run = await asyncio.to_thread(daemon.begin, "b-long-one")
        await stage.shows("RUNNING 1")
        pipe = daemon.home.root.parent / "pipe"
        await asyncio.to_thread(pipe.write_text, "go\n")
        await stage.until(lambda: "RUNNING" not in stage.text and "○ unchecked" in stage.line("b-long-one"))
        assert daemon.state_of(run) == "completed"

    watched(daemon.home, seen)


def test_pausing_is_one_key_and_the_same_key_takes_it_back(daemon: DaemonAtWork) -> None:
    async def seen(stage: Stage) -> None:
        await stage.shows("● up")
        await stage.press("p")
        await stage.hears("a-quick-one is paused; p takes it back.")
        await stage.until(lambda: "paused" in stage.line("a-quick-one"))
        await stage.press("p")
        await stage.hears("a-quick-one goes on; p takes it back.")
        await stage.until(lambda: "paused" not in stage.line("a-quick-one"))

    watched(daemon.home, seen)


def test_everything_is_halted_after_a_question_and_goes_on_after_another(daemon: DaemonAtWork) -> None:
    async def seen(stage: Stage) -> None:
        await stage.shows("● up")
        await stage.press("H", "y")
        await stage.hears("The minion is halted")
        await stage.shows("nothing starts: halted by")
        await stage.press("r", "y")
        await stage.hears("The minion is halted: halted by")
        await stage.press("H")
        assert "Let the minion go on?" in stage.text
        await stage.press("y")
        await stage.shows("Nothing needs you.")

    watched(daemon.home, seen)


@pytest.mark.promise("TUI-2")
def test_a_decision_shows_its_evidence_and_is_typed(daemon: DaemonAtWork) -> None:
    home = daemon.home
    write_routine(home, "careful", "quick", lock="strict")
    daemon.run("careful")
    write_skill(home, "quick", 'answer(text="changed")')

    async def seen(stage: Stage) -> None:
        await stage.shows("careful")
        await stage.press("down", "down", "r", "y")
        await stage.shows("NEEDS YOU 1")
        await stage.press("g", "d")
        assert isinstance(stage.app.screen, Deciding)
        assert "skill:quick: sha256:" in stage.text and " → sha256:" in stage.text
        await stage.press("y")
        assert isinstance(stage.app.screen, Deciding), "one key decides nothing"
        await stage.press("backspace")
        await stage.type("ja")
        await stage.hears("Type y or n; Escape decides nothing.")
        await stage.press("escape")
        assert "NEEDS YOU 1" in stage.text
        await stage.press("d")
        await stage.type("y")
        await stage.hears("Decided: approve.")
        await stage.shows("Nothing needs you.")
        await stage.until(lambda: "○ unchecked" in stage.line("careful"))

    watched(home, seen)


@pytest.mark.promise("TUI-3")
def test_a_daemon_that_dies_is_missed_and_one_that_comes_back_is_found(daemon: DaemonAtWork) -> None:
    async def seen(stage: Stage) -> None:
        await stage.shows("● up")
        await asyncio.to_thread(daemon.begin, "b-long-one")
        await stage.shows("RUNNING 1")
        await asyncio.to_thread(daemon.kill)
        await stage.shows("○ no daemon, read-only")
        await stage.shows("? unknown")
        again = start_daemon(daemon.home)
        try:
            await stage.shows("● up")
            assert await asyncio.to_thread(wait_until, lambda: again.process.poll() is None, DONE_S)
        finally:
            again.kill()

    watched(daemon.home, seen)


@pytest.mark.promise("TUI-3")
def test_a_daemon_that_hangs_is_said_to_with_how_to_end_it_until_it_goes_on(daemon: DaemonAtWork) -> None:
    async def seen(stage: Stage) -> None:
        await stage.shows("● up")
        daemon.process.send_signal(signal.SIGSTOP)
        try:
            stage.app._tick()  # a minute is over
            await stage.shows("✗ its daemon does not answer")
            assert f"hint: kill -KILL {daemon.process.pid}" in stage.text
        finally:
            daemon.process.send_signal(signal.SIGCONT)
        stage.app._tick()
        await stage.shows("● up")

    watched(daemon.home, seen)


@pytest.mark.promise("TUI-1")
def test_what_was_not_delivered_is_sent_again_by_a_key_once_that_was_confirmed(daemon: DaemonAtWork) -> None:
    home = daemon.home
    message = {"kind": "message", "target": "slack", "body": "Good morning"}
    write_skill(home, "tell", f"answer(text='written', effects=[{message!r}])")
    write_routine(home, "tell", "tell", effects=["message:slack"])
    with webhook() as hook:
        write_secrets(home, {"slack_webhook": hook.url("/ok")})
        hook.down = True
        daemon.run("tell")
        hook.down = False

        async def seen(stage: Stage) -> None:
            await stage.shows("written, NOT DELIVERED (slack: HTTP 503")
            assert stage.line("▸").endswith("w why  R redeliver")
            await stage.press("R")
            assert "Deliver it again?" in stage.text
            await stage.press("y")
            await stage.hears("tell: ok now.")
            await stage.until(lambda: "✓ ok" in stage.line("tell") and "NOT DELIVERED" not in stage.text)

        watched(home, seen)
        assert hook.texts("/ok").count("Good morning") == 2  # the first of them was answered 503
