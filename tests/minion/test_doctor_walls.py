"""What the doctor says of the walls around a run: tried out here, and told for machines that have other ones."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from minion.daemon.cgroups import find_ground
from minion.doctor.walls import Walls, told, walls
from tests.minion.patients import finished, first_on_path, only
from tests.minion.test_sandbox_envelope import why_no_sandbox
from tests.minion.tool_hosts import running_with

COUNTS = "the minion counts its processes, memory and disk"


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """An empty folder of the doctor's own."""
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


@pytest.mark.promise("CAP-2")
def test_the_walls_of_this_machine_are_run_into_and_nothing_of_the_trial_is_left(work: Path) -> None:
    finding = only(finished(lambda: walls(work)))
    assert COUNTS in finding.says
    assert "rlimits bound each file" in finding.says
    assert ("pid namespace ends what is in it" in finding.says) == (why_no_sandbox() is None)
    assert ("no cgroup may be used" in finding.says) == (find_ground(divide=False).hierarchies == ())
    assert find_ground(divide=False).group(f"minion-doctor-{os.getpid()}").folders == ()
    assert running_with("signal.pause()") == []


@pytest.mark.promise("CAP-2")
def test_without_bubblewrap_what_ends_a_run_is_told_all_the_same(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first_on_path(monkeypatch, tmp_path, alone=True)
    finding = only(finished(lambda: walls(work)))
    assert "there is no sandbox with a pid namespace" in finding.says
    ended = "ends all of it" in finding.says
    assert (finding.state, "best effort" in finding.says) == (("ok", False) if ended else ("warning", True))


@pytest.mark.promise("CAP-2")
@pytest.mark.parametrize(
    ("seen", "says"),
    [
        (Walls(True, (2,), frozenset({"pids", "memory"}), ended=True, file_refused=True, namespace=True),
         "a cgroup (v2) bounds its processes and memory and ends all of it"),
        (Walls(True, (2,), frozenset(), ended=True, file_refused=True, namespace=True),
         "a cgroup (v2) bounds nothing and ends all of it"),
        (Walls(True, (1,), frozenset({"pids"}), ended=True, file_refused=True),
         "a cgroup (v1) bounds its processes and ends all of it"),
        (Walls(True, (1,), frozenset(), ended=False, file_refused=True), "its cgroup (v1) does not end all of it"),
        (Walls(True, file_refused=True), "so that ending all of it is best effort"),
        (Walls(True), "rlimits do not hold"),
        (Walls(), "its processes cannot be counted"),
    ],
)  # fmt: skip
def test_each_kind_of_machine_is_told_in_one_sentence(seen: Walls, says: str) -> None:
    sentence = told(seen)
    assert says in sentence
    assert (COUNTS in sentence) == seen.counted
    assert sentence.startswith("Of a run, ")
    assert sentence.endswith(".")
