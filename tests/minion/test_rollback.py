"""Rollbacks: what an upgrade found is put back whole, what was there is kept, nobody loses anything unasked."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from minion.config import Home, load_config
from minion.setup.backups import make_backup
from minion.setup.rollback import plan_rollback, roll_back, spell_loss
from minion.store.local_db import SCHEMA_VERSION, read_only
from minion.store.migrations import stored_version
from minion.store.run_history import breaches
from minion.store.upgrade import older, put_back
from minion.store.writer import open_writer
from server.contract.refusals import NotFound, Refused, StoreFailed
from tests.minion.older_stores import NOW, content_of, files_in, put_home_of_version_1, upgraded, with_sql
from tests.minion.stored_runs import Teller, make_order, perform


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home of version 1 with three routines and two runs."""
    return put_home_of_version_1(tmp_path)


@pytest.mark.promise("UPG-2")
def test_an_upgrade_is_taken_back_with_its_files_and_what_was_there_is_kept(home: Home) -> None:
    before, content = files_in(home), content_of(home.store)
    upgraded(home)
    plan, kept = roll_back(home, load_config(home), NOW + timedelta(hours=1), lose=False)
    assert (plan.version, plan.backup.schema, plan.files, spell_loss(plan)) == (SCHEMA_VERSION, 1, (), "")
    assert (stored_version(home.store), content_of(home.store)) == (1, content)
    assert {name: body for name, body in files_in(home).items() if "backups" not in name}.keys() == before.keys()
    assert (kept.schema, kept.why, stored_version(kept.store)) == (SCHEMA_VERSION, "rollback", SCHEMA_VERSION)
    # It is there once more for the next upgrade, and that can be taken back too.
    assert upgraded(home, now=NOW + timedelta(hours=2)).before == 1
    roll_back(home, load_config(home), NOW + timedelta(hours=3), lose=False)
    assert stored_version(home.store) == 1


@pytest.mark.promise("UPG-2")
def test_a_rollback_that_would_lose_something_says_what_and_wants_to_be_told(home: Home) -> None:
    upgraded(home)

    async def more() -> None:
        async with open_writer(home.store) as writer:
            await perform(writer, make_order(7, routine="early"), Teller(7).plain())

    asyncio.run(more())
    with_sql(
        home.store,
        "INSERT INTO slots (routine_id, routine, trigger, key, due_at, shown, count, state, noticed_at,"
        " settled_at) VALUES ('trig_1', 'early', 't', 'k', 'd', 's', 1, 'missed', 'n', 'x')",
        "INSERT INTO decisions VALUES ('dec_1', 'lock', 'trig_1', 'early', '?', '{}', 'o', 'approve', 'a', 'me')",
    )
    (home.routines / "early.json").write_text((home.routines / "early.json").read_text().replace("0 7", "0 6"))
    (home.routines / "new.json").write_text("{}")
    (home.routines / "asked.json").unlink()
    config, before = load_config(home), files_in(home)
    with pytest.raises(Refused) as caught:
        roll_back(home, config, NOW + timedelta(hours=1), lose=False)
    assert (caught.value.code, files_in(home)) == ("would_lose", before)
    run_id = make_order(7).run_id
    lost = f"1 run (newest {run_id}), 1 settled slot, 1 answered decision, 3 changed files (routines/asked.json)"
    assert lost in caught.value.sentence
    plan, kept = roll_back(home, config, NOW + timedelta(hours=1), lose=True)
    assert plan.loss.runs == (run_id,)
    assert plan.files == ("routines/asked.json", "routines/early.json", "routines/new.json")
    assert sorted(path.name for path in home.routines.iterdir()) == ["asked.json", "early.json", "often.json"]
    assert "0 7" in (home.routines / "early.json").read_text()
    assert kept.bodies()["routines/new.json"] == b"{}"


@pytest.mark.promise("UPG-2")
def test_a_rollback_while_others_read_leaves_no_mixture(home: Home) -> None:
    content = content_of(home.store)
    upgraded(home)
    with read_only(home.store) as reader:
        # For as long as they look, what is written lies in the log beside the store.
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM runs").fetchone()[0] == 2
        with_sql(home.store, "UPDATE runs SET why = hex(zeroblob(20000))")
        roll_back(home, load_config(home), NOW + timedelta(hours=1), lose=True)
    assert (stored_version(home.store), content_of(home.store)) == (1, content)
    with older(home.store) as db:
        assert breaches(db) == []


def test_a_backup_that_was_altered_is_not_put_back(home: Home) -> None:
    backup = upgraded(home).backup
    assert backup is not None
    (backup.folder / "routines" / "early.json").write_text("{}")
    with pytest.raises(Refused) as caught:
        plan_rollback(home, load_config(home))
    assert (caught.value.code, stored_version(home.store)) == ("backup_altered", SCHEMA_VERSION)


def test_there_is_nothing_to_take_back_without_a_backup_of_an_upgrade(home: Home) -> None:
    config = load_config(home)
    make_backup(home, 1, "rollback", NOW)
    (home.backups / "minion-v1-20260101T000000Z").mkdir()  # holds no list, and so is none
    with pytest.raises(NotFound) as caught:
        plan_rollback(home, config)
    assert caught.value.code == "no_backup"
    upgraded(home)
    roll_back(home, config, NOW + timedelta(hours=1), lose=False)
    with pytest.raises(NotFound):  # the store is of that version already
        plan_rollback(home, config)


def test_what_cannot_be_put_back_is_said_and_the_store_stays(home: Home) -> None:
    upgraded(home)
    content = content_of(home.store)
    with pytest.raises(StoreFailed) as caught:
        put_back(home.root / "no such copy.db", home.store)
    assert (caught.value.code, content_of(home.store)) == ("put_back_failed", content)
