"""Caps on a run: what a look at it finds, what is said of it, and what a tool host's own limits refuse."""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from minion.daemon.caps import LOGS, TOLD_MOST, Passed, Watch, passed_telling, passed_time, told_most
from minion.daemon.cgroups import Group
from minion.daemon.flight import Flight
from minion.doctor.trial import trial_order
from minion.sandbox.bubblewrap import Envelope
from minion.sandbox.rlimits import rlimits, tasks_are_bounded
from minion.sandbox.tool_client import ToolHost
from minion.wire import EVENT_BYTES, Event
from server.contract.quota import Limits
from tests.minion.test_census import family
from tests.minion.tool_hosts import PATHS, PYTHON

MIB = 1024 * 1024
# Says one event after another, each of about 100 kB, for ever or until nobody takes it.
SPEWER = """
import json, sys
seq = 0
while True:
    seq += 1
    event = {"v": 1, "seq": seq, "at": "", "type": "log", "block": None, "data": {"text": "x" * 100_000}}
    sys.stdout.write(json.dumps(event) + "\\n")
"""

# Says at once that its run failed.
FAILED = """
import json
data = {"state": "failed", "why": "its skill did", "hint": None}
print(json.dumps({"v": 1, "seq": 1, "at": "", "type": "run.finished", "block": None, "data": data}))
"""


def looked_at(folder: Path, limits: Limits, *, runner: int | None = None) -> str | None:
    """Why a look at a run in `folder` would have it stopped; None when it goes on."""
    passed = Watch(limits, folder, os.getpid() if runner is None else runner, None).look()
    assert passed is None or passed.hint
    return None if passed is None else passed.why


@pytest.mark.promise("CAP-1")
def test_more_processes_than_the_cap_are_too_many_and_as_many_are_not(tmp_path: Path) -> None:
    with family(MIB) as first:
        assert looked_at(tmp_path, Limits(processes=4), runner=first) is None
        why = looked_at(tmp_path, Limits(processes=3), runner=first)
    assert why == "it passed its cap of 3 processes"


@pytest.mark.promise("CAP-1")
def test_memory_is_counted_only_where_it_has_a_cap(tmp_path: Path) -> None:
    with family(96 * MIB) as first:
        assert looked_at(tmp_path, Limits(), runner=first) is None
        assert looked_at(tmp_path, Limits(memory_bytes=1024 * MIB), runner=first) is None
        why = looked_at(tmp_path, Limits(memory_bytes=64 * MIB), runner=first)
    assert why == "it passed its cap of 64 MiB of memory"


@pytest.mark.promise("CAP-1")
def test_the_runs_folder_has_a_cap_and_each_of_its_logs_a_smaller_one(tmp_path: Path) -> None:
    limits = Limits(disk_bytes=3 * MIB)
    (tmp_path / "file").write_bytes(b"x" * 2 * MIB)
    assert looked_at(tmp_path, limits) is None
    (tmp_path / "more").write_bytes(b"x" * 2 * MIB)
    assert looked_at(tmp_path, limits) == "it passed its cap of 3 MiB on the disk"
    with (tmp_path / LOGS[1]).open("wb") as log:
        log.truncate(TOLD_MOST + 1)  # its size counts, whatever it takes on the disk
    assert looked_at(tmp_path, Limits()) == "it passed its cap of 64 MiB of its own log, tool_host.log"


@pytest.mark.promise("CAP-1")
def test_a_wall_that_the_kernel_held_between_two_looks_is_told_afterwards(tmp_path: Path) -> None:
    (tmp_path / "group").mkdir()
    (tmp_path / "group" / "pids.events").write_text("max 3\n")
    watch = Watch(Limits(processes=20), tmp_path, os.getpid(), Group([tmp_path / "group"]))
    passed = watch.last_look()
    assert passed is not None
    assert passed.why == "it passed its cap of 20 processes"
    assert Watch(Limits(), tmp_path, os.getpid(), None).last_look() is None


def test_a_cap_is_said_with_the_setting_that_raises_it() -> None:
    assert passed_time(Limits()) == Passed(
        "it passed its cap of 3,600 s", "raise limits.wall_clock_s, or shorten what its skills do"
    )
    assert passed_time(Limits(wall_clock_s=0.5)).why == "it passed its cap of 0.5 s"
    assert told_most(Limits(disk_bytes=5 * MIB)) == 5 * MIB
    assert passed_telling(Limits(disk_bytes=5 * MIB), "events").hint == "raise limits.disk_bytes"
    assert passed_telling(Limits(), "events").why == "it passed its cap of 64 MiB of events"


def flown(folder: Path, script: str, limits: Limits, take: Callable[[Event], Awaitable[None]]) -> Flight:
    """A flight whose runner is a script, attended to its end."""

    async def story() -> Flight:
        order = replace(trial_order(folder, engine="script", now="2026-11-22T09:00:00.000Z"), limits=limits)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", "-c", script), stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE, limit=2 * EVENT_BYTES,
        )  # fmt: skip
        try:
            flight = Flight(order, process, take, Watch(limits, folder, process.pid, None))
            await flight.attend()
            await flight.gone()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return flight

    return asyncio.run(story())


@pytest.mark.promise("CAP-1")
def test_a_runner_that_says_more_than_its_cap_is_ended_and_hardly_more_is_written_down(tmp_path: Path) -> None:
    taken: list[int] = []

    async def take(event: Event) -> None:
        taken.append(len(event.line()))

    flight = flown(tmp_path / "run", SPEWER, Limits(disk_bytes=2 * MIB), take)
    assert flight.passed is not None
    assert flight.passed.why == "it passed its cap of 2 MiB of events"
    assert 2 * MIB <= sum(taken) <= 3 * MIB + EVENT_BYTES
    assert flight.process.returncode is not None


@pytest.mark.promise("CAP-1")
@pytest.mark.parametrize(("size", "passed"), [(2 * MIB, True), (4096, False)])
def test_a_run_that_failed_of_a_wall_before_anybody_looked_says_which(
    tmp_path: Path, size: int, passed: bool
) -> None:
    async def take(event: Event) -> None:
        pass

    large = tmp_path / "run" / "large"
    script = f"open({str(large)!r}, 'wb').write(bytes({size}))\n{FAILED}"
    flight = flown(tmp_path / "run", script, Limits(disk_bytes=MIB), take)
    assert flight.end == "failed"
    assert (flight.passed is not None) == passed


def run_in_host(folder: Path, limits: Limits, script: str) -> Any:
    """What a script does in an unsandboxed tool host that was given these limits."""

    async def story() -> Any:
        host = await ToolHost.start(
            Envelope(env=PATHS), sandboxed=False, log_path=folder / "tool_host.log", limits=limits
        )
        try:
            argv = [PYTHON, "-I", "-S", "-c", script]
            return await host.run(argv, cwd=str(folder), timeout_s=20, max_bytes=4096)
        finally:
            await host.close()

    return asyncio.run(story())


def test_no_process_of_a_tool_host_writes_a_file_beyond_the_cap_or_leaves_a_core(tmp_path: Path) -> None:
    script = (
        "import resource\n"
        "print(resource.getrlimit(resource.RLIMIT_CORE), resource.getrlimit(resource.RLIMIT_FSIZE), flush=True)\n"
        "open('large', 'wb').write(bytes(2 * 1024 * 1024))"
    )
    result = run_in_host(tmp_path, Limits(disk_bytes=MIB), script)
    assert result.stdout.decode() == f"(0, 0) ({MIB}, {MIB})\n"
    assert (result.exit, b"File too large" in result.stderr) == (1, True)
    assert (tmp_path / "large").stat().st_size == MIB
    assert run_in_host(tmp_path, Limits(), "open('large', 'wb').write(bytes(2 * 1024 * 1024))").exit == 0


@pytest.mark.parametrize(
    ("user", "release", "bounded"),
    [(0, "6.1.0-18-amd64", False), (1000, "6.1.0-18-amd64", True), (1000, "5.14.0", True), (1000, "5.4.0", False)],
)
def test_tasks_are_bounded_where_the_kernel_counts_them_for_the_sandbox_alone(
    user: int, release: str, bounded: bool
) -> None:
    assert tasks_are_bounded(user=user, release=release) is (bounded and sys.platform == "linux")
    assert resource.RLIMIT_NPROC not in rlimits(Limits(), sandboxed=False)


def test_what_is_untrusted_of_a_run_is_killed_and_its_runner_stays(tmp_path: Path) -> None:
    # As a runner looks from outside: it has a tool host, whose child left the session, and a git of its own.
    family_of = f"{PYTHON} -I -S -c 'import os; os.fork(); os.setsid(); import time; time.sleep(600)' tool_host.py"
    script = f"{family_of} & sleep 600 & read gone"
    with subprocess.Popen(["/bin/sh", "-c", script], stdin=subprocess.PIPE) as runner:
        try:
            watch = Watch(Limits(), tmp_path, runner.pid, None)
            until = time.monotonic() + 20
            while len(watch._members()) < 4 and time.monotonic() < until:
                pass
            watch.quell()
            assert runner.poll() is None
            assert len(watch._members()) == 2
            assert watch._tool_hosts() == set()
        finally:
            for pid in watch._members():
                os.kill(pid, 9)
