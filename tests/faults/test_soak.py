"""F28: thirty days in one, by a clock a thousand times as fast; every slot has its record, and nothing grows."""

from __future__ import annotations

import json
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from minion.clock import utc_now
from minion.config import Home
from minion.store.local_db import read_only
from minion.store.run_history import breaches
from server.contract.digest import parse_instant
from tests.bench.processes import memory_of
from tests.faults.slots_audit import come_to_rest, slots_without_a_record
from tests.whole.daemons import DaemonAtWork, daemon_up
from tests.whole.homes import make_home, write_routine, write_skill

LIBRARIES: Final = (
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
)
LIBRARY: Final = next((path for path in LIBRARIES if Path(path).exists()), None)
SPEED: Final = 1000
DAY_S: Final = 86_400
GROWTH: Final = 0.05

pytestmark = pytest.mark.skipif(LIBRARY is None, reason="needs libfaketime")


@dataclass(frozen=True)
class Soaked:
    """What a soak left: records by state, and (MB resident, open files) when it was warm and at the end."""

    slots: Counter[str]
    wrong: list[str]
    warm: tuple[float, int]
    end: tuple[float, int]


def home_for_days(folder: Path) -> Home:
    """A home with a routine each half hour, one each hour and one a day; all of it was admitted before."""
    home = make_home(folder)
    write_skill(home, "quick", 'answer(text="quick")')
    for name, cron in (("half", "*/30 * * * *"), ("hourly", "0 * * * *"), ("daily", "30 9 * * *")):
        write_routine(home, name, "quick", cron_expression=cron, timezone="UTC", catch_up="window",
                      catch_up_window_s=7200, overlap="queue")  # fmt: skip
    with daemon_up(home) as daemon:  # by the machine's own clock: checking a document takes real time
        daemon.run("daily")
        daemon.stop()
    with read_only(home.store) as db:
        assert db.execute("SELECT count(*) FROM slots").fetchone()[0] == 0
    return home


def soaked(folder: Path, days: float, speed: int) -> Soaked:
    """So many days of a daemon, from now on."""
    home = home_for_days(folder)
    pause = threading.Event()
    env = {"LD_PRELOAD": str(LIBRARY), "FAKETIME": f"+0 x{speed}", "TZ": "UTC"}
    with daemon_up(home, env=env) as daemon:
        pause.wait(0.2 * days * DAY_S / speed)
        warm = size_of(daemon)
        pause.wait(0.8 * days * DAY_S / speed)
        end = size_of(daemon)
        daemon.ask("stop")
        daemon.process.wait(60)
    # What waited when it was stopped is performed by a last one, a little later and at an ordinary pace.
    with read_only(home.store) as db:
        reached = parse_instant(db.execute("SELECT max(handled_until) FROM schedules").fetchone()[0])
    wrong = come_to_rest(home, (reached - utc_now()).total_seconds() + 60)
    with read_only(home.store) as db:
        wrong += [*slots_without_a_record(db), *(f"broken chain: {breach}" for breach in breaches(db))]
        # The chain has those too that were pruned.
        sealed = db.execute("SELECT body FROM home_chain WHERE kind = 'slot'").fetchall()
    ends = Counter[str]()
    for said in (json.loads(row["body"]) for row in sealed):
        ends[said["state"]] += said["count"]
    return Soaked(ends, wrong, warm, end)


def size_of(daemon: DaemonAtWork) -> tuple[float, int]:
    """Resident memory in MB, and how many files it has open."""
    pid = daemon.process.pid
    return memory_of(pid)[0], len(list(Path(f"/proc/{pid}/fd").iterdir()))


@pytest.mark.heavy
@pytest.mark.promise("DMN-4")
def test_half_a_day_at_a_fast_clock_leaves_no_slot_without_a_record(tmp_path: Path) -> None:
    found = soaked(tmp_path, 0.5, 2 * SPEED)
    assert found.wrong == []
    assert found.slots["ran"] + found.slots["late"] > 20


@pytest.mark.faults
@pytest.mark.promise("DMN-4")
def test_thirty_days_at_a_fast_clock_leave_no_slot_without_a_record_and_nothing_grows(tmp_path: Path) -> None:
    found = soaked(tmp_path, 30, SPEED)
    (warm, opened), (end, open_at_end) = found.warm, found.end
    print(
        f"F28: 30 days at x{SPEED}: {found.slots.total()} slots, {dict(found.slots)}, {len(found.wrong)} wrong; "
        f"memory {warm:.1f} → {end:.1f} MB ({end / warm - 1:+.1%}), open files {opened} → {open_at_end}"
    )
    assert found.wrong == []
    assert found.slots.total() >= 30 * 73 - 3
    assert end <= warm * (1 + GROWTH)
    assert open_at_end <= opened * (1 + GROWTH) + 1
