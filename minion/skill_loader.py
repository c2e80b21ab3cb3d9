"""Finds skills (bundled ones and the home's own), reads their folders under limits, copies them for a run."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from minion.admission import Candidate
from minion.config import Home
from server.contract.digest import digest_tree
from server.contract.refusals import NotFound, Refused

REPORT: Final = "execution-report"
FILES: Final = 500
BYTES: Final = 20 * 1024 * 1024
SCRIPTS: Final = ("scripts/run.py", "scripts/run.sh")


@dataclass(frozen=True)
class SkillFolder:
    """A skill's folder as read at one moment: its files by relative path, whether it is bundled."""

    name: str
    path: Path
    bundled: bool
    files: Mapping[str, bytes]

    @cached_property
    def digest(self) -> str:
        """The digest over all its files."""
        return digest_tree(self.files)

    @property
    def script(self) -> str | None:
        """The script that the `script` engine runs, None for a skill that needs a model."""
        return next((name for name in SCRIPTS if name in self.files), None)

    def candidate(self) -> Candidate:
        """Its SKILL.md, to be admitted."""
        return Candidate("skill", self.name, f"{self.name}/SKILL.md", self.files["SKILL.md"])

    def copy_to(self, target: Path) -> None:
        """Write the very bytes that the digest covers below `target`, private to this user."""
        for relative, body in self.files.items():
            path = target / relative
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(fd, "wb") as file:
                file.write(body)


def bundled_folder() -> Path:
    """Where the bundled skills lie: inside the package when installed, beside it in a checkout."""
    inside = Path(__file__).parent / "bundled_skills"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "skills"


def pinned_digests() -> Mapping[str, str]:
    """The digests of the bundled skills as released."""
    digests: Mapping[str, str] = json.loads((bundled_folder() / "digests.json").read_bytes())
    return digests


def is_pinned(skill: SkillFolder, pinned: Mapping[str, str]) -> bool:
    """Whether a skill is bundled and unchanged, and so may run without a sandbox."""
    return skill.bundled and pinned.get(skill.name) == skill.digest


def skill_places(home: Home) -> dict[str, tuple[Path, bool]]:
    """Every skill's folder and whether it is bundled, by name.

    Raises `Refused` when the home has a skill of a bundled one's name: neither may hide the other.
    """
    bundled = {name: (path, True) for name, path in _folders(bundled_folder()).items()}
    own = {name: (path, False) for name, path in _folders(home.skills).items()}
    clash = sorted(set(bundled) & set(own))
    if clash:
        raise Refused(
            "skill_clash",
            f"There are two skills named {clash[0]}: a bundled one and {own[clash[0]][0]}.",
            hint="give your skill a name of its own",
        )
    return {**bundled, **own}


def load_skill(home: Home, name: str) -> SkillFolder:
    """A skill read fresh from its folder. Raises `NotFound`, or `Refused` when the folder breaks the limits."""
    place = skill_places(home).get(name)
    if place is None:
        raise NotFound(
            "no_such_skill",
            f"There is no skill {name}.",
            hint=f"put it into {home.skills / name}, or mend the name",
        )
    path, bundled = place
    return SkillFolder(name, path, bundled, _read(path))


def _folders(root: Path) -> dict[str, Path]:
    if not root.is_dir():
        return {}
    return {entry.name: entry for entry in sorted(root.iterdir()) if (entry / "SKILL.md").is_file()}


def _read(root: Path) -> dict[str, bytes]:
    """The regular files below `root`; links and other kinds are refused, so nothing outside is ever read."""
    found: dict[str, bytes] = {}
    total = 0
    for folder, folders, names in os.walk(root, followlinks=False):
        folders[:] = sorted(name for name in folders if name != "__pycache__")
        for name in (*folders, *sorted(names)):
            path = Path(folder, name)
            mode = path.lstat().st_mode
            if stat.S_ISDIR(mode) or name.endswith(".pyc"):
                continue
            relative = path.relative_to(root).as_posix()
            if not stat.S_ISREG(mode):
                raise _refused(root, f"{relative} is a link or no regular file", "skills hold plain files only")
            total += path.stat().st_size
            if len(found) >= FILES or total > BYTES:
                size = f"it is over {FILES} files or {BYTES // 2**20} MiB"
                raise _refused(root, size, "leave large data outside")
            found[relative] = path.read_bytes()
    return found


def _refused(root: Path, what: str, hint: str) -> Refused:
    return Refused("skill_folder", f"The skill in {root} cannot be used: {what}.", hint=hint)
