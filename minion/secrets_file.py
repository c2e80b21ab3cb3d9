"""Reads the home's `secrets.json`: names to strings, for trusted code only, never world-readable."""

from __future__ import annotations

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
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise Refused(
            "secrets_unreadable", f"{path} cannot be read ({error.strerror}).", hint=f"chmod 600 {path}"
        ) from error
    with os.fdopen(fd, "rb") as file:
        status = os.fstat(fd)
        if stat.S_IMODE(status.st_mode) & 0o077 or not stat.S_ISREG(status.st_mode):
            raise Refused("secrets_mode", f"{path} can be read by other users.", hint=f"chmod 600 {path}")
        body = file.read(_BYTES + 1)
    try:
        data = json.loads(body) if len(body) <= _BYTES else None
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict) or not all(isinstance(value, str) for value in data.values()):
        raise BadDocument(
            "secrets_format",
            f"{path} is not a JSON object of names and strings.",
            hint='write {"slack_webhook": "https://…"}',
        )
    short = next((name for name, value in data.items() if len(value) < SHORTEST_SECRET), None)
    if short is not None:
        raise BadDocument(
            "secrets_short",
            f"The secret {short[:60]} in {path} is shorter than {SHORTEST_SECRET} characters.",
            hint="a secret that short cannot be kept out of logs",
        )
    return data
