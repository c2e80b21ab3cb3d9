"""Reads a run while it is shown: what the store has of it, its new events only, its order and its files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

from minion.spelling import report_text
from minion.store.overview import Reader
from minion.store.run_events import EventReader
from minion.store.run_history import breaches, find_run, whole_run
from minion.tui.event_words import as_text
from minion.tui.reading import Reading
from minion.tui.run_files import FoundFile, files_in
from minion.tui.run_order import Ordered, order_in
from minion.tui.run_story import Moment, Step, Story
from server.contract.digest import parse_instant
from server.contract.refusals import Refusal
from server.contract.run import has_ended
from server.contract.topology import TakenStep, topology

_REPORT_LINES: Final = 240
_REPORT_MOST: Final = 12_000


@dataclass(frozen=True, slots=True)
class Block:
    """A block of a run; `state` None: it was not begun yet. Its steps in order, those inside others among them."""

    code: str
    name: str
    kind: str
    state: str | None
    why: str | None
    began: datetime | None
    ended: datetime | None
    steps: tuple[Step, ...]

    @property
    def key(self) -> str:
        """What stands for it in a list."""
        return f"block:{self.code}"


@dataclass(frozen=True, slots=True)
class FoundRun:
    """A run as it was at one moment.

    `run` is what `minion show --json` has; `began` and `ended` are None while it has not; `taken` are the codes of
    its steps so far; `order` what it was told, as far as its folder has that; `log` None: not looked at yet.
    """

    run: Mapping[str, Any]
    zone: ZoneInfo
    began: datetime
    ended: datetime | None
    blocks: tuple[Block, ...]
    steps: Mapping[int, Step]
    moments: Sequence[Moment]
    taken: tuple[str, ...]
    report: str
    order: Ordered
    folder: Path
    files: tuple[FoundFile, ...]
    log: str | None

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.ended is not None


class RunWatch:
    """Reads one run again and again; each event once."""

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._begin_anew()

    def read(self, reading: Reading) -> FoundRun:
        """The run as it is now.

        Raises `NotFound` for one that is not there (any more), `StoreUnreadable` as `Reading.read` does.
        """
        try:
            return reading.read(lambda db: self._found(db, reading))
        except Refusal:
            self._begin_anew()  # some events may have been taken, and not others
            raise

    def _begin_anew(self) -> None:
        self._events = EventReader(self._run_id)
        self._story = Story()
        self._order: Ordered | None = None
        self._log: tuple[Any, str | None] = (None, None)

    def _found(self, db: Reader, reading: Reading) -> FoundRun:
        db.execute("BEGIN")  # the run and the events of one moment: an end comes with its last event
        run = _sound(whole_run(db, find_run(db, self._run_id)))
        self._story.take(self._events.more(db))
        over = has_ended(run["state"])
        moments = self._story.moments
        ended = _ended(run, moments) if over else None
        steps = self._story.steps(ended)
        folder = reading.home.runs / run["id"]
        if self._order is None:
            self._order = order_in(folder)
        taken = tuple(run["topology"]) or topology(
            [TakenStep(step.block or "", step.code, step.state) for step in steps if step.kind == "step"]
        )
        return FoundRun(
            run, ZoneInfo(reading.config.timezone), parse_instant(run["started_at"] or run["created_at"]), ended,
            tuple(_blocks(run, steps, self._order)), {step.number: step for step in steps}, moments,
            taken, _report(run, moments), self._order, folder, files_in(folder),
            self._soundness(db, run, len(moments)) if over else None,
        )  # fmt: skip

    def _soundness(self, db: Reader, run: Mapping[str, Any], events: int) -> str:
        """Whether the log is intact; looked at anew when something was added to it."""
        version = (run["revision"], run["verdict"], events)
        if self._log[0] != version or self._log[1] is None:
            broken = breaches(db, run["id"])
            words = f"BROKEN: {broken[0].chain} at {broken[0].position}" if broken else "intact"
            self._log = (version, words)
        return self._log[1] or ""


def _sound(run: Mapping[str, Any]) -> Mapping[str, Any]:
    """The run, if what its row has as JSON is of the kinds it should be. Raises `ValueError`."""
    texts = all(isinstance(code, str) for code in (*run["topology"], *run["canonical"]))
    tables = all(isinstance(run[name], dict) for name in ("usage", "lock"))
    if not (texts and tables and all(isinstance(check, dict) for check in run["checks"])):
        raise ValueError("a row of another kind")
    return run


def _ended(run: Mapping[str, Any], moments: Sequence[Moment]) -> datetime:
    """When a run ended, or was heard of last where its owner died before it could write that down."""
    if run["ended_at"] is None and moments:
        return moments[-1].at
    return parse_instant(run["ended_at"] or run["created_at"])


def _blocks(run: Mapping[str, Any], steps: Sequence[Step], order: Ordered) -> list[Block]:
    """The blocks in order, those that were not begun yet last; steps outside any block have one of their own."""
    found = [
        Block(
            str(item["code"]), str(item["name"]), str(item["kind"]), str(item["state"]), item["why"],
            _at(item["started_at"]), _at(item["ended_at"]),
            tuple(step for step in steps if step.block == item["code"]),
        )
        for item in run["blocks"]
    ]  # fmt: skip
    known = {block.code for block in found}
    stray = tuple(step for step in steps if step.block not in known)
    if stray:
        found.append(Block("–", "outside any block", "–", None, None, None, None, stray))
    if run["ended_at"] is None:
        found += [Block(code, name, kind, None, None, None, None, ())
                  for code, name, kind in order.blocks if code not in known]  # fmt: skip
    return found


def _report(run: Mapping[str, Any], moments: Sequence[Moment]) -> str:
    """What the run made to be read, and what its session says of it, as bounded Markdown."""
    results = [
        {"state": moment.data.get("state"), "text": as_text(moment.data.get("text"))}
        for moment in moments if moment.type == "skill.result"
    ]  # fmt: skip
    parts = ["\n".join(report_text(results, _REPORT_LINES))]
    said = [str(run[name]) for name in ("summary", "details") if run[name]]
    if said:
        parts.append("\n\n".join(["## What its session says", f"Outcome: **{run['outcome']}**", *said]))
    text = "\n\n---\n\n".join(part for part in parts if part.strip())
    if len(text) > _REPORT_MOST:
        text = f"{text[:_REPORT_MOST]}\n\n… {len(text) - _REPORT_MOST:,} more characters"
    return text


def _at(instant: str | None) -> datetime | None:
    return None if instant is None else parse_instant(instant)
