"""The unit that has a system start HQ: its text, the HQ it starts, whose file it is; and `hq service` itself."""

from __future__ import annotations

import json
import os
import plistlib
import re
import shutil
import signal
import stat
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from server.asking import is_ready
from server.cli import main
from server.config import HqHome, default_home, owned, read_holder
from server.contract.refusals import NotFound, Refusal, Refused
from server.setup import init_system, service
from server.setup.service import Unit, own_program, place, remove, standing, unit_of
from tests.minion.patients import first_on_path, put_program
from tests.minion.units import ODD, settings, words_of
from tests.waiting import wait_until

pytestmark = pytest.mark.promise("HQM-6")
LINUX = pytest.mark.skipif(os.uname().sysname != "Linux", reason="systemd's words")
ALERT = json.dumps(["notify-send", "HQ says: 100 % $HOME"])


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HqHome:
    """A home in a folder with an odd name, and settings of the user's in the test's folder."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("HQ_PUBLIC_URL", "HQ_LOG", "HQ_ALERT_COMMAND", "HQ_ALERT_SLACK_FILE"):
        monkeypatch.delenv(name, raising=False)
    return HqHome(tmp_path / ODD)


@pytest.fixture
def unit(home: HqHome) -> Unit:
    """The service of that home, not installed."""
    return unit_of(home, 7717, platform="linux")


def command_of(text: str) -> tuple[list[str], dict[str, str]]:
    """What systemd would execute, and the variables that the unit sets."""
    lines = re.findall(r"^Environment=(.*)$", text, re.MULTILINE)
    variables = dict(words_of(line, filled=False)[0].split("=", 1) for line in lines)
    return words_of(settings(text)["ExecStart"], filled=True), variables


def code(do: object) -> str:
    """With which code something is refused."""
    with pytest.raises(Refusal) as said:
        do()  # type: ignore[operator]
    return said.value.code


def test_the_unit_names_program_home_and_port_whatever_their_names_are(home: HqHome, unit: Unit) -> None:
    argv, variables = command_of(unit.text)
    assert argv == [str(unit.program), "--home", str(home.root), "serve", "--port", "7717"]
    assert (Path(argv[0]).is_absolute(), os.access(argv[0], os.X_OK), list(variables)) == (True, True, ["PATH"])
    said = settings(unit.text)
    assert (said["Type"], said["Restart"], said["UMask"]) == ("exec", "on-failure", "0077")
    assert (said["RestartPreventExitStatus"], said["WantedBy"]) == ("2", "default.target")
    assert unit.file.parent.parts[-2:] == ("systemd", "user")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_itself_finds_nothing_wrong_with_the_unit(unit: Unit, tmp_path: Path) -> None:
    place(unit, replace=False)
    argv = ["systemd-analyze", "--user", "--man=no", "verify", str(unit.file)]
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_settings_of_this_shell_go_with_it_but_no_secret(
    home: HqHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = {"HQ_PUBLIC_URL": "https://hq.example.com", "HQ_LOG": "debug", "HQ_ALERT_COMMAND": ALERT}
    for name, value in {**said, "HQ_ALERT_SLACK_FILE": "my address", "HQ_HOME": "/elsewhere"}.items():
        monkeypatch.setenv(name, value)
    unit = unit_of(home, 8080, platform="linux")
    argv, variables = command_of(unit.text)
    assert argv[-1] == "8080"
    del variables["PATH"]
    assert variables == {**said, "HQ_ALERT_SLACK_FILE": str(tmp_path / "my address")}
    monkeypatch.setenv("HQ_ALERT_COMMAND", json.dumps(["curl", "-H", "x: ghp_" + "a" * 36]))
    assert code(lambda: unit_of(home, 7717)) == "unit_secret"
    monkeypatch.setenv("HQ_ALERT_COMMAND", '["a",\n"b"]')
    assert code(lambda: unit_of(home, 7717)) == "unit_words"


def test_each_home_has_a_unit_of_its_own_and_the_default_one_the_plain_name(home: HqHome, unit: Unit) -> None:
    other = unit_of(HqHome(home.root / "other"), 7717, platform="linux")
    assert re.fullmatch(r"minion-hq-[0-9a-f]{8}\.service", unit.name)
    assert other.name != unit.name
    assert unit_of(default_home(), 7717, platform="linux").name == "minion-hq.service"
    assert unit_of(default_home(), 7717, platform="darwin").name == "local.minion-hq"


def test_an_agent_of_launchd_says_the_same_in_its_own_words(
    home: HqHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HQ_ALERT_COMMAND", ALERT)
    unit = unit_of(home, 7717, platform="darwin")
    said = plistlib.loads(unit.text.encode())
    argv = [str(unit.program), "--home", str(home.root), "serve", "--port", "7717"]
    assert (said["ProgramArguments"], said["Label"]) == (argv, unit.name)
    assert (said["RunAtLoad"], said["KeepAlive"], said["Umask"]) == (True, {"SuccessfulExit": False}, 0o077)
    assert said["EnvironmentVariables"]["HQ_ALERT_COMMAND"] == ALERT
    assert said["StandardErrorPath"] == str(home.root / "hq.err")
    assert unit.file == Path.home() / "Library" / "LaunchAgents" / f"{unit.name}.plist"
    assert (standing(unit.text), service.names_program(unit, unit.text)) == ("ours", True)
    assert standing(unit.text.replace("<true/>", "<false/>")) == "edited"


def test_an_installed_program_is_called_by_the_link_that_outlives_it(tmp_path: Path) -> None:
    program, link = tmp_path / "share" / "minion-hq" / "program-1", tmp_path / "bin" / "hq"
    put_program(program / "bin", "hq", "true")
    assert own_program(program) == program / "bin" / "hq"  # somebody took the link away
    link.parent.mkdir()
    link.symlink_to(program / "bin" / "hq")
    assert own_program(program) == link
    assert code(lambda: own_program(tmp_path / "share")) == "no_program"


def test_install_writes_a_private_file_once_and_renews_its_own_but_no_edited_one(home: HqHome, unit: Unit) -> None:
    assert place(unit, replace=False) is True
    assert (unit.file.read_text(), stat.S_IMODE(unit.file.stat().st_mode)) == (unit.text, 0o600)
    assert place(unit, replace=False) is False
    other = unit_of(home, 8080, platform="linux")
    assert place(other, replace=False) is True
    edited = unit.file.read_text().replace("RestartSec=10", "RestartSec=11")
    unit.file.write_text(edited)
    for refused in (lambda: place(unit, replace=False), lambda: remove(unit)):
        assert (code(refused), unit.file.read_text()) == ("unit_edited", edited)
    assert place(unit, replace=True) is True


@pytest.mark.parametrize("kind", ["file", "link", "folder"])
def test_what_somebody_else_put_there_is_left_alone(unit: Unit, kind: str, tmp_path: Path) -> None:
    unit.file.parent.mkdir(parents=True)
    if kind == "file":
        unit.file.write_text("[Service]\nExecStart=/bin/true\n")
    elif kind == "link":
        (tmp_path / "theirs").write_text(unit.text)
        unit.file.symlink_to(tmp_path / "theirs")
    else:
        unit.file.mkdir()
    wanted = "unit_unreadable" if kind == "folder" else "foreign_unit"
    for refused in (lambda: place(unit, replace=True), lambda: remove(unit)):
        assert code(refused) == wanted
    assert unit.file.is_dir() or unit.file.is_symlink() or unit.file.read_text().startswith("[Service]")


def test_uninstall_removes_its_file_and_the_link_that_starts_it_and_nothing_else(unit: Unit) -> None:
    place(unit, replace=False)
    wants = unit.file.parent / "default.target.wants"
    wants.mkdir()
    (wants / unit.name).symlink_to(unit.file)
    (wants / "other.service").symlink_to(unit.file)
    assert remove(unit) == [unit.file, wants / unit.name]
    assert [path.name for path in unit.file.parent.rglob("*.service")] == ["other.service"]
    with pytest.raises(NotFound) as caught:
        remove(unit)
    assert caught.value.code == "no_unit"


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of what `systemctl` is told, by a manager that does as it is told; lingering is off."""
    log, state = tmp_path / "told", tmp_path / "active"
    put_program(tmp_path / "programs", "systemctl", f"""
echo "$*" >> '{log}'
case "$*" in
  *is-enabled*) test -e '{state}' && echo enabled ;;
  *is-active*) test -e '{state}' && echo active ;;
  *enable*|*restart*) touch '{state}' ;;
  *disable*) rm -f '{state}' ;;
esac""")
    put_program(tmp_path / "programs", "loginctl", "echo Linger=no")
    first_on_path(monkeypatch, tmp_path / "programs")
    return log


def acts(told: Path) -> list[str]:
    """What a manager was told to do since it was asked last, questions apart."""
    lines = told.read_text().splitlines() if told.exists() else []
    told.unlink(missing_ok=True)
    return [line.removeprefix("--user ") for line in lines if not re.search(r"is-|show", line)]


def hq(home: HqHome, *arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """`hq service …` in this process: its exit code, stdout and stderr."""
    with pytest.raises(SystemExit) as ended:
        main(["--home", str(home.root), "service", *arguments])
    return int(ended.value.code or 0), *capsys.readouterr()


@LINUX
def test_the_command_writes_says_what_to_type_and_acts_only_when_asked(
    home: HqHome, unit: Unit, told: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = hq(home, "install", capsys=capsys)
    assert (first[0], acts(told), unit.file.exists()) == (0, [], True)
    assert f"systemctl --user enable --now {unit.name}" in first[1]
    assert ("lingering is off" in first[1], "loginctl enable-linger" in first[1]) == (True, True)
    assert "nobody will be told if a minion falls silent" in first[1]
    now = json.loads(hq(home, "install", "--now", "--json", capsys=capsys)[1])
    assert acts(told) == ["daemon-reload", f"enable --now {unit.name}"]
    assert (now["state"], now["active"], now["enabled"]) == ("installed", True, True)
    assert (now["lingers"], now["next"]) == (False, [])
    assert hq(home, "install", "--now", "--port", "8080", capsys=capsys)[0] == 0
    assert acts(told)[-1] == f"restart {unit.name}"
    shown = hq(home, "status", capsys=capsys)[1]
    assert ("it runs, and begins by itself" in shown, '"8080"' in shown) == (True, True)
    assert hq(home, "uninstall", "--now", capsys=capsys)[0] == 0
    assert (acts(told), unit.file.exists()) == ([f"disable --now {unit.name}", "daemon-reload"], False)
    assert json.loads(hq(home, "status", "--json", capsys=capsys)[1])["state"] == "missing"


@LINUX
def test_nothing_is_written_where_now_cannot_be_done_or_a_setting_is_no_good(
    home: HqHome, unit: Unit, told: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    with owned(home, "hq serve"):
        busy = hq(home, "install", "--now", capsys=capsys)
        assert (busy[0], f"held by `hq serve` (process {os.getpid()})" in busy[2]) == (3, True), "home_held"
        assert f"    kill {os.getpid()}    (it is `hq serve`" in hq(home, "install", capsys=capsys)[1]
    assert hq(home, "uninstall", capsys=capsys)[0] == 0
    fails = 'case "$*" in *enable*) echo no such bus >&2; exit 1;; esac; echo 1'
    put_program(tmp_path / "programs", "systemctl", fails)
    failed = hq(home, "install", "--now", capsys=capsys)
    assert (failed[0], "did not work (no such bus)" in failed[2]) == (3, True), "manager_failed"
    remove(unit)
    put_program(tmp_path / "programs", "systemctl", "exit 1")
    nobody = hq(home, "install", "--now", capsys=capsys)
    assert (nobody[0], unit.file.exists()) == (3, False), "no_service_manager"
    monkeypatch.setenv("HQ_ALERT_COMMAND", "mail me")
    bad = hq(home, "install", capsys=capsys)
    assert (bad[0], "HQ_ALERT_COMMAND is no JSON list of words" in bad[2], unit.file.exists()) == (2, True, False)


def test_without_a_manager_nothing_is_claimed_of_a_unit(
    unit: Unit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first_on_path(monkeypatch, tmp_path / "nothing", alone=True)
    stands = init_system.ask(unit)
    assert (stands.usable, stands.enabled, stands.active) == (False, None, None)
    agent = replace(unit, kind="launchd", name="local.minion-hq")
    assert (init_system.ask(agent).usable, init_system.ask(agent).lingers, agent.link) == (False, None, None)


def test_a_file_that_cannot_be_written_is_refused(unit: Unit) -> None:
    unit.file.parent.parent.mkdir(parents=True)
    unit.file.parent.write_text("no folder")
    with pytest.raises(Refused) as caught:
        place(unit, replace=False)
    assert caught.value.code in ("cannot_write", "unit_unreadable")


@pytest.mark.heavy
def test_the_unit_starts_an_hq_with_nothing_but_its_own_variables(
    home: HqHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HQ_LOG", "error")
    unit = unit_of(home, 1, platform="linux")
    argv, variables = command_of(unit.text)
    with (tmp_path / "err").open("wb") as errors:
        server = subprocess.Popen(
            [*argv[:-1], "0"], executable=argv[0], env={"HOME": str(tmp_path), "USER": "somebody", **variables},
            cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True,
        )  # fmt: skip
    try:
        assert wait_until(lambda: (read_holder(home) or {}).get("url"), 60), (tmp_path / "err").read_text()
        holder = read_holder(home)
        assert holder is not None
        assert (holder["pid"], is_ready(holder["url"])) == (server.pid, True)
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0
    finally:
        server.kill()
        server.wait()
    assert '"level"' not in (tmp_path / "err").read_text()
