"""What the terminal view costs: its first paint beside the smallest table of Textual, frames, memory, idle CPU."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import pty
import statistics
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from minion.clock import utc_now
from minion.config import Home
from minion.tui.tui_app import MinionApp, collect_seldom
from tests.bench.processes import cpu_ms, memory_of
from tests.bench.rounds import measured, table
from tests.tui.piloting import Stage, home_with
from tests.tui.stories import many_runs
from tests.whole.daemons import daemon_up
from tests.whole.homes import clean_environment, command_line

SMALLEST: Final = "the smallest Textual table, 200 rows"
OURS: Final = "minion tui, 20 routines, 200 runs × 50 steps"
GOAL: Final = 1.3
FRAME_GOAL_MS: Final = 50.0
IDLE_S: Final = 60.0
TABLE: Final = """\
from textual.app import App
from textual.widgets import DataTable, Footer

class Table(App):
    def compose(self):
        yield DataTable()
        yield Footer()

    def on_mount(self):
        table = self.query_one(DataTable)
        table.add_columns("run", "state", "when", "took")
        table.add_rows((f"run-{n:03d}", "ok", "9:00", "12 s") for n in range(200))

Table().run()
"""


@contextmanager
def painted(argv: list[str], env: Mapping[str, str], marker: bytes) -> Iterator[int]:
    """A program in a terminal of 100 × 30, once it has drawn the marker; its process id."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    full = {name: value for name, value in env.items() if name != "COLUMNS"} | {"TERM": "xterm-256color"}
    process = subprocess.Popen(argv, env=full, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    ended = threading.Event()
    try:
        drawn = b""
        while marker not in drawn:
            drawn += os.read(ours, 65_536)
        # What it goes on to draw must have somewhere to go.
        threading.Thread(target=_drain, args=(ours, ended), daemon=True).start()
        yield process.pid
    finally:
        ended.set()
        process.kill()
        process.wait()
        os.close(ours)


def _drain(descriptor: int, ended: threading.Event) -> None:
    with contextlib.suppress(OSError):
        while not ended.is_set():
            os.read(descriptor, 65_536)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home as full as it gets."""
    return home_with(tmp_path_factory.mktemp("full"), many_runs)[0]


@pytest.mark.bench
def test_the_first_paint_beside_the_smallest_textual_table(
    home: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    smallest = tmp_path / "table.py"
    smallest.write_text(TABLE)
    env = clean_environment(home)

    def peer() -> Mapping[str, float]:
        with painted([sys.executable, "-I", str(smallest)], env, b"run-010"):
            return {}

    def ours() -> Mapping[str, float]:
        with painted(command_line(home, "tui"), env, b"routine-10"):
            return {}

    figures = measured({SMALLEST: peer, OURS: ours}, rounds=9)
    ratio = statistics.median(figures[OURS]) / statistics.median(figures[SMALLEST])
    with capsys.disabled():
        print(f"\n{table(figures, unit=SMALLEST, goals={})}\ngoal {GOAL}x: {'met' if ratio <= GOAL else 'MISSED'}")


@pytest.mark.bench
def test_the_memory_and_the_idle_processor_time_of_a_view_with_and_without_a_daemon(
    home: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    smallest = tmp_path / "table.py"
    smallest.write_text(TABLE)
    lines = [f"{'':<44} {'RSS':>8} {'PSS':>8} {'idle CPU':>12}"]

    def row(name: str, pid: int) -> None:
        threading.Event().wait(3.0)
        before = cpu_ms(pid)
        threading.Event().wait(IDLE_S)
        used = cpu_ms(pid) - before
        rss, pss = memory_of(pid)
        lines.append(f"{name:<44} {rss:>5.1f} MB {pss:>5.1f} MB {used / IDLE_S:>7.2f} ms/s")

    env = clean_environment(home)
    with painted([sys.executable, "-I", str(smallest)], env, b"run-010") as pid:
        row(SMALLEST, pid)
    with painted(command_line(home, "tui"), env, b"routine-10") as pid:
        row("minion tui, no daemon", pid)
    with daemon_up(home), painted(command_line(home, "tui"), env, b"routine-10") as pid:
        row("minion tui, over a daemon", pid)
    with capsys.disabled():
        print("\n" + "\n".join(lines))


@pytest.mark.bench
def test_no_frame_of_a_full_store_takes_longer_than_50_ms_while_it_scrolls(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    from minion.config import load_config

    lines = [f"{'':<44} {'frames':>7} {'median':>9} {'longest':>9}"]

    async def scroll() -> None:
        app = MinionApp(home, load_config(home), utc_now, painted=collect_seldom)
        async with app.run_test(size=(200, 60)) as pilot:
            stage = Stage(app, pilot, home)
            await stage.until(lambda: app.outlook is not None)  # which takes the processor once
            for name, open_it in (("home", ()), ("runs", ("2",)), ("a run", ("enter",))):
                await stage.press(*open_it)
                frames = await _frames(app, pilot)
                most, middle = max(frames), statistics.median(frames)
                verdict = "met" if most <= FRAME_GOAL_MS else "MISSED"
                lines.append(f"{name:<44} {len(frames):>7} {middle:>6.1f} ms {most:>6.1f} ms  {verdict}")

    asyncio.run(scroll())
    with capsys.disabled():
        print("\n" + "\n".join(lines))


async def _frames(app: MinionApp, pilot: object) -> list[float]:
    """Milliseconds of each of many steps of the cursor: from the key to the screen that shows what came of it."""
    took = []
    keys = ["down"] * 60 + ["pagedown"] * 10 + ["pageup"] * 10 + ["end", "home"] + ["up"] * 10
    for key in keys:
        begun = time.perf_counter()
        app.simulate_key(key)
        await app._animator.wait_for_idle()
        screen = app.screen
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        screen.call_after_refresh(lambda done=done: done.done() or done.set_result(None))
        await done
        took.append((time.perf_counter() - begun) * 1000)
    return took
