"""Performs an effect of an ended run again that is known not to have arrived: as its runner would, no other way.

Run as `python -I -m minion.runner.redelivering` (see `minion.runner.questions`). Asked to `check`, it says of each
effect what stands in the way, and changes nothing; asked to `perform`, it performs the one.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from minion.engines.base import StagedEffect
from minion.runner.effect import Effect, Performed, effect_key
from minion.runner.effect_rules import refusal_of
from minion.runner.effects import EffectDesk
from minion.runner.git import Git
from minion.runner.lifetime import die_with_parent
from minion.runner.pushes import kept_commit, push_again
from minion.runner.questions import answer_one
from minion.runner.resumed import kept_effect
from minion.runner.workspace import cloned_branch, prepare_git, private_clone
from minion.secrets_file import read_secrets
from minion.wire import Order, OrderedRepository
from server.contract.digest import digest_bytes
from server.contract.redaction import Redactor

Obstacle = Literal["gone", "changed", "forbidden", "commit"]


class InTheWay(Exception):
    """Why an effect cannot be performed again; the message says it, after the effect's name."""

    def __init__(self, obstacle: Obstacle, words: str) -> None:
        super().__init__(words)
        self.obstacle = obstacle


@dataclass(frozen=True, slots=True)
class Redelivery:
    """The effects of one ended run, as they were staged."""

    order: Order
    desk: EffectDesk
    git: Git

    async def check(self, said: Mapping[str, Any]) -> dict[str, Any]:
        """What stands in the way of one effect, None where nothing does, and the means to perform it."""
        try:
            effect = self._recalled(said)
            if effect.kind == "push":
                await self._commit(effect)
        except InTheWay as problem:
            return {"id": said["id"], "obstacle": problem.obstacle, "words": str(problem), "means": None}
        return {"id": effect.id, "obstacle": None, "words": None, "means": self.desk.means(effect)}

    async def perform(self, said: Mapping[str, Any]) -> Performed:
        """Perform one effect, whose intent is committed. What changed since it was checked has it fail."""
        try:
            effect = self._recalled(said)
            if effect.kind == "push":
                commit, repository = await self._commit(effect), self._repository(effect)
                git_dir = private_clone(self.order, repository)
                return await push_again(effect, self.git, git_dir, repository, commit)
        except InTheWay as problem:
            return Performed("failed", str(problem))
        if effect.kind not in ("pull_request", "comment"):
            return await self.desk.send(effect)
        repository = self._repository(effect)
        base = await cloned_branch(self.git, self.order, repository)
        if base is None and effect.kind == "pull_request":
            return Performed("failed", "the branch that it was made for is not known any more")
        return await self.desk.publish(effect, repository, base=base or "")

    def _recalled(self, said: Mapping[str, Any]) -> Effect:
        """The effect as it was staged: digest and key are those in the log. Raises `InTheWay`."""
        try:
            _, effect = kept_effect(Path(self.order.run_dir), said["ordinal"])
        except FileNotFoundError:
            raise InTheWay("gone", "what it said was not kept") from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InTheWay("changed", "what it said cannot be read any more") from error
        identity = (said["id"], said["key"], said["ordinal"], digest_bytes(effect.body.encode()))
        key = effect_key(self.order.run_id, effect.ordinal, effect.kind, effect.target)
        if identity != (effect.id, key, effect.ordinal, said["digest"]) or effect.key != key:
            raise InTheWay("changed", "what it said is not as it was staged")
        wish = StagedEffect(effect.kind, effect.target, effect.body, title=effect.title)
        refusal = effect.refusal or refusal_of(self.order, wish, effect.body, effect.ordinal)
        if refusal is not None:
            raise InTheWay("forbidden", refusal)
        return effect

    async def _commit(self, effect: Effect) -> str:
        git_dir = private_clone(self.order, self._repository(effect))
        commit = await kept_commit(effect, self.git, git_dir, self.order) if git_dir.is_dir() else None
        if commit is None:
            raise InTheWay("commit", "its commit is not kept in the run's folder")
        return commit

    def _repository(self, effect: Effect) -> OrderedRepository:
        name = effect.target.partition("#" if effect.kind == "comment" else ":")[0]
        return next(item for item in self.order.repositories if item.name == name)


async def answer(order: Order, asked: Mapping[str, Any]) -> dict[str, Any]:
    """What stands in the way of each effect, or how the one came out. Raises a `Refusal` for bad secrets."""
    secrets = read_secrets(Path(order.secrets_file))
    again = Redelivery(order, EffectDesk(order, secrets), prepare_git(order))
    if "check" in asked:
        said: dict[str, Any] = {"effects": [await again.check(effect) for effect in asked["check"]]}
    else:
        said = asdict(await again.perform(asked["perform"]))
    told: dict[str, Any] = Redactor(secrets.values()).data(said)
    return told


def main() -> int:
    """Answer one question; the exit status is 0 when it was answered."""
    return answer_one(answer, otherwise="effects cannot be performed again")


if __name__ == "__main__":
    die_with_parent()
    sys.exit(main())
