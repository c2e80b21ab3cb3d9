"""Looks what became of effects that were cut off: reads remotes, forges and the outbox, and changes nothing there.

Run as `python -I -m minion.runner.reading_back` (see `minion.runner.questions`).
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from minion.runner.effect import Performed, comment_mark, stand_in
from minion.runner.effect_rules import CAPS, comment_target
from minion.runner.forge import Caller, Published, find_comment, find_pull_request, forge_repository
from minion.runner.git import Git, GitFailed, remote_commit
from minion.runner.lifetime import die_with_parent
from minion.runner.pushes import is_of_effect, pushed
from minion.runner.questions import answer_one
from minion.runner.resumed import Damaged, recall
from minion.runner.safe_files import read_beneath
from minion.runner.workspace import cloned_branch, prepare_git, private_clone
from minion.secrets_file import read_secrets
from minion.wire import Order, OrderedRepository, kept_events
from server.contract.digest import digest_bytes
from server.contract.redaction import Redactor
from server.contract.run import EffectState

_GIT_SECONDS: Final = 60.0
_GONE: Final = "it did not arrive"


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of an effect; `again` when another look may tell more."""

    state: EffectState
    detail: str
    destination: str | None = None
    reverse: str | None = None
    again: bool = False


def unknown(detail: str, *, again: bool = False) -> Seen:
    """An effect whose end is still not known, and why."""
    return Seen("unknown", detail, again=again)


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads the effects of one run back. `means` says by which way its runner was to perform each, by its id; who
    performed one again says so with the effect.
    """

    order: Order
    secrets: Mapping[str, str]
    git: Git
    means: Mapping[str, str]

    async def look(self, effect: Mapping[str, Any]) -> Seen:
        """What is there of one effect now."""
        kind, target = effect["kind"], effect["target"]
        if kind == "message":
            return self._message(effect)
        if kind == "file":
            return self._file(effect, target, "delivered")
        name = target.partition("#" if kind == "comment" else ":")[0]
        repository = next((item for item in self.order.repositories if item.name == name), None)
        if repository is None:
            return unknown(f"the run has no repository {name}")
        seen = await (self._push if kind == "push" else self._on_forge)(effect, repository)
        if seen.state == "failed" and effect["young"]:
            return unknown("it is not there yet: it may still be under way", again=True)
        return seen

    async def _push(self, effect: Mapping[str, Any], repository: OrderedRepository) -> Seen:
        branch, git_dir = effect["target"].partition(":")[2], private_clone(self.order, repository)
        if not git_dir.is_dir():
            return unknown("the run's own commit is not kept any more, so that it cannot be compared")
        try:
            standing = await remote_commit(self.git, git_dir, repository.url, branch, timeout_s=_GIT_SECONDS)
        except GitFailed as error:
            return unknown(f"the remote could not be asked: {error}", again=True)
        if standing is None:
            return Seen("failed", f"{_GONE}: the remote has no branch {branch}")
        if not await is_of_effect(self.git, git_dir, standing, effect["id"]):
            return Seen("failed", f"{_GONE}: {branch} stands at another commit, {standing[:12]}")
        return _of(pushed(repository.name, branch, repository.url, standing))

    async def _on_forge(self, effect: Mapping[str, Any], repository: OrderedRepository) -> Seen:
        forge = forge_repository(repository.url, self.order.forges)
        token = self.secrets.get(forge.secret) if forge is not None else None
        if forge is None or token is None:
            missing = "its forge is not one of this minion's any more" if forge is None else "its token is missing"
            return unknown(missing, again=True)
        caller = Caller(token, Redactor(self.secrets.values()).text)
        aimed = comment_target(effect["target"])
        if effect["kind"] == "comment" and aimed is not None:
            return _published(await find_comment(forge, caller, number=aimed[1], mark=comment_mark(effect["id"])))
        base = await cloned_branch(self.git, self.order, repository)
        if base is None:
            return unknown("the branch that it was made for is not known any more")
        head = effect["target"].partition(":")[2]
        return _published(await find_pull_request(forge, caller, head=head, base=base))

    def _message(self, effect: Mapping[str, Any]) -> Seen:
        relative = stand_in(self.order.run_id, effect["ordinal"], effect["target"])
        seen = self._file(effect, relative, "accepted")
        means = effect.get("means") or self.means.get(effect["id"])
        if seen.state == "accepted" or means == "outbox":
            return seen
        return unknown("a webhook cannot be read back: look there, and say what came of it")

    def _file(self, effect: Mapping[str, Any], relative: str, there: EffectState) -> Seen:
        outbox = Path(self.order.outbox_dir)
        path = outbox / relative
        try:
            body = read_beneath(outbox, relative, CAPS["file"])
        except FileNotFoundError:
            return Seen("failed", f"{_GONE}: the outbox has no such file")
        except (OSError, ValueError) as error:
            return unknown(f"its file cannot be read: {error.args[-1] if error.args else error}", again=True)
        if digest_bytes(body) != effect["digest"]:
            return Seen("failed", f"{_GONE}: the file in the outbox holds something else")
        return Seen(there, f"{len(body)} bytes, read back", str(path), shlex.join(("rm", str(path))))


def _of(done: Performed) -> Seen:
    return Seen(done.state, done.detail, done.destination, done.reverse)


def _published(found: Published) -> Seen:
    detail = f"{_GONE}: {found.detail}" if found.state == "failed" else found.detail
    return Seen(found.state, detail, found.url, again=found.state == "unknown")


def damage_of(order: Order) -> str | None:
    """What the run's folder lacks to go on, as words after `its`; None when it is whole."""
    try:
        recall(order)
    except Damaged as damage:
        return str(damage)
    return None


async def answer(order: Order, asked: Mapping[str, Any]) -> dict[str, Any]:
    """What became of each effect that is asked for, and what the run's folder lacks if the run is to go on.

    Raises a `Refusal` when the secrets cannot be read.
    """
    secrets = read_secrets(Path(order.secrets_file))
    effects: Sequence[Mapping[str, Any]] = asked["effects"]
    reader = Reader(order, secrets, prepare_git(order), _means(order))
    redact = Redactor(secrets.values()).data
    found = []
    for effect in effects:
        seen = await reader.look(effect)
        words = {name: getattr(seen, name) for name in Seen.__slots__}
        found.append({"id": effect["id"], **redact(words)})
    return {"effects": found, "damage": damage_of(order) if asked["resuming"] else None}


def _means(order: Order) -> dict[str, str]:
    events = (event for event, _ in kept_events(Path(order.run_dir) / "events.ndjson"))
    return {event.data["id"]: event.data.get("means", "") for event in events if event.type == "effect.intent"}


def main() -> int:
    """Answer one question; the exit status is 0 when it was answered."""
    return answer_one(answer, otherwise="effects cannot be read back")


if __name__ == "__main__":
    die_with_parent()
    sys.exit(main())
