"""Who may ask HQ for what: tokens as digests, and the answers of calls that may come again.

A token is 256 random bits behind a prefix and before a checksum; only its SHA-256 is kept (DESIGN §7 "Tokens").
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import bindparam, insert, select

from server.contract.digest import digest_of
from server.contract.refusals import Refused
from server.storage.database import Connection
from server.storage.prepared import Prepared
from server.storage.tables import CALLS, TOKENS

_CALL: Final = Prepared(
    select(CALLS).where(CALLS.c.caller == bindparam("caller"), CALLS.c.key == bindparam("key"))
)
_ADD_CALL: Final = Prepared(insert(CALLS), *CALLS.c.keys())
_TOKEN: Final = Prepared(select(TOKENS).where(TOKENS.c.digest == bindparam("digest")))


# Whoever came in by the home's own door, and not by a token of the store.
LOCAL: Final = "local:"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: the token's id, the name it was given, its scope, what alone it is good for, and by which door.

    `door` says `cli` or `page` only where a person is known to have come in; one that says nothing knows of none.
    """

    id: str
    name: str
    scope: str
    bound_to: str | None = None
    door: str = ""

    @property
    def client(self) -> str:
        """Who this is beyond one token: what a client began goes on when its token was rotated.

        Runs and client keys are its own. A name, a scope and what they are bound to are one client; programs of
        this machine's user are one, whatever each of them may do.
        """
        if self.id.startswith(LOCAL):
            return f"{LOCAL}{self.name}"
        return ":".join(part for part in (self.scope, self.name, self.bound_to) if part)


def caller_of(connection: Connection, digest: str, *, now: str) -> Caller | None:
    """Who has the token of this digest; None where it is none, or revoked, or too old."""
    found = token_of(connection, digest, now=now)
    return None if found is None else found[0]


def token_of(connection: Connection, digest: str, *, now: str) -> tuple[Caller, str | None] | None:
    """Who has the live token of this digest, and until which instant it is good, if not for ever; else None."""
    row = _TOKEN.one(connection, {"digest": digest})
    if row is None or (row.revoked_at or "9") <= now or (row.expires_at or "9") <= now:
        return None
    return Caller(row.id, row.name, row.scope, row.bound_to, door="http"), row.expires_at


def once(
    connection: Connection, caller: str, key: str | None, tool: str, request: Mapping[str, Any],
    do: Callable[[], dict[str, Any]], *, now: str,
) -> dict[str, Any]:  # fmt: skip
    """What `do` answers; for a key that the caller used before, what it answered then, and nothing is done.

    Raises `Refused` for a key that came with another call before.
    """
    if key is None:
        return do()
    digest = digest_of([tool, dict(request)])
    before = _CALL.one(connection, {"caller": caller, "key": key})
    if before is not None:
        if before.digest != digest:
            says = f"The client_key {key[:40]} came with another call before ({before.tool})."
            raise Refused("client_key_reused", says, hint="give each call a key of its own")
        answer: dict[str, Any] = json.loads(before.answer)
        return answer
    answer = do()
    said = {"caller": caller, "key": key, "tool": tool, "digest": digest, "answer": json.dumps(answer)}
    _ADD_CALL.do(connection, {**said, "at": now})
    return answer
