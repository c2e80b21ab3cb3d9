"""Topology: which steps a run really took, their fingerprint, and how they compare with the canonical ones.

Rules: DESIGN §5.5 and DECISIONS "Routine and skills". Only step logs of kind `step` take part; started steps
count in order, skipped ones do not, repeats that follow each other collapse into one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

CODE = re.compile(r"(TSK|SCR|LLM)-[A-Z0-9-]+")
PROMPT_STEP = "LLM-EXECUTE-PROMPT"
_NO_CODE = re.compile(r"[^A-Z0-9]+")
Conformance = Literal["conformant", "drift", "violation", "incomplete"]


@dataclass(frozen=True, slots=True)
class CanonicalBlock:
    """A block of a process as a run must or should take it: its code, kind and canonical step codes."""

    code: str
    kind: Literal["rigid", "elastic"]
    steps: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TakenStep:
    """A started step of a run: the block it belongs to, its code and its state."""

    block: str
    code: str
    state: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """The answer of `compare`: how the run conforms, and the first difference (block, expected, taken)."""

    conformance: Conformance
    first_difference: tuple[str, str | None, str | None] | None


def is_code(text: str) -> bool:
    """Whether `text` is a step code: `TSK-`, `SCR-` or `LLM-` and capitals, digits, hyphens."""
    return len(text) <= 100 and CODE.fullmatch(text) is not None


def code_for(prefix: str, text: str) -> str:
    """A step code for what a text names: `TSK` and "my.tool" are TSK-MY-TOOL."""
    return f"{prefix}-{_NO_CODE.sub('-', text.upper()).strip('-')[:80] or 'UNNAMED'}"


def skill_code(name: str, declared: str | None = None) -> str:
    """A skill's step code: the declared one, else `LLM-` and the name in capitals."""
    return declared if declared is not None else "LLM-" + name.upper()


def collapse(codes: Sequence[str]) -> tuple[str, ...]:
    """`codes` without repeats that follow each other."""
    return tuple(codes[:1]) + tuple(after for before, after in pairwise(codes) if after != before)


def fingerprint(codes: Sequence[str]) -> str:
    """`T:` and the first 8 hex digits of sha256 over the codes joined by `|` (the seed's function)."""
    return "T:" + hashlib.sha256("|".join(codes).encode()).hexdigest()[:8]


def canonical_blocks(
    process_blocks: Sequence[CanonicalBlock], pipeline_codes: Sequence[str]
) -> tuple[CanonicalBlock, ...]:
    """The blocks a run is held against: elastic ones take the pipeline's codes, or the prompt step without one.

    `process_blocks` come from the process document and its variant; an elastic block that a variant gives
    steps of its own keeps them only when no pipeline is given.
    """
    codes = tuple(pipeline_codes)
    return tuple(
        CanonicalBlock(block.code, block.kind, codes or block.steps or (PROMPT_STEP,))
        if block.kind == "elastic"
        else block
        for block in process_blocks
    )


def canonical_sequence(blocks: Sequence[CanonicalBlock]) -> tuple[str, ...]:
    """The canonical step codes of all blocks in order, collapsed as a run's are."""
    return collapse([code for block in blocks for code in block.steps])


def topology(steps: Sequence[TakenStep]) -> tuple[str, ...]:
    """The hashed list of a run: started steps in order, skipped ones left out, repeats collapsed."""
    return collapse([step.code for step in steps if step.state != "skipped"])


def rigid_breach(
    blocks: Sequence[CanonicalBlock], steps: Sequence[TakenStep], begun: Sequence[str], *, completed: bool
) -> tuple[str, str | None, str | None] | None:
    """The first (block, expected, taken) where a rigid part was skipped, reordered or altered, or None.

    `begun` are the codes of the blocks that were entered, in order; `completed` says whether the run claims to
    have completed, and so must have entered every rigid block. A run that ended before may lack the rest, its
    last block's step included: an early failure is never `violated`.
    """
    order = [block.code for block in blocks]
    at = next((i for i, code in enumerate(begun) if i >= len(order) or code != order[i]), None)
    if at is not None:
        expected = order[at] if at < len(order) else None
        return (expected or begun[at], expected, begun[at])
    for number, block in enumerate(blocks):
        taken = _taken_in(block, steps)
        if block.kind == "rigid":
            entered, left = number < len(begun), not completed and number >= len(begun) - 1
            wanted = block.steps if entered or completed else ()
            fits = taken == wanted[: len(taken)] if left else entered and taken == wanted
            if not fits:
                return _difference(block.code, wanted, taken)
        else:
            rigid_codes = {code for other in blocks if other.kind == "rigid" for code in other.steps}
            stray = next((code for code in taken if code in rigid_codes), None)
            if stray is not None:
                return (block.code, None, stray)
    unknown = next((step for step in steps if step.block not in order), None)
    return (unknown.block, None, unknown.code) if unknown else None


def compare(
    blocks: Sequence[CanonicalBlock], steps: Sequence[TakenStep], begun: Sequence[str], *, completed: bool
) -> Comparison:
    """How a run's steps stand to the canonical ones; `begun` and `completed` as for `rigid_breach`.

    `violation`: a rigid part differs. `incomplete`: the run ended early or skipped canonical steps, and
    otherwise agrees as far as it went. `drift`: an elastic block took other steps. Else `conformant`.
    """
    breach = rigid_breach(blocks, steps, begun, completed=completed)
    if breach is not None:
        return Comparison("violation", breach)
    difference: tuple[str, str | None, str | None] | None = None
    short = False
    for number, block in enumerate(blocks):
        taken = _taken_in(block, steps)
        wanted = collapse(block.steps)
        if taken == wanted:
            continue
        difference = difference or _difference(block.code, wanted, taken)
        skipped = any(step.block == block.code and step.state == "skipped" for step in steps)
        ended_here = not completed and number >= len(begun) - 1
        if wanted[: len(taken)] == taken and (skipped or ended_here):
            short = True
            continue
        return Comparison("drift", _difference(block.code, wanted, taken))
    return Comparison("incomplete" if short else "conformant", difference)


def _taken_in(block: CanonicalBlock, steps: Sequence[TakenStep]) -> tuple[str, ...]:
    return topology([step for step in steps if step.block == block.code])


def _difference(
    block: str, wanted: Sequence[str], taken: Sequence[str]
) -> tuple[str, str | None, str | None]:
    for index in range(max(len(wanted), len(taken))):
        expected = wanted[index] if index < len(wanted) else None
        found = taken[index] if index < len(taken) else None
        if expected != found:
            return (block, expected, found)
    return (block, None, None)
