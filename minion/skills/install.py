"""Puts skills into a home and takes them out of it, whole or not at all.

A skill is written into a private folder beside its place, admitted there, and renamed into place; the version
before it lies aside meanwhile, and counts (`skill_loader.ASIDE`) if the process dies between the two renames.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from minion.admission import Candidate, admit_fresh
from minion.config import Home
from minion.skills.archive import HEADER, read_folder
from minion.skills.loader import ASIDE, SkillFolder, bundled_names, check_requires, hq_skills, skill_places
from server.contract.digest import digest_tree
from server.contract.refusals import NotFound, Refused

_ADDING: Final = ".adding-"
_REMOVING: Final = ".removing-"


@dataclass(frozen=True, slots=True)
class Installed:
    """A skill as it was added, its admitted SKILL.md, and what was there `before`: `none`, `same` or `other`."""

    skill: SkillFolder
    admitted: Mapping[str, Any]
    before: str

    @property
    def scripts_digest(self) -> str | None:
        """The digest over what the `script` engine may run, None without a `scripts` folder."""
        scripts = {name: body for name, body in self.skill.files.items() if name.startswith("scripts/")}
        return digest_tree(scripts) if scripts else None


def admit_files(files: Mapping[str, bytes], *, folder: str | None = None) -> dict[str, Any]:
    """The admitted SKILL.md among a skill's files; `folder` is the name it must have, None for any.

    Raises `BadDocument`, or `Refused` when the check cannot do its work.
    """
    source = f"{folder}/{HEADER}" if folder else HEADER
    return admit_fresh([Candidate("skill", folder or "", source, files[HEADER])])[0]


def add_skill(home: Home, files: Mapping[str, bytes], *, replace: bool) -> Installed:
    """Install a skill's files (SKILL.md among them) under the name that its header gives.

    The caller owns the home (`held`). The same files again change nothing; others under a name that is taken
    need `replace`. Raises a `Refusal` with nothing changed: a bad SKILL.md, a bundled skill's name, a name that
    is taken, a required skill that is not installed, a disk that refuses.
    """
    admitted = admit_files(files)
    name = admitted["name"]
    _settle(home)
    if name in bundled_names():
        raise Refused(
            "skill_clash", f"{name} is the name of a bundled skill.", hint="give your skill a name of its own"
        )
    check_requires(home, [admitted])
    target = home.skills / name
    skill = SkillFolder(name, target, bundled=False, files=files)
    taken = _taken_by(home, name)
    if taken is not None:
        if _is(taken, skill):
            return Installed(skill, admitted, before="same")
        if not replace:
            raise Refused(
                "skill_exists", f"There is a skill {name} with other content in {taken}.",
                hint="add --replace to change it",
            )  # fmt: skip
    try:
        home.skills.mkdir(mode=0o700, parents=True, exist_ok=True)
        place_files(skill, target, over=taken)
    except OSError as error:
        raise _cannot("written", target, error) from error
    return Installed(skill, admitted, before="none" if taken is None else "other")


def place_files(skill: SkillFolder, target: Path, *, over: Path | None = None) -> None:
    """Write a skill into a folder of its own beside `target`, on disk for good, and rename it into place.

    `over` is what stands in its place; it is kept aside until the rename succeeded, and put back if it does not.
    Raises `OSError` with everything as it was.
    """
    fresh = Path(tempfile.mkdtemp(prefix=_ADDING, dir=target.parent))
    try:
        skill.copy_to(fresh)
        _make_durable(fresh)
        aside = target.with_name(ASIDE + target.name)
        if over is not None:
            over.rename(aside)
        try:
            fresh.rename(target)
        except OSError:
            if over is not None:
                aside.rename(over)
            raise
        _sync(target.parent)
        if over is not None:
            # The new one is in place: what cannot be cleared away now is so by the next owner.
            with contextlib.suppress(OSError):
                _discard(aside)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def remove_skill(home: Home, name: str) -> None:
    """Take an own skill out of the home; the caller owns the home (`held`).

    Raises `NotFound`, or `Refused` for a bundled one and for a disk that refuses.
    """
    _settle(home)
    place = skill_places(home).get(name)
    if place is None:
        raise NotFound("no_such_skill", f"There is no skill {name}.", hint="minion skill list")
    path, bundled = place
    if bundled:
        raise Refused(
            "skill_bundled", f"{name} is a bundled skill and stays.", hint="leave it out of your pipelines"
        )
    if path.parent == hq_skills(home):
        hint = "take it out of the routines that HQ gives this minion"
        raise Refused("skill_from_hq", f"{name} is a skill that HQ gave this minion.", hint=hint)
    gone = home.skills / f"{_REMOVING}{name}"
    try:
        path.rename(gone)
        _sync(home.skills)
    except OSError as error:
        raise _cannot("removed", path, error) from error
    with contextlib.suppress(OSError):
        _discard(gone)


def _settle(home: Home) -> None:
    """Finish what an owner that died left half-done. Raises `Refused` when the disk refuses."""
    if not home.skills.is_dir():
        return
    for entry in sorted(home.skills.iterdir()):
        try:
            if entry.name.startswith((_ADDING, _REMOVING)):
                _discard(entry)
            elif entry.name.startswith(ASIDE):
                place = home.skills / entry.name.removeprefix(ASIDE)
                if os.path.lexists(place):
                    _discard(entry)
                else:
                    entry.rename(place)
        except OSError as error:
            raise _cannot("put in order", entry, error) from error


def _taken_by(home: Home, name: str) -> Path | None:
    """What stands under this name in the home's skills, also where the disk tells no case apart."""
    if not home.skills.is_dir():
        return None
    return next((entry for entry in sorted(home.skills.iterdir()) if entry.name.casefold() == name), None)


def _is(place: Path, skill: SkillFolder) -> bool:
    if place.is_symlink() or place.name != skill.name or not place.is_dir():
        return False
    reading = read_folder(place)
    return not reading.problems and reading.files == skill.files


def _discard(path: Path) -> None:
    if path.is_symlink() or not path.is_dir():
        path.unlink()
    else:
        shutil.rmtree(path)


def _make_durable(root: Path) -> None:
    """Have the disk keep every file and folder before the rename tells of them."""
    for folder, _, names in os.walk(root):
        for name in names:
            _sync(Path(folder, name))
        _sync(Path(folder))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _cannot(what: str, path: Path, error: OSError) -> Refused:
    says = f"{path} cannot be {what} ({error.strerror})."
    return Refused("cannot_write", says, hint="check the disk's free space and its rights")
