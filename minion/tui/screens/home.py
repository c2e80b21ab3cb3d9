"""The home screen: what needs somebody, each routine, what runs, the last 24 hours."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.timer import Timer
from textual.widgets import Static

from minion.tui.lines import (
    DIM,
    Cell,
    Column,
    bars,
    cap,
    clocked,
    colour_of,
    dollars,
    due,
    marked,
    moment,
    sign,
    text,
    titled,
)
from minion.tui.needs import Need, needs_of
from minion.tui.place import Place
from minion.tui.program import Subject
from minion.tui.reading import Snapshot
from minion.tui.widgets.listing import Entry, Listing, in_columns, still
from minion.tui.widgets.strip import day_strip, legend, signs_of
from server.contract.digest import parse_instant

_NEEDS: Final = (
    Column(""), Column("", least=14), Column("", least=16), Column("", right=True), Column("", spare=1),
)  # fmt: skip
_ROUTINES: Final = (
    Column("name", least=12), Column("next", least=8), Column("last", least=8), Column("20 runs", spare=2),
    Column("month", right=True, spare=1),
)  # fmt: skip
_RUNNING: Final = (
    Column("", least=12), Column(""), Column("", right=True), Column("", spare=2), Column("", spare=1),
)  # fmt: skip
_NAMES: Final = 24
_NOTHING_YET: Final = "No routines yet: minion routine new --list"
_STATES: Final = {"paused": "paused", "hq": "at HQ", "problem": "bad file", "held": "held", "waiting": "waiting"}


class HomeScreen(Place):
    """What people open the terminal view for."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "part(1)", "next part", show=False),
        Binding("shift+tab", "part(-1)", "part before", show=False),
    ]
    deeds: ClassVar[frozenset[str]] = frozenset(
        {"why", "run_now", "cancel_run", "pause", "decide", "redeliver", "halt"}
    )

    def __init__(self) -> None:
        super().__init__()
        self.found = True  # all that is shown is the snapshot, which every screen needs
        self._needs: dict[str, Need] = {}
        self._second: Timer | None = None

    def body(self) -> ComposeResult:
        """What is wrong with the minion itself, the board, and what takes longer to find out."""
        yield Static(id="trouble")
        yield Listing(id="board")
        yield Static(id="outlook")

    @property
    def subject(self) -> Subject:
        """What the line under the cursor is about."""
        key = self.query_one(Listing).chosen or ""
        kind, _, rest = key.partition(":")
        if key in self._needs:
            need = self._needs[key]
            names = {"run": "run", "decision": "decision", "rejected": "decision", "effect": "effect"}
            return Subject(need.routine, **({names[kind]: rest} if kind in names else {}))
        if kind == "live":
            run, _, name = rest.partition(" ")
            return Subject(name, run)
        if kind == "routine":
            return Subject(rest, self._newest(rest))
        return Subject(rest) if kind == "strip" else Subject()

    def _newest(self, name: str) -> str | None:
        runs = self.minion.snapshot.runs.get(name, ()) if self.minion.snapshot is not None else ()
        return str(runs[-1]["id"]) if runs else None

    def read(self, reading: Any) -> bool:  # noqa: ARG002 - all of it was read already
        """Nothing more than every screen needs."""
        return True

    def show(self) -> None:
        """Make all lines anew."""
        found, now = self.minion.snapshot, self.minion.clock()
        if found is None:
            return
        trouble = list(_trouble(found, self.minion.called))
        panel = self.query_one("#trouble", Static)
        panel.display = bool(trouble)
        panel.update(Content("\n").join(trouble))
        board = self.query_one(Listing)
        board.show(list(self._entries(found, now)))
        self.query_one("#outlook", Static).update(self._outlook(found))
        self._keep_time(found)

    def _entries(self, found: Snapshot, now: datetime) -> Iterator[Entry]:
        if found.document is None:
            if not found.problems:
                yield Entry(still(text(self.minion.called(_NOTHING_YET), DIM)))
            return
        needs = [need for need in needs_of(found) if self.matches(need.name, need.says, need.word)]
        self._needs = {need.key: need for need in needs}
        yield Entry(lambda width: titled(f"NEEDS YOU {len(needs)}" if needs else "NEEDS YOU", width))
        if not needs:
            words = "Nothing needs you." if not self.sought else "Nothing of it needs you."
            yield Entry(still(text(words, "$text-success")))
        zone = found.config.timezone
        yield from in_columns(_NEEDS, [(need.key, _need(need, now, zone)) for need in needs])
        yield from self._routines(found, now)
        yield from self._under_way(found, now)
        yield from self._day(found, now)

    def _routines(self, found: Snapshot, now: datetime) -> Iterator[Entry]:
        assert found.document is not None  # noqa: S101 - told apart by who calls
        items = [item for item in found.document["routines"] if self.matches(item["name"], item["state"])]
        yield Entry(lambda width: titled("ROUTINES", width))
        if not items:
            words = "No routine is called so." if self.sought else self.minion.called(_NOTHING_YET)
            yield Entry(still(text(words, DIM)))
            return
        heads: list[Cell] = [text(column.title, DIM) for column in _ROUTINES]
        rows = [(None, heads), *((f"routine:{item['name']}", _routine(item, found, now)) for item in items)]
        yield from in_columns(_ROUTINES, rows)

    def _under_way(self, found: Snapshot, now: datetime) -> Iterator[Entry]:
        assert found.document is not None  # noqa: S101
        said = found.document
        live = [run for run in said["running"] if self.matches(run["routine"], "running")]
        waiting = [item for item in said["waiting"] if self.matches(item["routine"], "waiting")]
        if not live and not waiting:
            return
        yield Entry(lambda width: titled(f"RUNNING {len(live)}", width))
        rows: list[tuple[str | None, Sequence[Cell]]] = [
            (f"live:{run['run']} {run['routine']}", _live(run, found.progress.get(run["run"], {}), now))
            for run in live
        ]  # fmt: skip
        for number, item in enumerate(waiting):
            key = f"live:{item['run']} {item['routine']}" if item["run"] else f"due:{number}"
            words = f"due {due(item['due'], now)}" if item["due"] else "waits for its place"
            rows.append((key, [text(item["routine"]), text(words, DIM), "", "", ""]))
        yield from in_columns(_RUNNING, rows)

    def _day(self, found: Snapshot, now: datetime) -> Iterator[Entry]:
        by_name: dict[str, list[Mapping[str, Any]]] = {}
        for slot in found.slots:
            if self.matches(slot["routine"]):
                by_name.setdefault(slot["routine"], []).append(slot)
        if not by_name:
            return
        yield Entry(lambda width: titled("24 HOURS", width, legend()))
        widest = min(max(map(len, by_name)), _NAMES)
        for name, slots in sorted(by_name.items()):
            yield Entry(_strip(name, slots, now, widest), f"strip:{name}")

    def _outlook(self, found: Snapshot) -> Content:
        known = self.minion.outlook
        if known is None or found.document is None:
            return Content(" ")
        log = text(f"log intact {known.entries:,}", DIM)
        if known.broken is not None:
            log = text(f"✗ log BROKEN: {known.broken}; {self.minion.called('minion verify')}", "$text-error")
        price = f", {dollars(known.dollars)}" if known.dollars else ""
        ahead = f"next 7 days: {known.due:,} due{price}" if found.is_up else "nothing starts by itself"
        return Content("  ") + log + Content.styled(f" · {ahead}", DIM)

    def _keep_time(self, found: Snapshot) -> None:
        """While something runs, its time is shown to the second."""
        runs = found.document is not None and bool(found.document["running"])
        if runs and self._second is None:
            self._second = self.set_timer(1.0, self._second_over)

    def _second_over(self) -> None:
        self._second = None
        if self.is_current:
            self.show()

    def action_part(self, by: int) -> None:
        """Go to the next part of the board, or the one before."""
        self.query_one(Listing).action_part(by)

    def on_listing_opened(self, event: Listing.Opened) -> None:
        """Show more of what was chosen."""
        self.minion.open(event.key, self.subject)


def _trouble(found: Snapshot, called: Callable[[str], str]) -> Iterator[Content]:
    """What could not be read, and what is wrong with the daemon; each with what mends it."""
    for refusal in found.problems:
        yield sign("problem") + text(f" {refusal.sentence}", "$text-error")
        yield text(f"  hint: {called(refusal.hint)}", DIM)
    live = found.live
    if live is None:
        says = " No daemon: nothing starts by itself, this view only looks. Start: minion up"
        yield sign("warning") + text(called(says), "$text-warning")
    elif live.get("health") != "ok":
        for words in live.get("trouble") or ():
            yield sign("warning") + text(f" {words}", "$text-warning")
        if live.get("fix"):
            yield text(f"  hint: {called(live['fix'])}", DIM)


def _need(need: Need, now: datetime, zone: str) -> Sequence[Cell]:
    keys = Content("  ").join([text(key, "bold") + text(f" {word}", DIM) for key, word in need.keys])
    since = moment(need.since, now, zone)
    return [sign(need.word), text(need.name, colour_of(need.word)), text(need.says), text(since, DIM), keys]


def _routine(item: Mapping[str, Any], found: Snapshot, now: datetime) -> Sequence[Cell]:
    runs = found.runs.get(item["name"], ())
    lengths = [_seconds(run) for run in runs]
    spent = found.spent.by_routine.get(item["name"], 0.0)
    return [
        text(item["name"]), _next(item, now), _last(item, runs, found, now),
        bars(lengths, [run["verdict"] for run in runs]), text(dollars(spent), DIM) if spent else "",
    ]  # fmt: skip


def _next(item: Mapping[str, Any], now: datetime) -> Content:
    if item["state"] in _STATES:
        style = DIM if item["state"] in ("paused", "hq", "waiting") else "$text-warning"
        return text(_STATES[item["state"]], style)
    if item["next"]:
        return text(due(item["next"], now))
    return text("on demand" if item["on_demand"] else "–", DIM)


def _last(item: Mapping[str, Any], runs: Sequence[Mapping[str, Any]], found: Snapshot, now: datetime) -> Content:
    zone = found.config.timezone
    if runs and runs[-1]["verdict"] in ("running", "waiting"):
        return marked(runs[-1]["verdict"], moment(runs[-1]["started_at"] or runs[-1]["created_at"], now, zone))
    last = item["last_run"]
    if last is None:
        return text("– never ran", DIM)
    return marked(last["verdict"], moment(last["ended_at"] or last["created_at"], now, zone))


def _seconds(run: Mapping[str, Any]) -> float | None:
    if run["started_at"] is None or run["ended_at"] is None:
        return None
    return (parse_instant(run["ended_at"]) - parse_instant(run["started_at"])).total_seconds()


def _live(run: Mapping[str, Any], far: Mapping[str, Any], now: datetime) -> Sequence[Cell]:
    step = f"{far.get('entered', 0)}/{far.get('blocks', 0)} {far.get('step') or 'begins'}"
    spent = ""
    if far.get("engine") not in (None, "script"):
        spent = f"{dollars(far['dollars'])} of {cap(far['cap'] or 1.0)}"
    time = clocked((now - parse_instant(run["since"])).total_seconds())
    keys = text("enter", "bold") + text(" watch  ", DIM) + text("c", "bold") + text(" cancel", DIM)
    return [text(run["routine"]), text(step), text(time), text(spent, DIM), keys]


def _strip(name: str, slots: Sequence[Mapping[str, Any]], now: datetime, widest: int) -> Any:
    signs = signs_of(slots)

    def line(width: int) -> Content:
        shown = text(name).truncate(widest, ellipsis=True).pad_right(max(0, widest - len(name)))
        return shown + "  " + day_strip(signs, now, width - widest - 2)

    return line

