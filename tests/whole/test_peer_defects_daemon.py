"""Defects 4 to 7 and 15 of the peer that the seed describes: each was seen there, and does not happen here."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from minion.store.local_db import read_only
from server.contract.refusals import Refused
from tests.faults.kills import processes_of
from tests.minion.clockwork import START, Clockwork, at, routine
from tests.waiting import wait_until
from tests.whole.daemons import DONE_S, DaemonAtWork, daemon_up
from tests.whole.homes import make_home, run_cli, write_routine, write_secrets, write_skill
from tests.whole.webhooks import webhook

WAITS = """
import time
while not os.path.exists(task["routine"]["content"]):
    time.sleep(0.02)
answer(text="done")
"""

TELLS = 'answer(text="x", effects=[{"kind": "message", "target": "team", "body": "hi"}])'


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[DaemonAtWork]:
    """A daemon whose routine `slow` goes on until its home has a file `gate`."""
    home = make_home(tmp_path)
    write_skill(home, "wait", WAITS)
    write_routine(home, "slow", "wait", content=str(home.root / "gate"))
    with daemon_up(home) as up:
        yield up


@pytest.mark.heavy
@pytest.mark.promise("DMN-6")
def test_peer_defect_4_a_kill_in_the_middle_of_a_run_leaves_no_row_running_for_ever(daemon: DaemonAtWork) -> None:
    run_id = daemon.begin("slow")
    assert wait_until(lambda: daemon.state_of(run_id) == "running", DONE_S)
    daemon.kill()
    shown = run_cli(daemon.home, "runs", "--json").json()[0]
    assert (shown["id"], shown["state"]) == (run_id, "interrupted")
    with daemon_up(daemon.home):
        assert daemon.state_of(run_id) == "interrupted"


@pytest.mark.promise("DMN-4")
def test_peer_defect_5_a_job_longer_than_its_period_never_overlaps_itself(tmp_path: Path) -> None:
    works = Clockwork(tmp_path, routine("long", "* * * * *"))

    async def scene() -> None:
        await works.up()
        for minute in range(1, 13):
            await works.run_until(START + timedelta(minutes=minute))
            assert len(works.going) == 1
            if minute % 5 == 0:
                await works.end()
        await works.die()

    asyncio.run(scene())
    assert works.states().count("ran") == 3
    assert works.states().count("skipped") == 9


@pytest.mark.promise("DMN-4")
def test_peer_defect_6_missed_runs_are_recorded_and_the_time_zone_is_used(tmp_path: Path) -> None:
    works = Clockwork(tmp_path, routine("tokyo", "0 9 * * *", timezone="Asia/Tokyo"), now=at("2026-03-01T12:00"))

    async def scene() -> None:
        await works.up()
        await works.run_until(at("2026-03-02T00:00"))
        await works.end()
        await works.sleep_until(at("2026-03-05T18:00"))
        await works.die()

    asyncio.run(scene())
    assert works.slots() == [
        ("2026-03-02T09:00+09:00", "ran"), ("2026-03-03T09:00+09:00", "missed"),
        ("2026-03-04T09:00+09:00", "missed"), ("2026-03-05T09:00+09:00", "missed"),
    ]  # fmt: skip


@pytest.mark.heavy
@pytest.mark.promise("RUN-9")
def test_peer_defect_7_a_run_can_be_cancelled_and_ends_with_its_routine(daemon: DaemonAtWork) -> None:
    for end in ("cancel", "remove"):
        run_id = daemon.begin("slow")
        assert wait_until(lambda run=run_id: daemon.state_of(run) == "running", DONE_S)
        if end == "cancel":
            daemon.ask("cancel", run=run_id)
        else:
            assert daemon.ask("routine.remove", name="slow")["cancelled"] == [run_id]
        assert daemon.state_of(run_id) == "cancelled"
        assert wait_until(lambda: {pid for pid, _ in processes_of(daemon.home)} <= {daemon.process.pid}, DONE_S)


@pytest.mark.heavy
@pytest.mark.promise("ENV-2")
def test_peer_defect_15_nothing_listens_on_the_network_and_no_secret_or_foreign_setting_is_touched(
    daemon: DaemonAtWork,
) -> None:
    home = daemon.home
    theirs = home.root.parent / ".claude"
    theirs.mkdir()
    (theirs / "settings.json").write_text('{"model": "theirs"}')
    before = hashlib.sha256((theirs / "settings.json").read_bytes()).hexdigest()
    canary = "canary-5f2c9a7d41"
    with webhook() as hook:
        write_secrets(home, {"team_webhook": hook.url(f"/gone?{canary}")})
        write_skill(home, "tell", TELLS)
        write_routine(home, "tell", "tell", effects=["message:team"])
        daemon.run("tell")
    assert internet_sockets_of(daemon.process.pid) == []
    for path in (home.daemon_log, home.store, home.store.with_name("minion.db-wal"), home.root / "daemon.err"):
        assert canary.encode() not in path.read_bytes()
        assert path.stat().st_mode & 0o077 == 0, path
    assert canary not in " ".join(line for _, line in processes_of(home))
    assert hashlib.sha256((theirs / "settings.json").read_bytes()).hexdigest() == before


def internet_sockets_of(pid: int) -> list[str]:
    """The internet sockets that a process has open."""
    own, found = set[str](), list[str]()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            own.add(link.readlink().name)
    for table in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if f"socket:[{fields[9]}]" in own:
                found.append(f"{table} {fields[1]}")
    return found


@pytest.mark.heavy
@pytest.mark.promise("RUN-6")
@pytest.mark.promise("DMN-11")
def test_peer_defect_15_an_outcome_needs_the_token_of_its_run(daemon: DaemonAtWork) -> None:
    run_id = daemon.begin("slow")
    assert wait_until(lambda: daemon.state_of(run_id) == "running", DONE_S)
    said = {"outcome": "success", "summary": "All is well.", "details": ""}
    with pytest.raises(Refused) as refused:
        daemon.ask("report", run=run_id, token="guessed", report=said)
    assert refused.value.code == "bad_token"
    with read_only(daemon.home.store) as db:
        row = db.execute("SELECT outcome, summary FROM runs WHERE id = ?", (run_id,)).fetchone()
    assert tuple(row) == ("unknown", None)
