"""Backups of HQ's store, putting one back, and bringing a store to a newer version."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from server.contract.digest import instant
from server.contract.refusals import BadDocument, NotFound, Refusal, Refused, StoreFailed, StoreUnreadable
from server.storage.audit import audit, end_of
from server.storage.backups import Restored, restore
from server.storage.migrations import SCHEMA_VERSION, Step, back_up, create, examine, examine_backup, migrate
from server.storage.overview import overview
from server.storage.reading import read_once
from server.storage.token_store import NewToken, list_tokens, make_token, revoke_token
from tests.server.desks import BEGIN, desk_at
from tests.server.tampering import make_log

NOW = datetime(2026, 4, 2, 8, 30, tzinfo=UTC)
pytestmark = pytest.mark.promise("AUD-2")


def put_back(store: Path, backup: Path) -> Restored:
    return restore(store, backup, folder=store.parent / "backups", by="test", now=NOW)


def refusal_of(work: Callable[[], object], kind: type[Refusal]) -> str:
    with pytest.raises(kind) as refused:
        work()
    return refused.value.code


def test_a_backup_is_one_whole_private_file_and_holds_the_same_log(tmp_path: Path) -> None:
    store, end = make_log(tmp_path, 1)
    backup = tmp_path / "b.db"
    back_up(store, backup)
    assert (audit(backup).intact, audit(backup).end) == (True, end)
    assert backup.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.db", "hq"]


def test_no_backup_is_replaced_and_none_is_left_half_made(tmp_path: Path) -> None:
    store, _ = make_log(tmp_path, 1)
    backup = tmp_path / "b.db"
    backup.write_text("mine")
    assert refusal_of(lambda: back_up(store, backup), Refused) == "backup_exists"
    assert backup.read_text() == "mine"
    assert refusal_of(lambda: back_up(store, tmp_path / "no" / "b.db"), StoreFailed) == "backup_failed"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.db", "hq"]


def test_a_restored_store_is_the_backup_and_what_was_there_is_kept(tmp_path: Path) -> None:
    store, end = make_log(tmp_path, 1)
    back_up(store, tmp_path / "b.db")
    asyncio.run(_one_token(tmp_path, "later"))
    later = end_of(store)
    done = put_back(store, tmp_path / "b.db")
    assert done.kept == store.with_name("hq.db.before-20260402T083000Z")
    assert (end_of(done.kept), done.end) == (later, end)
    # One event more: that it was put back.
    assert (audit(store, against=end).intact, end_of(store).position) == (True, end.position + 1)
    since = f"the log was rewritten or cut off: a backup was put back at event {end.position + 1}"
    assert [(each.chain, each.what) for each in audit(store, against=later).breaches] == [("checkpoint", since)]
    asyncio.run(_one_token(tmp_path, "after"))
    again = put_back(store, tmp_path / "b.db")
    assert again.kept == store.with_name("hq.db.before-20260402T083000Z-2")


def test_a_store_that_was_killed_is_kept_with_all_it_acknowledged(tmp_path: Path) -> None:
    store, _ = make_log(tmp_path, 1)
    back_up(store, tmp_path / "b.db")
    body = store.read_bytes()
    asyncio.run(_one_token(tmp_path, "in the log of the store alone", copy_to=tmp_path / "killed"))
    for path in (tmp_path / "killed").iterdir():
        (store.parent / path.name).write_bytes(path.read_bytes())
    assert store.read_bytes() == body  # what was written last lies beside it
    done = put_back(store, tmp_path / "b.db")
    assert done.kept is not None
    # All of it is in the one file: no log of a store lies where another one comes.
    assert list(store.parent.glob("*-wal")) == []
    names = sqlite3.connect(done.kept).execute("SELECT name FROM tokens").fetchall()
    assert names == [("in the log of the store alone",)]


@pytest.mark.promise("TOK-1")
def test_a_token_that_was_revoked_since_the_backup_stays_revoked(tmp_path: Path) -> None:
    async def lived() -> NewToken:
        async with desk_at(tmp_path) as desk:
            made = await desk.database.transact(make_token, "laptop", "session", by="test", now=instant(BEGIN))
            back_up(tmp_path / "hq" / "hq.db", tmp_path / "b.db")
            await desk.database.transact(revoke_token, made.id, by="test", now=instant(BEGIN))
            return made

    made = asyncio.run(lived())
    assert put_back(tmp_path / "hq" / "hq.db", tmp_path / "b.db").revoked == 1

    async def looked() -> list[str]:
        async with desk_at(tmp_path) as desk:
            return [row.id for row in await desk.read(list_tokens) if row.revoked_at is not None]

    assert asyncio.run(looked()) == [made.id]
    assert audit(tmp_path / "hq" / "hq.db").intact


def test_a_backup_that_is_broken_or_none_is_refused_and_the_store_stays(tmp_path: Path) -> None:
    store, end = make_log(tmp_path, 1)
    back_up(store, tmp_path / "b.db")
    db = sqlite3.connect(tmp_path / "b.db")
    db.execute("UPDATE runs SET head = '0'")
    db.commit()
    db.close()
    (tmp_path / "text.db").write_text("no store at all" * 100)
    assert refusal_of(lambda: put_back(store, tmp_path / "b.db"), Refused) == "backup_broken"
    assert refusal_of(lambda: put_back(store, tmp_path / "none.db"), NotFound) == "no_such_backup"
    assert refusal_of(lambda: put_back(store, tmp_path / "text.db"), BadDocument) == "no_backup"
    assert refusal_of(lambda: put_back(store, store), Refused) == "same_file"
    back_up(store, tmp_path / "good.db")
    nowhere = tmp_path / "no" / "hq.db"
    assert refusal_of(lambda: put_back(nowhere, tmp_path / "good.db"), StoreFailed) == "restore_failed"
    assert end_of(store) == end
    assert list(store.parent.glob("*before*")) == []


def test_a_backup_can_be_put_where_there_is_no_store_or_one_that_cannot_be_read(tmp_path: Path) -> None:
    store, end = make_log(tmp_path, 1)
    back_up(store, tmp_path / "b.db")
    fresh = tmp_path / "hq.db"
    assert (put_back(fresh, tmp_path / "b.db").kept, end_of(fresh).position) == (None, end.position + 1)
    store.write_text("what a broken disk left")
    done = put_back(store, tmp_path / "b.db")
    assert done.kept is not None
    assert done.kept.read_text() == "what a broken disk left"
    assert audit(store, against=end).intact


def test_a_backup_is_named_from_where_somebody_stands(tmp_path: Path) -> None:
    store, end = make_log(tmp_path, 1)
    with contextlib.chdir(tmp_path):
        back_up(Path("hq/hq.db"), Path("b.db"))
        assert examine_backup(Path("b.db")) == SCHEMA_VERSION
        assert (audit(Path("b.db")).end, read_once(Path("b.db"), overview)["events"]) == (end, end.position)
        assert put_back(Path("hq/hq.db"), Path("b.db")).end == end
    assert audit(store, against=end).intact


def test_a_store_is_read_where_nobody_may_write_unless_its_newest_entries_lie_beside_it() -> None:
    with tempfile.TemporaryDirectory() as name:  # that of a test is closed to others
        folder = Path(name)
        store, end = make_log(folder, 1)
        asyncio.run(_one_token(folder, "later", copy_to=folder / "killed"))
        later = str(end.position + 1)
        assert _as_somebody_else(folder, store) == later
        assert _as_somebody_else(folder, folder / "killed" / "hq.db") == later  # by what its owner keeps beside it
        (folder / "killed" / "hq.db-shm").unlink()
        assert _as_somebody_else(folder, folder / "killed" / "hq.db") == "store_unreadable"


def add_table(db: sqlite3.Connection) -> None:
    db.execute("CREATE TABLE later (id TEXT)")


def lose_rows(db: sqlite3.Connection) -> None:
    db.execute("CREATE TABLE later (id TEXT)")
    db.execute("DELETE FROM runs")


def fail(db: sqlite3.Connection) -> None:
    db.execute("DELETE FROM gaps")
    db.execute("SELECT * FROM nowhere")


def newer(store: Path, step: Step) -> Path | None:
    to = SCHEMA_VERSION + 1
    return migrate(store, store.parent / "backups", now=NOW, steps={SCHEMA_VERSION: step}, to=to)


def test_a_store_is_backed_up_before_it_is_brought_to_a_newer_version(tmp_path: Path) -> None:
    store, end = make_log(tmp_path, 1)
    backup = newer(store, add_table)
    assert backup == store.parent / "backups" / f"hq-v{SCHEMA_VERSION}-20260402T083000Z.db"
    assert (examine(backup), examine(store, SCHEMA_VERSION + 1)) == (SCHEMA_VERSION, SCHEMA_VERSION + 1)
    assert (end_of(backup), end_of(store)) == (end, end)
    assert newer(store, fail) is None  # it is there already


@pytest.mark.parametrize("step", [lose_rows, fail])
def test_a_step_that_loses_rows_or_fails_leaves_the_store_as_it_was(tmp_path: Path, step: Step) -> None:
    store, end = make_log(tmp_path, 1)
    assert refusal_of(lambda: newer(store, step), StoreFailed) == "migration_failed"
    assert (examine(store), audit(store, against=end).intact) == (SCHEMA_VERSION, True)


def test_a_store_of_this_version_is_left_alone_and_a_newer_one_refused(tmp_path: Path) -> None:
    store = tmp_path / "hq.db"
    create(store)
    assert migrate(store, tmp_path / "backups", now=NOW) is None
    db = sqlite3.connect(store)
    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    db.close()
    assert refusal_of(lambda: migrate(store, tmp_path / "backups", now=NOW), StoreUnreadable) == "store_unreadable"
    assert not (tmp_path / "backups").exists()


async def _one_token(folder: Path, name: str, *, copy_to: Path | None = None) -> None:
    """Have HQ make a token; its files as they lie meanwhile go to `copy_to`, as a kill would leave them."""
    async with desk_at(folder) as desk:
        await desk.database.transact(make_token, name, "session", by="test", now=instant(BEGIN))
        if copy_to is not None:
            shutil.copytree(folder / "hq", copy_to, ignore=shutil.ignore_patterns("lock"))


def _as_somebody_else(above: Path, store: Path) -> str:
    """What reads of a store, audits and queries, say to who may read its folder and not write into it.

    Root may write anywhere: a process of its own gives that up first.
    """
    modes = [(path, path.stat().st_mode) for path in (above, store.parent, *store.parent.iterdir())]
    _read_of(above / "nothing.db")  # what Python loads only now it could not any more
    heard, says = os.pipe()
    for path, _ in modes:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        child = os.fork()
        if child == 0:
            try:
                if os.geteuid() == 0:
                    os.setgid(65534)
                    os.setuid(65534)
                os.write(says, _read_of(store).encode())
            finally:
                os._exit(0)
        os.close(says)
        os.waitpid(child, 0)
        return os.read(heard, 4096).decode()
    finally:
        os.close(heard)
        for path, mode in modes:
            path.chmod(mode)


def _read_of(store: Path) -> str:
    try:
        seen, held = audit(store), read_once(store, overview)
    except Refusal as refused:
        return refused.code
    return str(seen.end.position) if seen.intact and held["events"] == seen.events else repr(seen)
