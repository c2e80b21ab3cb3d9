"""Reads a skill from a folder or a zip into names and bytes, walked by our own rules and never unpacked to disk.

Plain files only, names that mean one file on every machine, bytes counted as they are read (F19; peers' defect
12: two files of one base name are two files).
"""

from __future__ import annotations

import io
import os
import re
import stat
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final

from minion.skills.zip_reader import MOST_ENTRIES, TooLarge, ZipFlaw, printable, read_entry, zip_entries
from server.contract.refusals import BadDocument, NotFound

FILES: Final = 500
BYTES: Final = 20 * 1024 * 1024
LONGEST_NAME: Final = 255
LONGEST_PATH: Final = 1024
DEEPEST: Final = 16
HEADER: Final = "SKILL.md"
# What file managers, version control and Python leave beside the work: never part of a skill.
LEFT_BEHIND: Final = frozenset({"__MACOSX", ".DS_Store", ".git", "__pycache__"})

_DRIVE = re.compile(r"[A-Za-z]:")
_CHUNK = 64 * 1024
# Lines of their own, and marks that turn the text behind them round: such a name shows as another one.
_MISLEADING = frozenset("\u2028\u2029\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK


@dataclass(frozen=True, slots=True)
class Problem:
    """One breach of the rules: a stable code, words that stand by themselves, a hint."""

    code: str
    words: str
    hint: str


@dataclass(frozen=True, slots=True)
class Reading:
    """A skill as read: files by relative path, what was left out, every breach in order.

    `folder` is the folder that SKILL.md lay in: the folder given, else the archive's one outer folder, which is
    taken off, else None.
    """

    source: str
    packed: bool
    files: Mapping[str, bytes]
    ignored: tuple[str, ...]
    problems: tuple[Problem, ...]
    folder: str | None

    def accepted(self) -> Mapping[str, bytes]:
        """The files. Raises `BadDocument` for the first breach, telling how many more there are."""
        if not self.problems:
            return self.files
        first, more = self.problems[0], len(self.problems) - 1
        also = f" ({more} more: minion skill validate lists them)" if more else ""
        raise BadDocument(first.code, f"{self.source}: {first.words}{also}.", hint=first.hint)


class _Full(Exception):
    """The limits are reached: nothing more is read."""


@dataclass(slots=True)
class _Place:
    """A file or folder seen so far, found by its folded name; `said` when an entry of its own named it."""

    exact: str
    folder: bool
    said: bool
    below: dict[str, _Place] = field(default_factory=dict)


@dataclass(slots=True)
class _Collected:
    """What a walk has found so far, held against the rules as it comes."""

    files: dict[str, bytes] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    flawed: set[str] = field(default_factory=set)
    top: _Place = field(default_factory=lambda: _Place("", True, True))
    total: int = 0
    entries: int = 0

    def enter(self, name: str, *, folder: bool) -> bool:
        """Whether the entry counts and may be taken. Raises `_Full` when there are too many entries."""
        self.entries += 1
        if self.entries > MOST_ENTRIES:
            raise self.full()
        left = _left_behind(name)
        if left is not None:
            if left not in self.ignored:
                self.ignored.append(left)
            return False
        problem = _name_problem(name) or self._clash(name, folder=folder)
        if problem is not None:
            self.add(name, *problem)
        return problem is None

    def take(self, name: str, read: Callable[[int], bytes]) -> None:
        """Read a file that was entered; `read` is told how many bytes there is room for."""
        if len(self.files) >= FILES:
            raise self.full()
        try:
            body = read(BYTES - self.total)
        except TooLarge:
            raise self.full() from None
        except ZipFlaw as flaw:
            self.add(name, "archive_broken", flaw.words, flaw.hint)
        except OSError as error:
            self.add(name, "entry_unreadable", f"cannot be read ({error.strerror})", "check its rights")
        else:
            self.total += len(body)
            self.files[name] = body

    def add(self, name: str, code: str, words: str, hint: str) -> None:
        """Note a breach of one entry."""
        self.flawed.add(name)
        self.problems.append(Problem(code, f"`{printable(name)}` {words}", hint))

    def full(self) -> _Full:
        """Note that the limits are reached, to be raised."""
        words = f"it is over {FILES} files or {BYTES // 2**20} MiB"
        self.problems.append(Problem("skill_too_large", words, "leave large data outside"))
        return _Full()

    def stopped(self) -> bool:
        """Whether there may be more than was read, or the very file that makes a skill was refused."""
        whole = {problem.code for problem in self.problems} & {"skill_too_large", "archive_broken"}
        return bool(whole) or any(name.rpartition("/")[2] == HEADER for name in self.flawed)

    def _clash(self, name: str, *, folder: bool) -> tuple[str, str, str] | None:
        """A file and folder tree in which names that some machine takes for one are one."""
        here, parts = self.top, name.split("/")
        for number, part in enumerate(parts, 1):
            last = number == len(parts)
            known = here.below.get(_folded(part))
            if known is None:
                known = here.below[_folded(part)] = _Place(part, folder or not last, said=last)
            elif known.exact != part:
                other = printable("/".join([*parts[: number - 1], known.exact]))
                words = f"and `{other}` are one name where case or accents do not count"
                return "entry_twice", words, "rename one of them"
            elif known.folder != (folder or not last):
                return "entry_twice", "is a file and a folder at once", "rename one of them"
            elif last and known.said:
                return "entry_twice", "is there twice", "keep one of them"
            known.said = known.said or last
            here = known
        return None


def read_skill(path: Path) -> Reading:
    """The skill in a folder, or in a zip file (`.skill` is one), with every breach of the rules.

    Rules: regular files only; no absolute path, drive letter, backslash, `..`, empty part or control character;
    parts of at most 255 bytes, 1,024 in all, 16 deep; unique after NFC and casefold; at most 500 files and
    20 MiB, counted while they are read; one SKILL.md, at the top or in the one folder there is.
    Raises `NotFound` when there is nothing to read.
    """
    try:
        descriptor = os.open(path, _READ)
    except OSError as error:
        hint = "give the path of a skill's folder, of a .zip or of a .skill file"
        raise NotFound("no_skill_there", f"{path} cannot be read ({error.strerror}).", hint=hint) from error
    found = _Collected()
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            _walk_folder(descriptor, found)
        elif stat.S_ISREG(mode):
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                _walk_zip(file, found)
        else:
            hint = "give a folder, a .zip or a .skill file"
            found.problems.append(Problem("archive_broken", "it is neither a folder nor a zip", hint))
    finally:
        os.close(descriptor)
    packed = not stat.S_ISDIR(mode)
    own = None if packed else Path(os.path.realpath(path)).name or None
    return _unwrapped(found, source=path.name or str(path), packed=packed, own=own)


def read_folder(root: Path) -> Reading:
    """The files of an installed skill, by the same rules. Raises `OSError` when there is no such folder."""
    descriptor = os.open(root, _READ | os.O_DIRECTORY)
    found = _Collected()
    try:
        _walk_folder(descriptor, found)
    finally:
        os.close(descriptor)
    return Reading(root.name, False, found.files, tuple(found.ignored), tuple(found.problems), root.name)


def read_files(name: str, files: Mapping[str, bytes]) -> Reading:
    """A skill that came as its files, by the same rules."""
    found = _Collected()
    try:
        for path in sorted(files):
            if found.enter(path, folder=False):
                found.take(path, partial(_within, files[path]))
    except _Full:
        pass
    return Reading(name, False, found.files, tuple(found.ignored), tuple(found.problems), name)


def _within(body: bytes, room: int) -> bytes:
    if len(body) > room:
        raise TooLarge
    return body


def _walk_folder(descriptor: int, found: _Collected) -> None:
    try:
        _descend(descriptor, "", found)
    except _Full:
        return


def _descend(descriptor: int, prefix: str, found: _Collected) -> None:
    with os.scandir(descriptor) as entries:
        # One more than may be entered in all: a folder of millions is never listed whole.
        names = sorted(entry.name for entry in islice(entries, MOST_ENTRIES + 1))
    for name in names:
        path = prefix + name
        try:
            _look_at(descriptor, name, path, found)
        except OSError as error:
            found.add(path, "entry_unreadable", f"cannot be read ({error.strerror})", "check its rights")


def _look_at(folder: int, name: str, path: str, found: _Collected) -> None:
    mode = os.lstat(name, dir_fd=folder).st_mode
    if not found.enter(path, folder=stat.S_ISDIR(mode)):
        return
    if stat.S_ISDIR(mode):
        inner = os.open(name, _READ | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
        try:
            _descend(inner, path + "/", found)
        finally:
            os.close(inner)
    elif stat.S_ISREG(mode):
        found.take(path, partial(_read_file, folder, name))
    else:
        hint = "put the file itself there: skills hold plain files only"
        found.add(path, "entry_kind", "is a link or no regular file", hint)


def _read_file(folder: int, name: str, room: int) -> bytes:
    descriptor = os.open(name, _READ | os.O_NOFOLLOW, dir_fd=folder)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ZipFlaw("became something else while it was read", "try again when nothing changes it")
        out = io.BytesIO()
        while chunk := os.read(descriptor, _CHUNK):
            if out.tell() + len(chunk) > room:
                raise TooLarge
            out.write(chunk)
        return out.getvalue()
    finally:
        os.close(descriptor)


def _walk_zip(file: io.BufferedReader, found: _Collected) -> None:
    try:
        for entry in zip_entries(file):
            if not found.enter(entry.name, folder=entry.folder):
                continue
            if entry.flaw is not None:
                found.add(entry.name, "entry_kind", entry.flaw.words, entry.flaw.hint)
            elif not entry.folder:
                found.take(entry.name, partial(read_entry, file, entry))
    except ZipFlaw as flaw:
        found.problems.append(Problem("archive_broken", flaw.words, flaw.hint))
    except _Full:
        return


def _left_behind(name: str) -> str | None:
    """The part of the path that is never part of a skill, None when there is none."""
    parts = name.split("/")
    for number, part in enumerate(parts, 1):
        if part in LEFT_BEHIND or part.endswith(".pyc"):
            return "/".join(parts[:number])
    return None


def _folded(part: str) -> str:
    """What stays of a name where neither case nor the spelling of accents counts (Unicode 3.13, D145)."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", part).casefold())


def _name_problem(name: str) -> tuple[str, str, str] | None:
    parts = name.split("/")
    plain = "name it by a plain path below the skill's folder"
    if name.startswith("/") or _DRIVE.match(name):
        return "entry_name", "is an absolute path", plain
    if "\\" in name:
        return "entry_name", "has a backslash in its name", "write folders with /, or rename the file"
    if not {"", ".", ".."}.isdisjoint(parts):
        return "entry_name", "has an empty part, . or .. in its path", plain
    if any("\ud800" <= letter <= "\udfff" for letter in name):
        return "entry_name", "has a name that is not UTF-8", "rename the file"
    if any(unicodedata.category(letter) == "Cc" or letter in _MISLEADING for letter in name):
        return "entry_name", "has control characters in its name", "rename the file"
    if max(len(part.encode()) for part in parts) > LONGEST_NAME:
        return "entry_name", f"has a name of over {LONGEST_NAME} bytes", "shorten it"
    if len(parts) > DEEPEST or len(name.encode()) > LONGEST_PATH:
        return "entry_name", f"lies over {DEEPEST} folders or {LONGEST_PATH:,} bytes deep", "flatten the folders"
    return None


def _unwrapped(found: _Collected, *, source: str, packed: bool, own: str | None) -> Reading:
    """The files with SKILL.md at their top: an outer folder is taken off."""
    files, problems, folder = found.files, list(found.problems), own
    holders = sorted(top for top, _, rest in (name.partition("/") for name in files) if rest == HEADER)
    if HEADER not in files and len(holders) == 1:
        folder = holders[0]
        outside = [name for name in files if not name.startswith(f"{folder}/")]
        for name in outside:
            words = f"`{printable(name)}` lies outside the folder `{printable(folder)}` that has the {HEADER}"
            problems.append(Problem("several_tops", words, "pack one folder"))
        files = {name[len(folder) + 1 :]: body for name, body in files.items() if name not in outside}
    elif HEADER not in files and holders:
        listed = ", ".join(printable(name) for name in holders[:5])
        words = f"it holds {len(holders)} skills: {listed}"
        problems.append(Problem("several_skills", words, "add them one by one"))
    elif HEADER not in files and not found.stopped():
        nearly = [name for name in files if name.rpartition("/")[2].casefold() == HEADER.casefold()]
        hint = f"name it {HEADER}, at the top: `{printable(nearly[0])}` is not" if nearly else f"add a {HEADER}"
        problems.append(Problem("no_skill_file", f"it has no {HEADER} at its top or in its one folder", hint))
    return Reading(source, packed, files, tuple(found.ignored), tuple(problems), folder)
