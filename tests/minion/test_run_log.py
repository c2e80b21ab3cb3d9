"""A run as it is written down: moves and events that stand together, append-only, taken once each."""

# ruff: noqa: S608 - the names in these statements are the tests' own
from __future__ import annotations

import json
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minion.store.run_end import prune
from minion.store.run_log import append_home, move, open_run, take_event
from minion.store.writer import Writer
from server.contract.refusals import IllegalMove, Refused
from server.contract.run import LEGAL_MOVES, RunState
from server.contract.topology import fingerprint
from tests.minion.stored_runs import (
    CODES,
    LATER,
    MINION_ID,
    NOW,
    ROUTINE_ID,
    Teller,
    make_order,
    numbered_id,
    perform,
    put_three_runs,
    rows,
    start,
    take,
    with_store,
)

RUN = numbered_id("run_", 1)
PAIRS = [(before, after) for before in LEGAL_MOVES for after in LEGAL_MOVES]
LEGAL = [(before, after) for before, after in PAIRS if after in LEGAL_MOVES[before]]


def told(folder: Path, teller: Teller) -> None:
    """Have the folder's store take a fresh run's events."""

    async def story(writer: Writer) -> None:
        await start(writer, make_order())
        await take(writer, teller)

    with_store(folder, story)


async def put(db: Any, state: str) -> None:
    await db.execute("UPDATE runs SET state = ?", (state,))


def moved(folder: Path, before: RunState, after: RunState, *, standing: str) -> Refused | IllegalMove | None:
    """Move a run that stands in a state; the refusal."""

    async def story(writer: Writer) -> Refused | IllegalMove | None:
        await writer.transact(lambda db: open_run(db, make_order(), folder="/f", lock={}, now=NOW))
        await writer.transact(lambda db: put(db, standing))
        try:
            await writer.transact(lambda db: move(db, RUN, before, after, now=LATER, why="because"))
        except (Refused, IllegalMove) as refusal:
            return refusal
        return None

    return with_store(folder, story)


def moves_told(folder: Path) -> list[dict[str, Any]]:
    """The moves among the events, from → to → why."""
    found = rows(folder, "SELECT data FROM events WHERE type = 'run.moved' ORDER BY ordinal")
    return [json.loads(data) for (data,) in found]


def test_an_opened_run_is_a_draft_held_against_its_canonical_steps(tmp_path: Path) -> None:
    with_store(
        tmp_path, lambda w: w.transact(lambda db: open_run(db, make_order(), folder="/f", lock={}, now=NOW))
    )
    columns = "state, outcome, delivery, verdict, topology, canonical_fingerprint, folder, ended_at"
    assert rows(tmp_path, f"SELECT {columns} FROM runs") == [
        ("draft", "unknown", "none", "running", "[]", "T:36a61784", "/f", None)
    ]
    assert rows(tmp_path, "SELECT ordinal, seq, type FROM events") == [(1, None, "run.opened")]


def test_an_order_is_run_once_whoever_hands_it_in(tmp_path: Path) -> None:
    async def story(writer: Writer) -> Refused:
        await start(writer, make_order(1, key="slot"))
        with pytest.raises(Refused) as caught:
            await start(writer, make_order(2, key="slot"))
        return caught.value

    assert with_store(tmp_path, story).code == "order_taken"
    assert rows(tmp_path, "SELECT id FROM runs") == [(RUN,)]
    assert rows(tmp_path, "SELECT DISTINCT run_id FROM events") == [(RUN,)]


@pytest.mark.parametrize(("before", "after"), LEGAL, ids="-".join)
def test_a_legal_move_and_its_event_stand_together(tmp_path: Path, before: RunState, after: RunState) -> None:
    assert moved(tmp_path, before, after, standing=before) is None
    assert rows(tmp_path, "SELECT state, revision FROM runs") == [(after, 1)]
    assert moves_told(tmp_path) == [{"from": before, "to": after, "why": "because"}]
    assert rows(tmp_path, "SELECT started_at FROM runs") == [(LATER if after == "running" else None,)]


def test_a_move_from_a_state_that_was_left_is_refused_and_leaves_no_event(tmp_path: Path) -> None:
    refusal = moved(tmp_path, "running", "completed", standing="cancelled")
    assert refusal is not None
    assert (refusal.code, refusal.sentence) == ("run_moved", f"The run {RUN} is no longer running.")
    assert rows(tmp_path, "SELECT state, revision FROM runs") == [("cancelled", 0)]
    assert moves_told(tmp_path) == []


def test_a_move_the_table_does_not_have_is_a_defect_and_changes_nothing(tmp_path: Path) -> None:
    refusal = moved(tmp_path, "completed", "running", standing="completed")
    assert refusal is not None
    assert (refusal.code, refusal.exit_code) == ("illegal_move", 1)
    assert rows(tmp_path, "SELECT state FROM runs") == [("completed",)]
    assert moves_told(tmp_path) == []


def test_of_two_moves_at_once_only_one_is_made(tmp_path: Path) -> None:
    async def story(writer: Writer) -> None:
        await start(writer, make_order())
        await writer.transact(lambda db: move(db, RUN, "running", "cancelled", now=LATER))
        with pytest.raises(Refused, match="no longer running"):
            await writer.transact(lambda db: move(db, RUN, "running", "failed", now=LATER))

    with_store(tmp_path, story)
    assert [each["to"] for each in moves_told(tmp_path)] == ["validated", "queued", "running", "cancelled"]


def test_a_move_whose_transaction_fails_later_was_never_made(tmp_path: Path) -> None:
    async def half(db: Any) -> None:
        await move(db, RUN, "running", "failed", now=LATER)
        raise ValueError("later")

    async def story(writer: Writer) -> None:
        await start(writer, make_order())
        with pytest.raises(ValueError, match="later"):
            await writer.transact(half)

    with_store(tmp_path, story)
    assert rows(tmp_path, "SELECT state FROM runs") == [("running",)]
    assert moves_told(tmp_path)[-1]["to"] == "running"


def test_a_resumed_run_keeps_the_instant_it_first_began(tmp_path: Path) -> None:
    async def story(writer: Writer) -> None:
        await start(writer, make_order())
        await writer.transact(lambda db: move(db, RUN, "running", "interrupted", now=LATER))
        await writer.transact(lambda db: move(db, RUN, "interrupted", "running", now=LATER))

    with_store(tmp_path, story)
    assert rows(tmp_path, "SELECT started_at FROM runs") == [(NOW,)]


CHANGES = [
    ("UPDATE events SET data = '{}'", "append-only"),
    ("UPDATE events SET hash = hash", "append-only"),
    ("UPDATE step_logs SET state = 'completed'", "append-only"),
    ("DELETE FROM events", "kept until the run is pruned"),
    ("DELETE FROM step_logs", "kept until the run is pruned"),
    ("UPDATE home_chain SET body = body", "append-only"),
    ("DELETE FROM home_chain", "kept for ever"),
]


@pytest.mark.promise("STO-3")
@pytest.mark.parametrize(("statement", "why"), CHANGES)
def test_what_was_written_down_cannot_be_changed_through_any_connection(
    tmp_path: Path, statement: str, why: str
) -> None:
    put_three_runs(tmp_path)
    before = rows(tmp_path, "SELECT * FROM events"), rows(tmp_path, "SELECT * FROM step_logs")

    async def through_the_writer(writer: Writer) -> None:
        with pytest.raises(sqlite3.IntegrityError, match=why):
            await writer.transact(lambda db: db.execute(statement))

    with_store(tmp_path, through_the_writer)
    plain = sqlite3.connect(tmp_path / "minion.db")
    try:
        with pytest.raises(sqlite3.IntegrityError, match=why):
            plain.execute(statement)
    finally:
        plain.close()
    assert (rows(tmp_path, "SELECT * FROM events"), rows(tmp_path, "SELECT * FROM step_logs")) == before


@pytest.mark.promise("STO-3")
def test_a_tombstone_frees_its_own_run_s_log_and_no_other(tmp_path: Path) -> None:
    put_three_runs(tmp_path)
    first, *others = (numbered_id("run_", number) for number in (1, 2, 3))

    async def story(writer: Writer) -> None:
        await writer.transact(lambda db: append_home(db, "tombstone", first, {}))
        await writer.transact(lambda db: db.execute("DELETE FROM events WHERE run_id = ?", (first,)))
        with pytest.raises(sqlite3.IntegrityError, match="kept until"):
            await writer.transact(lambda db: db.execute("DELETE FROM events WHERE run_id = ?", others[:1]))
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            await writer.transact(lambda db: db.execute("UPDATE step_logs SET state = 'x'"))

    with_store(tmp_path, story)
    left = rows(tmp_path, "SELECT DISTINCT run_id FROM events ORDER BY run_id")
    assert left == [(run,) for run in others]


@pytest.mark.promise("RUN-8")
def test_an_event_taken_twice_is_kept_once_with_all_that_follows_from_it(tmp_path: Path) -> None:
    teller = Teller().plain()
    teller.perform("accepted")
    teller.tell("gap", gap_type="step", requested_code="LLM-X", description="d").tell("usage", tokens=5)
    tables = ("events", "step_logs", "block_runs", "sessions", "effects", "gaps", "runs")

    def everything() -> dict[str, list[tuple[Any, ...]]]:
        return {table: rows(tmp_path, f"SELECT * FROM {table}") for table in tables}

    async def story(writer: Writer) -> tuple[list[bool], Any, list[bool]]:
        await start(writer, make_order())
        first = await take(writer, teller)
        kept = everything()
        return first, kept, await take(writer, teller)

    first, kept, second = with_store(tmp_path, story)
    assert (set(first), set(second)) == ({True}, {False})
    assert everything() == kept
    assert all(kept.values())


def test_the_same_number_of_two_runs_is_two_events(tmp_path: Path) -> None:
    async def story(writer: Writer) -> list[bool]:
        await start(writer, make_order(1))
        await start(writer, make_order(2))
        return [
            *await take(writer, Teller(1).enter(CODES[0])),
            *await take(writer, Teller(2).enter(CODES[0])),
        ]

    assert with_store(tmp_path, story) == [True, True]
    assert len(rows(tmp_path, "SELECT 1 FROM block_runs")) == 2


def test_blocks_steps_and_session_follow_from_the_events(tmp_path: Path) -> None:
    told(tmp_path, Teller().plain())
    blocks = rows(tmp_path, "SELECT code, kind, state, started_at, ended_at FROM block_runs ORDER BY ordinal")
    assert blocks == [
        (CODES[0], "rigid", "completed", NOW, NOW),
        (CODES[1], "rigid", "completed", NOW, NOW),
        (CODES[2], "elastic", "completed", NOW, NOW),
        (CODES[3], "rigid", "completed", NOW, NOW),
    ]
    steps = rows(tmp_path, "SELECT number, block, code, state, agent FROM step_logs ORDER BY ordinal")
    assert [step[:3] for step in steps] == [
        (1, CODES[0], "TSK-VALIDATE-TRIGGER"),
        (2, CODES[1], "SCR-CLONE-REPO"),
        (3, CODES[2], "LLM-EXECUTE-PROMPT"),
        (4, CODES[3], "SCR-PUSH-BRANCH"),
    ]
    assert {step[3:] for step in steps} == {("completed", "tester")}
    assert rows(tmp_path, "SELECT id, run_id, sandbox FROM sessions") == [
        (numbered_id("session_", 1), RUN, "unsandboxed")
    ]
    assert rows(tmp_path, "SELECT outcome, summary, sandbox FROM runs") == [
        ("success", "All done.", "unsandboxed")
    ]


def test_a_step_that_only_began_has_no_row_yet(tmp_path: Path) -> None:
    told(tmp_path, Teller().enter(CODES[0]).begin_step("TSK-VALIDATE-TRIGGER"))
    assert rows(tmp_path, "SELECT * FROM step_logs") == []
    assert rows(tmp_path, "SELECT state, ended_at FROM block_runs") == [("running", None)]


def test_a_block_that_was_never_entered_is_kept_as_skipped_without_a_start(tmp_path: Path) -> None:
    teller = Teller().block(CODES[0], "TSK-VALIDATE-TRIGGER", state="failed").enter(CODES[1])
    skipped = teller.events.pop()
    teller.tell("block.finished", **skipped.data, state="skipped", why="040.001.01 failed")
    told(tmp_path, teller)
    assert rows(tmp_path, "SELECT code, state, why, started_at FROM block_runs ORDER BY ordinal") == [
        (CODES[0], "failed", None, NOW),
        (CODES[1], "skipped", "040.001.01 failed", None),
    ]


def test_an_effect_goes_from_staged_over_intended_to_what_came_of_it(tmp_path: Path) -> None:
    teller = Teller().enter(CODES[3])
    effect = teller.stage()
    staged = list(teller.events)
    teller.intend(effect)
    intended = list(teller.events)
    teller.settle(effect, "delivered", "slack webhook")

    async def in_turn(writer: Writer) -> list[Any]:
        await start(writer, make_order())
        seen: list[Any] = []
        for events in (staged, intended, list(teller.events)):
            await take(writer, teller, events)
            seen += rows(tmp_path, "SELECT state, destination FROM effects")
        return seen

    assert with_store(tmp_path, in_turn) == [
        ("staged", None),
        ("intended", None),
        ("delivered", "slack webhook"),
    ]


def test_a_report_too_long_for_an_event_is_kept_by_its_beginning(tmp_path: Path) -> None:
    details = {"file": "bodies/1.txt", "digest": "sha256:0", "bytes": 99_999, "start": "# Report"}
    told(tmp_path, Teller().report("partial", "Half.", details))
    assert rows(tmp_path, "SELECT outcome, summary, details FROM runs") == [("partial", "Half.", "# Report")]


def test_a_gap_names_the_routine_that_lacked_something(tmp_path: Path) -> None:
    told(tmp_path, Teller().tell("gap", gap_type="step", requested_code="LLM-X", description="no model"))
    columns = "run_id, routine, gap_type, requested_code, description"
    assert rows(tmp_path, f"SELECT {columns} FROM gaps") == [
        (RUN, "morning-report", "step", "LLM-X", "no model")
    ]


def test_an_event_that_nobody_understands_is_not_half_kept(tmp_path: Path) -> None:
    async def story(writer: Writer) -> None:
        await start(writer, make_order())
        with pytest.raises(KeyError):
            await take(writer, Teller().tell("report", outcome="success"))

    with_store(tmp_path, story)
    assert rows(tmp_path, "SELECT count(*) FROM events WHERE type = 'report'") == [(0,)]


AMOUNTS = st.fixed_dictionaries(
    {},
    optional={
        "tokens": st.integers(0, 10**9),
        "wall_ms": st.integers(0, 10**7),
        "dollars": st.integers(0, 10**7),
    },
)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(told_usage=st.lists(AMOUNTS, min_size=1, max_size=12))
def test_usage_adds_up_to_the_micro_dollar(
    tmp_path_factory: pytest.TempPathFactory, told_usage: list[dict[str, int]]
) -> None:
    folder = tmp_path_factory.mktemp("usage")
    teller = Teller()
    total: Counter[str] = Counter()
    for usage in told_usage:
        total.update(usage)
        millionths = {name: amount / 10**6 if name == "dollars" else amount for name, amount in usage.items()}
        teller.tell("usage", **millionths)
    told(folder, teller)
    kept = json.loads(rows(folder, "SELECT usage FROM runs")[0][0])
    exact = {name: amount / 10**6 if name == "dollars" else amount for name, amount in total.items()}
    assert kept == exact


def test_a_prompt_with_an_added_check_has_the_seed_s_other_fingerprint(tmp_path: Path) -> None:
    teller = Teller().beginning().step("LLM-EXECUTE-PROMPT").step("LLM-VERIFY-OUTPUT").report().leave()
    teller.block(CODES[3], "SCR-PUSH-BRANCH")
    with_store(tmp_path, lambda writer: perform(writer, make_order(), teller))
    found = rows(tmp_path, "SELECT state, fingerprint, conformance, first_difference FROM runs")
    assert found == [("completed", "T:f87a829f", "drift", '["040.001.03",null,"LLM-VERIFY-OUTPUT"]')]
    assert fingerprint(json.loads(rows(tmp_path, "SELECT topology FROM runs")[0][0])) == "T:f87a829f"


def test_the_store_names_its_minion_and_routine(tmp_path: Path) -> None:
    put_three_runs(tmp_path)
    assert rows(tmp_path, "SELECT value FROM meta") == [(MINION_ID,)]
    assert set(rows(tmp_path, "SELECT routine_id, routine FROM runs")) == {(ROUTINE_ID, "morning-report")}


def test_an_event_is_refused_twice_even_where_only_the_table_guards_it(tmp_path: Path) -> None:
    teller = Teller().enter(CODES[0])

    async def story(writer: Writer) -> None:
        await start(writer, make_order())
        await writer.transact(lambda db: take_event(db, RUN, teller.events[0]))
        again = "INSERT INTO events SELECT run_id, ordinal + 9, seq, at, type, block, data, hash FROM events"
        with pytest.raises(sqlite3.IntegrityError, match="UNIQUE"):
            await writer.transact(lambda db: db.execute(again))
        assert await writer.transact(lambda db: prune(db, keep=0, now=LATER)) == []

    with_store(tmp_path, story)
