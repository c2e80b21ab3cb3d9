"""Finds skills (bundled ones and the home's own), reads their folders under limits, copies them for a run."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from minion.admission import Candidate
from minion.config import Home
from minion.skills.archive import BYTES as BYTES
from minion.skills.archive import FILES as FILES
from minion.skills.archive import read_folder
from server.contract.digest import digest_tree
from server.contract.refusals import NotFound, Refused

REPORT: Final = "execution-report"
SCRIPTS: Final = ("scripts/run.py", "scripts/run.sh")
# A skill under this name was moved aside for its next version: it counts until that one is in place.
ASIDE: Final = ".replaced-"


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
    package = Path(__file__).parents[1]
    inside = package / "bundled_skills"
    return inside if inside.is_dir() else package.parent / "skills"


def bundled_names() -> frozenset[str]:
    """The names that no other skill may have."""
    return frozenset(_folders(bundled_folder()))


def pinned_digests() -> Mapping[str, str]:
    """The digests of the bundled skills as released."""
    digests: Mapping[str, str] = json.loads((bundled_folder() / "digests.json").read_bytes())
    return digests


def is_pinned(skill: SkillFolder, pinned: Mapping[str, str]) -> bool:
    """Whether a skill is bundled and unchanged, and so may run without a sandbox."""
    return skill.bundled and pinned.get(skill.name) == skill.digest


def hq_skills(home: Home) -> Path:
    """Where the skills lie that HQ gave this minion; nobody edits them here."""
    return home.root / "hq" / "current" / "skills"


def clashing_skills(home: Home) -> list[str]:
    """The skills of HQ that are not used: the minion has one of its own, or a bundled one, of that name."""
    return sorted(set(_folders(hq_skills(home))) & {*_folders(bundled_folder()), *_folders(home.skills)})


def skill_places(home: Home) -> dict[str, tuple[Path, bool]]:
    """Every skill's folder and whether it is bundled, by name; HQ's only where no other has that name.

    Raises `Refused` when the home has a skill of a bundled one's name: neither may hide the other.
    """
    bundled = {name: (path, True) for name, path in _folders(bundled_folder()).items()}
    own = {name: (path, False) for name, path in _folders(home.skills).items()}
    given = {name: (path, False) for name, path in _folders(hq_skills(home)).items()}
    clash = sorted(set(bundled) & set(own))
    if clash:
        raise Refused(
            "skill_clash",
            f"There are two skills named {clash[0]}: a bundled one and {own[clash[0]][0]}.",
            hint="give your skill a name of its own",
        )
    return {**given, **bundled, **own}


def load_skill(home: Home, name: str) -> SkillFolder:
    """A skill read fresh from its folder. Raises `NotFound`, or `Refused` when the folder breaks the limits."""
    places = skill_places(home)
    place = places.get(name)
    if place is None:
        raise NotFound("no_such_skill", f"There is no skill {name}.", hint=_found_instead(home, name, places))
    path, bundled = place
    return SkillFolder(name, path, bundled, _read(path))


def digest_at(path: Path) -> str | None:
    """The digest of the skill in a folder as it is now; None when it cannot be read."""
    try:
        return digest_tree(_read(path))
    except Refused:
        return None


def check_requires(home: Home, admitted: Iterable[Mapping[str, Any]]) -> None:
    """Refuse admitted skills that require a skill which is not installed (peers' defect 12).

    Raises `Refused` naming both.
    """
    wanted = [(skill["name"], name) for skill in admitted for name in skill["requires"]]
    installed = skill_places(home) if wanted else {}
    for skill, name in wanted:
        if name not in installed:
            raise Refused(
                "requires_missing",
                f"The skill {skill} requires the skill {name}, which is not installed.",
                hint=f"add {name} with `minion skill add PATH`, or take it out of minion-requires",
            )


def check_codes(process: Mapping[str, Any], admitted: Iterable[Mapping[str, Any]]) -> None:
    """Refuse admitted skills that declare the code of a rigid step: every run of one would end `violated`."""
    rigid = {
        step["code"]: block["code"]
        for block in process["blocks"]
        if block["kind"] == "rigid"
        for step in block["steps"]
    }
    for skill in admitted:
        block = rigid.get(skill["code"])
        if block is not None:
            raise Refused(
                "rigid_code",
                f"The skill {skill['name']} declares {skill['code']}, the step of the rigid block {block}.",
                hint="give it a minion-code of its own, or none",
            )


def _folders(root: Path) -> dict[str, Path]:
    if not root.is_dir():
        return {}
    holders = [entry for entry in sorted(root.iterdir()) if (entry / "SKILL.md").is_file()]
    aside = {entry.name.removeprefix(ASIDE): entry for entry in holders if entry.name.startswith(ASIDE)}
    return {**aside, **{entry.name: entry for entry in holders if not entry.name.startswith(".")}}


def _found_instead(home: Home, name: str, places: Iterable[str]) -> str:
    from difflib import get_close_matches  # only who mistypes a name pays for it

    if "/" not in name and (home.skills / name).is_dir():
        return f"put a SKILL.md into {home.skills / name}"
    near = get_close_matches(name[:64], places, n=1)
    meant = f"did you mean {near[0]}? " if near else ""
    return f"{meant}`minion skill list` shows what there is, `minion skill add PATH` adds one"


def _read(root: Path) -> Mapping[str, bytes]:
    """The files below `root` by the rules of an archive: nothing outside it is ever read."""
    try:
        reading = read_folder(root)
    except OSError as error:
        raise _refused(root, f"it cannot be read ({error.strerror})", "check its rights") from error
    for problem in reading.problems[:1]:
        raise _refused(root, problem.words, problem.hint)
    return reading.files


def _refused(root: Path, what: str, hint: str) -> Refused:
    return Refused("skill_folder", f"The skill in {root} cannot be used: {what}.", hint=hint)
