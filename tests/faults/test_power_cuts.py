"""F3: the power is cut at any moment; what was acknowledged is there and the store sound, the controls are not."""

from __future__ import annotations

import random
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from minion.store.chained import home_body
from minion.store.local_db import create
from server.contract.digest import first_broken_link
from tests.faults.kills import ROOT
from tests.faults.power import CALLS, Call, Disk, calls_in

MINION_ID: Final = "11111111-2222-3333-4444-555555555555"
FILES: Final = ("minion.db", "minion.db-wal")
COMMITS: Final = 60
SHORT, FULL, CONTROL = 300, 10_000, 2000

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")


@dataclass
class Found:
    """What power cuts left behind: sound stores, corrupt ones, and those that lost what was acknowledged."""

    ends: Counter[str] = field(default_factory=Counter)

    def told(self, title: str) -> str:
        """One line of figures."""
        states, bad = self.ends.total(), self.ends.total() - self.ends["sound"]
        bound = "" if bad else f", bound {3 / states:.2%}"
        return f"{title}: {states} states, {self.ends['corrupt']} corrupt, {self.ends['lost']} lost an ack{bound}"


def recorded(folder: Path, mode: str) -> tuple[dict[str, bytearray], list[Call]]:
    """A store before it was written to, and all calls of a writer of it."""
    store, log = folder / "minion.db", folder / "strace.log"
    create(store, MINION_ID)
    before = {file: bytearray((folder / file).read_bytes()) for file in FILES if (folder / file).exists()}
    argv = ("strace", "-f", "-qq", "-y", "-xx", "-s", "1000000", "-o", str(log), "-e", f"trace={CALLS}")
    writer = (sys.executable, "-m", "tests.faults.acknowledging", str(store), mode, str(COMMITS // 2))
    done = subprocess.run([*argv, *writer], cwd=ROOT, capture_output=True, check=True)
    calls = calls_in(log, files=FILES)
    assert sum(call.kind == "ack" for call in calls) == COMMITS == done.stdout.count(b"ack")
    assert sum(call.kind == "sync" for call in calls) > COMMITS or mode != "FULL"
    return before, calls


def cut(folder: Path, mode: str, states: int) -> Found:
    """So many power cuts of one writer, at random moments."""
    folder.mkdir()
    before, calls = recorded(folder, mode)
    chance, found = random.Random(20261122), Found()  # noqa: S311 - which writes survive, no secrets
    place = folder / "found"
    moments = sorted(chance.randrange(len(calls) + 1) for _ in range(states))
    disk, taken = Disk({file: bytearray(body) for file, body in before.items()}), 0
    for moment in moments:
        while taken < moment:
            disk.take(calls[taken])
            taken += 1
        place.mkdir()
        for file, body in disk.after_a_cut(chance).items():
            (place / file).write_bytes(body)
        found.ends[state_of(place / "minion.db", disk.acked)] += 1
        shutil.rmtree(place)
    return found


def state_of(store: Path, acked: int) -> str:
    """`sound`, `corrupt`, or `lost` when a commit that was acknowledged is not there."""
    try:
        db = sqlite3.connect(store)
        try:
            db.row_factory = sqlite3.Row
            if db.execute("PRAGMA integrity_check").fetchone()[0] != "ok":
                return "corrupt"
            chain = db.execute("SELECT * FROM home_chain ORDER BY position").fetchall()
            slots = {row["key"]: row["state"] for row in db.execute("SELECT key, state FROM slots").fetchall()}
        finally:
            db.close()
    except sqlite3.DatabaseError:
        return "corrupt"
    if first_broken_link((home_body(r["kind"], r["ref"], r["body"]), r["hash"]) for r in chain) is not None:
        return "corrupt"
    settled = sum(state == "ran" for state in slots.values())
    if len(chain) != settled:
        return "corrupt"
    # Commit 2n claims slot n, commit 2n + 1 settles it.
    return "sound" if len(slots) >= acked // 2 + 1 - (acked < 0) and settled >= (acked + 1) // 2 else "lost"


@pytest.mark.heavy
@pytest.mark.promise("STO-5")
def test_after_some_power_cuts_all_that_was_acknowledged_is_there(tmp_path: Path) -> None:
    assert dict(cut(tmp_path / "full", "FULL", SHORT).ends) == {"sound": SHORT}


@pytest.mark.heavy
@pytest.mark.promise("STO-5")
@pytest.mark.parametrize(("mode", "fault"), [("NORMAL", "lost"), ("OFF", "corrupt")])
def test_the_controls_with_weaker_syncing_fail_so_a_failure_would_be_seen(
    tmp_path: Path, mode: str, fault: str
) -> None:
    assert cut(tmp_path / mode, mode, SHORT).ends[fault] > 0


@pytest.mark.faults
@pytest.mark.promise("STO-5")
def test_after_ten_thousand_power_cuts_all_that_was_acknowledged_is_there(tmp_path: Path) -> None:
    full = cut(tmp_path / "full", "FULL", FULL)
    print(full.told("F3: power cuts at synchronous=FULL, as the store is"))
    for mode in ("NORMAL", "OFF"):
        print(cut(tmp_path / mode, mode, CONTROL).told(f"F3: control at synchronous={mode}, which must fail"))
    assert dict(full.ends) == {"sound": FULL}
