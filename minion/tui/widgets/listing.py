"""A list of lines with a cursor, each made for the width there is; the cursor stays with what it stands on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from textual.binding import Binding
from textual.content import Content
from textual.events import Click, Leave, MouseMove, Resize
from textual.geometry import Region, Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.style import Style
from textual.visual import Visual

from minion.tui.lines import DIM, Cell, Column, laid_out, text
from server.contract.refusals import Refusal

# Makes a line for a width in cells.
Line = Callable[[int], Content]
_SIGN: Final = "▸ "
_NO_SIGN: Final = "  "


@dataclass(frozen=True, slots=True)
class Entry:
    """One line; without a `key` the cursor passes over it. Keys are unique in a list."""

    line: Line
    key: str | None = None


def still(content: Content) -> Line:
    """A line that is the same at every width."""
    return lambda _: content


def in_columns(columns: Sequence[Column], rows: Sequence[tuple[str | None, Sequence[Cell]]]) -> list[Entry]:
    """Rows with their keys as entries: laid out together, each time for the width there is."""
    made: dict[int, list[Content]] = {}

    def line(number: int) -> Line:
        def at(width: int) -> Content:
            if width not in made:
                made.clear()
                made[width] = laid_out(columns, [cells for _, cells in rows], width)
            return made[width][number]

        return at

    return [Entry(line(number), key) for number, (key, _) in enumerate(rows)]


class Listing(ScrollView, can_focus=True):
    """Shows entries, one line each. The chosen one begins with a sign: it is seen without colours too."""

    BINDINGS = [  # noqa: RUF012 - as Textual has it
        Binding("down,j", "step(1)", "down", show=False),
        Binding("up,k", "step(-1)", "up", show=False),
        Binding("pagedown", "page(1)", "page down", show=False),
        Binding("pageup", "page(-1)", "page up", show=False),
        Binding("home,g", "to_end(-1)", "top", show=False),
        Binding("end,G", "to_end(1)", "end", show=False),
        Binding("enter", "open", "open", key_display="enter"),
    ]
    COMPONENT_CLASSES = {"listing--chosen", "listing--hover"}  # noqa: RUF012
    DEFAULT_CSS = """
    Listing {
        background: transparent;
        scrollbar-size-vertical: 1;
        & > .listing--chosen { background: $foreground 8%; }
        &:focus > .listing--chosen { background: $primary 40%; text-style: bold; }
        & > .listing--hover { background: $foreground 4%; }
    }
    """
    at: reactive[int | None] = reactive(None, repaint=False)
    under_mouse: reactive[int | None] = reactive(None, repaint=False)

    class Opened(Message):
        """Somebody wants to see more of what stands under the cursor."""

        def __init__(self, listing: Listing, key: str) -> None:
            super().__init__()
            self.listing = listing
            self.key = key

        @property
        def control(self) -> Listing:
            """The list it is said of."""
            return self.listing

    class Moved(Opened):
        """The cursor stands on another line."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.entries: Sequence[Entry] = ()
        # Lines as they were drawn: while a list scrolls, most of it is what it was.
        self._drawn: dict[tuple[int, int, Style], Strip] = {}

    @property
    def room(self) -> int:
        """How many cells a line has, between the cursor's sign and a margin of one."""
        return max(20, self.scrollable_content_region.width - len(_SIGN) - 1)

    @property
    def chosen(self) -> str | None:
        """The key of the line under the cursor."""
        return self.entries[self.at].key if self.at is not None and self.at < len(self.entries) else None

    def show(self, entries: Sequence[Entry]) -> None:
        """Show these entries from now on; the cursor stays on its key, or near where it was."""
        before, at = self.chosen, self.at or 0
        self.entries = entries
        self._drawn.clear()
        self.virtual_size = Size(0, len(entries))
        places: dict[str | None, int | None] = {
            entry.key: number for number, entry in enumerate(entries) if entry.key is not None
        }
        near = min(places.values(), key=lambda number: abs((number or 0) - at), default=None)
        self.set_reactive(Listing.at, places.get(before, near))
        self.refresh()
        if self.chosen is not None and self.chosen != before:
            self.post_message(self.Moved(self, self.chosen))

    def choose(self, key: str) -> bool:
        """Put the cursor on a key; whether there is one."""
        for number, entry in enumerate(self.entries):
            if entry.key == key:
                self.at = number
                return True
        return False

    def watch_at(self, before: int | None, at: int | None) -> None:
        """Draw what was and what is chosen, keep that in sight, and say that it is chosen."""
        self._draw_again(before, at)
        self._show_at(at)
        if at is not None and self.chosen is not None:
            self.post_message(self.Moved(self, self.chosen))

    def watch_under_mouse(self, before: int | None, now: int | None) -> None:
        """Draw what the mouse has left, and what it is over."""
        self._draw_again(before, now)

    def _draw_again(self, *numbers: int | None) -> None:
        for number in numbers:
            if number is not None:
                self.refresh_line(number)

    def _show_at(self, at: int | None) -> None:
        if at is None:
            return
        # What stands above the first line that can be chosen is its title: it is shown with it.
        top = 0 if not any(entry.key for entry in self.entries[:at]) else at
        self.scroll_to_region(Region(0, top, 1, at - top + 1), animate=False, force=True, immediate=True)

    def render_line(self, y: int) -> Strip:
        """The strip of one line of the widget."""
        number, width = self.scroll_offset.y + y, self.scrollable_content_region.width
        if number >= len(self.entries):
            return Strip.blank(width, self.visual_style.rich_style)
        entry, is_chosen = self.entries[number], number == self.at
        style = self.visual_style
        if is_chosen:
            style = self.get_visual_style("listing--chosen")
        elif number == self.under_mouse and entry.key is not None:
            style = self.get_visual_style("listing--hover")
        key = (number, width, style)
        if key not in self._drawn:
            content = Content(_SIGN if is_chosen else _NO_SIGN) + entry.line(self.room)
            strips = Visual.to_strips(self, content.truncate(width, ellipsis=True), width, 1, style, pad=True)
            strip = strips[0].extend_cell_length(width, style.rich_style).apply_meta({"line": number})
            self._drawn[key] = strip
        return self._drawn[key]

    def notify_style_update(self) -> None:
        """Draw every line anew: the theme has changed, or something else of how it looks."""
        self._drawn.clear()
        super().notify_style_update()

    def on_resize(self, _: Resize) -> None:
        """Make every line anew: there is more room, or less; what is chosen stays in sight."""
        self._drawn.clear()
        self.refresh()
        self._show_at(self.at)

    def on_mouse_move(self, event: MouseMove) -> None:
        """Show which line a click would choose."""
        self.under_mouse = event.style.meta.get("line")

    def on_leave(self, _: Leave) -> None:
        """The mouse is elsewhere."""
        self.under_mouse = None

    async def on_click(self, event: Click) -> None:
        """Choose what is clicked at; what is chosen already is opened."""
        number = event.style.meta.get("line")
        if number is None or number >= len(self.entries) or self.entries[number].key is None:
            return
        if number == self.at:
            self.action_open()
        else:
            self.at = number

    def action_open(self) -> None:
        """Ask for more of what is chosen."""
        if self.chosen is not None:
            self.post_message(self.Opened(self, self.chosen))

    def action_step(self, by: int) -> None:
        """Go to the next line that can be chosen, down or up."""
        places = self._places()
        if places and self.at in places:
            self.at = places[min(max(places.index(self.at) + by, 0), len(places) - 1)]
        elif places:
            self.at = places[0]

    def action_page(self, by: int) -> None:
        """Go about a page down or up."""
        places = self._places()
        if places:
            aim = (self.at or 0) + by * max(1, self.scrollable_content_region.height - 1)
            self.at = min(places, key=lambda number: abs(number - aim))

    def action_to_end(self, way: int) -> None:
        """Go to the first line, or the last."""
        places = self._places()
        if places:
            self.at = places[0] if way < 0 else places[-1]

    def action_part(self, by: int) -> None:
        """Go to the first line of the next part, or of the one before; after the last comes the first."""
        places = self._places()
        # A part begins where a line can be chosen and the one above it cannot.
        begins = [number for number in places if number - 1 not in places]
        if begins and self.at is not None:
            here = max((place for place, number in enumerate(begins) if number <= self.at), default=0)
            self.at = begins[(here + by) % len(begins)]

    def _places(self) -> list[int]:
        return [number for number, entry in enumerate(self.entries) if entry.key is not None]


def folded(content: Content, width: int, *, key: str | None = None, indent: int = 0) -> list[Entry]:
    """A long line as several of `width` cells at most, the later ones indented; the first one can be chosen."""
    first, *rest = content.wrap(max(20, width - indent)) or [content]
    return [Entry(still(first), key), *(Entry(still(Content(" " * indent) + line)) for line in rest)]


def refused(refusal: Refusal, width: int) -> list[Entry]:
    """What stands in a list's place when it could not be read: why, and what to do."""
    says = text("✗ ", "$text-error") + text(refusal.sentence)
    return [*folded(says, width, indent=2), *folded(text(f"  hint: {refusal.hint}", DIM), width, indent=2)]
