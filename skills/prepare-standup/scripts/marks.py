"""Counts the lines added in a period that are marked as still to be done, by author."""

import re
import secrets
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator

from git_history import SETTINGS, History, Period, _bounds, _environment, _git, _reason, _seconds
from plain_text import name_of

# The two usual marks in comments; the brackets keep this file from being counted itself.
MARK = re.compile(rb"\b(?:TO[D]O|FIX[M]E)\b")
PICKED = "TO[D]O|FIX[M]E"
# A file over a mebibyte is generated, and git then shows no lines of it.
LARGEST_FILE = "1m"


class Patches(History):
    """A repository's history, read for the lines its commits added."""

    def marks_added(self, tip: str | None, revisions: list[str], period: Period) -> Counter[str]:
        """How many marked lines each author's commits of the period added, moved ones left out.

        `revisions` are those to read from. Only commits that touch such lines print anything.
        """
        start = secrets.token_hex(16).encode("ascii")
        argv = [_git(), "--git-dir", self._folder, *SETTINGS, "-c", f"core.bigFileThreshold={LARGEST_FILE}"]
        argv += [] if tip is None else ["-c", f"mailmap.blob={tip}:.mailmap"]
        argv += ["log", "--no-color", "--no-show-signature", "--encoding=UTF-8", "--no-merges", "--patch"]
        argv += [
            "--unified=0",
            "--no-renames",
            "--no-ext-diff",
            "--no-textconv",
            "--src-prefix=",
            "--dst-prefix=",
        ]
        argv += [
            f"--format=tformat:{start.decode()} %H %ct %aN",
            "-G",
            PICKED,
            *_bounds(period),
            *revisions,
            "--",
        ]
        with tempfile.TemporaryFile() as errors:
            with subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, env=_environment(),
                cwd=self._folder,
            ) as git:  # fmt: skip
                assert git.stdout is not None  # noqa: S101 - a pipe was asked for
                found = _counted(iter(git.stdout), start, period, self.shallow_edge())
            if git.returncode != 0:
                errors.seek(0)
                raise self._unreadable(_reason(errors.read(4096)))
        return found


def _counted(lines: Iterator[bytes], start: bytes, period: Period, edge: frozenset[str]) -> Counter[str]:
    total: Counter[str] = Counter()
    author, counts, in_hunk = "", False, False
    added: Counter[bytes] = Counter()
    for line in lines:
        if line.startswith(start):
            total[author] += (+added).total()
            _, sha, at, name = line.rstrip(b"\n").split(b" ", 3)
            author, added, in_hunk = name_of(name), Counter(), False
            counts = period.first <= _seconds(at) < period.end and sha.decode("ascii") not in edge
        elif line.startswith(b"@@"):
            in_hunk = True
        elif line.startswith(b"diff "):
            in_hunk = False
        elif in_hunk and counts and line[:1] in b"+-" and MARK.search(line):
            # A line that goes in one place and comes in another was moved, not added.
            added[line[1:].strip()] += 1 if line[:1] == b"+" else -1
    total[author] += (+added).total()
    return +total
