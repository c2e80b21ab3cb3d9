"""The gaps' tools: what a run lacked is recorded, listed, and proposed to be closed or declined."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from server.actions import escalate
from server.contract.run import GapType
from server.domain.gap import STILL_OPEN, GapState
from server.storage import finding_store
from server.storage.database import Connection
from server.tools.access import EVERYBODY, REVIEWER, WORKING
from server.tools.ledger_tools import Key
from server.tools.mcp_server import ADDS, READS

if TYPE_CHECKING:
    from server.actions.desk import Desk
    from server.tools.mcp_server import HqServer


Names = Annotated[list[Annotated[str, Field(min_length=1, max_length=200)]], Field(max_length=20)]


class Needs(BaseModel):
    """What may be done with a proposal that may not be done today; {} if nothing."""

    model_config = ConfigDict(extra="forbid")

    hosts: Names = []
    secrets: Names = []
    effects: Names = []
    tools: Names = []


def offer_gaps(server: HqServer, desk: Desk) -> None:
    """Register the tools of gaps."""

    @server.offer(
        WORKING, ADDS,
        "Record a capability that your work lacked (a step, skill, tool, connector …). The same one again counts: "
        "3 times make it medium, 5 high priority.",
    )  # fmt: skip
    async def record_gap(
        gap_type: GapType,
        requested_code: Annotated[
            str, Field(min_length=1, max_length=100, description="Such as LLM-SUMMARIZE-ALERT.")
        ],
        description: Annotated[str, Field(min_length=1, max_length=4096)],
        agent_id: Annotated[str, Field(max_length=200)] | None = None,
        context_samples: Annotated[list[dict[str, Any]], Field(max_length=escalate.MOST_SAMPLES)] | None = None,
        run: Annotated[str, Field(max_length=64)] | None = None,
        client_key: Key = None,
    ) -> dict[str, Any]:
        return await desk.do(
            escalate.record_gap, gap_type, requested_code, description, agent_id=agent_id,
            context_samples=context_samples or (), run=run, client_key=client_key,
        )  # fmt: skip

    @server.offer(EVERYBODY, READS, "List gaps, most often met first, each with its newest evidence.")
    async def list_gaps(
        state: GapState | Literal["any"] | None = None, gap_type: GapType | None = None,
        limit: Annotated[int, Field(ge=1, le=200)] = 20, skip: Annotated[int, Field(ge=0)] = 0,
    ) -> dict[str, Any]:  # fmt: skip
        states = None if state == "any" else STILL_OPEN if state is None else (state,)
        return await desk.read(listed_gaps, states=states, gap_type=gap_type, limit=limit, skip=skip)

    @server.offer(
        REVIEWER, ADDS,
        "Propose what closes a gap, for a human to decide, or decline it with the reason. A gap's sent_back says "
        "what a person wants otherwise.",
    )  # fmt: skip
    async def resolve_gap(
        gap: Annotated[str, Field(max_length=100, description="Gap id, or the requested code.")],
        resolution: Literal["propose", "decline"],
        reason: Annotated[str, Field(min_length=1, max_length=4096)],
        skill: Annotated[str, Field(max_length=64, description="Published skill that is proposed.")] | None = None,
        needs: Needs | None = None,
    ) -> dict[str, Any]:
        asked = None if needs is None else needs.model_dump()
        return await desk.do(escalate.resolve_gap, gap, resolution, reason, skill=skill, needs=asked)


def listed_gaps(
    connection: Connection, *, states: Any, gap_type: str | None, limit: int, skip: int = 0
) -> dict[str, Any]:
    """Gaps in these states, most often met first, each with its newest evidence; how many there are (a query)."""
    found = []
    rows, total = finding_store.list_gaps(connection, states=states, gap_type=gap_type, limit=limit, skip=skip)
    for row in rows:
        evidence = [
            {"run": each.run_id, "agent": each.agent, "description": each.description, "at": each.at,
             "context_samples": json.loads(each.samples)}
            for each in finding_store.evidence_of(connection, row.id, limit=1)
        ]  # fmt: skip
        names = ("id", "gap_type", "requested_code", "description", "state", "priority", "frequency", "first_at",
                 "last_at", "resolution", "decision_id", "sent_back")  # fmt: skip
        found.append({**{name: getattr(row, name) for name in names}, "evidence": evidence})
    return {"gaps": found, "total": total}
