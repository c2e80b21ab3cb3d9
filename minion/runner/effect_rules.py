"""Which effects a run may have: the routine's list, the caps and the plain shapes of their targets."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping, Sequence
from typing import Final

from minion.engines.base import StagedEffect
from minion.runner.forge import forge_repository
from minion.runner.git import is_pushable
from minion.runner.safe_files import is_plain_path
from minion.wire import Order
from server.contract.quota import EFFECTS_PER_RUN

# Bytes of a body: Slack's longest message, a report, a commit message, a forge's longest text.
CAPS: Final[Mapping[str, int]] = {
    "message": 40_000, "file": 1_048_576, "push": 20_000, "pull_request": 60_000, "comment": 60_000,
}  # fmt: skip
_ON_A_REPOSITORY: Final = frozenset({"push", "pull_request", "comment"})
_MESSAGE_TARGET: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_COMMENT_TARGET: Final = re.compile(r"(?P<repository>[A-Za-z0-9._-]{1,64})#(?P<number>[1-9][0-9]{0,8})")


def refusal_of(order: Order, wish: StagedEffect, body: str, ordinal: int) -> str | None:
    """Why an effect may not be performed, None when it may. `ordinal` counts the run's effects from 1."""
    cap = CAPS.get(wish.kind)
    if cap is None:
        return f"there are no effects of kind {wish.kind[:40]!r} (there are: {', '.join(sorted(CAPS))})"
    if not is_allowed(order.effects, wish.kind, wish.target):
        return f"{wish.kind}:{wish.target[:100]} is not on the routine's list of effects"
    if ordinal > EFFECTS_PER_RUN:
        return f"a run may stage {EFFECTS_PER_RUN} effects"
    if len(body.encode()) > cap:
        return f"its body is over {cap} bytes"
    if wish.kind in _ON_A_REPOSITORY:
        return _repository_refusal(order, wish, body)
    if wish.kind == "file":
        return None if is_plain_path(wish.target) else "its target is no plain relative path"
    if _MESSAGE_TARGET.fullmatch(wish.target) is None:
        return "its target is no plain name"
    return "it has no text" if not body.strip() else None


def is_allowed(patterns: Sequence[str], kind: str, target: str) -> bool:
    """Whether `kind:target` matches one of the allowlist's patterns (`*` stands for any text).

    Pull requests and comments are allowed by repository: `pull_request:shop` covers `shop:claude/fix`.
    """
    if kind in ("pull_request", "comment"):
        target = re.split(r"[:#]", target, maxsplit=1)[0]
    return any(fnmatch.fnmatchcase(f"{kind}:{target}", pattern) for pattern in patterns)


def comment_target(target: str) -> tuple[str, int] | None:
    """The repository and number in a comment's target `REPO#12`, None for another text."""
    match = _COMMENT_TARGET.fullmatch(target)
    return (match["repository"], int(match["number"])) if match is not None else None


def _repository_refusal(order: Order, wish: StagedEffect, body: str) -> str | None:
    name, _, branch = wish.target.partition(":")
    if wish.kind == "comment":
        aimed = comment_target(wish.target)
        if aimed is None:
            return "its target is not REPO#NUMBER"
        name = aimed[0]
    elif not is_pushable(branch):
        return "only branches claude/… can be pushed"
    repository = next((item for item in order.repositories if item.name == name), None)
    if repository is None:
        return f"the routine has no repository {name[:64]!r}"
    if wish.kind == "push":
        return None
    if forge_repository(repository.url, order.forges) is None:
        return f"the repository {name} is on no forge of this minion ({', '.join(order.forges)})"
    if wish.kind == "pull_request":
        return None if (wish.title or "").strip() else "it has no title"
    return "it has no text" if not body.strip() else None
