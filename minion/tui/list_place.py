"""What the screens with one long list share: narrowing, what stands for nothing, a pane, keeping time, copying."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Final, TypeVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.timer import Timer

from minion.spelling import plain
from minion.store.overview import Reader
from minion.tui.lines import DIM, text
from minion.tui.place import Place
from minion.tui.reading import Reading, understood
from minion.tui.widgets.listing import Entry, Listing, folded, refused
from minion.tui.widgets.table import Pane, Table
from server.contract.refusals import NotFound, Refusal

T = TypeVar("T")
# So many lines are made at once: who looks for an older one narrows the list.
SHOWN: Final = 300


class ListPlace(Place):
    """A screen with one list. A subclass reads, fills the table and says what there is when there is nothing.

    `headed` is its name, `about` what it was opened for; `copies`: it has something that `y` copies.
    """

    BINDINGS: ClassVar[list[BindingType]] = [Binding("y", "copy", "copy")]
    headed: ClassVar[str] = ""
    copies: ClassVar[bool] = False

    def __init__(self, about: str | None = None) -> None:
        super().__init__()
        self.about = about
        self._aimed = False
        self._second: Timer | None = None

    def body(self) -> ComposeResult:
        """The list, and the pane below it."""
        yield Table()
        yield Pane()

    def on_mount(self) -> None:
        """Say that it is being read: some of it takes a while."""
        self.table.headline(self.headed, "reading …")

    @property
    def table(self) -> Table:
        """The list with its headline."""
        return self.query_one(Table)

    @property
    def chosen(self) -> str:
        """The key of the line under the cursor; empty without one."""
        return (self.table.listing.chosen or "") if self.is_mounted else ""

    def show(self) -> None:
        """The list, or why there is none."""
        try:
            if self.refusal is not None:
                raise self.refusal
            understood(self._show)
        except Refusal as refusal:
            self.table.headline(self.headed)
            self.table.lines(refused(refusal, self.table.listing.room))
            self.query_one(Pane).display = False

    def _show(self) -> None:
        self.fill(self.table)
        self._aim()
        self._explain()

    def _leave_find(self) -> None:
        super()._leave_find()
        self.table.listing.focus()

    def fill(self, table: Table) -> None:
        """Show what was found, narrowed to what is sought."""

    def aim(self, about: str) -> str | None:  # noqa: ARG002 - what a subclass needs
        """The key of the line that the screen was opened for; None where it is about the whole list."""
        return None

    def explained(self) -> tuple[str, Content] | None:
        """What the pane says of the line under the cursor: its title and text. None: there is nothing to say."""
        return None

    def nothing(self, words: str) -> list[Entry]:
        """What stands in an empty list: one friendly line with the next step, or that nothing fits."""
        said = f"Nothing fits “{self.sought}”; Escape shows all." if self.sought else self.minion.called(words)
        return folded(text(said, DIM), self.table.listing.room)

    def amount(self, shown: int, of: int, *words: str) -> str:
        """How many of how many are shown, for the headline."""
        many = f"{shown:,}" if shown == of else f"{shown:,} of {of:,}"
        return " · ".join([many, *(word for word in words if word)])

    def keep_time(self, *, going: bool) -> None:
        """While something goes on, show it anew each second."""
        if going and self._second is None:
            self._second = self.set_timer(1.0, self._second_over)

    @property
    def to_copy(self) -> tuple[str, str] | None:
        """What `y` copies of the line under the cursor, and what that is; None: nothing."""
        return None

    def action_copy(self) -> None:
        """Copy, and say what."""
        if self.to_copy is None:
            return self.say("There is nothing to copy here.")
        words, what = self.to_copy
        self.app.copy_to_clipboard(plain(words))
        self.notify(f"{what} copied: {plain(words)}", markup=False)
        return None

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """As for every screen; `y` where there may be something to copy."""
        return self.copies if action == "copy" else super().check_action(action, parameters)

    def action_back(self) -> None:
        """Close the pane, else as on every screen."""
        pane = self.query_one(Pane)
        if pane.display:
            pane.display = False
            self.table.listing.focus()
        else:
            super().action_back()

    def toggle_pane(self) -> None:
        """Show what is under the cursor whole, or no more."""
        pane = self.query_one(Pane)
        pane.display = not pane.display
        self._explain()

    def on_listing_moved(self, _: Listing.Moved) -> None:
        """Have the pane follow the cursor."""
        self._explain()

    def on_table_reshaped(self, _: Table.Reshaped) -> None:
        """Break long lines anew."""
        self.call_after_refresh(self.renew)

    def _explain(self) -> None:
        pane = self.query_one(Pane)
        if not pane.display:
            return
        told = self.explained()
        if told is None:
            pane.display = False
        else:
            pane.tell(*told)

    def _aim(self) -> None:
        """Put the cursor where the screen was opened for, once."""
        if self._aimed or self.about is None:
            return
        self._aimed = True
        key = self.aim(self.about)
        if key is not None:
            self.table.listing.choose(key)

    def _second_over(self) -> None:
        self._second = None
        if self.is_current and self.found is not None:
            self.show()


def kept(reading: Reading, look: Callable[[Reader], T], otherwise: T) -> T:
    """What `look` finds in the store; `otherwise` where nothing was added or run yet."""
    try:
        return reading.read(look)
    except NotFound:
        return otherwise


def labelled(*lines: tuple[str, object]) -> Content:
    """Names with what they are, one to a line; what is empty is left out."""
    widest = max((len(name) for name, value in lines if value), default=0)
    return Content("\n").join([
        text(f"{name:<{widest}}  ", DIM) + (value if isinstance(value, Content) else text(value))
        for name, value in lines if value
    ])  # fmt: skip
