"""Asks the system's service managers how a unit stands, and has them act where a person agreed."""

from __future__ import annotations

import contextlib
import os
import pwd
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from server.config import search_path
from server.contract.refusals import Refused
from server.setup.service import Unit

_ASK_S: Final = 10.0
# Stopping waits until what is under way has ended.
_ACT_S: Final = 120.0
_LINGERING: Final = Path("/var/lib/systemd/linger")


@dataclass(frozen=True, slots=True)
class Standing:
    """How a unit stands with its manager: whether one can be talked to here, and what it says.

    `enabled` and `active` are None where nobody can be asked.
    `lingers`: whether this user's services go on without a session; None where nobody can tell, or on macOS.
    """

    usable: bool
    enabled: bool | None
    active: bool | None
    lingers: bool | None


def ask(unit: Unit) -> Standing:
    """What the system says of a unit; nothing is changed."""
    if unit.kind == "launchd":
        if shutil.which("launchctl", path=search_path()) is None:
            return Standing(False, None, None, None)
        loaded = _said("launchctl", "print", _launchd_name(unit)) is not None
        return Standing(True, loaded, loaded, None)
    usable = _said("systemctl", "--user", "show", "--property=Version") is not None
    if not usable:
        return Standing(False, None, None, lingers())
    enabled = _said("systemctl", "--user", "is-enabled", unit.name) == "enabled"
    active = _said("systemctl", "--user", "is-active", unit.name) in ("active", "activating")
    return Standing(True, enabled, active, lingers())


def lingers() -> bool | None:
    """Whether this user's services go on when the last session ends; None where nobody can tell."""
    said = _said("loginctl", "show-user", str(os.getuid()), "--property=Linger")
    if said in ("Linger=yes", "Linger=no"):
        return said == "Linger=yes"
    with contextlib.suppress(OSError, KeyError):
        return True if (_LINGERING / pwd.getpwuid(os.getuid()).pw_name).exists() else None
    return None


def commands_to_begin(unit: Unit) -> list[list[str]]:
    """What brings an installed unit up, now and at each start of the machine."""
    if unit.kind == "launchd":
        return [["launchctl", "bootstrap", f"gui/{os.getuid()}", str(unit.file)]]
    return [["systemctl", "--user", "daemon-reload"], ["systemctl", "--user", "enable", "--now", unit.name]]


def commands_to_begin_anew(unit: Unit) -> list[list[str]]:
    """What has a unit that is up go on as its changed file says."""
    if unit.kind == "launchd":
        return [["launchctl", "bootout", _launchd_name(unit)], *commands_to_begin(unit)]
    return [*commands_to_begin(unit), ["systemctl", "--user", "restart", unit.name]]


def commands_to_end(unit: Unit) -> list[list[str]]:
    """What stops a unit and has it begin no more; said before its file goes."""
    if unit.kind == "launchd":
        return [["launchctl", "bootout", _launchd_name(unit)]]
    return [["systemctl", "--user", "disable", "--now", unit.name]]


def command_to_forget(unit: Unit) -> list[str] | None:
    """What has the manager notice that a unit's file is gone."""
    return ["systemctl", "--user", "daemon-reload"] if unit.kind == "systemd" else None


def act(argv: list[str]) -> None:
    """Have a manager do something. Raises `Refused` with its own words when it does not."""
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=_ACT_S, check=False
        )
        words = " ".join(done.stderr.decode("utf-8", "replace").split())[-300:]
        failed = done.returncode != 0
    except (OSError, subprocess.TimeoutExpired) as error:
        words, failed = str(error), True
    if failed:
        says = f"`{shlex.join(argv)}` did not work ({words or 'it says nothing'})."
        raise Refused("manager_failed", says, hint="see `journalctl --user`, or hq.err of the home on macOS")


def _launchd_name(unit: Unit) -> str:
    return f"gui/{os.getuid()}/{unit.name}"


def _said(*argv: str) -> str | None:
    """What a program printed; None where it is not there. Its status is not asked for what it prints."""
    program = shutil.which(argv[0], path=search_path())
    if program is None:
        return None
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(
            [program, *argv[1:]], stdin=subprocess.DEVNULL, capture_output=True, timeout=_ASK_S, check=False
        )
        said = done.stdout.decode("utf-8", "replace").strip()
        return said if done.returncode == 0 or said else None
    return None
