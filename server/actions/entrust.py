"""Tokens, as an operator gives them out: made and rotated, each shown once, and revoked."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from server.contract.digest import instant
from server.contract.refusals import BadUse
from server.contract.spelling import is_slug
from server.storage import token_store
from server.storage.access_store import Caller
from server.storage.database import Connection
from server.storage.definition_store import find_routine


def create_token(
    connection: Connection, caller: Caller, name: str, scope: str, *, routine: str | None = None, now: datetime
) -> dict[str, Any]:
    """A new token, with its text. A `fire` token names its routine: name, id or the beginning of one.

    A `minion` token is good for the minion of its name, and no other. Raises `BadUse`, `NotFound`, and `Refused`
    where the name has two live ones of this scope.
    """
    if (scope == "fire") != (routine is not None):
        says = "A fire token names its routine." if scope == "fire" else f"A {scope[:40]} token names no routine."
        raise BadUse("bad_binding", says, hint="hq token create --scope fire --name N --routine R")
    bound_to = find_routine(connection, routine).id if routine is not None else None
    if scope == "minion":
        if not is_slug(name):
            says = f"{name[:60]!r} is no name of a minion."
            raise BadUse("bad_token_name", says, hint="use small letters, digits and single inner hyphens: alice")
        bound_to = name
    made = token_store.make_token(
        connection, name, scope, bound_to=bound_to, by=caller.id, now=instant(now)
    )  # fmt: skip
    return {"id": made.id, "name": name, "scope": scope, "bound_to": bound_to, "token": made.text}


def rotate_token(connection: Connection, caller: Caller, token: str, *, now: datetime) -> dict[str, Any]:
    """A second token for the client of one, with its text; of two live ones the older is revoked.

    Raises `NotFound`, `Refused`.
    """
    before = {row.id for row in token_store.list_tokens(connection, live_at=instant(now))}
    made = token_store.rotate_token(connection, token, by=caller.id, now=instant(now))
    rows = {row.id: row for row in token_store.list_tokens(connection, live_at=instant(now))}
    row = rows[made.id]
    alike = [each.id for each in rows.values() if _client(each) == _client(row) and each.id != made.id]
    return {"id": made.id, "name": row.name, "scope": row.scope, "bound_to": row.bound_to, "token": made.text,
            "revoked": sorted(before - rows.keys()), "still_live": alike}  # fmt: skip


def revoke_token(connection: Connection, caller: Caller, token: str, *, now: datetime) -> dict[str, Any]:
    """End a token at once. Raises `NotFound`, and `Refused` for one that was revoked."""
    row = token_store.revoke_token(connection, token, by=caller.id, now=instant(now))
    return {"id": row.id, "name": row.name, "scope": row.scope, "revoked_at": instant(now)}


def listed(connection: Connection) -> list[dict[str, Any]]:
    """All tokens, oldest first, without anything by which one could come in."""
    names = ("id", "name", "scope", "bound_to", "created_at", "expires_at", "revoked_at")
    return [{name: getattr(row, name) for name in names} for row in token_store.list_tokens(connection)]


def _client(row: Any) -> tuple[str, str, str | None]:
    return row.name, row.scope, row.bound_to
