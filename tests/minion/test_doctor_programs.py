"""What the doctor makes of git, bubblewrap, engines and `minion` itself: stubs put in the way are really run."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from minion.config import Home
from minion.doctor import engines, programs, sandbox
from minion.engines.registry import INSTALLED
from minion.sandbox.tool_client import TOOL_HOST
from tests.minion.patients import NOW, finished, first_on_path, only, put_program
from tests.minion.test_sandbox_envelope import why_no_sandbox

GIT = str(shutil.which("git"))
WHY_NOT = why_no_sandbox()
needs_sandbox = pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """An empty folder of the doctor's own."""
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


@pytest.fixture
def stubs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that programs are looked for in first."""
    folder = tmp_path / "bin"
    folder.mkdir()
    first_on_path(monkeypatch, folder)
    return folder


def test_git_really_clones_a_repository(work: Path) -> None:
    finding = only(finished(lambda: programs.git(work, NOW)))
    assert finding.state in ("ok", "warning")
    assert (work / "run" / "git" / "trial.git" / "HEAD").is_file()


@pytest.mark.promise("CLI-5")
def test_a_git_that_is_too_old_is_a_warning_with_the_package_to_install(work: Path, stubs: Path) -> None:
    put_program(stubs, "git", f'[ "$1" = --version ] && echo "git version 2.30.0" || exec {GIT} "$@"')
    finding = only(finished(lambda: programs.git(work, NOW)))
    assert finding.state == "warning"
    assert finding.says.startswith("git 2.30.0 may fetch")
    assert str(finding.fix).endswith(" git")


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ('[ "$1" = --version ] && echo "git version 2.47.1" || { echo "no room" >&2; exit 1; }', "no room"),
        ('[ "$1" = --version ] && echo "git version 2.47.1"', "cloned"),
        (
            'case " $* " in *" config "*) exit;; *" clone "*) for to; do :; done; set -- init --bare "$to";;'
            f'\nesac; exec {GIT} "$@"',
            "cloned without its commit",
        ),
        ("echo hello", "does not say its version: hello"),
    ],
)
def test_a_git_that_does_not_do_its_work_is_a_problem(work: Path, stubs: Path, script: str, says: str) -> None:
    put_program(stubs, "git", script)
    finding = only(finished(lambda: programs.git(work, NOW)))
    assert (finding.state, says in finding.says) == ("problem", True), finding.says


@pytest.mark.promise("CLI-5")
def test_no_git_is_a_problem(work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first_on_path(monkeypatch, tmp_path / "empty", alone=True)
    finding = only(finished(lambda: programs.git(work, NOW)))
    assert (finding.state, str(finding.fix).removeprefix("sudo ")) == ("problem", "apt install git")


@pytest.mark.parametrize(
    ("said", "safe"),
    [
        ("git version 2.39.3", False), ("git version 2.39.4", True), ("git version 2.40.1", False),
        ("git version 2.40.2", True), ("git version 2.43.0", False), ("git version 2.43.4 (Apple Git-7)", True),
        ("git version 2.45.0", True), ("git version 2.51.0.windows.1", True), ("git version 3.0", True),
    ],
)  # fmt: skip
def test_gits_that_cannot_be_kept_from_fetching_are_told_from_those_that_can(said: str, safe: bool) -> None:
    version = programs.git_version(said)
    assert version is not None
    assert programs.keeps_to_itself(version) is safe


@pytest.mark.promise("ENV-6")
def test_without_bwrap_there_is_a_warning_and_bundled_skills_still_run(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_program(tmp_path / "bin", "dnf", "")
    first_on_path(monkeypatch, tmp_path / "bin", alone=True)
    finding = only(finished(lambda: sandbox.sandbox(work, Home(tmp_path))))
    assert finding.state == "warning"
    assert str(finding.fix).removeprefix("sudo ") == "dnf install bubblewrap"
    assert "`unsandboxed`" in finding.says
    engine = finished(lambda: engines.engines(work, NOW, Home(tmp_path)))[0]
    assert (engine.name, engine.state) == ("engine script", "ok")
    assert "ran without a sandbox" in engine.says


@pytest.mark.promise("CLI-5")
def test_a_bwrap_that_fails_is_a_warning_in_its_own_words(work: Path, stubs: Path, tmp_path: Path) -> None:
    words = "bwrap: No permissions to create new namespace"
    put_program(stubs, "bwrap", f'[ "$1" = --version ] && echo bubblewrap 0.9 && exit; echo {words} >&2; exit 1')
    finding = only(finished(lambda: sandbox.sandbox(work, Home(tmp_path))))
    assert finding.state == "warning"
    assert "does not start (No permissions to create new namespace)" in finding.says


def test_a_bwrap_that_is_too_old_is_a_warning(work: Path, stubs: Path, tmp_path: Path) -> None:
    put_program(stubs, "bwrap", "echo bubblewrap 0.4.1")
    finding = only(finished(lambda: sandbox.sandbox(work, Home(tmp_path))))
    assert (finding.state, "0.4.1 is too old" in finding.says) == ("warning", True)


def test_a_bwrap_that_shuts_nothing_off_is_a_problem(work: Path, stubs: Path, tmp_path: Path) -> None:
    open_door = f'while [ "$1" != -- ]; do shift; done; exec "$2" -I -S {TOOL_HOST}'
    put_program(stubs, "bwrap", f'[ "$1" = --version ] && echo "bubblewrap 0.9.0" && exit; {open_door}')
    finding = only(finished(lambda: sandbox.sandbox(work, Home(tmp_path))))
    assert finding.state == "problem"
    assert finding.says == "A command in the sandbox reached the network of this machine."


@pytest.mark.parametrize(
    ("settings", "fix"),
    [
        ({"kernel/apparmor_restrict_unprivileged_userns": "1"}, "apparmor_parser -r /etc/apparmor.d/bwrap"),
        ({"kernel/unprivileged_userns_clone": "0"}, "echo kernel.unprivileged_userns_clone=1 | "),
        ({"user/max_user_namespaces": "0"}, "echo user.max_user_namespaces=15000 | "),
        ({"kernel/apparmor_restrict_unprivileged_userns": "0", "kernel/unprivileged_userns_clone": "1"},
         "apt install --reinstall bubblewrap"),
        ({".dockerenv": ""}, "--security-opt seccomp=unconfined"),
    ],
)  # fmt: skip
def test_the_fix_frees_what_keeps_bwrap_from_starting_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], fix: str
) -> None:
    put_program(tmp_path / "bin", "apt", "")
    first_on_path(monkeypatch, tmp_path / "bin", alone=True)
    for name, value in settings.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{value}\n")
    said = sandbox.narrow_fix("/usr/bin/bwrap", tmp_path, tmp_path)
    assert fix in said
    assert "\n" not in said


def test_the_apparmor_profile_is_for_bwrap_alone(tmp_path: Path) -> None:
    (tmp_path / "kernel").mkdir()
    (tmp_path / "kernel" / "apparmor_restrict_unprivileged_userns").write_text("1\n")
    said = sandbox.narrow_fix("/usr/bin/bwrap", tmp_path, tmp_path)
    assert "profile bwrap /usr/bin/bwrap flags=(unconfined) {\\n  userns,\\n" in said
    assert "sysctl" not in said


@pytest.mark.heavy
@needs_sandbox
@pytest.mark.promise("CLI-5")
def test_a_command_really_runs_in_the_sandbox_and_so_does_a_skill(work: Path, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    finding = only(finished(lambda: sandbox.sandbox(work, Home(tmp_path / "home"))))
    assert (finding.state, (work / "written").is_file()) == ("ok", True)
    assert "without network and with no home in sight" in finding.says
    assert "ran in the sandbox" in finished(lambda: engines.engines(work, NOW, Home(tmp_path)))[0].says


@pytest.mark.heavy
@needs_sandbox
def test_a_home_that_the_sandbox_would_show_is_a_problem(work: Path) -> None:
    # What lies below /usr is public: a home there would be, with its secrets.
    finding = only(finished(lambda: sandbox.sandbox(work, Home(Path("/usr/share")))))
    assert (finding.state, finding.says) == ("problem", "A command in the sandbox can see /usr/share.")


def test_every_engine_that_is_installed_is_tried() -> None:
    assert set(engines.TRIALS) == set(INSTALLED)


def test_minion_on_the_path_is_asked_for_its_version(stubs: Path) -> None:
    (stubs / "minion").symlink_to(Path(sys.executable).with_name("minion"))
    assert only(programs.program()).state == "ok"
    (stubs / "minion").unlink()
    put_program(stubs, "minion", "echo minion, version 0.0.1")
    finding = only(programs.program())
    assert (finding.state, f"{stubs}/minion is version 0.0.1" in finding.says) == ("warning", True)
    put_program(stubs, "minion", "echo a solver of constraints")
    assert "is another program" in only(programs.program()).says


def test_without_minion_on_the_path_the_fix_puts_it_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first_on_path(monkeypatch, tmp_path, alone=True)
    monkeypatch.setenv("HOME", str(tmp_path))
    finding = only(programs.program())
    assert (finding.state, str(finding.fix).startswith("make -C ")) == ("warning", True)
    assert str(finding.fix).endswith(" install")
    put_program(tmp_path / ".local" / "bin", "minion", "echo minion, version 0.0.1")
    assert only(programs.program()).fix == f'export PATH={tmp_path}/.local/bin:"$PATH"'
