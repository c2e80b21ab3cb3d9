"""F2, F4: an upgrade or a rollback is killed, or the disk fails, at each write; nothing is lost or half done."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

from minion.app import opened
from minion.clock import utc_now
from minion.config import Home
from minion.setup.backups import backups, check_backup
from minion.store.local_db import SCHEMA_VERSION
from minion.store.migrations import stored_version
from minion.store.run_history import breaches
from minion.store.upgrade import holdings, older
from tests.faults.kills import Trials
from tests.minion.older_stores import content_of, put_home_of_version_1
from tests.whole.homes import clean_environment, command_line

DISK: Final = "pwrite64,write,fdatasync,fsync,ftruncate,mkdir"
CALLS: Final = f"{DISK},rename,renameat,renameat2,unlink,unlinkat,rmdir,chmod"
PATIENCE_S: Final = 60.0
SHORT: Final = 8

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
Files = Mapping[str, bytes]


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """A home of version 1."""
    return files_of(put_home_of_version_1(tmp_path_factory.mktemp("old")))


@pytest.fixture(scope="module")
def new(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """The same home after its upgrade."""
    home = put_home_of_version_1(tmp_path_factory.mktemp("new"))
    assert said(home, "upgrade") == 0
    return files_of(home)


def files_of(home: Home) -> dict[str, bytes]:
    """The files of a home."""
    paths = [path for path in home.root.rglob("*") if path.is_file() and not path.name.endswith(("-wal", "-shm"))]
    return {str(path.relative_to(home.root)): path.read_bytes() for path in paths}


def laid_out(folder: Path, files: Files) -> Home:
    """A home with these files, in place of what was there."""
    shutil.rmtree(folder, ignore_errors=True)
    for name, body in files.items():
        path = folder / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_bytes(body)
    return Home(folder)


def said(home: Home, *words: str, tracer: tuple[str, ...] = ()) -> int:
    """A command of the installed program, perhaps under strace; its exit status."""
    done = subprocess.run(
        [*tracer, *command_line(home, *words)], env=clean_environment(home), cwd=home.root.parent,
        stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    return done.returncode


def count(home: Home, words: tuple[str, ...], calls: str, log: Path) -> int:
    """How many such calls the command makes."""
    assert said(home, *words, tracer=("strace", "-f", "-qq", "-o", str(log), "-e", f"trace={calls}")) == 0
    lines = log.read_text(errors="replace").splitlines()
    return sum("resumed>" not in line and re.search(r"\w+\(", line) is not None for line in lines)


def audit(home: Home, content: dict[str, list[object]], files: Files) -> list[str]:
    """What is wrong with a home in which an upgrade or a rollback was cut off, before and after it goes on."""
    wrong = []
    with older(home.store) as db:
        if holdings(db, home.store).broken:
            wrong.append("the log is broken")
    if content_of(home.store) != content:
        wrong.append("the store holds something else")
    if stored_version(home.store) not in (1, SCHEMA_VERSION):
        wrong.append(f"the store is of version {stored_version(home.store)}")
    here = files_of(home)
    routines = [name for name in files if name.startswith("routines/")]
    wrong += [f"{name} is not as it was" for name in routines if here.get(name) != files[name]]
    for backup in backups(home):
        check_backup(backup)
        if content_of(backup.store) != content:
            wrong.append("a backup holds something else")

    async def go_on() -> None:
        async with opened(home, "a test", clock=utc_now, alert=lambda _: None, owns_process=False):
            pass

    asyncio.run(go_on())
    if (stored_version(home.store), content_of(home.store)) != (SCHEMA_VERSION, content):
        wrong.append("the next owner found something else")
    with older(home.store) as db:
        wrong += [f"the chain {breach.chain} broke" for breach in breaches(db)]
    left = [path.name for path in home.root.rglob(".*") if path.name.startswith((".upgrade-", ".minion-v"))]
    return wrong + [f"left behind: {name}" for name in left if not backups(home)]


def series(folder: Path, files: Files, words: tuple[str, ...], faults: list[str]) -> Trials:
    """One fault after another, each in a home of its own, each followed by the audit."""
    trials, content = Trials(), content_of(laid_out(folder / "home", files).store)
    for inject in faults:
        home = laid_out(folder / "home", files)
        calls = inject.partition(":")[0]
        tracer = ("strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={calls}", "-e", f"inject={inject}")
        status = said(home, *words, tracer=tracer)
        trials.count(f"{' '.join(words)} {inject}", f"ended {status}", audit(home, content, files))
    return trials


def kills(folder: Path, files: Files, words: tuple[str, ...], short: int | None) -> list[str]:
    """SIGKILL at each write, or at so many of them, spread evenly."""
    number = count(laid_out(folder / "home", files), words, CALLS, folder / "count.log")
    stride = 1 if short is None else max(1, number // short)
    return [f"{CALLS}:signal=SIGKILL:when={when}" for when in range(1, number + 1, stride)]


def failures(folder: Path, files: Files, words: tuple[str, ...], short: int | None) -> list[str]:
    """A disk that is full or broken for one call, and from one on."""
    number = count(laid_out(folder / "home", files), words, DISK, folder / "count.log")
    stride = 1 if short is None else max(1, 2 * number // short)
    return [
        f"{DISK}:error={error}:when={when}{more}"
        for when in range(1, number + 1, stride)
        for error, more in (("ENOSPC", "+"), ("EIO", ""))
    ]


UP: Final = ("upgrade",)
BACK: Final = ("upgrade", "--rollback", "--yes")


@pytest.mark.heavy
@pytest.mark.promise("UPG-1")
def test_an_upgrade_cut_off_at_some_of_its_writes_leaves_the_store_old_or_new(old: Files, tmp_path: Path) -> None:
    faults = kills(tmp_path, old, UP, SHORT) + failures(tmp_path, old, UP, SHORT)
    assert series(tmp_path, old, UP, faults).wrong == {}


@pytest.mark.heavy
@pytest.mark.promise("UPG-2")
def test_a_rollback_cut_off_at_some_of_its_writes_leaves_the_store_old_or_new(new: Files, tmp_path: Path) -> None:
    faults = kills(tmp_path, new, BACK, SHORT) + failures(tmp_path, new, BACK, SHORT)
    assert series(tmp_path, new, BACK, faults).wrong == {}


@pytest.mark.faults
@pytest.mark.promise("UPG-1")
def test_an_upgrade_killed_at_each_of_its_writes_leaves_the_store_old_or_new(old: Files, tmp_path: Path) -> None:
    trials = series(tmp_path, old, UP, kills(tmp_path, old, UP, None))
    print(trials.told("F2: SIGKILL at each write call of an upgrade"))
    assert trials.wrong == {}


@pytest.mark.faults
@pytest.mark.promise("UPG-1")
def test_an_upgrade_on_a_disk_that_fails_at_any_write_leaves_the_store_old_or_new(
    old: Files, tmp_path: Path
) -> None:
    trials = series(tmp_path, old, UP, failures(tmp_path, old, UP, None))
    print(trials.told("F4: ENOSPC from each write of an upgrade on, EIO at each"))
    assert trials.wrong == {}


@pytest.mark.faults
@pytest.mark.promise("UPG-2")
def test_a_rollback_cut_off_at_each_of_its_writes_leaves_the_store_old_or_new(new: Files, tmp_path: Path) -> None:
    faults = kills(tmp_path, new, BACK, None) + failures(tmp_path, new, BACK, None)
    trials = series(tmp_path, new, BACK, faults)
    print(trials.told("F2, F4: SIGKILL, ENOSPC and EIO at each write call of a rollback"))
    assert trials.wrong == {}
