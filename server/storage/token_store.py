"""Tokens: made, shown once, kept as digests, rotated and revoked.

A token is `hq_SCOPE_` and 256 random bits with a checksum behind them, so that a mistyped or cut one is known as
such without a look into the store, and scanners for leaked secrets find it (DESIGN §7 "Tokens").
"""

from __future__ import annotations

import hashlib
import os
import re
import zlib
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Row, insert, select, update

from server.contract.digest import CROCKFORD
from server.contract.refusals import BadUse, NotFound, Refused
from server.storage.database import Connection
from server.storage.event_store import append_event
from server.storage.tables import TOKENS

SCOPES: Final = ("admin", "session", "ledger", "minion", "reviewer", "fire")
# These are good for one routine, or one minion, alone.
BOUND: Final = ("fire", "minion")
_BITS: Final = 256
_LETTERS: Final = 52  # 5 bits each
_SHAPE: Final = re.compile(r"hq_(admin|session|ledger|minion|reviewer|fire)_([0-9A-HJKMNP-TV-Z]{52})([0-9a-f]{8})")
# Two live ones let a caller go over to the new one without losing a call.
MOST_LIVE: Final = 2
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._@-]{0,63}")


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token as it is shown, once; `id` names it from then on."""

    id: str
    text: str


def digest_of_token(text: str) -> str | None:
    """What is kept of a token; None for a text that is none, as its shape or its checksum shows."""
    found = _SHAPE.fullmatch(text)
    if found is None or _checksum(f"hq_{found[1]}_{found[2]}") != found[3]:
        return None
    return hashlib.sha256(text.encode()).hexdigest()


def make_token(
    connection: Connection, name: str, scope: str, *, bound_to: str | None = None, by: str, now: str,
    expires_at: str | None = None,
) -> NewToken:  # fmt: skip
    """A new token; only its digest is kept. Raises `BadUse`, and `Refused` where two are live already.

    A name and scope (and what it is bound to) are one client: it may have two live tokens, for rotation.
    """
    if scope not in SCOPES:
        raise BadUse("bad_scope", f"{scope[:40]!r} is no scope.", hint=f"use one of {', '.join(SCOPES)}")
    if _NAME.fullmatch(name) is None:
        raise BadUse("bad_token_name", f"{name[:60]!r} is no name.", hint="use letters, digits, dots and hyphens")
    if (scope in BOUND) != (bound_to is not None):
        hint = "name the routine of a fire token, the minion of a minion token, and nothing for others"
        raise BadUse("bad_binding", f"A {scope} token cannot be bound so.", hint=hint)
    live = [row for row in list_tokens(connection, live_at=now) if _client(row) == (name, scope, bound_to)]
    if len(live) >= MOST_LIVE:
        says = f"{name} has {MOST_LIVE} live {scope} tokens already."
        raise Refused("too_many_tokens", says, hint=f"revoke one first: hq token revoke {live[0].id}")
    text = fresh_token(scope)
    digest = digest_of_token(text)
    token_id = "tok_" + "".join(CROCKFORD[byte % 32] for byte in os.urandom(12))
    connection.execute(insert(TOKENS), {
        "id": token_id, "name": name, "scope": scope, "bound_to": bound_to, "prefix": text[: len(scope) + 8],
        "digest": digest, "created_at": now, "expires_at": expires_at,
    })  # fmt: skip
    said = {"token": token_id, "name": name, "scope": scope, "bound_to": bound_to, "digest": digest,
            "expires_at": expires_at}  # fmt: skip
    append_event(connection, "token.created", said, actor=by, now=now)
    return NewToken(token_id, text)


def revoke_token(connection: Connection, token_id: str, *, by: str, now: str) -> Row[Any]:
    """End a token at once. Raises `NotFound`, and `Refused` for one that was revoked."""
    row = connection.execute(select(TOKENS).where(TOKENS.c.id == token_id)).one_or_none()
    if row is None:
        raise NotFound("no_such_token", f"There is no token {token_id[:40]}.", hint="hq token list")
    if row.revoked_at is not None:
        raise Refused("token_revoked", f"The token {token_id} was revoked before.", hint="hq token list")
    connection.execute(update(TOKENS).where(TOKENS.c.id == token_id).values(revoked_at=now))
    append_event(connection, "token.revoked", {"token": token_id, "name": row.name}, actor=by, now=now)
    return row


def rotate_token(connection: Connection, token_id: str, *, by: str, now: str) -> NewToken:
    """A second token for the client of this one; the old one lives until it is revoked, or the next rotation.

    Raises `NotFound`, `Refused`. Of two live ones the older is revoked.
    """
    row = connection.execute(select(TOKENS).where(TOKENS.c.id == token_id)).one_or_none()
    if row is None:
        raise NotFound("no_such_token", f"There is no token {token_id[:40]}.", hint="hq token list")
    live = [each for each in list_tokens(connection, live_at=now) if _client(each) == _client(row)]
    if not live:
        raise Refused("token_revoked", f"The token {token_id} is revoked.", hint="hq token create makes a new one")
    for old in live[: max(0, len(live) - MOST_LIVE + 1)]:
        revoke_token(connection, old.id, by=by, now=now)
    return make_token(connection, row.name, row.scope, bound_to=row.bound_to, by=by, now=now)


def list_tokens(connection: Connection, *, live_at: str | None = None) -> list[Row[Any]]:
    """All tokens in the order they were made; with `live_at` those that are good then."""
    query = select(TOKENS).order_by(TOKENS.c.position)
    if live_at is not None:
        late = TOKENS.c.expires_at.is_not(None) & (TOKENS.c.expires_at <= live_at)
        query = query.where(TOKENS.c.revoked_at.is_(None), ~late)
    return list(connection.execute(query))


def _client(row: Row[Any]) -> tuple[str, str, str | None]:
    return row.name, row.scope, row.bound_to


def fresh_token(scope: str) -> str:
    """The text of a new token, which nobody knows yet."""
    number = int.from_bytes(os.urandom(_BITS // 8))
    letters = "".join(CROCKFORD[(number >> (5 * place)) & 31] for place in range(_LETTERS))
    text = f"hq_{scope}_{letters}"
    return text + _checksum(text)


def _checksum(text: str) -> str:
    return f"{zlib.crc32(text.encode()):08x}"
