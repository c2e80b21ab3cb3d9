"""What waits to be told to HQ: each change of a run while one is joined, none lost by pruning or a late answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from minion.store.outbox import (
    begin_reporting,
    end_reporting,
    joined_hq,
    keep_bodies,
    next_reports,
    settle_reports,
    without_body,
)
from minion.store.run_end import prune, restate
from minion.store.writer import Writer
from server.contract.digest import canonical_json
from server.contract.documents import admit
from server.contract.reports import RunReport
from tests.minion.stored_runs import (
    LATER,
    NOW,
    ROUTINE_ID,
    Teller,
    looking,
    make_order,
    numbered_id,
    perform,
    rows,
    start,
    take,
    with_store,
)

URL = "http://127.0.0.1:7717"


async def join(writer: Writer, level: str = "steps") -> None:
    """Join an HQ; the routine reports so much."""
    await writer.transact(lambda db: begin_reporting(db, URL))
    text = canonical_json({"name": "morning-report", "report_to_hq": level})

    async def keep(db: Any) -> None:
        query = "INSERT OR REPLACE INTO routines VALUES (?, 'morning-report', 1, ?, 'd', 's', ?, ?, NULL, NULL)"
        await db.execute(query, (ROUTINE_ID, text, NOW, NOW))

    await writer.transact(keep)


def waiting(folder: Path, *, most: int = 50, largest: int = 10**6) -> list[tuple[str, int | None]]:
    """The runs that wait, and which revision is told of each."""
    with looking(folder) as db:
        found = next_reports(db, most=most, largest=largest)
    return [(each.run_id, None if each.report is None else each.report["revision"]) for each in found]


async def write_bodies(folder: Path, writer: Writer) -> None:
    """Write down the reports of ended runs, as whoever closes one does."""
    with looking(folder) as db:
        bodies = without_body(db)
    await writer.transact(lambda db: keep_bodies(db, bodies))


@pytest.mark.promise("JOI-5")
def test_a_run_waits_to_be_told_from_its_first_change_on_and_only_while_an_hq_is_joined(tmp_path: Path) -> None:
    async def story(writer: Writer) -> None:
        await perform(writer, make_order(1), Teller(1).plain())
        assert waiting(tmp_path) == []
        await join(writer)
        await start(writer, make_order(2))
        assert [run for run, _ in waiting(tmp_path)] == [numbered_id("run_", 2)]
        with looking(tmp_path) as db:
            assert joined_hq(db) == (URL, 1)
        assert await writer.transact(end_reporting) == 1
        await perform(writer, make_order(3), Teller(3).plain())
        with looking(tmp_path) as db:
            assert joined_hq(db) is None
        assert waiting(tmp_path) == []

    with_store(tmp_path, story)


@pytest.mark.promise("JOI-5")
def test_a_report_leaves_when_hq_has_what_the_run_is_now(tmp_path: Path) -> None:
    async def story(writer: Writer) -> None:
        await join(writer)
        run = numbered_id("run_", 1)
        await start(writer, make_order(1))
        ((_, early),) = waiting(tmp_path)
        await take(writer, Teller(1).plain())
        await perform(writer, make_order(2), Teller(2).plain())
        await writer.transact(lambda db: restate(db, numbered_id("run_", 2), settled="eff_x"))
        # HQ's answer to what was told while the run went on says nothing of how it is now.
        with looking(tmp_path) as db:
            found = next_reports(db, most=9, largest=9**9)
        late = {each.run_id: each.report["revision"] for each in found if each.report}
        assert late[numbered_id("run_", 2)] > late[run]
        await writer.transact(lambda db: settle_reports(db, {numbered_id("run_", 2): 1}))
        assert len(waiting(tmp_path)) == 2
        await writer.transact(lambda db: settle_reports(db, {run: early, **late}))
        assert waiting(tmp_path) == []

    with_store(tmp_path, story)


@pytest.mark.promise("JOI-5")
def test_a_run_that_is_pruned_is_told_all_the_same(tmp_path: Path) -> None:
    async def story(writer: Writer) -> None:
        await join(writer)
        for number in (1, 2, 3):
            await perform(writer, make_order(number), Teller(number).plain())
        # Nothing is written down yet: nothing may go.
        assert await writer.transact(lambda db: prune(db, keep=1, now=LATER)) == []
        await write_bodies(tmp_path, writer)
        assert len(await writer.transact(lambda db: prune(db, keep=1, now=LATER))) == 2
        told = waiting(tmp_path)
        assert [run for run, _ in told] == [numbered_id("run_", number) for number in (1, 2, 3)]
        assert all(revision for _, revision in told)
        await writer.transact(lambda db: settle_reports(db, dict(told)))
        assert waiting(tmp_path) == []

    with_store(tmp_path, story)
    assert rows(tmp_path, "SELECT id FROM runs") == [(numbered_id("run_", 3),)]


def test_what_is_written_down_of_a_run_that_changed_meanwhile_is_not_kept(tmp_path: Path) -> None:
    async def story(writer: Writer) -> None:
        await join(writer)
        await perform(writer, make_order(1), Teller(1).plain().perform("unknown"))
        with looking(tmp_path) as db:
            bodies = without_body(db)
        await writer.transact(lambda db: restate(db, numbered_id("run_", 1), settled="eff_x"))
        await writer.transact(lambda db: keep_bodies(db, bodies))
        assert rows(tmp_path, "SELECT body FROM outbox") == [(None,)]

    with_store(tmp_path, story)


@pytest.mark.parametrize("level", ["none", "summary", "steps"])
def test_hq_is_told_as_much_as_the_routine_says(tmp_path: Path, level: str) -> None:
    async def story(writer: Writer) -> None:
        await join(writer, level)
        await perform(writer, make_order(1), Teller(1).plain().perform("accepted"))
        await write_bodies(tmp_path, writer)

    with_store(tmp_path, story)
    with looking(tmp_path) as db:
        ((told),) = next_reports(db, most=9, largest=9**9)
    if level == "none":
        assert told.report is None
        return
    assert told.report is not None
    report = admit(RunReport, told.report, source="The report")
    assert (report.summary, report.state, report.outcome) == ("All done.", "completed", "success")
    assert [len(block.steps) for block in report.blocks] == ([1, 1, 1, 1] if level == "steps" else [])
    assert "folder" not in told.report
    assert "/nowhere" not in json.dumps(told.report)


def test_a_batch_is_bounded_and_always_has_one(tmp_path: Path) -> None:
    async def story(writer: Writer) -> None:
        await join(writer)
        for number in (1, 2, 3):
            await start(writer, make_order(number))

    with_store(tmp_path, story)
    assert len(waiting(tmp_path, most=2)) == 2
    assert len(waiting(tmp_path, largest=1)) == 1
