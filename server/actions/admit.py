"""Publishes skills: what was held against the rules is kept as a version, and what it newly may do is said."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from server.contract.digest import canonical_json, instant
from server.domain.skill_files import SkillFiles, permission_delta, readable_skill
from server.storage.access_store import Caller, once
from server.storage.database import Connection
from server.storage.definition_store import find_skill, keep_skill, newest_version
from server.storage.event_store import append_event


def publish_skill(
    connection: Connection, caller: Caller, checked: SkillFiles, *, client_key: str | None, now: datetime
) -> dict[str, Any]:
    """Keep a skill's files as its next version; what was published before, to the byte, is that version still.

    Answers its permission delta against the version before it. Raises `Refused` for a client key of another call.
    """
    at, skill = instant(now), checked.skill

    def do() -> dict[str, Any]:
        newest = newest_version(connection, skill.name)
        row = keep_skill(connection, {
            "digest": checked.digest, "name": skill.name, "description": skill.description, "code": checked.code,
            "archive": canonical_json(dict(checked.files)).encode(),
        }, by=caller.id, now=at)  # fmt: skip
        before = None
        if row.version > 1:
            earlier = find_skill(connection, skill.name, version=row.version - 1)
            before = readable_skill(json.loads(earlier.archive))
        answer = {
            "skill": skill.name, "version": row.version, "digest": row.digest, "code": row.code,
            "new": row.version > newest, "newest": max(row.version, newest),
            "compared_with": row.version - 1 or None,
            "permissions": permission_delta(before, skill), "ignored": list(checked.ignored),
        }  # fmt: skip
        if answer["new"]:
            said = ("skill", "version", "digest", "code", "permissions")
            append_event(connection, "skill.published", {k: answer[k] for k in said}, actor=caller.id, now=at)
        return answer

    return once(connection, caller.client, client_key, "publish_skill", {"digest": checked.digest}, do, now=at)
