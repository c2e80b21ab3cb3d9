"""How far a session that runs a process itself may go: blocks in their order, rigid ones never left out.

Rules: DESIGN §5.5; what is asked for against them is refused, and nothing of it is written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from server.contract.refusals import BadUse, Refused
from server.contract.topology import CanonicalBlock, TakenStep, is_code, topology

# What a session may log; its report is made of how it finishes.
SAID_KINDS: Final = ("step", "tool_call", "llm_response", "decision")
# Who is said to have seen what HQ saw itself.
HQ: Final = "hq"
ENDS: Final = ("completed", "failed", "skipped")


def may_start(blocks: Sequence[CanonicalBlock], states: Mapping[str, str], code: str) -> None:
    """Raise `BadUse` for a block that the process has not, `Refused` for one whose turn it is not.

    `states` are those of the blocks that were begun.
    """
    codes = [block.code for block in blocks]
    if code not in codes:
        hint = f"take one of {', '.join(codes)}"
        raise BadUse("no_such_block", f"The process has no block {code[:40]}.", hint=hint)
    if code in states:
        raise Refused("block_begun", f"The block {code} is {states[code]} already.", hint=_next(blocks, states))
    open_one = next((each for each, state in states.items() if state == "running"), None)
    if open_one is not None:
        hint = f"finish it first: ledger_finish_block with block {open_one}"
        raise Refused("block_open", f"The block {open_one} goes on still.", hint=hint)
    due = codes[len(states)]
    if code != due:
        raise Refused(
            "block_order", f"The block {code} comes after {due}, which was not taken.", hint=f"start {due}"
        )
    if states and list(states.values())[-1] == "failed":
        raise Refused("block_failed", "The block before it failed.", hint="finish the run with outcome failure")


def may_log(
    blocks: Sequence[CanonicalBlock], states: Mapping[str, str], block: str, *, kind: str, code: str
) -> None:
    """Raise `Refused` or `BadUse` for a step that the open block may not have."""
    if states.get(block) != "running":
        says = f"The block {block[:40]} is not under way."
        raise Refused("block_closed", says, hint=_next(blocks, states))
    if kind not in SAID_KINDS:
        hint = f"use one of {', '.join(SAID_KINDS)}"
        raise BadUse("bad_kind", f"A session logs no step of kind {kind[:40]}.", hint=hint)
    if kind != "step":
        return
    if not is_code(code):
        hint = "write TSK-, SCR- or LLM- and capitals, digits, hyphens: LLM-VERIFY-OUTPUT"
        raise BadUse("bad_code", f"{code[:40]!r} is no step code.", hint=hint)
    chosen = next(each for each in blocks if each.code == block)
    if chosen.kind == "rigid" and code not in chosen.steps:
        says = f"The rigid block {block} has the one step {chosen.steps[0]}, not {code}."
        raise Refused("rigid_step", says, hint=f"log {chosen.steps[0]}, or another kind than step")
    rigid = {each for other in blocks if other.kind == "rigid" and other is not chosen for each in other.steps}
    if code in rigid:
        says = f"The step {code} belongs to a rigid block, not to {block}."
        raise Refused("rigid_step", says, hint="give the step a code of its own")


def may_say(step: Mapping[str, Any]) -> None:
    """Raise `BadUse` for what a session cannot know of a step, or cannot be."""
    begun, ended = step.get("started_at"), step.get("ended_at")
    if begun and ended and ended < begun:
        hint = "give both as UTC: 2026-04-01T09:00:00.000Z"
        raise BadUse("bad_times", f"The step {step['code'][:40]} ended before it began.", hint=hint)
    if step.get("agent") == HQ:
        raise BadUse("bad_agent", "The agent hq is HQ itself.", hint="leave it out, or give your own name")


def may_finish_block(
    blocks: Sequence[CanonicalBlock], states: Mapping[str, str], block: str, state: str,
    logged: Sequence[TakenStep],
) -> None:  # fmt: skip
    """Raise `Refused` or `BadUse` for a block that cannot end so; `logged` are its steps so far.

    A rigid block completes with its one step, which may have been tried again: how it went last counts.
    """
    if states.get(block) != "running":
        raise Refused("block_closed", f"The block {block[:40]} is not under way.", hint=_next(blocks, states))
    if state not in ENDS:
        raise BadUse("bad_state", f"A block does not end {state[:40]!r}.", hint=f"say {', '.join(ENDS)}")
    chosen = next(each for each in blocks if each.code == block)
    if chosen.kind == "rigid" and state == "skipped":
        hint = "take its step, or finish it as failed"
        raise Refused("rigid_skipped", f"The rigid block {block} cannot be skipped.", hint=hint)
    if chosen.kind == "rigid" and state == "completed":
        hint = f"ledger_log_step with block {block} and code {chosen.steps[0]}"
        if topology(logged) != chosen.steps:
            says = f"The rigid block {block} lacks its step {chosen.steps[0]}."
            raise Refused("rigid_step_missing", says, hint=hint)
        if logged[-1].state != "completed":
            says = f"The step {chosen.steps[0]} of the rigid block {block} {logged[-1].state}."
            raise Refused("rigid_step_failed", says, hint=f"{hint} once it is done, or finish the block as failed")


def may_finish(blocks: Sequence[CanonicalBlock], states: Mapping[str, str], outcome: str) -> bool:
    """Whether all blocks have completed. Raises `Refused` for a claim that they contradict."""
    open_one = next((each for each, state in states.items() if state == "running"), None)
    if open_one is not None:
        hint = f"ledger_finish_block with block {open_one}"
        raise Refused("block_open", f"The block {open_one} goes on still.", hint=hint)
    left = [block.code for block in blocks if block.code not in states]
    failed = next((each for each, state in states.items() if state == "failed"), None)
    if outcome in ("success", "partial") and (left or failed):
        why = f"the block {failed} failed" if failed else f"the block {left[0]} was not taken"
        hint = "say failure" if failed else f"start {left[0]}, or say failure"
        raise Refused("unfinished", f"The run is no {outcome}: {why}.", hint=hint)
    return not left and failed is None


def _next(blocks: Sequence[CanonicalBlock], states: Mapping[str, str]) -> str:
    open_one = next((each for each, state in states.items() if state == "running"), None)
    if open_one is not None:
        return f"{open_one} is under way"
    left = next((block.code for block in blocks if block.code not in states), None)
    return f"the next one is {left}" if left else "all blocks were taken: ledger_finish_run"
