"""The unit that has a system start HQ by itself: its text, where it lies, and whether it is still ours.

systemd gets a unit of the user's own manager, macOS an agent of launchd; neither takes root. The unit says all
that `hq serve` needs, for a service inherits nothing of the shell that installed it; secrets it says none.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import plistlib
import re
import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal
from xml.sax.saxutils import escape

from server.config import HqHome, default_home, search_path, settings_said, user_config_folder
from server.contract.redaction import Redactor
from server.contract.refusals import NotFound, Refused

Kind = Literal["systemd", "launchd"]
# Over the seconds that what is under way gets to end.
_STOP_S: Final = 30
_AGAIN_S: Final = 10
_SAYS: Final = "Written by hq service install, sha256:"
_MARK: Final = re.compile(rf"^(?:# |<!-- ){_SAYS}([0-9a-f]{{64}})(?: -->)?\n", re.MULTILINE)
# Where programs lie on any machine, behind what the installing shell had.
_USUAL: Final = ("/usr/local/bin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/sbin", "/sbin")
_HOMEBREW: Final = "/opt/homebrew/bin"
_INSTALLED: Final = "program-"


@dataclass(frozen=True, slots=True)
class Unit:
    """A service of one home: how its manager calls it, its file, its text, what it starts, with which settings."""

    kind: Kind
    name: str
    file: Path
    text: str
    program: Path
    settings: Mapping[str, str]

    @property
    def link(self) -> Path | None:
        """The link by which systemd starts it; made by `systemctl enable`."""
        return self.file.parent / "default.target.wants" / self.file.name if self.kind == "systemd" else None


def unit_of(home: HqHome, port: int, *, platform: str = sys.platform) -> Unit:
    """The service of a home as it would be installed now. Raises `Refused` where it could not start this program.

    The default home's is called `minion-hq`, any other's by a hash of its path: there can be one for each home.
    The settings that this shell's environment says go with it, but none that holds a secret.
    """
    program, path, settings = own_program(Path(sys.prefix)), service_path(), settings_said()
    file = settings.get("HQ_ALERT_SLACK_FILE")
    if file is not None:  # a service begins in another folder
        settings["HQ_ALERT_SLACK_FILE"] = os.path.abspath(Path(file).expanduser())  # noqa: PTH100
    _check_words(program, home, path, settings)
    own = "" if home.root == default_home().root else f"-{hashlib.sha256(os.fsencode(home.root)).hexdigest()[:8]}"
    argv = [str(program), "--home", str(home.root), "serve", "--port", str(port)]
    if platform == "darwin":
        label = f"local.minion-hq{own}"
        place_ = Path.home() / "Library" / "LaunchAgents" / f"{label}.plist"
        text = marked(launchd_text(label, argv, {"PATH": path, **settings}, home))
        return Unit("launchd", label, place_, text, program, settings)
    name = f"minion-hq{own}.service"
    place_ = user_config_folder() / "systemd" / "user" / name
    text = marked(systemd_text(argv, {"PATH": path, **settings}, home))
    return Unit("systemd", name, place_, text, program, settings)


def systemd_text(argv: list[str], variables: Mapping[str, str], home: HqHome) -> str:
    """A unit for systemd's manager of this user (systemd 240 or newer knows all of it)."""
    # The program itself is taken as it is written; only its arguments have their variables filled in.
    line = " ".join([systemd_word(argv[0], filled=False), *(systemd_word(word, filled=True) for word in argv[1:])])
    said = "\n".join(
        f"Environment={systemd_word(f'{name}={value}', filled=False)}" for name, value in variables.items()
    )
    return f"""\
[Unit]
Description=HQ of minions ({_specified(str(home.root))})

[Service]
Type=exec
ExecStart={line}
{said}
UMask=0077
Restart=on-failure
RestartSec={_AGAIN_S}
# Nothing gets better by starting again where a setting is no good.
RestartPreventExitStatus=2
TimeoutStopSec={_STOP_S}
# HQ ends in good order; what it started then goes with it.
KillMode=mixed

[Install]
WantedBy=default.target
"""


def launchd_text(label: str, argv: list[str], variables: Mapping[str, str], home: HqHome) -> str:
    """An agent for launchd: begun when the user logs in, and again when it failed."""
    said = {
        "Label": label,
        "ProgramArguments": argv,
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "ThrottleInterval": _AGAIN_S,
        "ExitTimeOut": _STOP_S,
        "ProcessType": "Background",
        "Umask": 0o077,
        "EnvironmentVariables": dict(variables),
        "StandardErrorPath": str(home.root / "hq.err"),
    }
    return plistlib.dumps(said, sort_keys=False).decode()


def systemd_word(word: str, *, filled: bool) -> str:
    """A word as systemd reads it back, quoted; `filled`: where `$NAME` would be replaced (systemd.service(5))."""
    text = _specified(word).replace("\\", "\\\\").replace('"', '\\"')
    return '"' + (text.replace("$", "$$") if filled else text) + '"'


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
    """Write the unit's file whole, for its user alone; whether it was changed.

    Raises `Refused` for a file of somebody else's, and for one of ours that somebody edited unless it may be
    replaced; nothing is written then.
    """
    there = read_unit(unit)
    if there == unit.text:
        return False
    if there is not None:
        _check_ours(unit, there, hint="hq service install --replace" if not replace else None)
    draft = unit.file.with_name(f".{unit.file.name}.{os.getpid()}.part")
    try:
        unit.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(unit.text.encode())
            file.flush()
            os.fsync(file.fileno())
        draft.replace(unit.file)
    except OSError as error:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise _unwritable(unit.file, error) from error
    return True


def check_removable(unit: Unit) -> None:
    """Raise what `remove` would refuse."""
    there = read_unit(unit)
    if there is None:
        says = f"No service is installed for this HQ ({unit.file})."
        raise NotFound("no_unit", says, hint="hq service install")
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
        raise _unwritable(unit.file, error) from error
    return [unit.file, *gone]


def names_program(unit: Unit, text: str) -> bool:
    """Whether a unit's text starts the program that `install` would have it start now."""
    if unit.kind == "launchd":
        return f"<string>{escape(str(unit.program))}</string>" in text
    return f"ExecStart={systemd_word(str(unit.program), filled=False)} " in text


def own_program(prefix: Path) -> Path:
    """How a service calls the program in an environment: by what outlives the next installation. Raises `Refused`.

    `make install` builds each version in a folder of its own below PREFIX/share/minion-hq, and switches the link
    PREFIX/bin/hq to it: the link, then.
    """
    share = prefix.parent
    if prefix.name.startswith(_INSTALLED) and (share.name, share.parent.name) == ("minion-hq", "share"):
        link = share.parent.parent / "bin" / "hq"
        if link.is_symlink() and str(link.readlink()).startswith(f"{share}/{_INSTALLED}"):
            return link
    program = prefix / "bin" / "hq"
    if not os.access(program, os.X_OK):
        says = f"There is no program {program} that a service could start."
        raise Refused("no_program", says, hint="make install")
    return program


def service_path() -> str:
    """The PATH of a service: what this shell has, without what is relative, gone or open to others."""
    wanted = [*search_path().split(os.pathsep), *([_HOMEBREW] if sys.platform == "darwin" else []), *_USUAL]
    return os.pathsep.join(dict.fromkeys(folder for folder in wanted if _is_safe(folder)))


def _check_words(program: Path, home: HqHome, path: str, settings: Mapping[str, str]) -> None:
    """Refuse what no unit can say, and what it may not."""
    words = {"The program's path": str(program), "The home's path": str(home.root), "PATH": path, **settings}
    for name, word in words.items():
        if any(ord(letter) < 32 for letter in word):
            says = f"{name} holds a line break or another control character, which no unit can say."
            raise Refused("unit_words", says, hint="do without it")
    redactor = Redactor()
    for name, value in settings.items():
        if redactor.text(value) != value:
            says = f"{name} holds what looks like a secret, and a unit is no place for one."
            raise Refused("unit_secret", says, hint="put the secret into a file that the command reads, mode 600")


def _check_ours(unit: Unit, text: str, *, hint: str | None) -> None:
    how = standing(text)
    if how == "foreign":
        says = f"{unit.file} is there, and `hq service install` did not write it."
        raise Refused("foreign_unit", says, hint="move it away first")
    if how == "edited" and hint is not None:
        says = f"{unit.file} was changed since `hq service install` wrote it."
        raise Refused("unit_edited", says, hint=hint)


def _unwritable(path: Path, error: OSError) -> Refused:
    says = f"{path} cannot be written ({error.strerror})."
    return Refused("cannot_write", says, hint="check the disk's free space and the rights of its folder")


def _specified(text: str) -> str:
    return text.replace("%", "%%")


def _is_safe(folder: str) -> bool:
    try:
        told = os.stat(folder)  # noqa: PTH116 - a PATH is text
    except (OSError, ValueError):
        return False
    return folder.startswith("/") and stat.S_ISDIR(told.st_mode) and not told.st_mode & stat.S_IWOTH
