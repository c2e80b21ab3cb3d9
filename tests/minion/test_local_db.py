"""The store's file: made whole, refused rather than replaced, read by others while it is written."""

# ruff: noqa: S608 - the names in these statements are the tests' own
from __future__ import annotations

import asyncio
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from minion.app import initialise, opened
from minion.clock import utc_now
from minion.config import Home
from minion.store.local_db import SCHEMA_VERSION, create, examine, read_only
from minion.store.run_history import list_runs
from server.contract.refusals import NotFound, StoreUnreadable
from tests.minion.stored_runs import MINION_ID, numbered_id, put_three_runs

OTHER_ID = "00000000-0000-4000-8000-000000000000"


def with_plain(path: Path, *statements: str) -> None:
    """Make or change a database with SQLite alone."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        for statement in statements:
            connection.execute(statement)
    finally:
        connection.close()


def truncated(path: Path, share: float) -> None:
    """Cut a file to a share of its length."""
    body = path.read_bytes()
    path.write_bytes(body[: int(len(body) * share)])


def half_overwritten(path: Path) -> None:
    """The first page is gone, as after a bad copy."""
    body = path.read_bytes()
    path.write_bytes(b"\0" * 4096 + body[4096:])


def of_another_program(path: Path) -> None:
    """Some other database stands in its place."""
    path.unlink()
    with_plain(path, "CREATE TABLE notes (text TEXT)")


def a_folder(path: Path) -> None:
    """A folder stands in its place."""
    path.unlink()
    path.mkdir()


# How a good store of three runs is spoilt, and how the refusal is called then.
SPOILT: dict[str, tuple[Callable[[Path], object], str]] = {
    "garbage": (lambda path: path.write_bytes(b"not a database, just words\n" * 400), "store_unreadable"),
    "one byte": (lambda path: path.write_bytes(b"x"), "store_unreadable"),
    "zero bytes": (lambda path: path.write_bytes(b""), "store_missing"),
    "a missing half": (lambda path: truncated(path, 0.5), "store_unreadable"),
    "a missing page": (lambda path: truncated(path, 0.98), "store_unreadable"),
    "a half page": (lambda path: path.write_bytes(path.read_bytes()[:2048]), "store_unreadable"),
    "a blank first page": (half_overwritten, "store_unreadable"),
    "a newer schema": (
        lambda path: with_plain(path, f"PRAGMA user_version = {SCHEMA_VERSION + 1}"),
        "store_newer",
    ),
    "another program's database": (
        of_another_program,
        "store_unreadable",
    ),
    "another application's mark": (
        lambda path: with_plain(path, "PRAGMA application_id = 7"),
        "store_unreadable",
    ),
    "another minion's store": (
        lambda path: with_plain(path, f"UPDATE meta SET value = '{OTHER_ID}'"),
        "store_of_another",
    ),
    "no minion's name": (lambda path: with_plain(path, "DELETE FROM meta"), "store_of_another"),
    "no meta table": (lambda path: with_plain(path, "DROP TABLE meta"), "store_unreadable"),
    "a folder in its place": (a_folder, "store_unreadable"),
}


def content(path: Path) -> bytes | None:
    """The file's bytes, None when there is none."""
    return path.read_bytes() if path.is_file() else None


@pytest.mark.promise("STO-2")
@pytest.mark.parametrize("how", SPOILT)
def test_a_store_that_cannot_be_read_is_refused_and_kept_byte_for_byte(tmp_path: Path, how: str) -> None:
    path = put_three_runs(tmp_path)
    spoil, code = SPOILT[how]
    spoil(path)
    before = content(path)
    with pytest.raises(StoreUnreadable) as caught:
        examine(path, minion_id=MINION_ID, runs_dir=tmp_path / "runs")
    assert (caught.value.code, caught.value.exit_code) == (code, 3)
    assert str(path) in caught.value.sentence
    assert caught.value.hint
    assert content(path) == before


@pytest.mark.promise("STO-2")
@pytest.mark.parametrize("how", SPOILT)
def test_a_home_is_not_opened_over_a_store_that_cannot_be_read(tmp_path: Path, how: str) -> None:
    home = Home(tmp_path)
    config = initialise(home, name="tester", timezone="UTC")
    put_three_runs(tmp_path)
    with_plain(home.store, f"UPDATE meta SET value = '{config.minion_id}'")
    SPOILT[how][0](home.store)
    before = content(home.store)

    async def story() -> None:
        async with opened(home, "a test", clock=utc_now, alert=print, owns_process=False):
            raise AssertionError("it was opened")

    for _ in range(2):
        with pytest.raises(StoreUnreadable):
            asyncio.run(story())
    assert content(home.store) == before


@pytest.mark.promise("STO-2")
@pytest.mark.parametrize(
    "how", [how for how in SPOILT if not how.endswith(("store", "name", "missing page"))]
)
def test_a_reader_refuses_what_it_cannot_read_and_leaves_it(tmp_path: Path, how: str) -> None:
    path = put_three_runs(tmp_path)
    SPOILT[how][0](path)
    before = content(path)
    with pytest.raises(StoreUnreadable) as caught, read_only(path) as db:
        list_runs(db)
    assert caught.value.hint
    assert content(path) == before


@pytest.mark.promise("STO-2")
def test_damage_that_shows_only_on_reading_is_refused_too(tmp_path: Path) -> None:
    path = put_three_runs(tmp_path)
    body = bytearray(path.read_bytes())
    body[8 * 4096 : -4096] = b"\xff" * (len(body) - 9 * 4096)
    path.write_bytes(body)
    with pytest.raises(StoreUnreadable, match="cannot be read"), read_only(path) as db:
        db.execute("SELECT * FROM events").fetchall()
    assert path.read_bytes() == bytes(body)


@pytest.mark.promise("STO-2")
def test_a_store_that_is_gone_although_runs_were_kept_is_missed(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    (runs / numbered_id("run_", 1)).mkdir(parents=True)
    with pytest.raises(StoreUnreadable) as caught:
        examine(tmp_path / "minion.db", minion_id=MINION_ID, runs_dir=runs)
    assert (caught.value.code, "gone although runs were kept" in caught.value.sentence) == (
        "store_missing",
        True,
    )
    assert not (tmp_path / "minion.db").exists()


def test_a_home_without_a_store_and_without_runs_may_begin(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    for runs in (tmp_path / "runs", tmp_path / "no such folder"):
        assert examine(tmp_path / "minion.db", minion_id=MINION_ID, runs_dir=runs) is False
    create(tmp_path / "minion.db", MINION_ID)
    assert examine(tmp_path / "minion.db", minion_id=MINION_ID, runs_dir=tmp_path / "runs") is True


def test_a_new_store_is_private_whole_and_alone_in_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "minion.db"
    (tmp_path / "minion.db.new").write_bytes(b"left by a creation that was cut off")
    create(path, MINION_ID)
    assert [entry.name for entry in tmp_path.iterdir()] == ["minion.db"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with read_only(path) as db:
        assert db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"


@pytest.mark.promise("STO-2")
def test_a_store_is_never_made_over_another_one(tmp_path: Path) -> None:
    path = put_three_runs(tmp_path)
    before = path.read_bytes()
    with pytest.raises(StoreUnreadable) as caught:
        create(path, MINION_ID)
    assert caught.value.code == "store_not_made"
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["minion.db"]


def test_a_store_cannot_be_made_in_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StoreUnreadable) as caught:
        create(tmp_path / "gone" / "minion.db", MINION_ID)
    assert (caught.value.code, bool(caught.value.hint)) == ("store_not_made", True)


def test_a_reader_works_when_nobody_writes_and_cannot_write(tmp_path: Path) -> None:
    put_three_runs(tmp_path)
    with read_only(tmp_path / "minion.db") as db:
        assert len(list_runs(db)) == 3
    with pytest.raises(StoreUnreadable, match="readonly"), read_only(tmp_path / "minion.db") as db:
        db.execute("DELETE FROM runs")
    with read_only(tmp_path / "minion.db") as db:
        assert len(list_runs(db)) == 3


def test_a_reader_of_no_store_is_told_to_begin(tmp_path: Path) -> None:
    with pytest.raises(NotFound) as caught, read_only(tmp_path / "minion.db"):
        raise AssertionError("it was opened")
    assert (caught.value.code, caught.value.hint) == ("no_store", "minion routine new --list")
    assert list(tmp_path.iterdir()) == []
