"""The real program in a real terminal (tmux), over a pipe as a server for browsers has it, and without either."""

from __future__ import annotations

import os
import pty
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from minion.config import Home
from tests.waiting import wait_until
from tests.whole.daemons import DONE_S, DaemonAtWork
from tests.whole.homes import MINION, clean_environment, run_process, write_routine, write_skill

pytestmark = pytest.mark.heavy
needs_tmux = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")
# The shades without a hue among the 256 colours that tmux shows.
GREYS = {*range(232, 256), 0, 7, 8, 15, 16, 59, 102, 145, 188, 231}
NO_TERMINAL = "The terminal view needs a terminal that can be drawn on."


class Terminal:
    """A terminal of its own tmux server, with the program in it."""

    def __init__(self, home: Home, socket: Path, **env: str) -> None:
        self._socket = socket
        self._env = clean_environment(home) | env
        del self._env["COLUMNS"]  # the terminal itself knows

    def tmux(self, *words: str) -> str:
        """What tmux answers."""
        done = subprocess.run(
            ["tmux", "-S", str(self._socket), "-f", "/dev/null", *words], env=self._env, capture_output=True,
            timeout=30, check=False,
        )  # fmt: skip
        return done.stdout.decode()

    @property
    def text(self) -> str:
        """The screen."""
        return self.tmux("capture-pane", "-p")

    def keys(self, *keys: str) -> None:
        """Press keys."""
        self.tmux("send-keys", *keys)

    def shows(self, pattern: str) -> None:
        """Wait until the screen has this (a regular expression)."""
        assert wait_until(lambda: re.search(pattern, self.text) is not None, DONE_S), self.text


@contextmanager
def in_terminal(home: Home, *, size: tuple[int, int] = (100, 30), **env: str) -> Iterator[Terminal]:
    """`minion tui` of this home in a terminal; its exit status is shown when it has ended."""
    terminal = Terminal(home, home.root.parent / "tmux", **env)
    program = f"'{MINION}' --home '{home.root}' tui; echo \"ended: $?\"; read _"
    terminal.tmux("new-session", "-d", "-x", str(size[0]), "-y", str(size[1]), "sh", "-c", program)
    try:
        yield terminal
    finally:
        terminal.tmux("kill-server")


@needs_tmux
def test_the_real_program_steers_a_running_daemon_from_a_real_terminal(daemon: DaemonAtWork) -> None:
    write_routine(daemon.home, "careful", "quick", lock="strict")
    daemon.run("careful")
    write_skill(daemon.home, "quick", 'answer(text="changed")')
    with in_terminal(daemon.home) as terminal:
        terminal.shows(r"tester ● up .*\d\d:\d\d")
        terminal.keys("r")
        terminal.shows(r"Run a-quick-one now\?")
        terminal.keys("y")
        terminal.shows(r"a-quick-one +on demand +○ unchecked")
        terminal.keys("Down", "r")
        terminal.shows(r"Run b-long-one now\?")
        terminal.keys("y")
        terminal.shows(r"RUNNING 1[^$]*b-long-one +3/4 LLM-LONG")
        terminal.keys("c")
        terminal.shows(r"Cancel the run of b-long-one\?")
        terminal.keys("y")
        terminal.shows(r"b-long-one +on demand +– skipped")
        terminal.keys("Down", "r")
        terminal.shows(r"Run careful now\?")
        terminal.keys("y")
        terminal.shows("NEEDS YOU 1")
        terminal.keys("d")
        terminal.shows("approve: it runs with what changed")
        terminal.keys("y", "Enter")
        terminal.shows("Nothing needs you")
        assert "changed" in run_process(daemon.home, "run", "careful").out
        terminal.keys("q")
        terminal.shows("ended: 0")
    assert daemon.process.poll() is None


@pytest.mark.promise("TUI-6")
@needs_tmux
@pytest.mark.parametrize("size", [(80, 24), (200, 60)])
def test_it_is_drawn_in_terminals_small_and_large_and_without_colours(
    daemon: DaemonAtWork, size: tuple[int, int]
) -> None:
    with in_terminal(daemon.home, size=size, NO_COLOR="1") as terminal:
        terminal.shows("ROUTINES")
        drawn = terminal.tmux("capture-pane", "-pe")
        colours = {int(number) for number in re.findall(r"[34]8;5;(\d+)", drawn)}
        assert colours and colours <= GREYS, drawn
        assert not re.search(r"\x1b\[(?:[0-9;]*;)?(?:3[1-6]|4[1-6]|9[1-6])m", drawn)
        terminal.keys("q")
        terminal.shows("ended: 0")


@needs_tmux
def test_a_terminal_that_goes_away_takes_the_program_with_it(daemon: DaemonAtWork) -> None:
    with in_terminal(daemon.home) as terminal:
        terminal.shows("● up")
        pane = int(terminal.tmux("display-message", "-p", "#{pane_pid}"))
        (program,) = Path(f"/proc/{pane}/task/{pane}/children").read_text().split()
    assert wait_until(lambda: not Path(f"/proc/{program}").exists(), DONE_S)
    assert daemon.process.poll() is None


@pytest.mark.promise("TUI-6")
def test_a_server_for_browsers_gets_what_it_draws(daemon: DaemonAtWork) -> None:
    env = clean_environment(daemon.home) | {
        "TEXTUAL_DRIVER": "textual.drivers.web_driver:WebDriver", "COLUMNS": "100", "ROWS": "30",
    }  # fmt: skip
    view = subprocess.Popen(
        [MINION, "--home", daemon.home.root, "tui"], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        bufsize=0,
    )  # fmt: skip
    assert view.stdin is not None and view.stdout is not None
    try:
        assert view.stdout.readline() == b"__GANGLION__\n"
        drawn = b""
        while b"a-quick-one" not in drawn:
            more = os.read(view.stdout.fileno(), 65_536)
            assert more, drawn
            drawn += more
        view.stdin.write(b"D" + (1).to_bytes(4, "big") + b"q")
        while os.read(view.stdout.fileno(), 65_536):
            pass
        assert view.wait(DONE_S) == 0
    finally:
        view.kill()
        view.wait()
        view.stdin.close()
        view.stdout.close()


def test_where_nothing_can_be_drawn_it_says_what_else_tells_the_same(home: Home) -> None:
    ended = run_process(home, "tui")
    assert (ended.code, ended.out) == (3, "")
    assert NO_TERMINAL in ended.err and "hint:" in ended.err and "status" in ended.err
    ours, theirs = pty.openpty()
    try:
        dumb = subprocess.run(
            [MINION, "--home", home.root, "tui"], env=clean_environment(home) | {"TERM": "dumb"}, stdin=theirs,
            stdout=theirs, stderr=subprocess.PIPE, timeout=60, check=False,
        )  # fmt: skip
    finally:
        os.close(ours)
        os.close(theirs)
    assert (dumb.returncode, NO_TERMINAL in dumb.stderr.decode()) == (3, True)


def test_a_view_that_has_shown_every_screen_has_loaded_no_pydantic_and_no_client(home: Home) -> None:
    story = """
import asyncio, sys
from pathlib import Path
from minion.clock import utc_now
from minion.config import Home, load_config
from minion.tui.tui_app import MinionApp

async def run():
    home = Home(Path(sys.argv[1]))
    app = MinionApp(home, load_config(home), utc_now)
    async with app.run_test() as pilot:
        for key in "12345678?":
            await pilot.press("question_mark" if key == "?" else key)
            await pilot.pause(0.2)
    print(*sorted(sys.modules))

asyncio.run(run())
"""
    done = subprocess.run(
        [sys.executable, "-I", "-c", story, home.root], env=clean_environment(home), capture_output=True,
        timeout=60, check=True,
    )  # fmt: skip
    loaded = set(done.stdout.decode().split())
    assert "minion.tui.screens.skills" in loaded
    assert loaded.isdisjoint({"mcp", "anthropic", "pydantic", "sqlalchemy"})
