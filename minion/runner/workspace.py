"""Block .02: clones the routine's repositories and lays out what a session sees of them.

    run folder/  git/NAME.git      the private git directory, never shown
                 workspace/NAME    the files, writable inside the sandbox, without a `.git`
                 history/NAME.git  a disposable bare clone, read-only inside the sandbox
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from minion.runner.git import Git, GitFailed, safe_spellings
from minion.wire import Order, OrderedRepository

# Configuration that a coding client would obey; a session must neither see nor change a repository's own.
MASKED_FILES: Final = (".mcp.json",)
MASKED_FOLDERS: Final = (".claude",)
_BRANCH: Final = re.compile(r"(?!-)[^\x00-\x20\x7f~^:?*\[\\]{1,200}")


class WorkspaceFailed(Exception):
    """A repository that could not be laid out; the message is one sentence."""


@dataclass(frozen=True, slots=True)
class ClonedRepository:
    """A repository as laid out for one run; `head` is None when it has no commit."""

    ordered: OrderedRepository
    git_dir: Path
    files: Path
    history: Path
    branch: str
    head: str | None


@dataclass(frozen=True, slots=True)
class Workspace:
    """All repositories of a run and the git that reads and writes them."""

    root: Path
    scratch: Path
    history: Path
    git: Git
    repositories: tuple[ClonedRepository, ...]

    def masks(self) -> Iterator[tuple[Literal["file", "dir"], str]]:
        """The (kind, path relative to the workspace) of every client configuration to be hidden."""
        for repository in self.repositories:
            base = repository.files
            for name in MASKED_FILES:
                if (base / name).is_file() and not (base / name).is_symlink():
                    yield "file", f"{repository.ordered.name}/{name}"
            for name in MASKED_FOLDERS:
                if (base / name).is_dir() and not (base / name).is_symlink():
                    yield "dir", f"{repository.ordered.name}/{name}"


async def lay_out(order: Order) -> Workspace:
    """Clone every repository of the order below its run folder. Raises `WorkspaceFailed`, naming the one."""
    run_dir = Path(order.run_dir)
    folders = _folders(run_dir)
    if order.resumed is not None:  # it was interrupted half-way: all anew
        dispose(run_dir)
    for folder in folders.values():
        folder.mkdir(mode=0o700)
    git = prepare_git(order)
    cloned = []
    for item in order.repositories:
        try:
            cloned.append(await _clone(git, item, folders))
        except GitFailed as error:
            raise WorkspaceFailed(f"The repository {item.name} could not be cloned: {error}.") from error
    return Workspace(folders["workspace"], folders["scratch"], folders["history"], git, tuple(cloned))


async def stand_again(order: Order) -> Workspace:
    """The workspace of an interrupted run, as it was left. Raises `WorkspaceFailed` when it is not all there."""
    folders, git = _folders(Path(order.run_dir)), prepare_git(order)
    found = []
    for item in order.repositories:
        git_dir, files = private_clone(order, item), folders["workspace"] / item.name
        history = folders["history"] / f"{item.name}.git"
        if not all(folder.is_dir() for folder in (git_dir, files, history)):
            raise WorkspaceFailed(f"The clone of {item.name} is gone from the run's folder.")
        try:
            branch = item.branch or await _default_branch(git, git_dir)
            head = await _commit_of(git, git_dir, branch, asked=item.branch is not None)
        except GitFailed as error:
            raise WorkspaceFailed(f"The clone of {item.name} cannot be read any more: {error}.") from error
        found.append(ClonedRepository(item, git_dir, files, history, branch, head))
    return Workspace(folders["workspace"], folders["scratch"], folders["history"], git, tuple(found))


def private_clone(order: Order, item: OrderedRepository) -> Path:
    """Where the private git directory of a run's repository lies."""
    return _folders(Path(order.run_dir))["git"] / f"{item.name}.git"


async def cloned_branch(git: Git, order: Order, item: OrderedRepository) -> str | None:
    """The branch that a run's repository was cloned at; None when it is not known any more."""
    git_dir = private_clone(order, item)
    if item.branch is not None or not git_dir.is_dir():
        return item.branch
    try:
        name = await git.run("symbolic-ref", "--quiet", "--short", "HEAD", git_dir=git_dir)
    except GitFailed:
        return None
    return name.decode("utf-8", "replace").strip()


def prepare_git(order: Order) -> Git:
    """The way to call git for one run, its configuration written into the run's folder."""
    run_dir = Path(order.run_dir)
    safe = [path for item in order.repositories if item.local for path in safe_spellings(item.url)]
    return Git.prepare(
        run_dir,
        agent=order.agent,
        safe=[*safe, *(str(private_clone(order, item)) for item in order.repositories)],
        search_path=order.search_path,
        passed_env=order.passed_env,
    )


async def _clone(git: Git, item: OrderedRepository, folders: dict[str, Path]) -> ClonedRepository:
    git_dir = folders["git"] / f"{item.name}.git"
    files = folders["workspace"] / item.name
    history = folders["history"] / f"{item.name}.git"
    files.mkdir(mode=0o700)
    # --no-local: objects come through upload-pack; a hostile objects folder could hold links to elsewhere.
    common = ("clone", "--bare", "--quiet", "--template=")
    await git.run(*common, "--no-local", "--", item.url, str(git_dir))
    branch = item.branch or await _default_branch(git, git_dir)
    if _BRANCH.fullmatch(branch) is None:
        raise WorkspaceFailed(f"The repository {item.name} has a default branch with an unusable name.")
    head = await _commit_of(git, git_dir, branch, asked=item.branch is not None)
    if head is not None:
        await git.run("read-tree", "--reset", "-u", head, git_dir=git_dir, work_tree=files)
    await git.run(*common, "--local", "--", str(git_dir), str(history))
    await git.run("config", "--local", "--remove-section", "remote.origin", git_dir=history)
    return ClonedRepository(item, git_dir, files, history, branch, head)


async def _default_branch(git: Git, git_dir: Path) -> str:
    try:
        name = await git.run("symbolic-ref", "--quiet", "--short", "HEAD", git_dir=git_dir)
    except GitFailed as error:
        if error.status == 1:
            return "HEAD"  # the source's HEAD is detached: take what it stands at
        raise
    return name.decode("utf-8", "replace").strip()


async def _commit_of(git: Git, git_dir: Path, branch: str, *, asked: bool) -> str | None:
    reference = branch if branch == "HEAD" else f"refs/heads/{branch}"
    try:
        out = await git.run("rev-parse", "--verify", "--quiet", f"{reference}^{{commit}}", git_dir=git_dir)
    except GitFailed as error:
        if error.status == 1 and not asked:
            return None  # a repository without a commit
        raise
    return out.decode().strip()


def nested_git(files: Path) -> str | None:
    """The first `.git` (in any letter case) below a workspace, as a relative path; links are not followed."""
    for folder, folders, names in os.walk(files, followlinks=False):
        for name in (*folders, *names):
            if name.casefold() == ".git":
                return os.path.relpath(os.path.join(folder, name), files)  # noqa: PTH118 - os.walk's own text
    return None


def dispose(run_dir: Path, *, keep_git: bool = False) -> None:
    """Remove what only the session needed; the private git directory goes too, where its pushes are done."""
    for name, folder in _folders(run_dir).items():
        if name != "git" or not keep_git:
            shutil.rmtree(folder, ignore_errors=True)


def _folders(run_dir: Path) -> dict[str, Path]:
    return {name: run_dir / name for name in ("git", "workspace", "history", "scratch")}
