"""The store's one writer: groups of transactions, each acknowledged after its commit or not at all."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from minion.store.writer import GROUP, Writer, open_writer
from server.contract.refusals import Refused, StoreFailed, StoreUnreadable
from tests.minion.stored_runs import MINION_ID, open_store, rows, with_store

Transaction = Callable[[Any], Awaitable[Any]]
NOTES = "SELECT key FROM meta WHERE key <> 'minion_id' ORDER BY rowid"


def noting(key: str) -> Transaction:
    """A transaction that writes one row, and answers with its key."""

    async def note(db: Any) -> str:
        await db.execute("INSERT INTO meta VALUES (?, '')", (key,))
        return key

    return note


def failing(key: str, problem: Exception) -> Transaction:
    """A transaction that writes one row and fails then."""

    async def fail(db: Any) -> None:
        await noting(key)(db)
        raise problem

    return fail


def notes(folder: Path) -> list[str]:
    """What a reader sees of the rows that were noted, in the order they were written."""
    return [row[0] for row in rows(folder, NOTES)]


async def traced(writer: Writer, statements: list[str]) -> None:
    """Have every statement of the writer's connection put on a list."""
    await writer.transact(lambda db: db.set_trace_callback(statements.append))


async def outcomes(*calls: Awaitable[Any]) -> list[Any]:
    """What each call answered or raised; none may be left waiting."""
    async with asyncio.timeout(20):
        return await asyncio.gather(*calls, return_exceptions=True)


def test_callers_that_wait_together_are_committed_together_in_their_order(tmp_path: Path) -> None:
    statements: list[str] = []
    keys = [f"{number:03d}" for number in range(100)]

    async def story(writer: Writer) -> list[Any]:
        await traced(writer, statements)
        return await outcomes(*(writer.transact(noting(key)) for key in keys))

    assert with_store(tmp_path, story) == keys
    assert notes(tmp_path) == keys
    # One more belongs to the transaction that began the trace.
    assert statements.count("COMMIT") == 2


def test_a_group_is_bounded_and_the_rest_goes_into_the_next(tmp_path: Path) -> None:
    statements: list[str] = []
    keys = [f"{number:04d}" for number in range(2 * GROUP + 1)]

    async def story(writer: Writer) -> None:
        await traced(writer, statements)
        await outcomes(*(writer.transact(noting(key)) for key in keys))

    with_store(tmp_path, story)
    assert notes(tmp_path) == keys
    assert statements.count("COMMIT") == 1 + 3


def test_what_is_acknowledged_can_be_read_at_once(tmp_path: Path) -> None:
    seen: list[list[str]] = []

    async def story(writer: Writer) -> None:
        for key in "abc":
            await writer.transact(noting(key))
            seen.append(notes(tmp_path))

    with_store(tmp_path, story)
    assert seen == [["a"], ["a", "b"], ["a", "b", "c"]]


@pytest.mark.parametrize(
    "problem",
    [
        Refused("no", "No.", hint="yes"),
        ValueError("a value"),
        KeyError("a key"),
        TypeError("a type"),
        sqlite3.IntegrityError("a rule"),
        OverflowError("a number"),
    ],
    ids=lambda problem: type(problem).__name__,
)
def test_a_failing_transaction_undoes_only_itself(tmp_path: Path, problem: Exception) -> None:
    async def story(writer: Writer) -> list[Any]:
        return await outcomes(
            writer.transact(noting("before")),
            writer.transact(failing("never", problem)),
            writer.transact(noting("after")),
        )

    assert with_store(tmp_path, story) == ["before", problem, "after"]
    assert notes(tmp_path) == ["before", "after"]


@pytest.mark.parametrize("failure", [sqlite3.OperationalError, sqlite3.DatabaseError])
def test_a_failure_of_the_store_itself_acknowledges_nobody(
    tmp_path: Path, failure: type[sqlite3.Error]
) -> None:
    async def story(writer: Writer) -> list[Any]:
        together = (noting("before"), failing("never", failure("disk I/O error")), noting("after"))
        return await outcomes(*(writer.transact(each) for each in together))

    answers = with_store(tmp_path, story)
    assert [type(answer) for answer in answers] == [StoreFailed] * 3
    assert notes(tmp_path) == []


def test_a_full_disk_acknowledges_nobody_and_keeps_nothing(tmp_path: Path) -> None:
    async def fill(db: Any) -> None:
        await db.execute("INSERT INTO meta VALUES ('huge', ?)", ("x" * 10_000_000,))

    async def pages(db: Any, most: int) -> None:
        await db.execute(f"PRAGMA max_page_count = {most}")

    async def story(writer: Writer) -> list[Any]:
        await writer.transact(noting("early"))
        await writer.transact(lambda db: pages(db, 60))
        together = (noting("before"), fill, noting("after"))
        answers = await outcomes(*(writer.transact(each) for each in together))
        await writer.transact(lambda db: pages(db, 1_000_000))
        return [*answers, await writer.transact(noting("room again"))]

    *refused, last = with_store(tmp_path, story)
    assert [type(answer) for answer in refused] == [StoreFailed] * 3
    assert refused[0].sentence == "The run store could not be written: database or disk is full."
    assert (last, notes(tmp_path)) == ("room again", ["early", "room again"])


def test_a_commit_that_fails_acknowledges_nobody_and_keeps_nothing(tmp_path: Path) -> None:
    async def prepare(db: Any) -> None:
        await db.execute("CREATE TABLE parents (id INTEGER PRIMARY KEY)")
        await db.execute(
            "CREATE TABLE children (parent INTEGER REFERENCES parents DEFERRABLE INITIALLY DEFERRED)"
        )

    async def orphan(db: Any) -> str:
        # Only COMMIT itself looks at a deferred rule.
        await db.execute("INSERT INTO children VALUES (1)")
        return "written"

    async def story(writer: Writer) -> list[Any]:
        await writer.transact(prepare)
        answers = await outcomes(writer.transact(noting("before")), writer.transact(orphan))
        return [*answers, await writer.transact(noting("later"))]

    first, second, last = with_store(tmp_path, story)
    assert [type(first), type(second)] == [StoreFailed, StoreFailed]
    assert "FOREIGN KEY" in first.sentence
    assert (last, notes(tmp_path)) == ("later", ["later"])


def test_closing_finishes_what_was_handed_in_and_takes_nothing_more(tmp_path: Path) -> None:
    async def story() -> list[Any]:
        async with open_store(tmp_path) as writer:
            early = [writer.transact(noting(key)) for key in "abc"]
            answers = await outcomes(*early, writer.close(), writer.transact(noting("late")))
        return [*answers, *await outcomes(writer.transact(noting("later still")))]

    *early, closed, late, later_still = asyncio.run(story())
    assert (early, closed) == (["a", "b", "c"], None)
    assert [type(late), type(later_still)] == [StoreFailed, StoreFailed]
    assert notes(tmp_path) == ["a", "b", "c"]


def test_a_cancelled_caller_s_transaction_is_completed(tmp_path: Path) -> None:
    async def story(writer: Writer) -> bool:
        under_way, go_on = asyncio.Event(), asyncio.Event()

        async def slow(db: Any) -> None:
            await noting("first half")(db)
            under_way.set()
            await go_on.wait()
            await noting("second half")(db)

        caller = asyncio.ensure_future(writer.transact(slow))
        waiting = asyncio.ensure_future(writer.transact(noting("not begun")))
        await under_way.wait()
        caller.cancel()
        waiting.cancel()
        await asyncio.wait({caller, waiting})
        go_on.set()
        return caller.cancelled() and waiting.cancelled()

    assert with_store(tmp_path, story)
    assert notes(tmp_path) == ["first half", "second half", "not begun"]


def test_a_cancelled_caller_whose_transaction_fails_leaves_no_trace(tmp_path: Path) -> None:
    async def story(writer: Writer) -> str:
        under_way, go_on = asyncio.Event(), asyncio.Event()

        async def slow_failure(db: Any) -> None:
            under_way.set()
            await go_on.wait()
            await failing("never", ValueError("x"))(db)

        caller = asyncio.ensure_future(writer.transact(slow_failure))
        await under_way.wait()
        caller.cancel()
        await asyncio.wait({caller})
        go_on.set()
        return str(await writer.transact(noting("next")))

    assert with_store(tmp_path, story) == "next"
    assert notes(tmp_path) == ["next"]


def test_a_defect_in_a_transaction_leaves_no_caller_waiting(tmp_path: Path) -> None:
    answers: list[Any] = []

    async def story() -> None:
        async with open_store(tmp_path) as writer:
            defect = writer.transact(failing("never", AttributeError("a defect")))
            # More than one group: some wait in the same one, the others were not begun.
            others = [writer.transact(noting(f"{number}")) for number in range(GROUP + 50)]
            answers.extend(await outcomes(defect, *others))
            answers.extend(await outcomes(writer.transact(noting("afterwards"))))

    with pytest.raises(AttributeError, match="a defect"):
        asyncio.run(story())
    assert [type(answer) for answer in answers] == [StoreFailed] * (GROUP + 52)
    assert notes(tmp_path) == []


def test_a_story_that_ends_badly_still_closes_its_store(tmp_path: Path) -> None:
    async def story(writer: Writer) -> None:
        await writer.transact(noting("kept"))
        raise LookupError("somewhere else")

    with pytest.raises(LookupError, match="somewhere else"):
        with_store(tmp_path, story)
    assert notes(tmp_path) == ["kept"]
    # The last connection takes the write-ahead log with it: nobody has the file open any more.
    connection = sqlite3.connect(tmp_path / "minion.db")
    try:
        assert connection.execute("PRAGMA locking_mode = EXCLUSIVE").fetchone() == ("exclusive",)
        connection.execute("BEGIN EXCLUSIVE")
    finally:
        connection.close()


@pytest.mark.promise("STO-2")
@pytest.mark.parametrize("body", [None, b"these bytes are no database\n" * 99], ids=["gone", "garbage"])
def test_a_writer_refuses_a_file_that_is_no_store_and_makes_none(tmp_path: Path, body: bytes | None) -> None:
    path = tmp_path / "minion.db"
    if body is not None:
        path.write_bytes(body)

    async def story() -> None:
        async with open_writer(path):
            raise AssertionError("it was opened")

    with pytest.raises(StoreUnreadable) as caught:
        asyncio.run(story())
    assert (caught.value.code, bool(caught.value.hint)) == ("store_unreadable", True)
    assert (path.read_bytes() if path.exists() else None) == body


@pytest.mark.promise("STO-4")
def test_readers_work_while_the_writer_writes_and_see_only_what_is_committed(tmp_path: Path) -> None:
    seen: dict[str, list[str]] = {}

    async def story(writer: Writer) -> None:
        await writer.transact(noting("committed"))

        async def half(db: Any) -> None:
            await noting("under way")(db)
            seen["during"] = await asyncio.to_thread(notes, tmp_path)

        await writer.transact(half)

    with_store(tmp_path, story)
    seen["after"] = notes(tmp_path)
    assert seen == {"during": ["committed"], "after": ["committed", "under way"]}
    assert rows(tmp_path, "SELECT value FROM meta WHERE key = 'minion_id'") == [(MINION_ID,)]
