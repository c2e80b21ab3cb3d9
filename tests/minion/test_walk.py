"""How blocks and steps are said to have ended, and what a run that goes on takes for done."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path

import pytest

from minion.clock import utc_now
from minion.engines.base import Stop, Stopped
from minion.runner.blocks import BlockFailed, Walk
from minion.runner.link import DaemonLink
from minion.runner.resumed import Before, recall
from server.contract.redaction import Redactor
from server.contract.run import StepState
from tests.minion.stored_runs import CODES, make_order

ORDER = make_order(pipeline=("one", "two"))


def walked(folder: Path, problem: Exception | None, *codes: str) -> Before:
    """What is recalled of a session's block whose steps were begun, the last of which met a problem."""

    async def work() -> None:
        out = os.open(os.devnull, os.O_WRONLY)
        link = DaemonLink(folder, out_fd=out, redactor=Redactor(), clock=utc_now)
        walk = Walk(link, {}, "tester")
        block = next(block for block in ORDER.blocks if block.code == CODES[2])
        try:
            async with walk.block(block):
                for code in codes:
                    async with walk.step(code):
                        if code == codes[-1] and problem is not None:
                            raise problem
        finally:
            os.close(out)

    if problem is None:
        asyncio.run(work())
    else:
        with pytest.raises(type(problem)):
            asyncio.run(work())
    return recall(replace(ORDER, run_dir=str(folder)))


@pytest.mark.promise("MOD-3")
def test_what_ended_in_a_way_that_nobody_foresaw_is_done_again_by_a_run_that_goes_on(tmp_path: Path) -> None:
    before = walked(tmp_path, RuntimeError("nobody thought of this"), "LLM-ONE")
    assert (before.blocks, before.results, before.steps) == ({}, [], 1)


@pytest.mark.parametrize(
    ("problem", "ended"),
    [
        (None, ("completed", None)),
        (BlockFailed("No disk is left.", hint="make room"), ("failed", "No disk is left.")),
        (Stopped(Stop("the day's dollars are used up", "wait")), ("failed", "the day's dollars are used up")),
    ],
    ids=["completed", "failed", "stopped"],
)
def test_what_ended_as_it_can_is_not_done_again(
    tmp_path: Path, problem: Exception | None, ended: tuple[StepState, str | None]
) -> None:
    before = walked(tmp_path, problem, "LLM-ONE", "LLM-TWO")
    assert before.blocks == {CODES[2]: ended}


@pytest.mark.promise("POL-1")
def test_steps_beside_the_planned_ones_are_counted_over_a_run_s_interruptions(tmp_path: Path) -> None:
    assert walked(tmp_path, None, "LLM-ONE", "LLM-VERIFY-OUTPUT", "LLM-TWO", "LLM-THINK").explored == 2
