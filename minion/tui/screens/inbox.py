"""All that needs a person: what is asked, what was refused, and effects that nobody knows the end of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar, Final

from textual.content import Content

from minion.spelling import decision_words
from minion.store.decisions import changes_of, list_decisions, rejected_changes
from minion.store.overview import Reader, unsettled_effects
from minion.tui.lines import DIM, Cell, Column, colour_of, sign, stamp, text
from minion.tui.list_place import ListPlace, kept, labelled
from minion.tui.program import Subject
from minion.tui.reading import Reading
from minion.tui.widgets.listing import Entry, Listing, folded, still
from minion.tui.widgets.table import Table

_COLUMNS: Final = (
    Column(""), Column("what"), Column("routine", least=12), Column("question", least=20),
    Column("since", right=True), Column("", spare=1),
)  # fmt: skip
_DECIDE: Final = "d decides, by an answer that is typed."
_SETTLE: Final = "d says whether it arrived; minion effects check looks again."
_AFTER_ALL: Final = "d approves it after all; else change it back."


@dataclass(frozen=True, slots=True)
class Waiting:
    """One thing that needs a person.

    `word` is the state whose mark it has, `what` one word for it, `says` what is asked; `changes` what changed of
    what a routine runs with; `told` what else is known, by name.
    """

    key: str
    word: str
    what: str
    routine: str
    says: str
    since: str | None
    changes: Mapping[str, Mapping[str, str | None]] = field(default_factory=dict)
    told: Sequence[tuple[str, object]] = ()


class InboxScreen(ListPlace):
    """The inbox of this minion. `about` is a decision's id."""

    headed: ClassVar[str] = "INBOX"
    deeds: ClassVar[frozenset[str]] = frozenset({"why", "decide", "pause", "halt"})

    @property
    def subject(self) -> Subject:
        """What is asked under the cursor."""
        item = self._item()
        if item is None:
            return Subject()
        kind, _, rest = item.key.partition(":")
        return Subject(item.routine, effect=rest) if kind == "effect" else Subject(item.routine, decision=rest)

    def _item(self) -> Waiting | None:
        wanted = self.chosen
        return next((item for item in self.found or () if item.key == wanted), None)

    def read(self, reading: Reading) -> list[Waiting]:
        """All that waits, the oldest of each kind first."""
        return kept(reading, lambda db: list(_waiting(db)), [])

    def fill(self, table: Table) -> None:
        """One line for each thing that fits, and where HQ's own inbox is."""
        now, zone = self.minion.clock(), self.minion.reading.config.timezone
        fitting = [item for item in self.found if self.matches(item.what, item.routine, item.says, item.key)]
        table.headline("INBOX", self.amount(len(fitting), len(self.found), "what needs a person"))
        if fitting:
            table.rows(_COLUMNS, [(item.key, _row(item, now, zone)) for item in fitting])
        else:
            table.lines(self.nothing("Nothing needs you. What waits for your answer is listed here."))
        table.add(self._elsewhere())

    def _elsewhere(self) -> list[Entry]:
        hq = self.standing["hq"] if self.standing is not None else None
        if hq is None:
            return []
        says = text("What waits at HQ: ", DIM) + text(f"{hq['url']}/decisions", "$text-accent")
        return [Entry(still(Content())), *folded(says, self.table.listing.room, indent=2)]

    def aim(self, about: str) -> str | None:
        """The decision, open or rejected."""
        return next((item.key for item in self.found if item.key.partition(":")[2] == about), None)

    def explained(self) -> tuple[str, Content] | None:
        """The evidence."""
        item = self._item()
        if item is None:
            return None
        changes = [line for name, change in item.changes.items() for line in _changed(name, change)]
        told = [(name, self.minion.called(said) if isinstance(said, str) else said) for name, said in item.told]
        lines = [text(item.says), *changes, labelled(*told)]
        return f"{item.what}: {item.routine}", Content("\n").join(lines)

    def on_listing_opened(self, _: Listing.Opened) -> None:
        """Show the evidence."""
        self.toggle_pane()


def _waiting(db: Reader) -> Iterator[Waiting]:
    db.execute("BEGIN")  # all of it is of one moment
    told: Sequence[tuple[str, object]]
    all_of_them = {item["id"]: item for item in list_decisions(db, answered=True)}
    for item in all_of_them.values():
        if item["answer"] is None:
            words = decision_words(item["kind"])
            told = (("decision", item["id"]), ("next", f"{_DECIDE} {words.until}"))
            yield Waiting(f"decision:{item['id']}", "held", words.name, item["routine"], item["question"],
                          item["opened_at"], changes_of(db, item["id"]), told)  # fmt: skip
    for item in unsettled_effects(db):
        says = f"Did {item['kind']}:{item['target']} arrive? Nobody knows."
        told = (("where", item["destination"]), ("seen", item["detail"]), ("run", item["run"]),
                ("effect", item["id"]), ("next", _SETTLE))  # fmt: skip
        yield Waiting(f"effect:{item['id']}", "unknown", "effect", item["routine"], says, item["since"], told=told)
    for routine, decision in rejected_changes(db).items():
        item = all_of_them[decision]
        told = (("decision", decision), ("rejected by", item["answered_by"]), ("next", _AFTER_ALL))
        yield Waiting(f"rejected:{decision}", "rejected", "rejected", routine,
                      "It does not run: what changed was rejected.", item["answered_at"], changes_of(db, decision),
                      told)  # fmt: skip


def _changed(name: str, change: Mapping[str, str | None]) -> Sequence[Content]:
    before, after = (text(change[side] or "not there") for side in ("from", "to"))
    return text(name, "bold"), text("- ", "$text-error") + before, text("+ ", "$text-success") + after


def _row(item: Waiting, now: datetime, zone: str) -> Sequence[Cell]:
    keys = text("d", "bold") + text(" decide", DIM)
    return [sign(item.word), text(item.what, colour_of(item.word)), text(item.routine), text(item.says),
            text(stamp(item.since, now, zone), DIM), keys]  # fmt: skip
