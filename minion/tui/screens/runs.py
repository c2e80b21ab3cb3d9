"""The newest runs, of all routines or of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, Final

from minion.store.lists import newest_runs
from minion.tui.deeds import UNDER_WAY
from minion.tui.lines import DIM, Cell, Column, clocked, marked, stamp, text
from minion.tui.list_place import ListPlace, kept
from minion.tui.program import Subject
from minion.tui.reading import Reading
from minion.tui.widgets.listing import Listing
from minion.tui.widgets.table import Table
from server.contract.digest import parse_instant

_COLUMNS: Final = (
    Column("verdict"), Column("routine", least=10), Column("when"), Column("took", right=True),
    Column("trigger", spare=2), Column("engine", spare=3), Column("summary", least=26, spare=1),
)  # fmt: skip
_WELL: Final = ("ok", "unchecked", "running", "waiting")
_SHORT_S: Final = 10


class RunsScreen(ListPlace):
    """The newest 200 runs; those that go on are timed to the second. `about` is a routine's name."""

    headed: ClassVar[str] = "RUNS"
    copies: ClassVar[bool] = True
    alone: ClassVar[bool] = True
    deeds: ClassVar[frozenset[str]] = frozenset({"why", "run_now", "cancel_run", "pause", "redeliver", "halt"})

    @property
    def subject(self) -> Subject:
        """The run under the cursor."""
        run = self._run()
        return Subject(self.about) if run is None else Subject(run["routine"], run["id"])

    @property
    def to_copy(self) -> tuple[str, str] | None:
        """The run's id."""
        run = self._run()
        return None if run is None else (run["id"], "The run's id is")

    def _run(self) -> Mapping[str, Any] | None:
        wanted = self.chosen.partition(":")[2]
        return next((run for run in self.found[0] if run["id"] == wanted), None) if self.found else None

    def read(self, reading: Reading) -> tuple[list[dict[str, Any]], int]:
        """The newest runs, and how many there are."""
        nothing: tuple[list[dict[str, Any]], int] = ([], 0)
        return kept(reading, lambda db: newest_runs(db, routine=self.about), nothing)

    def fill(self, table: Table) -> None:
        """One line for each run that fits."""
        runs, total = self.found
        now, zone = self.minion.clock(), self.minion.reading.config.timezone
        fitting = [run for run in runs if self._fits(run)]
        headed = f"RUNS {self.about}" if self.about else "RUNS"
        table.headline(headed, self.amount(len(fitting), total, "newest first"))
        if fitting:
            columns = _COLUMNS if self.about is None else _without(_COLUMNS, "routine")
            table.rows(columns, [(f"run:{run['id']}", _row(run, now, zone, columns)) for run in fitting])
        elif self.about is not None:
            table.lines(self.nothing(f"{self.about} has not run yet: r runs it."))
        else:
            table.lines(self.nothing("Nothing has run yet: minion run NAME, or r on a routine (1 shows them)."))
        self.keep_time(going=any(run["state"] in UNDER_WAY for run in fitting))

    def _fits(self, run: Mapping[str, Any]) -> bool:
        names = ("routine", "verdict", "state", "trigger", "id", "engine", "summary", "why", "lost")
        return self.matches(*(run[name] for name in names))

    def on_listing_opened(self, event: Listing.Opened) -> None:
        """Open the run."""
        self.minion.open(event.key, self.subject)


def _without(columns: Sequence[Column], title: str) -> Sequence[Column]:
    return [column for column in columns if column.title != title]


def _row(run: Mapping[str, Any], now: datetime, zone: str, columns: Sequence[Column]) -> Sequence[Cell]:
    began = run["started_at"] or run["created_at"]
    cells: dict[str, Cell] = {
        "verdict": marked(run["verdict"]), "routine": text(run["routine"]),
        "when": text(stamp(began, now, zone), DIM), "took": text(_took(run, now)),
        "trigger": text(run["trigger"], DIM), "engine": text(run["engine"], DIM),
        "summary": text(_said(run)),
    }  # fmt: skip
    return [cells[column.title] for column in columns]


def _took(run: Mapping[str, Any], now: datetime) -> str:
    if run["started_at"] is None:
        return ""
    if run["ended_at"] is None and run["state"] not in UNDER_WAY:
        return ""  # nobody saw its end
    end = now if run["ended_at"] is None else parse_instant(run["ended_at"])
    seconds = (end - parse_instant(run["started_at"])).total_seconds()
    short = run["ended_at"] is not None and 0 <= seconds < _SHORT_S
    return f"{seconds:.1f}s" if short else clocked(seconds)


def _said(run: Mapping[str, Any]) -> str:
    """What is to be said of it in a line: of one that is not well what was wrong, else what it said itself."""
    if run["verdict"] == "not-delivered" and run["lost"]:
        return f"{run['lost']} · {run['summary'] or ''}".removesuffix(" · ")
    wrong = run["why"] if run["verdict"] not in _WELL else None
    return str(wrong or run["summary"] or "")
