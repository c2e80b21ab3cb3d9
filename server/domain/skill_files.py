"""A skill as it is handed to HQ: files as text, held against the rules, and what a version newly may do.

The rules are those of `minion skill validate` (names, one SKILL.md, its header), with limits for what comes in one
call: 256 files, 2 MiB. Digests are those that a minion gives the same files.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from server.contract.digest import digest_tree
from server.contract.plain_words import Problem, shown
from server.contract.redaction import Redactor
from server.contract.refusals import BadDocument, Refused
from server.contract.skill import Skill, admit_skill
from server.contract.spelling import REPORT_SKILL
from server.contract.topology import skill_code

MOST_FILES: Final = 256
MOST_BYTES: Final = 2 * 1024 * 1024
HEADER: Final = "SKILL.md"
# What file managers, version control and Python leave beside the work: never part of a skill.
LEFT_BEHIND: Final = frozenset({"__MACOSX", ".DS_Store", ".git", "__pycache__"})
LONGEST_NAME: Final = 255
LONGEST_PATH: Final = 1024
DEEPEST: Final = 16
_MOST_TOLD: Final = 3
_DRIVE: Final = re.compile(r"[A-Za-z]:")
# Lines of their own, and marks that turn the text behind them round: such a name shows as another one.
_MISLEADING: Final = frozenset(
    "\u2028\u2029\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)
_REDACTOR: Final = Redactor()


@dataclass(frozen=True, slots=True)
class SkillFiles:
    """A skill that fits the rules: its header, files by relative path, digest, and what was left out."""

    skill: Skill
    files: Mapping[str, str]
    digest: str
    ignored: tuple[str, ...]

    @property
    def code(self) -> str:
        """The step code that it logs as."""
        return skill_code(self.skill.name, self.skill.code)


def checked_skill(files: Mapping[str, str], *, name: str | None, rigid: Mapping[str, str]) -> SkillFiles:
    """A skill's files, if they fit the rules; `name` is the one it must have, `rigid` has rigid steps' blocks.

    Raises `BadDocument`, naming the first few breaches, and `Refused` for a skill that no run may take: one that
    is the runner's own, that logs a rigid step, or holds what looks like a secret.
    """
    kept = {path: text for path, text in files.items() if not _is_left_behind(path)}
    _check_names(list(kept))
    try:
        bodies = {path: text.encode() for path, text in kept.items()}
    except UnicodeEncodeError:
        raise BadDocument("not_utf8", "A file is not UTF-8.", hint="send texts only") from None
    if len(kept) > MOST_FILES or sum(map(len, bodies.values())) > MOST_BYTES:
        says = f"The skill is over {MOST_FILES} files or {MOST_BYTES // 2**20} MiB."
        raise BadDocument("skill_too_large", says, hint="leave large data outside")
    if HEADER not in kept:
        nearly = next((path for path in kept if path.rpartition("/")[2].casefold() == HEADER.casefold()), None)
        hint = f"name it {HEADER}, at the top: {shown(nearly)} is not" if nearly else f"add a {HEADER}"
        raise BadDocument("no_skill_file", f"The skill has no {HEADER} at its top.", hint=hint)
    # Before the header is read: what is wrong with that is said in its own words.
    secret = next((path for path, text in kept.items() if _REDACTOR.data([path, text]) != [path, text]), None)
    if secret is not None:
        says = f"The file {shown(_REDACTOR.text(secret))} holds what looks like a secret."
        raise Refused("skill_holds_secret", says, hint="take it out: a minion's secrets.json is the place for it")
    skill = admit_skill(bodies[HEADER], folder=None, source=HEADER)
    if name is not None and name != skill.name:
        says = f"Its {HEADER} calls the skill {skill.name}, not {shown(name)}."
        raise BadDocument("skill_name_differs", says, hint="leave the name out of the call, or make them one")
    _check_may_run(skill, rigid)
    return SkillFiles(skill, kept, digest_tree(bodies), tuple(sorted(set(files) - set(kept))))


def permission_delta(before: Skill | None, after: Skill) -> dict[str, dict[str, list[str]]]:
    """What a version of a skill asks for that the one before did not (`added`), and no longer does (`removed`).

    By kind: `effects` it may stage, `tools` it wants allowed, `tool_codes` that its tools are logged as, other
    skills that it `requires`, the `code` it logs as. Kinds that stayed as they were are left out; without a
    version before, all is new. Network is no permission of a skill: the routine's environment decides it.
    """
    was, now = (_permissions(before) if before is not None else {}), _permissions(after)
    delta = {}
    for kind, asked in now.items():
        old = was.get(kind, frozenset())
        if asked != old:
            delta[kind] = {"added": sorted(asked - old), "removed": sorted(old - asked)}
    return delta


def readable_skill(files: Mapping[str, str]) -> Skill | None:
    """The header of a skill that was kept; None where today's rules refuse what earlier ones took."""
    try:
        return admit_skill(files[HEADER].encode(), folder=None, source=HEADER)
    except BadDocument:
        return None


def _permissions(skill: Skill) -> dict[str, frozenset[str]]:
    return {
        "effects": frozenset(skill.effects),
        "tools": frozenset(skill.allowed_tools),
        "tool_codes": frozenset(f"{tool}={code}" for tool, code in skill.tools.items()),
        "requires": frozenset(skill.requires),
        "code": frozenset({skill_code(skill.name, skill.code)}),
    }


def _check_may_run(skill: Skill, rigid: Mapping[str, str]) -> None:
    if skill.name == REPORT_SKILL:
        says = f"{REPORT_SKILL} is the runner's own, which ends every run."
        raise Refused("reserved_skill", says, hint="give the skill another name")
    for code in (skill_code(skill.name, skill.code), *skill.tools.values()):
        if code in rigid:
            says = f"The skill {skill.name} declares {code}, the step of the rigid block {rigid[code]}."
            raise Refused("rigid_code", says, hint="give it a minion-code of its own, or none")


def _is_left_behind(path: str) -> bool:
    return path.endswith(".pyc") or not LEFT_BEHIND.isdisjoint(path.split("/"))


def _check_names(paths: Sequence[str]) -> None:
    """Raise `BadDocument` for paths that are no plain names below a folder, or that some machine takes for one."""
    found = [problem for path in paths if (problem := _name_problem(path)) is not None] or _clashes(paths)
    if found:
        told = "; ".join(f"{each.path} {each.words}" for each in found[:_MOST_TOLD])
        more = f"; and {len(found) - _MOST_TOLD} more" if len(found) > _MOST_TOLD else ""
        says = f"The skill's files cannot be taken: {told}{more}."
        raise BadDocument(found[0].code, says, hint=found[0].hint)


def _name_problem(name: str) -> Problem | None:
    parts, said = name.split("/"), shown(name)
    plain = "name it by a plain path below the skill's folder"
    if name.startswith("/") or _DRIVE.match(name):
        return Problem(said, "entry_name", "is an absolute path", plain)
    if "\\" in name:
        hint = "write folders with /, or rename the file"
        return Problem(said, "entry_name", "has a backslash in its name", hint)
    if not {"", ".", ".."}.isdisjoint(parts):
        return Problem(said, "entry_name", "has an empty part, . or .. in its path", plain)
    if any(unicodedata.category(letter) in ("Cc", "Cs") or letter in _MISLEADING for letter in name):
        return Problem(said, "entry_name", "has control characters in its name", "rename the file")
    if max(len(part.encode()) for part in parts) > LONGEST_NAME or len(name.encode()) > LONGEST_PATH:
        return Problem(said, "entry_name", "has a name that is too long", "shorten it")
    if len(parts) > DEEPEST:
        return Problem(said, "entry_name", f"lies over {DEEPEST} folders deep", "flatten the folders")
    return None


def _clashes(paths: Sequence[str]) -> list[Problem]:
    """Paths that are one where case and accents do not count, and files that others take for a folder."""
    seen: dict[str, str] = {}
    found: list[Problem] = []
    files = {_folded(path) for path in paths}
    for path in paths:
        parts = path.split("/")
        for number in range(1, len(parts) + 1):
            part = "/".join(parts[:number])
            other = seen.setdefault(_folded(part), part)
            if other != part:
                words = f"and {shown(other)} are one name where case or accents do not count"
                found.append(Problem(shown(path), "entry_twice", words, "rename one of them"))
                break
            if number < len(parts) and _folded(part) in files:
                words = f"lies in {shown(part)}, which is a file too"
                found.append(Problem(shown(path), "entry_twice", words, "rename one of them"))
                break
    return found


def _folded(path: str) -> str:
    """What stays of a name where neither case nor the spelling of accents counts (Unicode 3.13, D145)."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", path).casefold())
