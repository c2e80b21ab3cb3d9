"""One thing shown whole over the screen it came from: an event, an effect, a file."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static

from minion.tui.lines import DIM, text
from minion.tui.widgets.paper import Page, Paper


class LeafScreen(ModalScreen[None]):
    """A page with its title; Escape closes it."""

    BINDINGS = [Binding("escape,q,enter", "dismiss", "close")]  # noqa: RUF012 - as Textual has it
    DEFAULT_CSS = """
    LeafScreen { align: center middle; background: $background 60%; }
    LeafScreen > Vertical {
        width: 94%; height: 90%; border: round $primary; background: $surface; padding: 0 1;
    }
    LeafScreen .title { height: 1; text-style: bold; }
    LeafScreen .keys { height: 1; }
    LeafScreen Paper { height: 1fr; }
    """

    def __init__(self, heading: str, page: Page) -> None:
        super().__init__()
        self._heading = heading
        self._leaf = page

    def compose(self) -> ComposeResult:
        """The title, the page, and the key that closes it."""
        with Vertical():
            yield Static(text(self._heading), classes="title")
            yield Paper()
            yield Static(text("escape", "bold") + text(" close", DIM), classes="keys")

    def on_mount(self) -> None:
        """Show the page."""
        self.query_one(Paper).show(self._leaf)
