"""The kernel's groups of processes: which may be used, read from a tree like the kernel's; and one for real."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from minion.daemon.cgroups import Group, find_ground, hierarchies
from tests.minion.tool_hosts import DAEMON, alive
from tests.waiting import wait_until

HYBRID = """\
30 25 0:26 / {top} ro,nosuid - tmpfs tmpfs ro,mode=755
31 30 0:27 / {top}/unified rw,nosuid shared:5 - cgroup2 cgroup2 rw,nsdelegate
32 30 0:28 / {top}/cpu rw shared:6 - cgroup cgroup rw,cpu,cpuacct
33 30 0:29 / {top}/pids rw shared:7 - cgroup cgroup rw,pids
34 30 0:30 / {top}/memory rw shared:8 - cgroup cgroup rw,memory
"""
PURE = "31 30 0:27 {root} {top} rw,nosuid shared:5 - cgroup2 cgroup2 rw,nsdelegate\n"
HERE = find_ground(divide=False)


def kernel(folder: Path, own: str, mounts: str, *, root: str = "/") -> Path:
    """A /proc that says where this process lives and what is mounted; the mounts lie in `folder`/cg."""
    (folder / "proc" / "self").mkdir(parents=True)
    (folder / "proc" / "self" / "cgroup").write_text(own)
    (folder / "proc" / "self" / "mountinfo").write_text(mounts.format(top=folder / "cg", root=root))
    return folder / "proc"


def group_folder(folder: Path, **files: str) -> Path:
    """A folder as the kernel would show a group, with these files."""
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder


def test_of_version_one_only_the_root_of_a_hierarchy_is_used(tmp_path: Path) -> None:
    proc = kernel(tmp_path, "9:pids:/\n8:memory:/a/box\n2:cpu,cpuacct:/\n1:name=systemd:/\n0::/a.scope\n", HYBRID)
    found = [(one.version, one.folder) for one in hierarchies(proc)]
    assert found == [(2, tmp_path / "cg/unified/a.scope"), (1, tmp_path / "cg/pids")]


@pytest.mark.parametrize(
    ("own", "root", "folder"),
    [
        ("0::/user.slice/minion.service\n", "/", "cg/user.slice/minion.service"),
        ("0::/docker/abc/inner\n", "/docker/abc", "cg/inner"),
        ("0::/\n", "/", "cg"),
        ("0::/minion.service/minion-itself\n", "/", "cg/minion.service"),
    ],
)
def test_of_version_two_this_process_own_group_is_used(tmp_path: Path, own: str, root: str, folder: str) -> None:
    (one,) = hierarchies(kernel(tmp_path, own, PURE, root=root))
    assert (one.version, one.folder) == (2, tmp_path / folder)


@pytest.mark.parametrize("own", ["0::/../outside\n", "0::/elsewhere\n", "7:pids:/below\n", ""])
def test_a_group_that_cannot_be_seen_or_is_somebody_elses_is_not_used(tmp_path: Path, own: str) -> None:
    assert hierarchies(kernel(tmp_path, own, PURE, root="/docker")) == []


def test_a_group_that_may_not_be_written_is_not_used(tmp_path: Path) -> None:
    proc = kernel(tmp_path, "0::/\n", PURE)
    assert find_ground(divide=True, proc=proc).hierarchies == ()


def test_nobody_moves_who_is_not_alone_in_a_group(tmp_path: Path) -> None:
    others = "4711\n4712\n"
    folder = group_folder(
        tmp_path / "cg", cgroup__procs=others, cgroup__controllers="memory pids\n", cgroup__subtree_control="\n"
    )
    ground = find_ground(divide=True, proc=kernel(tmp_path, "0::/\n", PURE), me=4711)
    assert [one.folder for one in ground.hierarchies] == [folder]
    assert sorted(path.name for path in folder.iterdir()) == [
        "cgroup.controllers", "cgroup.procs", "cgroup.subtree_control",
    ]  # fmt: skip
    assert (folder / "cgroup.procs").read_text() == others
    assert (folder / "cgroup.subtree_control").read_text() == "\n"


def test_bounds_are_written_where_the_kernel_has_a_file_for_them(tmp_path: Path) -> None:
    two = group_folder(tmp_path / "two", pids__max="", memory__max="", memory__swap__max="")
    one = group_folder(tmp_path / "one", pids__max="", memory__limit_in_bytes="")
    Group([two, one]).bound(tasks=99, memory_bytes=1_000_000)
    assert {f"{path.parent.name}/{path.name}": path.read_text() for path in tmp_path.glob("*/*")} == {
        "two/pids.max": "99", "two/memory.max": "1000000", "two/memory.swap.max": "0",
        "one/pids.max": "99", "one/memory.limit_in_bytes": "1000000",
    }  # fmt: skip
    bare = Group([group_folder(tmp_path / "bare")])
    bare.bound(tasks=99, memory_bytes=1_000_000)
    assert not bare.seal()
    assert list((tmp_path / "bare").iterdir()) == []


@pytest.mark.parametrize(
    ("files", "struck"),
    [
        ({"pids__events": "max 0\n"}, None),
        ({"pids__events": "max 12\n"}, "processes"),
        ({"memory__events": "low 0\nhigh 0\nmax 31\noom 1\noom_kill 1\n"}, "memory_bytes"),
        ({"memory__events": "low 0\nhigh 0\nmax 31\noom 0\noom_kill 0\n"}, None),
        ({"memory__oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"}, "memory_bytes"),
    ],
)
def test_the_kernel_tells_which_bound_it_had_to_enforce(
    tmp_path: Path, files: dict[str, str], struck: str | None
) -> None:
    assert Group([group_folder(tmp_path / "group", **files)]).struck() == struck


def test_empty_groups_of_owners_who_never_came_back_are_cleared_away(tmp_path: Path) -> None:
    folder = group_folder(tmp_path / "cg", cgroup__procs="")
    ground = find_ground(divide=False, proc=kernel(tmp_path, "0::/\n", PURE))
    for name in ("minion-run_old", "minion-run_busy", "minion-run_new", "other"):
        (folder / name).mkdir()
    (folder / "minion-run_busy" / "inside").mkdir()
    for name in ("minion-run_old", "minion-run_busy", "other"):
        os.utime(folder / name, (1000, 1000))
    ground.clear_away("minion-run_", before=2000)
    assert {path.name for path in folder.glob("*/")} == {"minion-run_busy", "minion-run_new", "other"}


@pytest.mark.skipif(not HERE.hierarchies, reason="no group may be used here")
def test_a_group_ends_with_all_that_was_started_in_it_whoever_left_its_parent() -> None:
    name = f"minion-test-{os.getpid()}"
    begin = "input()\n" + DAEMON
    argv = [sys.executable, "-I", "-S", "-c", begin, "600"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        group = HERE.enclose(name, process.pid, tasks=50, memory_bytes=None)
        assert group is not None
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            assert group.members() == [process.pid]
            process.stdin.write(b"begin\n")
            process.stdin.flush()
            left = int(process.stdout.readline())
            assert wait_until(lambda: group.members() == [left], 10)
            assert HERE.group(name).kill()  # found by its name, as by a later owner
            assert not alive(left)
        finally:
            process.kill()
            group.kill()
    assert group.remove()
    assert HERE.group(name).folders == ()
