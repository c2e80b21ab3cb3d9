"""A home whose routines can be run, and its daemon, for tests that steer."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from minion.config import Home
from tests.whole.daemons import DaemonAtWork, daemon_up
from tests.whole.homes import make_home, write_routine, write_skill


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home with a routine that is done at once and one that waits until its pipe is written to."""
    home = make_home(tmp_path)
    write_skill(home, "quick", 'answer(text="done")')
    os.mkfifo(tmp_path / "pipe")
    write_skill(home, "long", sh=f"read word < '{tmp_path / 'pipe'}'\necho '{{\"text\": \"done\"}}'\n")
    write_routine(home, "a-quick-one", "quick")
    write_routine(home, "b-long-one", "long")
    return home


@pytest.fixture
def daemon(home: Home) -> Iterator[DaemonAtWork]:
    """Its daemon."""
    with daemon_up(home) as daemon:
        yield daemon
