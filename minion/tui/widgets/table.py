"""A list under a headline and the titles of its columns, which stay while it scrolls; and a pane below a list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.events import Resize
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget
from textual.widgets import Static

from minion.tui.lines import DIM, Cell, Column, text, titled
from minion.tui.widgets.listing import Entry, Line, Listing, in_columns

Row = tuple[str | None, Sequence[Cell]]
_INDENT = "  "


class Head(Widget):
    """One line above a list, as wide as the list's own; without a line it is not there."""

    DEFAULT_CSS = "Head { height: 1; }"
    line: reactive[Line | None] = reactive(None)

    def __init__(self, listing: Listing) -> None:
        super().__init__()
        self._listing = listing

    def watch_line(self, line: Line | None) -> None:
        """Take no room without a line."""
        self.display = line is not None

    def render(self) -> Content:
        """The line, where the list's lines begin."""
        if self.line is None:
            return Content()
        room = self._listing.room
        return Content(_INDENT) + self.line(room).truncate(room, ellipsis=True)


class Table(Vertical):
    """A `Listing` with its headline and the titles of its columns."""

    DEFAULT_CSS = """
    Table { height: 1fr; }
    Table > Listing { height: 1fr; }
    """

    class Reshaped(Message):
        """There is more room, or less: lines that were broken must be broken anew."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.listing = Listing()
        self._headline = Head(self.listing)
        self._titles = Head(self.listing)

    def compose(self) -> ComposeResult:
        """The headline, the titles, the list."""
        yield self._headline
        yield self._titles
        yield self.listing

    def on_mount(self) -> None:
        """A list that begins to scroll has less room."""
        self.watch(self.listing, "show_vertical_scrollbar", self._fit, init=False)

    def on_resize(self, _: Resize) -> None:
        """Have what was broken into lines be broken anew."""
        self.post_message(self.Reshaped())
        self._fit()

    def headline(self, title: str, more: Cell = "") -> None:
        """What the list shows, and how much of it."""
        self._headline.line = lambda width: titled(title, width, more)

    def rows(
        self, columns: Sequence[Column], rows: Sequence[Row],
        below: Mapping[str | None, Sequence[Entry]] | None = None,
    ) -> None:  # fmt: skip
        """Show rows in columns, with the columns' titles above them; one in which nothing stands is left out.

        `below` are lines that stand below a row, by its key.
        """
        shown = [place for place in range(len(columns)) if any(cells[place] for _, cells in rows)]
        told = [(key, [cells[place] for place in shown]) for key, cells in rows]
        heads: list[Cell] = [text(columns[place].title, DIM) for place in shown]
        titles, *entries = in_columns([columns[place] for place in shown], [(None, heads), *told])
        more = below or {}
        shown_lines = [line for entry in entries for line in (entry, *more.get(entry.key, ()))]
        self.lines(shown_lines, titles.line if rows else None)

    def lines(self, entries: Sequence[Entry], titles: Line | None = None) -> None:
        """Show lines that are no columns, or that begin with some."""
        self._titles.line = titles
        self.listing.show(entries)

    def add(self, entries: Sequence[Entry]) -> None:
        """Show more lines below those that are shown."""
        if entries:
            self.listing.show([*self.listing.entries, *entries])

    def _fit(self) -> None:
        self._headline.refresh()
        self._titles.refresh()


class Pane(VerticalScroll):
    """Shows one thing whole below a list; hidden until it is asked for."""

    DEFAULT_CSS = """
    Pane { height: auto; max-height: 50%; display: none; padding: 0 2; background: $surface; }
    Pane > #pane-title { text-style: bold; }
    """

    subject: reactive[str] = reactive("")

    def compose(self) -> ComposeResult:
        """A title, and the text below it."""
        yield Static(id="pane-title")
        yield Static(id="pane-text")

    def tell(self, title: str, words: Content) -> None:
        """Show this; from its beginning where it is another thing than before."""
        if self.subject != title:
            self.subject = title
            self.scroll_home(animate=False)
        self.query_one("#pane-title", Static).update(text(title))
        self.query_one("#pane-text", Static).update(words)
