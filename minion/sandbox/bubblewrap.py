"""The bubblewrap command line of an envelope: what a sandboxed tool host may see, and nothing else.

Nothing is started or written here. The host's disk is only asked which public paths exist and where they
point. Needs bubblewrap 0.8 (`--disable-userns`); an older one refuses the command line, which is the intent.
"""

from __future__ import annotations

import stat
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

INSIDE_TOOL_HOST = "/minion/sandbox/tool_host.py"
INSIDE_DOOR = "/minion/door.py"
INSIDE_EGRESS = "/minion/egress"
NOBODY = "65534"
MIB = 1024 * 1024

# Only what every user of the host may read anyway and what programs need to start.
PUBLIC_HOST_PATHS = (
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib64",
    "/lib32",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/alternatives",
    "/etc/ssl/certs",
    "/etc/ca-certificates",
    "/etc/ca-certificates.conf",
    "/etc/pki/ca-trust/extracted",
    "/etc/pki/tls/certs",
    "/etc/localtime",
    "/etc/nsswitch.conf",
    "/etc/protocols",
    "/etc/services",
)
# Memory-backed folders with their most bytes: they live and die with the sandbox.
SCRATCH = {"/tmp": 256 * MIB, "/dev/shm": 64 * MIB, "/run": 16 * MIB}  # noqa: S108
SCRATCH |= dict.fromkeys(("/home", "/root", "/var"), 64 * MIB)
# Folders that hold other people's files, sockets or the kernel: never bound as a whole.
TOO_WIDE = {"/", "/boot", "/etc", "/home", "/mnt", "/opt", "/root", "/run", "/srv", "/var", *SCRATCH}
OWN = {"bin", "sbin", "lib", "lib64", "usr", "etc", "proc", "dev", "sys", "minion"}
KERNEL = ("/proc", "/sys", "/dev")


@dataclass(frozen=True, slots=True)
class Bind:
    """A host path (`source`) that is seen inside as `target`; both absolute, the target without symlinks."""

    source: str
    target: str
    writable: bool = False


@dataclass(frozen=True, slots=True)
class Envelope:
    """What one session may touch.

    `masks` are (kind, path inside) pairs to hide: a file reads as empty, a folder as empty and read-only.
    `egress` is the socket of the runner's proxy, which is all that leads out of the sandbox's own empty network.
    The caller passes only paths that exist and that have no symlink in them (it looks with `lstat`):
    bubblewrap would create a missing one in the bound folder and would follow a symlink while the host is
    still in reach. `env` is the whole environment inside; it shows in the host's process list, so no secrets.
    """

    binds: tuple[Bind, ...] = ()
    masks: tuple[tuple[Literal["file", "dir"], str], ...] = ()
    egress: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)


def command(
    envelope: Envelope,
    *,
    bwrap: str,
    python: str,
    tool_host: str,
    host_paths: tuple[str, ...] = PUBLIC_HOST_PATHS,
) -> list[str]:
    """The argv that starts `tool_host` in `envelope`; run it with an EMPTY environment and no open files.

    `bwrap`, `python` (an interpreter outside any virtual environment) and `tool_host` are absolute paths of
    the host. Raises `ValueError` for a bind that would give away too much or that covers the envelope's own
    folders.
    """
    line = [bwrap, *_isolation()]
    for name, value in sorted(envelope.env.items()):
        line += ["--setenv", name, value]
    line += ["--proc", "/proc", "--dev", "/dev"]
    for folder, most in SCRATCH.items():
        line += ["--size", str(most), "--tmpfs", folder]
    for path in host_paths:
        line += _public(path)
    accounts = Path(tool_host).parent / "etc"
    for name in ("passwd", "group", "hosts"):
        line += ["--ro-bind-try", str(accounts / name), f"/etc/{name}"]
    for prefix in _python_prefixes(python, host_paths):
        line += ["--ro-bind", prefix, prefix]
    # The folder: one mount for the program, what it imports from beside it, and how Python has compiled that.
    line += ["--ro-bind", str(Path(tool_host).parent), str(PurePosixPath(INSIDE_TOOL_HOST).parent)]
    if envelope.egress is not None:
        line += ["--ro-bind", str(Path(tool_host).with_name("door.py")), INSIDE_DOOR]
        line += ["--ro-bind", envelope.egress, INSIDE_EGRESS]
    # A folder before what lies in it, else it would cover that.
    for bind in sorted(envelope.binds, key=lambda bind: PurePosixPath(bind.target).parts):
        _check(bind)
        line += ["--bind" if bind.writable else "--ro-bind", bind.source, bind.target]
    for kind, path in envelope.masks:
        line += _mask(kind, path)
    for name in ("kpageflags", "kpagecount", "kpagecgroup", "vmallocinfo", "slabinfo", "pagetypeinfo"):
        if Path("/proc", name).exists():  # root's alone, and root is who a session of root's is to these files
            line += ["--dev-bind", "/dev/null", f"/proc/{name}"]
    # Last, because mount points are made until here. /proc: to a kernel that knows the host's root behind the
    # mapped user, /proc/sys is writable without any capability, core_pattern (a command for root) included.
    for folder in ("/dev", "/proc", "/"):
        line += ["--remount-ro", folder]
    return [*line, "--chdir", "/", "--", python, "-I", "-S", INSIDE_TOOL_HOST]


def _isolation() -> list[str]:
    """Namespaces, identity and lifetime.

    `--unshare-user` is said beside `--unshare-all`, which would only try. `--as-pid-1`: bubblewrap's own
    process 1 would lend its pipes and environment to the sandbox through /proc/1, and could be killed or
    stopped by it; the tool host as process 1 cannot.
    """
    return [
        *("--unshare-all", "--unshare-user", "--disable-userns"),
        *("--uid", NOBODY, "--gid", NOBODY, "--cap-drop", "ALL", "--hostname", "minion"),
        *("--new-session", "--die-with-parent", "--as-pid-1", "--clearenv"),
    ]


def _public(path: str) -> list[str]:
    """A public host path as it is on the host: nothing, a symlink (merged /usr) or a read-only bind."""
    place = Path(path)
    if place.parent == Path("/") and place.is_symlink():
        return ["--symlink", str(place.readlink()), path]
    return ["--ro-bind", path, path] if place.exists() else []


def _mask(kind: Literal["file", "dir"], path: str) -> list[str]:
    """Hide a path. `--dev-bind`: an ordinary bind of /dev/null could not even be read as empty."""
    if kind == "file":
        return ["--dev-bind", "/dev/null", path]
    return ["--perms", "0555", "--size", "4096", "--tmpfs", path, "--remount-ro", path]


def _python_prefixes(python: str, host_paths: tuple[str, ...]) -> Iterator[str]:
    """The folders that the running Python lies in, as named and as they really are, if not public already."""
    real = Path(python).resolve()
    for prefix in dict.fromkeys((sys.base_prefix, str(real.parent.parent))):
        if not any(Path(prefix).is_relative_to(path) for path in host_paths):
            _refuse_wide(prefix)
            yield prefix


def _check(bind: Bind) -> None:
    """Raise `ValueError` for a bind that no envelope may have."""
    target = PurePosixPath(bind.target)
    if target.root != "/" or ".." in target.parts or bind.target != str(target):
        raise ValueError(f"the bind target {bind.target!r} is not a plain absolute path")
    if len(target.parts) == 1 or target.parts[1] in OWN:
        raise ValueError(f"the bind target {bind.target} belongs to the envelope itself")
    if not Path(bind.source).is_absolute():
        raise ValueError(f"the bind source {bind.source!r} is not an absolute path")
    _refuse_wide(bind.source)


def _refuse_wide(source: str) -> None:
    """Raise `ValueError` for a source that holds the home folder, the system's own folders or a socket."""
    home = Path.home().resolve()
    try:
        real = Path(source).resolve()
        is_socket = real.exists() and stat.S_ISSOCK(real.stat().st_mode)
    except OSError:  # a link that cannot even be read, as in another's /proc, or a folder that may not be entered
        raise ValueError(f"{source} may not be bound: nobody can tell where it leads") from None
    of_the_kernel = any(real.is_relative_to(path) for path in KERNEL)
    if str(real) in TOO_WIDE or home.is_relative_to(real) or of_the_kernel:
        raise ValueError(f"{source} holds more than a sandbox may see")
    if is_socket:
        raise ValueError(f"{source} is a socket, a door out of the sandbox")
