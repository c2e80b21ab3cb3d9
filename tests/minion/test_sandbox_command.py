"""What the bubblewrap command line of an envelope says, and which envelopes it refuses to make."""

from __future__ import annotations

import socket
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from minion.sandbox.bubblewrap import INSIDE_DOOR, INSIDE_EGRESS, PUBLIC_HOST_PATHS, Bind, Envelope, command
from minion.sandbox.tool_client import TOOL_HOST


def line_of(envelope: Envelope, host_paths: tuple[str, ...] = PUBLIC_HOST_PATHS) -> list[str]:
    """The command line with this machine's Python."""
    python = str(Path(sys.executable).resolve())
    tool_host = str(TOOL_HOST)
    return command(envelope, bwrap="/bin/bwrap", python=python, tool_host=tool_host, host_paths=host_paths)


def test_the_network_is_never_shared_and_a_proxy_s_socket_is_the_only_way_out() -> None:
    closed, opened = line_of(Envelope()), line_of(Envelope(egress="/run-folder/egress"))
    for line in (closed, opened):
        assert "--unshare-all" in line
        assert "--share-net" not in line
        assert "/etc/resolv.conf" not in line
        sources = [line[at + 1] for at, word in enumerate(line) if word == "--ro-bind-try"]
        assert "/etc/hosts" not in sources
    assert "/run-folder/egress" not in closed
    assert ("--ro-bind", "/run-folder/egress", INSIDE_EGRESS) in zip(opened, opened[1:], opened[2:], strict=False)
    assert INSIDE_DOOR not in closed
    assert INSIDE_DOOR in opened


def test_every_namespace_is_demanded_and_nothing_is_merely_tried() -> None:
    line = line_of(Envelope())
    for option in ("--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent", "--as-pid-1"):
        assert option in line
    assert not [word for word in line if word.endswith("-try") and word != "--ro-bind-try"]


def test_no_bind_reaches_the_root_all_of_etc_or_a_home() -> None:
    line = line_of(Envelope())
    sources = {line[at + 1] for at, word in enumerate(line) if word in ("--bind", "--ro-bind", "--dev-bind")}
    assert not sources & {"/", "/etc", "/home", "/root", "/run", "/var", str(Path.home())}
    assert "--bind" not in line


def test_a_bind_comes_after_the_scratch_folder_and_the_bind_it_lies_in(tmp_path: Path) -> None:
    source = str(tmp_path)
    binds = (Bind(source, "/tmp/a/b"), Bind(source, "/tmp/a", writable=True), Bind(source, "/home/x"))
    line = line_of(Envelope(binds=binds))
    at = {pair: place for place, pair in enumerate(pairwise(line))}
    assert at["--tmpfs", "/tmp"] < at[source, "/tmp/a"] < at[source, "/tmp/a/b"] < at["--remount-ro", "/"]
    assert at["--tmpfs", "/home"] < at[source, "/home/x"]


def test_host_paths_keep_their_symlinks_and_missing_ones_are_left_out(tmp_path: Path) -> None:
    line = line_of(Envelope(), host_paths=("/usr", "/bin", str(tmp_path / "gone")))
    assert str(tmp_path / "gone") not in line
    if Path("/bin").is_symlink():
        assert line[line.index("/bin") - 2 :][:3] == ["--symlink", str(Path("/bin").readlink()), "/bin"]


def test_a_python_outside_the_public_paths_is_bound_where_it_lies(tmp_path: Path) -> None:
    line = line_of(Envelope(), host_paths=())
    assert ("--ro-bind", sys.base_prefix, sys.base_prefix) in zip(line, line[1:], line[2:], strict=False)


@pytest.mark.parametrize("source", ["/", "/etc", "/home", "/proc/1/root", "/sys", "/dev", "/run", "a/b", "~"])
def test_a_source_that_gives_too_much_away_is_refused(source: str) -> None:
    where = str(Path.home()) if source == "~" else source
    with pytest.raises(ValueError, match=r"may see|absolute|may not be bound"):
        line_of(Envelope(binds=(Bind(where, "/workspace"),)))


def test_a_source_is_judged_by_where_it_really_leads(tmp_path: Path) -> None:
    (tmp_path / "innocent").symlink_to("/etc")
    with pytest.raises(ValueError, match="may see"):
        line_of(Envelope(binds=(Bind(str(tmp_path / "innocent"), "/workspace"),)))


def test_a_socket_is_never_bound(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(tmp_path / "door"))
        with pytest.raises(ValueError, match="socket"):
            line_of(Envelope(binds=(Bind(str(tmp_path / "door"), "/door"),)))


@pytest.mark.parametrize("target", ["/", "/usr/x", "/etc", "/proc", "/minion", "x", "/a/../b", "/a/", "//a"])
def test_a_target_that_covers_the_envelope_itself_is_refused(tmp_path: Path, target: str) -> None:
    with pytest.raises(ValueError, match="target"):
        line_of(Envelope(binds=(Bind(str(tmp_path), target),)))
