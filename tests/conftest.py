"""Keeps heavy, faults and bench tests out of a run that does not name them, and shows what tests counted."""

from __future__ import annotations

import re

import pytest
from hypothesis import settings

# On a machine that others use too, a deadline would say how busy they are.
settings.register_profile("house", deadline=None, database=None, max_examples=40)
settings.load_profile("house")

ON_REQUEST = ("heavy", "faults", "bench")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect what only runs on request; an item with two such marks needs just one of them asked for."""
    asked = set(re.findall(r"\w+", str(config.option.markexpr or "")))
    left_out = [item for item in items if not _wanted(item, asked)]
    if left_out:
        items[:] = [item for item in items if _wanted(item, asked)]
        config.hook.pytest_deselected(items=left_out)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what tests counted (`record_property("counts", …)`), whichever process they ran in."""
    for report in terminalreporter.stats.get("passed", []):
        for name, value in report.user_properties:
            if name == "counts" and report.when == "call":
                terminalreporter.write_line(str(value))


def _wanted(item: pytest.Item, asked: set[str]) -> bool:
    marks = {name for name in ON_REQUEST if item.get_closest_marker(name) is not None}
    return not marks or not marks.isdisjoint(asked)
