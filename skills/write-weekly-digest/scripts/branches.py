"""Reads what lies beside the reported branch: commits on every branch, and branches that are not merged."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from git_history import Commit, History, Period, _bounds, _commit, _seconds, _until
from plain_text import clean, decoded, name_of

EVERY_BRANCH = ("--branches", "--exclude=*/HEAD", "--remotes")
PREFIX = re.compile(rb"^refs/(?:heads|remotes)/")
# Branches that are published from, not worked on: they are never meant to be merged.
NEVER_MERGED = frozenset({"gh-pages", "origin/gh-pages"})


@dataclass(slots=True)
class OpenBranch:
    """A branch with commits that the reported branch has not; times are seconds since 1970.

    `tip` is its newest commit, `commits` its own ones, merges left out; `authors` counts them by name.
    """

    name: str
    tip: str
    first: int
    last: int
    authors: Counter[str] = field(default_factory=Counter)
    commits: set[str] = field(default_factory=set)

    @property
    def owner(self) -> str:
        """Whose branch it is: the author of most of its commits."""
        return min(self.authors, key=lambda name: (-self.authors[name], name))


class Branches(History):
    """A repository's history as `History` reads it, and the branches beside the reported one."""

    def everywhere(self, tip: str | None, period: Period) -> Iterator[Commit]:
        """Commits of the period on any branch, each once, children before parents, with their changes."""
        edge = self.shallow_edge()
        options = ["--topo-order", "--numstat", "-M", "--no-ext-diff", "--no-textconv", *_bounds(period)]
        revisions = [*EVERY_BRANCH, *([tip] if tip else [])]
        fields = ("%H", "%P", "%ct", "%aN", "%s")
        for head, changes in self._log(options, fields, revisions, mailmap=tip):
            commit = _commit(head)
            if period.first <= commit.at < period.end:
                yield commit if commit.sha in edge else replace(commit, changes=changes)

    def newest(self, tip: str | None, end: int) -> Commit | None:
        """The newest commit before `end` on any branch, without its changes."""
        revisions = [*EVERY_BRANCH, *([tip] if tip else [])]
        options = ["--no-patch", "-1", *_until(end)]
        fields = ("%H", "%P", "%ct", "%aN", "%s")
        found = [_commit(head) for head, _ in self._log(options, fields, revisions, mailmap=tip)]
        return found[0] if found else None

    def unmerged(self, tip: str | None, end: int) -> list[OpenBranch]:
        """Branches with commits made before `end` that `tip` has not, the last one worked on first.

        A commit on two of them counts for one; two branches of one tip are one.
        """
        if tip is None:
            return []
        tips = self._tips()
        found: dict[bytes, OpenBranch] = {}
        options = ["--no-patch", "--no-merges", *_until(end)]
        fields = ("%S", "%H", "%ct", "%aN")
        for (ref, sha, at, author), _ in self._log(options, fields, [*EVERY_BRANCH, f"^{tip}"], mailmap=tip):
            # Some versions of git name the whole ref here, others only the branch.
            ref = PREFIX.sub(b"", ref)
            name = clean(decoded(ref), 80)
            if name in NEVER_MERGED or ref not in tips:
                continue
            made = _seconds(at)
            branch = found.setdefault(ref, OpenBranch(name, tips[ref], made, made))
            branch.first, branch.last = min(branch.first, made), max(branch.last, made)
            branch.authors[name_of(author)] += 1
            branch.commits.add(sha.decode("ascii"))
        return sorted(found.values(), key=lambda branch: (-branch.last, branch.name))

    def _tips(self) -> dict[bytes, str]:
        layout = "--format=%(refname)%00%(objectname)%00"
        pieces = self._ask("for-each-ref", layout, "refs/heads", "refs/remotes").split(b"\0")
        tips: dict[bytes, str] = {}
        for ref, sha in zip(pieces[::2], pieces[1::2], strict=False):
            # A local branch comes before a remote one of the same short name.
            tips.setdefault(PREFIX.sub(b"", ref.lstrip(b"\n")), sha.decode("ascii"))
        return tips
