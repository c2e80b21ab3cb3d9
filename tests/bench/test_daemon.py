"""What an idle daemon costs beside a bare event loop and Node, and how punctual it is (memory, CPU, lateness)."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from minion.config import Home
from minion.store.local_db import read_only
from server.contract.digest import parse_instant
from tests.bench.processes import cpu_ms, memory_of
from tests.bench.rounds import measured, table
from tests.waiting import wait_until
from tests.whole.daemons import DaemonAtWork, daemon_up
from tests.whole.homes import clean_environment, command_line, make_home, run_process, write_routine, write_skill

RSS_GOAL, PSS_GOAL = 34.0, 28.0
CPU_GOAL: Final = 0.25
# Long enough that a tick each ten seconds and a look at the files each five are in it many times.
IDLE_S: Final = 120.0
LATENESS_GOAL_MS: Final = 50.0
UP, RUN = "minion up → answering", "minion run noop, through the daemon"
BARE: Final = "import asyncio, signal; asyncio.run(asyncio.Event().wait())"
NODE: Final = "setInterval(() => {}, 1000)"


@contextmanager
def standing(*argv: str) -> Iterator[int]:
    """A process that only stands there."""
    process = subprocess.Popen(argv, env={"PATH": os.defpath}, stdin=subprocess.DEVNULL, cwd="/")
    try:
        threading.Event().wait(1.0)
        yield process.pid
    finally:
        process.kill()
        process.wait()


def home_with(folder: Path, number: int, cron: str = "0 9 * * *") -> Home:
    """A home with so many routines that do nothing, at nine."""
    home = make_home(folder)
    write_skill(home, "noop", "print('done')")
    for count in range(number):
        write_routine(home, f"noop-{count}", "noop", cron_expression=cron)
    return home


def tell(capsys: pytest.CaptureFixture[str], *lines: str) -> None:
    """Print figures past the capture."""
    with capsys.disabled():
        print("\n" + "\n".join(lines))


@pytest.mark.bench
def test_the_memory_of_an_idle_daemon_before_and_after_twenty_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = home_with(tmp_path, 20)
    lines = [f"{'':<38} {'RSS':>8} {'PSS':>8}   goal {RSS_GOAL:.0f} / {PSS_GOAL:.0f} MB"]

    def row(name: str, pid: int) -> tuple[float, float]:
        rss, pss = memory_of(pid)
        lines.append(f"{name:<38} {rss:>5.1f} MB {pss:>5.1f} MB")
        return rss, pss

    with standing(sys.executable, "-c", BARE) as pid:
        row("bare asyncio", pid)
        node = shutil.which("node")
        if node is not None:
            with standing(node, "-e", NODE) as other:
                row("Node setInterval", other)
        with daemon_up(home) as daemon:
            before = row("minion, 20 routines", daemon.process.pid)
            for count in range(20):
                daemon.run(f"noop-{count}")
            after = row("minion, after 20 runs", daemon.process.pid)
    tell(capsys, *lines)
    assert max(before[0], after[0]) <= RSS_GOAL
    assert max(before[1], after[1]) <= PSS_GOAL


@pytest.mark.bench
def test_the_processor_time_of_an_idle_daemon_with_a_hundred_routines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = home_with(tmp_path, 100, "0 9 1 1 *")
    with daemon_up(home) as daemon:
        threading.Event().wait(5.0)
        begun, used = time.monotonic(), cpu_ms(daemon.process.pid)
        threading.Event().wait(IDLE_S)
        rate = (cpu_ms(daemon.process.pid) - used) / (time.monotonic() - begun)
    tell(capsys, f"idle CPU with 100 routines over {IDLE_S:.0f} s: {rate:.3f} ms/s (goal {CPU_GOAL})")
    assert rate <= CPU_GOAL


@pytest.mark.bench
def test_how_soon_it_answers_and_how_long_a_run_takes_through_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = home_with(tmp_path, 20)
    python: Callable[[], Mapping[str, float]] = lambda: just(sys.executable, "-I", "-c", "import asyncio")  # noqa: E731

    def up() -> Mapping[str, float]:
        begun = time.perf_counter()
        assert run_process(home, "up").code == 0
        took = (time.perf_counter() - begun) * 1000
        assert run_process(home, "down").code == 0
        return {f"  {UP}": took}

    def run() -> Mapping[str, float]:
        return just(*command_line(home, "run", "noop-1", "--json"), env=clean_environment(home))

    times = measured({"python -I -c 'import asyncio'": python, "up and down": up})
    with daemon_up(home):
        times |= measured({"python, again": python, RUN: run})
    tell(capsys, table(times, unit="python -I -c 'import asyncio'", goals={f"  {UP}": 300, RUN: 450}))


def just(*argv: str, env: Mapping[str, str] | None = None) -> Mapping[str, float]:
    """Run a program to its good end."""
    told = env or {"PATH": os.defpath}
    subprocess.run(argv, env=told, stdin=subprocess.DEVNULL, capture_output=True, check=True)
    return {}


@pytest.mark.bench
def test_how_late_slots_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = home_with(tmp_path, 4, "* * * * *")
    with daemon_up(home) as daemon:
        assert wait_until(lambda: len(daemon.slots()) >= 4 * 5, 400)
    claimed, started = lateness(daemon)
    tell(
        capsys,
        f"{len(claimed)} slots of 4 routines due at once, each minute (goal p99 {LATENESS_GOAL_MS:.0f} ms)",
        f"  due → claimed            median {statistics.median(claimed):5.1f} ms   p99 {max(claimed):5.1f} ms",
        f"  due → recorded as a run  median {statistics.median(started):5.1f} ms   p99 {max(started):5.1f} ms",
    )
    assert max(claimed) <= LATENESS_GOAL_MS


def lateness(daemon: DaemonAtWork) -> tuple[list[float], list[float]]:
    """Milliseconds from due to claimed, and from due to the record of the run; of slots that ran."""
    query = (
        "SELECT slots.due_at, slots.noticed_at, runs.created_at FROM slots JOIN runs ON runs.id = slots.run_id"
        " WHERE slots.state = 'ran'"
    )
    with read_only(daemon.home.store) as db:
        rows: list[Any] = db.execute(query).fetchall()

    def ms(row: Any, name: str) -> float:
        return (parse_instant(row[name]) - parse_instant(row["due_at"])).total_seconds() * 1000

    return [ms(row, "noticed_at") for row in rows], [ms(row, "created_at") for row in rows]


@pytest.mark.bench
def test_what_ten_thousand_routines_cost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [f"{'routines':>9} {'first start':>12} {'start':>9} {'RSS':>9} {'reload':>9} {'idle CPU':>10}"]
    for number in (100, 1000, 10_000):
        folder = tmp_path / str(number)
        folder.mkdir()
        home = home_with(folder, number)
        begun = time.perf_counter()
        with daemon_up(home, patience_s=200) as daemon:
            first = time.perf_counter() - begun
            daemon.stop()
        begun = time.perf_counter()
        with daemon_up(home) as daemon:
            again = time.perf_counter() - begun
            rss, _ = memory_of(daemon.process.pid)
            begun = time.perf_counter()
            daemon.ask("reload")
            reload = time.perf_counter() - begun
            used, since = cpu_ms(daemon.process.pid), time.monotonic()
            threading.Event().wait(30.0)
            rate = (cpu_ms(daemon.process.pid) - used) / (time.monotonic() - since)
        lines.append(
            f"{number:>9,} {first:>10.2f} s {again:>7.2f} s {rss:>6.1f} MB {reload:>7.2f} s {rate:>5.2f} ms/s"
        )
    tell(capsys, *lines)
