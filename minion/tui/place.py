"""What all screens share: head and keys, finding, and that they read anew when something has changed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Input

from minion.spelling import plain
from minion.tui.aside import aside
from minion.tui.deeds import Deeds
from minion.tui.reading import understood
from minion.tui.widgets.keyline import KeyLine
from minion.tui.widgets.listing import Listing, refused
from minion.tui.widgets.masthead import Masthead
from server.contract.refusals import Refusal

if TYPE_CHECKING:
    from minion.tui.reading import Reading

# Between two looks while one change follows the other: reading a full home takes a good part of it.
_BREATH_S = 0.15


class Place(Deeds):
    """A screen that shows something of the home. A subclass says what it reads and how that is shown.

    `deeds` are the actions of `Deeds` that make sense on it; the others have no key there.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "find", "find", key_display="/"),
        Binding("question_mark", "help", "help", key_display="?"),
        Binding("escape", "back", "back", show=False),
    ]
    deeds: ClassVar[frozenset[str]] = frozenset()
    finds: ClassVar[bool] = True
    # What it shows follows from what it reads alone: where that is as before, nothing is made anew.
    alone: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__()
        self.sought = ""
        self.found: Any = None
        self.refusal: Refusal | None = None
        self._looking = False
        self._again = False

    def compose(self) -> ComposeResult:
        """The head, what is shown, what is sought, and the keys."""
        yield Masthead()
        yield from self.body()
        if self.finds:
            yield Input(placeholder="find …", id="find", compact=True)
        yield KeyLine()

    def body(self) -> ComposeResult:
        """What stands between head and keys."""
        yield from ()

    def read(self, reading: Reading) -> Any:  # noqa: ARG002 - what a subclass needs
        """What is shown. Called beside the event loop; a refusal is shown in its place."""
        return None

    def show(self) -> None:
        """Show `self.found`, narrowed to what is `self.sought`; or `self.refusal`, where it could not be read."""

    def renew(self) -> None:
        """Show what is known now: something was found, sought or read, or time went by."""
        if not self._renew_head():
            return
        if self.found is None and self.refusal is None:
            return
        try:
            understood(self.show)
        except Refusal as refusal:
            for listing in self.query(Listing):
                listing.show(refused(refusal, listing.room))

    def _renew_head(self) -> bool:
        """Whether there is a head: not before the screen is made, nor once it is gone."""
        heads = self.query(Masthead)
        if not self.is_attached or not heads:
            return False
        head = heads.first()
        head.snapshot, head.now = self.minion.snapshot, self.minion.clock()
        return True

    def on_mount(self) -> None:
        """Show at once what is known already."""
        self.renew()

    def on_screen_resume(self) -> None:
        """Look when the screen comes to the front."""
        self.renew()
        self.look()

    def look(self) -> None:
        """Read again and show it; while that goes on, once more afterwards."""
        if self._looking:
            self._again = True
            return
        self._looking = True
        self.run_worker(self._look(), name="look", group="look")

    async def _look(self) -> None:
        try:
            while True:
                self._again = False
                await self._look_once()
                if not self._again:
                    return
                await asyncio.sleep(_BREATH_S)
        finally:
            self._looking = False

    async def _look_once(self) -> None:
        await self.minion.look()
        before = self.found if self.refusal is None else None
        try:
            self.found, self.refusal = await aside(lambda: self.read(self.minion.reading)), None
        except Refusal as refusal:
            refusal.hint = self.minion.called(refusal.hint)
            self.refusal = refusal
        if self.alone and self.refusal is None and before is not None and before == self.found:
            self._renew_head()
        else:
            self.renew()

    def matches(self, *words: str | None) -> bool:
        """Whether what is sought stands in one of these; each word of it somewhere."""
        text = " ".join(word for word in words if word).lower()
        return all(part in text for part in self.sought.lower().split())

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002
        """Only what makes sense here has a key."""
        if action in _DEEDS:
            return action in self.deeds
        return self.finds if action == "find" else True

    def on_input_changed(self, event: Input.Changed) -> None:
        """Narrow the list while somebody types."""
        if event.input.id == "find":
            self.sought = plain(event.value)
            self.renew()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Go back to the list, which stays narrow."""
        if event.input.id == "find":
            self._leave_find()

    def action_find(self) -> None:
        """Type what is sought."""
        found = self.query_one("#find", Input)
        found.display = True
        found.focus()

    def action_back(self) -> None:
        """Leave finding, else the screen."""
        field = self.query_one("#find", Input) if self.finds else None
        if field is not None and (field.has_focus or self.sought):
            field.clear()
            self.sought = ""
            self._leave_find()
            self.renew()
        else:
            self.leave()

    def leave(self) -> None:
        """Go to the screen below."""
        self.dismiss()

    def action_help(self) -> None:
        """Show every key."""
        from minion.tui.screens.help import HelpScreen

        self.app.push_screen(HelpScreen())

    def _leave_find(self) -> None:
        field = self.query_one("#find", Input)
        field.display = bool(self.sought)
        self.focus_next()


_DEEDS = frozenset({"why", "run_now", "cancel_run", "pause", "decide", "redeliver", "halt"})
