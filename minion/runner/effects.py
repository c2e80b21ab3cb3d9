"""The effects of a run: staged by tasks, checked against the allowlist, performed by trusted code in block .04.

Rules: DESIGN §3 "Effects" and DECISIONS "Verdict and effects". An intent is committed before the effect; what
cannot be told afterwards is `unknown` and never repeated blindly.
"""

from __future__ import annotations

import fnmatch
import hashlib
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Final

from minion.engines.base import StagedEffect
from minion.runner.git import GitFailed, is_pushable, push, remote_commit
from minion.runner.safe_files import is_plain_path, read_beneath, write_beneath
from minion.runner.webhook import post_message, webhook_of
from minion.runner.workspace import MASKED_FILES, MASKED_FOLDERS, ClonedRepository, Workspace, nested_git
from minion.wire import Order
from server.contract.digest import digest_bytes, new_id
from server.contract.run import EffectState

EFFECTS_PER_RUN: Final = 20
CAPS: Final[Mapping[str, int]] = {"message": 40_000, "file": 1_048_576, "push": 20_000}
_GIT_SECONDS: Final = 300.0
_MESSAGE_TARGET: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


@dataclass(frozen=True, slots=True)
class Effect:
    """A staged effect with its identity; `refusal` says why it will not be performed."""

    id: str
    key: str
    ordinal: int
    kind: str
    target: str
    title: str | None
    body: str
    refusal: str | None = None

    def as_event(self) -> dict[str, Any]:
        """The effect as the `effect.staged` event tells it: its body by digest and size only."""
        return {
            "id": self.id,
            "key": self.key,
            "ordinal": self.ordinal,
            "kind": self.kind,
            "target": self.target,
            "title": self.title,
            "digest": digest_bytes(self.body.encode()),
            "bytes": len(self.body.encode()),
            "state": "staged" if self.refusal is None else "refused",
            "detail": self.refusal,
        }


@dataclass(frozen=True, slots=True)
class Performed:
    """How an effect ended, a word on it, where it went, and the command that reverses it where there is one."""

    state: EffectState
    detail: str
    destination: str | None = None
    reverse: str | None = None


@dataclass(slots=True)
class EffectDesk:
    """Takes staged effects in, decides on each, and performs the allowed ones in order."""

    order: Order
    secrets: Mapping[str, str]
    staged: list[Effect] = field(default_factory=list)
    settled: set[str] = field(default_factory=set)

    def take(self, wish: StagedEffect, workspace: Workspace) -> Effect:
        """Number a wish, give it its idempotency key, read its body, and decide whether it is allowed."""
        ordinal = len(self.staged) + 1
        identity = "\n".join((self.order.run_id, str(ordinal), wish.kind, wish.target))
        key = hashlib.sha256(identity.encode()).hexdigest()
        body, problem = self._body(wish, workspace)
        refusal = problem or self._refusal(wish, body, ordinal)
        shown = wish.target[:300]
        title = wish.title[:200] if wish.title is not None else None
        effect = Effect(new_id("eff_"), key, ordinal, wish.kind[:40], shown, title, body, refusal)
        self.staged.append(effect)
        return effect

    async def perform(self, effect: Effect, workspace: Workspace) -> Performed:
        """Do one allowed effect whose intent is committed, and say what can be known of it."""
        if effect.kind == "message":
            return await self._message(effect)
        if effect.kind == "file":
            return self._file(effect, effect.target, "delivered", f"{len(effect.body.encode())} bytes")
        return await self._push(effect, workspace)

    def _body(self, wish: StagedEffect, workspace: Workspace) -> tuple[str, str | None]:
        if wish.path is None:
            return wish.body or "", None
        if wish.body is not None:
            return "", "it has both a body and a path"
        try:
            return read_beneath(workspace.root, wish.path, CAPS["file"]).decode("utf-8", "replace"), None
        except (OSError, ValueError) as error:
            return "", f"its file cannot be read: {error.args[-1] if error.args else error}"

    def _refusal(self, wish: StagedEffect, body: str, ordinal: int) -> str | None:
        cap = CAPS.get(wish.kind)
        if cap is None:
            return f"effects of kind {wish.kind[:40]!r} are not offered here (offered: file, message, push)"
        if not is_allowed(self.order.effects, wish.kind, wish.target):
            return f"{wish.kind}:{wish.target[:100]} is not on the routine's list of effects"
        if ordinal > EFFECTS_PER_RUN:
            return f"a run may stage {EFFECTS_PER_RUN} effects"
        if len(body.encode()) > cap:
            return f"its body is over {cap} bytes"
        if wish.kind == "push":
            return self._push_refusal(wish.target)
        if wish.kind == "file":
            return None if is_plain_path(wish.target) else "its target is no plain relative path"
        if _MESSAGE_TARGET.fullmatch(wish.target) is None:
            return "its target is no plain name"
        return "it has no text" if not body.strip() else None

    def _push_refusal(self, target: str) -> str | None:
        name, _, branch = target.partition(":")
        if name not in {item.name for item in self.order.repositories}:
            return f"the routine has no repository {name[:64]!r}"
        return None if is_pushable(branch) else "only branches claude/… can be pushed"

    async def _message(self, effect: Effect) -> Performed:
        webhook = webhook_of(effect.target, self.secrets)
        if webhook is not None:
            posted = await post_message(webhook, effect.body)
            return Performed(posted.state, posted.detail, f"{effect.target} webhook")
        # The file only stands in for the webhook: it was kept, nobody was told.
        stand_in = f"{self.order.run_id}-{effect.ordinal:02d}-{effect.target}.md"
        return self._file(effect, stand_in, "accepted", f"no webhook for {effect.target}: kept as a file")

    def _file(self, effect: Effect, relative: str, state: EffectState, detail: str) -> Performed:
        body = effect.body.encode()
        try:
            path = write_beneath(Path(self.order.outbox_dir), relative, body)
            read_back = path.read_bytes()
        except OSError as error:
            return Performed("failed", f"the file cannot be written: {error.strerror}")
        if read_back != body:
            return Performed("failed", "the file read back differs from what was written", str(path))
        return Performed(state, detail, str(path), shlex.join(("rm", str(path))))

    async def _push(self, effect: Effect, workspace: Workspace) -> Performed:
        name, _, branch = effect.target.partition(":")
        repository = next(item for item in workspace.repositories if item.ordered.name == name)
        url, git, git_dir = repository.ordered.url, workspace.git, repository.git_dir
        try:
            commit = await commit_workspace(repository, workspace, effect, self.order)
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
        if standing != commit:
            # A push that was cut off may still be at work on the other side.
            return Performed("failed" if ended else "unknown", words, f"{name}:{branch}")
        reverse = shlex.join(("git", "push", url, "--delete", branch))
        return Performed("delivered", f"{branch} at {commit[:12]}", f"{name}:{branch}", reverse)


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


def is_allowed(patterns: Sequence[str], kind: str, target: str) -> bool:
    """Whether `kind:target` matches one of the allowlist's patterns (`*` stands for any text)."""
    return any(fnmatch.fnmatchcase(f"{kind}:{target}", pattern) for pattern in patterns)
