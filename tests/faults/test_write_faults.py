"""F2, F4: the daemon is killed, or the disk fails, at each of its writes; nothing is lost or half-written."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from minion.config import Home
from tests.faults.kills import Trials
from tests.faults.slots_audit import DONE_S, ask, audit, come_to_rest, home_with_slots, kill_daemon, start
from tests.waiting import wait_until
from tests.whole.webhooks import Webhook, webhook

# SQLite's own thread uses the first, the event loop (socket, log, orders and acks of runners) the second.
STORE_CALLS: Final = "pwrite64,fdatasync,fsync,ftruncate"
LOOP_CALLS: Final = "write,rename,renameat,unlink,mkdir"
STEP_S: Final = 150
# How much of the series the short version takes.
SHORT: Final = 8

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")


@pytest.fixture
def hook() -> Iterator[Webhook]:
    """The webhook that counts what was really sent."""
    with webhook() as server:
        yield server


@pytest.fixture
def home(tmp_path: Path, hook: Webhook) -> Home:
    """A home whose slots fall due all the time; its store is made, and its routines are known."""
    home = home_with_slots(tmp_path, hook)
    assert come_to_rest(home, 0) == []
    return home


def calls_of_a_start(home: Home, ahead_s: float, calls: str, log: Path) -> int:
    """How many such calls the busiest thread of a daemon makes that starts, performs what is due and stops."""
    wrong = come_to_rest(home, ahead_s, ("strace", "-f", "-qq", "-o", str(log), "-e", f"trace={calls}"))
    assert wrong == []
    threads: dict[str, int] = {}
    for line in log.read_text(errors="replace").splitlines():
        thread = line.split(None, 1)[0]
        if "resumed>" not in line and re.search(r"\w+\(", line):
            threads[thread] = threads.get(thread, 0) + 1
    return max(threads.values())


def struck(home: Home, ahead_s: float, inject: str, log: Path) -> str:
    """One daemon with a fault injected: how it ended."""
    calls = inject.partition(":")[0]
    tracer = ("strace", "-f", "-qq", "-o", str(log), "-e", f"trace={calls}", "-e", f"inject={inject}")
    process = start(home, ahead_s, tracer)
    try:
        def over() -> bool:
            live = ask(home, "live")
            if live is None:
                return process.poll() is not None
            # A disk that fails for good leaves nothing to wait for: the daemon says so and tries again.
            at_rest = live["looked"] and not live["busy"] and not live["waiting"]
            return bool(at_rest or live["trouble"])

        if not wait_until(over, DONE_S):
            return "hung"
        return "killed" if process.poll() is not None else "at rest"
    finally:
        kill_daemon(process)


def series(home: Home, hook: Webhook, faults: list[str], folder: Path) -> Trials:
    """One fault after another in one home, each followed by a daemon without one, and the audit."""
    trials = Trials()
    for number, inject in enumerate(faults):
        how = struck(home, 2 * number * STEP_S, inject, folder / "strace.log")
        wrong = [f"it {how}"] if how == "hung" else []
        wrong += come_to_rest(home, (2 * number + 1) * STEP_S) + audit(home, hook, [])
        trials.count(inject, how, wrong)
    return trials


def kills(home: Home, folder: Path, short: int | None) -> list[str]:
    """SIGKILL at each store write, and at each write of the loop; with `short`, so many of them, spread evenly."""
    found = []
    for calls in (STORE_CALLS, LOOP_CALLS):
        number = calls_of_a_start(home, 0, calls, folder / "count.log")
        stride = 1 if short is None else max(1, number // short)
        found += [f"{calls}:signal=SIGKILL:when={when}" for when in range(1, number + 1, stride)]
    return found


def failures(home: Home, folder: Path, short: int | None) -> list[str]:
    """A disk that is full or broken: for one write or sync of the store, and from one on."""
    number = calls_of_a_start(home, 0, STORE_CALLS, folder / "count.log")
    stride = 1 if short is None else max(1, 4 * number // short)
    return [
        f"{STORE_CALLS}:error={error}:when={when}{more}"
        for when in range(1, number + 1, stride)
        for error in ("ENOSPC", "EIO")
        for more in ("", "+")
    ]


@pytest.mark.heavy
@pytest.mark.promise("DMN-6")
def test_a_daemon_killed_at_some_of_its_writes_loses_no_slot(home: Home, hook: Webhook, tmp_path: Path) -> None:
    assert series(home, hook, kills(home, tmp_path, SHORT // 2), tmp_path).wrong == {}


@pytest.mark.faults
@pytest.mark.promise("DMN-6")
def test_a_daemon_killed_at_each_of_its_writes_loses_no_slot(home: Home, hook: Webhook, tmp_path: Path) -> None:
    trials = series(home, hook, kills(home, tmp_path, None), tmp_path)
    print(trials.told("F2: SIGKILL at each write call of a daemon that starts and performs what is due"))
    assert trials.wrong == {}


@pytest.mark.heavy
@pytest.mark.promise("STO-5")
def test_a_daemon_on_a_failing_disk_keeps_the_store_whole_and_goes_on(
    home: Home, hook: Webhook, tmp_path: Path
) -> None:
    assert series(home, hook, failures(home, tmp_path, SHORT), tmp_path).wrong == {}


@pytest.mark.faults
@pytest.mark.promise("STO-5")
def test_a_daemon_on_a_disk_that_fails_at_any_write_keeps_the_store_whole(
    home: Home, hook: Webhook, tmp_path: Path
) -> None:
    trials = series(home, hook, failures(home, tmp_path, None), tmp_path)
    print(trials.told("F4: ENOSPC and EIO at each write and sync of the store, once and for good"))
    assert trials.wrong == {}
