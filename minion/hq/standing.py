"""What a minion says to HQ of itself: who it is, how it stands, what is due next, what waits for a person."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from minion.config import Config, Home, is_slug
from minion.engines.registry import ready_engines
from minion.hq.mirror import Held
from minion.routines.files import is_from_hq, routine_files
from minion.secrets_file import secret_names
from minion.skills.loader import clashing_skills, hq_skills, skill_places
from minion.store.decisions import changes_of, digest_of_question, list_decisions
from minion.store.local_db import read_only
from minion.store.slots import handled_of
from server.contract.digest import instant
from server.contract.refusals import Refusal, Refused

if TYPE_CHECKING:
    from minion.owner import Owner

_MOST: Final = 100
_LONGEST: Final = 1000


def hello_of(home: Home, config: Config, version: str) -> dict[str, Any]:
    """Who this minion is, and what it has of its own (the wire's `Hello`)."""
    return {
        "minion": config.minion_id, "name": config.name, "version": version,
        "timezone": config.timezone, "engine": config.engine, "notify": [dict(each) for each in config.notify],
        "engines": _ready_engines(home), "skills": _own_skills(home), "connectors": [],
    }  # fmt: skip


def _ready_engines(home: Home) -> list[str]:
    """The engines that can be used now; which secrets there are is not told."""
    try:
        names = secret_names(home.secrets_file)
    except Refusal:  # doctor says so
        names = frozenset()
    return list(ready_engines(lambda: names))


def _own_skills(home: Home) -> list[str]:
    """The skills that are here without HQ."""
    try:
        places = skill_places(home)
    except Refused:  # two of one name: doctor says so
        return []
    given = hq_skills(home)
    return [name for name, (path, _) in sorted(places.items()) if path.parent != given and is_slug(name)]


async def beat_of(owner: Owner, now: Held, settled: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """How the minion stands (the wire's `Beat`, without its wait)."""
    minion, live = owner.minion, owner.always_on().live()

    def read() -> list[dict[str, Any]]:
        with read_only(minion.home.store) as db:
            return [_hold(row, changes_of(db, row["id"])) for row in list_decisions(db)[:_MOST]]

    seen_to = await minion.writer.transact(lambda db: handled_of(db, list(now.released)))
    trouble = "; ".join(live["trouble"]) or (f"halted: {live['halted']}" if live["halted"] else None)
    return {
        "minion": minion.config.minion_id, "cursor": now.cursor,
        "running": live["running"][:200], "next_due": _next_due(owner), "health": trouble and trouble[:_LONGEST],
        "settled": list(settled), "held": await asyncio.to_thread(read),
        "released": {key: max(until, seen_to.get(key, "")) for key, until in now.released.items()},
        "troubles": _troubles(owner, now)[:_MOST],
    }  # fmt: skip


def _next_due(owner: Owner) -> dict[str, Any] | None:
    """The slot that is due next, and until when it may begin and count as on time."""
    found = owner.always_on().next_slot()
    if found is None:
        return None
    routine, due, grace_s = found
    return {"routine": routine, "due": instant(due), "grace_until": instant(due + timedelta(seconds=grace_s))}


def _troubles(owner: Owner, now: Held) -> list[dict[str, Any]]:
    """Why routines that HQ gave are not in force here."""
    minion, problems = owner.minion, owner.always_on().live()["problems"]
    clashing = clashing_skills(minion.home)
    found: list[dict[str, Any]] = []
    for key, kept in now.routines.items():
        name = str(kept["name"])
        files = routine_files(minion.home, name)
        if files and not is_from_hq(minion.home, files[0]):
            says = f"The minion has a routine {name} of its own, which is in the way of HQ's."
            found.append({"routine": key, "sentence": says, "hint": "rename one of them"})
        elif name in problems:
            found.append({"routine": key, "sentence": problems[name][:_LONGEST], "hint": None})
        for skill in kept.get("skills", []):
            if skill in clashing:
                says = f"The minion has a skill {skill} of its own, and runs that one."
                found.append({"routine": key, "sentence": says, "hint": "rename one of them"})
    return found


def _hold(row: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": row["id"], "kind": row["kind"], "routine": row["routine"], "question": row["question"][:_LONGEST],
        "about": {"changes": changes, "lock": row["subject"]}, "digest": digest_of_question(row),
        "opened_at": row["opened_at"],
    }  # fmt: skip

