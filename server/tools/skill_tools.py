"""The skills' tools: published as text, kept by version, looked at file by file."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from server.actions import admit
from server.contract.refusals import NotFound
from server.contract.skill import admitted
from server.domain.classification import rigid_steps
from server.domain.skill_files import HEADER, MOST_FILES, checked_skill, readable_skill
from server.storage import definition_store
from server.storage.database import Connection
from server.tools.access import SESSION, WORKING
from server.tools.ledger_tools import Key
from server.tools.mcp_server import READS, REPEATS

if TYPE_CHECKING:
    from server.actions.desk import Desk
    from server.tools.mcp_server import HqServer

SkillText = Annotated[str, Field(max_length=64, description="Skill name.")]


def offer_skills(server: HqServer, desk: Desk) -> None:
    """Register the tools of skills."""

    @server.offer(
        SESSION, REPEATS,
        "Publish a skill (Agent Skills): its files as text, SKILL.md among them. Answers the version and what it "
        "may do that the one before might not; the same bytes again are the same version.",
    )  # fmt: skip
    async def publish_skill(
        files: Annotated[
            dict[str, str], Field(min_length=1, max_length=MOST_FILES, description="Text by relative path.")
        ],
        name: SkillText | None = None,
        client_key: Key = None,
    ) -> dict[str, Any]:
        # Two megabytes take a while to look through: neither the loop nor the store's writer waits for it.
        rigid = rigid_steps(desk.processes.values())
        checked = await asyncio.to_thread(checked_skill, files, name=name, rigid=rigid)
        return await desk.do(admit.publish_skill, checked, client_key=client_key)

    @server.offer(WORKING, READS, "Get a published skill: header, file sizes, and the text of one file.")
    async def get_skill(
        name: SkillText,
        version: Annotated[int, Field(ge=1, description="Default: newest.")] | None = None,
        file: Annotated[str, Field(max_length=1024)] = HEADER,
    ) -> dict[str, Any]:
        return await desk.read(_one, name, version, file)

    @server.offer(WORKING, READS, "List published skills, each in its newest version.")
    async def list_skills(limit: Annotated[int, Field(ge=1, le=200)] = 50) -> dict[str, Any]:
        return await desk.read(_listed, limit)


def _one(connection: Connection, name: str, version: int | None, file: str) -> dict[str, Any]:
    row = definition_store.find_skill(connection, name, version=version)
    files: dict[str, str] = json.loads(row.archive)
    if file not in files:
        says = f"The skill {name} has no file {file[:60]!r} in version {row.version}."
        raise NotFound("no_such_file", says, hint=f"get_skill lists its files: {', '.join(list(files)[:5])}")
    skill = readable_skill(files)
    said = admitted(skill) if skill is not None else {}
    header = {key: said[key] for key in said if key not in ("instructions", "name", "description", "code")}
    return {
        **_row(row), "newest": definition_store.newest_version(connection, name), **header,
        "files": {path: len(text.encode()) for path, text in sorted(files.items())}, "file": file,
        "text": files[file],
    }  # fmt: skip


def _listed(connection: Connection, limit: int) -> dict[str, Any]:
    rows = definition_store.list_skills(connection)
    return {"skills": [_row(row) for row in rows[:limit]], "more": max(0, len(rows) - limit)}


def _row(row: Any) -> dict[str, Any]:
    names = ("name", "version", "digest", "code", "description", "published_by", "published_at")
    return {name: getattr(row, name) for name in names}
