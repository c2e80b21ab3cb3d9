"""The commands beside one real daemon: runs followed and cancelled from other terminals, set-up while it is up."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from minion.config import Home
from minion.doctor import house
from minion.store.local_db import read_only
from minion.store.overview import runs_under_way
from tests.waiting import wait_until
from tests.whole.daemons import DONE_S, DaemonAtWork, daemon_up
from tests.whole.homes import clean_environment, command_line, make_home, run_process, write_routine, write_skill
from tests.whole.refusals_said import Place, Told, say
from tests.whole.sittings import set_up

pytestmark = pytest.mark.heavy
# Says a line as often as its input says, then goes on until the file that its content names is there.
WAITS = """
import time
for number in range(int(task["input"] or 1)):
    print(f"line {number}", file=sys.stderr)
while not os.path.exists(task["routine"]["content"]):
    time.sleep(0.02)
answer(text="done")
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A home with a routine that ends at once, one that waits for a file, and one on a schedule."""
    home = make_home(tmp_path_factory.mktemp("commands"))
    write_skill(home, "quick", 'answer(text="quick")')
    write_skill(home, "wait", WAITS)
    for name, pipeline, fields in (
        ("quick", ["quick"], {}), ("slow", ["wait"], {"content": str(gate(home))}),
        ("timed", ["quick"], {"cron_expression": "0 9 * * *"}),
    ):  # fmt: skip
        write_routine(home, name, *pipeline, **fields)
    return Place(home.root.parent)


@pytest.fixture(scope="module")
def daemon(place: Place) -> Iterator[DaemonAtWork]:
    """Its one daemon."""
    with daemon_up(place.home) as up:
        yield up


@pytest.fixture
def slow(daemon: DaemonAtWork) -> Iterator[str]:
    """A run that goes on until its gate is there; it is over when the test is."""
    gate(daemon.home).unlink(missing_ok=True)
    run_id = daemon.begin("slow")
    yield run_id
    gate(daemon.home).touch()
    assert wait_until(lambda: daemon.state_of(run_id) not in ("queued", "running"), DONE_S)


def gate(home: Home) -> Path:
    """The file that the slow routine waits for."""
    return home.root / "gate"


def printed(told: Told, status: int = 0) -> Any:
    assert (told.exit_code, told.err) == (status, "")
    return json.loads(told.out)


@contextmanager
def terminal(home: Home, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """A command in another terminal, which goes on; it is gone at the end."""
    process = subprocess.Popen(
        command_line(home, *words), env=clean_environment(home), stdin=subprocess.DEVNULL,
        # Unbuffered: `communicate` reads the pipe itself, and would miss what `readline` took in beyond its line.
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0,
        # As at a terminal: who runs tests in a shell's background hands down that Ctrl-C is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.promise("DMN-3")
def test_a_run_is_followed_from_any_terminal_with_each_event_once_and_in_order(
    place: Place, daemon: DaemonAtWork, slow: str
) -> None:
    assert wait_until(lambda: daemon.state_of(slow) == "running", DONE_S)
    line = ("logs", "-f", "slow", "--json")
    with terminal(place.home, *line) as one, terminal(place.home, *line) as other:
        gate(place.home).touch()
        ended = [process.communicate(timeout=DONE_S) for process in (one, other)]
    events = printed(say(place, f"logs {slow} --json"))["events"]
    expected = [{"run": slow, **event} for event in events]
    for out, err in ended:
        assert ([json.loads(line) for line in out.splitlines()], err) == (expected, b"")
    assert [one.returncode, other.returncode] == [0, 0]


@pytest.mark.promise("DMN-3")
def test_ctrl_c_ends_the_following_and_not_the_run(place: Place, daemon: DaemonAtWork, slow: str) -> None:
    with terminal(place.home, "logs", "-f", slow) as following:
        assert following.stdout is not None
        assert slow.encode() in following.stdout.readline()
        following.send_signal(signal.SIGINT)
        following.communicate(timeout=DONE_S)
    assert following.returncode == 130
    assert daemon.state_of(slow) in ("queued", "running")


@pytest.mark.promise("DMN-3")
def test_a_run_is_cancelled_from_any_terminal_which_says_how_it_ended(
    place: Place, daemon: DaemonAtWork, slow: str
) -> None:
    with terminal(place.home, "logs", "-f", slow) as following:
        assert following.stdout is not None
        first = following.stdout.readline()
        ended = run_process(place.home, "cancel", "slow", "--why", "the wrong branch")
        out = first + following.communicate(timeout=DONE_S)[0]
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith("– skipped · slow")
    assert ": the wrong branch." in ended.out
    assert "running → cancelled" in out.decode() or "queued → cancelled" in out.decode()
    assert daemon.state_of(slow) == "cancelled"
    assert say(place, f"cancel {slow}").code == "not_running"


@pytest.mark.promise("DMN-3")
def test_a_run_in_the_foreground_of_another_terminal_is_followed_without_a_daemon(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    write_skill(home, "wait", WAITS)
    write_routine(home, "slow", "wait", content=str(gate(home)))
    with terminal(home, "run", "slow") as running:
        assert wait_until(lambda: _goes_on(home), DONE_S)
        with terminal(home, "logs", "-f", "slow", "--json") as following:
            assert following.stdout is not None
            first = following.stdout.readline()
            told = say(Place(tmp_path), "cancel slow")
            assert (told.code, f"kill -INT {running.pid}" in told.err) == ("home_held", True)
            running.send_signal(signal.SIGINT)
            out = first + following.communicate(timeout=DONE_S)[0]
    last = json.loads(out.splitlines()[-1])
    assert (last["type"], last["data"]["to"]) == ("run.moved", "cancelled")
    events = printed(say(Place(tmp_path), "logs last --json"))["events"]
    assert [json.loads(line)["at"] for line in out.splitlines()] == [event["at"] for event in events]


def _goes_on(home: Home) -> bool:
    if not home.store.exists():
        return False
    with read_only(home.store) as db:
        return any(run["state"] == "running" for run in runs_under_way(db))


@pytest.mark.promise("DMN-1")
def test_status_tells_the_daemon_what_runs_and_what_is_due(place: Place, daemon: DaemonAtWork, slow: str) -> None:
    assert wait_until(lambda: daemon.state_of(slow) == "running", DONE_S)
    said = printed(say(place, "status --json"))
    assert said == daemon.ask("status") | {"daemon": said["daemon"]}
    assert (said["daemon"]["pid"], said["daemon"]["health"], said["pid"]) == (
        daemon.process.pid, "ok", daemon.process.pid
    )  # fmt: skip
    assert [(run["run"], run["routine"]) for run in said["running"]] == [(slow, "slow")]
    routines = {item["name"]: item for item in said["routines"]}
    assert (routines["slow"]["state"], routines["timed"]["state"], routines["quick"]["next"]) == (
        "running", "scheduled", None
    )  # fmt: skip
    assert routines["timed"]["next"] == said["next_due"] == printed(say(place, "next timed --json"))["next"][0]
    told = say(place, "status").out
    assert told.startswith(f"The minion is up: process {daemon.process.pid}, since ")
    assert f"slow  {slow}  since" in told


@pytest.mark.promise("DMN-2")
def test_why_says_of_a_routine_under_a_daemon_that_all_is_ready(place: Place, daemon: DaemonAtWork) -> None:
    said = printed(say(place, "why timed --json"))
    assert (said["state"], said["sentence"].startswith("All is ready: it runs ")) == ("pending", True)
    assert [link["state"] for link in said["links"][:4]] == ["holds"] * 4
    assert printed(say(place, "next timed --json"))["fires"] is True


def test_a_bad_routine_file_is_told_by_reload_status_and_why(place: Place, daemon: DaemonAtWork) -> None:
    file = place.home.routines / "timed.json"
    good = file.read_text()
    try:
        file.write_text(good.replace("0 9 * * *", "99 9 * * *"))
        told = say(place, "reload")
        assert (told.exit_code, "problem  timed:" in told.out) == (1, True)
        (routine,) = [item for item in printed(say(place, "status --json"))["routines"] if item["name"] == "timed"]
        assert (routine["state"], routine["next"] is not None) == ("problem", True)
        assert "Its file is bad" in printed(say(place, "why timed --json"), 1)["sentence"]
    finally:
        file.write_text(good)
    assert printed(say(place, "reload --json")) == {"changed": ["timed"], "gone": [], "problems": {}}


def test_setting_the_minion_up_again_goes_through_its_daemon(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    repository = tmp_path / "shop"
    repository.mkdir()
    subprocess.run(["git", "init", "-q", str(repository)], check=True)
    assert set_up(home, "--yes", "--name", "desk", "--timezone", "Asia/Tokyo").code == 0
    with daemon_up(home) as daemon:
        ended = set_up(home, "--timezone", "Europe/Lisbon", "--repo", str(repository), "--json")
        assert (ended.code, ended.json()["changed"]) == (0, ["timezone", "repositories"]), ended.err
        assert not any(line.endswith(" up") for line in ended.json()["next"])
        routine = json.loads((home.routines / "morning-report.json").read_bytes())
        assert (routine["repositories"], routine["paused"]) == ([str(repository)], True)
        place = Place(tmp_path)
        assert say(place, "schedule resume morning-report").exit_code == 0
        due = printed(say(place, "status --json"))["next_due"]
        assert due == printed(say(place, "next morning-report --json"))["next"][0]
        assert "09:00:00+0" in due  # Lisbon's, and not Tokyo's +09:00
        assert not due.endswith("+09:00")
        assert daemon.process.poll() is None


def test_skills_come_and_go_while_a_daemon_is_up(place: Place, daemon: DaemonAtWork) -> None:
    folder = place.folder / "greet"
    shutil.copytree(place.home.skills / "quick", folder)
    header = folder / "SKILL.md"
    header.write_text(header.read_text().replace("quick", "greet"))
    assert say(place, "skill add greet").exit_code == 0
    write_routine(place.home, "greeting", "greet")
    assert daemon.state_of(daemon.run("greeting")) == "completed"
    assert say(place, "routine remove greeting").exit_code == 0
    assert say(place, "skill remove greet").exit_code == 0


def test_doctor_finds_a_daemon_that_answers_well_and_one_that_does_not_a_problem(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    with daemon_up(home) as daemon:
        (found,) = house.lock(home)
        assert (found.state, f"(process {daemon.process.pid}) is up and answers" in found.says) == ("ok", True)
        daemon.process.send_signal(signal.SIGSTOP)
        try:
            (found,) = house.lock(home)
        finally:
            daemon.process.send_signal(signal.SIGCONT)
        assert (found.state, "does not answer" in found.says) == ("problem", True)
        assert str(found.fix).startswith(f"kill -KILL {daemon.process.pid} && ")


def test_no_command_waits_for_a_daemon_that_hangs_and_what_was_given_up_is_not_done_later(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    write_skill(home, "quick", 'answer(text="quick")')
    write_routine(home, "quick", "quick")
    lines = ("run quick", "run quick --detach", "reload", "halt --why leak", "unhalt", "down --wait 2", "up")
    with daemon_up(home) as daemon, contextlib.ExitStack() as terminals:
        pid = daemon.process.pid
        daemon.run("quick")
        daemon.process.send_signal(signal.SIGSTOP)
        try:
            began = [terminals.enter_context(terminal(home, *line.split())) for line in (*lines, "cancel last")]
            ended = [process.communicate(timeout=DONE_S)[1].decode() for process in began]
            told = say(Place(home.root.parent), "status").out
        finally:
            daemon.process.send_signal(signal.SIGCONT)
        for err in ended:
            assert f"The daemon (process {pid}) does not answer" in err
            assert f"hint: kill -KILL {pid}" in err
        assert "so nothing is halted" in ended[3]
        assert f"--home {home.root} halt --why leak" in ended[3]
        assert f"kill -KILL {pid} && sleep 1 && " in told
        assert wait_until(lambda: "not begun: status" in daemon.log(), DONE_S)
        assert daemon.ask("status")["halted"] is None
        with read_only(home.store) as db:
            assert db.execute("SELECT count(*) FROM runs").fetchone()[0] == 1


def test_init_leaves_a_home_alone_whose_daemon_is_up(place: Place, daemon: DaemonAtWork) -> None:
    told = say(place, "init")
    assert (told.exit_code, "nothing was changed" in told.out) == (0, True)
    assert daemon.process.poll() is None
