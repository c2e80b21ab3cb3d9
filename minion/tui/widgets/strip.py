"""The slots of the last 24 hours of each routine on one line: when it was due, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from textual.content import Content

from minion.tui.lines import DIM
from minion.tui.reading import DAY
from server.contract.digest import parse_instant

LEGEND: Final = "✓ ok ✗ bad L late M missed · none due"
# What of several slots in one place is shown: the worst.
_RANK: Final = ("✗", "M", "L", "?", "!", "●", "✓", "–")
_STYLES: Final = {
    "✗": "$text-error", "M": "$text-error", "L": "$text-warning", "?": "$text-warning", "!": "$text-warning",
    "●": "$text-accent", "✓": "$text-success", "–": DIM,
}  # fmt: skip
_RUNS: Final = {
    "failed": "✗", "not-delivered": "✗", "unknown": "?", "partial": "?", "running": "●", "waiting": "●",
    "skipped": "–",
}  # fmt: skip


def sign_of(slot: Mapping[str, Any]) -> str:
    """What became of a slot, as one sign; that of its run where it had one."""
    if slot["state"] in ("ran", "late"):
        sign = _RUNS.get(slot["verdict"] or "ok", "✓")
        return "L" if slot["state"] == "late" and sign == "✓" else sign
    return {"missed": "M", "skipped": "–", "held": "!", "due": "●"}[slot["state"]]


def day_strip(slots: Sequence[Mapping[str, Any]], now: datetime, width: int) -> Content:
    """The 24 hours before `now` in `width` cells, oldest first."""
    signs: list[str | None] = [None] * max(1, width)
    for slot in slots:
        share = 1 - (now - parse_instant(slot["due_at"])) / DAY
        place = min(max(int(share * len(signs)), 0), len(signs) - 1)
        signs[place] = min((sign_of(slot), signs[place] or "–"), key=_RANK.index)
    return Content.assemble(*((sign or "·", _STYLES[sign] if sign else DIM) for sign in signs))
