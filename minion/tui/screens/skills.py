"""The skills that there are: where each is from, how it runs, what it may do, and who uses it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Final

from textual.content import Content

from minion.config import Home
from minion.routines.files import all_routine_files
from minion.skills.inventory import KnownSkill, known_skills
from minion.skills.loader import FILES, hq_skills, is_pinned, pinned_digests, skill_places
from minion.tui.lines import DIM, Cell, Column, marked, paragraphs, text
from minion.tui.list_place import ListPlace, labelled
from minion.tui.program import Subject
from minion.tui.reading import Reading, understood
from minion.tui.widgets.listing import Entry, Listing, refused
from minion.tui.widgets.table import Table

_COLUMNS: Final = (
    Column("skill", least=18), Column("from"), Column("runs"), Column("effects", least=8, spare=3),
    Column("used by", least=10, spare=2), Column("code", spare=4), Column("digest", spare=5),
)  # fmt: skip
_DIGEST: Final = 19
# So much of a SKILL.md is shown: its header, and what it is about.
_LINES: Final = 60


@dataclass(frozen=True, slots=True)
class Shelf:
    """The skills as they were found, which are bundled and unchanged, and by which files they were."""

    skills: Sequence[KnownSkill]
    pinned: Mapping[str, str]
    given: Path
    signs: object

    def origin(self, skill: KnownSkill) -> str:
        """Where a skill is from, in words."""
        if skill.bundled:
            unchanged = skill.folder is not None and is_pinned(skill.folder, self.pinned)
            return "bundled" if unchanged else "bundled, changed"
        return "HQ" if skill.folder is not None and skill.folder.path.is_relative_to(self.given) else "own"


class SkillsScreen(ListPlace):
    """Every skill by name, those that cannot be used among them. `about` is one's name."""

    headed: ClassVar[str] = "SKILLS"
    copies: ClassVar[bool] = True
    deeds: ClassVar[frozenset[str]] = frozenset({"halt"})

    @property
    def subject(self) -> Subject:
        """A skill is no routine's."""
        return Subject()

    @property
    def to_copy(self) -> tuple[str, str] | None:
        """The skill's digest."""
        skill = self._skill()
        return None if skill is None or skill.folder is None else (skill.folder.digest, "The skill's digest is")

    def _skill(self) -> KnownSkill | None:
        wanted = self.chosen.partition(":")[2]
        skills = self.found.skills if self.found is not None else ()
        return next((skill for skill in skills if skill.name == wanted), None)

    def read(self, reading: Reading) -> Shelf:
        """The skills; those found before, where no file of theirs has changed: to admit one takes a process."""
        signs = understood(lambda: _signs(reading.home))
        if self.found is not None and self.found.signs == signs and self.refusal is None:
            return self.found  # type: ignore[no-any-return]
        skills = understood(lambda: known_skills(reading.home))
        return Shelf(skills, pinned_digests(), hq_skills(reading.home), signs)

    def fill(self, table: Table) -> None:
        """One line for each skill that fits."""
        shelf: Shelf = self.found
        fitting = [skill for skill in shelf.skills if self._fits(skill, shelf)]
        broken = sum(skill.refusal is not None for skill in fitting)
        said = self.amount(len(fitting), len(shelf.skills), f"{broken} cannot be used" if broken else "")
        table.headline("SKILLS", said)
        if fitting:
            room = table.listing.room
            below: dict[str | None, list[Entry]] = {
                f"skill:{each.name}": refused(each.refusal, room) for each in fitting if each.refusal
            }
            rows = [(f"skill:{skill.name}", _row(skill, shelf.origin(skill))) for skill in fitting]
            table.rows(_COLUMNS, rows, below)
        else:
            table.lines(self.nothing("No skills: minion skill new NAME begins one."))

    def _fits(self, skill: KnownSkill, shelf: Shelf) -> bool:
        told = (shelf.origin(skill), _runs(skill), *_effects(skill), *skill.routines)
        return self.matches(skill.name, skill.code, *told)

    def aim(self, about: str) -> str | None:
        """The skill."""
        return f"skill:{about}"

    def explained(self) -> tuple[str, Content] | None:
        """Why it cannot be used, what it is, and how its SKILL.md begins."""
        skill = self._skill()
        if skill is None:
            return None
        folder, header = skill.folder, skill.admitted or {}
        facts = labelled(
            ("problem", text(skill.refusal.sentence, "$text-error") if skill.refusal else ""),
            ("hint", text(self.minion.called(skill.refusal.hint), "$text-accent") if skill.refusal else ""),
            ("requires", ", ".join(header.get("requires", ()))), ("effects", ", ".join(_effects(skill))),
            ("used by", ", ".join(skill.routines)), ("digest", folder.digest if folder else ""),
            ("folder", str(folder.path) if folder else ""),
        )  # fmt: skip
        begins = folder.files["SKILL.md"].decode("utf-8", "replace") if folder else ""
        return f"{skill.name}  {skill.code}", facts + Content("\n\n") + paragraphs(begins, lines=_LINES)

    def on_listing_opened(self, _: Listing.Opened) -> None:
        """Show the skill."""
        self.toggle_pane()


def _effects(skill: KnownSkill) -> Sequence[str]:
    return tuple((skill.admitted or {}).get("effects", ()))


def _runs(skill: KnownSkill) -> str:
    if skill.refusal is not None or skill.folder is None:
        return "broken"
    return "script" if skill.folder.script else "needs a model"


def _row(skill: KnownSkill, origin: str) -> Sequence[Cell]:
    runs = _runs(skill)
    changed = "$text-warning" if origin.endswith("changed") else ""
    digest = skill.folder.digest[:_DIGEST] if skill.folder else ""
    return [
        text(skill.name), text(origin, changed), marked("broken") if runs == "broken" else text(runs),
        text(", ".join(_effects(skill)), DIM), text(", ".join(skill.routines)), text(skill.code, DIM),
        text(digest, DIM),
    ]  # fmt: skip


def _signs(home: Home) -> Any:
    """What changes when a skill's file or a routine's does."""
    folders = {name: path for name, (path, _) in skill_places(home).items()}
    files = [file for path in folders.values() for file in sorted(islice(path.rglob("*"), FILES))]
    return sorted(folders), [_sign(file) for file in (*files, *all_routine_files(home))]


def _sign(path: Path) -> tuple[str, int, int] | None:
    try:
        told = path.lstat()
    except OSError:
        return None
    return str(path), told.st_size, told.st_mtime_ns
