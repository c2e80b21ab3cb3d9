"""The ledger's tools: for a session that runs a process itself and says what it does, step by step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from server.actions import record
from server.contract.run import Outcome
from server.contract.spelling import Moment
from server.tools.access import LEDGER
from server.tools.mcp_server import ADDS, REPEATS

if TYPE_CHECKING:
    from server.actions.desk import Desk
    from server.tools.mcp_server import HqServer

Key = Annotated[str | None, Field(max_length=200, description="Send a call again with the same key: done once.")]
RunText = Annotated[str, Field(max_length=64, description="Run id, or its beginning.")]
BlockText = Annotated[str, Field(max_length=20, description="Block code, such as 040.001.03.")]


Digest = Annotated[str, Field(pattern="^sha256:[0-9a-f]{64}$")]


class LoggedStep(BaseModel):
    """A step that was taken. Kind `step` has a step code and is compared; other kinds say what was called."""

    model_config = ConfigDict(extra="forbid")

    code: Annotated[str, Field(min_length=1, max_length=record.LONGEST_CODE)]
    kind: Literal["step", "tool_call", "llm_response", "decision"] = "step"
    state: Literal["completed", "failed", "skipped"] = "completed"
    why: Annotated[str, Field(max_length=4096)] | None = None
    agent: Annotated[str, Field(max_length=200)] | None = None
    started_at: Moment | None = None
    ended_at: Moment | None = None
    cost: Annotated[dict[str, Annotated[float, Field(ge=0)]], Field(max_length=10)] | None = None
    digest_in: Digest | None = None
    digest_out: Digest | None = None


def offer_ledger(server: HqServer, desk: Desk) -> None:
    """Register the five tools of the ledger."""
    _offer_ends(server, desk)

    @server.offer(LEDGER, ADDS, "Open a run of a routine that you perform yourself; answers its blocks in order.")
    async def ledger_start_run(
        routine: Annotated[str, Field(max_length=100, description="Name, id or id prefix.")],
        trigger: Literal["schedule", "api", "github", "manual"] = "manual",
        external_session: Annotated[str, Field(max_length=200)] | None = None,
        client_key: Key = None,
    ) -> dict[str, Any]:
        return await desk.do(
            record.start_run, desk.processes, routine, trigger=trigger, external_session=external_session,
            client_key=client_key,
        )  # fmt: skip

    @server.offer(
        LEDGER, ADDS, "Begin the next block of your run; blocks go in order, rigid ones cannot be skipped."
    )
    async def ledger_start_block(run: RunText, block: BlockText, client_key: Key = None) -> dict[str, Any]:
        return await desk.do(record.start_block, run, block, client_key=client_key)

    @server.offer(LEDGER, ADDS, "Log steps of the block under way, as they happen: all of the call or none.")
    async def ledger_log_step(
        run: RunText, block: BlockText,
        steps: Annotated[list[LoggedStep], Field(min_length=1, max_length=record.MOST_STEPS)],
        client_key: Key = None,
    ) -> dict[str, Any]:  # fmt: skip
        said = [step.model_dump(exclude_none=True) for step in steps]
        return await desk.do(record.log_steps, run, block, said, client_key=client_key)


def _offer_ends(server: HqServer, desk: Desk) -> None:
    @server.offer(LEDGER, ADDS, "End the block under way.")
    async def ledger_finish_block(
        run: RunText, block: BlockText, state: Literal["completed", "failed", "skipped"] = "completed",
        why: Annotated[str, Field(max_length=4096)] | None = None, client_key: Key = None,
    ) -> dict[str, Any]:  # fmt: skip
        return await desk.do(record.finish_block, run, block, state, why=why, client_key=client_key)

    @server.offer(
        LEDGER, REPEATS,
        "End your run. HQ makes the topology from the log, compares it with the canonical steps and answers "
        "fingerprint, conformance and drift; a claimed topology that differs is noted.",
    )  # fmt: skip
    async def ledger_finish_run(
        run: RunText, outcome: Outcome,
        summary: Annotated[str, Field(max_length=4096)] | None = None,
        details: Annotated[str, Field(max_length=65_536)] | None = None,
        branch: Annotated[str, Field(max_length=120, description="claude/… branch you pushed.")] | None = None,
        claimed_topology: Annotated[list[str], Field(max_length=1000)] | str | None = None,
        client_key: Key = None,
    ) -> dict[str, Any]:  # fmt: skip
        return await desk.do(
            record.finish_run, run, outcome, summary=summary, details=details, branch=branch,
            claimed_topology=claimed_topology, client_key=client_key,
        )  # fmt: skip
