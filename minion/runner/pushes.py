"""Pushes: commits what a session changed, from the private git directory, and pushes it to a `claude/` branch."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from minion.runner.effect import Effect, Performed
from minion.runner.git import Git, GitFailed, push, remote_commit
from minion.runner.safe_files import gather_beneath
from minion.runner.workspace import MASKED_FILES, MASKED_FOLDERS, ClonedRepository, Workspace, nested_git
from minion.wire import Order, OrderedRepository
from server.contract.redaction import Redactor

_GIT_SECONDS: Final = 300.0
_LOOK_SECONDS: Final = 60.0
# Bytes of a changed file that are looked through at once for secrets, and characters of the part before with them.
_PART: Final = 4 * 1024 * 1024
_OVERLAP: Final = 65_536


async def push_workspace(
    effect: Effect, workspace: Workspace, order: Order, secrets: Redactor
) -> Performed:
    """Commit and push one repository's changes, unless a secret is among them; the remote, read back, decides."""
    name = effect.target.partition(":")[0]
    repository = next(item for item in workspace.repositories if item.ordered.name == name)
    try:
        commit = await commit_workspace(repository, workspace, effect, order, secrets)
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
    repository: ClonedRepository, workspace: Workspace, effect: Effect, order: Order, secrets: Redactor
) -> str:
    """Commit what the session changed, from the private git directory; the new commit's id.

    Raises `ValueError` when there is nothing to push or the change holds what may not be pushed, `GitFailed`.
    """
    git = workspace.git
    tree = await _tree_of(repository, git, secrets)
    base = [repository.head] if repository.head else []
    parents = [word for commit in base for word in ("-p", commit)]
    out = await git.run(
        "commit-tree", *parents, "-F", "-", tree, git_dir=repository.git_dir, stdin=_message(effect, order)
    )
    commit = out.decode().strip()
    # By this name it is found again where it has to be pushed once more.
    await git.run("update-ref", _reference(effect), commit, git_dir=repository.git_dir)
    return commit


async def _tree_of(repository: ClonedRepository, git: Git, secrets: Redactor) -> str:
    """The tree of the files as they stand, gathered where nothing of the session reaches; as `commit_workspace`.

    What a session left behind may go on writing. It may put a link in the place of a file, or of the whole folder,
    at any moment, and git would follow that one to the host's own files.
    """
    files = repository.git_dir.with_suffix(".files")
    await asyncio.to_thread(shutil.rmtree, files, ignore_errors=True)
    try:
        await asyncio.to_thread(gather_beneath, repository.files, files)
        inner = nested_git(files)
        if inner is not None:
            raise ValueError(f"the workspace holds a git directory ({inner}), which is never pushed")
        await git.run("add", "--all", "--", ".", git_dir=repository.git_dir, work_tree=files)
        tree = (await git.run("write-tree", git_dir=repository.git_dir)).decode().strip()
        changed = await _changed(repository, git, tree)
        _refuse_client_configuration(changed)
        await asyncio.to_thread(_refuse_secrets, files, changed, secrets)
        return tree
    except OSError as error:
        raise ValueError(f"the workspace cannot be read as it stands ({error.strerror})") from None
    finally:
        await asyncio.to_thread(shutil.rmtree, files, ignore_errors=True)


async def _changed(repository: ClonedRepository, git: Git, tree: str) -> list[str]:
    """The paths in which a tree differs from what was cloned. Raises `ValueError` when there are none."""
    if repository.head is None:
        listed = await git.run("ls-tree", "-r", "--name-only", "-z", tree, git_dir=repository.git_dir)
    else:
        options = ("--no-renames", "--ignore-submodules=all", "--name-only", "-z")
        listed = await git.run("diff-tree", "-r", *options, repository.head, tree, git_dir=repository.git_dir)
        if not listed:
            raise ValueError("there is nothing to push: the workspace is as it was cloned")
    return [os.fsdecode(path) for path in listed.split(b"\0") if path]


def _refuse_secrets(files: Path, changed: Sequence[str], secrets: Redactor) -> None:
    """Raise `ValueError` when a file that was changed holds a secret of this minion."""
    for name in changed:
        path = files / name
        if secrets.holds(name) or (path.is_symlink() and secrets.holds(os.fsdecode(path.readlink()))):
            raise ValueError("the name of a file holds a secret of this minion, which is never pushed")
        if path.is_symlink() or not path.is_file():
            continue
        before = ""
        with path.open("rb") as file:
            while part := file.read(_PART):
                text = part.decode("utf-8", "replace")
                if secrets.holds(before + text):
                    shown = "".join(sign if sign.isprintable() else "?" for sign in name)[:200]
                    raise ValueError(f"{shown} holds a secret of this minion, which is never pushed")
                before = text[-_OVERLAP:]


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
