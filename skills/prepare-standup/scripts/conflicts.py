"""Tries merges in a scratch folder, so that neither the history nor anything else is written to."""

import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from git_history import History, HistoryUnreadable
from plain_text import clean, decoded

OBJECT_ID = re.compile(rb"[0-9a-f]{40}|[0-9a-f]{64}")


class TrialMerges(History):
    """A bare repository of no commits of its own that sees the objects of another one."""

    def conflicts(self, ours: str, theirs: str) -> tuple[str, ...] | None:
        """The paths in which `theirs` does not merge into `ours`; None when it cannot be told.

        That is so with a git older than 2.38, for unrelated histories, and where a clone is cut off.
        """
        arguments = ["merge-tree", "--write-tree", "-z", "--name-only", "--no-messages", ours, theirs]
        pieces: list[bytes] = []
        try:
            pieces.extend(self._stream(arguments))
        except HistoryUnreadable:
            # A merge with conflicts ends like a failure, but it has named its tree before.
            if not pieces or OBJECT_ID.fullmatch(pieces[0]) is None:
                return None
        paths = dict.fromkeys(clean(decoded(path), 80) for path in pieces[1:] if path)
        return tuple(paths) if pieces and OBJECT_ID.fullmatch(pieces[0]) else None


@contextmanager
def trial_merges(name: str, history: str, tip: str) -> Iterator[TrialMerges]:
    """Somewhere to try merges of the commits in `history`, gone afterwards.

    Its settings are git's own: a merge driver that the history's configuration names is not started. Of the
    history nothing but the time stamps of objects may change, which git renews where it can.
    """
    objects = Path(history, "objects").absolute()
    with tempfile.TemporaryDirectory() as folder:
        scratch = TrialMerges(name, folder)
        kind = "sha256" if len(tip) == 64 else "sha1"
        scratch._ask("init", "--bare", "--quiet", "--template=", f"--object-format={kind}")
        info = Path(folder, "objects", "info")
        info.mkdir(exist_ok=True)
        (info / "alternates").write_text(f"{_quoted(str(objects))}\n", "utf-8", "surrogateescape")
        edge = Path(history, "shallow")
        if edge.is_file():
            shutil.copyfile(edge, Path(folder, "shallow"))
        yield scratch


def conflicting(
    name: str, history: str, tip: str, branches: Sequence[str]
) -> dict[str, tuple[str, ...]] | None:
    """For each commit of `branches`, the paths that conflict with `tip`; None if no merge could be tried."""
    if not branches:
        return {}
    with trial_merges(name, history, tip) as scratch:
        tried = {branch: scratch.conflicts(tip, branch) for branch in branches}
    known = {branch: paths for branch, paths in tried.items() if paths is not None}
    return known or None


def _quoted(path: str) -> str:
    """A path as git's `alternates` file wants it: in quotes when it has unusual signs."""
    if path.isprintable() and '"' not in path and "\\" not in path:
        return path
    return (
        '"' + path.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t") + '"'
    )
