"""The host that probes try to get out to: secrets as canaries, a process, sockets; and what is seen to change."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import hashlib
import os
import secrets
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from minion.sandbox.tool_client import TOOL_HOST

KEYCTL: Final = {"x86_64": 250, "aarch64": 219, "riscv64": 219}
LIBC: Final = ctypes.CDLL(None, use_errno=True)
DEVICES: Final = ("vda", "sda", "nvme0n1", "loop0", "kvm", "fuse", "net/tun")
# Says what is written to it and holds a text in its memory that nothing else has.
VICTIM: Final = "import signal, sys; held = sys.stdin.readline(); print('up', flush=True); signal.pause()"
CALM: Final = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "LC_ALL": "C.UTF-8"}
PEOPLE: Final = {
    f"GIT_{who}_{what}": said
    for who in ("AUTHOR", "COMMITTER")
    for what, said in (("NAME", "Ada"), ("EMAIL", "ada@example.org"))
}


def git(*arguments: str, cwd: Path, env: Mapping[str, str] | None = None) -> bytes:
    """What plain git prints; a failure is none of the caller's business."""
    environment = {"PATH": os.environ["PATH"], **CALM, **PEOPLE, **(env or {})}
    argv = ["git", *arguments]
    return subprocess.run(argv, cwd=cwd, env=environment, capture_output=True, check=False, timeout=60).stdout


class Host:
    """All that a session must not reach, in one folder; `canaries` are texts that each stand in one place."""

    def __init__(self, folder: Path, environ: str) -> None:
        self.folder, self.user, self.home = folder, folder / "user", folder / "home"
        # A repository with settings of a coding client, and one without.
        self.marks, self.shop, self.barn = folder / "marks", folder / "shop", folder / "barn"
        self.canaries: dict[str, str] = {"environ": environ}
        self.shared = f"probe-{secrets.token_hex(8)}"
        self.held: list[Any] = []
        self.runs: list[Path] = []
        self.heard: dict[str, int] = {}
        self.addresses: list[str] = []
        self.planted: tuple[Path, ...] = ()
        self.marker = f"{10_000 + secrets.randbelow(80_000)}.{secrets.randbelow(10**9):09}"
        self._make_files()
        self._share()
        self._listen()
        self._keep_keys()
        self.victim = self._victim()
        self._terminal = self._open_terminal()

    def canary(self, name: str) -> str:
        """A new text for a place, by letters alone in its name."""
        return self.canaries.setdefault(name, f"canary-{name}-{secrets.token_hex(8)}")

    def _make_files(self) -> None:
        for place in (self.marks, self.home / "runs", self.home / "outbox/doctor", self.home / "routines"):
            place.mkdir(parents=True)
        for name in (".ssh/id_ed25519", ".aws/credentials", ".netrc"):
            (self.user / name).parent.mkdir(parents=True, exist_ok=True)
            (self.user / name).write_text(f"{self.canary('home')}\n")
        (self.user / ".bashrc").write_text("begin\n")
        # Long enough for a race to read as much of it as the file had that it takes the place of.
        (self.home / "secrets.json").write_text(f'{{"k": "{self.canary("secrets")}", "other": "{"x" * 60}"}}\n')
        with sqlite3.connect(self.home / "minion.db") as db:
            db.execute("CREATE TABLE runs AS SELECT ? AS secret", (self.canary("store"),))
        other = self.home / "runs/run_other/workspace/shop"
        other.mkdir(parents=True)
        (other / "notes.txt").write_text(self.canary("other"))
        (self.shop / ".claude").mkdir(parents=True)
        self.barn.mkdir()
        for name in (".claude/settings.json", ".mcp.json"):
            (self.shop / name).write_text(f'{{"hooks": "{self.canary("settings")}"}}\n')
        for place in (self.shop, self.barn):
            (place / "roof.txt").write_text("leaks\n")
            for line in (("init", "-q", "-b", "main"), ("add", "-A"), ("commit", "-qm", "Begin")):
                git(*line, cwd=place)

    def _share(self) -> None:
        self.shared_files = [Path(place, self.shared) for place in ("/dev/shm", "/tmp", "/var/tmp")]
        for path in self.shared_files:
            with contextlib.suppress(OSError):
                path.write_text(self.canary("shared"))
        self.shm_key = secrets.randbelow(1 << 30) + 1
        LIBC.shmat.restype = ctypes.c_void_p
        self._shm = LIBC.shmget(self.shm_key, 100, 0o1600)
        place = LIBC.shmat(self._shm, None, 0)
        text = self.canary("segment").encode()
        ctypes.memmove(place, text, len(text))
        holder = self.folder / "canary-holder"
        holder.write_text(self.canary("descriptor"))
        self.open_fd = os.open(holder, os.O_RDONLY)
        holder.unlink()

    def _listen(self) -> None:
        self.abstract, self.socket_file = f"minion-{self.shared}", self.folder / "sock"
        self.sockets: dict[str, socket.socket] = {}
        for name, family, kind, place in (
            ("tcp", socket.AF_INET, socket.SOCK_STREAM, ("0.0.0.0", 0)),
            ("tcp6", socket.AF_INET6, socket.SOCK_STREAM, ("::1", 0)),
            ("udp", socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)),
            ("abstract", socket.AF_UNIX, socket.SOCK_STREAM, f"\0{self.abstract}"),
            ("file", socket.AF_UNIX, socket.SOCK_STREAM, str(self.socket_file)),
        ):
            with contextlib.suppress(OSError):
                listener = socket.socket(family, kind)
                listener.setblocking(False)
                if name == "file" and len(str(place)) > 100:
                    os.chdir(self.folder)
                    place = "sock"
                listener.bind(place)
                if kind == socket.SOCK_STREAM:
                    listener.listen(100)
                self.sockets[name] = listener
        os.chdir(self.folder)
        with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect(("192.0.2.1", 9))  # sends nothing
            self.addresses = [probe.getsockname()[0]]

    def port(self, name: str) -> int:
        """The port that a listener has; 0 where there is none."""
        return int(self.sockets[name].getsockname()[1]) if name in self.sockets else 0

    def _keep_keys(self) -> None:
        self.keyctl = KEYCTL.get(os.uname().machine, -1)
        LIBC.syscall(self.keyctl, 1, None)
        text = self.canary("key").encode()
        LIBC.syscall(self.keyctl - 2, b"user", b"minion-probe", text, len(text), -3)
        text = self.canary("ring").encode()
        self.key = LIBC.syscall(self.keyctl - 2, b"user", self.shared.encode(), text, len(text), -4)
        self.ring = LIBC.syscall(self.keyctl, 0, -4, 0)

    def _victim(self) -> subprocess.Popen[bytes]:
        argv = [sys.executable, "-I", "-S", "-c", VICTIM, self.canary("argv")]
        pipe, null = subprocess.PIPE, subprocess.DEVNULL
        victim = subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=null, env={}, process_group=0)
        assert victim.stdin is not None and victim.stdout is not None
        victim.stdin.write(self.canary("memory").encode() + b"\n")
        victim.stdin.flush()
        victim.stdout.readline()
        os.set_blocking(victim.stdout.fileno(), False)
        return victim

    def _open_terminal(self) -> bool:
        """Have a terminal of this process's own; whether anything can be typed into it."""
        try:
            self.held.append(os.openpty())
            tty = os.open(os.ttyname(self.held[-1][1]), os.O_RDWR)
            fcntl.ioctl(tty, 0x5412, b"x")
            os.close(os.open("/dev/tty", os.O_RDWR))
        except OSError:
            return False
        return True

    def has(self, need: str) -> bool:
        """Whether an attack that needs this can succeed here without a sandbox."""
        if need.startswith("cap-"):
            lines = Path("/proc/self/status").read_text().splitlines()
            held = next(line for line in lines if line.startswith("CapEff"))
            return bool(int(held.split()[1], 16) >> int(need[4:]) & 1)
        yama = Path("/proc/sys/kernel/yama/ptrace_scope")
        root = os.geteuid() == 0
        return {
            "": lambda: True,
            "root": lambda: root,
            "root-files": lambda: root and bool(os.listdir("/root")),  # noqa: PTH208
            "ptrace": lambda: root or not yama.exists() or yama.read_text().strip() == "0",
            "devices": lambda: any(os.access(f"/dev/{name}", os.R_OK) for name in DEVICES),
            "core-pattern": lambda: os.access("/proc/sys/kernel/core_pattern", os.W_OK),
            "own-code": lambda: os.access(TOOL_HOST, os.W_OK),
            "userns": lambda: _ends_well("import ctypes; raise SystemExit(ctypes.CDLL(None).unshare(0x10000000))"),
            "ipv6": lambda: "tcp6" in self.sockets,
            "address": lambda: bool(self.addresses),
            "keys": lambda: self.key > 0,
            "terminal": lambda: self._terminal,
            "vsock": lambda: _ends_well("import socket as s; s.socket(s.AF_VSOCK)"),
            "setuid": lambda: any(_is_root_by(folder / "id") for folder in self.planted),
        }[need]()

    def state(self) -> dict[str, object]:
        """All that an attack from outside of a sandbox changes, to be compared."""
        for name, listener in self.sockets.items():
            with contextlib.suppress(OSError):
                while True:
                    if listener.type == socket.SOCK_DGRAM:
                        listener.recv(100)
                    else:
                        listener.accept()[0].close()
                    self.heard[name] = self.heard.get(name, 0) + 1
        assert self.victim.stdout is not None
        found: dict[str, object] = {f"heard {name}": count for name, count in self.heard.items()}
        found["victim"] = (self.victim.poll(), self.victim.stdout.read())
        places = [self.user, self.marks, self.home / "outbox", self.home / "routines", self.home / "secrets.json"]
        kept = ("events.ndjson", "transcript.ndjson", "history", "skills")
        places += [run / name for run in self.runs for name in kept]
        for place in places:
            for path in (place, *place.rglob("*")):
                if path.is_file() and not path.is_symlink():
                    found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
        return found

    def mend(self) -> None:
        """Put back what an attack broke, so that the next one is seen as well."""
        if self.victim.poll() is not None:
            self.victim = self._victim()
        for mark in self.marks.iterdir():
            mark.unlink()

    def close(self) -> None:
        """Leave nothing behind on the machine."""
        self.victim.kill()
        self.victim.wait()
        LIBC.shmctl(self._shm, 0, None)
        LIBC.syscall(self.keyctl, 9, self.key, -4)
        for path in self.shared_files:
            path.unlink(missing_ok=True)


def _ends_well(code: str) -> bool:
    argv = [sys.executable, "-I", "-S", "-c", code]
    return subprocess.run(argv, capture_output=True, check=False).returncode == 0


def _is_root_by(program: Path) -> bool:
    done = subprocess.run([program, "-u"], capture_output=True, check=False) if program.exists() else None
    return done is not None and done.stdout.strip() == b"0"


def running(marker: str) -> list[int]:
    """The processes that have this word in their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and marker.encode() in (entry / "cmdline").read_bytes().split(b"\0"):
                found.append(int(entry.name))
    return found


def gone(marker: str, within_s: float) -> bool:
    """Whether no such process is left after a moment."""
    until = time.monotonic() + within_s
    while running(marker) and time.monotonic() < until:
        pass
    return not running(marker)
