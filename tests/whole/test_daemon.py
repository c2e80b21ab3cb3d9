"""The daemon as a process: one per home, runs on schedule and on request, changes while it is up, and its end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from minion.config import Home
from minion.store.local_db import read_only
from minion.store.run_history import breaches
from server.contract.refusals import Refused
from tests.faults.kills import processes_of
from tests.waiting import wait_until
from tests.whole.daemons import DONE_S, DaemonAtWork, daemon_up, start_daemon
from tests.whole.homes import make_home, run_cli, run_of, run_process, write_routine, write_skill

pytestmark = pytest.mark.heavy
# Goes on until the file that its input names is there.
WAITS = """
import time
while not os.path.exists(task["routine"]["content"]):
    time.sleep(0.02)
answer(text="done")
"""


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home with a routine that ends at once, and one that waits for a file."""
    home = make_home(tmp_path)
    write_skill(home, "quick", 'answer(text="quick")')
    write_skill(home, "wait", WAITS)
    write_routine(home, "quick", "quick")
    write_routine(home, "slow", "wait", content=str(gate(home)), environment={"env": {"MARK": str(home.root)}})
    return home


def gate(home: Home) -> Path:
    """The file that the slow routine waits for."""
    return home.root / "gate"


@pytest.fixture
def daemon(home: Home) -> Iterator[DaemonAtWork]:
    """A daemon of that home."""
    with daemon_up(home) as up:
        yield up


@pytest.mark.promise("DMN-9")
def test_a_second_daemon_is_refused_and_names_the_first(daemon: DaemonAtWork) -> None:
    second = start_daemon(daemon.home)
    assert second.process.wait(DONE_S) == 3
    said = (daemon.home.root / "daemon.err").read_text()
    assert f"in use by `minion up` (process {daemon.process.pid})" in said
    ended = run_process(daemon.home, "up")
    assert (ended.code, f"process {daemon.process.pid}" in ended.err) == (3, True)
    assert daemon.ask("status")["pid"] == daemon.process.pid


@pytest.mark.promise("DMN-9")
@pytest.mark.promise("STO-4")
def test_every_command_goes_through_the_daemon_that_owns_the_home(daemon: DaemonAtWork, tmp_path: Path) -> None:
    home = daemon.home
    done = run_process(home, "run", "quick", "--json")
    assert done.json()["state"] == "completed", done.err
    file = tmp_path / "new.json"
    new = {"name": "new", "pipeline": ["quick"], "cron_expression": "0 9 * * *", "repositories": []}
    file.write_text(json.dumps(new))
    assert run_cli(home, "routine", "add", file).code == 0
    assert daemon.ask("status")["next_due"] is not None
    assert run_process(home, "schedule", "pause", "new").code == 0
    assert daemon.ask("status")["next_due"] is None
    assert run_cli(home, "routine", "remove", "new").code == 0
    bad = run_cli(home, "routine", "add", home.root / "nothing.json")
    assert (bad.code, "cannot be read" in bad.err) == (2, True)


def test_a_detached_run_is_named_at_once_and_performed_by_the_daemon(daemon: DaemonAtWork) -> None:
    said = run_process(daemon.home, "run", "slow", "--detach")
    run_id = said.out.strip()
    assert run_id.startswith("run_")
    assert wait_until(lambda: daemon.state_of(run_id) == "running", DONE_S)
    gate(daemon.home).touch()
    assert wait_until(lambda: daemon.state_of(run_id) == "completed", DONE_S)


def test_without_a_daemon_nothing_can_be_detached(home: Home) -> None:
    said = run_process(home, "run", "quick", "--detach")
    assert (said.code, "No daemon runs this minion." in said.err) == (3, True)


@pytest.mark.promise("RUN-9")
def test_a_run_is_cancelled_through_the_daemon_and_leaves_no_process(daemon: DaemonAtWork) -> None:
    run_id = daemon.begin("slow")
    assert wait_until(lambda: len(processes_of(daemon.home)) > 3, DONE_S)
    daemon.ask("cancel", run=run_id)
    assert daemon.state_of(run_id) == "cancelled"
    assert wait_until(lambda: {pid for pid, _ in processes_of(daemon.home)} <= {daemon.process.pid}, DONE_S)


def test_an_attached_run_is_stopped_from_its_terminal(daemon: DaemonAtWork) -> None:
    argv = [str(Path(daemon.process.args[0]).with_name("minion")), "--home", str(daemon.home.root)]  # type: ignore[index]
    typed = subprocess.Popen([*argv, "run", "slow"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert wait_until(lambda: len(daemon.ask("status")["running"]) == 1, DONE_S)
        assert wait_until(lambda: "run_" in _stderr_so_far(typed), DONE_S)
        typed.send_signal(signal.SIGINT)
        typed.communicate(timeout=DONE_S)
    finally:
        typed.kill()
        typed.wait()
    assert typed.returncode == 4
    with read_only(daemon.home.store) as db:
        row = db.execute("SELECT state, why FROM runs").fetchone()
    assert tuple(row) == ("cancelled", "stopped from the terminal")


def _stderr_so_far(process: subprocess.Popen[bytes]) -> str:
    assert process.stderr is not None
    os.set_blocking(process.stderr.fileno(), False)
    return (process.stderr.read() or b"").decode()


def test_a_run_whose_client_was_killed_goes_on(daemon: DaemonAtWork) -> None:
    argv = [str(Path(daemon.process.args[0]).with_name("minion")), "--home", str(daemon.home.root)]  # type: ignore[index]
    typed = subprocess.Popen([*argv, "run", "slow"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert wait_until(lambda: len(daemon.ask("status")["running"]) == 1, DONE_S)
    (run_id,) = [run["run"] for run in daemon.ask("status")["running"]]
    typed.kill()
    typed.wait()
    gate(daemon.home).touch()
    assert wait_until(lambda: daemon.state_of(run_id) == "completed", DONE_S)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopping_gives_runs_their_grace_and_then_interrupts_them(home: Home, number: signal.Signals) -> None:
    config = json.loads(home.config_file.read_text())
    home.config_file.write_text(json.dumps(config | {"grace_s": 1}))
    with daemon_up(home) as daemon:
        run_id = daemon.begin("slow")
        assert wait_until(lambda: daemon.state_of(run_id) == "running", DONE_S)
        assert daemon.stop(number) == 0
    run = run_of(home, run_id)
    assert (run["state"], run["why"], run["verdict"]) == ("interrupted", "the minion was stopped", "unknown")
    assert wait_until(lambda: processes_of(home) == [], DONE_S)


def test_a_run_that_ends_within_the_grace_is_completed(home: Home) -> None:
    with daemon_up(home) as daemon:
        run_id = daemon.begin("slow")
        assert wait_until(lambda: daemon.state_of(run_id) == "running", DONE_S)
        daemon.process.send_signal(signal.SIGTERM)
        assert wait_until(lambda: daemon.ask("status")["daemon"]["stopping"], DONE_S)
        with pytest.raises(Refused) as refused:
            daemon.begin("quick")
        assert refused.value.code == "stopping"
        gate(home).touch()
        assert daemon.process.wait(DONE_S) == 0
    assert run_of(home, run_id)["state"] == "completed"


@pytest.mark.promise("DMN-6")
def test_after_a_kill_of_the_daemon_its_run_is_interrupted_and_no_process_is_left(home: Home) -> None:
    with daemon_up(home) as daemon:
        run_id = daemon.begin("slow")
        assert wait_until(lambda: daemon.state_of(run_id) == "running", DONE_S)
        daemon.kill()
        assert wait_until(lambda: processes_of(home) == [], DONE_S)
    with daemon_up(home) as daemon:
        assert daemon.state_of(run_id) == "interrupted"
        assert run_of(home, daemon.run("quick"))["state"] == "completed"
    with read_only(home.store) as db:
        assert breaches(db) == []


@pytest.mark.promise("DMN-10")
def test_a_file_changed_by_hand_changes_that_job_only_and_a_bad_one_nothing(daemon: DaemonAtWork) -> None:
    home = daemon.home
    run_id = daemon.run("quick")
    write_routine(home, "quick", "quick", cron_expression="0 9 * * *", timezone="UTC")
    write_routine(home, "other", "quick", cron_expression="0 10 1 1 *", timezone="UTC")
    assert set(daemon.ask("reload")["changed"]) == {"quick", "other"}
    due = daemon.ask("status")["next_due"]
    assert due[11:16] == "09:00"
    write_routine(home, "quick", "quick", cron_expression="0 9 31 2 *")
    daemon.ask("reload")
    status = daemon.ask("status")
    assert status["next_due"] == due
    assert "never fires" in next(r["problem"] for r in status["routines"] if r["name"] == "quick")
    (home.routines / "other.json").unlink()
    (home.routines / "quick.json").unlink()
    daemon.ask("reload")
    assert daemon.ask("status")["next_due"] is None
    write_routine(home, "quick", "quick", cron_expression="0 9 * * *", timezone="UTC")
    daemon.ask("reload")
    with read_only(home.store) as db:
        last = db.execute("SELECT id FROM runs WHERE routine = 'quick' ORDER BY ordinal DESC").fetchone()[0]
    assert last == run_id


def test_a_routine_whose_file_is_gone_is_said_to_be_gone_at_a_reload(daemon: DaemonAtWork) -> None:
    file = write_routine(daemon.home, "leaving", "quick")
    daemon.ask("reload")
    file.unlink()
    for _ in range(2):  # the daemon may have seen it by itself before
        told = run_cli(daemon.home, "reload")
        assert (told.code, "gone: leaving." in told.out, "changed: nothing" in told.out) == (0, True, True)


@pytest.mark.promise("DMN-12")
def test_a_strict_routine_waits_for_a_person_when_its_skill_has_changed(daemon: DaemonAtWork) -> None:
    home = daemon.home
    write_routine(home, "careful", "quick", lock="strict")
    daemon.run("careful")
    daemon.run("careful")
    write_skill(home, "quick", 'answer(text="changed")')
    with pytest.raises(Refused) as refused:
        daemon.run("careful")
    assert refused.value.code == "lock_changed"
    decision = refused.value.hint.split()[2]
    daemon.ask("decide", decision=decision, answer="reject", by="somebody")
    with pytest.raises(Refused, match="what it runs with was rejected") as refused:
        daemon.run("careful")
    assert refused.value.hint == f"minion decide {decision} approve"
    daemon.ask("decide", decision=decision, answer="approve", by="somebody")
    assert run_of(home, daemon.run("careful"))["state"] == "completed"
    with pytest.raises(Refused) as decided:
        daemon.ask("decide", decision=decision, answer="reject", by="somebody")
    assert decided.value.code == "decided"


@pytest.mark.promise("DMN-8")
def test_halting_stops_what_runs_and_starts_nothing_until_it_is_over(daemon: DaemonAtWork) -> None:
    run_id = daemon.begin("slow")
    assert wait_until(lambda: daemon.state_of(run_id) == "running", DONE_S)
    assert daemon.ask("halt", why="a test")["cancelled"] == [run_id]
    assert daemon.state_of(run_id) == "cancelled"
    with pytest.raises(Refused) as refused:
        daemon.run("quick")
    assert (refused.value.code, refused.value.hint) == ("halted", "minion unhalt")
    daemon.ask("unhalt")
    assert run_of(daemon.home, daemon.run("quick"))["state"] == "completed"


def test_more_runs_than_places_wait_their_turn_and_all_end(home: Home) -> None:
    config = json.loads(home.config_file.read_text())
    home.config_file.write_text(json.dumps(config | {"runs_at_once": 2}))
    with daemon_up(home) as daemon:
        slow = [daemon.begin("slow") for _ in range(2)]
        quick = [daemon.begin("quick") for _ in range(3)]
        assert wait_until(lambda: all(daemon.state_of(run) == "completed" for run in quick), DONE_S)
        states = [daemon.state_of(run) for run in slow]
        assert sorted(states) == ["queued", "running"]
        queued = slow[states.index("queued")]
        daemon.ask("cancel", run=queued)
        assert daemon.state_of(queued) == "cancelled"
        gate(home).touch()
        assert wait_until(lambda: "completed" in [daemon.state_of(run) for run in slow], DONE_S)


def test_a_home_that_cannot_be_opened_is_told_by_up_with_its_exit_code(home: Home) -> None:
    home.store.write_bytes(b"no database at all, but long enough to be taken for one")
    said = run_process(home, "up")
    assert said.code == 3
    assert "cannot be read" in said.err
    assert "hint:" in said.err


def test_up_and_down_say_what_they_did(home: Home) -> None:
    up = run_process(home, "up", "--json")
    try:
        assert (up.code, len(up.json()["routines"])) == (0, 2), up.err
    finally:
        down = run_process(home, "down", "--now", "--json")
    assert down.json() == {"pid": up.json()["pid"], "down": True}
    again = run_process(home, "down")
    assert (again.code, "No daemon runs this minion." in again.err) == (3, True)
    assert not home.socket_file.exists()
