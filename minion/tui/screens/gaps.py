"""What runs lacked: their gaps, merged by type and code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, Final

from textual.content import Content

from minion.store.board import gaps_found
from minion.tui.lines import DIM, Cell, Column, stamp, text
from minion.tui.list_place import ListPlace, kept
from minion.tui.program import Subject
from minion.tui.reading import Reading
from minion.tui.widgets.listing import Listing
from minion.tui.widgets.table import Table

_COLUMNS: Final = (
    Column("code", least=14), Column("type"), Column("runs", right=True), Column("routines", least=10, spare=2),
    Column("first", spare=3), Column("last"), Column("what was lacking", least=28, spare=1),
)  # fmt: skip


class GapsScreen(ListPlace):
    """Each gap once, the one that most runs met first. `about` is a gap as `TYPE:CODE`."""

    headed: ClassVar[str] = "GAPS"
    deeds: ClassVar[frozenset[str]] = frozenset({"why", "run_now", "halt"})

    @property
    def subject(self) -> Subject:
        """The newest run that met the gap under the cursor."""
        wanted = self.chosen
        gap = next((gap for gap in self.found or () if _key(gap) == wanted), None)
        return Subject() if gap is None else Subject(gap["routine"], gap["run"])

    def read(self, reading: Reading) -> list[dict[str, Any]]:
        """The gaps that kept runs met."""
        return kept(reading, gaps_found, [])

    def fill(self, table: Table) -> None:
        """One line for each gap that fits."""
        now, zone = self.minion.clock(), self.minion.reading.config.timezone
        fitting = [gap for gap in self.found if self._fits(gap)]
        table.headline("GAPS", self.amount(len(fitting), len(self.found), "what runs lacked"))
        if fitting:
            table.rows(_COLUMNS, [(_key(gap), _row(gap, now, zone)) for gap in fitting])
        else:
            table.lines(self.nothing("No gaps: no run that is kept lacked anything. One that does shows up here."))

    def _fits(self, gap: Mapping[str, Any]) -> bool:
        return self.matches(gap["requested_code"], gap["gap_type"], gap["description"], *gap["routines"])

    def aim(self, about: str) -> str | None:
        """The gap."""
        return f"gap:{about}"

    def on_listing_opened(self, _: Listing.Opened) -> None:
        """Open the newest run that lacked it."""
        self.minion.open(f"run:{self.subject.run}", self.subject)


def _key(gap: Mapping[str, Any]) -> str:
    return f"gap:{gap['gap_type']}:{gap['requested_code']}"


def _row(gap: Mapping[str, Any], now: datetime, zone: str) -> Sequence[Cell]:
    code = Content.assemble(("? ", "$text-warning")) + text(gap["requested_code"], "$text-warning")
    first, last = (text(stamp(gap[name], now, zone), DIM) for name in ("first_at", "last_at"))
    routines = text(", ".join(gap["routines"]))
    return [code, text(gap["gap_type"], DIM), text(f"{gap['runs']:,}"), routines, first, last,
            text(gap["description"])]  # fmt: skip
