"""A slot that comes due after its routine's change was rejected: skipped, with the decision that lets it run."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from minion.clock import utc_now
from minion.due_runs import DueRuns
from minion.store.decisions import Decision
from minion.store.local_db import read_only
from minion.store.slots import SlotRecord, claim, list_slots
from tests.minion.stored_runs import NOW
from tests.whole.homes import at_work, make_home


def test_a_slot_skipped_for_a_change_that_was_rejected_before_names_the_decision_and_asks_nothing_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    home = make_home(tmp_path)
    slot = SlotRecord("trig_1", "strictly", "@daily|UTC", "k", NOW, NOW)
    decision = Decision("dec_1", "lock", "trig_1", "strictly", "may it run with that?", {}, "reject")

    async def story() -> None:
        async with at_work(home) as minion:
            due = DueRuns(
                minion, utc_now, began=lambda _: None, left=lambda: None, stopping=lambda: False,
                halted=lambda: None,
            )
            await minion.writer.transact(lambda db: claim(db, slot, now=NOW))
            await due._hold(slot, decision)

    asyncio.run(story())
    with read_only(home.store) as db:
        (record,) = list_slots(db)
    assert (record["state"], record["decision_id"]) == ("skipped", "dec_1")
    assert "the change was rejected (dec_1)" in caplog.text
    assert "may it run with that?" not in caplog.text
