"""F27: backups while HQ writes: each is whole, holds what was acknowledged before it began, and restores."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import pytest

from server.actions import escalate
from server.actions.desk import Desk
from server.contract.refusals import Refusal
from server.storage.audit import audit, end_of, read_only
from server.storage.backups import restore
from server.storage.migrations import back_up
from tests.server.desks import ADMIN, BEGIN, desk_at

FULL: Final = 100
SHORT: Final = 5
# After so many a home of its own: writers that never rest make each backup larger than the one before.
AT_A_HOME: Final = 5
WRITERS: Final = 8


def trials(folder: Path, number: int) -> list[str]:
    """So many backups, at several homes; what is wrong with them."""
    homes = [folder / f"home-{first}" for first in range(0, number, AT_A_HOME)]
    return [each for home in homes for each in asyncio.run(backups_while_writing(home, AT_A_HOME))]


async def backups_while_writing(folder: Path, number: int) -> list[str]:
    """So many backups under writers that never rest; what is wrong with them."""
    wrong: list[str] = []
    stop = asyncio.Event()
    acknowledged = [0] * WRITERS

    async def write(desk: Desk, mine: int) -> None:
        while not stop.is_set():
            await desk.database.transact(
                escalate.record_gap, ADMIN, "skill", f"LLM-{mine}", "It cannot.", now=BEGIN
            )
            acknowledged[mine] += 1

    async with desk_at(folder) as desk:
        writing = [asyncio.create_task(write(desk, mine)) for mine in range(WRITERS)]
        for trial in range(number):
            before, begun = list(acknowledged), end_of(folder / "hq" / "hq.db").position
            backup = folder / f"backup-{trial}.db"
            try:
                await asyncio.to_thread(back_up, folder / "hq" / "hq.db", backup)
                seen = await asyncio.to_thread(_wrong, folder, backup, before, begun)
                wrong += [f"{trial}: {each}" for each in seen]
            except Refusal as refusal:
                wrong.append(f"{trial}: {refusal}")
        stop.set()
        await asyncio.gather(*writing)
    return wrong


def _wrong(folder: Path, backup: Path, before: list[int], begun: int) -> list[str]:
    """What is wrong with a backup, and with a home that it is put back into."""
    wrong = [str(each) for each in audit(backup).breaches]
    db = read_only(backup)
    kept = dict(db.execute("SELECT requested_code, frequency FROM gaps").fetchall())
    db.close()
    wrong += [f"gap {each} is behind" for each, count in enumerate(before) if kept.get(f"LLM-{each}", 0) < count]
    end = end_of(backup)
    if end.position < begun:
        wrong.append(f"it ends at {end.position}, the log had come to {begun}")
    store = folder / "restored" / f"{backup.stem}.db"
    store.parent.mkdir(exist_ok=True)
    restore(store, backup, folder=store.parent / "backups", by="test", now=BEGIN)
    wrong += [f"restored: {each}" for each in audit(store, against=end).breaches]
    for path in (backup, store):
        path.unlink()
    return wrong


@pytest.mark.heavy
@pytest.mark.promise("AUD-2")
def test_a_backup_made_while_hq_writes_is_whole_and_restores(tmp_path: Path) -> None:
    assert trials(tmp_path, SHORT) == []


@pytest.mark.faults
@pytest.mark.promise("AUD-2")
def test_every_backup_made_while_hq_writes_is_whole_and_restores(tmp_path: Path) -> None:
    wrong = trials(tmp_path, FULL)
    print(f"\nbackups while HQ writes: {FULL} trials, {len(wrong)} failures; at most {3 / FULL:.1%}")
    assert wrong == []
