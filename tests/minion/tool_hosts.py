"""Tool hosts for tests: started through the client, or spoken to raw; and what is still alive afterwards."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from minion.sandbox.bubblewrap import Envelope
from minion.sandbox.tool_client import TOOL_HOST, ToolHost

ROOT = Path(__file__).parents[2]
PYTHON = str(Path(sys.executable).resolve())
PATHS = {"PATH": "/usr/bin:/bin"}

# Leaves its session, its process group and its parent, says its number and sleeps for as many seconds.
DAEMON = """
import os, sys, time
if os.fork():
    os.wait()
    sys.exit()
os.setsid()
if os.fork():
    os._exit(0)
print(os.getpid(), flush=True)
null = os.open(os.devnull, os.O_RDWR)
for fd in range(3):
    os.dup2(null, fd)
time.sleep(float(sys.argv[1]))
"""


@asynccontextmanager
async def open_host(
    folder: Path, envelope: Envelope | None = None, *, sandboxed: bool = False
) -> AsyncIterator[ToolHost]:
    """A tool host whose log lies in `folder`; closed at the end."""
    envelope = envelope or Envelope(env=PATHS)
    host = await ToolHost.start(envelope, sandboxed=sandboxed, log_path=folder / "tool_host.log")
    try:
        yield host
    finally:
        await host.close()


class RawHost:
    """A tool host without the client: lines in, lines out."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process

    def say(self, line: bytes | Mapping[str, Any]) -> None:
        """Send one line as it is, or one message."""
        assert self.process.stdin is not None
        self.process.stdin.write((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n")
        self.process.stdin.flush()

    def hear(self) -> dict[str, Any]:
        """The next message."""
        assert self.process.stdout is not None
        message = json.loads(self.process.stdout.readline())
        assert isinstance(message, dict)
        return message


@contextmanager
def raw_host() -> Iterator[RawHost]:
    """A raw tool host that has said it is ready; killed at the end."""
    argv = [PYTHON, "-I", "-S", str(TOOL_HOST)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={}) as process:
        try:
            host = RawHost(process)
            assert host.hear() == {"ready": True, "pid": process.pid, "v": 1}
            yield host
        finally:
            process.kill()


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def running_with(argument: str) -> list[int]:
    """The processes of the whole machine that have `argument` on their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
        except OSError:
            continue
        if argument.encode() in words:
            found.append(int(entry.name))
    return found
