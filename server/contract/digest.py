"""Canonical JSON, digests, ids, instants as text, and the hash chain that makes a log tamper-evident."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
IdPrefix = Literal["trig_", "run_", "session_", "eff_", "dec_", "gap_"]
ID_BODY = re.compile(r"01[0-9A-HJKMNP-TV-Z]{20}")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
CHAIN_START = "0" * 64
# Made once: `json.dumps` makes one for each call that says how.
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def canonical_json(value: Any) -> str:
    """`value` as JSON with sorted keys, no spaces and no NaN: equal values give equal text.

    Raises `ValueError` on NaN or infinity and `TypeError` on what JSON cannot hold.
    """
    return _CANONICAL.encode(value)


def digest_of(value: Any) -> str:
    """`sha256:` and 64 hex digits over the canonical JSON of `value`."""
    return digest_bytes(canonical_json(value).encode())


def digest_bytes(body: bytes) -> str:
    """`sha256:` and 64 hex digits over `body`."""
    return "sha256:" + hashlib.sha256(body).hexdigest()


def digest_tree(files: Mapping[str, bytes]) -> str:
    """The digest of a folder: over its sorted relative POSIX paths, each with the digest of its bytes."""
    return digest_of([[path, digest_bytes(files[path])] for path in sorted(files)])


def new_id(prefix: IdPrefix) -> str:
    """A fresh id: the prefix, `01` (the id format's version) and 20 random Crockford characters (100 bits)."""
    # What `secrets` does, without the 8 ms that its import costs every command and every runner.
    return prefix + "01" + "".join(CROCKFORD[byte % 32] for byte in os.urandom(20))


def is_id(text: str, prefix: IdPrefix) -> bool:
    """Whether `text` is a whole id with this prefix."""
    return text.startswith(prefix) and ID_BODY.fullmatch(text[len(prefix) :]) is not None


def begins_id(text: str, prefix: IdPrefix) -> bool:
    """Whether `text` can be meant as the beginning of one id: the prefix alone is that of every one."""
    return text.startswith(prefix) and text != prefix


def read_uuid(said: Any) -> str:
    """A UUID as this program writes one. Raises `ValueError`, `AttributeError`, `TypeError` for what is none."""
    if isinstance(said, str) and _UUID.fullmatch(said):
        return said
    import uuid  # milliseconds for who wrote it otherwise: in capitals, in braces

    return str(uuid.UUID(said))


def instant(moment: datetime) -> str:
    """An aware time as `YYYY-MM-DDTHH:MM:SS.mmmZ` (UTC, milliseconds cut off).

    Raises `ValueError` for a naive time: no function here guesses a zone.
    """
    if moment.tzinfo is None:
        raise ValueError("an instant needs a time zone")
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_instant(text: str) -> datetime:
    """The aware UTC time that `instant` wrote. Raises `ValueError` on other text."""
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} carries no zone")
    return moment.astimezone(UTC)


def link(previous: str, body: bytes) -> str:
    """The next hash of a chain: sha256 over the previous hash (64 hex digits) and the stored bytes."""
    return hashlib.sha256(previous.encode() + b"\n" + body).hexdigest()


def first_broken_link(entries: Iterable[tuple[bytes, str]], *, start: str = CHAIN_START) -> int | None:
    """The position of the first entry whose stored hash does not follow from its predecessor, or None.

    `entries` yields (stored bytes, stored hash) in order.
    """
    previous = start
    for position, (body, stored) in enumerate(entries):
        if link(previous, body) != stored:
            return position
        previous = stored
    return None
