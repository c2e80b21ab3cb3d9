"""Upgrades of a store: backed up, compared, refused where the next week would differ, and by whom."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import stat
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest

from minion.admission import routine_candidate
from minion.app import opened
from minion.cli import minion, run
from minion.config import Home, held, load_config
from minion.daemon.plan import MOST_SLOTS
from minion.setup.backups import backups, make_backup
from minion.setup.upgrade import check
from minion.store import migrations
from minion.store.local_db import SCHEMA_VERSION, create, read_only
from minion.store.migrations import migrate, stored_version
from minion.store.routines import list_routines
from minion.store.run_history import breaches
from minion.store.upgrade import older
from server.contract.digest import digest_bytes
from server.contract.refusals import NotFound, Refusal, Refused, StoreFailed, StoreUnreadable
from tests.minion.older_stores import (
    NOW,
    ROUTINES,
    TABLES_OF_1,
    as_version_1,
    content_of,
    files_in,
    home_of_version_1,
    put_home_of_version_1,
    upgraded,
    with_sql,
)
from tests.minion.stored_runs import tamper
from tests.whole.homes import make_home

LATER: Final = "UPDATE routines SET document = replace(document, '0 7 * * *', '0 8 * * *') WHERE name = 'early';"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home of version 1 with three routines and two runs."""
    return put_home_of_version_1(tmp_path)


@pytest.fixture(scope="module")
def remembering(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home of version 1 whose store remembers what the earlier check made of the routine files."""
    return home_of_version_1(tmp_path_factory.mktemp("remembering"), ROUTINES)


def add_step(monkeypatch: pytest.MonkeyPatch, statement: str) -> None:
    """Have the migration do something more."""
    monkeypatch.setitem(migrations.STEPS, 2, migrations.STEPS[2] + statement)


def said(home: Home, *arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """`minion upgrade` in this process: exit code, stdout, stderr."""
    code = run(minion, "minion", ["--home", str(home.root), "upgrade", *arguments])
    return code, *capsys.readouterr()


@pytest.mark.promise("UPG-1")
def test_peer_complaint_5_an_upgrade_keeps_every_routine_run_and_slot(home: Home) -> None:
    before = content_of(home.store)
    done = upgraded(home)
    assert (done.before, done.after, done.routines, done.runs) == (1, SCHEMA_VERSION, 3, 2)
    assert (done.slots, done.differences, done.notes) == (7 + MOST_SLOTS, (), ())
    assert content_of(home.store) == before
    with read_only(home.store) as db:
        assert [kept.name for kept in list_routines(db)] == ["asked", "early", "often"]
        assert breaches(db) == []


@pytest.mark.promise("UPG-1")
def test_a_migrated_store_and_a_fresh_one_have_the_same_tables(home: Home, tmp_path: Path) -> None:
    upgraded(home)
    fresh = tmp_path / "fresh.db"
    create(fresh, load_config(home).minion_id)

    def schema(path: Path) -> set[tuple[str, str]]:
        with older(path) as db:
            return {(row[0], row[1]) for row in db.execute("SELECT name, sql FROM sqlite_schema").fetchall()}

    assert schema(home.store) == schema(fresh)


@pytest.mark.promise("UPG-1")
def test_a_backup_holds_store_routine_files_and_configuration_and_is_private(home: Home) -> None:
    (home.routines / "bad.yaml").write_bytes(b"name: \xff\xfe not text")
    before, content = files_in(home), content_of(home.store)
    backup = upgraded(home).backup
    assert backup is not None
    assert backup.folder == home.backups / "minion-v1-20261122T050000Z"
    assert (backup.schema, backup.why, backup.made_at) == (1, "upgrade", "2026-11-22T05:00:00.000Z")
    assert [found.folder for found in backups(home)] == [backup.folder]
    assert stored_version(backup.store) == 1
    assert content_of(backup.store) == content
    kept = {name: body for name, body in before.items() if name.startswith(("routines/", "minion.json"))}
    assert backup.bodies() == kept
    assert all(stat.S_IMODE(path.stat().st_mode) & 0o077 == 0 for path in home.backups.rglob("*"))


@pytest.mark.promise("UPG-1")
@pytest.mark.parametrize("accept", [False, True])
def test_a_change_of_the_next_week_is_refused_unless_it_is_accepted(
    home: Home, accept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The migration itself moves a routine by an hour.
    add_step(monkeypatch, LATER)
    before, config = files_in(home), load_config(home)
    tried = check(home, config, NOW)
    (differs,) = tried.differences
    told = ("early", "2026-11-22T07:00+01:00", "2026-11-22T08:00+01:00", None)
    assert (differs.routine, differs.was, differs.is_, differs.noted_by) == told
    assert files_in(home) == before
    if accept:
        assert upgraded(home, accept=True).differences == tried.differences
        assert stored_version(home.store) == SCHEMA_VERSION
        return
    with pytest.raises(Refused) as caught:
        upgraded(home)
    assert (caught.value.code, caught.value.exit_code) == ("slots_differ", 3)
    assert "early would be due at 2026-11-22T08:00+01:00 instead of 2026-11-22T07:00" in caught.value.sentence
    assert files_in(home) == before


@pytest.mark.promise("UPG-1")
@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("DELETE FROM routines WHERE name = 'early'", "rows of routines"),
        ("DROP TRIGGER events_keep; DELETE FROM events WHERE ordinal = 1", "rows of events"),
        ("DROP TRIGGER events_stand; UPDATE events SET data = '{}' WHERE ordinal = 1", "the chain run_"),
    ],
)
def test_a_migration_that_loses_something_is_undone(
    home: Home, statement: str, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_step(monkeypatch, f"{statement};")
    before = files_in(home)
    with pytest.raises(StoreFailed, match=what) as caught:
        upgraded(home, accept=True)
    assert (caught.value.code, files_in(home)) == ("upgrade_loses", before)


@pytest.mark.promise("UPG-1")
def test_a_migration_that_fails_half_way_leaves_the_store_as_it_was(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_step(monkeypatch, "CREATE TABLE slots (again TEXT);")
    before = files_in(home)
    with pytest.raises(StoreFailed) as caught:
        upgraded(home)
    assert (caught.value.code, files_in(home)) == ("migration_failed", before)


@pytest.mark.heavy
@pytest.mark.promise("UPG-1")
def test_routine_files_count_as_this_version_will_read_them(remembering: Home) -> None:
    home, config = remembering, load_config(remembering)
    assert check(home, config, NOW).differences == ()
    db = sqlite3.connect(home.store, isolation_level=None)
    try:
        # What the earlier check made of the same bytes was due at eight.
        (text,) = db.execute("SELECT document FROM routines WHERE name = 'early'").fetchone()
        text = text.replace("0 7 * * *", "0 8 * * *")
        digest = digest_bytes(text.encode())
        db.execute("UPDATE routines SET document = ?, digest = ? WHERE name = 'early'", (text, digest))
        db.execute("UPDATE admissions SET document = replace(document, '0 7 * * *', '0 8 * * *')")
    finally:
        db.close()
    (differs,) = check(home, config, NOW).differences
    assert (differs.was, differs.is_) == ("2026-11-22T08:00+01:00", "2026-11-22T07:00+01:00")
    # A file that was changed since it was kept says nothing of what the upgrade does.
    file = home.routines / "early.json"
    file.write_text(file.read_text().replace("0 7 * * *", "0 9 * * *"))
    assert check(home, config, NOW).differences == ()
    # One that this version refuses leaves its last good version in force.
    body = b'{"name": "early", "content": "Say hello", "repositories": [], "cron_expression": "0 7 * * *", "x": 1}'
    file.write_bytes(body)
    known = "document LIKE '%\"early\"%'"
    query = f"INSERT INTO admissions SELECT ?, version, kind, document FROM admissions WHERE {known}"  # noqa: S608
    with_sql(home.store, query, values=(routine_candidate(file, body).digest,))
    (note,) = check(home, config, NOW).notes
    assert (str(file) in note, note.endswith("The last good version of early stays in force.")) == (True, True)
    assert upgraded(home).differences == ()


@pytest.mark.promise("UPG-1")
def test_a_damaged_store_is_not_upgraded(home: Home) -> None:
    body = bytearray(home.store.read_bytes())
    body[8 * 4096 : 20 * 4096] = b"\xff" * 12 * 4096
    home.store.write_bytes(bytes(body))
    with pytest.raises(StoreUnreadable) as caught:
        upgraded(home)
    assert caught.value.code in ("store_damaged", "store_unreadable")
    assert (home.store.read_bytes(), backups(home)) == (bytes(body), [])


def test_a_page_that_no_query_reads_is_found_by_the_integrity_check(home: Home) -> None:
    with_sql(home.store, "PRAGMA writable_schema = ON",
             "UPDATE sqlite_schema SET rootpage = 3 WHERE name = 'gaps_by_run'")  # fmt: skip
    with pytest.raises(StoreUnreadable) as caught:
        upgraded(home)
    assert (caught.value.code, stored_version(home.store)) == ("store_damaged", 1)


def test_a_log_that_was_broken_before_is_told_and_does_not_keep_anybody_back(home: Home) -> None:
    tamper(home.root, "UPDATE events SET data = '{}' WHERE ordinal = 1")
    (note,) = upgraded(home).notes
    assert "The log was broken before the upgrade" in note
    assert stored_version(home.store) == SCHEMA_VERSION


@pytest.mark.promise("UPG-1")
def test_who_opens_an_older_store_upgrades_it_and_says_so_once(home: Home) -> None:
    heard: list[str] = []
    before = content_of(home.store)

    async def story() -> None:
        async with opened(home, "a test", clock=lambda: NOW, alert=heard.append, owns_process=False):
            assert stored_version(home.store) == SCHEMA_VERSION

    for _ in range(2):
        asyncio.run(story())
    (sentence,) = heard
    assert sentence.startswith(f"The run store was upgraded from version 1 to {SCHEMA_VERSION}, with all it held")
    assert str(home.backups) in sentence
    assert content_of(home.store) == before


@pytest.mark.promise("UPG-1")
def test_an_owner_is_refused_where_the_next_week_would_differ_and_the_store_stays(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_step(monkeypatch, LATER)
    before = files_in(home)

    async def story() -> None:
        async with opened(home, "a test", clock=lambda: NOW, alert=print, owns_process=False):
            raise AssertionError("it was opened")

    for _ in range(3):
        with pytest.raises(Refused) as caught:
            asyncio.run(story())
        assert (caught.value.code, "minion upgrade --check" in caught.value.hint) == ("slots_differ", True)
    assert files_in(home) == before


def test_the_newest_five_backups_are_kept_and_drafts_of_killed_owners_go(home: Home) -> None:
    (home.backups / ".minion-v1-20260101T000000Z.99999.part").mkdir(parents=True)
    (home.backups / "notes").mkdir()
    for day in range(6):
        make_backup(home, 1, "upgrade", NOW - timedelta(days=day + 1))
    make_backup(home, 1, "upgrade", NOW - timedelta(days=1))
    upgraded(home)
    names = [path.name for path in sorted(home.backups.iterdir())]
    assert names == [
        "minion-v1-20261119T050000Z", "minion-v1-20261120T050000Z", "minion-v1-20261121T050000Z",
        "minion-v1-20261121T050000Z-2", "minion-v1-20261122T050000Z", "notes",
    ]  # fmt: skip


def test_an_upgrade_that_finds_nothing_to_do_changes_nothing(home: Home) -> None:
    upgraded(home)
    before = files_in(home)
    again = upgraded(home)
    assert (again.before, again.after, again.backup) == (SCHEMA_VERSION, SCHEMA_VERSION, None)
    assert files_in(home) == before


def test_who_only_reads_an_older_store_is_told_to_upgrade_it(home: Home) -> None:
    before = files_in(home)
    with pytest.raises(StoreUnreadable) as caught, read_only(home.store):
        raise AssertionError("it was opened")
    assert (caught.value.code, caught.value.hint, files_in(home)) == ("store_older", "minion upgrade", before)


def test_without_a_store_there_is_nothing_to_upgrade(tmp_path: Path) -> None:
    bare = make_home(tmp_path)
    with pytest.raises(NotFound) as caught:
        upgraded(bare)
    assert caught.value.code == "no_store"


def test_a_backup_that_finds_no_room_stops_the_upgrade(home: Home) -> None:
    home.backups.write_text("somebody's file\n")
    before = files_in(home)
    with pytest.raises(StoreFailed) as caught:
        upgraded(home)
    assert (caught.value.code, files_in(home)) == ("backup_failed", before)


@pytest.mark.promise("UPG-1")
def test_the_command_checks_then_upgrades_then_takes_back(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    before = files_in(home)
    code, out, err = said(home, "--check", capsys=capsys)
    assert (code, err, files_in(home)) == (0, "", before)
    assert f"from version 1 to {SCHEMA_VERSION}, tried on a copy" in out
    assert "3 routines, 2 runs, all chains as they were" in out
    assert "207 slots, as before" in out
    assert out.rstrip().endswith(" upgrade")
    code, out, _ = said(home, "--json", capsys=capsys)
    told = json.loads(out)
    assert (code, told["from"], told["to"], told["upgraded"]) == (0, 1, SCHEMA_VERSION, True)
    assert (told["routines"], told["slots"], told["runs"], told["differences"]) == (3, 207, 2, [])
    assert Path(told["backup"]).parent == home.backups
    code, out, _ = said(home, capsys=capsys)
    assert (code, "nothing to upgrade" in out) == (0, True)
    code, out, _ = said(home, "--rollback", "--json", capsys=capsys)
    told = json.loads(out)
    assert (code, told["from"], told["to"]) == (0, SCHEMA_VERSION, 1)
    assert told["lost"] == {"runs": [], "slots": 0, "decisions": 0}
    code, _, err = said(home, "--rollback", capsys=capsys)
    assert (code, "no backup from before an upgrade" in err) == (2, True)


def test_a_check_that_finds_a_difference_lists_it_and_says_so_by_its_exit_code(
    home: Home, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    add_step(monkeypatch, "UPDATE routines SET removed_at = 'x';")
    code, out, _ = said(home, "--check", "--json", capsys=capsys)
    told = json.loads(out)
    assert (code, [each["routine"] for each in told["differences"]]) == (3, ["early", "often"])
    assert all(each["is"] is None for each in told["differences"])
    code, out, _ = said(home, "--check", capsys=capsys)
    assert (code, "2 routines would be due at other times" in out) == (3, True)
    assert "early would not be due at " in out
    assert out.rstrip().endswith("upgrade --accept")


@pytest.mark.parametrize("words", [("--rollback", "--check"), ("--rollback", "--accept"), ("--yes",)])
def test_what_does_not_go_together_is_refused(
    home: Home, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = said(home, *words, capsys=capsys)
    assert (code, out, "rollback" in err) == (2, "", True), "bad_choice"


def test_a_home_in_use_is_checked_and_not_upgraded_and_its_holder_is_named(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    with held(home, "minion up"):
        assert said(home, "--check", capsys=capsys)[0] == 0
        for words in ((), ("--rollback",)):
            code, _, err = said(home, *words, capsys=capsys)
            assert (code, "in use by `minion up`" in err, "down` has it end" in err) == (3, True, True)
    assert stored_version(home.store) == 1


def test_every_table_of_version_1_is_there_still(tmp_path: Path) -> None:
    create(tmp_path / "new.db", "x")
    as_version_1(tmp_path / "new.db")
    with older(tmp_path / "new.db") as db:
        names = {row[0] for row in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()}
    assert names - {"sqlite_sequence"} == set(TABLES_OF_1)


def test_what_a_migration_shows_before_its_commit_can_undo_it(home: Home) -> None:
    def look(db: sqlite3.Connection) -> None:
        assert db.execute("SELECT count(*) FROM slots").fetchone()[0] == 0
        raise Refused("slots_differ", "No.", hint="minion upgrade")

    before = files_in(home)
    with pytest.raises(Refusal):
        migrate(home.store, SCHEMA_VERSION, look)
    assert files_in(home) == before
