"""A writer of a store that says `ack N` after each commit; of its system calls power cuts are made.

Run as `python -m tests.faults.acknowledging STORE MODE NUMBER`; MODE is `FULL`, as the store is, or for controls
`NORMAL` or `OFF`.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from minion.store.slots import SlotRecord, claim, settle
from minion.store.writer import Connection, open_writer

AT = "2026-03-01T00:00:00.000Z"


async def main(store: Path, mode: str, number: int) -> None:
    """Claim and settle so many slots, two commits each."""
    async with open_writer(store) as writer:
        # A pragma says nothing of itself inside a transaction: the connection is this control's to spoil.
        await writer._connection.execute("PRAGMA wal_autocheckpoint = 24")
        if mode != "FULL":
            await writer._connection.execute(f"PRAGMA synchronous = {mode}")
        for count in range(number):
            key = f"slot {count}"

            async def claimed(db: Connection, key: str = key) -> None:
                await claim(db, SlotRecord("trig_1", "one", "t", key, AT, AT), now=AT)

            async def settled(db: Connection, key: str = key) -> None:
                await settle(db, "trig_1", key, "ran", now=AT, run_id=f"run of {key}", why="x" * 300)

            await writer.transact(claimed)
            os.write(1, f"ack {2 * count}\n".encode())
            await writer.transact(settled)
            os.write(1, f"ack {2 * count + 1}\n".encode())


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
