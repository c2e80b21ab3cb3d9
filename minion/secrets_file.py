"""Reads and writes the home's `secrets.json`: names to strings, for trusted code only, never world-readable."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from typing import Final

from server.contract.redaction import SHORTEST_SECRET
from server.contract.refusals import BadDocument, Refused

_BYTES: Final = 65_536


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
        body = file.read(_BYTES + 1)
    try:
        data = json.loads(body) if len(body) <= _BYTES else None
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
        raise _too_short(path, short)
    return data


def _too_short(path: Path, name: str) -> BadDocument:
    return BadDocument(
        "secrets_short",
        f"The secret {name[:60]!r} in {path} is shorter than {SHORTEST_SECRET} characters.",
        hint="give a longer one: one that short cannot be kept out of logs",
    )


def _is_text(value: object) -> bool:
    """Whether it can be written down: JSON lets half a surrogate pair through, which no log could hold."""
    try:
        return isinstance(value, str) and value.encode() is not None
    except UnicodeEncodeError:
        return False


def keep_secret(path: Path, name: str, value: str) -> None:
    """Keep a secret under a name; the file's other secrets stay. The file has mode 0600.

    Raises what `read_secrets` raises, also for this secret, and `Refused` when the file would become too large,
    or the disk refuses; the file is then as it was. Only the home's owner may call this.
    """
    if len(value) < SHORTEST_SECRET:
        raise _too_short(path, name)
    _write(path, {**read_secrets(path), name: value})


def forget_secret(path: Path, name: str) -> None:
    """Take a secret out of the file; the others stay. Without one of that name nothing is written.

    Raises what `read_secrets` raises, and `Refused` when the disk refuses; the file is then as it was.
    """
    known = read_secrets(path)
    if name in known:
        _write(path, {other: value for other, value in known.items() if other != name})


def _write(path: Path, secrets: dict[str, str]) -> None:
    from minion.config import write_private  # the runner reads secrets and never writes one

    text = json.dumps(secrets, indent=2) + "\n"
    if len(text.encode()) > _BYTES:
        raise Refused("secrets_large", f"{path} would be over {_BYTES} bytes.", hint="remove what is not used")
    write_private(path, text)
