"""What can be read back of runs, and how a log that was tampered with is found out."""

# ruff: noqa: S608 - the names in these statements are the tests' own
from __future__ import annotations

import asyncio
import hashlib
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from minion.store.decisions import answer_decision
from minion.store.outbox import report_of
from minion.store.run_end import end_run, prune
from minion.store.run_history import breaches, find_run, list_runs, results_of, whole_run
from minion.store.writer import Writer
from server.contract.documents import admit
from server.contract.refusals import BadUse, NotFound, Refusal
from server.contract.reports import RunReport
from tests.minion.stored_runs import (
    CODES,
    LATER,
    Teller,
    keep_plain_runs,
    looking,
    make_order,
    numbered_id,
    open_store,
    perform,
    put_three_runs,
    rows,
    start,
    take,
    tamper,
    with_store,
)

RUN = numbered_id("run_", 1)


def keep_three(folder: Path) -> None:
    """A completed run of one routine, a failed and a running one of another."""

    async def story(writer: Writer) -> None:
        await perform(writer, make_order(1), Teller(1).plain())
        failed = Teller(2).block(CODES[0], "TSK-VALIDATE-TRIGGER", state="failed").report("failure", "No.")
        await perform(writer, make_order(2, routine="triage"), failed, "failed")
        await start(writer, make_order(3, routine="triage"))

    with_store(folder, story)


def listed(folder: Path, **options: Any) -> list[str]:
    """The ids of a listing."""
    with looking(folder) as db:
        return [run["id"] for run in list_runs(db, **options)]


def found(folder: Path, text: str) -> str:
    with looking(folder) as db:
        return find_run(db, text)


def refused(folder: Path, text: str) -> Refusal:
    with looking(folder) as db, pytest.raises(Refusal) as caught:
        find_run(db, text)
    assert caught.value.hint
    return caught.value


def test_runs_are_listed_newest_first_by_routine_state_and_number(tmp_path: Path) -> None:
    keep_three(tmp_path)
    one, two, three = (numbered_id("run_", number) for number in (1, 2, 3))
    assert listed(tmp_path) == [three, two, one]
    assert listed(tmp_path, limit=2) == [three, two]
    assert listed(tmp_path, routine="triage") == [three, two]
    assert listed(tmp_path, state="failed") == [two]
    assert listed(tmp_path, state="unchecked") == [one]
    assert listed(tmp_path, routine="morning-report", state="running") == []


def test_a_run_is_found_by_id_by_its_beginning_and_by_its_routine(tmp_path: Path) -> None:
    keep_three(tmp_path)
    three = numbered_id("run_", 3)
    assert [found(tmp_path, text) for text in (RUN, "morning-report", "morning-report@last")] == [RUN] * 3
    assert [found(tmp_path, text) for text in (three, "triage", "triage@last", "last", "@last"[1:])] == [
        three
    ] * 5


def test_a_beginning_that_fits_one_run_is_enough(tmp_path: Path) -> None:
    with_store(tmp_path, lambda writer: start(writer, make_order(31)))
    assert found(tmp_path, numbered_id("run_", 31)[:8]) == numbered_id("run_", 31)


@pytest.mark.parametrize(
    ("text", "kind", "code"),
    [
        ("run_01", BadUse, "ambiguous"),
        ("run_01Z", NotFound, "no_such_run"),
        ("nobody", NotFound, "no_such_run"),
        ("nobody@last", NotFound, "no_such_run"),
        ("morning", NotFound, "no_such_run"),
        ("", NotFound, "no_such_run"),
        ("run_%", NotFound, "no_such_run"),
        ("' OR 1 --", NotFound, "no_such_run"),
    ],
)
def test_a_run_that_cannot_be_told_is_refused(
    tmp_path: Path, text: str, kind: type[Refusal], code: str
) -> None:
    keep_three(tmp_path)
    refusal = refused(tmp_path, text)
    assert (type(refusal), refusal.code) == (kind, code)


@pytest.mark.promise("STO-1")
def test_a_pruned_run_is_named_as_pruned(tmp_path: Path) -> None:
    keep_plain_runs(tmp_path, 1)
    with_store(tmp_path, lambda writer: writer.transact(lambda db: prune(db, keep=0, now=LATER)))
    assert refused(tmp_path, RUN).code == "pruned"


def test_a_whole_run_is_the_contract_s_report_of_it(tmp_path: Path) -> None:
    teller = Teller().plain().perform("accepted")
    teller.tell("check", kind="file", expected="*.md", state="passed", detail="a.md")
    teller.tell("gap", gap_type="step", requested_code="LLM-X", description="d").tell("usage", wall_ms=12)
    with_store(tmp_path, lambda writer: perform(writer, make_order(), teller))
    with looking(tmp_path) as db:
        run = whole_run(db, RUN)
    report = admit(RunReport, run, source="run")
    assert (report.id, report.state, report.verdict, report.delivery) == (RUN, "completed", "ok", "accepted")
    assert [(block["code"], len(block["steps"])) for block in run["blocks"]] == [(code, 1) for code in CODES]
    assert [effect["target"] for effect in run["effects"]] == ["slack"]
    assert run["checks"] == [{"kind": "file", "expected": "*.md", "state": "passed", "detail": "a.md"}]
    assert [gap["requested_code"] for gap in run["gaps"]] == ["LLM-X"]
    assert (run["usage"], run["lock"], run["first_difference"]) == (
        {"wall_ms": 12},
        {"engine": "script"},
        None,
    )
    assert run["topology"] == run["canonical"]
    assert json.loads(json.dumps(run)) == run


@pytest.mark.promise("MOD-5")
def test_what_a_run_asked_is_told_with_what_came_of_it(tmp_path: Path) -> None:
    def asking(number: int) -> Teller:
        return Teller(number).plain().tell("decision", id=numbered_id("dec_", number), question="May I?")

    async def story(writer: Writer) -> None:
        for number in (1, 2):
            await perform(writer, make_order(number), asking(number))
        first = numbered_id("dec_", 1)
        await writer.transact(lambda db: answer_decision(db, first, "approve", by="a person", now=LATER))

    with_store(tmp_path, story)
    with looking(tmp_path) as db:
        asked = [whole_run(db, numbered_id("run_", number))["questions"] for number in (1, 2)]
        told = report_of(db, RUN)
    # The second asked what waited already: the first decision stands for both.
    for (question,) in asked:
        assert (question["question"], question["state"]) == ("May I?", "approve")
        assert question["decision"] == numbered_id("dec_", 1)
    assert told is not None and "questions" not in told


def test_a_run_under_way_can_be_read_whole(tmp_path: Path) -> None:
    async def story(writer: Writer) -> None:
        await start(writer, make_order())
        await take(writer, Teller().beginning())

    with_store(tmp_path, story)
    with looking(tmp_path) as db:
        run = whole_run(db, RUN)
    assert (run["state"], run["verdict"], run["fingerprint"], run["topology"]) == (
        "running",
        "running",
        None,
        [],
    )
    assert [block["state"] for block in run["blocks"]] == ["completed", "completed", "running"]
    admit(RunReport, run, source="run")


def test_results_come_in_order_and_a_long_text_by_its_beginning(tmp_path: Path) -> None:
    long = {"file": "bodies/000009.txt", "digest": "sha256:0", "bytes": 70_000, "start": "# Long"}
    teller = Teller()
    for name, text in (("one", "short"), ("two", long)):
        teller.tell("skill.result", skill=name, state="completed", text=text, why=None)
    with_store(tmp_path, lambda writer: perform(writer, make_order(), teller, "failed"))
    with looking(tmp_path) as db:
        results = results_of(db, RUN)
    assert results == [
        {"skill": "one", "state": "completed", "text": "short", "why": None},
        {
            "skill": "two",
            "state": "completed",
            "text": "# Long\n\n… 70000 bytes, whole in bodies/000009.txt",
            "why": None,
        },
    ]


def broken(folder: Path, run_id: str | None = None) -> list[tuple[str, int]]:
    """Where the log is broken, as (chain, position)."""
    with looking(folder) as db:
        return [(breach.chain, breach.position) for breach in breaches(db, run_id)]


def test_an_untouched_log_is_intact(tmp_path: Path) -> None:
    put_three_runs(tmp_path)
    assert (broken(tmp_path), broken(tmp_path, RUN)) == ([], [])


OF_RUN = f"WHERE run_id = '{RUN}'"
SWAP = "UPDATE {table} SET ordinal = CASE ordinal WHEN 2 THEN -3 ELSE -2 END {of} AND ordinal IN (2, 3)"
UNSIGN = "UPDATE {table} SET ordinal = -ordinal {of} AND ordinal < 0"


def swapped(table: str) -> list[str]:
    """Statements that have the second and third row of a run change places."""
    return [text.format(table=table, of=OF_RUN) for text in (SWAP, UNSIGN)]


def cut(table: str, rows_: int) -> str:
    """A statement that deletes the last rows of a run."""
    return f"DELETE FROM {table} {OF_RUN} AND ordinal > (SELECT max(ordinal) - {rows_} FROM {table} {OF_RUN})"


ATTACKS: dict[str, tuple[list[str], list[tuple[str, int]]]] = {
    "a byte flipped in an event": (
        [f"UPDATE events SET data = replace(data, 'All done.', 'All dune.') {OF_RUN} AND type = 'report'"],
        [(f"{RUN} events", 16)],
    ),
    "an event's time changed": (
        [f"UPDATE events SET at = '2026-01-05T09:00:00.001Z' {OF_RUN} AND ordinal = 1"],
        [(f"{RUN} events", 0)],
    ),
    "a failed step made completed": (
        [f"UPDATE step_logs SET state = 'failed' {OF_RUN} AND number = 3"],
        [(f"{RUN} steps", 2)],
    ),
    "a step given another agent": (
        [f"UPDATE step_logs SET agent = 'somebody' {OF_RUN} AND number = 1"],
        [(f"{RUN} steps", 0)],
    ),
    "an event taken out of the middle": (
        [f"DELETE FROM events {OF_RUN} AND ordinal = 5"],
        [(f"{RUN} events", 4)],
    ),
    "two events in each other's place": (swapped("events"), [(f"{RUN} events", 1)]),
    "two steps in each other's place": (swapped("step_logs"), [(f"{RUN} steps", 1)]),
    "the end of the events cut off": ([cut("events", 3)], [(f"{RUN} events against its seal", 20)]),
    "the end of the steps cut off": ([cut("step_logs", 1)], [(f"{RUN} steps against its seal", 3)]),
    "all steps gone": (
        [f"DELETE FROM step_logs {OF_RUN}"],
        [(f"{RUN} steps against its seal", 0)],
    ),
    "a verdict made better": (
        [f"UPDATE runs SET verdict = 'ok' WHERE id = '{RUN}'"],
        [(f"{RUN} against its seal", 0)],
    ),
    "an end denied": (
        [f"UPDATE runs SET state = 'cancelled' WHERE id = '{RUN}'"],
        [(f"{RUN} against its seal", 0)],
    ),
    "the home's chain rewritten": (
        ["UPDATE home_chain SET body = replace(body, 'unchecked', 'ok') WHERE position = 2"],
        [(f"{numbered_id('run_', 2)} against its seal", 0), ("home", 1)],
    ),
    "a seal made unreadable": (
        ["UPDATE home_chain SET body = 'nothing' WHERE position = 1"],
        [
            (f"{RUN} events against its seal", 23),
            (f"{RUN} steps against its seal", 4),
            (f"{RUN} against its seal", 0),
            ("home", 0),
        ],
    ),
    "a seal taken out of the home's chain": (
        ["DELETE FROM home_chain WHERE position = 1"],
        [(f"{RUN} has no seal", 0), ("home", 0)],
    ),
    "the newest seal cut off": (
        ["DELETE FROM home_chain WHERE position = (SELECT max(position) FROM home_chain)"],
        [(f"{numbered_id('run_', 3)} has no seal", 0)],
    ),
    "a whole run gone": (
        [f"DELETE FROM {table} {OF_RUN}" for table in ("events", "step_logs", "block_runs", "sessions")]
        + [f"DELETE FROM runs WHERE id = '{RUN}'"],
        [(f"{RUN} is gone", 0)],
    ),
}


@pytest.mark.promise("STO-3")
@pytest.mark.parametrize("attack", ATTACKS)
def test_a_log_that_was_tampered_with_is_found_out(tmp_path: Path, attack: str) -> None:
    put_three_runs(tmp_path)
    statements, where = ATTACKS[attack]
    tamper(tmp_path, *statements)
    assert broken(tmp_path) == where
    of_the_run = [place for place in where if place[0].startswith(RUN) and "gone" not in place[0]]
    assert broken(tmp_path, RUN) == of_the_run


@pytest.mark.promise("STO-3")
def test_a_log_rewritten_with_fitting_hashes_does_not_fit_its_seal(tmp_path: Path) -> None:
    keep_plain_runs(tmp_path, 1)
    last = "SELECT * FROM step_logs ORDER BY ordinal DESC LIMIT 1"
    columns = ("run_id", "ordinal", "number", "block", "code", "kind", "state", "why", "agent", "started_at",
               "ended_at", "cost", "digest_in", "digest_out")  # fmt: skip
    with looking(tmp_path) as db:
        row = dict(db.execute(last).fetchone())
        before = db.execute("SELECT hash FROM step_logs WHERE ordinal = ?", (row["ordinal"] - 1,)).fetchone()[
            0
        ]
    row["state"] = "failed"
    body = json.dumps([row[name] for name in columns], separators=(",", ":"), ensure_ascii=False)
    forged = hashlib.sha256(f"{before}\n{body}".encode()).hexdigest()
    tamper(
        tmp_path, f"UPDATE step_logs SET state = 'failed', hash = '{forged}' WHERE ordinal = {row['ordinal']}"
    )
    assert broken(tmp_path) == [(f"{RUN} steps against its seal", 4)]


@pytest.mark.promise("STO-3")
@pytest.mark.parametrize("table", ["events", "step_logs"])
def test_every_byte_of_every_row_is_under_the_chain(tmp_path: Path, table: str) -> None:
    connection = sqlite3.connect(put_three_runs(tmp_path), isolation_level=None)
    try:
        connection.execute(f"DROP TRIGGER {table}_stand")
        columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})").fetchall()]
        free = []
        for column in columns:
            connection.execute("BEGIN")
            connection.row_factory = sqlite3.Row
            changed = f"CASE WHEN {column} IS NULL THEN '99' ELSE {column} || '99' END"
            connection.execute(f"UPDATE {table} SET {column} = {changed} {OF_RUN} AND ordinal = 3")
            if not breaches(connection):
                free.append(column)
            connection.execute("ROLLBACK")
    finally:
        connection.close()
    assert free == []


@pytest.mark.promise("STO-3")
def test_a_chain_verifies_after_pruning_and_while_runs_are_under_way(tmp_path: Path) -> None:
    async def story() -> None:
        async with open_store(tmp_path) as writer:
            for number in (1, 2, 3):
                await perform(writer, make_order(number), Teller(number).plain())
            await start(writer, make_order(4))
            await take(writer, Teller(4).beginning())
            await writer.transact(lambda db: prune(db, keep=1, now=LATER))
            assert await asyncio.to_thread(broken, tmp_path) == []
            run = numbered_id("run_", 4)
            await writer.transact(lambda db: end_run(db, run, "interrupted", now=LATER))

    asyncio.run(story())
    assert broken(tmp_path) == []
    assert len(rows(tmp_path, "SELECT 1 FROM home_chain WHERE kind = 'tombstone'")) == 2
