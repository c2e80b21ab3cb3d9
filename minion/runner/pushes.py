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
from minion.wire import Order, OrderedRepository

_GIT_SECONDS: Final = 300.0
_LOOK_SECONDS: Final = 60.0


async def push_workspace(effect: Effect, workspace: Workspace, order: Order) -> Performed:
    """Commit and push one repository's changes; the remote, read back, decides how it ended."""
    name = effect.target.partition(":")[0]
    repository = next(item for item in workspace.repositories if item.ordered.name == name)
    try:
        commit = await commit_workspace(repository, workspace, effect, order)
    except (GitFailed, ValueError) as error:
        return Performed("failed", f"{error}")
    return await _push_commit(effect, workspace.git, repository.git_dir, repository.ordered, commit)


async def push_again(
    effect: Effect, git: Git, git_dir: Path, repository: OrderedRepository, commit: str
) -> Performed:
    """Push the commit that was made for an effect before, unless its branch stands at it already."""
    name, _, branch = effect.target.partition(":")
    try:
        standing = await remote_commit(git, git_dir, repository.url, branch, timeout_s=_LOOK_SECONDS)
    except GitFailed as error:  # nothing was sent
        return Performed("failed", f"the remote could not be asked: {error}", f"{name}:{branch}")
    if standing == commit:
        return pushed(name, branch, repository.url, commit)
    return await _push_commit(effect, git, git_dir, repository, commit)


async def _push_commit(
    effect: Effect, git: Git, git_dir: Path, repository: OrderedRepository, commit: str
) -> Performed:
    name, _, branch = effect.target.partition(":")
    url = repository.url
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
    parents = [word for commit in base for word in ("-p", commit)]
    out = await git.run(
        "commit-tree", *parents, "-F", "-", tree, git_dir=repository.git_dir, stdin=_message(effect, order)
    )
    commit = out.decode().strip()
    # By this name it is found again where it has to be pushed once more.
    await git.run("update-ref", _reference(effect), commit, git_dir=repository.git_dir)
    return commit


async def kept_commit(effect: Effect, git: Git, git_dir: Path, order: Order) -> str | None:
    """The commit that was made for an effect of a run; None when it is not there any more, or is another one."""
    reference = f"{_reference(effect)}^{{commit}}"
    try:
        out = await git.run("rev-parse", "--verify", "--quiet", reference, git_dir=git_dir)
        text = await git.run("cat-file", "commit", out.decode().strip(), git_dir=git_dir)
    except (GitFailed, OSError):
        return None
    return out.decode().strip() if text.partition(b"\n\n")[2] == _message(effect, order) else None


def _message(effect: Effect, order: Order) -> bytes:
    title = effect.title or f"{order.routine['name']}: changes of a run"
    trailers = f"Minion-Run: {order.run_id}\nMinion-Effect: {effect.id}"
    return f"{title}\n\n{effect.body}\n\n{trailers}\n".encode()


def _reference(effect: Effect) -> str:
    return f"refs/minion/{effect.id}"


def _refuse_client_configuration(paths: Sequence[str]) -> None:
    for path in paths:
        parts = [part.casefold() for part in PurePosixPath(path).parts]
        if parts and (parts[-1] in MASKED_FILES or any(part in MASKED_FOLDERS for part in parts)):
            raise ValueError(f"the change touches {path}, a coding client's configuration, which is never pushed")
