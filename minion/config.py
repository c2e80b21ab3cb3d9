"""The home of one minion: its folders, its identity, its lock; the only reader of the environment.

Which home: `--home`, else `MINION_HOME`, else the platform's data folder (DECISIONS, issue "Commands").
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from minion.process_table import is_there, started
from minion.settings import AUTO as AUTO
from minion.settings import DOLLARS_PER_DAY as DOLLARS_PER_DAY
from minion.settings import DOLLARS_PER_MONTH as DOLLARS_PER_MONTH
from minion.settings import KEPT_RUNS as KEPT_RUNS
from minion.settings import LONGEST_ARGUMENT as LONGEST_ARGUMENT
from minion.settings import MOST_ARGUMENTS as MOST_ARGUMENTS
from minion.settings import Config as Config
from minion.settings import WrongSetting, read_settings
from minion.settings import is_slug as is_slug
from minion.settings import is_zone as is_zone
from minion.settings import wrong_dollars as wrong_dollars
from server.contract.refusals import BadDocument, NotFound, Refused

# What ssh and a proxy need to reach a remote; nothing else of the caller's environment goes further.
_PASSED: Final = ("HOME", "SSH_AUTH_SOCK", "USER", "LOGNAME", "https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY")
_LARGEST_CONFIG: Final = 65_536


@dataclass(frozen=True, slots=True)
class Home:
    """The folders of a minion; `root` is absolute."""

    root: Path

    @property
    def config_file(self) -> Path:
        """`minion.json`: who this minion is."""
        return self.root / "minion.json"

    @property
    def store(self) -> Path:
        """The database file."""
        return self.root / "minion.db"

    @property
    def routines(self) -> Path:
        """The routine files: the truth of what runs."""
        return self.root / "routines"

    @property
    def skills(self) -> Path:
        """The user's own skills."""
        return self.root / "skills"

    @property
    def runs(self) -> Path:
        """One folder per run."""
        return self.root / "runs"

    @property
    def outbox(self) -> Path:
        """Files that runs deliver, by routine."""
        return self.root / "outbox"

    @property
    def socket_file(self) -> Path:
        """Says where the socket of the daemon that owns this home lies."""
        return self.root / "socket"

    @property
    def daemon_log(self) -> Path:
        """What the daemon says."""
        return self.root / "daemon.log"

    @property
    def backups(self) -> Path:
        """Copies of the store from before it was upgraded."""
        return self.root / "backups"

    @property
    def secrets_file(self) -> Path:
        """`secrets.json`, mode 0600."""
        return self.root / "secrets.json"


def home_at(said: str | None) -> Home:
    """The home that `--home` names, else `MINION_HOME`, else the platform's data folder."""
    text = said or os.environ.get("MINION_HOME")
    if text:
        return Home(Path(os.path.abspath(Path(text).expanduser())))  # noqa: PTH100 - links are kept as typed
    return default_home()


def default_home() -> Home:
    """The home in the platform's data folder."""
    import platformdirs

    return Home(Path(platformdirs.user_data_dir("minion", appauthor=False)))


def reaching(home: Home, command: str) -> str:
    """A command, `minion …`, as it reaches this home from anywhere: with `--home` unless it is the default one."""
    if home.root == default_home().root:
        return command
    return f"minion --home {shlex.quote(str(home.root))}{command.removeprefix('minion')}"


def user_config_folder() -> Path:
    """Where this user's settings of other programs lie, those of systemd among them."""
    said = os.environ.get("XDG_CONFIG_HOME", "")
    return Path(said) if said.startswith("/") else Path.home() / ".config"


def search_path() -> str:
    """Where programs are looked for."""
    return os.environ.get("PATH") or os.defpath


def runtime_folders() -> tuple[Path, ...]:
    """Where a user's sockets may lie, best first: XDG_RUNTIME_DIR, then a folder of this user's in /tmp."""
    said = os.environ.get("XDG_RUNTIME_DIR", "")
    own = Path("/tmp") / f"minion-{os.getuid()}"  # noqa: S108 - made 0700, and looked at before it is used
    return (*([Path(said)] if said.startswith("/") else []), own)


def notify_socket() -> str | None:
    """Where a service manager waits to hear that the daemon is ready."""
    return os.environ.get("NOTIFY_SOCKET")


def passed_environment() -> dict[str, str]:
    """The few variables of the caller that git needs to reach a remote."""
    return {name: os.environ[name] for name in _PASSED if name in os.environ}


def machine_zone() -> str:
    """The machine's IANA time zone: TZ, else what /etc/localtime points at, else UTC."""
    candidates = [os.environ.get("TZ", "").removeprefix(":")]
    with contextlib.suppress(OSError):
        candidates.append(os.path.realpath("/etc/localtime").partition("zoneinfo/")[2])
        candidates.append(Path("/etc/timezone").read_text().strip())
    return next((key for key in candidates if is_zone(key)), "UTC")


def load_config(home: Home) -> Config:
    """The configuration of an initialised home.

    Raises `NotFound` when the home was not initialised, `BadDocument` naming the field that is wrong.
    """
    try:
        with home.config_file.open("rb") as file:
            body = file.read(_LARGEST_CONFIG + 1)
    except FileNotFoundError:
        raise NotFound("no_home", f"There is no minion in {home.root}.", hint="minion init") from None
    except OSError as error:
        raise Refused(
            "home_unreadable",
            f"{home.config_file} cannot be read ({error.strerror}).",
            hint=_other_home(home, "mend its rights"),
        ) from error
    if len(body) > _LARGEST_CONFIG:
        raise _wrong(home, f"it is over {_LARGEST_CONFIG // 1024} KiB")
    try:
        data = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise _wrong(home, "it is not JSON") from error
    try:
        return read_settings(data)
    except WrongSetting as error:
        raise _wrong(home, str(error)) from error


def save_config(home: Home, config: Config) -> None:
    """Write `minion.json` whole. Raises `Refused` when it would be too large, or the disk refuses."""
    text = json.dumps(config.as_data(), indent=2) + "\n"
    if len(text) > _LARGEST_CONFIG:
        says = f"{home.config_file} would be over {_LARGEST_CONFIG // 1024} KiB."
        raise Refused("config_large", says, hint="make the alert command or the list of repositories shorter")
    write_private(home.config_file, text)


def _wrong(home: Home, what: str) -> BadDocument:
    return BadDocument("bad_config", f"{home.config_file}: {what}.", hint="mend the file, or put a backup back")


def write_private(path: Path, text: str) -> None:
    """Write a file whole or not at all, readable by its owner only. Raises `Refused` when the disk refuses."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise unwritable(path, error) from error


def unwritable_home(home: Home, error: OSError) -> Refused:
    """The refusal for a home in which no folder or lock can be made."""
    says = f"The home {home.root} cannot be written ({error.strerror})."
    return Refused("home_unwritable", says, hint=_other_home(home, "check its rights"))


def _other_home(home: Home, mend: str) -> str:
    if home.root.exists() and not home.root.is_dir():
        return f"{home.root} is no folder: name one with --home"
    return f"{mend}, or name another folder with --home"


def unwritable(path: Path, error: OSError) -> Refused:
    """The refusal for a file or folder that the disk or its rights did not let be written."""
    says = f"{path} cannot be written ({error.strerror})."
    return Refused("cannot_write", says, hint="check the disk's free space and the rights of its folder")


@contextmanager
def held(home: Home, command: str) -> Iterator[None]:
    """Own the home until the block ends: only its owner writes the store.

    Raises `Refused` naming the holder when another process owns it, and when the home cannot be written. The
    lock dies with the process.
    """
    try:
        home.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(home.root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise unwritable_home(home, error) from error
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = _holder(fd)
            daemon = holder.startswith("`minion up`")
            raise Refused(
                "home_held",
                f"The home {home.root} is in use by {holder}.",
                hint="minion status; `minion down` has it end" if daemon else "wait until it is done, or stop it",
            ) from error
        os.ftruncate(fd, 0)
        said = {"pid": os.getpid(), "command": command, "started": started(os.getpid())}
        os.pwrite(fd, json.dumps(said).encode(), 0)
        yield
        os.ftruncate(fd, 0)
    finally:
        os.close(fd)


def holder_of(home: Home) -> tuple[int, str] | None:
    """The process (id, command) that the home's lock names; None when it names none."""
    named = _named(home)
    return None if named is None else named[:2]


def holder_now(home: Home) -> tuple[int, str] | None:
    """`holder_of`, if that very process is there still: one that was killed leaves its name in the lock."""
    named = _named(home)
    return named[:2] if named is not None and is_there(named[0], named[2]) else None


def _named(home: Home) -> tuple[int, str, str] | None:
    """The process that the lock names: id, command, start."""
    try:
        said = json.loads((home.root / "lock").read_bytes())
        return int(said["pid"]), str(said["command"]), str(said.get("started", ""))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _holder(fd: int) -> str:
    try:
        said = json.loads(os.pread(fd, 4096, 0))
        return f"`{said['command']}` (process {said['pid']})"
    except (ValueError, KeyError, TypeError):
        return "another process"


def editors() -> tuple[dict[str, str], tuple[str, ...]]:
    """The commands that may open a file for a person: what VISUAL and EDITOR say, by variable, and common ones."""
    return {name: os.environ[name] for name in ("VISUAL", "EDITOR") if os.environ.get(name)}, ("nano", "vi")
