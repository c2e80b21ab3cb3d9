"""The repositories that routines work on: git reads those of this machine, and remote ones are only named."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from minion.config import passed_environment, search_path
from minion.doctor.finding import Finding, ok, problem
from minion.doctor.remedies import edit_routine
from minion.runner.git import Git, GitFailed, safe_spellings

# A repository of this machine answers at once; a disk that does not is not waited for longer, for one or for all.
_ASK_S: Final = 5.0
_ALL_S: Final = 20.0


async def repositories(folder: Path, routines: Sequence[Mapping[str, Any]]) -> list[Finding]:
    """What is to be said of the repositories of admitted routines; `folder` is the doctor's own.

    No network is used: of a remote address it is only said that it was not tried.
    """
    wanted = [(str(routine["name"]), item) for routine in routines for item in routine["repositories"] or ()]
    here = [(name, item) for name, item in wanted if item["url"].startswith("/")]
    there = {str(item["url"]) for _, item in wanted if not item["url"].startswith("/")}
    git = Git.prepare(
        folder, agent="doctor", safe=[path for _, item in here for path in safe_spellings(item["url"])],
        search_path=search_path(), passed_env=passed_environment(),
    )  # fmt: skip
    why: dict[tuple[str, str | None], str | None] = {}
    try:
        async with asyncio.timeout(_ALL_S):
            for _, item in here:
                asked = (str(item["url"]), item["branch"])
                if asked not in why:
                    why[asked] = await _unreadable(git, *asked)
    except TimeoutError:
        pass  # the ones that were not reached are said to be untried
    found = [
        problem(f"routine {name}", f"No run can clone its repository: {says}.", edit_routine(name))
        for name, item in here
        if (says := why.get((item["url"], item["branch"]))) is not None
    ]
    late = {str(item["url"]) for _, item in here if (item["url"], item["branch"]) not in why}
    good = {url for (url, _), words in why.items() if words is None}
    return [*found, *_told(len(good), there, late)]


async def _unreadable(git: Git, url: str, branch: str | None) -> str | None:
    """Why git cannot read a repository of this machine, None when it can."""
    try:
        reference = "HEAD" if branch is None else f"refs/heads/{branch}"
        answer = await git.run("ls-remote", "--quiet", "--", url, reference, timeout_s=_ASK_S)
    except (GitFailed, OSError, ValueError) as error:
        if not os.path.isdir(url):  # noqa: PTH112, ASYNC240 - never raises, and git has just looked there
            return f"{url} is not there"
        words = error.words if isinstance(error, GitFailed) else str(error)
        words = words.removeprefix("fatal: ").partition(" fatal:")[0]
        return f"git cannot read {url} ({words.rstrip('.')})"
    return None if answer.strip() or branch is None else f"{url} has no branch {branch}"


def _told(read: int, there: Iterable[str], late: Iterable[str]) -> list[Finding]:
    """The finding on what can be read, and on what was not tried; none where there is neither."""
    said = [f"git reads {_counted(read)} of this machine"] if read else []
    for urls, why in ((sorted(there), "no network is used here"), (sorted(late), "they took too long")):
        if urls:
            more = f" and {len(urls) - 1} more" if len(urls) > 1 else ""
            said.append(f"{'not' if said else 'Not'} tried: {urls[0]}{more} ({why})")
    return [ok("repositories", f"{'; '.join(said)}.")] if said else []


def _counted(number: int) -> str:
    return "1 repository" if number == 1 else f"{number} repositories"
