"""The home that the tests of one file share where they need nothing of their own."""

from __future__ import annotations

import pytest

from minion.config import Home
from tests.whole.homes import make_home, write_routine, write_skill


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home whose routine `task` does what its input says, in Python: no new document for each test."""
    home = make_home(tmp_path_factory.mktemp("shared"))
    write_skill(home, "act", "exec(task['input'])")
    write_routine(home, "task", "act")
    return home
