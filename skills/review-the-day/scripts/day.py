"""Gathers what a day left behind: unfinished branches, files to look at once more, code without tests."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from branches import OpenBranch
from changed_files import FileShare, by_file
from file_kinds import is_code, is_test
from git_history import Commit

# What people write into a commit that they mean to come back to.
UNFINISHED = re.compile(r"^(?:wip\b|fixup!|squash!|amend!|tmp\b|temp\b|checkpoint\b|\[wip\])", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Untested:
    """A commit that changed code and no test; `lines` are its lines of code, added and removed together."""

    commit: Commit
    lines: int


@dataclass(frozen=True, slots=True)
class Findings:
    """One repository's day, merges counted apart. `tip` says whether the reported branch has any commit.

    `touched` are unmerged branches with commits of the day; `marks` None when they were not counted; `newest`
    is the last commit on any branch when the day had none.
    """

    name: str
    branch: str
    tip: bool
    commits: Sequence[Commit]
    merges: int
    files: Sequence[FileShare]
    touched: Sequence[OpenBranch]
    code_commits: int
    untested: Sequence[Untested]
    unfinished: Sequence[Commit]
    marks: int | None
    cut_off: int
    newest: Commit | None

    @property
    def authors(self) -> set[str]:
        """Who made the day's commits."""
        return {commit.author for commit in self.commits}

    @property
    def lines(self) -> tuple[int, int]:
        """Lines added and removed in the day."""
        return sum(item.added for item in self.files), sum(item.removed for item in self.files)

    @property
    def shared(self) -> list[FileShare]:
        """Files that several people changed, the most people first."""
        several = [item for item in self.files if len(item.commits) > 1]
        return sorted(several, key=lambda item: (-len(item.commits), -item.lines, item.path))

    @property
    def code_files(self) -> int:
        """Files of code that changed, tests left out."""
        return sum(1 for item in self.files if is_code(item.path))

    @property
    def test_files(self) -> int:
        """Files of tests that changed."""
        return sum(1 for item in self.files if is_test(item.path))

    def of_day(self, branch: OpenBranch) -> int:
        """How many of a branch's own commits were made in the day."""
        return sum(1 for commit in self.commits if commit.sha in branch.commits)


def findings(
    name: str,
    branch: str,
    tip: bool,
    commits: Sequence[Commit],
    open_branches: Sequence[OpenBranch],
    *,
    marks: int | None,
    edge: frozenset[str],
    newest: Commit | None,
) -> Findings:
    """What a repository's commits of the day (children before parents) come to."""
    own = [commit for commit in commits if commit.parents < 2]
    shas = {commit.sha for commit in own}
    code = [
        (commit, sum(_lines(commit))) for commit in own if any(is_code(item.path) for item in commit.changes)
    ]
    untested = [
        Untested(commit, lines)
        for commit, lines in code
        if not any(is_test(change.path) for change in commit.changes)
    ]
    return Findings(
        name=name,
        branch=branch,
        tip=tip,
        commits=own,
        merges=len(commits) - len(own),
        files=by_file(commits),
        touched=[item for item in open_branches if item.commits & shas],
        code_commits=len(code),
        untested=sorted(untested, key=lambda item: (-item.lines, -item.commit.at)),
        unfinished=[commit for commit in own if UNFINISHED.match(commit.subject)],
        marks=marks,
        cut_off=len(shas & edge),
        newest=newest,
    )


def _lines(commit: Commit) -> list[int]:
    return [change.added + change.removed for change in commit.changes if is_code(change.path)]
