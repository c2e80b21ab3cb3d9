"""Who may set a routine off from outside: the holder of that routine's own token, and nobody else."""

from __future__ import annotations

from server.storage.access_store import Caller


def may_fire(caller: Caller, routine: str) -> bool:
    """Whether a caller's token fires the routine of this whole id; no other token does, whatever else it may do.

    A name or the beginning of an id is none: what a token is good for is never looked up by what a request says.
    """
    return caller.scope == "fire" and caller.bound_to is not None and caller.bound_to == routine
