"""The checks of a run as they stand: what its runner saw, and what was confirmed after it had ended."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

# The runner's own have a number, what was confirmed afterwards has none.
CHECKS: Final = "SELECT seq, data FROM events WHERE run_id = ? AND type = 'check' ORDER BY ordinal"


def checks_in(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The checks in these events, in order; what was confirmed afterwards takes the place of what it was."""
    found: list[dict[str, Any]] = []
    for row in rows:
        check = json.loads(row["data"])
        if row["seq"] is not None:
            found.append(check)
            continue
        found = [check if _same(check, other) else other for other in found]
    return found


def _same(check: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return all(check[name] == other[name] for name in ("kind", "expected"))
