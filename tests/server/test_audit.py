"""The audit of HQ's log: what is wrong is named, and a checkpoint is only taken for what it is."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from server.contract.digest import CHAIN_START
from server.contract.refusals import BadDocument, NotFound
from server.storage.audit import MOST_NAMED, as_json, audit, from_json
from server.storage.backups import restore
from server.storage.event_store import Checkpoint
from server.storage.migrations import back_up
from tests.server.lived_in import lived_in
from tests.server.tampering import found, in_memory, make_log, rehash

pytestmark = pytest.mark.promise("AUD-1")
AT = "2026-04-01T09:00:00.000Z"


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Checkpoint]:
    """A log that nobody touched."""
    return make_log(tmp_path_factory.mktemp("log"))


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store in which everything happened, and that nobody touched."""
    return lived_in(tmp_path_factory.mktemp("busy"))


def chains(log: tuple[Path, Checkpoint], *changes: str, checkpoint: bool = True) -> dict[str, str]:
    """What each chain's first breach is after these statements."""
    db = in_memory(log[0])
    for change in changes:
        db.execute(change)
    return {each.chain: each.what for each in found(db, log[1] if checkpoint else None)}


def test_a_log_that_nobody_touched_is_whole(log: tuple[Path, Checkpoint]) -> None:
    seen = audit(log[0], against=log[1])
    assert (seen.intact, seen.runs, seen.end) == (True, 3, log[1])
    assert seen.steps > 0
    assert chains(log) == {}


def test_an_event_that_was_changed_is_named_and_so_is_its_run(log: tuple[Path, Checkpoint]) -> None:
    (run,) = sqlite3.connect(log[0]).execute("SELECT run_id FROM events WHERE position = 4").fetchone()
    assert chains(log, "UPDATE events SET data = '{}' WHERE position = 4") == {
        "events": "it was changed, or what comes before it", run: "it was changed, or what comes before it",
    }  # fmt: skip


def test_of_each_chain_the_first_breach_is_named(log: tuple[Path, Checkpoint]) -> None:
    db = in_memory(log[0])
    db.execute("DELETE FROM events WHERE position IN (3, 7, 9)")
    assert [(each.chain, each.position) for each in found(db) if each.chain == "events"] == [("events", 3)]


def test_a_log_that_was_rewritten_as_a_whole_is_found_out_by_the_checkpoint(log: tuple[Path, Checkpoint]) -> None:
    db = in_memory(log[0])
    db.execute("UPDATE step_log SET state = 'failed' WHERE position = 2")
    rehash(db)
    assert found(db) == []
    assert [each.chain for each in found(db, log[1])] == ["checkpoint"]


def test_a_tail_that_was_cut_off_is_found_out_by_the_checkpoint(log: tuple[Path, Checkpoint]) -> None:
    last = log[1].position
    cut = "DELETE FROM events WHERE position = (SELECT max(position) FROM events)"  # a gap: it is of no run
    assert chains(log, cut, checkpoint=False).keys() == {"gaps"}
    fits = "UPDATE gaps SET frequency = 2, priority = 'low'"
    assert chains(log, cut, fits, checkpoint=False) == {}
    assert chains(log, cut, fits) == {"checkpoint": f"the log was cut off: it ends at {last - 1}"}


def test_steps_that_no_event_seals_are_no_part_of_the_log(log: tuple[Path, Checkpoint]) -> None:
    db = in_memory(log[0])
    row = dict.fromkeys(("code", "kind", "state", "agent", "ended_at", "cost"), "x") | {"attested": 1}
    run, entries = db.execute("SELECT id, entries FROM runs ORDER BY id LIMIT 1").fetchone()
    (last,) = db.execute("SELECT max(position) FROM step_log").fetchone()
    row |= {"position": last + 1, "run_id": run, "entry": entries + 1, "hash": "-"}
    names, marks = ", ".join(row), ", ".join("?" * len(row))
    db.execute(f"INSERT INTO step_log ({names}) VALUES ({marks})", tuple(row.values()))  # noqa: S608
    rehash(db)
    assert [(each.chain, each.what) for each in found(db, log[1])] == [(run, "no event seals its newest steps")]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ("UPDATE runs SET head = '0'", "the run names another head"),
        ("UPDATE runs SET entries = entries - 1", "the log ends here, and the run says "),
        ("DELETE FROM runs", "the run it belongs to is missing"),
        ("UPDATE step_log SET attested = 2 WHERE attested = 1", "it was changed, or what comes before it"),
        ("UPDATE step_log SET why = x'ff' WHERE position = 1", "it was changed, or what comes before it"),
        ("UPDATE step_log SET position = position + 1000", ""),
        ("DELETE FROM step_log WHERE entry > 3", "it is missing, or is there twice"),
    ],
)
def test_what_does_not_fit_together_is_found_without_a_checkpoint(
    log: tuple[Path, Checkpoint], change: str, what: str
) -> None:
    seen = chains(log, change, checkpoint=False)
    assert any(said.startswith(what) for said in seen.values()), seen


def test_a_store_whose_triggers_were_taken_away_is_told(log: tuple[Path, Checkpoint], tmp_path: Path) -> None:
    copy = tmp_path / "hq.db"
    copy.write_bytes(log[0].read_bytes())
    db = sqlite3.connect(copy)
    db.execute("DROP TRIGGER events_keep")
    db.close()
    assert [each.chain for each in audit(copy).breaches] == ["store"]


@pytest.mark.parametrize("table", ["events", "step_log"])
@pytest.mark.parametrize("change", ["UPDATE {} SET hash = 'x' WHERE position = 1", "DELETE FROM {}"])
def test_the_store_refuses_to_change_or_remove_what_was_logged(
    log: tuple[Path, Checkpoint], table: str, change: str, tmp_path: Path
) -> None:
    copy = tmp_path / "hq.db"
    copy.write_bytes(log[0].read_bytes())
    db = sqlite3.connect(copy)
    with pytest.raises(sqlite3.IntegrityError, match=r"append-only|kept for ever"):
        db.execute(change.format(table))
    db.close()


def test_a_damaged_file_is_a_breach_and_no_file_is_refused(log: tuple[Path, Checkpoint], tmp_path: Path) -> None:
    copy = tmp_path / "hq.db"
    body = log[0].read_bytes()
    copy.write_bytes(body[:20_000] + b"\xa5" * 40_000 + body[60_000:])
    seen = audit(copy)
    assert not seen.intact
    assert seen.breaches[0].chain == "store"
    with pytest.raises(NotFound) as refused:
        audit(tmp_path / "none.db")
    assert refused.value.code == "no_store"


def test_no_more_breaches_are_named_than_somebody_can_read(tmp_path: Path) -> None:
    path, _ = make_log(tmp_path, 2)
    db = sqlite3.connect(path)
    names = [row[1] for row in db.execute("PRAGMA table_info(runs)")]
    values = ", ".join({"id": "?", "order_key": "?", "position": "NULL"}.get(name, name) for name in names)
    for number in range(MOST_NAMED + 20):
        copied = f"INSERT INTO runs SELECT {values} FROM runs WHERE position = 1"  # noqa: S608
        db.execute(copied, (f"run_{number}",) * 2)
    db.commit()
    db.close()
    seen = audit(path)
    assert (len(seen.breaches), seen.found) == (MOST_NAMED, 2 * (MOST_NAMED + 20))  # no chain, and no event


def test_a_checkpoint_comes_back_from_its_file_as_it_was() -> None:
    checkpoint = Checkpoint(41, "ab" * 32)
    assert from_json(as_json(checkpoint, made_at=AT).encode(), "c.json") == checkpoint


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda text: text.replace('"position": 41', '"position": 40'), "checkpoint_altered"),
        (lambda text: text.replace('"v": 1', '"v": 2'), "checkpoint_altered"),
        (lambda text: json.dumps(json.loads(text) | {"more": 1}), "checkpoint_altered"),
        (lambda text: text[:40], "no_checkpoint"),
        (lambda _: "[]", "no_checkpoint"),
        (lambda _: "\ufeff", "no_checkpoint"),
        (lambda _: '{"kind": "other"}', "no_checkpoint"),
    ],
)
def test_a_checkpoint_that_was_changed_is_none(spoil: Callable[[str], str], code: str) -> None:
    text = as_json(Checkpoint(41, "ab" * 32), made_at=AT)
    with pytest.raises(BadDocument) as refused:
        from_json(spoil(text).encode(), "c.json")
    assert refused.value.code == code


def test_a_checkpoint_of_the_empty_log_holds_against_every_log(log: tuple[Path, Checkpoint]) -> None:
    assert audit(log[0], against=replace(log[1], position=0, hash=CHAIN_START)).intact


def test_a_busy_store_shows_what_follows_from_its_log_also_when_put_back(busy: Path, tmp_path: Path) -> None:
    assert audit(busy).breaches == []
    db = sqlite3.connect(busy)
    states = {table: {row[0] for row in db.execute(f"SELECT state FROM {table}")} for table in  # noqa: S608
              ("runs", "orders", "gaps", "decisions")}  # fmt: skip
    db.close()
    assert states == {
        "runs": {"completed", "cancelled", "failed", "interrupted", "queued", "running", "validated"},
        "orders": {"cancelled", "queued", "refused", "taken"},
        "gaps": {"open", "approved", "declined", "proposed"},
        "decisions": {"open", "approved", "rejected", "withdrawn", "expired"},
    }  # fmt: skip
    store, now = tmp_path / "hq.db", datetime(2026, 6, 1, tzinfo=UTC)
    back_up(busy, tmp_path / "b.db")
    restore(store, tmp_path / "b.db", folder=tmp_path / "backups", by="test", now=now)
    assert audit(store).breaches == []


FORGED = [
    ("runs.verdict", "'ok'", "state = 'interrupted'", "ok", "unknown"),
    ("runs.verdict", "'ok'", "state = 'queued'", "ok", "running"),
    ("runs.state", "'completed'", "state = 'interrupted'", "completed", "interrupted"),
    ("runs.fingerprint", "'x'", "verdict = 'unchecked'", "x", ""),
    ("runs.conformance", "'x'", "verdict = 'unchecked'", "x", ""),
    ("runs.drift", "x'ff'", "verdict = 'unchecked'", r"b'\xff'", ""),
    ("runs.routine", "'other'", "state = 'queued'", "other", "hourly"),
    ("runs.verdict", "'ok'", "reported = 3", "ok", "unchecked"),
    ("runs.state", "'completed'", "reported = 1 AND state = 'running'", "completed", "running"),
    ("runs.outcome", "'partial'", "reported = 3", "partial", "success"),
    ("runs.outcome", "'success'", "outcome = 'partial' AND reported IS NULL", "success", "partial"),
    ("runs.delivery", "'delivered'", "reported = 3", "delivered", "none"),
    ("runs.reported", "9", "reported = 3", "9", "3"),
    ("runs.summary", "'All is well.'", "reported = 3", "sha256:", "sha256:"),
    ("runs.details", "x'ff'", "reported = 3", "", ""),
    ("runs.drift", "'violation'", "reported = 3", "violation", ""),
    ("orders.state", "'queued'", "state = 'taken'", "queued", "taken"),
    ("orders.state", "'taken'", "state = 'refused'", "taken", "refused"),
    ("orders.state", "'queued'", "state = 'cancelled'", "queued", "cancelled"),
    ("orders.minion_id", "'mine'", "kind = 'cancel'", "mine", ""),
    ("orders.kind", "'pause'", "kind = 'cancel'", "pause", "cancel"),
    ("orders.body", "'{}'", "kind = 'cancel'", "sha256:", "sha256:"),
    ("orders.run_id", "'run_x'", "kind = 'cancel'", "run_x", "run_"),
    ("orders.key", "'x'", "kind = 'cancel'", "x", "cancel:"),
    ("minions.name", "'mallory'", "name = 'bob'", "mallory", "bob"),
    ("minions.said", "'{}'", "name = 'bob'", "sha256:", "sha256:"),
    ("minions.left_at", "'2026'", "name = 'bob'", "left", "here"),
    ("minions.left_at", "NULL", "name = 'carl'", "here", "left"),
    ("routines.released_by", "NULL", "name = 'moved'", "nothing", ""),
    ("routines.released_by", "'me'", "name = 'hourly'", "me", "nothing"),
    ("routines.handled_until", "'2099'", "name = 'hourly'", "2099", "2026"),
    ("routines.scheduled_by", "'minion'", "name = 'hourly'", "minion", "hq"),
    ("schedules.handled_until", "'2099'", "1", "2099", "2026"),
    ("gaps.frequency", "9", "requested_code = 'LLM-OPEN'", "9", "3"),
    ("gaps.state", "'resolved'", "state = 'approved'", "resolved", "approved"),
    ("gaps.priority", "'low'", "state = 'approved'", "low", "medium"),
    ("routines.name", "'daily'", "name = 'nightly'", "daily", "nightly"),
    ("routines.document", "'{}'", "name = 'nightly'", "sha256:", "sha256:"),
    ("routines.document", "'['", "name = 'nightly'", "what is no document", ""),
    ("routines.digest", "'x'", "name = 'nightly'", "x", "sha256:"),
    ("routines.removed_at", "NULL", "name = 'weekly'", "in use", "deleted"),
    ("routines.minion_id", "NULL", "name = 'nightly'", "nothing", ""),
    ("decisions.state", "'open'", "state = 'rejected'", "open", "rejected"),
    ("decisions.state", "'approved'", "state = 'open'", "approved", "open"),
    ("decisions.answered_by", "'me'", "state = 'approved'", "me", "tok_"),
    ("decisions.question", "'Rain?'", "state = 'open'", "sha256:", "sha256:"),
    ("tokens.revoked_at", "NULL", "name = 'away'", "live", "revoked"),
    ("tokens.revoked_at", "'x'", "revoked_at IS NULL", "revoked", "live"),
    ("tokens.digest", "'mine'", "name = 'away'", "mine", ""),
    ("tokens.scope", "'admin'", "name = 'pager'", "admin", "fire"),
    ("tokens.bound_to", "NULL", "name = 'pager'", "nothing", "trig_"),
    ("tokens.expires_at", "'2099'", "name = 'away'", "2099", "nothing"),
]


@pytest.mark.promise("GIV-7")
@pytest.mark.parametrize(("place", "value", "where", "there", "said"), FORGED, ids=range(len(FORGED)))
def test_a_row_that_was_changed_by_hand_is_named_with_what_the_log_says(
    busy: Path, place: str, value: str, where: str, there: str, said: str
) -> None:
    db, (table, _, column) = in_memory(busy), place.partition(".")
    changed = db.execute(f"UPDATE {table} SET {column} = {value} WHERE {where}").rowcount  # noqa: S608
    named = "routine_id || ' ' || \"trigger\"" if table == "schedules" else "id"
    ids = {row[0] for row in db.execute(f"SELECT {named} FROM {table}")}  # noqa: S608
    # What was said and what was added to it stand as one digest.
    shown = "summary" if column == "details" else column
    seen = [each for each in found(db) if f": {shown} is " in each.what]
    assert (changed >= 1, len(seen), {each.chain for each in seen}) == (True, changed, {table})
    assert {next((i for i in ids if each.what.startswith(f"{i}: ")), "?") for each in seen} <= ids
    assert all(f": {shown} is {there}" in each.what and f"; the log says {said}" in each.what for each in seen)


@pytest.mark.promise("GIV-7")
@pytest.mark.parametrize("table", ["tokens", "gaps", "decisions", "routines", "runs", "orders", "minions"])
def test_a_row_that_no_event_made_is_named_and_so_is_one_that_is_gone(busy: Path, table: str) -> None:
    db = in_memory(busy)
    keys = {"tokens": ("digest",), "runs": ("order_key",), "orders": ("key",), "minions": ("name",)}
    unique = keys.get(table, ())
    names = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
    row = dict(zip(names, db.execute(f"SELECT * FROM {table}").fetchone(), strict=True))  # noqa: S608
    row |= {"id": "by hand"} | dict.fromkeys(unique, "by hand")
    row |= {"position": 10_000} if "position" in row else {}
    fits = {"gaps": {"state": "declined"}, "runs": {"head": CHAIN_START, "entries": 0}}
    row |= fits.get(table, {})
    columns, marks = ", ".join(f'"{name}"' for name in row), ", ".join("?" * len(row))
    db.execute(f"INSERT INTO {table} ({columns}) VALUES ({marks})", tuple(row.values()))  # noqa: S608
    assert [(each.chain, each.what) for each in found(db)] == [(table, "by hand: no event says that it was made")]
    gone = db.execute(f"SELECT min(id) FROM {table} WHERE id != 'by hand'").fetchone()[0]  # noqa: S608
    db.execute(f"DELETE FROM {table} WHERE id IN (?, 'by hand')", (gone,))  # noqa: S608
    (only,) = found(db)
    assert gone in (only.chain, only.what.partition(":")[0])
    assert "missing" in only.what


@pytest.mark.promise("GIV-7")
def test_how_far_hq_saw_to_a_schedule_is_named_where_no_event_tells_it_or_where_it_is_gone(busy: Path) -> None:
    db = in_memory(busy)
    db.execute("INSERT INTO schedules VALUES ('trig_x', '* * * * *|UTC', '2099')")
    assert [each.what for each in found(db)] == ["trig_x * * * * *|UTC: no event says that it was made"]
    db.execute("DELETE FROM schedules")
    assert ["missing" in each.what for each in found(db)] == [True]
