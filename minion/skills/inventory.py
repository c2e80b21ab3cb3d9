"""What skills there are and which routines use them, for commands that only look."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from minion.admission import answers_kept, routine_candidate
from minion.config import Home
from minion.routines.files import all_routine_files, read_file
from minion.skills.loader import SkillFolder, load_skill, skill_places
from minion.store.admissions import Reader
from minion.store.local_db import read_only
from minion.store.routines import list_routines
from server.contract.refusals import NotFound, Refusal
from server.contract.topology import skill_code


@dataclass(frozen=True, slots=True)
class KnownSkill:
    """A skill that is there: its folder and admitted SKILL.md, or the refusal that says why it cannot be used."""

    name: str
    bundled: bool
    folder: SkillFolder | None
    admitted: Mapping[str, Any] | None
    refusal: Refusal | None
    routines: tuple[str, ...]

    @property
    def code(self) -> str:
        """The step code that a run logs for it."""
        return skill_code(self.name, self.admitted["code"] if self.admitted else None)


def known_skills(home: Home) -> list[KnownSkill]:
    """Every skill by name, broken ones included. Raises `Refused` when two have one name."""
    places = skill_places(home)
    folders: dict[str, SkillFolder] = {}
    refused: dict[str, Refusal] = {}
    for name in places:
        try:
            folders[name] = load_skill(home, name)
        except Refusal as refusal:
            refused[name] = refusal
    with _store(home) as db:
        answers = answers_kept(db, [folder.candidate() for folder in folders.values()])
        used = _users(home, db)
    admitted: dict[str, Mapping[str, Any]] = {}
    for name, answer in zip(folders, answers, strict=True):
        if isinstance(answer, Refusal):
            refused[name] = answer
        else:
            admitted[name] = answer
    return [
        KnownSkill(
            name, places[name][1], folders.get(name), admitted.get(name), refused.get(name), used.get(name, ())
        )
        for name in sorted(places)
    ]


def _users(home: Home, db: Reader | None) -> dict[str, tuple[str, ...]]:
    """The routines that name each skill: as their files say, or as last admitted where a file became bad."""
    files = all_routine_files(home)
    kept = list_routines(db) if db is not None else []
    here = {path.stem for path in files}
    pipelines = {item.name: item.document["pipeline"] for item in kept if item.name in here}
    candidates = []
    for path in files:
        with contextlib.suppress(NotFound):
            candidates.append(routine_candidate(path, read_file(path)))
    for answer in answers_kept(db, candidates):
        if not isinstance(answer, Refusal):
            pipelines[answer["name"]] = answer["pipeline"]
    users: dict[str, list[str]] = {}
    for routine in sorted(pipelines):
        for skill in dict.fromkeys(pipelines[routine]):
            users.setdefault(skill, []).append(routine)
    return {skill: tuple(routines) for skill, routines in users.items()}


@contextmanager
def _store(home: Home) -> Iterator[Reader | None]:
    """The store to read, None before its first owner made it."""
    if not home.store.exists():
        yield None
        return
    with read_only(home.store) as db:
        yield db
