"""Which bytes of a stored row its hash covers: the one place that writing and verifying share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from server.contract.digest import canonical_json

STEP_COLUMNS: Final = (
    "run_id", "ordinal", "number", "block", "code", "kind", "state", "why", "agent", "started_at", "ended_at",
    "cost", "digest_in", "digest_out",
)  # fmt: skip


def event_body(
    run_id: str, ordinal: int, seq: int | None, at: str, type_: str, block: str | None, data: str
) -> bytes:
    """The bytes of an event that its hash covers: every column but the hash."""
    return canonical_json([run_id, ordinal, seq, at, type_, block, data]).encode()


def step_body(row: Mapping[str, Any]) -> bytes:
    """The bytes of a step log that its hash covers: every column but the hash."""
    return canonical_json([row[name] for name in STEP_COLUMNS]).encode()


def home_body(kind: str, ref: str, body: str) -> bytes:
    """The bytes of a home chain link that its hash covers."""
    return canonical_json([kind, ref, body]).encode()
