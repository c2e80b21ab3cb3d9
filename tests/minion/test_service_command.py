"""`minion service`, with a stand-in for systemctl that notes what it is told; and `minion uninstall` beside it."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest

from minion.cli import minion, run
from minion.config import Home, held, load_config
from minion.setup.init_system import ask
from minion.setup.service import Unit, unit_of
from tests.minion.patients import first_on_path, put_program
from tests.minion.units import oddly_named_home
from tests.whole.homes import Ended

pytestmark = pytest.mark.skipif(os.uname().sysname != "Linux", reason="systemd's words")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A home in a folder with an odd name, and settings of the user's in the test's folder."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return oddly_named_home(tmp_path)


@pytest.fixture
def unit(home: Home) -> Unit:
    """The service of that home, not installed."""
    return unit_of(home, load_config(home), platform="linux")


def said(home: Home, *arguments: str, capsys: pytest.CaptureFixture[str]) -> Ended:
    """`minion service …` in this process."""
    code = run(minion, "minion", ["--home", str(home.root), "service", *arguments])
    return Ended(code, *capsys.readouterr())


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


@pytest.mark.promise("SVC-1")
def test_install_writes_says_what_to_type_and_acts_only_when_asked(
    home: Home, unit: Unit, told: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = said(home, "install", capsys=capsys)
    assert (first.code, acts(told), unit.file.exists()) == (0, [], True)
    assert f"systemctl --user enable --now {unit.name}" in first.out
    assert "lingering is off" in first.out
    assert "loginctl enable-linger" in first.out
    now = said(home, "install", "--now", "--json", capsys=capsys).json()
    assert acts(told) == ["daemon-reload", f"enable --now {unit.name}"]
    assert (now["state"], now["active"], now["enabled"]) == ("current", True, True)
    assert (now["lingers"], now["next"]) == (False, [])
    shown = said(home, "show", capsys=capsys)
    assert "installed, up to date" in shown.out
    assert "it runs, and begins by itself" in shown.out
    assert shown.out.endswith(unit.text.splitlines()[-1] + "\n")
    gone = said(home, "uninstall", "--now", capsys=capsys)
    assert acts(told) == [f"disable --now {unit.name}", "daemon-reload"]
    assert (gone.code, unit.file.exists()) == (0, False)
    assert said(home, "show", "--json", capsys=capsys).json()["state"] == "missing"


def test_a_service_that_runs_goes_on_by_its_renewed_unit_and_outlives_its_file(
    home: Home, unit: Unit, told: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said(home, "install", "--now", capsys=capsys)
    config = json.loads(home.config_file.read_text()) | {"grace_s": 30}
    home.config_file.write_text(json.dumps(config))
    assert "out of date" in said(home, "show", capsys=capsys).out
    acts(told)
    assert said(home, "install", "--now", capsys=capsys).code == 0
    assert acts(told)[-1] == f"restart {unit.name}"
    left = said(home, "uninstall", capsys=capsys)
    assert (left.code, acts(told)) == (0, ["daemon-reload"])
    assert "it still runs; to stop it: " in left.out


def test_nothing_is_written_where_now_cannot_be_done(
    home: Home, unit: Unit, told: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with held(home, "minion up"):
        busy = said(home, "install", "--now", capsys=capsys)
    assert (busy.code, "in use by `minion up`" in busy.err, unit.file.exists()) == (3, True, False)
    put_program(tmp_path / "programs", "systemctl", "exit 1")
    nobody = said(home, "install", "--now", capsys=capsys)
    assert (nobody.code, unit.file.exists()) == (3, False), "no_service_manager"
    assert nobody.err.startswith("minion: The user's systemd cannot be asked here; nothing was written.")
    # The file alone can be written all the same: another machine's manager may read this folder.
    written = said(home, "install", capsys=capsys)
    assert (written.code, "\n  next\n" in written.out) == (0, False)
    assert "for a session in which the user's systemd can be asked\n    systemctl --user d" in written.out
    fails = 'case "$*" in *enable*) echo no such bus >&2; exit 1;; esac; echo 1'
    put_program(tmp_path / "programs", "systemctl", fails)
    failed = said(home, "install", "--now", capsys=capsys)
    assert (failed.code, "did not work (no such bus)" in failed.err) == (3, True), "manager_failed"


@pytest.mark.promise("CLI-9")
def test_uninstalling_the_minion_takes_its_service_away_first(
    home: Home, unit: Unit, told: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(home.root.parent.parent))
    said(home, "install", "--now", capsys=capsys)
    for name in ("socket", "daemon.log", "daemon.log.1", "daemon.err"):
        (home.root / name).write_text("what a daemon leaves\n")
    (home.backups / "minion-v1-20261122T050000Z").mkdir(parents=True)
    acts(told)
    with held(home, "minion up"):
        code = run(minion, "minion", ["--home", str(home.root), "uninstall", "--yes"])
    assert (code, "down` has it end" in capsys.readouterr().err, unit.file.exists()) == (3, True, True)
    assert run(minion, "minion", ["--home", str(home.root), "uninstall", "--yes", "--json"]) == 0
    removed = json.loads(capsys.readouterr().out)["removed"]
    assert {"what": "service", "path": str(unit.file)} in removed
    assert (unit.file.exists(), home.root.exists()) == (False, False)
    assert acts(told) == [f"disable --now {unit.name}", "daemon-reload"]


def test_without_a_manager_nothing_is_claimed_of_a_unit(
    unit: Unit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first_on_path(monkeypatch, tmp_path / "nothing", alone=True)
    standing_ = ask(unit)
    assert (standing_.usable, standing_.enabled, standing_.active) == (False, None, None)
    agent = replace(unit, kind="launchd", name="local.minion")
    assert (ask(agent).usable, ask(agent).lingers, agent.link) == (False, None, None)
