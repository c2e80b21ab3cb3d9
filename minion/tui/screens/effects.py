"""What the kept runs did outside: each effect, what became of it, and the command that takes it back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, Final

from textual.content import Content

from minion.store.lists import kept_effects
from minion.tui.lines import DIM, Cell, Column, dated, marked, stamp, text
from minion.tui.list_place import SHOWN, ListPlace, kept, labelled
from minion.tui.program import Subject
from minion.tui.reading import Reading
from minion.tui.widgets.listing import Listing
from minion.tui.widgets.table import Table

_COLUMNS: Final = (
    Column("state"), Column("effect", least=18), Column("routine", least=12), Column("when"),
    Column("where", least=13, spare=2), Column("seen", least=20, spare=3), Column("undo", least=16, spare=1),
)  # fmt: skip
_OPEN: Final = "d says whether it arrived; minion effects check looks again."


class EffectsScreen(ListPlace):
    """All effects of kept runs, first those that nobody knows the end of. `about`: an effect's id, or a run's."""

    headed: ClassVar[str] = "EFFECTS"
    copies: ClassVar[bool] = True
    deeds: ClassVar[frozenset[str]] = frozenset({"why", "decide", "redeliver", "halt"})

    @property
    def subject(self) -> Subject:
        """The effect under the cursor, with its run."""
        effect = self._effect()
        return Subject() if effect is None else Subject(effect["routine"], effect["run"], effect=effect["id"])

    @property
    def to_copy(self) -> tuple[str, str] | None:
        """The command that takes the effect back."""
        effect = self._effect()
        return None if effect is None or not effect["reverse"] else (effect["reverse"], "What takes it back is")

    def _effect(self) -> Mapping[str, Any] | None:
        wanted = self.chosen.partition(":")[2]
        return next((effect for effect in self.found or () if effect["id"] == wanted), None)

    @property
    def _run(self) -> str | None:
        return self.about if self.about is not None and self.about.startswith("run_") else None

    def read(self, reading: Reading) -> list[dict[str, Any]]:
        """The effects, of one run where the screen is about one."""
        return kept(reading, lambda db: kept_effects(db, self._run), [])

    def fill(self, table: Table) -> None:
        """One line for each effect that fits."""
        now, zone = self.minion.clock(), self.minion.reading.config.timezone
        fitting = [effect for effect in self.found if self._fits(effect)]
        unknown = sum(effect["state"] == "unknown" for effect in fitting)
        said = self.amount(min(len(fitting), SHOWN), len(self.found), f"{unknown} unknown" if unknown else "")
        table.headline(f"EFFECTS {self._run}" if self._run else "EFFECTS", said)
        if fitting:
            table.rows(_COLUMNS, [(f"effect:{each['id']}", _row(each, now, zone)) for each in fitting[:SHOWN]])
        elif self._run is not None:
            table.lines(self.nothing("This run did nothing outside itself."))
        else:
            table.lines(self.nothing("No run has sent, pushed or written anything outside itself yet."))

    def _fits(self, effect: Mapping[str, Any]) -> bool:
        names = ("state", "routine", "id", "run", "destination", "detail")
        return self.matches(f"{effect['kind']}:{effect['target']}", *(effect[name] for name in names))

    def aim(self, about: str) -> str | None:
        """The effect."""
        return None if self._run is not None else f"effect:{about}"

    def explained(self) -> tuple[str, Content] | None:
        """All that is known of the effect, and how it is taken back."""
        effect = self._effect()
        if effect is None:
            return None
        undo = text(effect["reverse"], "$text-accent") if effect["reverse"] else "there is no command for it"
        known = labelled(
            ("state", marked(effect["state"])), ("title", effect["title"]), ("routine", effect["routine"]),
            ("run", effect["run"]), ("when", dated(effect["at"], self.minion.reading.config.timezone)),
            ("where", effect["destination"]), ("seen", effect["detail"]), ("size", f"{effect['bytes']:,} bytes"),
            ("undo", undo), ("next", self.minion.called(_OPEN) if effect["state"] == "unknown" else ""),
        )  # fmt: skip
        return f"{effect['kind']}:{effect['target']}  {effect['id']}", known

    def on_listing_opened(self, _: Listing.Opened) -> None:
        """Show the effect whole."""
        self.toggle_pane()


def _row(effect: Mapping[str, Any], now: datetime, zone: str) -> Sequence[Cell]:
    return [
        marked(effect["state"]), text(f"{effect['kind']}:{effect['target']}"), text(effect["routine"]),
        text(stamp(effect["at"], now, zone), DIM), text(effect["destination"] or "", DIM),
        text(effect["detail"] or ""), text(effect["reverse"] or "", "$text-accent"),
    ]  # fmt: skip
