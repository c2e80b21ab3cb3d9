"""The examination: every check in the order in which its findings are shown."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from minion.config import Home, search_path
from minion.doctor import disk, engines, headquarters, house, machine, programs, repositories, sandbox
from minion.doctor.documents import documents
from minion.doctor.finding import BREAKS, Finding, attempt, broken
from minion.doctor.remedies import as_root, biggest, edit, install, quoted, reinstall
from minion.doctor.walls import walls
from minion.runner.git import GitFailed
from minion.runner.workspace import WorkspaceFailed
from minion.sandbox.tool_client import SandboxUnusable
from server.contract.digest import instant

if TYPE_CHECKING:
    from minion.clock import Clock

Check = Callable[[], Sequence[Finding]]
# What the runner's own parts raise beside what any check may.
_BREAKS: Final = (*BREAKS, SandboxUnusable, GitFailed, WorkspaceFailed)


def examine(home: Home, clock: Clock) -> list[Finding]:
    """Everything that is to be said of this machine and this home.

    Nothing in the home is changed. What is written lies in one folder that is removed at the end.
    """
    now = clock()
    with disk.scratch_in(home.root) as scratch:
        # First, alone and in the main thread: what is started there ends with the thread that started it.
        tools = asyncio.run(_tools(home, scratch, instant(now)))
        routines: list[Mapping[str, Any]] = []
        checks: list[tuple[str, Check, str]] = [
            ("python", machine.python, reinstall()),
            ("packages", machine.packages, reinstall()),
            ("clock", lambda: machine.clock(now), reinstall()),
            ("zone data", lambda: machine.zone_data(home), reinstall()),
            ("disk", lambda: disk.disk(scratch, clock), biggest(scratch.place)),
            ("sqlite", lambda: disk.sqlite(scratch), biggest(scratch.place)),
            *_house(home, instant(now), routines),
            ("program", programs.program, reinstall()),
        ]
        with ThreadPoolExecutor(max_workers=4) as pool:
            found = list(pool.map(lambda check: attempt(*check), checks))
        # In the main thread too, and now that the routines are known.
        read = asyncio.run(_read(scratch, routines))
    return [finding for part in (*found[:2], tools, *found[2:-1], read, found[-1]) for finding in part]


async def _read(scratch: disk.Scratch, routines: Sequence[Mapping[str, Any]]) -> list[Finding]:
    """The repositories of the routines, as far as there is a place to work in and a git to ask."""
    folder = scratch.folder
    if folder is None or shutil.which("git", path=search_path()) is None:
        return []  # said by the findings on the disk and on git
    return await _tried(
        "repositories", lambda: repositories.repositories(_made(folder / "repositories"), routines),
        install("git", again=True),
    )  # fmt: skip


def _house(home: Home, now: str, routines: list[Mapping[str, Any]]) -> list[tuple[str, Check, str]]:
    """The checks on a home; one finding where there is none yet."""
    if os.path.lexists(home.root):
        found = attempt("home", lambda: house.shut(home), as_root(f"ls -ld {quoted(home.root)}"))
        if found:
            return [("home", lambda: found, "")]
    if not house.is_begun(home):
        return [("home", lambda: house.no_home(home), "minion setup")]
    opened = f"chmod -R u+rwX {quoted(home.root)}"
    return [
        ("home", lambda: house.folders(home), opened),
        ("lock", lambda: house.lock(home), opened),
        ("config", lambda: house.config(home), edit(home.config_file)),
        ("secrets", lambda: house.secrets(home), f"chmod 600 {quoted(home.secrets_file)}"),
        ("hq", lambda: headquarters.joined(home), "minion join URL"),
        ("store", lambda: [*house.store(home), *house.left_behind(home)], opened),
        ("routines", lambda: documents(home, now, routines), opened),
    ]


async def _tools(home: Home, scratch: disk.Scratch, now: str) -> list[Finding]:
    """What is started as a run starts it: git, the sandbox, the engines, each in a folder of its own."""
    folder = scratch.folder
    if folder is None:
        return []  # without a place to work in there is nothing to try; the finding on the disk says so
    tries: list[tuple[str, Callable[[], Awaitable[list[Finding]]], str]] = [
        ("git", lambda: programs.git(_made(folder / "git"), now), install("git", again=True)),
        ("sandbox", lambda: sandbox.sandbox(_made(folder / "sandbox"), home), install("bubblewrap", again=True)),
        ("caps", lambda: walls(_made(folder / "walls")), install("bubblewrap", again=True)),
        ("engines", lambda: engines.engines(folder, now, home), reinstall()),
    ]
    return [finding for name, check, fix in tries for finding in await _tried(name, check, fix)]


async def _tried(name: str, check: Callable[[], Awaitable[list[Finding]]], fix: str) -> list[Finding]:
    try:
        return await check()
    except _BREAKS as error:
        return [broken(name, error, fix)]


def _made(folder: Path) -> Path:
    folder.mkdir(mode=0o700)
    return folder
