"""When routines were due in the last 30 days: how often they should have been, and what became of each time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from heapq import nlargest
from operator import itemgetter
from typing import Any, ClassVar, Final
from zoneinfo import ZoneInfo

from textual.app import ComposeResult
from textual.content import Content

from minion.store.lists import begun_for_hq, schedules_told, slots_with_runs
from minion.store.overview import Reader, first_up_at, handled_until
from minion.tui.expected import Account, Fate, Known, Memory, accounts
from minion.tui.lines import DIM, Cell, Column, clocked, colour_of, dated, due, marked, stamp, text
from minion.tui.list_place import SHOWN, ListPlace, kept, labelled
from minion.tui.program import Subject
from minion.tui.reading import Reading, understood
from minion.tui.widgets.listing import Listing
from minion.tui.widgets.strip import BECAME, legend, month_strip
from minion.tui.widgets.table import Pane, Row, Table
from server.contract.digest import instant, parse_instant

DAYS: Final = 30
_ACCOUNTS: Final = (
    Column("routine", least=8), Column("30 days"), Column("expected", right=True), Column("recorded", right=True),
    Column("no record"), Column("became", least=8, spare=1), Column("", least=8, spare=2),
)  # fmt: skip
_SLOTS: Final = (
    Column("due"), Column("routine", least=14), Column("became"), Column("late by", right=True, spare=2),
    Column("verdict"), Column("why", least=20, spare=1),
)  # fmt: skip
# Slots that have no record are few, or all of the same kind.
_BARE: Final = 200


@dataclass(frozen=True, slots=True)
class Month:
    """The accounts of all routines or of one, and what became of each slot, newest first.

    A slot without a record is among them: it has the state `no record`.
    """

    accounts: Sequence[Account] = ()
    slots: Sequence[Mapping[str, Any]] = ()
    since: datetime | None = None


class SlotsScreen(ListPlace):
    """Expected against actual. `about` is a routine's name."""

    headed: ClassVar[str] = "SLOTS"
    deeds: ClassVar[frozenset[str]] = frozenset({"why", "run_now", "pause", "decide", "halt"})
    AUTO_FOCUS = "#slots Listing"

    def __init__(self, about: str | None = None) -> None:
        super().__init__(about)
        self._memory = Memory()

    def body(self) -> ComposeResult:
        """The accounts, the slots, and the pane."""
        yield Table(id="promised")
        yield Table(id="slots")
        yield Pane()

    @property
    def table(self) -> Table:
        """The list of slots."""
        return self.query_one("#slots", Table)

    @property
    def subject(self) -> Subject:
        """The routine that was due, with the run it got."""
        above = self.query_one("#promised", Table).listing
        if above.has_focus and above.chosen is not None:
            return Subject(above.chosen.partition(":")[2])
        slot = self._slot()
        if slot is None:
            return Subject(self.about)
        return Subject(slot["routine"], slot["run"] if slot["kept"] else None)

    def _slot(self) -> Mapping[str, Any] | None:
        wanted = self.chosen
        return next((slot for slot in self.found.slots if _key(slot) == wanted), None) if self.found else None

    def read(self, reading: Reading) -> Month:
        """What was expected and what is recorded, from 30 days ago (by the minion's own clock) until now."""
        now, zone = reading.clock(), reading.config.timezone
        here = ZoneInfo(zone)
        today = now.astimezone(here).replace(hour=0, minute=0, second=0, microsecond=0)
        since = parse_instant(instant(today - timedelta(days=DAYS - 1)))
        known = kept(reading, lambda db: _known(db, since, zone, self.about), None)
        if known is None:
            return Month(since=since)
        made = understood(lambda: accounts(known, since=since, now=now, memory=self._memory))
        bare = ((fate, each) for each in made for fate in each.fates if fate.slot is None)
        newest = [_bare(of, fate, here) for fate, of in nlargest(_BARE, bare, key=lambda pair: pair[0].at)]
        return Month(made, sorted([*known.slots, *newest], key=itemgetter("due_at"), reverse=True), since)

    def show(self) -> None:
        """The accounts above the list of slots."""
        above = self.query_one("#promised", Table)
        above.display = self.refusal is None and bool(self.found.accounts)
        super().show()

    def fill(self, table: Table) -> None:
        """One line for each routine, and one for each slot, that fits."""
        now, zone = self.minion.clock(), self.minion.reading.config.timezone
        self._promised(now, zone)
        fitting = [slot for slot in self.found.slots if self._fits(slot)]
        said = self.amount(min(len(fitting), SHOWN), len(self.found.slots), "newest first")
        table.headline(f"SLOTS {self.about}" if self.about else "SLOTS", said)
        if fitting:
            shown = fitting[:SHOWN]
            columns = _SLOTS if self.about is None else [each for each in _SLOTS if each.title != "routine"]
            table.rows(columns, [(_key(slot), _row(slot, now, columns)) for slot in shown])
        elif self.about is not None:
            table.lines(self.nothing(f"{self.about} was not due in these {DAYS} days: w says why."))
        else:
            table.lines(self.nothing('Nothing was due yet: minion schedule update NAME "every weekday at 9:00"'))

    def _promised(self, now: datetime, zone: str) -> None:
        above = self.query_one("#promised", Table)
        fitting = [account for account in self.found.accounts if self.matches(account.routine, *account.notes)]
        lacking = sum(account.lacking for account in fitting)
        said = f"✗ {lacking:,} without a record" if lacking else "expected against actual"
        above.headline(f"{DAYS} DAYS", text(f"{said}   ", "$text-error" if lacking else DIM) + legend())
        kind = "strip" if self.about is None else "routine"
        since = self.found.since
        rows: list[Row] = [(f"{kind}:{each.routine}", _promise(each, since, now, zone)) for each in fitting]
        above.rows(_ACCOUNTS, rows)
        above.styles.height = min(len(rows) + 2, max(4, self.size.height * 2 // 5))

    def _fits(self, slot: Mapping[str, Any]) -> bool:
        return self.matches(*(slot[name] for name in ("routine", "state", "verdict", "why", "run")))

    def explained(self) -> tuple[str, Content] | None:
        """All that is known of the slot."""
        slot = self._slot()
        if slot is None:
            return None
        gone = " (pruned: of the run no more is kept)" if slot["run"] and not slot["kept"] else ""
        return f"{slot['routine']}  {slot['due']}", labelled(
            ("became", _became(slot)), ("verdict", marked(slot["verdict"]) if slot["verdict"] else ""),
            ("why", slot["why"]), ("run", f"{slot['run']}{gone}" if slot["run"] else ""),
            ("schedule", slot["trigger"]),
            ("settled", dated(slot["settled_at"], self.minion.reading.config.timezone)),
        )  # fmt: skip

    def on_listing_opened(self, event: Listing.Opened) -> None:
        """Open the run of a slot, else show what is known of it; of a routine show its slots, or runs."""
        subject = self.subject
        if event.listing is not self.table.listing:
            self.minion.open(event.key, subject)
        elif subject.run is not None:
            self.minion.open(f"run:{subject.run}", subject)
        else:
            self.toggle_pane()


def _known(db: Reader, since: datetime, zone: str, about: str | None) -> Known:
    db.execute("BEGIN")  # all of it is of one moment
    told, slots = schedules_told(db), slots_with_runs(db, since)
    if about is not None:
        told = {key: said for key, said in told.items() if said[-1]["name"] == about}
        slots = [slot for slot in slots if slot["routine"] == about]
    return Known(told, slots, handled_until(db), zone, first_up_at(db), begun_for_hq(db))


def _bare(account: Account, fate: Fate, here: ZoneInfo) -> dict[str, Any]:
    """A slot that should be there and is not, as a row among the others."""
    at = instant(fate.at)
    return {
        "routine_id": account.routine_id, "routine": account.routine, "trigger": None, "key": f"bare {at}",
        "due_at": at, "due": fate.at.astimezone(here).isoformat(), "state": "no record", "count": 1,
        "why": fate.why, "run": None, "kept": False, "settled_at": None, "verdict": None,
    }  # fmt: skip


def _key(slot: Mapping[str, Any]) -> str:
    return f"slot:{slot['routine_id']} {slot['key']}"


def _promise(account: Account, since: datetime | None, now: datetime, zone: str) -> Sequence[Cell]:
    recorded = sum(account.recorded.values())
    lacks = text(f"✗ {account.lacking:,}", "$text-error") if account.lacking else text("✓ none", "$text-success")
    parts = [
        text(f"{mark}{account.recorded[state]:,}", colour_of(state))
        for state, mark in BECAME.items() if account.recorded.get(state)
    ]  # fmt: skip
    return [
        text(account.routine), month_strip(account, now, zone, DAYS), text(f"{account.expected:,}"),
        text(f"{recorded:,}"), lacks, Content(" ").join(parts),
        text(", ".join(_notes(account, since, now, zone)), DIM),
    ]  # fmt: skip


def _notes(account: Account, since: datetime | None, now: datetime, zone: str) -> Iterator[str]:
    if since is not None and account.since > since + timedelta(days=1):
        yield f"since {stamp(instant(account.since), now, zone)}"
    yield from account.notes
    if account.beside:
        yield f"{account.beside:,} not expected"


def _became(slot: Mapping[str, Any]) -> Content:
    if slot["state"] == "no record":
        return text("✗ no record", "$text-error")
    return marked(slot["state"], f"{slot['count']:,}" if slot["count"] > 1 else "")


def _late_s(slot: Mapping[str, Any]) -> float:
    """How long after its instant a slot started (seconds); 0 where it did not."""
    if slot["run"] is None or slot["settled_at"] is None:
        return 0.0
    return (parse_instant(slot["settled_at"]) - parse_instant(slot["due_at"])).total_seconds()


def _row(slot: Mapping[str, Any], now: datetime, columns: Sequence[Column]) -> Sequence[Cell]:
    after = _late_s(slot)
    cells: dict[str, Cell] = {
        "due": text(due(slot["due"], now)), "routine": text(slot["routine"]), "became": _became(slot),
        "late by": text(clocked(after) if after >= 1 else ""),
        "verdict": marked(slot["verdict"]) if slot["verdict"] else "", "why": text(slot["why"] or "", DIM),
    }  # fmt: skip
    return [cells[column.title] for column in columns]
