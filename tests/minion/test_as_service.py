"""`minion doctor --as-service`: what a service has of an environment, and what it finds otherwise than here."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from minion.config import Home, load_config
from minion.doctor.as_service import _beside, _is_ssh, _ssh
from minion.doctor.finding import ok, problem
from minion.setup.service import Unit, place, service_environment, unit_of
from tests.minion.units import oddly_named_home
from tests.whole.homes import run_process, write_routine, write_skill


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A home in a folder with an odd name, and settings of the user's in the test's folder."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return oddly_named_home(tmp_path)


@pytest.fixture
def unit(home: Home) -> Unit:
    """The service of that home, not installed."""
    return unit_of(home, load_config(home), platform="linux")


def test_a_service_has_what_its_unit_says_and_no_session(
    home: Home, unit: Unit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", "/tmp/agent")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/tmp/session")
    assert set(service_environment(unit, lingers=False)) == {"HOME", "USER", "LOGNAME", "SHELL", "PATH"}
    place(unit, replace=False)
    text = unit.file.read_text().replace(f"PATH={unit.path}", r"PATH=/a b/100%%/\"x\"")
    unit.file.write_text(text)
    assert service_environment(unit, lingers=None)["PATH"] == '/a b/100%/"x"'


def test_what_a_service_finds_otherwise_stands_beside_what_is_found_here() -> None:
    here = [ok("git", "git 2.39 cloned."), ok("clock", "It is 05:42."), ok("x", "one"), ok("x", "two")]
    none = problem("git", "There is no git.", "apt install git")
    there = [none, ok("clock", "It is 05:43."), ok("x", "one"), ok("x", "three")]
    compared = _beside(there, here)
    assert [each.here.says if each.here else None for each in compared] == [here[0].says, None, None, "two"]
    # Git is here: it is not git that is to be installed.
    assert compared[0].finding.fix == "minion service install --replace"


@pytest.mark.parametrize(
    ("url", "ssh"),
    [("git@forge.example:a", True), ("ssh://host/a", True), ("https://u@host:1/a", False), ("/srv/a@b:c", False)],
)
def test_addresses_that_git_reaches_by_ssh_are_known(url: str, ssh: bool) -> None:
    assert _is_ssh(url) is ssh


@pytest.mark.heavy
def test_a_key_without_a_passphrase_is_told_from_one_with(home: Home, tmp_path: Path) -> None:
    write_skill(home, "say", 'answer(text="hello")')
    write_routine(home, "away", "say", repositories=["git@forge.example:shop.git"])
    assert run_process(home, "run", "away").code != 0  # kept by it; its remote is nowhere
    variables = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    (none,) = _ssh(home, variables)
    assert (none.state, none.fix) == ("warning", f"ssh-keygen -t ed25519 -N '' -f {tmp_path}/.ssh/id_ed25519")
    assert _ssh(home, variables | {"SSH_AUTH_SOCK": "/tmp/agent"}) == []
    (tmp_path / ".ssh").mkdir()
    key = tmp_path / ".ssh" / "id_ed25519"
    for phrase, state in (("secret words", "warning"), ("", "ok")):
        key.unlink(missing_ok=True)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", phrase, "-f", str(key)], check=True)
        (found,) = _ssh(home, variables)
        assert (found.state, str(key) in (found.fix or found.says)) == (state, True)


@pytest.mark.heavy
def test_the_doctor_finds_what_a_service_would_lack(home: Home, unit: Unit, tmp_path: Path) -> None:
    place(unit, replace=False)
    unit.file.write_text(unit.file.read_text().replace(f"PATH={unit.path}", "PATH=/nowhere"))
    argv = [str(unit.program), "--home", str(home.root), "doctor", "--as-service", "--json"]
    env = {**os.environ, "XDG_CONFIG_HOME": str(tmp_path / "config"), "SSH_AUTH_SOCK": "/tmp/agent"}
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=120, check=False)
    found = {finding["name"]: finding for finding in json.loads(done.stdout)["findings"]}
    assert done.returncode == 1
    assert (found["git"]["state"], found["git"]["here"]["state"]) == ("problem", "ok")
    assert found["git"]["fix"].endswith("service install --replace")
    assert "and not your SSH_AUTH_SOCK" in found["environment"]["says"]
    assert (found["service"]["state"], "was edited" in found["service"]["says"]) == ("ok", True)
    assert found["python"]["here"] is None
