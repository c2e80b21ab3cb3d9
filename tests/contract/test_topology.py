"""Which steps a run took: the seed's fingerprints, what counts, and how a run differs from its process."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import groupby
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.contract.run import StepState
from server.contract.topology import (
    CanonicalBlock,
    Comparison,
    TakenStep,
    canonical_blocks,
    canonical_sequence,
    collapse,
    compare,
    fingerprint,
    is_code,
    rigid_breach,
    skill_code,
    topology,
)

TRIGGER, CLONE, PROMPT, PUSH = (
    CanonicalBlock("040.001.01", "rigid", ("TSK-VALIDATE-TRIGGER",)),
    CanonicalBlock("040.001.02", "rigid", ("SCR-CLONE-REPO",)),
    CanonicalBlock("040.001.03", "elastic", ("LLM-EXECUTE-PROMPT",)),
    CanonicalBlock("040.001.04", "rigid", ("SCR-PUSH-BRANCH",)),
)
PROCESS = (TRIGGER, CLONE, PROMPT, PUSH)
ORDER = [block.code for block in PROCESS]
PLAIN = [step for block in PROCESS for step in block.steps]


def took(
    *steps: str, state: str = "completed", blocks: Sequence[CanonicalBlock] = PROCESS
) -> list[TakenStep]:
    """Steps in the rigid block that owns each code, everything else in the elastic one."""
    owner = {code: block.code for block in blocks if block.kind == "rigid" for code in block.steps}
    return [TakenStep(owner.get(step, "040.001.03"), step, state) for step in steps]


def compared(
    steps: Sequence[TakenStep],
    begun: Sequence[str] = ORDER,
    *,
    completed: bool = True,
    blocks: Sequence[CanonicalBlock] = PROCESS,
) -> Comparison:
    """The comparison, of a completed run through all blocks unless said otherwise."""
    return compare(blocks, steps, begun, completed=completed)


@pytest.mark.promise("RUN-10")
def test_a_plain_prompt_has_the_fingerprint_36a61784() -> None:
    assert canonical_sequence(canonical_blocks(PROCESS, [])) == tuple(PLAIN)
    assert fingerprint(PLAIN) == "T:36a61784"
    assert fingerprint(topology(took(*PLAIN))) == "T:36a61784"


@pytest.mark.promise("RUN-10")
def test_a_prompt_with_an_added_check_has_the_fingerprint_f87a829f() -> None:
    steps = took(*PLAIN[:3], "LLM-VERIFY-OUTPUT", PLAIN[3])
    assert fingerprint(topology(steps)) == "T:f87a829f"
    assert compared(steps) == Comparison("drift", ("040.001.03", None, "LLM-VERIFY-OUTPUT"))


def seed_fingerprint(executed_steps: list[str]) -> str:
    """The user's own function, word for word."""
    canonical = "|".join(executed_steps)
    return "T:" + hashlib.sha256(canonical.encode()).hexdigest()[:8]


CODES = st.from_regex(r"(TSK|SCR|LLM)-[A-Z0-9-]{1,8}", fullmatch=True)


@pytest.mark.promise("RUN-10")
@given(codes=st.lists(CODES, max_size=8))
def test_the_fingerprint_is_the_seed_s_function(codes: list[str]) -> None:
    assert fingerprint(codes) == seed_fingerprint(codes)


@given(codes=st.lists(st.sampled_from(["LLM-A", "LLM-B", "SCR-C"]), max_size=10))
def test_repeats_that_follow_each_other_collapse_and_no_others(codes: list[str]) -> None:
    assert collapse(codes) == tuple(code for code, _ in groupby(codes))
    assert collapse(collapse(codes)) == collapse(codes)


@pytest.mark.promise("RUN-10")
@pytest.mark.parametrize("state", get_args(StepState))
def test_a_step_counts_once_it_was_begun_however_it_ended(state: str) -> None:
    steps = [*took("LLM-A"), *took("LLM-B", state=state), *took("LLM-C")]
    counted = ("LLM-A", "LLM-C") if state == "skipped" else ("LLM-A", "LLM-B", "LLM-C")
    assert topology(steps) == counted


def test_a_step_that_was_skipped_in_between_does_not_part_two_alike() -> None:
    assert topology([*took("LLM-A"), *took("LLM-B", state="skipped"), *took("LLM-A")]) == ("LLM-A",)


@pytest.mark.parametrize(
    ("code", "valid"),
    [
        ("TSK-VALIDATE-TRIGGER", True),
        ("SCR-1", True),
        ("LLM-A--B", True),
        ("LLM-", False),
        ("LLM", False),
        ("llm-a", False),
        ("XYZ-A", False),
        ("LLM-a", False),
        ("LLM-A|B", False),
        ("LLM-A\n", False),
        ("LLM-É", False),
        (" LLM-A", False),
        ("LLM-" + "A" * 96, True),
        ("LLM-" + "A" * 97, False),
    ],
)
def test_a_code_is_a_prefix_and_capitals(code: str, valid: bool) -> None:
    assert is_code(code) is valid


def test_a_skill_s_code_is_the_declared_one_or_made_of_its_name() -> None:
    assert skill_code("write-daily-report") == "LLM-WRITE-DAILY-REPORT"
    assert skill_code("write-daily-report", "SCR-COUNT") == "SCR-COUNT"
    assert is_code(skill_code("write-daily-report"))


@pytest.mark.promise("RUN-10")
def test_with_a_pipeline_the_elastic_block_takes_one_step_per_skill() -> None:
    blocks = canonical_blocks(PROCESS, ["LLM-ONE", "LLM-TWO"])
    assert [block.steps for block in blocks] == [
        ("TSK-VALIDATE-TRIGGER",),
        ("SCR-CLONE-REPO",),
        ("LLM-ONE", "LLM-TWO"),
        ("SCR-PUSH-BRANCH",),
    ]
    assert [block for block in blocks if block.kind == "rigid"] == [TRIGGER, CLONE, PUSH]


def test_without_a_pipeline_a_variant_s_own_steps_are_kept_and_else_the_prompt_s() -> None:
    variant = CanonicalBlock("040.001.03", "elastic", ("LLM-EXECUTE-PROMPT", "LLM-VERIFY-OUTPUT"))
    bare = CanonicalBlock("040.001.03", "elastic", ())
    assert canonical_blocks([variant], []) == (variant,)
    assert canonical_blocks([bare], []) == (PROMPT,)
    assert canonical_blocks([variant], ["LLM-ONE"])[0].steps == ("LLM-ONE",)


def test_a_pipeline_that_names_a_skill_twice_in_a_row_is_one_step_on_both_sides() -> None:
    blocks = canonical_blocks(PROCESS, ["LLM-ONE", "LLM-ONE"])
    steps = took(*PLAIN[:2], "LLM-ONE", "LLM-ONE", PLAIN[3])
    assert canonical_sequence(blocks) == topology(steps)
    assert compared(steps, blocks=blocks).conformance == "conformant"


def test_a_run_that_took_the_canonical_steps_is_conformant() -> None:
    assert compared(took(*PLAIN)) == Comparison("conformant", None)
    assert compared(took(*PLAIN, state="failed"), completed=False) == Comparison("conformant", None)


PIPELINE = canonical_blocks(PROCESS, ["LLM-ONE", "LLM-TWO"])


@pytest.mark.parametrize(
    ("elastic", "difference"),
    [
        (["LLM-TWO", "LLM-ONE"], ("LLM-ONE", "LLM-TWO")),
        (["LLM-ONE", "LLM-X", "LLM-TWO"], ("LLM-TWO", "LLM-X")),
        (["LLM-ONE", "LLM-TWO", "LLM-ONE"], (None, "LLM-ONE")),
        (["LLM-ONE"], ("LLM-TWO", None)),
        ([], ("LLM-ONE", None)),
    ],
)
def test_other_steps_in_the_elastic_block_are_drift(
    elastic: list[str], difference: tuple[str | None, str | None]
) -> None:
    comparison = compared(took(*PLAIN[:2], *elastic, PLAIN[3]), blocks=PIPELINE)
    assert comparison == Comparison("drift", ("040.001.03", *difference))


def test_a_skipped_skill_leaves_the_run_incomplete() -> None:
    steps = [*took(*PLAIN[:2], "LLM-ONE"), *took("LLM-TWO", state="skipped"), *took(PLAIN[3])]
    assert compared(steps, blocks=PIPELINE) == Comparison("incomplete", ("040.001.03", "LLM-TWO", None))


# What a completed run did with its rigid parts: blocks begun, steps taken, first difference.
BREACHES: dict[str, tuple[list[str], list[TakenStep], tuple[str, str | None, str | None]]] = {
    "a rigid block skipped": (
        [ORDER[0], ORDER[2], ORDER[3]],
        took(PLAIN[0], *PLAIN[2:]),
        ("040.001.02", "040.001.02", "040.001.03"),
    ),
    "the last block left out": (ORDER[:3], took(*PLAIN[:3]), ("040.001.04", "SCR-PUSH-BRANCH", None)),
    "two blocks reordered": (
        [ORDER[1], ORDER[0], *ORDER[2:]],
        took(PLAIN[1], PLAIN[0], *PLAIN[2:]),
        ("040.001.01", "040.001.01", "040.001.02"),
    ),
    "the push before the session": (
        [*ORDER[:2], ORDER[3], ORDER[2]],
        took(*PLAIN[:2], PLAIN[3], PLAIN[2]),
        ("040.001.03", "040.001.03", "040.001.04"),
    ),
    "a block nobody knows": (
        [*ORDER, "040.001.05"],
        took(*PLAIN),
        ("040.001.05", None, "040.001.05"),
    ),
    "a rigid block entered twice": (
        [ORDER[0], *ORDER],
        took(*PLAIN),
        ("040.001.02", "040.001.02", "040.001.01"),
    ),
    "a rigid step left out": (ORDER, took(PLAIN[0], *PLAIN[2:]), ("040.001.02", "SCR-CLONE-REPO", None)),
    "a rigid step skipped": (
        ORDER,
        [*took(*PLAIN[:3]), *took(PLAIN[3], state="skipped")],
        ("040.001.04", "SCR-PUSH-BRANCH", None),
    ),
    "a rigid step altered": (
        ORDER,
        [*took(*PLAIN[:3]), TakenStep("040.001.04", "SCR-PUSH-MAIN", "completed")],
        ("040.001.04", "SCR-PUSH-BRANCH", "SCR-PUSH-MAIN"),
    ),
    "a step added to a rigid block": (
        ORDER,
        [*took(*PLAIN), TakenStep("040.001.04", "LLM-MORE", "completed")],
        ("040.001.04", None, "LLM-MORE"),
    ),
    "a rigid step in the elastic block": (
        ORDER,
        [*took(*PLAIN), TakenStep("040.001.03", "SCR-PUSH-BRANCH", "completed")],
        ("040.001.03", None, "SCR-PUSH-BRANCH"),
    ),
    "a step in no block of the process": (
        ORDER,
        [*took(*PLAIN), TakenStep("040.001.09", "LLM-X", "completed")],
        ("040.001.09", None, "LLM-X"),
    ),
}


@pytest.mark.promise("RUN-4")
@pytest.mark.parametrize("breach", BREACHES)
def test_a_rigid_part_skipped_reordered_or_altered_is_a_violation(breach: str) -> None:
    begun, steps, difference = BREACHES[breach]
    assert rigid_breach(PROCESS, steps, begun, completed=True) == difference
    assert compared(steps, begun) == Comparison("violation", difference)


@pytest.mark.promise("RUN-4")
@pytest.mark.parametrize("breach", [name for name in BREACHES if name not in ("the last block left out",)])
def test_a_run_that_did_not_complete_may_break_nothing_it_passed(breach: str) -> None:
    begun, steps, difference = BREACHES[breach]
    if breach == "a rigid step skipped":
        # Its last block was begun and its step was not: that is where the run ended.
        assert compared(steps, begun, completed=False).conformance == "incomplete"
        return
    assert compared(steps, begun, completed=False) == Comparison("violation", difference)


@pytest.mark.promise("RUN-4")
@pytest.mark.parametrize("stage", range(5))
@pytest.mark.parametrize("step", ["taken", "failed", "not begun"])
def test_a_run_that_ends_early_is_incomplete_and_never_a_violation(stage: int, step: str) -> None:
    steps = took(*PLAIN[: stage + 1])
    if step == "failed" and steps:
        steps[-1] = TakenStep(steps[-1].block, steps[-1].code, "failed")
    elif step == "not begun":
        steps = steps[:stage]
    comparison = compared(steps, ORDER[: stage + 1], completed=False)
    whole = len(steps) == len(PROCESS)
    assert comparison.conformance == ("conformant" if whole else "incomplete")


@pytest.mark.promise("RUN-4")
def test_a_step_of_a_rigid_block_that_was_never_entered_is_a_violation() -> None:
    steps = took(PLAIN[0], PLAIN[3])
    assert compared(steps, ORDER[:1], completed=False).conformance == "violation"


@given(
    begun=st.integers(0, 4),
    elastic=st.lists(st.sampled_from(["LLM-ONE", "LLM-TWO", "LLM-X"]), max_size=4),
    states=st.lists(st.sampled_from(get_args(StepState)), min_size=8, max_size=8),
)
def test_whatever_a_session_does_in_its_elastic_block_is_never_a_violation(
    begun: int, elastic: list[str], states: list[str]
) -> None:
    codes = (
        [*PLAIN[:2], *elastic, PLAIN[3]]
        if begun == 4
        else [*PLAIN[: min(begun, 2)], *(elastic if begun > 2 else [])]
    )
    steps = [
        TakenStep(step.block, step.code, state if step.block == "040.001.03" else "completed")
        for step, state in zip(took(*codes), states, strict=False)
    ]
    assert compared(steps, ORDER[:begun], completed=False, blocks=PIPELINE).conformance != "violation"
    if begun == 4:
        assert compared(steps, blocks=PIPELINE).conformance != "violation"
