"""What the doctor sees of the machine: Python, clock, zones, disk; each fault is a real one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from minion.clock import utc_now
from minion.config import Home
from minion.doctor import disk, machine
from minion.doctor.finding import Finding, attempt
from server.contract.refusals import Refused, StoreFailed
from tests.minion.patients import first_on_path, only, put_program
from tests.minion.test_sandbox_envelope import why_no_sandbox
from tests.minion.tool_hosts import ROOT

WHY_NOT = why_no_sandbox()


def test_python_is_named_with_the_sqlite_it_carries() -> None:
    finding = only(machine.python())
    assert finding.state == "ok"
    assert "with SQLite 3." in finding.says


def test_a_python_that_is_too_old_is_a_problem() -> None:
    finding = only(machine.python((3, 10, 12)))
    assert (finding.state, "3.11 or newer" in finding.says) == ("problem", True)


def test_daemon_runner_and_document_check_are_loaded_in_children() -> None:
    assert only(machine.packages()).state == "ok"


def test_a_clock_before_the_program_was_made_is_a_problem() -> None:
    finding = only(machine.clock(datetime(2020, 1, 1, tzinfo=UTC)))
    assert (finding.state, "2020-01-01" in finding.says) == ("problem", True)


@pytest.mark.parametrize(
    ("says", "state", "fix"),
    [
        ("NTPSynchronized=yes\\nNTP=yes", "ok", ""),
        ("NTPSynchronized=no\\nNTP=no", "warning", "timedatectl set-ntp true"),
        ("NTPSynchronized=no\\nNTP=yes", "warning", "systemctl restart systemd-timesyncd"),
        ("Failed to connect to bus", "ok", ""),
    ],
)
def test_a_clock_that_nothing_keeps_right_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str, state: str, fix: str
) -> None:
    put_program(tmp_path, "timedatectl", f"printf '{says}\\n'")
    first_on_path(monkeypatch, tmp_path)
    finding = only(machine.clock(utc_now()))
    assert finding.state == state
    assert (finding.fix or "").endswith(fix)


def test_without_timedatectl_nothing_is_said_of_who_keeps_the_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first_on_path(monkeypatch, tmp_path, alone=True)
    finding = only(machine.clock(utc_now()))
    assert (finding.state, "network" in finding.says) == ("ok", False)


def test_zones_are_found_and_a_known_change_is_computed(tmp_path: Path) -> None:
    finding = only(machine.zone_data(Home(tmp_path)))
    assert finding.state == "ok"
    assert "zones from" in finding.says


@pytest.mark.promise("CLI-5")
def test_a_machine_without_zones_is_a_problem_with_the_package_to_install(tmp_path: Path) -> None:
    # No system folder, and without site-packages no tzdata package either.
    code = (
        "import sys, zoneinfo; sys.path.insert(0, sys.argv[1]); zoneinfo.reset_tzpath(())\n"
        "from pathlib import Path; from minion.config import Home; from minion.doctor import machine\n"
        "(finding,) = machine.zone_data(Home(Path(sys.argv[2]))); print(finding.state, finding.fix)\n"
    )
    argv = [sys.executable, "-I", "-S", "-c", code, str(ROOT), str(tmp_path)]
    said = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=30).stdout
    assert said == f"problem {sys.executable} -m pip install --upgrade tzdata\n"


def test_the_disk_is_written_to_and_nothing_stays_there(tmp_path: Path) -> None:
    with disk.scratch_in(tmp_path) as scratch:
        found = [*disk.disk(scratch, utc_now), *disk.sqlite(scratch)]
        assert scratch.folder is not None
        assert (scratch.folder / "written").stat().st_size == disk.MIB
    assert [(one.name, one.state) for one in found if one.name == "sqlite"] == [("sqlite", "ok")]
    # A disk that others keep busy may be slow, and then says so.
    assert {one.state for one in found} <= {"ok", "warning"}
    assert list(tmp_path.iterdir()) == []


def test_a_disk_on_which_sqlite_cannot_keep_a_database_is_a_problem(tmp_path: Path) -> None:
    with disk.scratch_in(tmp_path) as scratch:
        assert scratch.folder is not None
        (scratch.folder / "trial.db").mkdir()
        with pytest.raises(StoreFailed) as failed:
            disk.sqlite(scratch)
        finding = only(attempt("sqlite", lambda: disk.sqlite(scratch), "another disk"))
    assert failed.value.code == "sqlite_fails"
    assert (finding.state, "unable to open database file" in finding.says) == ("problem", True)


def test_where_there_is_no_home_yet_the_disk_it_would_lie_on_is_tried(tmp_path: Path) -> None:
    with disk.scratch_in(tmp_path / "not" / "there") as scratch:
        assert scratch.folder is not None
        assert (scratch.place, scratch.folder.parent) == (tmp_path, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("by", [-10, 10])
def test_a_disk_with_another_clock_is_a_warning(tmp_path: Path, by: int) -> None:
    with disk.scratch_in(tmp_path) as scratch:
        found = disk.disk(scratch, lambda: utc_now() + timedelta(seconds=by))
    assert any("s apart" in finding.says and finding.state == "warning" for finding in found)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_home_that_cannot_be_written_is_a_problem_and_other_things_are_tried_elsewhere(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with disk.scratch_in(tmp_path) as scratch:
        finding = only([*disk.disk(scratch, utc_now), *disk.sqlite(scratch)])
        assert scratch.folder is not None
    tmp_path.chmod(0o700)
    assert (finding.state, finding.fix) == ("problem", f"chmod u+rwx {tmp_path}")


def test_the_file_system_of_a_folder_is_that_of_the_nearest_mount(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(
        f"/dev/a / ext4 rw 0 0\nserver:/x {tmp_path} nfs4 rw 0 0\n"
        f"me@server:/ {tmp_path}/a\\040b fuse.sshfs rw 0 0\n"
    )
    assert disk.mount_of(tmp_path / "homes", mounts) == (tmp_path, "nfs4")
    assert disk.mount_of(tmp_path / "a b" / "home", mounts) == (tmp_path / "a b", "fuse.sshfs")
    assert disk.mount_of(tmp_path.parent, mounts) == (Path("/"), "ext4")
    assert disk.mount_of(tmp_path, tmp_path / "none") == (Path("/"), "")


@pytest.mark.parametrize(
    ("kind", "remote"),
    [("nfs", True), ("nfs4", True), ("cifs", True), ("smb3", True), ("fuse.sshfs", True), ("9p", True),
     ("ext4", False), ("fuseblk", False), ("tmpfs", False), ("overlay", False), ("", False)],
)  # fmt: skip
def test_network_file_systems_are_told_from_those_of_the_machine(kind: str, remote: bool) -> None:
    assert disk.is_remote(kind) is remote


def test_a_check_that_breaks_is_a_problem_and_no_traceback(tmp_path: Path) -> None:
    def refuses() -> list[Finding]:
        raise Refused("no", "It will not.", hint="minion where")

    def misses() -> list[Finding]:
        (tmp_path / "gone").stat()
        return []

    def hangs() -> list[Finding]:
        subprocess.run(["/bin/sleep", "60"], timeout=0.01, check=False)
        return []

    for check, says, fix in (
        (misses, f"{tmp_path / 'gone'}: No such file", "mend it"),
        (refuses, "It will not.", "minion where"),
        (hangs, "/bin/sleep did not end in time.", "mend it"),
    ):
        finding = only(attempt("thing", check, "mend it"))
        assert (finding.state, finding.fix) == ("problem", fix)
        assert says in finding.says


IN_A_SMALL_DISK = """
import sys; sys.path.insert(0, sys.argv[1])
from pathlib import Path
from minion.clock import utc_now
from minion.doctor import disk
with disk.scratch_in(Path(sys.argv[2])) as scratch:
    for finding in disk.disk(scratch, utc_now):
        print(finding.state, finding.says, "=>", finding.fix)
"""


@pytest.mark.heavy
@pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))
@pytest.mark.parametrize(
    ("mount", "said", "fix"),
    [
        (["--size", str(50 * disk.MIB), "--tmpfs"], "problem Only 50 MiB are free", "du -xah"),
        (["--size", str(500 * disk.MIB), "--tmpfs"], "warning Only 500 MiB are free", "du -xah"),
        (["--ro-bind", "/usr"], "problem Nothing can be written in", "mount -o remount,rw"),
    ],
)
def test_a_disk_that_is_full_or_read_only_is_found_out(
    tmp_path: Path, mount: list[str], said: str, fix: str
) -> None:
    bwrap = str(shutil.which("bwrap"))
    inside = [bwrap, "--dev-bind", "/", "/", *mount, str(tmp_path), sys.executable, "-I", "-c", IN_A_SMALL_DISK]
    argv = [*inside, str(ROOT), str(tmp_path)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
    assert said in done.stdout
    assert fix in done.stdout
