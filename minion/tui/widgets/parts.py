"""The names of a screen's parts on one line; the one that is shown has a sign before it."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content
from textual.events import Click
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget

from minion.tui.lines import DIM, text


class Parts(Widget):
    """One line with each part's title; a click goes to one."""

    DEFAULT_CSS = """
    Parts { height: 1; padding: 0 1; background: $panel; }
    """
    titles: reactive[tuple[tuple[str, str], ...]] = reactive(())
    current: reactive[str] = reactive("")

    class Chosen(Message):
        """Somebody wants to see another part, by its name."""

        def __init__(self, part: str) -> None:
            super().__init__()
            self.part = part

    def render(self) -> Content:
        """The titles, and the key that goes on where it has room."""
        line = Content(" ").join(self._shown())
        left = self.content_size.width - line.cell_length
        hint = text("tab", "bold") + text(" next part", DIM)
        return line + Content(" " * (left - hint.cell_length)) + hint if left > hint.cell_length + 2 else line

    def _shown(self) -> Sequence[Content]:
        return [
            text(f"▸{title} ", "bold") if name == self.current else text(f" {title} ", DIM)
            for name, title in self.titles
        ]  # fmt: skip

    def on_click(self, event: Click) -> None:
        """Go to the part whose title was clicked at."""
        at = event.x - self.gutter.left
        for (name, _), shown in zip(self.titles, self._shown(), strict=True):
            at -= shown.cell_length + 1
            if at < 0:
                self.post_message(self.Chosen(name))
                return
