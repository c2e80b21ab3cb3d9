"""The machine itself: its Python, its clock and its time zones."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import zoneinfo
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from importlib import metadata
from pathlib import Path
from typing import Final

from minion.admission import answers_of
from minion.config import Home, load_config, search_path
from minion.doctor.finding import Finding, ok, problem, warning
from minion.doctor.remedies import as_root, install, install_zones, reinstall
from minion.store.soundness import sqlite_version
from server.contract.refusals import Refusal

OLDEST_PYTHON: Final = (3, 11)
# No machine that runs this program can rightly show an earlier day.
EARLIEST: Final = datetime(2026, 11, 1, tzinfo=UTC)
# What a daemon and a runner load; imported where no environment variable and no folder can change what is found.
_LOADED: Final = "import minion.app, minion.daemon.supervisor, minion.runner.__main__, minion.engines.script"
# The clocks of Berlin go from 1:00 UTC on that day from one hour ahead of UTC to two.
_ZONE: Final = "Europe/Berlin"
_CHANGE: Final = datetime(2026, 3, 29, 1, tzinfo=UTC)
_CHILD_S: Final = 20.0


def python(version: Sequence[int] = sys.version_info[:3]) -> list[Finding]:
    """The interpreter, and the SQLite it carries."""
    number = ".".join(str(part) for part in version)
    if tuple(version[:2]) < OLDEST_PYTHON:
        wanted = ".".join(map(str, OLDEST_PYTHON))
        return [problem("python", f"This is Python {number}; {wanted} or newer is needed.", install("python3"))]
    return [ok("python", f"Python {number} with SQLite {sqlite_version()} ({sys.executable}).")]


def packages() -> list[Finding]:
    """The document check answers, and what daemon and runner load can be loaded: each in a child, as in use."""
    answers_of([])
    argv = [sys.executable, "-I", "-c", _LOADED]
    done = subprocess.run(argv, capture_output=True, timeout=_CHILD_S, cwd="/", check=False)
    if done.returncode != 0:
        words = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:] or ["no words"]
        return [problem("packages", f"The runner's packages do not load: {words[0]}.", reinstall())]
    return [ok("packages", "The document check answers; daemon and runner load.")]


def clock(now: datetime) -> list[Finding]:
    """The clock is not behind the program's own files, and the machine says that it is kept right."""
    package = Path(__file__).parents[1]
    newest = max((path.stat().st_mtime for path in package.rglob("*.py")), default=0.0)
    # A file may have come from a machine whose clock is a little ahead, or in another zone.
    earliest = max(EARLIEST, datetime.fromtimestamp(newest, UTC) - timedelta(days=1))
    shows = f"{now:%Y-%m-%d %H:%M} UTC"
    if now < earliest:
        says = f"The clock shows {shows}, before this program was made ({earliest:%Y-%m-%d})."
        return [problem("clock", says, _set_clock())]
    kept = _synchronised()
    if kept is None:
        return [ok("clock", f"The clock shows {shows}.")]
    synchronised, enabled = kept
    if synchronised:
        return [ok("clock", f"The clock shows {shows} and is kept by the network's time.")]
    if not enabled:
        return [warning("clock", "Nothing keeps the clock right: network time is off.", _set_clock())]
    fix = as_root("systemctl restart systemd-timesyncd")
    return [warning("clock", "Network time is on, but the clock is not synchronised.", fix)]


def _synchronised() -> tuple[bool, bool] | None:
    """Whether the clock is synchronised, and whether it is meant to be; None where nobody can tell."""
    timedatectl = shutil.which("timedatectl", path=search_path())
    if timedatectl is None:
        return None
    argv = [timedatectl, "show", "-p", "NTPSynchronized", "-p", "NTP"]
    try:
        done = subprocess.run(argv, capture_output=True, timeout=5, check=False)
    except subprocess.TimeoutExpired:
        return None
    said = dict(line.split("=", 1) for line in done.stdout.decode("utf-8", "replace").splitlines() if "=" in line)
    if done.returncode != 0 or said.get("NTPSynchronized") not in ("yes", "no"):
        return None
    return said["NTPSynchronized"] == "yes", said.get("NTP") == "yes"


def _set_clock() -> str:
    if sys.platform == "darwin":
        return as_root("sntp -sS time.apple.com")
    if shutil.which("timedatectl", path=search_path()) is not None:
        return as_root("timedatectl set-ntp true")
    return as_root("hwclock --hctosys")


def zone_data(home: Home) -> list[Finding]:
    """There are time zones, the minion's own loads, and a known change of the clocks is computed right."""
    known = len(zoneinfo.available_timezones())
    if not known:
        return [problem("zone data", "Python finds no time zones at all.", install_zones())]
    try:
        zone = zoneinfo.ZoneInfo(_ZONE)
        before, after = (
            (_CHANGE + timedelta(seconds=by)).astimezone(zone).utcoffset() for by in (-1, 0)
        )
    except (zoneinfo.ZoneInfoNotFoundError, ValueError) as error:
        return [problem("zone data", f"The zone {_ZONE} does not load: {error}.", install_zones())]
    if (before, after) != (timedelta(hours=1), timedelta(hours=2)):
        says = f"The change of the clocks on {_CHANGE:%Y-%m-%d} in {_ZONE} is computed wrong."
        return [problem("zone data", says, install_zones())]
    own = ""
    with contextlib.suppress(Refusal):  # said by the finding on its configuration
        own = f"; this minion lives in {load_config(home).timezone}"
    return [ok("zone data", f"{known} zones from {_zone_place()}{own}.")]


def _zone_place() -> str:
    """Where the zones are read from and which version they are, as far as that can be told."""
    for folder in map(Path, zoneinfo.TZPATH):
        if (folder / _ZONE).is_file():
            version = _version_in(folder)
            return f"{folder}, version {version}" if version else str(folder)
    return f"the package tzdata, version {metadata.version('tzdata')}"


def _version_in(folder: Path) -> str | None:
    """The version that a system's zone data names: in its own file, or in the first line of its source."""
    with contextlib.suppress(OSError):
        return (folder / "+VERSION").read_text().strip()
    with contextlib.suppress(OSError), (folder / "tzdata.zi").open() as file:
        said = file.readline().split()
        return said[-1] if said[:2] == ["#", "version"] else None
    return None
