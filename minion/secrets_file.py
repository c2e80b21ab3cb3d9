"""Reads and writes the home's `secrets.json`: names to strings, for trusted code only, never world-readable."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from minion.settings import SECRET_NAME
from server.contract.redaction import SHORTEST_SECRET
from server.contract.refusals import BadDocument, BadUse, Refused

# All secrets of a home together, and so the longest that anybody may give.
SECRETS_BYTES: Final = 65_536


def read_secrets(path: Path) -> dict[str, str]:
    """The secrets by name; none when there is no file.

    Raises `Refused` when others can read the file, `BadDocument` when it is no JSON object of strings. No
    message ever quotes the file's content.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return {}
    except OSError as error:
        hint = f"put the file itself at {path}, no link" if error.errno == errno.ELOOP else f"chmod 600 {path}"
        raise Refused("secrets_unreadable", f"{path} cannot be read ({error.strerror}).", hint=hint) from error
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        os.close(fd)
        hint = f"put a file at {path}, mode 600"
        raise Refused("secrets_unreadable", f"{path} is no plain file.", hint=hint)
    with os.fdopen(fd, "rb") as file:
        if stat.S_IMODE(status.st_mode) & 0o077:
            raise Refused("secrets_mode", f"{path} can be read by other users.", hint=f"chmod 600 {path}")
        body = file.read(SECRETS_BYTES + 1)
    try:
        data = json.loads(body) if len(body) <= SECRETS_BYTES else None
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict) or not all(_is_text(value) for pair in data.items() for value in pair):
        raise BadDocument(
            "secrets_format",
            f"{path} is not a JSON object of names and strings.",
            hint='write {"slack_webhook": "https://…"}',
        )
    short = next((name for name, value in data.items() if len(value) < SHORTEST_SECRET), None)
    if short is not None:
        raise _too_short(short, f" in {path}")
    return data


def secret_names(path: Path) -> frozenset[str]:
    """The names of the secrets that are kept. Raises what `read_secrets` raises."""
    return frozenset(read_secrets(path))


def checked_name(name: str) -> str:
    """The name, if a secret can have it. Raises `BadUse`, which never repeats what may be a secret itself."""
    if SECRET_NAME.fullmatch(name) is None:
        hint = "use letters, digits, `_`, `-` and `.`, at most 64, such as slack_webhook"
        raise BadUse("bad_secret_name", "That is no name for a secret.", hint=hint)
    return name


def checked_value(name: str, body: bytes, *, in_header: bool = False) -> str:
    """The secret in what a pipe or a person gave, without the newline that ends it.

    `in_header`: it is sent in a header, and so is one word of visible ASCII. Raises `BadUse` or `BadDocument`;
    neither repeats it.
    """
    try:
        value = body.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        says = f"What was given for the secret {name} is not UTF-8."
        raise BadUse("bad_secret", says, hint="give it as text: encode what is none, as in base64") from error
    if in_header:
        value = value.strip()
        if not all("!" <= sign <= "~" for sign in value):
            hint = "copy it whole, as it was shown when it was made"
            raise BadUse("bad_secret", f"What was given for the secret {name} is not one word.", hint=hint)
    if not value:
        hint = f"give it on standard input: minion secret set {name} < FILE"
        raise BadUse("no_secret", f"Nothing was given for the secret {name}.", hint=hint)
    if len(value) < SHORTEST_SECRET:
        raise _too_short(name)
    return value


def _too_short(name: str, where: str = "") -> BadDocument:
    return BadDocument(
        "secrets_short",
        f"The secret {name[:60]!r}{where} is shorter than {SHORTEST_SECRET} characters.",
        hint="give a longer one: one that short cannot be kept out of logs",
    )


def _is_text(value: object) -> bool:
    """Whether it can be written down: JSON lets half a surrogate pair through, which no log could hold."""
    try:
        return isinstance(value, str) and value.encode() is not None
    except UnicodeEncodeError:
        return False


def keep_secret(path: Path, name: str, value: str) -> bool:
    """Keep a secret under a name; whether anything changed. The file's other secrets stay; it has mode 0600.

    Raises what `read_secrets` raises, also for this secret, and `Refused` when the file would become too large,
    or the disk refuses; the file is then as it was. Of several at once, none undoes another.
    """
    if len(value) < SHORTEST_SECRET:
        raise _too_short(name)
    with _alone(path):
        known = read_secrets(path)
        if known.get(name) != value:
            _write(path, {**known, name: value})
    return known.get(name) != value


def forget_secret(path: Path, name: str) -> bool:
    """Take a secret out of the file; whether it was there. The others stay.

    Raises what `read_secrets` raises, and `Refused` when the disk refuses; the file is then as it was.
    """
    with _alone(path):
        known = read_secrets(path)
        if name in known:
            _write(path, {other: value for other, value in known.items() if other != name})
    return name in known


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Be the only one who writes secrets beside `path`: under a daemon, several commands may at once."""
    from minion.config import unwritable  # the runner reads secrets and never writes one

    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise unwritable(path, error) from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _write(path: Path, secrets: dict[str, str]) -> None:
    from minion.config import write_private  # the runner reads secrets and never writes one

    text = json.dumps(secrets, indent=2) + "\n"
    if len(text.encode()) > SECRETS_BYTES:
        says = f"{path} would be over {SECRETS_BYTES} bytes."
        raise Refused("secrets_large", says, hint="remove what is not used")
    write_private(path, text)
