"""The decisions' tools: what waits for a human is shown; over MCP nothing is ever decided."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from server.actions import decide as deciding
from server.domain.decision import DecisionState
from server.storage import finding_store
from server.storage.database import Connection
from server.tools.access import EVERYBODY, REVIEWER
from server.tools.mcp_server import READS

if TYPE_CHECKING:
    from server.actions.desk import Desk
    from server.tools.mcp_server import HqServer


def offer_decisions(server: HqServer, desk: Desk, *, links: str | None) -> None:
    """Register the tools of decisions; `links` is what the address of a decision's page begins with, if any."""

    @server.offer(EVERYBODY, READS, "List what waits for a human's decision, oldest first, with its evidence.")
    async def list_decisions(
        state: DecisionState | Literal["any"] = "open", limit: Annotated[int, Field(ge=1, le=100)] = 20
    ) -> dict[str, Any]:
        return await desk.read_swept(_listed, state, limit, now=desk.clock(), links=links)

    @server.offer(REVIEWER, READS, "Tell a person where to sign in and decide; this call itself decides nothing.")
    async def decide(decision: Annotated[str, Field(max_length=64, description="Decision id.")]) -> dict[str, Any]:
        return await desk.read_swept(_where, decision, now=desk.clock(), links=links)


def _listed(connection: Connection, state: str, limit: int, *, now: datetime, links: str | None) -> dict[str, Any]:
    rows = finding_store.list_decisions(connection, state=None if state == "any" else state, limit=limit)
    return {"decisions": [deciding.shown(row, now=now, links=links) for row in rows]}


def _where(connection: Connection, decision: str, *, now: datetime, links: str | None) -> dict[str, Any]:
    said = deciding.shown(finding_store.find_decision(connection, decision), now=now, links=links)
    how = f"A person signs in at {said['link']} and decides there" if said["link"] else "A person decides"
    note = f"Nothing was decided. {how}, or with `hq decide {said['id']}`."
    return {**{name: said[name] for name in ("id", "question", "state", "digest", "link")}, "note": note}
