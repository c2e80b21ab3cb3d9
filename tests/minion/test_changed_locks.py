"""What changed since a person last allowed it, as HQ's inbox is told of it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from minion.store.decisions import accept_lock, ask_about_lock, changed_parts, changes_of, list_decisions
from minion.store.local_db import create, read_only
from minion.store.writer import Connection, open_writer

NOW = "2026-04-01T09:00:00.000Z"


@pytest.mark.promise("INB-2")
def test_a_changed_lock_says_of_each_part_what_it_was_and_what_it_is(tmp_path: Path) -> None:
    before = {"routine": "r1", "engine": "script", "skill:a": "sha256:1", "skill:gone": "sha256:2", "tools": "t"}
    after = {"routine": "r2", "engine": "messages", "skill:a": "sha256:3", "skill:new": "sha256:4", "tools": "t"}

    async def put(db: Connection) -> None:
        await accept_lock(db, "trig_1", before, by="test", now=NOW)
        await ask_about_lock(db, "trig_1", "nightly", after, changed_parts(before, after), now=NOW)
        await ask_about_lock(db, "trig_2", "never-ran", {"engine": "script"}, ["engine"], now=NOW)

    async def kept() -> None:
        create(tmp_path / "minion.db", "0b0c4e6e-7d1f-4e0a-9c1e-0a1b2c3d4e5f")
        async with open_writer(tmp_path / "minion.db") as writer:
            await writer.transact(put)

    asyncio.run(kept())
    with read_only(tmp_path / "minion.db") as db:
        nightly, other = [changes_of(db, each["id"]) for each in list_decisions(db)]
    assert nightly == {
        "engine": {"from": "script", "to": "messages"}, "skill:a": {"from": "sha256:1", "to": "sha256:3"},
        "skill:gone": {"from": "sha256:2", "to": None}, "skill:new": {"from": None, "to": "sha256:4"},
    }  # fmt: skip
    assert other == {"engine": {"from": None, "to": "script"}}
