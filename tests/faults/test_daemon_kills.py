"""F1, F25: the daemon and its runners are killed at random moments while slots fall due and runs are pruned."""

from __future__ import annotations

import random
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from minion.config import Home
from tests.faults.kills import Trials, kill
from tests.faults.slots_audit import (
    UP_S,
    ask,
    audit,
    come_to_rest,
    home_with_slots,
    kill_daemon,
    runners,
    start,
)
from tests.waiting import wait_until
from tests.whole.webhooks import Webhook, webhook

SHORT, FULL = 30, 1000
# Each trial begins so much later by the daemon's clock: slots of the routines below fall due between.
STEP_S: Final = 150


@pytest.fixture
def hook() -> Iterator[Webhook]:
    """The webhook that counts what was really sent."""
    with webhook() as server:
        yield server


@pytest.fixture
def home(tmp_path: Path, hook: Webhook) -> Home:
    """A home whose slots fall due all the time."""
    return home_with_slots(tmp_path, hook)


def struck(home: Home, ahead_s: float, chance: random.Random) -> tuple[str, list[str]]:
    """One daemon, killed at a random moment: how, and the runs it had acknowledged to somebody who asked."""
    process, acked = start(home, ahead_s), list[str]()
    pause = threading.Event()
    try:
        if chance.random() < 0.5 and wait_until(lambda: ask(home, "live") is not None, UP_S):
            said = ask(home, "run", routine="asked", detach=True)
            acked += [said["run"]] if said else []
        pause.wait(chance.uniform(0.0, 1.5))
        how = chance.choice(("daemon", "daemon", "runner and daemon", "told to stop"))
        if how == "runner and daemon":
            for pid in runners(home)[:1]:
                kill(pid)
            pause.wait(chance.uniform(0.0, 0.3))
        if how == "told to stop":
            process.send_signal(signal.SIGTERM)
            pause.wait(chance.uniform(0.0, 1.0))
        kill(process.pid)
    finally:
        kill_daemon(process)
    return how, acked


def killed(home: Home, hook: Webhook, number: int, seed: int) -> Trials:
    """So many daemons killed one after another in one home, audited every hundred and at the end."""
    chance, trials, acked = random.Random(seed), Trials(), list[str]()  # noqa: S311 - delays, no secrets
    for trial in range(number):
        how, told = struck(home, trial * STEP_S, chance)
        acked += told
        wrong: list[str] = []
        if trial % 100 == 99 or trial == number - 1:
            wrong = come_to_rest(home, (trial + 1) * STEP_S) + audit(home, hook, acked)
        trials.count(f"{trial} ({how})", how, wrong)
    return trials


def test_children_that_end_while_they_are_looked_at_do_not_stop_the_killing() -> None:
    for _ in range(40):
        process = subprocess.Popen(["/bin/sh", "-c", "while :; do (:) & (:) & (:) & (:) & wait; done"])
        try:
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
            assert wait_until(lambda of=children: of.read_text() != "", UP_S)
            kill_daemon(process)
            assert process.returncode == -signal.SIGKILL
        finally:
            process.kill()


@pytest.mark.heavy
@pytest.mark.promise("DMN-6")
@pytest.mark.promise("STO-1")
def test_a_daemon_killed_at_random_moments_loses_no_slot_and_doubles_none(home: Home, hook: Webhook) -> None:
    assert killed(home, hook, SHORT, 1).wrong == {}


@pytest.mark.faults
@pytest.mark.promise("DMN-6")
def test_a_daemon_killed_a_thousand_times_loses_no_slot_and_doubles_none(home: Home, hook: Webhook) -> None:
    trials = killed(home, hook, FULL, 20261122)
    print(trials.told("F1, F25: kills of the daemon and its runners while slots fall due and runs are pruned"))
    assert trials.wrong == {}
