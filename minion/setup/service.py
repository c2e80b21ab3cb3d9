"""The unit that has a system start a minion by itself: its text, where it lies, and whether it is still ours.

systemd gets a unit of the user's own manager, macOS an agent of launchd; neither takes root. The unit says all
that the daemon needs, for a service inherits nothing of the shell that installed it.
"""

from __future__ import annotations

import hashlib
import os
import plistlib
import pwd
import re
import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from minion.config import Config, Home, default_home, search_path, unwritable, user_config_folder, write_private
from minion.setup.installation import is_ours, place_of
from server.contract.refusals import NotFound, Refused

Kind = Literal["systemd", "launchd"]
# Over the seconds that runs get to end: for the last of what is written down and told.
STOP_MARGIN_S: Final = 60
_START_S: Final = 600
_AGAIN_S: Final = 10
_SAYS: Final = "Written by minion service install, sha256:"
_MARK: Final = re.compile(rf"^(?:# |<!-- ){_SAYS}([0-9a-f]{{64}})(?: -->)?\n", re.MULTILINE)
# Where programs lie on any machine, behind what the installing shell had.
_USUAL: Final = ("/usr/local/bin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/sbin", "/sbin")
_HOMEBREW: Final = "/opt/homebrew/bin"


@dataclass(frozen=True, slots=True)
class Unit:
    """A service of one home: how its manager calls it, its file, its text, and the PATH in it."""

    kind: Kind
    name: str
    file: Path
    text: str
    path: str
    program: Path

    @property
    def link(self) -> Path | None:
        """The link by which systemd starts it; made by `systemctl enable`."""
        return self.file.parent / "default.target.wants" / self.file.name if self.kind == "systemd" else None


def unit_of(home: Home, config: Config, *, platform: str = sys.platform) -> Unit:
    """The service of a home as it would be installed now. Raises `Refused` where it could not start this program.

    The default home's is called `minion`, any other's by a hash of its path: there can be one for each home.
    """
    program, path = own_program(Path(sys.prefix)), service_path()
    own = "" if home.root == default_home().root else f"-{hashlib.sha256(os.fsencode(home.root)).hexdigest()[:8]}"
    for word in (program, home.root, path):
        if any(ord(letter) < 32 for letter in str(word)):
            says = f"A service cannot be told the path {str(word)!r}."
            raise Refused("unit_path", says, hint="use a path without line breaks and control characters")
    argv = [str(program), "--home", str(home.root), "up", "--foreground"]
    if platform == "darwin":
        label = f"local.minion{own}"
        file = Path.home() / "Library" / "LaunchAgents" / f"{label}.plist"
        text = marked(launchd_text(label, [*argv, "--quiet"], path, home, config.grace_s))
        return Unit("launchd", label, file, text, path, program)
    name = f"minion{own}.service"
    file = user_config_folder() / "systemd" / "user" / name
    text = marked(systemd_text(argv, path, home, config))
    return Unit("systemd", name, file, text, path, program)


def systemd_text(argv: list[str], path: str, home: Home, config: Config) -> str:
    """A unit for systemd's manager of this user (systemd 247 or newer knows all of it)."""
    # The program itself is taken as it is written; only its arguments have their variables filled in.
    line = " ".join([systemd_word(argv[0], filled=False), *(systemd_word(word, filled=True) for word in argv[1:])])
    return f"""\
[Unit]
Description=Minion {config.name} ({_specified(str(home.root))})

[Service]
Type=notify
NotifyAccess=main
ExecStart={line}
Environment={systemd_word(f"PATH={path}", filled=False)}
UMask=0077
Restart=on-failure
RestartSec={_AGAIN_S}
# Nothing gets better by starting again where minion.json or the home itself is no good.
RestartPreventExitStatus=2
TimeoutStartSec={_START_S}
# Runs have {config.grace_s} s to end (grace_s in minion.json).
TimeoutStopSec={config.grace_s + STOP_MARGIN_S}
# The daemon ends its runs in good order; what is left then goes with it.
KillMode=mixed
# The caps of a run are cgroups of the daemon's own; one of them that runs out of memory is no reason to stop.
Delegate=yes
OOMPolicy=continue

[Install]
WantedBy=default.target
"""


def launchd_text(label: str, argv: list[str], path: str, home: Home, grace_s: int) -> str:
    """An agent for launchd: begun when the user logs in, and again when it failed."""
    said = {
        "Label": label,
        "ProgramArguments": argv,
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "ThrottleInterval": _AGAIN_S,
        "ExitTimeOut": grace_s + STOP_MARGIN_S,
        "ProcessType": "Background",
        "Umask": 0o077,
        "EnvironmentVariables": {"PATH": path},
        "StandardErrorPath": str(home.root / "daemon.err"),
    }
    return plistlib.dumps(said, sort_keys=False).decode()


def systemd_word(word: str, *, filled: bool) -> str:
    """A word as systemd reads it back, quoted; `filled`: where `$NAME` would be replaced (systemd.service(5))."""
    text = _specified(word).replace("\\", "\\\\").replace('"', '\\"')
    return '"' + (text.replace("$", "$$") if filled else text) + '"'


def _specified(text: str) -> str:
    return text.replace("%", "%%")


def marked(text: str) -> str:
    """A unit's text with the line that says who wrote it, and the digest of all else."""
    digest = hashlib.sha256(text.encode()).hexdigest()
    if not text.startswith("<?xml"):
        return f"# {_SAYS}{digest}\n{text}"
    head, line, rest = text.partition("<plist")
    return f"{head}<!-- {_SAYS}{digest} -->\n{line}{rest}"


def standing(text: str) -> Literal["ours", "edited", "foreign"]:
    """Whether a unit's file was written by `install`: as it stands, or changed since, or by somebody else."""
    found = _MARK.search(text)
    if found is None:
        return "foreign"
    rest = text[: found.start()] + text[found.end() :]
    return "ours" if hashlib.sha256(rest.encode()).hexdigest() == found[1] else "edited"


def read_unit(unit: Unit) -> str | None:
    """What stands in the unit's file; None where there is none. Raises `Refused` for what is no file to read."""
    try:
        if unit.file.is_symlink():
            return f"{unit.file} is a link"  # such as a masked unit's: nothing that install makes
        return unit.file.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        says = f"{unit.file} cannot be read ({error.strerror})."
        raise Refused("unit_unreadable", says, hint="look at what lies there, and move it away") from error


def place(unit: Unit, *, replace: bool) -> bool:
    """Write the unit's file whole; whether it was changed.

    Raises `Refused` for a file of somebody else's, and for one of ours that somebody edited unless it may be
    replaced; nothing is written then.
    """
    there = read_unit(unit)
    if there == unit.text:
        return False
    if there is not None:
        _check_ours(unit, there, hint="minion service install --replace" if not replace else None)
    write_private(unit.file, unit.text)
    return True


def check_removable(unit: Unit) -> None:
    """Raise what `remove` would refuse."""
    there = read_unit(unit)
    if there is None:
        says = f"No service is installed for this minion ({unit.file})."
        raise NotFound("no_unit", says, hint="minion service install")
    _check_ours(unit, there, hint=f"rm {unit.file} if you want it gone")


def remove(unit: Unit) -> list[Path]:
    """Remove the unit's file and the link by which systemd starts it; what was removed.

    Raises `NotFound` where there is none, `Refused` for a file that `install` did not leave so.
    """
    check_removable(unit)
    gone = []
    try:
        link = unit.link
        if link is not None and link.is_symlink() and link.readlink() in (unit.file, Path("..") / unit.file.name):
            link.unlink()
            gone.append(link)
        unit.file.unlink()
    except OSError as error:
        raise unwritable(unit.file, error) from error
    return [unit.file, *gone]


def _check_ours(unit: Unit, text: str, *, hint: str | None) -> None:
    how = standing(text)
    if how == "foreign":
        says = f"{unit.file} is there, and `minion service install` did not write it."
        raise Refused("foreign_unit", says, hint="move it away first")
    if how == "edited" and hint is not None:
        says = f"{unit.file} was changed since `minion service install` wrote it."
        raise Refused("unit_edited", says, hint=hint)


def own_program(prefix: Path) -> Path:
    """How a service calls the program in an environment: by what outlives the next installation. Raises `Refused`.

    `make install` builds each version in a folder of its own and switches a link to it: the link, then.
    """
    installed = place_of(prefix)
    if installed is not None and is_ours(installed, installed.links[0]):
        return installed.links[0]
    program = prefix / "bin" / "minion"
    if not os.access(program, os.X_OK):
        says = f"There is no program {program} that a service could start."
        raise Refused("no_program", says, hint="make install")
    return program


def service_path() -> str:
    """The PATH of a service: what this shell has, without what is relative, gone or open to others."""
    wanted = [*search_path().split(os.pathsep), *([_HOMEBREW] if sys.platform == "darwin" else []), *_USUAL]
    return os.pathsep.join(dict.fromkeys(folder for folder in wanted if _is_safe(folder)))


def service_environment(unit: Unit, *, lingers: bool | None) -> Mapping[str, str]:
    """The variables that a service has: those of the unit, and those its manager gives every one.

    A manager that lingers, or runs because somebody is logged in, has the user's runtime folder.
    """
    user = pwd.getpwuid(os.getuid())
    said = {"HOME": user.pw_dir, "USER": user.pw_name, "LOGNAME": user.pw_name, "SHELL": user.pw_shell}
    runtime = Path("/run/user") / str(os.getuid())
    if lingers and runtime.is_dir():
        said["XDG_RUNTIME_DIR"] = str(runtime)
    return said | {"PATH": path_in(read_unit(unit) or "") or unit.path}


def path_in(text: str) -> str | None:
    """The PATH that a unit's text sets; None where it sets none."""
    if text.startswith("<?xml"):
        try:
            return str(plistlib.loads(text.encode())["EnvironmentVariables"]["PATH"])
        except (ValueError, KeyError, TypeError, plistlib.InvalidFileException):
            return None
    found = re.search(r'^Environment="PATH=((?:[^"\\]|\\.)*)"$', text, re.MULTILINE)
    if found is None:
        return None
    return re.sub(r"\\(.)", r"\1", found[1]).replace("%%", "%")


def _is_safe(folder: str) -> bool:
    try:
        told = os.stat(folder)  # noqa: PTH116 - a PATH is text
    except (OSError, ValueError):
        return False
    return folder.startswith("/") and stat.S_ISDIR(told.st_mode) and not told.st_mode & stat.S_IWOTH
