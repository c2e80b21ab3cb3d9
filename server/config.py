"""HQ's home: its folder and files, and the lock of who owns it; the only reader of HQ's environment.

Which home: `--home`, else `HQ_HOME`, else the platform's data folder (issue 5, DESIGN §7).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from server.contract.refusals import BadUse, Refused

LOG_LEVELS: Final = ("debug", "info", "warning", "error")
# A scheme, a host and perhaps a port: with a path of its own HQ would have to know it in all its links.
_PUBLIC: Final = re.compile(
    r"https?://(?:\[[0-9a-f:.]+\]|[a-z0-9_](?:[a-z0-9._-]*[a-z0-9])?)(?::([0-9]{1,5}))?", re.IGNORECASE | re.ASCII
)
_LARGEST_PORT: Final = 65_535
# What helps where a disk refuses, by what it says; elsewhere it is the folder that is no good.
_NO_SPACE: Final = (errno.ENOSPC, errno.EDQUOT)
_NO_RIGHT: Final = (errno.EROFS, errno.EACCES, errno.EPERM)
_LOCK_BYTES: Final = 4096
_PATIENCE_S: Final = tuple(0.001 * 2**n for n in range(8))
_MOST_TRIES: Final = 40


@dataclass(frozen=True, slots=True)
class HqHome:
    """The folders and files of one HQ; `root` is absolute."""

    root: Path

    @property
    def store(self) -> Path:
        """The database file."""
        return self.root / "hq.db"

    @property
    def lock(self) -> Path:
        """Who owns this home: locked while somebody does, and says who and where it answers."""
        return self.root / "lock"

    @property
    def door_token(self) -> Path:
        """The token by which a program of this user on this machine comes in (0600)."""
        return self.root / "door"

    @property
    def catalogue(self) -> Path:
        """Processes of the user's own, beside those that come with the program."""
        return self.root / "processes"

    @property
    def backups(self) -> Path:
        """Copies of the store."""
        return self.root / "backups"


def home_at(said: str | None) -> HqHome:
    """The home that `--home` names, else `HQ_HOME`, else the platform's data folder."""
    text = said or os.environ.get("HQ_HOME")
    if not text:
        return default_home()
    return HqHome(Path(os.path.abspath(Path(text).expanduser())))  # noqa: PTH100 - links are kept as typed


def default_home() -> HqHome:
    """The home in the platform's data folder."""
    import platformdirs

    return HqHome(Path(platformdirs.user_data_dir("minion-hq", appauthor=False)))


def user_config_folder() -> Path:
    """Where this user's settings of other programs lie, those of systemd among them."""
    said = os.environ.get("XDG_CONFIG_HOME", "")
    return Path(said) if said.startswith("/") else Path.home() / ".config"


def search_path() -> str:
    """Where programs are looked for."""
    return os.environ.get("PATH") or os.defpath


def settings_said() -> dict[str, str]:
    """The settings of HQ that the environment says, apart from its home, by name; those of no value left out."""
    names = ("HQ_PUBLIC_URL", "HQ_LOG", "HQ_ALERT_COMMAND", "HQ_ALERT_SLACK_FILE")
    return {name: os.environ[name] for name in names if os.environ.get(name)}


def public_url() -> str | None:
    """`HQ_PUBLIC_URL`: what links to this HQ begin with, where it is not the address it listens at.

    Raises `BadUse` for anything but `http(s)://HOST[:PORT]`.
    """
    text = os.environ.get("HQ_PUBLIC_URL", "").removesuffix("/")
    if not text:
        return None
    said = _PUBLIC.fullmatch(text)
    if said is None or not 0 < int(said[1] or 1) <= _LARGEST_PORT:
        hint = "say the scheme and host alone, such as https://hq.example.com or http://hq.lan:8080"
        raise BadUse("bad_public_url", "HQ_PUBLIC_URL is no address of the form http(s)://HOST[:PORT].", hint=hint)
    return text


@dataclass(frozen=True, slots=True)
class Alerts:
    """How people are told of minions: a command (its words), and the file that holds a webhook's address."""

    command: tuple[str, ...] = ()
    slack_file: Path | None = None

    @property
    def ways(self) -> tuple[str, ...]:
        """The ways that are set up, by name."""
        return (*(("command",) if self.command else ()), *(("slack",) if self.slack_file is not None else ()))


def alerts() -> Alerts:
    """`HQ_ALERT_COMMAND` (a JSON list of words) and `HQ_ALERT_SLACK_FILE` (a path). Raises `BadUse`."""
    text, command = os.environ.get("HQ_ALERT_COMMAND", ""), ()
    if text:
        try:
            words = json.loads(text)
        except (ValueError, RecursionError):
            words = None
        if not isinstance(words, list) or not words or not all(map(_is_word, words)) or not words[0]:
            hint = """write a list such as ["notify-send", "HQ"]; the message comes on its stdin"""
            raise BadUse("bad_alert_command", "HQ_ALERT_COMMAND is no JSON list of words.", hint=hint)
        command = tuple(words)
    file = os.environ.get("HQ_ALERT_SLACK_FILE", "")
    return Alerts(command, Path(os.path.abspath(Path(file).expanduser())) if file else None)  # noqa: PTH100


def _is_word(word: object) -> bool:
    return isinstance(word, str) and "\0" not in word


def log_level(usual: str) -> str:
    """`HQ_LOG`, else the `usual`: from which level on HQ logs. Raises `BadUse` for a word that is none."""
    level = os.environ.get("HQ_LOG", usual).lower()
    if level not in LOG_LEVELS:
        raise BadUse("bad_log_level", f"HQ_LOG says {level[:40]!r}.", hint=f"say {', '.join(LOG_LEVELS)}")
    return level


@contextmanager
def owned(home: HqHome, command: str) -> Iterator[Lock]:
    """Own a home until the block ends. Raises `Refused`, naming the holder, while somebody else does."""
    try:
        home.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(home.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _unusable(home, error) from error
    try:
        if not _locked(fd, home):
            holder = read_holder(home)
            who = f"`{holder['command']}` (process {holder['pid']})" if holder else "another process"
            hint = "stop it first, or give this one another home with --home"
            raise Refused("home_held", f"The home {home.root} is held by {who}.", hint=hint)
        lock = Lock(fd, command)
        try:
            lock.say()
        except OSError as error:
            raise _unusable(home, error) from error
        try:
            yield lock
        finally:
            with contextlib.suppress(OSError):
                os.ftruncate(fd, 0)
    finally:
        os.close(fd)


def _unusable(home: HqHome, error: OSError) -> Refused:
    """A home whose disk refused, and what helps."""
    hint = "give another folder with --home"
    if error.errno in _NO_SPACE:
        hint = f"free space on its disk, or {hint}"
    elif error.errno in _NO_RIGHT:
        hint = f"see to it that you may write there, or {hint}"
    return Refused("home_unusable", f"The home {home.root} cannot be used ({error.strerror}).", hint=hint)


def _locked(fd: int, home: HqHome) -> bool:
    """Whether the lock could be taken; who only looks whether it is held has it for an instant too.

    Who owns a home says so in its lock. While nobody does, it is lookers that are in the way, or an owner that has
    only just begun: they are waited for longer.
    """
    for number in range(_MOST_TRIES):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if number >= len(_PATIENCE_S) and read_holder(home) is not None:
                return False
            time.sleep(_PATIENCE_S[min(number, len(_PATIENCE_S) - 1)])
            continue
        return True
    return False


@dataclass(slots=True)
class Lock:
    """A lock that is held, and what it says of its holder."""

    fd: int
    command: str

    def say(self, *, url: str | None = None, public: str | None = None) -> None:
        """Write down who holds it, and where the holder answers if it does, and what its public address is.

        Raises `OSError`.
        """
        said = {"pid": os.getpid(), "command": self.command, "url": url, "public_url": public}
        body = json.dumps(said).encode()
        # Written over what is there: a full disk has no room for it once that is cut off.
        os.pwrite(self.fd, body, 0)
        os.ftruncate(self.fd, len(body))


def read_holder(home: HqHome) -> Mapping[str, Any] | None:
    """What the lock says of its holder; None where it says nothing. Whether it is held is another question."""
    with contextlib.suppress(OSError, ValueError):
        with home.lock.open("rb") as file:
            said = json.loads(file.read(_LOCK_BYTES))
        if isinstance(said, dict) and isinstance(said.get("pid"), int):
            return said
    return None


def is_owned(home: HqHome) -> bool:
    """Whether somebody owns a home just now."""
    try:
        fd = os.open(home.lock, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        # Shared: who looks is in no other's way who does, and only for an instant in that of an owner to be.
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


@dataclass(frozen=True, slots=True)
class Address:
    """Where a running HQ of a home answers, and the token by which its owner comes in."""

    url: str
    token: str


def address_of(home: HqHome) -> Address | None:
    """Where the HQ that owns a home answers; None where nobody owns it, or who does answers nobody."""
    holder = read_holder(home)
    if holder is None or not isinstance(holder.get("url"), str) or not is_owned(home):
        return None
    try:
        token = home.door_token.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None
    return Address(str(holder["url"]), token)


@contextmanager
def door_open(home: HqHome, token: str) -> Iterator[None]:
    """Have the door's token lie in a home (0600) until the block ends. Raises `Refused` where the disk does."""
    draft = home.door_token.with_name(f".{home.door_token.name}.{os.getpid()}.part")
    try:
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w") as file:
            file.write(token + "\n")
        draft.replace(home.door_token)
    except OSError as error:
        raise _unusable(home, error) from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            home.door_token.unlink()
