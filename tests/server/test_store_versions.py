"""A store that an earlier program made is brought to this version whole, and goes on as one made today."""

from __future__ import annotations

import asyncio
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from server.actions.fire import run_routine
from server.actions.publish import update_routine
from server.storage.audit import audit
from server.storage.definition_store import find_routine
from server.storage.epoch import epoch
from server.storage.migrations import SCHEMA_VERSION, create, examine, migrate
from tests.server.desks import ADMIN, Clock, desk_at
from tests.server.joined_minions import act
from tests.server.wired_minions import WiredMinion

NOW = datetime(2026, 6, 1, tzinfo=UTC)
WRITTEN = Path(__file__).with_name("version_1.sql")
INFO, COUNT = "PRAGMA table_info({})", "SELECT count(*) FROM {}"


def version_1(folder: Path) -> Path:
    """A store of version 1 in a home of this folder, with all that can be in one."""
    store = folder / "hq" / "hq.db"
    store.parent.mkdir(mode=0o700)
    db = sqlite3.connect(store)
    db.executescript(WRITTEN.read_text(encoding="utf-8"))
    db.close()
    return store


def shape_of(store: Path) -> dict[str, Any]:
    """The tables of a store, their columns in whatever order, and its indexes and triggers as they are made."""
    db = sqlite3.connect(store)
    names = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    shape: dict[str, Any] = {}
    for name in names:
        columns = db.execute(INFO.format(name)).fetchall()
        unique = {
            tuple(column for _, _, column in db.execute(f"PRAGMA index_info({index})"))
            for _, index, _, origin, _ in db.execute(f"PRAGMA index_list({name})") if origin in ("u", "pk")
        }  # fmt: skip
        shape[name] = ({(column[1], *column[2:]) for column in columns}, unique)
    made = db.execute("SELECT name, sql FROM sqlite_master WHERE type IN ('index', 'trigger') AND sql IS NOT NULL")
    shape |= {name: " ".join(sql.split()) for name, sql in made}
    db.close()
    return shape


def test_a_store_of_version_1_has_the_shape_of_a_new_one_once_it_is_upgraded(tmp_path: Path) -> None:
    store, new = version_1(tmp_path), tmp_path / "new.db"
    create(new)
    assert examine(store) == 1
    assert shape_of(store) != shape_of(new)
    kept = migrate(store, tmp_path / "backups", now=NOW)
    assert (examine(store), kept is not None and examine(kept)) == (SCHEMA_VERSION, 1)
    assert shape_of(store) == shape_of(new)


@pytest.mark.promise("GIV-7")
def test_all_that_was_in_a_store_of_version_1_is_there_and_follows_from_its_log(tmp_path: Path) -> None:
    store = version_1(tmp_path)
    db = sqlite3.connect(store)
    db.execute("INSERT INTO minions VALUES ('m', 'alice', '[]', '{\"timezone\":\"UTC\"}', 'then', NULL, 'now')")
    db.commit()
    before = {name: db.execute(COUNT.format(name)).fetchone()[0] for name in ("runs", "events", "orders")}
    db.close()
    migrate(store, tmp_path / "backups", now=NOW)
    seen = audit(store)
    assert [(each.chain, each.what) for each in seen.breaches] == [
        ("minions", "m: no event says that it was made"),  # nobody could join: it was put there by hand
    ]
    db = sqlite3.connect(store)
    after = {name: db.execute(COUNT.format(name)).fetchone()[0] for name in before}
    row = db.execute("SELECT name, said, left_at, live, told FROM minions").fetchone()
    (handled,) = db.execute("SELECT handled_until = changed_at FROM routines WHERE name = 'nightly'").fetchone()
    db.close()
    assert (after, row, handled) == (before, ("alice", '{"timezone":"UTC"}', "now", "{}", None), 1)


def test_an_upgraded_store_is_worked_with_and_put_back_like_any_other(tmp_path: Path) -> None:
    store = version_1(tmp_path)
    clock = Clock()
    clock.now = NOW

    async def lived() -> None:
        async with desk_at(tmp_path, clock) as desk:
            assert len(await desk.read(epoch)) == 16
            alice = await WiredMinion(desk, "alice").hello()
            await act(desk, update_routine, "nightly", {"cron_expression": "0 3 * * *"}, who=ADMIN)
            held = await desk.read(find_routine, "nightly")
            assert held.minion_id == alice.id  # whoever wrote the fixture called her so
            await alice.catch_up()
            assert alice.starts() == ["nightly"]
            await act(desk, run_routine, desk.processes, "nightly")
            assert (await alice.poll())["orders"][-1]["kind"] == "run"

    asyncio.run(lived())
    assert audit(store).breaches == []
