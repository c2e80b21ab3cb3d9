"""Whether HQ's log is whole and unchanged: every hash, every run's chain, the numbering, an earlier checkpoint;
and whether what HQ shows follows from it (`derived`).

All is read as it streams by, in the order of the indexes, so that a million rows need no more memory than ten.
Without a secret a log cannot tell a whole rewriting from the truth: a checkpoint that is kept elsewhere can.
"""

from __future__ import annotations

import contextlib
import heapq
import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

from server.contract.digest import CHAIN_START, digest_of, link
from server.contract.refusals import BadDocument, NotFound
from server.storage.derived import departures, place_of
from server.storage.event_store import EVENT_COLUMNS, STEP_COLUMNS, Checkpoint, in_run, sealed
from server.storage.migrations import examine, guards
from server.storage.opening import uri_to_read

# So many breaches are named; how many there are is counted.
MOST_NAMED: Final = 100
_EVERY: Final = 20_000
_LONGEST_CHECKPOINT: Final = 4096
_EVENTS: Final = f"SELECT position, hash, run_hash, {', '.join(EVENT_COLUMNS)} FROM events"  # noqa: S608
_STEPS: Final = f"SELECT position, hash, {', '.join(STEP_COLUMNS)} FROM step_log"  # noqa: S608
Told = Callable[[int], None]
_Item = tuple[tuple[Any, Any], str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Breach:
    """The first thing that is wrong with a chain, or one row that is not as the log says.

    `chain` is `events` (the one over all of them), a run's id, `step_log`, `store` or `checkpoint`, or a table
    that does not follow from the log (`derived.SHOWN`); `position` is the number of the event or entry, where
    there is one.
    """

    chain: str
    position: int | None
    what: str


@dataclass(slots=True)
class Audit:
    """What an audit read and found; `end` is how far the log had come."""

    events: int = 0
    steps: int = 0
    runs: int = 0
    found: int = 0
    breaches: list[Breach] = field(default_factory=list)
    end: Checkpoint = Checkpoint(0, CHAIN_START)  # noqa: RUF009 - it is frozen

    @property
    def intact(self) -> bool:
        """Whether nothing is wrong."""
        return self.found == 0


def audit(path: Path, *, against: Checkpoint | None = None, told: Told | None = None) -> Audit:
    """Read a whole store, of one moment, also while its owner writes. `told` hears how many rows were read.

    Raises `NotFound`, and `StoreUnreadable` for a file that is no store; one that is damaged is a breach.
    """
    if examine(path) is None:
        hint = "hq status shows where HQ's home is"
        raise NotFound("no_store", f"There is no store at {path}.", hint=hint)
    result = Audit()
    with contextlib.closing(read_only(path)) as db:
        try:
            db.execute("BEGIN")
            result.events, result.steps = _count(db, "events"), _count(db, "step_log")
            result.runs = _count(db, "runs")
            result.end = _end(db)
            for breach in breaches(db, against=against, told=told):
                result.found += 1
                if len(result.breaches) < MOST_NAMED:
                    result.breaches.append(breach)
        except sqlite3.Error as error:
            result.found += 1
            result.breaches.append(Breach("store", None, f"it cannot be read: {error}"))
    return result


def end_of(path: Path) -> Checkpoint:
    """How far the log of a store had come. Raises `sqlite3.Error`."""
    with contextlib.closing(read_only(path)) as db:
        return _end(db)


def read_only(path: Path) -> sqlite3.Connection:
    """A connection that cannot write; transactions are begun by hand."""
    db = sqlite3.connect(uri_to_read(path), uri=True, isolation_level=None)
    db.execute("PRAGMA busy_timeout = 5000")
    return db


def breaches(
    db: sqlite3.Connection, *, against: Checkpoint | None = None, told: Told | None = None
) -> Iterator[Breach]:
    """The first breach of each chain of a store, and each row that does not follow from them.

    What is read must be of one moment.
    """
    # What somebody put there by hand may be no text: a breach, and no reason to stop.
    db.text_factory = _text
    yield from _store(db)
    yield from _numbering(db)
    if against is not None:
        yield from _checkpoint(db, against)
    yield from _all_events(db, told)
    yield from _runs(db, told)
    yield from (Breach(table, None, what) for table, what in departures(db))


def as_json(checkpoint: Checkpoint, *, made_at: str) -> str:
    """A checkpoint as the text of a file, with a checksum over it."""
    said = {"kind": "hq-checkpoint", "v": 1, "position": checkpoint.position, "hash": checkpoint.hash,
            "made_at": made_at}  # fmt: skip
    return json.dumps({**said, "checksum": digest_of(said)}, indent=2) + "\n"


def from_json(text: bytes, source: str) -> Checkpoint:
    """The checkpoint that `as_json` wrote. Raises `BadDocument`, naming the `source`."""
    hint = "give a file that `hq verify --checkpoint FILE` wrote"
    try:
        said = json.loads(text[:_LONGEST_CHECKPOINT])
        whole = isinstance(said, dict) and said.pop("checksum", None) == digest_of(said)
    except ValueError:
        said, whole = None, False
    if not isinstance(said, dict) or said.get("kind") != "hq-checkpoint":
        raise BadDocument("no_checkpoint", f"{source} is no checkpoint.", hint=hint)
    position, digest = said.get("position"), said.get("hash")
    if not whole or said.get("v") != 1 or not isinstance(position, int) or not isinstance(digest, str):
        says = f"The checkpoint {source} was changed, or is of another version."
        raise BadDocument("checkpoint_altered", says, hint=hint)
    return Checkpoint(position, digest)


def _store(db: sqlite3.Connection) -> Iterator[Breach]:
    """Whether the file is sound, and still refuses to change the log."""
    # The indexes too: rows are read in their order, and one that an index left out would not be missed.
    (verdict,) = db.execute("PRAGMA integrity_check(1)").fetchone()
    if verdict != "ok":
        yield Breach("store", None, f"it is damaged: {' '.join(str(verdict).split())[:200]}")
    there = dict(db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall())
    if there != guards():
        yield Breach("store", None, "the triggers that keep the log from being changed are not as they were made")


def _numbering(db: sqlite3.Connection) -> Iterator[Breach]:
    """Step logs are numbered without a gap, over all runs."""
    last = db.execute("SELECT max(position) FROM step_log").fetchone()[0] or 0
    there = _count(db, "step_log")
    if there != last:
        yield Breach("step_log", None, f"it is numbered up to {last:,}, and {there:,} rows are there")


def _checkpoint(db: sqlite3.Connection, against: Checkpoint) -> Iterator[Breach]:
    if against.position == 0:
        return
    row = db.execute("SELECT hash FROM events WHERE position = ?", (against.position,)).fetchone()
    if row is not None and row[0] == against.hash:
        return
    what = "the log was rewritten: its hash there is another one"
    if row is None:
        what = f"the log was cut off: it ends at {_end(db).position}"
    put_back = "SELECT max(position) FROM events WHERE type = 'store.restored' AND position <= ?"
    (restored,) = db.execute(put_back, (against.position,)).fetchone()
    if restored is not None:
        what = f"the log was rewritten or cut off: a backup was put back at event {restored:,}"
    yield Breach("checkpoint", against.position, what)


def _all_events(db: sqlite3.Connection, told: Told | None) -> Iterator[Breach]:
    """The one chain over all events."""
    head = CHAIN_START
    for number, row in enumerate(_rows(db, f"{_EVENTS} ORDER BY position", told), 1):
        if row["position"] != number:
            yield Breach("events", number, "it is missing")
            return
        if not _follows(head, row, row["hash"], sealed):
            yield Breach("events", number, "it was changed, or what comes before it")
            return
        head = row["hash"]


def _runs(db: sqlite3.Connection, told: Told | None) -> Iterator[Breach]:
    """Every run's chain of step logs and events, in the order of its entries, and its head in `runs`."""
    steps = _rows(db, f"{_STEPS} ORDER BY run_id, entry", told)
    events = _rows(db, f"{_EVENTS} WHERE run_id IS NOT NULL ORDER BY run_id, entry", told)
    runs = _rows(db, "SELECT id AS run_id, head, entries FROM runs ORDER BY id", told)
    items = heapq.merge(
        (((place_of(row["run_id"]), place_of(row["entry"])), "step", row) for row in steps),
        (((place_of(row["run_id"]), place_of(row["entry"])), "event", row) for row in events),
        (((place_of(row["run_id"]), _LAST), "run", row) for row in runs),
        key=itemgetter(0),
    )
    for (_, name), found in groupby(items, key=lambda item: item[0][0]):
        breach = _run(name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name), found)
        if breach is not None:
            yield breach


def _run(run_id: str, items: Iterator[_Item]) -> Breach | None:
    """The first breach of one run's chain; `items` are its entries in their order, then the run itself."""
    head, number, kind, position = CHAIN_START, 0, "", 0
    run: dict[str, Any] | None = None
    for _, what, row in items:
        if what == "run":
            run = row
            continue
        number, kind = number + 1, what
        if row["entry"] != number:
            return Breach(run_id, number, "it is missing, or is there twice")
        said = row["hash"] if kind == "step" else row["run_hash"]
        if not _follows(head, row, said, partial(in_run, kind)):
            return Breach(run_id, number, "it was changed, or what comes before it")
        if kind == "step":
            if row["position"] <= position:
                return Breach(run_id, number, "it was put in another place")
            position = row["position"]
        head = said
    if run is None:
        return Breach(run_id, number, "the run it belongs to is missing")
    if run["entries"] != number:
        return Breach(run_id, number, f"the log ends here, and the run says {run['entries']}")
    if run["head"] != head:
        return Breach(run_id, number, "the run names another head")
    # Anybody can add steps and a head to a run; only an event binds them into the chain over all events.
    return Breach(run_id, number, "no event seals its newest steps") if kind == "step" else None


def _follows(
    head: str, row: dict[str, Any], said: Any, body: Callable[[Mapping[str, Any]], bytes]
) -> bool:
    """Whether a stored hash is the one that follows `head` for what the row says."""
    try:
        return bool(link(head, body(row)) == said)
    except (TypeError, ValueError):  # bytes where a text was, text that is none
        return False


def _rows(db: sqlite3.Connection, query: str, told: Told | None) -> Iterator[dict[str, Any]]:
    """Rows as they stream by, by column name."""
    cursor = db.execute(query)
    cursor.arraysize = 500
    names = [column[0] for column in cursor.description]
    for number, values in enumerate(cursor, 1):
        row = dict(zip(names, values, strict=True))
        if row.get("attested") in (0, 1):  # any other number is no truth value: its hash will not follow
            row["attested"] = bool(row["attested"])
        if told is not None and number % _EVERY == 0:
            told(_EVERY)
        yield row


_LAST: Final = (4, 0)


def _text(raw: bytes) -> str:
    return str(raw, "utf-8", "surrogateescape")


def _count(db: sqlite3.Connection, table: str) -> int:
    return int(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0])  # noqa: S608


def _end(db: sqlite3.Connection) -> Checkpoint:
    row = db.execute("SELECT position, hash FROM events ORDER BY position DESC LIMIT 1").fetchone()
    return Checkpoint(0, CHAIN_START) if row is None else Checkpoint(int(row[0]), str(row[1]))
