"""The slots of the last 24 hours of each routine on one line: when it was due, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

from textual.content import Content

from minion.tui.lines import DIM, text
from minion.tui.reading import DAY
from server.contract.digest import parse_instant

if TYPE_CHECKING:  # what counts slots is loaded by the screen that does
    from minion.tui.expected import Account

# What of several slots in one place is shown: the worst.
_RANK: Final = ("✗", "M", "L", "?", "!", "●", "✓", "–")
_STYLES: Final = {
    "✗": "$text-error", "M": "$text-error", "L": "$text-warning", "?": "$text-warning", "!": "$text-warning",
    "●": "$text-primary", "✓": "$text-success", "–": DIM,
}  # fmt: skip
_LEGEND: Final = (("✓", "ok"), ("✗", "bad"), ("L", "late"), ("M", "missed"), ("·", "none due"))
# What became of a slot, as a sign; where it had a run, as that went well.
BECAME: Final = {"ran": "✓", "late": "L", "skipped": "–", "missed": "M", "held": "!", "due": "●"}
_RUNS: Final = {
    "failed": "✗", "not-delivered": "✗", "unknown": "?", "partial": "?", "running": "●", "waiting": "●",
    "skipped": "–",
}  # fmt: skip


def legend() -> Content:
    """What the signs mean."""
    said = [text(sign, _STYLES.get(sign, DIM)) + text(f" {word}", DIM) for sign, word in _LEGEND]
    return Content("  ").join(said)


def sign_of(slot: Mapping[str, Any]) -> str:
    """What became of a slot, as one sign; that of its run where it had one."""
    if slot["state"] in ("ran", "late"):
        sign = _RUNS.get(slot["verdict"] or "ok", "✓")
        return "L" if slot["state"] == "late" and sign == "✓" else sign
    return BECAME[slot["state"]]


def signs_of(slots: Sequence[Mapping[str, Any]]) -> list[tuple[datetime, str]]:
    """When each slot was due and its sign: what a line is made of, however wide it will be."""
    return [(parse_instant(slot["due_at"]), sign_of(slot)) for slot in slots]


def day_strip(slots: Sequence[tuple[datetime, str]], now: datetime, width: int) -> Content:
    """The 24 hours before `now` in `width` cells, oldest first; of slots as `signs_of` has them."""
    signs: list[str | None] = [None] * max(1, width)
    for due, sign in slots:
        share = 1 - (now - due) / DAY
        place = min(max(int(share * len(signs)), 0), len(signs) - 1)
        signs[place] = min((sign, signs[place] or "–"), key=_RANK.index)
    return Content.assemble(*((sign or "·", _STYLES[sign] if sign else DIM) for sign in signs))


def month_strip(account: Account, now: datetime, zone: str, days: int) -> Content:
    """The worst of each day of a routine's account, oldest first; nothing where nobody can know.

    The last of the `days` is today by the clock of `zone` (IANA). A slot without a record is as bad as a failed
    one.
    """
    here = ZoneInfo(zone)
    first = now.astimezone(here).date() - timedelta(days=days - 1)
    known = (account.known.astimezone(here).date() - first).days
    signs: list[str | None] = [None if place >= known else " " for place in range(days)]
    for fate in account.fates:
        place = (fate.at.astimezone(here).date() - first).days
        if 0 <= place < days:
            before = signs[place]
            sign = "✗" if fate.slot is None else sign_of(fate.slot)
            signs[place] = sign if before in (None, " ") else min(sign, before, key=_RANK.index)
    return Content.assemble(*((sign or "·", _STYLES.get(sign or "", DIM)) for sign in signs))
