"""The effects of a run: staged by tasks, checked against the allowlist, performed by trusted code in block .04.

Rules: DESIGN §3 "Effects" and DECISIONS "Verdict and effects". An intent is committed before the effect; what
cannot be told afterwards is `unknown` and never repeated blindly.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from minion.engines.base import StagedEffect
from minion.runner.effect import Effect, Performed, comment_mark, effect_key, stand_in
from minion.runner.effect_rules import CAPS, comment_target, refusal_of
from minion.runner.forge import (
    Caller,
    ForgeRepository,
    Published,
    add_comment,
    forge_repository,
    open_pull_request,
)
from minion.runner.pushes import push_workspace
from minion.runner.resumed import keep_effect
from minion.runner.safe_files import read_beneath, write_beneath
from minion.runner.webhook import post_message, webhook_of
from minion.runner.workspace import Workspace
from minion.wire import Order, OrderedRepository
from server.contract.digest import new_id
from server.contract.redaction import Redactor
from server.contract.run import EffectState


@dataclass(slots=True)
class EffectDesk:
    """Takes staged effects in, decides on each, and performs the allowed ones in order.

    `made`: something was made in a private git directory that did not arrive, as far as is known.
    """

    order: Order
    secrets: Mapping[str, str]
    staged: list[Effect] = field(default_factory=list)
    states: dict[str, str] = field(default_factory=dict)
    made: bool = False

    @classmethod
    def of(cls, order: Order, secrets: Mapping[str, str], staged: Sequence[Effect]) -> EffectDesk:
        """The desk of a run; `staged` are the effects of one that goes on, whose states the order knows."""
        return cls(order, secrets, list(staged), dict(order.resumed or {}))

    @property
    def left(self) -> list[Effect]:
        """The effects that may be performed and were not: what came of the others is known, or unknown."""
        return [
            effect for effect in self.staged
            if effect.refusal is None and self.states.get(effect.id, "staged") == "staged"
        ]  # fmt: skip

    @property
    def needs_git(self) -> bool:
        """Whether the private git directories are needed still: they tell if a push arrived that is unknown, and
        hold what may be pushed or published again.
        """
        unknown = [effect.kind for effect in self.staged if self.states.get(effect.id) == "unknown"]
        return self.made or "push" in unknown or "pull_request" in unknown

    def delivered(self) -> list[str]:
        """The targets of what was delivered before, each with and without its kind."""
        found = [effect for effect in self.staged if self.states.get(effect.id) == "delivered"]
        return [name for effect in found for name in (effect.target, f"{effect.kind}:{effect.target}")]

    def means(self, effect: Effect) -> str:
        """How an effect is about to be performed: who looks for it afterwards must know."""
        if effect.kind == "message":
            return "webhook" if webhook_of(effect.target, self.secrets) is not None else "outbox"
        return {"push": "git", "file": "outbox"}.get(effect.kind, "forge")

    def take(self, wish: StagedEffect, workspace: Workspace, *, task: int) -> Effect:
        """Number a wish, give it its idempotency key, read its body, and decide whether it is allowed.

        `task` counts the run's tasks from 1. The effect is kept: it may have to be performed again, or by another.
        """
        ordinal = len(self.staged) + 1
        key = effect_key(self.order.run_id, ordinal, wish.kind, wish.target)
        body, problem = self._body(wish, workspace)
        refusal = problem or refusal_of(self.order, wish, body, ordinal)
        title = wish.title[:200] if wish.title is not None else None
        effect = Effect(new_id("eff_"), key, ordinal, wish.kind[:40], wish.target[:300], title, body, refusal)
        self.staged.append(effect)
        self._keep(effect, task)
        return effect

    def refusal_of(self, wish: StagedEffect, workspace: Workspace, *, ahead: int) -> str | None:
        """Why an effect would be refused after `ahead` others that wait; None when it would be performed."""
        body, problem = self._body(wish, workspace)
        return problem or refusal_of(self.order, wish, body, len(self.staged) + ahead + 1)

    def _keep(self, effect: Effect, task: int) -> None:
        try:
            keep_effect(Path(self.order.run_dir), effect, task)
        except OSError:
            # Who goes on with the run, or performs it again, finds that it is missing and says so: the run itself
            # goes on. One that goes on by itself must not get that far.
            if self.order.routine.get("resume"):
                raise

    async def perform(self, effect: Effect, workspace: Workspace) -> Performed:
        """Do one allowed effect whose intent is committed, and say what can be known of it."""
        if effect.kind not in ("push", "pull_request", "comment"):
            return await self.send(effect)
        if effect.kind == "push":
            done = await push_workspace(effect, workspace, self.order, Redactor(self.secrets.values()))
            # Without a commit nothing was on its way anywhere.
            self.made = self.made or (done.state == "failed" and done.destination is not None)
            return done
        name = effect.target.partition("#" if effect.kind == "comment" else ":")[0]
        repository = next(item for item in workspace.repositories if item.ordered.name == name)
        done = await self.publish(effect, repository.ordered, base=repository.branch)
        self.made = self.made or (done.state == "failed" and effect.kind == "pull_request")
        return done

    async def send(self, effect: Effect) -> Performed:
        """Send a message, or write a file of the outbox."""
        if effect.kind == "message":
            return await self._message(effect)
        return self._file(effect, effect.target, "delivered", f"{len(effect.body.encode())} bytes")

    async def publish(self, effect: Effect, repository: OrderedRepository, *, base: str) -> Performed:
        """Open a pull request into `base`, or comment; what is there already is the answer, not a second one."""
        forge = forge_repository(repository.url, self.order.forges)
        token = self.secrets.get(forge.secret) if forge is not None else None
        if forge is None or token is None:
            missing = forge.secret if forge is not None else "token"
            return Performed("failed", f"the secret {missing} is missing")
        caller = Caller(token, Redactor(self.secrets.values()).text)
        published = await self._publish(effect, forge, caller, base=base)
        return Performed(published.state, published.detail, published.url)

    def _body(self, wish: StagedEffect, workspace: Workspace) -> tuple[str, str | None]:
        if wish.path is None:
            return wish.body or "", None
        if wish.body is not None:
            return "", "it has both a body and a path"
        try:
            body = read_beneath(workspace.root, wish.path, CAPS["file"]).decode("utf-8", "replace")
            # What a task says was redacted when it said it; what it points at was not.
            return Redactor(self.secrets.values()).text(body), None
        except (OSError, ValueError) as error:
            return "", f"its file cannot be read: {error.args[-1] if error.args else error}"

    async def _message(self, effect: Effect) -> Performed:
        webhook = webhook_of(effect.target, self.secrets)
        if webhook is not None:
            posted = await post_message(webhook, effect.body, Redactor(self.secrets.values()).text)
            return Performed(posted.state, posted.detail, f"{effect.target} webhook")
        # The file only stands in for the webhook: it was kept, nobody was told.
        relative = stand_in(self.order.run_id, effect.ordinal, effect.target)
        return self._file(effect, relative, "accepted", f"no webhook for {effect.target}: kept as a file")

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

    async def _publish(self, effect: Effect, forge: ForgeRepository, caller: Caller, *, base: str) -> Published:
        aimed = comment_target(effect.target)
        if effect.kind == "comment" and aimed is not None:
            mark = comment_mark(effect.id)
            return await add_comment(forge, caller, number=aimed[1], body=effect.body, mark=mark)
        head = effect.target.partition(":")[2]
        return await open_pull_request(
            forge, caller, title=effect.title or "", body=effect.body, head=head, base=base
        )
