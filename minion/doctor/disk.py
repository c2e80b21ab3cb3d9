"""The disk that the home lies on: room, writing, its own clock, and whether a database can live there."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from minion.doctor.finding import Finding, ok, problem, warning
from minion.doctor.remedies import as_root, biggest, give_back, quoted
from minion.store.soundness import try_out

if TYPE_CHECKING:
    from minion.clock import Clock

MIB: Final = 1024 * 1024
LOW_BYTES, LEAST_BYTES = 1024 * MIB, 100 * MIB
LOW_FILES, LEAST_FILES = 10_000, 500
SLOW_SYNC_S: Final = 0.2
CLOCKS_APART_S: Final = 2.0
# File systems of other machines: a lock taken here may not be seen there, and a shared memory file even less.
_REMOTE: Final = re.compile(r"nfs\d?|cifs|smb\d?|smbfs|9p|ceph|afs|glusterfs|lustre|fuse\.(?!ext|snap|lxc).+")
_MOUNTS: Final = Path("/proc/mounts")


@dataclass(frozen=True, slots=True)
class Scratch:
    """A folder that the doctor may fill: `folder`, in `place`, which is the home's `root` or the nearest there is.

    `error` says why nothing can be written in `place`; `folder` is then one of the system's, or None.
    """

    root: Path
    place: Path
    folder: Path | None
    error: OSError | None


@contextmanager
def scratch_in(root: Path) -> Iterator[Scratch]:
    """A folder of the doctor's own on the home's disk, in the home or where it would lie; removed at the end."""
    place = next(folder for folder in (root, *root.parents) if os.path.isdir(folder))  # noqa: PTH112 - never raises
    folder, error = None, None
    try:
        folder = Path(tempfile.mkdtemp(prefix=".doctor-", dir=place))
    except OSError as refused:
        error = refused
        with contextlib.suppress(OSError):
            folder = Path(tempfile.mkdtemp(prefix="doctor-"))
    try:
        yield Scratch(root, place, folder, error)
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def disk(scratch: Scratch, clock: Clock) -> list[Finding]:
    """Room on the home's disk, and one MiB really written, forced to the disk and timed against the clock."""
    if scratch.folder is None or scratch.error is not None:
        return [_unwritable(scratch)]
    told = os.statvfs(scratch.place)
    free, files = told.f_bavail * told.f_frsize, told.f_favail if told.f_files else None
    findings = _room(scratch.place, free, files)
    file = scratch.folder / "written"
    before = clock()
    with file.open("wb") as opened:
        opened.write(os.urandom(MIB))
        opened.flush()
        started = time.perf_counter()
        os.fsync(opened.fileno())
        took = time.perf_counter() - started
        written = datetime.fromtimestamp(os.fstat(opened.fileno()).st_mtime, UTC)
    if took > SLOW_SYNC_S:
        says = f"Forcing 1 MiB to the disk took {took * 1000:,.0f} ms, and each step of a run waits for that."
        findings.append(warning("disk", says, _move_home(scratch)))
    apart = max((before - written).total_seconds(), (written - clock()).total_seconds())
    if apart > CLOCKS_APART_S:
        says = f"The disk's clock and this machine's are {apart:,.0f} s apart."
        findings.append(warning("disk", says, as_root("timedatectl set-ntp true")))
    _, kind = mount_of(scratch.place)
    if is_remote(kind):
        says = f"The home lies on a network file system ({kind}): neither locks nor SQLite are reliable there."
        findings.append(warning("disk", says, _move_home(scratch)))
    if findings:
        return findings
    synced = f"1 MiB was on the disk in {took * 1000:,.0f} ms"
    return [ok("disk", f"{_size(free)} free; {synced}{f' ({kind})' if kind else ''}.")]


def sqlite(scratch: Scratch) -> list[Finding]:
    """A database made as the store is, written and read back by another connection."""
    if scratch.folder is None or scratch.error is not None:
        return []  # said by the finding on the disk
    trial = try_out(scratch.folder)
    if trial.works:
        return [ok("sqlite", "A database with a write-ahead log was written and read back.")]
    seen = f"journal {trial.journal}, read back: {'yes' if trial.read_back else 'no'}, check: {trial.integrity}"
    return [problem("sqlite", f"A database on the home's disk does not work ({seen}).", _move_home(scratch))]


def mount_of(place: Path, mounts: Path = _MOUNTS) -> tuple[Path, str]:
    """Where the file system of a folder is mounted, and its kind, empty where the system does not tell."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        lines = []
    real, found = place.resolve(), (Path("/"), "")
    for line in lines:
        _, where, kind = line.split(" ")[:3]
        point = Path(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), where))
        # A later mount on the same point covers the earlier one.
        if real.is_relative_to(point) and len(point.parts) >= len(found[0].parts):
            found = point, kind
    return found


def is_remote(kind: str) -> bool:
    """Whether a file system of this kind is another machine's."""
    return _REMOTE.fullmatch(kind) is not None


def _room(place: Path, free: int, files: int | None) -> list[Finding]:
    """What is to be said of the free bytes and the free files; `files` is None where there is no limit."""
    found = []
    for amount, low, least, words in (
        (free, LOW_BYTES, LEAST_BYTES, f"{_size(free)} are free on the home's disk"),
        (files, LOW_FILES, LEAST_FILES, f"{files or 0:,} more files fit on the home's disk"),
    ):
        if amount is not None and amount < low:
            tell = problem if amount < least else warning
            found.append(tell("disk", f"Only {words}.", biggest(place)))
    return found


def _unwritable(scratch: Scratch) -> Finding:
    number, words = (scratch.error.errno, scratch.error.strerror) if scratch.error is not None else (None, "?")
    owner = scratch.place.stat().st_uid
    if number == errno.EROFS:
        fix = as_root(f"mount -o remount,rw {quoted(mount_of(scratch.place)[0])}")
    elif number in (errno.ENOSPC, errno.EDQUOT):
        fix = biggest(scratch.place)
    elif scratch.place != scratch.root:
        fix = as_root(f'install -d -m 700 -o "$(id -un)" {quoted(scratch.root)}')
    else:
        fix = f"chmod u+rwx {quoted(scratch.root)}" if owner == os.geteuid() else give_back(scratch.root, owner)
    return problem("disk", f"Nothing can be written in {scratch.place} ({words}).", fix)


def _move_home(scratch: Scratch) -> str:
    """A home on a disk of the machine's own; what is there is copied, and stays until its owner removes it."""
    new = "/var/lib/minion"
    made = as_root(f'install -d -m 700 -o "$(id -un)" {new}')
    copied = f" && cp -a {quoted(scratch.root)}/. {new}/" if scratch.place == scratch.root else ""
    return f"{made}{copied} && export MINION_HOME={new}"


def _size(number: int) -> str:
    return f"{number / (1024 * MIB):,.1f} GiB" if number >= 1024 * MIB else f"{number / MIB:,.0f} MiB"
