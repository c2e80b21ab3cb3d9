"""What was said while a run went on, line by line; it follows its end until somebody goes up in it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import tzinfo

from minion.tui.lines import DIM, text
from minion.tui.run_parts import said
from minion.tui.run_story import Moment
from minion.tui.widgets.listing import Entry, Listing, still


class Transcript(Listing):
    """A list of moments that grows; only those that are new are made into lines."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._told: list[Entry] = []
        self._last: Moment | None = None
        self._count = 0
        self._narrowed = ""

    def tell(self, moments: Sequence[Moment], zone: tzinfo, sought: str, *, live: bool) -> None:
        """Show these moments, those with the words that are sought; of a `live` run the newest."""
        goes_on = self._count and len(moments) >= self._count and moments[self._count - 1] is self._last
        follows = self.chosen == self._newest() if self._told else live
        if not goes_on or sought != self._narrowed:
            self._told, self._count = [], 0
        elif len(moments) == self._count and self.entries:
            return
        words = sought.lower().split()
        for moment in moments[self._count :]:
            if all(word in f"{moment.type} {moment.told.words} {moment.told.text}".lower() for word in words):
                self._told += said(moment, zone)
        self._count, self._narrowed = len(moments), sought
        self._last = moments[-1] if moments else None
        self.show(self._told or [Entry(still(text("Nothing of it was said." if sought else "Nothing yet.", DIM)))])
        newest = self._newest()
        if follows and newest is not None:
            self.choose(newest)
            self.call_after_refresh(self.scroll_end, animate=False)

    def _newest(self) -> str | None:
        """The key of the last moment."""
        return next((entry.key for entry in reversed(self._told) if entry.key is not None), None)
