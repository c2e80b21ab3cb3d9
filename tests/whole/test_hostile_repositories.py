"""Local repositories that try to run something, or are merely odd: nothing runs, nothing of them changes."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from minion.config import Home
from tests.whole.homes import make_home, performed, write_routine, write_skill
from tests.whole.tripwires import PROMISES, SIDE, TRIPWIRES, Trap, Tripwire

# Changes a file of every repository and asks for it to be pushed.
MEDDLE = f"""
effects = []
for place in task["repositories"]:
    with open(os.path.join(place["path"], "mended.txt"), "w") as file:
        file.write("tight\\n")
    target = place["name"] + ":{SIDE}"
    effects.append({{"kind": "push", "target": target, "title": "Mend", "body": "It leaked."}})
answer(text="mended", effects=effects)
"""
MOST = 20  # repositories of one routine, and effects of one run


def home_at_work(folder: Path, repositories: dict[str, Path], **fields: Any) -> Home:
    """A home whose routine `tend` reports on these repositories, by name, changes them and pushes."""
    home = make_home(folder)
    write_skill(home, "meddle", MEDDLE)
    said = [{"url": str(path), "name": name} for name, path in repositories.items()]
    allowed = {"repositories": said, "effects": ["push:*:claude/*"], **fields}
    write_routine(home, "tend", "write-daily-report", "meddle", **allowed)
    return home


def everything_below(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every entry below a folder, by relative path: its mode, and its content or where it points."""
    found = {}
    for place, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = Path(place, name)
            mode = path.lstat().st_mode
            body = os.fsencode(path.readlink()) if stat.S_ISLNK(mode) else b""
            found[str(path.relative_to(folder))] = (mode, path.read_bytes() if stat.S_ISREG(mode) else body)
    return found


def changed_since(before: dict[str, tuple[int, bytes]], folder: Path) -> list[str]:
    """What differs from `before`, but for new objects, new folders and the pushed branch with its log."""
    now = everything_below(folder)
    pushed = ("objects/", "refs/heads/claude", "logs/refs/heads/claude")
    new = {
        name for name in now.keys() - before.keys()
        if not stat.S_ISDIR(now[name][0]) and not name.removeprefix(".git/").startswith(pushed)
    }  # fmt: skip
    return sorted(new | {name for name, was in before.items() if now.get(name) != was})


def trapped(folder: Path, wire: Tripwire) -> Trap:
    """A repository of its own with this trap set."""
    trap = Trap(folder, wire.name)
    wire.arm(trap)
    return trap


@pytest.mark.heavy
@pytest.mark.parametrize("wire", (*TRIPWIRES, *PROMISES), ids=lambda wire: wire.name)
def test_control_the_trap_is_live_for_plain_git(wire: Tripwire, tmp_path: Path) -> None:
    trap = trapped(tmp_path, wire)
    for mark in trap.fired():
        (trap.outside / "fired" / mark).unlink()
    wire.spring(trap)
    assert trap.fired() == wire.marks


def spring_nothing(folder: Path, wires: tuple[Tripwire, ...], **fields: Any) -> None:
    """Run the routine on all these traps at once: no mark, no change but the pushed branch."""
    traps = [trapped(folder, wire) for wire in wires]
    for trap in traps:
        for mark in trap.fired():
            (trap.outside / "fired" / mark).unlink()
    before = [everything_below(trap.repository.folder) for trap in traps]
    home = home_at_work(folder, {trap.repository.name: trap.repository.folder for trap in traps}, **fields)
    run = performed(home, "tend")
    assert run["state"] == "completed", run["why"]
    assert {trap.repository.name: trap.fired() for trap in traps if trap.fired()} == {}
    states = {effect["target"]: effect["state"] for effect in run["effects"]}
    assert states == {f"{wire.name}:{SIDE}": "delivered" if wire.pushable else "failed" for wire in wires}
    for trap, was in zip(traps, before, strict=True):
        assert changed_since(was, trap.repository.folder) == [], trap.repository.name


@pytest.mark.heavy
@pytest.mark.promise("ENV-1")
@pytest.mark.promise("ENV-3")
@pytest.mark.parametrize("start", range(0, len(TRIPWIRES), MOST))
def test_a_run_on_hostile_repositories_springs_no_trap_and_changes_only_what_it_pushes(
    start: int, tmp_path: Path
) -> None:
    spring_nothing(tmp_path, TRIPWIRES[start : start + MOST])


@pytest.mark.heavy
@pytest.mark.promise("ENV-1")
@pytest.mark.promise("ENV-3")
@pytest.mark.parametrize("start", range(0, len(TRIPWIRES), MOST))
def test_a_sandboxed_run_on_hostile_repositories_springs_no_trap_either(start: int, tmp_path: Path) -> None:
    spring_nothing(tmp_path, TRIPWIRES[start : start + MOST], sandbox="required")


@pytest.mark.promise("ENV-1")
@pytest.mark.parametrize("wire", PROMISES, ids=lambda wire: wire.name)
def test_a_partial_clone_that_promises_objects_fails_the_run_and_fetches_nothing(
    wire: Tripwire, tmp_path: Path
) -> None:
    trap = trapped(tmp_path, wire)
    before = everything_below(trap.repository.folder)
    run = performed(home_at_work(tmp_path, {wire.name: trap.repository.folder}), "tend")
    assert (run["state"], run["verdict"]) == ("failed", "failed")
    assert wire.name in run["why"]
    assert trap.fired() == set()
    assert everything_below(trap.repository.folder) == before
