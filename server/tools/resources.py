"""What can be read, and watched, by address: runs, routines, processes and gaps, as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from server.contract.process import admitted
from server.domain.classification import process_of
from server.domain.gap import STILL_OPEN
from server.tools import routine_views as views
from server.tools.access import EVERYBODY, WORKING
from server.tools.gap_tools import listed_gaps

if TYPE_CHECKING:
    from server.actions.desk import Desk
    from server.tools.mcp_server import HqServer

NEWEST_RUNS: Final = 50
MOST_GAPS: Final = 100


def offer_resources(server: HqServer, desk: Desk) -> None:
    """Register the resources, and have whoever watches one told when a commit changes it."""
    desk.listen(server.changes.tell)

    @server.offer_resource(EVERYBODY, "hq://runs", f"The newest {NEWEST_RUNS} runs.")
    async def runs() -> dict[str, Any]:
        return await desk.read_swept(views.runs, text="", state=None, limit=NEWEST_RUNS, before=None)

    @server.offer_resource(EVERYBODY, "hq://runs/{run}", "A run: how it stands, its blocks and steps, its drift.")
    async def run(run: str) -> dict[str, Any]:
        return await desk.read_swept(views.run, run, after=0)

    @server.offer_resource(WORKING, "hq://routines/{routine}", "A routine: its document, when it fires.")
    async def routine(routine: str) -> dict[str, Any]:
        return await desk.read(views.routine, routine, now=desk.clock())

    @server.offer_resource(WORKING, "hq://processes/{code}", "A process: blocks, canonical steps, variants.")
    async def process(code: str) -> dict[str, Any]:
        return admitted(process_of(desk.classification, code))

    @server.offer_resource(EVERYBODY, "hq://gaps", "What runs lack, most often met first.")
    async def gaps() -> dict[str, Any]:
        return await desk.read(listed_gaps, states=STILL_OPEN, gap_type=None, limit=MOST_GAPS)
