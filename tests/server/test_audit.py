"""The audit of HQ's log: what is wrong is named, and a checkpoint is only taken for what it is."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from server.contract.digest import CHAIN_START
from server.contract.refusals import BadDocument, NotFound
from server.storage.audit import MOST_NAMED, as_json, audit, from_json
from server.storage.event_store import Checkpoint
from tests.server.tampering import found, in_memory, make_log, rehash

pytestmark = pytest.mark.promise("AUD-1")
AT = "2026-04-01T09:00:00.000Z"


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Checkpoint]:
    """A log that nobody touched."""
    return make_log(tmp_path_factory.mktemp("log"))


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
    assert chains(log, cut, checkpoint=False) == {}
    assert chains(log, cut) == {"checkpoint": f"the log was cut off: it ends at {last - 1}"}


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
    assert (len(seen.breaches), seen.found) == (MOST_NAMED, MOST_NAMED + 20)


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
