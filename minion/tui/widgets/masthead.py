"""The head of every screen: who this is, whether it is up and linked, what today cost, what time it is."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

from minion.tui.lines import DIM, cap, dollars, span, text
from minion.tui.reading import Snapshot
from server.contract.digest import parse_instant
from server.contract.quota import SpendingCaps

_GAP: Final = "   "
_ENGINES: Final = {"script": "script·no model", "claude-code": "claude-code·your-plan"}


class Masthead(Widget):
    """One line, made anew with every snapshot, and when a minute is over."""

    DEFAULT_CSS = """
    Masthead { height: 1; dock: top; padding: 0 1; background: $panel; }
    """
    snapshot: reactive[Snapshot | None] = reactive(None)
    now: reactive[datetime | None] = reactive(None)

    def render(self) -> Content:
        """The parts that have room; the clock always has."""
        found, now = self.snapshot, self.now
        if found is None or now is None:
            return Content.styled("reading …", DIM)
        local = now.astimezone(ZoneInfo(found.config.timezone))
        clock = text(f"{local:%a %H:%M %Z}", DIM)
        width = self.content_size.width
        who = text(found.config.name, "bold") + " " + _daemon(found, now)
        parts = [who, _hq(found), _engine(found), _today(found)]
        order = (2, 3, 1)  # left out first where there is no room
        for spare in (None, *order):
            if spare is not None:
                parts[spare] = Content()
            line = Content(_GAP).join([part for part in parts if part])
            left = width - line.cell_length - clock.cell_length
            if left >= len(_GAP) or spare == order[-1]:
                break
        return line + Content(" " * max(1, left)) + clock


def _daemon(found: Snapshot, now: datetime) -> Content:
    live = found.live
    if live is None:
        return text("○ no daemon, read-only", "$text-warning")
    if live.get("health") == "silent":
        return text("✗ its daemon does not answer", "$text-error")
    if live.get("stopping"):
        return text("● stopping", "$text-warning")
    up = span((now - parse_instant(live["since"])).total_seconds())
    if live.get("trouble"):
        return text(f"! up {up}, in trouble", "$text-warning")
    return text("●", "$text-success") + f" up {up}"


def _hq(found: Snapshot) -> Content:
    said: Mapping[str, Any] | None = found.document["hq"] if found.document is not None else None
    if said is None:
        return Content()
    if said["linked"]:
        return Content("HQ ") + text("●", "$text-success") + " linked"
    if found.is_up:
        return Content("HQ ") + text("! away", "$text-warning")
    return Content("HQ ") + text("○ not asked", DIM)


def _engine(found: Snapshot) -> Content:
    return text(_ENGINES.get(found.config.engine, found.config.engine), DIM)


def _today(found: Snapshot) -> Content:
    return text(f"today {dollars(found.spent.today)} of {cap(SpendingCaps().dollars_per_day)}")
