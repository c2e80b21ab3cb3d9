"""Long text to be read and scrolled: made for the width there is, wrapped, shown line by line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from textual.binding import Binding
from textual.content import Content
from textual.events import Resize
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.visual import Visual

from minion.tui.lines import DIM, text

# Makes the lines for a width in cells.
Page = Callable[[int], Sequence[Content]]


class Paper(ScrollView, can_focus=True):
    """Shows a page and scrolls. With an `edge` a line stands at its left, which is heavy where the keys go."""

    BINDINGS = [  # noqa: RUF012 - as Textual has it
        Binding("down,j", "scroll_down", "down", show=False),
        Binding("up,k", "scroll_up", "up", show=False),
        Binding("pagedown,space", "page_down", "page down", show=False),
        Binding("pageup", "page_up", "page up", show=False),
        Binding("home,g", "scroll_home", "top", show=False),
        Binding("end,G", "scroll_end", "end", show=False),
    ]
    DEFAULT_CSS = """
    Paper { background: transparent; scrollbar-size-vertical: 1; }
    """

    def __init__(self, *, id: str | None = None, edge: bool = False) -> None:
        super().__init__(id=id)
        self._edge = edge
        self._page: Page = lambda _: ()
        self._about: str | None = None
        self.rows: Sequence[Content] = ()

    def show(self, page: Page, about: str | None = None) -> None:
        """Show a page from now on: from its top, but where it is `about` the same as before from where one was."""
        self._page = page
        self._make()
        if about is None or about != self._about:
            self.scroll_to(0, 0, animate=False, force=True, immediate=True)
        self._about = about

    def render_line(self, y: int) -> Strip:
        """The strip of one line of the widget."""
        number, width = self.scroll_offset.y + y, self.scrollable_content_region.width
        style = self.visual_style
        margin = Content("  ")
        if self._edge:
            margin = Content.styled("┃ ", "$primary") if self.has_focus else Content.styled("│ ", DIM)
        row = self.rows[number] if number < len(self.rows) else Content()
        content = (margin + row).truncate(width, ellipsis=True)
        strips = Visual.to_strips(self, content, width, 1, style, pad=True)
        return strips[0].extend_cell_length(width, style.rich_style)

    def on_resize(self, _: Resize) -> None:
        """Make the page anew: there is more room, or less."""
        self._make()

    def on_focus(self) -> None:
        """Show where the keys go."""
        self.refresh()

    def on_blur(self) -> None:
        """Show where the keys go."""
        self.refresh()

    def _make(self) -> None:
        # A margin of one at the right, as a list has it.
        width = max(16, self.scrollable_content_region.width - 3)
        self.rows = self._page(width)
        self.virtual_size = Size(0, len(self.rows))
        self.refresh()


def wrapped(words: object, width: int, style: str = "") -> Iterator[Content]:
    """A text of several lines, each broken where there is no more room."""
    for line in str(words).expandtabs(4).splitlines() or [""]:
        shown = text(line, style)
        if shown.cell_length <= width:
            yield shown
        else:
            yield from shown.wrap(width)


def named(name: str, words: Content | str, width: int, column: int = 11) -> Iterator[Content]:
    """A word, and what is said of it beside it; lines that follow begin where that does."""
    shown = words if isinstance(words, Content) else text(words)
    if not shown:
        return
    head = text(f"{name:<{column}}", DIM)
    for line in shown.wrap(max(8, width - column)):
        yield head + line
        head = Content(" " * column)


def part(title: str, lines: Iterable[Content]) -> Iterator[Content]:
    """Lines under a title of their own; nothing where there are none."""
    held = list(lines)
    if held:
        yield Content()
        yield Content.styled(title, "bold")
        yield from held
