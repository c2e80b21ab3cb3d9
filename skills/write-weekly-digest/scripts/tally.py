"""Counts what a period's commits did: by author, by top-level folder, by file, each line and file once."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from git_history import Change, Commit, Elsewhere
from plain_text import clean, decoded

TOP_LEVEL = "(top level)"
# A generated file of 10,000 lines says less about a commit than 30 files of 30 lines.
LINES_THAT_COUNT_PER_FILE = 300
WORTH_A_LOOK = (
    ("security", re.compile(r"\bCVE-\d{4}-\d+|\bsecurity\b|\bvulnerab", re.IGNORECASE)),
    ("breaking", re.compile(r"^\w+(?:\([^)]*\))?!:|\bBREAKING\b")),
    ("revert", re.compile(r"^revert\b", re.IGNORECASE)),
)


@dataclass(slots=True)
class Share:
    """What one author, one area or all commits together did; `files` are the numbers of distinct files."""

    name: str
    commits: int = 0
    added: int = 0
    removed: int = 0
    files: set[int] = field(default_factory=set)

    @property
    def lines(self) -> int:
        """Lines added and removed together."""
        return self.added + self.removed


@dataclass(frozen=True, slots=True)
class Noted:
    """A commit as the report names it: `why` is why it is worth a look, None for its size alone."""

    sha: str
    at: int
    author: str
    subject: str
    added: int
    removed: int
    files: int
    why: str | None
    weight: int


@dataclass(slots=True)
class BranchShare:
    """A branch beside the reported one: commits that only it has, who made them, when the last was made."""

    name: str
    commits: int = 0
    last: int = 0
    authors: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Tally:
    """The counts of one repository's period. `first` and `last` are commit times, seconds since 1970."""

    total: Share = field(default_factory=lambda: Share("all"))
    merges: int = 0
    without_changes_known: int = 0
    binary_files: set[int] = field(default_factory=set)
    first: int | None = None
    last: int | None = None
    authors: dict[str, Share] = field(default_factory=dict)
    areas: dict[bytes, Share] = field(default_factory=dict)
    noted: list[Noted] = field(default_factory=list)
    largest_file: tuple[str, int, int] | None = None

    def ranked_authors(self) -> list[Share]:
        """Authors, most commits first, then most lines."""
        return sorted(self.authors.values(), key=lambda share: (-share.commits, -share.lines, share.name))

    def ranked_areas(self) -> list[Share]:
        """Top-level folders, most commits first, then most lines."""
        return sorted(self.areas.values(), key=lambda share: (-share.commits, -share.lines, share.name))

    def ranked_commits(self) -> list[Noted]:
        """Commits worth a look first, then the largest; an author's second counts half, the third a third."""
        by_size = sorted(self.noted, key=lambda note: (note.why is None, -note.weight, -note.at))
        told: Counter[str] = Counter()
        weighed = []
        for note in by_size:
            told[note.author] += 1
            weighed.append((note.why is None, -note.weight / told[note.author], -note.at, note))
        return [note for *_, note in sorted(weighed, key=lambda entry: entry[:3])]


def tally(commits: Iterable[Commit], *, cut_off: frozenset[str] = frozenset()) -> Tally:
    """Count commits that come children before parents; `cut_off` are those whose changes are unknown.

    A file that is renamed is one file: an older commit that touched it under its old name counts to the new
    one. Merges are counted apart and change nothing themselves.
    """
    result = Tally()
    names = _Names()
    per_file: dict[int, list[int]] = {}
    for commit in commits:
        result.first = commit.at if result.first is None else min(result.first, commit.at)
        result.last = commit.at if result.last is None else max(result.last, commit.at)
        if commit.parents > 1:
            result.merges += 1
            continue
        result.without_changes_known += commit.sha in cut_off
        _count(result, commit, names, per_file)
    if per_file:
        number, (added, removed) = max(per_file.items(), key=lambda item: sum(item[1]))
        result.largest_file = (clean(decoded(names.path_of[number]), 60), added, removed)
    return result


def tally_branches(commits: Iterable[Elsewhere]) -> list[BranchShare]:
    """Branches beside the reported one, the most active first."""
    branches: dict[str, BranchShare] = {}
    for commit in commits:
        share = branches.setdefault(commit.branch, BranchShare(commit.branch))
        share.commits += 1
        share.last = max(share.last, commit.at)
        share.authors[commit.author] = share.authors.get(commit.author, 0) + 1
    return sorted(branches.values(), key=lambda share: (-share.commits, -share.last, share.name))


class _Names:
    """Numbers files, following renames backwards in time."""

    def __init__(self) -> None:
        self.path_of: list[bytes] = []
        self._number: dict[bytes, int] = {}

    def number(self, change: Change) -> int:
        """The number of a commit's file, which older commits know by the name it had before."""
        number = self._number_of(change.path)
        if change.was is not None:
            # Before the rename the new name was nobody's, or another file's.
            del self._number[change.path]
            self._number[change.was] = number
        return number

    def _number_of(self, path: bytes) -> int:
        if path not in self._number:
            self._number[path] = len(self.path_of)
            self.path_of.append(path)
        return self._number[path]


def _count(result: Tally, commit: Commit, names: _Names, per_file: dict[int, list[int]]) -> None:
    author = result.authors.setdefault(commit.author, Share(commit.author))
    areas: dict[bytes, Share] = {}
    numbers = set()
    weight = added = removed = 0
    for change in commit.changes:
        number = names.number(change)
        numbers.add(number)
        folder, slash, _ = change.path.partition(b"/")
        key = folder if slash else b""
        area = areas[key] = result.areas.setdefault(key, Share(_area_name(key)))
        for share in (result.total, author, area):
            share.files.add(number)
            share.added += change.added
            share.removed += change.removed
        if change.binary:
            result.binary_files.add(number)
        lines = per_file.setdefault(number, [0, 0])
        lines[0] += change.added
        lines[1] += change.removed
        added, removed = added + change.added, removed + change.removed
        weight += min(change.added + change.removed, LINES_THAT_COUNT_PER_FILE) + 5
    for share in (result.total, author, *areas.values()):
        share.commits += 1
    why = next((word for word, sign in WORTH_A_LOOK if sign.search(commit.subject)), None)
    result.noted.append(
        Noted(commit.sha, commit.at, commit.author, commit.subject, added, removed, len(numbers), why, weight)
    )


def _area_name(folder: bytes) -> str:
    return clean(decoded(folder), 40) + "/" if folder else TOP_LEVEL
