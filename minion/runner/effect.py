"""What an effect of a run is, and how one ended."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from server.contract.digest import digest_bytes
from server.contract.run import EffectState


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


def effect_key(run_id: str, ordinal: int, kind: str, target: str) -> str:
    """The idempotency key of a run's effect (DECISIONS "Verdict and effects")."""
    return hashlib.sha256("\n".join((run_id, str(ordinal), kind, target)).encode()).hexdigest()


def comment_mark(effect_id: str) -> str:
    """The text of one effect alone by which its comment is found again."""
    return f"minion effect {effect_id}"


def stand_in(run_id: str, ordinal: int, target: str) -> str:
    """The file of the outbox that stands in for a message's missing webhook."""
    return f"{run_id}-{ordinal:02d}-{target}.md"


@dataclass(frozen=True, slots=True)
class Performed:
    """How an effect ended, a word on it, where it went, and the command that reverses it where there is one."""

    state: EffectState
    detail: str
    destination: str | None = None
    reverse: str | None = None
