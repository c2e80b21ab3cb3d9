"""The walls that hold a run to its caps on this machine: each is run into, and what gets over it is looked for."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from minion.config import search_path
from minion.daemon import census
from minion.daemon.cgroups import Group, controllers_of, find_ground
from minion.doctor.finding import Finding, ok, warning
from minion.doctor.remedies import install
from minion.runner.stage import python_of_children
from minion.sandbox.bubblewrap import Bind, Envelope
from minion.sandbox.rlimits import tasks_are_bounded
from minion.sandbox.tool_client import SandboxUnusable, ToolHost
from server.contract.quota import Limits

_SOON_S: Final = 5.0
_FEW: Final = 4
_FILE_BYTES: Final = 1024 * 1024
# Starts one that stays below it and one that leaves it for good, then as many as it may; each waits to be killed.
_STARTER: Final = """
import os, signal, sys
def stay():
    null = os.open(os.devnull, os.O_RDWR)
    for fd in range(3):
        os.dup2(null, fd)
    signal.pause()
sys.stdin.readline()
if os.fork() == 0:
    stay()
middle = os.fork()
if middle == 0:
    os.setsid()
    left = os.fork()
    if left == 0:
        stay()
    print(left, flush=True)
    os._exit(0)
os.waitpid(middle, 0)
refused = 0
for _ in range(int(sys.argv[1])):
    try:
        if os.fork() == 0:
            stay()
    except OSError:
        refused += 1
print(refused, flush=True)
signal.pause()
"""
# Leaves one behind, and writes a file of twice the size that one may have.
_LEAVER: Final = """
import os, signal, sys
if os.fork() == 0:
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for fd in range(3):
        os.dup2(null, fd)
    signal.pause()
try:
    with open(sys.argv[1], "wb") as file:
        file.write(bytes(2 * int(sys.argv[2])))
except OSError:
    print("refused")
"""


@dataclass(frozen=True, slots=True)
class Walls:
    """What was seen of the count, of the kernel's group (what it bounds, whether it ended all), of the rest."""

    counted: bool = False
    versions: tuple[int, ...] = ()
    bounds: frozenset[str] = frozenset()
    ended: bool = False
    file_refused: bool = False
    namespace: bool = False


async def walls(folder: Path) -> list[Finding]:
    """Which walls hold what a run may take, tried out in `folder` (empty, the doctor's own)."""
    if not census.can_count():
        says = "This system does not tell of its processes: of a run, only time, disk and output are capped."
        return [ok("caps", says)]
    refused, namespace = await _try_tool_host(folder)
    seen = replace(await _try_group(), file_refused=refused, namespace=namespace)
    if seen.counted and (seen.namespace or seen.ended):
        return [ok("caps", told(seen))]
    there = shutil.which("bwrap", path=search_path()) is not None
    return [warning("caps", told(seen), install("bubblewrap", again=there))]


def told(seen: Walls) -> str:
    """What holds, in one sentence."""
    counts = "the minion counts its processes, memory and disk"
    parts = [counts if seen.counted else "its processes cannot be counted"]
    versions = " and ".join(f"v{number}" for number in seen.versions)
    if seen.ended:
        names = [words for name, words in (("pids", "processes"), ("memory", "memory")) if name in seen.bounds]
        bounds = f"bounds its {' and '.join(names)}" if names else "bounds nothing"
        parts.append(f"a cgroup ({versions}) {bounds} and ends all of it")
    else:
        parts.append(f"its cgroup ({versions}) does not end all of it" if versions else "no cgroup may be used")
    if seen.file_refused:
        parts.append("rlimits bound each file" + (" and a sandbox's tasks" if tasks_are_bounded() else ""))
    else:
        parts.append("rlimits do not hold")
    if seen.namespace:
        parts.append("the sandbox's pid namespace ends what is in it")
    elif seen.ended:
        parts.append("there is no sandbox with a pid namespace")
    else:
        parts.append("there is no sandbox with a pid namespace, so that ending all of it is best effort")
    return f"Of a run, {'; '.join(parts)}."


async def _try_group() -> Walls:
    """Count what a process starts, one that left it included, bound it and end it by its group."""
    ground = find_ground(divide=False)
    argv = [sys.executable, "-I", "-S", "-c", _STARTER, str(2 * _FEW)]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *argv, stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.DEVNULL, cwd="/", start_new_session=True
    )
    group, left = None, 0
    try:
        group = ground.enclose(f"minion-doctor-{os.getpid()}", process.pid, tasks=_FEW, memory_bytes=None)
        assert process.stdin is not None and process.stdout is not None  # noqa: S101 - asked for as pipes
        process.stdin.write(b"begin\n")
        async with asyncio.timeout(_SOON_S):
            left, refused = int(await process.stdout.readline()), int(await process.stdout.readline())
        counted = len(census.descendants(process.pid)) == 1 + 2 * _FEW - refused
        if group is None:
            return Walls(counted)
        bounds = {name for one in ground.hierarchies for name in controllers_of(one)}
        if refused == 0 or group.struck() != "processes":
            bounds.discard("pids")
        inside = left in group.members()
        ended = await asyncio.to_thread(group.kill) and inside and not census.lives(left)
        versions = tuple(sorted({one.version for one in ground.hierarchies}, reverse=True))
        return Walls(counted, versions, frozenset(bounds), ended)
    except (TimeoutError, ValueError):
        return Walls()
    finally:
        await _clear_away(process, group, left)


async def _clear_away(process: asyncio.subprocess.Process, group: Group | None, left: int) -> None:
    for pid in (*census.descendants(process.pid), process.pid, left):
        if pid and census.lives(pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    await process.wait()
    if group is not None:
        await asyncio.to_thread(group.remove)


async def _try_tool_host(folder: Path) -> tuple[bool, bool]:
    """Whether a file beyond its cap was refused, and whether the sandbox ended with all that was in it."""
    envelope = Envelope(binds=(Bind(str(folder), "/scratch", writable=True),))
    limits, log = Limits(disk_bytes=_FILE_BYTES), folder.with_suffix(".log")
    try:
        host = await ToolHost.start(envelope, sandboxed=True, log_path=log, limits=limits)
    except SandboxUnusable:
        host = await ToolHost.start(Envelope(), sandboxed=False, log_path=log, limits=limits)
    place = "/scratch/large" if host.sandboxed else str(folder / "large")
    argv = [python_of_children(), "-I", "-S", "-c", _LEAVER, place, str(_FILE_BYTES)]
    try:
        result = await host.run(argv, cwd="/", timeout_s=_SOON_S, max_bytes=4096)
        inside = census.descendants(host.pid)
    finally:
        await host.close()
    ended = len(inside) > 1 and await asyncio.to_thread(_all_gone, inside)
    return result.stdout == b"refused\n", host.sandboxed and ended


def _all_gone(pids: Sequence[int]) -> bool:
    """Whether processes that were killed are gone, after a moment if need be."""
    until = time.monotonic() + _SOON_S
    while any(map(census.lives, pids)) and time.monotonic() < until:
        time.sleep(0.01)
    return not any(map(census.lives, pids))
