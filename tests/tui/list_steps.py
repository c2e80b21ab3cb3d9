"""What tests do on the screens with a list."""

from __future__ import annotations

from typing import cast

from textual.widgets import Input

from minion.tui.list_place import ListPlace
from minion.tui.tui_app import screen_of
from minion.tui.widgets.table import Pane
from tests.tui.piloting import Stage


def pane(stage: Stage) -> bool:
    """Whether something is shown whole below the list."""
    return bool(stage.app.screen.query_one(Pane).display)


async def go(stage: Stage, name: str, about: str | None = None) -> ListPlace:
    """Go to a list that is about something."""
    place = cast("ListPlace", screen_of(name, about))
    await stage.app.push_screen(place)
    await stage.settled()
    return place


async def seek(stage: Stage, sought: str) -> None:
    """Narrow the list, as by typing, and go back to it."""
    await stage.press("slash")
    stage.app.screen.query_one("#find", Input).value = sought
    await stage.press("enter")


def words(stage: Stage) -> str:
    """All that stands on the screen as one line."""
    return " ".join(stage.text.split())
