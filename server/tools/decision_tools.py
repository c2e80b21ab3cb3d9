"""The decisions' tools: what waits for a human is shown; over MCP nothing is ever decided."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from server.actions import decide as deciding
from server.domain.decision import DecisionState, in_words
from server.tools.access import EVERYBODY, REVIEWER, SESSION
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
        found = await desk.read_swept(deciding.listed, state, limit, now=desk.clock(), links=links)
        return {"decisions": found}

    @server.offer(SESSION | REVIEWER, READS, "Tell a person where to decide; this call itself decides nothing.")
    async def decide(decision: Annotated[str, Field(max_length=64, description="Decision id.")]) -> dict[str, Any]:
        said = await desk.read_swept(deciding.seen, decision, now=desk.clock(), links=links)
        names = ("id", "kind", "question", "changes", "permissions", "state", "digest", "link")
        return {**{name: said[name] for name in names}, "note": _note(said)}


def _note(said: dict[str, Any]) -> str:
    """Where a person decides, and how: this call did nothing."""
    if said["state"] != "open":
        return f"Nothing was decided now: it is {in_words(said['state'])}."
    others = " or ".join(f"`{answer}`" for answer in said["answers"][1:])
    command = f"with `hq decide {said['id']} approve` (or {others}) at a terminal of HQ's machine"
    page = f"at {said['link']}, signed in as themselves, or " if said["link"] else ""
    return f"Nothing was decided. A person decides {page}{command}."
