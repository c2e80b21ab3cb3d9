"""Which HQ a minion has joined: its address, and the token that lets it in, in a private file of the home."""

from __future__ import annotations

import contextlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from minion.config import Home, write_private
from server.contract.refusals import BadDocument, BadUse

_LARGEST: Final = 16_384
_LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")
# 256 random bits and a checksum behind a prefix, as `hq token create` prints them (DESIGN §7).
_TOKEN: Final = re.compile(r"[A-Za-z0-9_]{20,200}")


@dataclass(frozen=True, slots=True)
class Membership:
    """`url` is `http(s)://HOST[:PORT]`; `token` is never shown."""

    url: str
    token: str

    def __repr__(self) -> str:
        """Without the token: what is logged may be of anything."""
        return f"Membership({self.url})"


def file_of(home: Home) -> Path:
    """Where it is written down."""
    return home.root / "hq.json"


def membership_of(home: Home) -> Membership | None:
    """The HQ that a home's minion has joined; None where it has joined none. Raises `BadDocument`."""
    try:
        with file_of(home).open("rb") as file:
            said = json.loads(file.read(_LARGEST))
        return Membership(good_url(said["url"]), good_token(said["token"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError, BadUse) as error:
        says = f"{file_of(home)} does not say which HQ this minion has joined."
        raise BadDocument("bad_membership", says, hint="join again: minion join URL") from error


def keep_membership(home: Home, membership: Membership) -> None:
    """Write down which HQ was joined. Raises `Refused` where the disk does."""
    said = {"url": membership.url, "token": membership.token}
    write_private(file_of(home), json.dumps(said, indent=2) + "\n")


def end_membership(home: Home) -> None:
    """Forget the HQ, and its token."""
    with contextlib.suppress(FileNotFoundError):
        file_of(home).unlink()


def good_url(text: Any) -> str:
    """An HQ's address: scheme, host and port alone. Raises `BadUse`.

    Without TLS only on this machine: everybody on the way could read the token.
    """
    hint = "give the address that `hq serve` says, such as http://127.0.0.1:7717 or https://hq.example.com"
    try:
        parts = urlsplit(str(text).strip())
        host, port = parts.hostname, parts.port
    except ValueError:
        parts, host, port = urlsplit(""), None, None
    alone = parts.path in ("", "/") and not (parts.query or parts.fragment or parts.username or parts.password)
    if parts.scheme not in ("http", "https") or not host or not alone or port == 0:
        raise BadUse("bad_hq_url", f"{str(text)[:60]!r} is no address of an HQ.", hint=hint)
    if parts.scheme == "http" and host not in _LOOPBACK:
        says = f"Over plain http anybody on the way to {host} could read the token."
        hint = f"use https, or a tunnel: ssh -N -L 7717:127.0.0.1:7717 {host}, then join http://127.0.0.1:7717"
        raise BadUse("plain_http", says, hint=hint)
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}" + (f":{port}" if port is not None else "")


def good_token(text: Any) -> str:
    """A token as it was pasted. Raises `BadUse` for what cannot be one."""
    token = str(text).strip()
    if _TOKEN.fullmatch(token) is None:
        hint = "paste all of what `hq token create --scope minion --name NAME` printed"
        raise BadUse("bad_hq_token", "That is no token of an HQ.", hint=hint)
    return token
