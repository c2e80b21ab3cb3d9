"""Pushes: commits what a session changed, from the private git directory, and pushes it to a `claude/` branch."""

from __future__ import annotations

import asyncio
import codecs
import os
import re
import shlex
import shutil
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from minion.runner.effect import Effect, Performed
from minion.runner.git import OUTPUT_BYTES, Git, GitFailed, push, remote_commit
from minion.runner.safe_files import gather_beneath
from minion.runner.workspace import MASKED_FILES, MASKED_FOLDERS, ClonedRepository, Workspace, nested_git
from minion.wire import Order, OrderedRepository
from server.contract.redaction import Redactor

_GIT_SECONDS: Final = 300.0
_LOOK_SECONDS: Final = 60.0
# Bytes of a changed file that are looked through at once for secrets, and characters of the part before with them.
_PART: Final = 4 * 1024 * 1024
_OVERLAP: Final = 65_536
_NAME_HOLDS: Final = "the name of a file holds a secret of this minion, which is never pushed"
_NOT_GIVEN: Final = "git does not give what would be pushed, so that it cannot be looked through for secrets"


@dataclass(frozen=True, slots=True)
class _Change:
    """What stands at a path that was changed: git's mode for it and its object (all zeros: nothing)."""

    path: str
    mode: str
    blob: str


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
        _refuse_client_configuration([change.path for change in changed])
        await _refuse_secrets(changed, git, repository.git_dir, secrets)
        return tree
    except OSError as error:
        raise ValueError(f"the workspace cannot be read as it stands ({error.strerror})") from None
    finally:
        await asyncio.to_thread(shutil.rmtree, files, ignore_errors=True)


async def _changed(repository: ClonedRepository, git: Git, tree: str) -> list[_Change]:
    """What a tree has otherwise than what was cloned. Raises `ValueError` when that is nothing, or too much."""
    base = repository.head
    if base is None:  # the empty tree, which git knows without having it
        out = await git.run("hash-object", "-t", "tree", "--stdin", git_dir=repository.git_dir)
        base = out.decode().strip()
    options = ("--raw", "--no-abbrev", "--no-renames", "--ignore-submodules=all", "-z")
    listed = await git.run("diff-tree", "-r", *options, base, tree, git_dir=repository.git_dir)
    if not listed and repository.head is not None:
        raise ValueError("there is nothing to push: the workspace is as it was cloned")
    if len(listed) >= OUTPUT_BYTES:  # the list was cut off
        raise ValueError("it changes more files than can be looked through for secrets")
    words = listed.split(b"\0")
    return [
        _Change(os.fsdecode(path), *told.decode().split(" ")[1:4:2])  # :OLD-MODE MODE OLD-ID ID STATUS
        for told, path in zip(words[:-1:2], words[1::2], strict=True)
    ]


async def _refuse_secrets(changes: Sequence[_Change], git: Git, git_dir: Path, secrets: Redactor) -> None:
    """Raise `ValueError` when what was changed holds a secret of this minion.

    Looked at are git's own objects, which are what is pushed. A file of the workspace may be another thing: git
    converts it as `.gitattributes` says (line ends, `working-tree-encoding`), and who can write to it still may.
    """
    for change in changes:
        if secrets.holds(change.path):
            raise ValueError(_NAME_HOLDS)
    # Of a link the content is where it leads; that of a submodule is not here.
    blobs: dict[str, _Change] = {}
    for change in changes:
        if change.mode.startswith(("100", "120")):
            blobs.setdefault(change.blob, change)
    async for blob, text in _contents(list(blobs), git, git_dir):
        if await asyncio.to_thread(secrets.holds, text):
            if blobs[blob].mode.startswith("120"):
                raise ValueError(_NAME_HOLDS)
            shown = "".join(sign if sign.isprintable() else "?" for sign in blobs[blob].path)[:200]
            raise ValueError(f"{shown} holds a secret of this minion, which is never pushed")


async def _contents(blobs: Sequence[str], git: Git, git_dir: Path) -> AsyncIterator[tuple[str, str]]:
    """The content of blobs as text, a large one in parts that overlap; some megabytes are held at once."""
    out = await git.run("cat-file", "--batch-check", git_dir=git_dir, stdin=_lines(blobs))
    told = out.decode().splitlines()
    together: list[str] = []
    room = OUTPUT_BYTES
    for head in [*told, ""]:
        blob, _, size = head.partition(" blob ")
        if head and not size:
            raise ValueError(_NOT_GIVEN)
        needed = len(head) + int(size or 0) + 2
        if together and (needed > room or not head):
            for each in await _read_together(together, git, git_dir):
                yield each
            together, room = [], OUTPUT_BYTES
        if needed > room:
            async for part in _read_in_parts(blob, git, git_dir):
                yield blob, part
        elif head:
            together, room = [*together, head], room - needed


async def _read_together(told: Sequence[str], git: Git, git_dir: Path) -> list[tuple[str, str]]:
    """Blobs that fit into one answer of git, each told as `ID blob SIZE`."""
    names = [head.partition(" ")[0] for head in told]
    out, at, read = await git.run("cat-file", "--batch", git_dir=git_dir, stdin=_lines(names)), 0, []
    for name, head in zip(names, told, strict=True):
        begins = at + len(head) + 1
        at = begins + int(head.rpartition(" ")[2]) + 1
        if out[begins - len(head) - 1 : begins] != f"{head}\n".encode() or len(out) < at:
            raise ValueError(_NOT_GIVEN)
        read.append((name, out[begins : at - 1].decode("utf-8", "replace")))
    return read


async def _read_in_parts(blob: str, git: Git, git_dir: Path) -> AsyncIterator[str]:
    """A large blob: git writes it to a file in the private folder as it is, converting nothing."""
    made = git_dir / (await git.run("unpack-file", blob, git_dir=git_dir)).decode().strip()
    decoder, before = codecs.getincrementaldecoder("utf-8")("replace"), ""
    try:
        with made.open("rb") as file:
            while part := await asyncio.to_thread(file.read, _PART):
                text = before + decoder.decode(part)
                yield text
                before = text[-_OVERLAP:]
    finally:
        made.unlink()


def _lines(names: Sequence[str]) -> bytes:
    return "".join(f"{name}\n" for name in names).encode()


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
