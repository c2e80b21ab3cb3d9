"""Which repositories a routine means when it does not say: the git checkout around the current folder."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import Any, Final

from server.contract.refusals import BadUse

_REMOTE: Final = re.compile(r"(?:(?:https|ssh)://|[A-Za-z0-9._-]+@[A-Za-z0-9.-]+:)[^\x00-\x20\x7f]+")
_UNFIT: Final = re.compile(r"[^A-Za-z0-9._-]+")


def top_level(folder: Path) -> Path | None:
    """The checkout that `folder` lies in, absolute, or None outside one.

    Found by looking for `.git` on the way up: no git is run in a folder nobody has vouched for.
    """
    start = Path(os.path.abspath(folder))  # noqa: PTH100 - links stay as the user typed them
    return next((place for place in (start, *start.parents) if (place / ".git").exists()), None)


def repository_at(text: str) -> dict[str, Any]:
    """The repository that `--repo` names: a folder of this machine or a remote URL, as a routine would have it.

    Raises `BadUse` when the folder is in no checkout or the URL has another form.
    """
    if _REMOTE.fullmatch(text) is not None:
        return {"url": text, "name": name_of(text), "branch": None}
    top = None
    # A text that no path can be: longer than the system takes, or with a NUL in it.
    with contextlib.suppress(OSError, ValueError, RuntimeError):
        place = Path(text).expanduser()
        top = top_level(place) if place.is_dir() else None
    if top is None:
        raise BadUse(
            "no_repository", f"{text[:300]} is in no git checkout.",
            hint="name a folder of one, or an https or ssh URL",
        )
    return {"url": str(top), "name": name_of(str(top)), "branch": None}


def name_of(url: str) -> str:
    """A short name for a repository: the last part of its URL, fit for a folder's name."""
    last = re.split(r"[/:]", url.rstrip("/"))[-1].removesuffix(".git")
    return _UNFIT.sub("-", last).strip("-.")[:64] or "repository"
