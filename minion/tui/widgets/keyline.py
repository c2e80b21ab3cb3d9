"""The keys that work on a screen, on its last line; each can be clicked."""

from __future__ import annotations

from textual.content import Content
from textual.events import Click
from textual.style import Style
from textual.widget import Widget

from minion.tui.lines import DIM


class KeyLine(Widget):
    """As many keys as have room, in the order of the screen's bindings.

    One line of text: Textual's own footer is a widget for each key, made anew whenever one of them changes.
    """

    DEFAULT_CSS = """
    KeyLine { height: 1; dock: bottom; padding: 0 1; background: $panel; }
    """

    def on_mount(self) -> None:
        """Show other keys when others work."""
        self.screen.bindings_updated_signal.subscribe(self, lambda _: self.refresh())

    def render(self) -> Content:
        """The keys with a word each."""
        shown: dict[str, Content] = {}
        for active in self.screen.active_bindings.values():
            binding = active.binding
            if binding.show and active.enabled and binding.action not in shown:
                key = self.app.get_key_display(binding)
                words = Content.assemble((key, "bold $text-accent"), (f" {binding.description}", DIM))
                shown[binding.action] = words.stylize(Style.from_meta({"key": binding.key}))
        line, width = Content(), self.content_size.width
        for words in shown.values():
            longer = line + "  " + words if line else words
            if longer.cell_length > width:
                break
            line = longer
        return line

    def on_click(self, event: Click) -> None:
        """Do what the key does."""
        key = event.style.meta.get("key")
        if key is not None:
            self.app.simulate_key(key)
