"""The tools of the process classification: where work belongs, and which variants a process has."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from server.actions.ground import variants_of
from server.domain.places import Place, fitting
from server.tools.access import WORKING
from server.tools.mcp_server import READS

if TYPE_CHECKING:
    from server.actions.desk import Desk
    from server.tools.mcp_server import HqServer


def offer_processes(server: HqServer, desk: Desk) -> None:
    """Register the tools of processes."""

    @server.offer(
        WORKING, READS,
        "Find where work belongs: domains, processes, variants, blocks and steps that fit a code or words, best "
        "first, each with its path L0 to L4.",
    )  # fmt: skip
    async def find_process(
        text: Annotated[str, Field(min_length=1, max_length=200, description="Such as 040.001 or bug triage.")],
        limit: Annotated[int, Field(ge=1, le=100)] = 10,
    ) -> dict[str, Any]:
        # With thousands of processes of one's own it takes a while: the loop does not wait for it.
        found = await asyncio.to_thread(fitting, desk.classification, text)
        return {"matches": [_shown(place) for place in found[:limit]], "more": max(0, len(found) - limit)}

    @server.offer(
        WORKING, READS, "List a process's variants: trigger, dimensions, policy, curiosity, steps, fingerprint."
    )
    async def list_variants(
        process: Annotated[str, Field(max_length=100, description="WF-… code, or that of its sub-domain.")],
    ) -> dict[str, Any]:
        return variants_of(desk.classification, process)


def _shown(place: Place) -> dict[str, Any]:
    more = {"short": place.short, "says": place.says, "file": place.file}
    said = {"kind": place.kind, "code": place.code, "name": place.name, "path": dict(place.path)}
    return said | {name: value for name, value in more.items() if value is not None}
