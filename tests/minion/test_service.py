"""The unit that has a system start a minion: its text, the daemon it starts, and whose file it is."""

from __future__ import annotations

import os
import plistlib
import re
import shutil
import signal
import socket
import stat
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from minion.config import Home, default_home, load_config
from minion.daemon_client import connected
from minion.setup import service
from minion.setup.service import Unit, own_program, path_in, place, remove, standing, unit_of
from server.contract.refusals import NotFound, Refused
from tests.minion.patients import put_program
from tests.minion.units import command_of, oddly_named_home, settings
from tests.waiting import wait_until
from tests.whole.homes import make_home, run_process, write_routine, write_skill


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A home in a folder with an odd name, and settings of the user's in the test's folder."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return oddly_named_home(tmp_path)


@pytest.fixture
def unit(home: Home) -> Unit:
    """The service of that home, not installed."""
    return unit_of(home, load_config(home), platform="linux")


@pytest.mark.promise("SVC-1")
def test_the_unit_names_program_and_home_whatever_their_names_are(home: Home, unit: Unit) -> None:
    argv, variables = command_of(unit.text)
    assert argv == [str(unit.program), "--home", str(home.root), "up", "--foreground"]
    assert (Path(argv[0]).is_absolute(), os.access(argv[0], os.X_OK)) == (True, True)
    assert variables == {"PATH": unit.path}
    said = settings(unit.text)
    assert (said["Type"], said["NotifyAccess"], said["KillMode"]) == ("notify", "main", "mixed")
    assert (said["Restart"], said["UMask"], said["Delegate"]) == ("on-failure", "0077", "yes")
    assert int(said["TimeoutStopSec"]) > load_config(home).grace_s
    assert said["WantedBy"] == "default.target"


@pytest.mark.promise("SVC-1")
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_itself_finds_nothing_wrong_with_the_unit(unit: Unit, tmp_path: Path) -> None:
    place(unit, replace=False)
    argv = ["systemd-analyze", "--user", "--man=no", "verify", str(unit.file)]
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_each_home_has_a_unit_of_its_own_and_the_default_one_the_plain_name(
    home: Home, unit: Unit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    config = load_config(home)
    other = unit_of(Home(tmp_path / "other"), config, platform="linux")
    plain = unit_of(default_home(), config, platform="linux")
    assert re.fullmatch(r"minion-[0-9a-f]{8}\.service", unit.name)
    assert other.name not in (unit.name, plain.name)
    assert plain.name == "minion.service"
    assert unit_of(default_home(), config, platform="darwin").name == "local.minion"
    assert unit.file == tmp_path / "config" / "systemd" / "user" / unit.name
    assert f"Description=Minion {config.name} (" in unit.text


def test_a_service_is_given_the_path_of_this_shell_but_nothing_loose_in_it(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, open_to_all = tmp_path / "my own", tmp_path / "open"
    for folder in (mine, open_to_all):
        folder.mkdir()
    open_to_all.chmod(0o777)
    wanted = [str(mine), "relative", ".", "", str(tmp_path / "gone"), str(open_to_all), "/usr/bin", str(mine)]
    monkeypatch.setenv("PATH", os.pathsep.join(wanted))
    unit = unit_of(home, load_config(home), platform="linux")
    folders = unit.path.split(os.pathsep)
    assert folders[:2] == [str(mine), "/usr/bin"]
    assert (len(folders), "/bin" in folders) == (len(set(folders)), True)
    assert not {str(open_to_all), str(tmp_path / "gone"), "relative", "."} & set(folders)
    assert path_in(unit.text) == unit.path


def test_an_agent_of_launchd_says_the_same_in_its_own_words(home: Home) -> None:
    unit = unit_of(home, load_config(home), platform="darwin")
    said = plistlib.loads(unit.text.encode())
    argv = [str(unit.program), "--home", str(home.root), "up", "--foreground", "--quiet"]
    assert (said["ProgramArguments"], said["Label"]) == (argv, unit.name)
    assert (said["RunAtLoad"], said["KeepAlive"], said["Umask"]) == (True, {"SuccessfulExit": False}, 0o077)
    assert (said["EnvironmentVariables"], said["ExitTimeOut"]) == ({"PATH": unit.path}, 70)
    assert said["StandardErrorPath"] == str(home.root / "daemon.err")
    assert unit.file == Path.home() / "Library" / "LaunchAgents" / f"{unit.name}.plist"
    assert (standing(unit.text), path_in(unit.text)) == ("ours", unit.path)
    assert standing(unit.text.replace("<true/>", "<false/>")) == "edited"


def test_a_home_whose_path_no_unit_can_name_is_refused(tmp_path: Path) -> None:
    config = load_config(make_home(tmp_path))
    with pytest.raises(Refused) as caught:
        unit_of(Home(tmp_path / "two\nlines"), config, platform="linux")
    assert caught.value.code == "unit_path"


def test_a_program_that_is_not_there_is_no_service(tmp_path: Path) -> None:
    with pytest.raises(Refused) as caught:
        own_program(tmp_path)
    assert (caught.value.code, caught.value.hint) == ("no_program", "make install")


def test_an_installed_program_is_called_by_the_link_that_outlives_it(tmp_path: Path) -> None:
    program, link = tmp_path / "share" / "minion-hq" / "program-1", tmp_path / "bin" / "minion"
    put_program(program / "bin", "minion", "true")
    assert own_program(program) == program / "bin" / "minion"  # somebody took the link away
    link.parent.mkdir()
    link.symlink_to(program / "bin" / "minion")
    assert own_program(program) == link


@pytest.mark.promise("SVC-1")
def test_install_writes_a_private_file_once_and_renews_its_own(home: Home, unit: Unit) -> None:
    assert place(unit, replace=False) is True
    assert (unit.file.read_text(), stat.S_IMODE(unit.file.stat().st_mode)) == (unit.text, 0o600)
    assert place(unit, replace=False) is False
    # Another grace period makes another unit, which takes the place of what nobody edited.
    later = unit_of(home, replace(load_config(home), grace_s=99), platform="linux")
    assert place(later, replace=False) is True
    assert "TimeoutStopSec=159" in unit.file.read_text()


@pytest.mark.promise("SVC-1")
def test_an_edited_unit_is_replaced_only_when_told_and_never_removed(unit: Unit) -> None:
    place(unit, replace=False)
    edited = unit.file.read_text().replace("RestartSec=10", "RestartSec=11")
    unit.file.write_text(edited)
    later = replace(unit, text=service.marked(unit.text.partition("\n")[2] + "# new\n"))
    for refused in (lambda: place(later, replace=False), lambda: remove(unit)):
        with pytest.raises(Refused) as caught:
            refused()
        assert (caught.value.code, unit.file.read_text()) == ("unit_edited", edited)
    assert place(later, replace=True) is True
    assert unit.file.read_text() == later.text


@pytest.mark.promise("SVC-1")
@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_file_of_somebody_else_is_left_alone(unit: Unit, kind: str, tmp_path: Path) -> None:
    unit.file.parent.mkdir(parents=True)
    if kind == "file":
        unit.file.write_text("[Service]\nExecStart=/bin/true\n")
    else:
        (tmp_path / "theirs").write_text(unit.text)  # a copy of ours that they keep elsewhere
        unit.file.symlink_to(tmp_path / "theirs")
    before = unit.file.read_text()
    for refused in (lambda: place(unit, replace=True), lambda: remove(unit)):
        with pytest.raises(Refused) as caught:
            refused()
        assert (caught.value.code, unit.file.read_text()) == ("foreign_unit", before)


@pytest.mark.promise("SVC-1")
def test_uninstall_removes_its_file_and_the_link_that_starts_it_and_nothing_else(unit: Unit) -> None:
    place(unit, replace=False)
    wants = unit.file.parent / "default.target.wants"
    wants.mkdir()
    (wants / unit.name).symlink_to(unit.file)
    (wants / "other.service").symlink_to(unit.file)
    (unit.file.parent / "other.service").write_text("theirs")
    assert remove(unit) == [unit.file, wants / unit.name]
    assert sorted(path.name for path in unit.file.parent.rglob("*")) == [
        "default.target.wants", "other.service", "other.service",
    ]  # fmt: skip
    with pytest.raises(NotFound) as caught:
        remove(unit)
    assert caught.value.code == "no_unit"


def test_what_lies_there_and_is_no_file_is_refused(unit: Unit) -> None:
    unit.file.mkdir(parents=True)
    with pytest.raises(Refused) as caught:
        place(unit, replace=True)
    assert caught.value.code == "unit_unreadable"


@pytest.mark.heavy
@pytest.mark.promise("SVC-1")
def test_the_unit_starts_a_daemon_with_nothing_but_its_own_variables(
    home: Home, unit: Unit, tmp_path: Path
) -> None:
    write_skill(home, "say", 'answer(text="hello")')
    write_routine(home, "greet", "say", sandbox="required")
    place(unit, replace=False)
    argv, variables = command_of(unit.file.read_text())
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        address = str(tmp_path / "notify")
        manager.bind(address)
        manager.settimeout(30)
        bare = {"HOME": str(tmp_path), "USER": "somebody", "NOTIFY_SOCKET": address, **variables}
        daemon = subprocess.Popen(
            argv, executable=argv[0], env=bare, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        try:
            assert manager.recv(100) == b"READY=1"
            client = connected(home)
            assert client is not None
            with client:
                live: dict[str, Any] = client.ask("live", {}, timeout_s=30)
            # It was not left to a child: what the manager watches is the daemon itself.
            assert (live["pid"], live["health"]) == (daemon.pid, "ok")
            done = run_process(home, "run", "greet", "--json")
            assert (done.code, done.json()["sandbox"]) == (0, "bubblewrap"), done.err
            daemon.send_signal(signal.SIGTERM)
            assert manager.recv(100) == b"STOPPING=1"
            assert daemon.wait(30) == 0
        finally:
            daemon.kill()
            said = daemon.communicate()[1].decode()
    assert "up: 1 routines" in said
    assert wait_until(lambda: connected(home) is None, 10)
