"""Counts changes by file, a renamed file as one, with who changed it."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from git_history import Change, Commit
from plain_text import clean, decoded


@dataclass(slots=True)
class FileShare:
    """What happened to one file; `path` is its newest name as git has it, `commits` counts by author."""

    path: bytes
    added: int = 0
    removed: int = 0
    binary: bool = False
    commits: dict[str, int] = field(default_factory=dict)

    @property
    def lines(self) -> int:
        """Lines added and removed together."""
        return self.added + self.removed

    @property
    def name(self) -> str:
        """The path made fit to print."""
        return clean(decoded(self.path), 80)

    @property
    def authors(self) -> list[str]:
        """Who changed it, who did so most often first."""
        return sorted(self.commits, key=lambda name: (-self.commits[name], name))


def by_file(commits: Iterable[Commit]) -> list[FileShare]:
    """The files that commits (children before parents) changed, the most lines first; merges change none."""
    shares: list[FileShare] = []
    number_of: dict[bytes, int] = {}
    for commit in commits:
        if commit.parents > 1:
            continue
        for change in commit.changes:
            share = _share(change, shares, number_of)
            share.added += change.added
            share.removed += change.removed
            share.binary = share.binary or change.binary
            share.commits[commit.author] = share.commits.get(commit.author, 0) + 1
    return sorted(shares, key=lambda share: (-share.lines, -len(share.commits), share.path))


def _share(change: Change, shares: list[FileShare], number_of: dict[bytes, int]) -> FileShare:
    number = number_of.get(change.path)
    if number is None:
        number = number_of[change.path] = len(shares)
        shares.append(FileShare(change.path))
    if change.was is not None:
        # Before the rename the new name was nobody's, or another file's.
        del number_of[change.path]
        number_of[change.was] = number
    return shares[number]
