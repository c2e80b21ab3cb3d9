"""Reads commits from a bare clone through git with a fixed environment; writes nothing, needs no network."""

import os
import re
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from plain_text import clean, decoded, name_of

SUBJECT_LIMIT = 72
NUMSTAT = re.compile(rb"(\d+|-)\t(\d+|-)\t(.*)", re.DOTALL)
BRANCH = re.compile(r"[^\x00-\x20\x7f~^:?*\[\\]{1,250}")
FIELDS = ("%H", "%P", "%ct", "%aN", "%s")
# git cannot parse a date before 1970 and guesses at odd ones: such bounds are left to our own comparison.
EARLIEST_BOUND = 86_400


class HistoryUnreadable(Exception):
    """A history that git cannot read; the message is one sentence."""


@dataclass(frozen=True, slots=True)
class Period:
    """Whole seconds since 1970, UTC: `first` is the first second counted, `end` the first one not counted."""

    first: int
    end: int


@dataclass(frozen=True, slots=True)
class Change:
    """One file of one commit; `was` is its path before a rename; a binary file has no lines."""

    path: bytes
    was: bytes | None
    added: int
    removed: int
    binary: bool


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit with its committer time in seconds since 1970; name and subject are cleaned single lines."""

    sha: str
    parents: int
    at: int
    author: str
    subject: str
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A commit of the period that is not on the reported branch, and the branch it was found on."""

    branch: str
    at: int
    author: str


class History:
    """The history of one repository, as git tells it about the bare clone `folder`."""

    def __init__(self, name: str, folder: str) -> None:
        self._name = name
        self._folder = str(Path(folder).absolute())
        if not Path(folder).is_dir():
            raise self._unreadable("there is no such folder")

    def branch_and_tip(self, branch: str | None) -> tuple[str, str | None]:
        """The branch to report on and its commit, None if unborn: `branch` if it exists, else HEAD's."""
        if branch and BRANCH.fullmatch(branch):
            for ref in (f"refs/heads/{branch}", f"refs/remotes/{branch}", f"refs/remotes/origin/{branch}"):
                tip = self._commit_of(ref)
                if tip is not None:
                    return branch, tip
        head = self._ask("symbolic-ref", "--quiet", "HEAD", may_fail=True).strip()
        named = clean(decoded(head.removeprefix(b"refs/heads/")), 80)
        return named or "HEAD", self._commit_of("HEAD")

    def commits(self, tip: str, period: Period) -> Iterator[Commit]:
        """Commits reachable from `tip` in the period, children before parents, each with its changes.

        Merges carry no changes. One pass of `git log --numstat -z`; the commit at the edge of a shallow clone
        would show its whole tree as added, so it comes without changes.
        """
        edge = self.shallow_edge()
        options = ["--topo-order", "--numstat", "-M", "--no-ext-diff", "--no-textconv", *_bounds(period)]
        for head, changes in self._log(options, FIELDS, [tip], mailmap=tip):
            commit = _commit(head)
            if period.first <= commit.at < period.end:
                yield commit if commit.sha in edge else replace(commit, changes=changes)

    def elsewhere(self, tip: str | None, period: Period) -> Iterator[Elsewhere]:
        """Commits of the period that other branches have and `tip` has not, each once, merges left out."""
        revisions = ["--branches", "--exclude=*/HEAD", "--remotes"] + ([f"^{tip}"] if tip else [])
        options = ["--no-patch", "--no-merges", *_bounds(period)]
        for (ref, at, author), _ in self._log(options, ("%S", "%ct", "%aN"), revisions, mailmap=tip):
            if period.first <= _seconds(at) < period.end:
                branch = re.sub(rb"^refs/(?:heads|remotes)/", b"", ref)
                yield Elsewhere(clean(decoded(branch), 80), _seconds(at), name_of(author))

    def last_before(self, tip: str, end: int) -> Commit | None:
        """The newest commit on `tip` before `end`, without its changes; None if all are later."""
        options = ["--no-patch", "-1", *_until(end)]
        found = [_commit(head) for head, _ in self._log(options, FIELDS, [tip], mailmap=tip)]
        return found[0] if found else None

    def merged_from_before(self, tip: str, period: Period) -> int:
        """How many commits made before the period came to `tip` by merges within it."""
        if period.first <= EARLIEST_BOUND:
            return 0
        before = _until(period.first)
        found = self._ask("rev-list", "--first-parent", "-1", *before, tip, "--")
        if not found.strip():
            return 0
        counted = self._ask(
            "rev-list", "--count", "--no-merges", *before, tip, "^" + found.strip().decode("ascii"), "--"
        )
        return int(counted)

    def shallow_edge(self) -> frozenset[str]:
        """The commits at which a shallow clone was cut off; empty for a whole one."""
        edge = Path(self._folder, "shallow")
        return frozenset(edge.read_text("ascii").split()) if edge.is_file() else frozenset()

    def _log(
        self, options: list[str], fields: tuple[str, ...], revisions: list[str], *, mailmap: str | None
    ) -> Iterator[tuple[list[bytes], tuple[Change, ...]]]:
        # No path and no subject can be this word, so a record's start cannot be forged by a commit.
        start = secrets.token_hex(16)
        # The trailing NUL parts the last field from git's separators, which a diff changes.
        layout = f"--format=tformat:{start}%x00" + "".join(field + "%x00" for field in fields)
        fixed = ["log", "-z", "--no-color", "--no-show-signature", "--encoding=UTF-8", layout]
        config = [] if mailmap is None else ["-c", f"mailmap.blob={mailmap}:.mailmap"]
        pieces = self._stream([*config, *fixed, *options, *revisions, "--"])
        yield from records(pieces, start.encode("ascii"), len(fields))

    def _commit_of(self, ref: str) -> str | None:
        found = self._ask("rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}", may_fail=True)
        return found.decode("ascii").strip() or None

    def _ask(self, *arguments: str, may_fail: bool = False) -> bytes:
        try:
            return b"\0".join(self._stream(list(arguments)))
        except HistoryUnreadable:
            if not may_fail:
                raise
            # "There is no such ref" and "this is no repository" end alike: only the latter is a failure.
            b"".join(self._stream(["rev-parse", "--git-dir"]))
            return b""

    def _stream(self, arguments: list[str]) -> Iterator[bytes]:
        """The NUL-separated pieces of what git prints. Raises `HistoryUnreadable` when git fails."""
        with tempfile.TemporaryFile() as errors:
            argv = [_git(), "--git-dir", self._folder, *SETTINGS, *arguments]
            with subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, env=_environment(),
                cwd=self._folder,
            ) as git:  # fmt: skip
                assert git.stdout is not None  # noqa: S101 - a pipe was asked for
                rest = b""
                while chunk := git.stdout.read(1 << 18):
                    *whole, rest = (rest + chunk).split(b"\0")
                    yield from whole
                if rest:
                    yield rest
            if git.returncode != 0:
                errors.seek(0)
                raise self._unreadable(_reason(errors.read(4096)))

    def _unreadable(self, reason: str) -> HistoryUnreadable:
        return HistoryUnreadable(f"The history of {clean(self._name, 60)} cannot be read: {reason}.")


# A repository's own settings must neither start a program nor change what is printed.
SETTINGS = (
    "-c", "core.fsmonitor=false",
    "-c", "core.hooksPath=/dev/null",
    "-c", "log.showRoot=true",
)  # fmt: skip


def records(
    pieces: Iterator[bytes], start: bytes, fields: int
) -> Iterator[tuple[list[bytes], tuple[Change, ...]]]:
    """The commits in git's NUL-separated pieces: the header's fields and the changes that follow it."""
    head: list[bytes] | None = None
    changes: list[Change] = []
    for piece in pieces:
        if piece.lstrip(b"\n") == start:
            if head is not None:
                yield head, tuple(changes)
            head, changes = [next(pieces, b"") for _ in range(fields)], []
            continue
        found = NUMSTAT.fullmatch(piece.lstrip(b"\n"))
        if found is None:
            continue
        added, removed, path = found.groups()
        # A rename leaves the path empty and gives the old and the new one as pieces of their own.
        was = next(pieces, b"") if not path else None
        path = path or next(pieces, b"")
        binary = added == b"-"
        changes.append(Change(path, was, 0 if binary else int(added), 0 if binary else int(removed), binary))
    if head is not None:
        yield head, tuple(changes)


def _commit(head: list[bytes]) -> Commit:
    sha, parents, at, author, subject = head
    cleaned = clean(decoded(subject), SUBJECT_LIMIT)
    return Commit(sha.decode("ascii"), len(parents.split()), _seconds(at), name_of(author), cleaned, ())


def _bounds(period: Period) -> list[str]:
    if period.first <= EARLIEST_BOUND:
        return _until(period.end)
    # A plain --since stops at the first older commit, and one wrong clock then hides everything behind it.
    since = "--since-as-filter" if _version() >= (2, 37) else "--since"
    return [f"{since}={_moment(period.first)}", *_until(period.end)]


def _until(end: int) -> list[str]:
    return [f"--until={_moment(end - 1)}"]


def _moment(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S+0000")


def _seconds(raw: bytes) -> int:
    return int(raw) if raw.strip().isdigit() and len(raw) < 19 else 0


@cache
def _git() -> str:
    found = shutil.which("git", path=os.environ.get("PATH", os.defpath))
    if found is None:
        raise HistoryUnreadable("git is not installed here, and the report is made from git's history.")
    return found


@cache
def _version() -> tuple[int, ...]:
    told = subprocess.run([_git(), "version"], capture_output=True, env=_environment(), check=False)
    numbers = re.search(rb"(\d+)\.(\d+)", told.stdout)
    return tuple(int(number) for number in numbers.groups()) if numbers else (0,)


def _environment() -> dict[str, str]:
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_NO_LAZY_FETCH": "1",
    }


def _reason(errors: bytes) -> str:
    lines = [line for line in decoded(errors).splitlines() if line.startswith(("fatal:", "error:"))]
    return clean(lines[-1], 200).rstrip(".") if lines else "git failed without saying why"
