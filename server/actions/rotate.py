"""The token that fires one routine is made, or renewed beside the one in use; it is shown once and never kept."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from server.contract.digest import instant
from server.storage import token_store
from server.storage.access_store import Caller
from server.storage.database import Connection
from server.storage.definition_store import find_routine


def rotate_routine_token(connection: Connection, caller: Caller, routine: str, *, now: datetime) -> dict[str, Any]:
    """A new `fire` token of a routine; of those before it the newest stays good, and older ones end.

    It takes no client key: the answer of a call with one would be kept, and the token in it. Raises `NotFound`,
    `Refused` where several routines fit.
    """
    at, held = instant(now), find_routine(connection, routine)
    live = [
        row for row in token_store.list_tokens(connection, live_at=at)
        # Those that an operator made under names of their own are not a session's to end.
        if row.scope == "fire" and row.bound_to == held.id and row.name == held.name
    ]  # fmt: skip
    for old in live[:-1]:
        token_store.revoke_token(connection, old.id, by=caller.id, now=at)
    if live:
        made = token_store.rotate_token(connection, live[-1].id, by=caller.id, now=at)
    else:
        made = token_store.make_token(connection, held.name, "fire", bound_to=held.id, by=caller.id, now=at)
    return {
        "routine": held.name, "routine_id": held.id, "token": made.text, "token_id": made.id,
        "also_good": [row.id for row in live[-1:]], "revoked": [row.id for row in live[:-1]],
        "note": "Keep the token now: it is shown this once.",
    }  # fmt: skip
