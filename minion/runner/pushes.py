"""Pushes: commits what a session changed, from the private git directory, and pushes it to a `claude/` branch."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from minion.runner.effect import Effect, Performed
from minion.runner.git import Git, GitFailed, push, remote_commit
from minion.runner.workspace import MASKED_FILES, MASKED_FOLDERS, ClonedRepository, Workspace, nested_git
from minion.wire import Order

_GIT_SECONDS: Final = 300.0


async def push_workspace(effect: Effect, workspace: Workspace, order: Order) -> Performed:
    """Commit and push one repository's changes; the remote, read back, decides how it ended."""
    name, _, branch = effect.target.partition(":")
    repository = next(item for item in workspace.repositories if item.ordered.name == name)
    url, git, git_dir = repository.ordered.url, workspace.git, repository.git_dir
    try:
        commit = await commit_workspace(repository, workspace, effect, order)
    except (GitFailed, ValueError) as error:
        return Performed("failed", f"{error}")
    words, ended = "the remote does not show the commit", True
    try:
        await push(git, git_dir, url, commit, branch, timeout_s=_GIT_SECONDS)
    except GitFailed as error:
        words, ended = str(error), error.status is not None
    try:
        standing = await remote_commit(git, git_dir, url, branch, timeout_s=_GIT_SECONDS)
    except GitFailed:
        return Performed("unknown", f"{words}; the remote could not be read back", f"{name}:{branch}")
    # It may stand at the commit of an earlier attempt, which arrived after all.
    if standing is None or (standing != commit and not await is_of_effect(git, git_dir, standing, effect.id)):
        # A push that was cut off may still be at work on the other side.
        return Performed("failed" if ended else "unknown", words, f"{name}:{branch}")
    return pushed(name, branch, url, standing)


def pushed(name: str, branch: str, url: str, commit: str) -> Performed:
    """A push whose commit stands on the remote."""
    reverse = shlex.join(("git", "push", url, "--delete", branch))
    return Performed("delivered", f"{branch} at {commit[:12]}", f"{name}:{branch}", reverse)


async def is_of_effect(git: Git, git_dir: Path, commit: str, effect_id: str) -> bool:
    """Whether a commit was made for an effect: the run's private git directory has it, and its message says so."""
    if re.fullmatch(r"[0-9a-f]{40,64}", commit) is None:
        return False
    try:
        body = await git.run("cat-file", "commit", commit, git_dir=git_dir)
    except GitFailed:
        return False
    return f"Minion-Effect: {effect_id}" in body.decode("utf-8", "replace").splitlines()


async def commit_workspace(
    repository: ClonedRepository, workspace: Workspace, effect: Effect, order: Order
) -> str:
    """Commit what the session changed, from the private git directory; the new commit's id.

    Raises `ValueError` when there is nothing to push or the change holds what may not be pushed, `GitFailed`.
    """
    inner = nested_git(repository.files)
    if inner is not None:
        raise ValueError(f"the workspace holds a git directory ({inner}), which is never pushed")
    git = workspace.git
    await git.run("add", "--all", "--", ".", git_dir=repository.git_dir, work_tree=repository.files)
    base = [repository.head] if repository.head else []
    tree = (await git.run("write-tree", git_dir=repository.git_dir)).decode().strip()
    if repository.head is not None:
        options = ("--no-renames", "--ignore-submodules=all", "--name-only", "-z")
        changed = await git.run("diff-tree", "-r", *options, *base, tree, git_dir=repository.git_dir)
        _refuse_client_configuration(changed.decode("utf-8", "replace").split("\0"))
        if not changed:
            raise ValueError("there is nothing to push: the workspace is as it was cloned")
    title = effect.title or f"{order.routine['name']}: changes of a run"
    message = f"{title}\n\n{effect.body}\n\nMinion-Run: {order.run_id}\nMinion-Effect: {effect.id}\n"
    parents = [word for commit in base for word in ("-p", commit)]
    out = await git.run(
        "commit-tree", *parents, "-F", "-", tree, git_dir=repository.git_dir, stdin=message.encode()
    )
    return out.decode().strip()


def _refuse_client_configuration(paths: Sequence[str]) -> None:
    for path in paths:
        parts = [part.casefold() for part in PurePosixPath(path).parts]
        if parts and (parts[-1] in MASKED_FILES or any(part in MASKED_FOLDERS for part in parts)):
            raise ValueError(f"the change touches {path}, a coding client's configuration, which is never pushed")
