"""Whether a routine's schedule fires by itself, and what has it do so: said wherever a routine was kept."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from minion.config import Home
from minion.daemon_client import daemon_is_up
from minion.routines.files import routine_files
from minion.standing import GONE
from minion.store.local_db import read_only
from minion.store.standing import halt_now
from server.contract.refusals import Refusal


def why_silent(home: Home, name: str, document: Mapping[str, Any]) -> tuple[str, str] | None:
    """Why a routine with a schedule does not fire by itself, and what mends it; None if it does."""
    if not routine_files(home, name):
        return GONE, f"minion routine remove {name}"
    if document["paused"]:
        return "it is paused", f"minion schedule resume {name}"
    if document["scheduled_by"] != "minion":
        return "HQ schedules it", f"minion routine edit {name}"
    if (halted := _halted(home)) is not None:
        return f"the minion is halted: {halted}", "minion unhalt"
    if not daemon_is_up(home):
        return "no daemon runs the minion", "minion up"
    return None


def fires(home: Home, name: str, document: Mapping[str, Any]) -> str:
    """Whether it fires by itself, as the end of a line; commands stand in it as `minion VERB`."""
    silent = why_silent(home, name, document)
    if silent is None:
        return "by itself: the daemon is up"
    why, command = silent
    if command == "minion up":
        return "once the daemon is up: minion up"
    return f"not by itself: {why}; {command}"


def _halted(home: Home) -> str | None:
    with contextlib.suppress(Refusal), read_only(home.store) as db:
        halted = halt_now(db)
        return None if halted is None else str(halted["why"])
    return None
