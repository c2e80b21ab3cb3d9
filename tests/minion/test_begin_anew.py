"""From when on a routine's slots are this minion's, where another one saw to them before: gone by once."""

from __future__ import annotations

from pathlib import Path

import pytest

from minion.store.slots import advance, begin_anew, handled
from minion.store.writer import Writer
from tests.minion.stored_runs import LATER, NOW, ROUTINE_ID, with_store

CRON = "0 9 * * *|UTC"


@pytest.mark.promise("JOI-4")
def test_how_far_a_routine_was_handled_is_forgotten_when_it_begins_anew_and_only_then(tmp_path: Path) -> None:
    async def story(writer: Writer) -> list[bool]:
        async def known(begins: dict[str, str]) -> bool:
            await writer.transact(lambda db: begin_anew(db, begins))
            found = await writer.transact(handled)
            await writer.transact(lambda db: advance(db, [(ROUTINE_ID, CRON, LATER), ("other", CRON, LATER)]))
            assert ("other", CRON) in found or not found
            return (ROUTINE_ID, CRON) in found

        now, later = {ROUTINE_ID: NOW}, {ROUTINE_ID: LATER}
        return [await known(begins) for begins in ({}, now, now, later, {}, later, later)]

    # It is not known at first; taken away and given back it begins anew, though at the same instant.
    assert with_store(tmp_path, story) == [False, False, True, False, True, False, True]
