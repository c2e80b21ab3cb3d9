"""What a run of a routine is held against: its process, the variant for what set it off, blocks and steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from server.contract.process import Block, Process, Variant
from server.contract.refusals import BadUse
from server.contract.topology import (
    CanonicalBlock,
    canonical_blocks,
    canonical_sequence,
    fingerprint,
    skill_code,
)
from server.domain.classification import Classification, process_of

# Of every routine's run, whatever its place in the classification.
ROUTINE_PROCESS: Final = "WF-ROUTINE-EXEC"
# Which variant a run takes for what set it off (the seed's V01-V03); by hand it is as on schedule (DESIGN §8).
VARIANT_OF: Final[Mapping[str, str]] = {"schedule": "V01", "manual": "V01", "api": "V02", "github": "V03"}


@dataclass(frozen=True, slots=True)
class Ground:
    """The process's code, the variant, the blocks a run must take, their names, and the seconds it may take.

    `known` are the canonical sequences of all variants, `novelty` how far from them a run may lie, a share of 1.
    """

    process: str
    variant: str
    blocks: Sequence[CanonicalBlock]
    names: Mapping[str, str]
    deadline_s: float
    known: Sequence[Sequence[str]] = ()
    novelty: float | None = None


def ground_of(processes: Mapping[str, Process], document: Mapping[str, Any], trigger: str) -> Ground:
    """What a run of a routine (by its admitted document) is held against. Raises `BadUse` for another trigger."""
    if trigger not in VARIANT_OF:
        raise BadUse("bad_trigger", f"{trigger[:40]!r} sets nothing off.", hint=f"say {', '.join(VARIANT_OF)}")
    process, code = processes[ROUTINE_PROCESS], VARIANT_OF[trigger]
    variant = next((each for each in process.variants if each.code == code), None)
    pipeline = [skill_code(name) for name in document["pipeline"]]
    names = {block.code: block.name for block in process.blocks}
    variants: list[Variant | None] = [None, *process.variants]
    known = sorted({canonical_sequence(canonical_blocks(blocks_of(process, each), pipeline)) for each in variants})
    curiosity = variant.curiosity_config if variant is not None else None
    return Ground(
        process.code, code, canonical_blocks(blocks_of(process, variant), pipeline), names,
        float(document["limits"]["wall_clock_s"]), known, curiosity.novelty_threshold if curiosity else None,
    )  # fmt: skip


def variants_of(known: Classification, text: str) -> dict[str, Any]:
    """A process's canonical steps and its variants: what each is for, its policy, its steps and their fingerprint.

    They are those of a run of a plain prompt; where a routine has a pipeline, its skills' codes stand in the
    elastic block. Raises `NotFound`, `BadUse`.
    """
    process = process_of(known, text)
    said = [
        {**each.model_dump(mode="json", exclude_none=True, exclude={"steps"}), **_sequence(process, each)}
        for each in process.variants
    ]
    own = {"process": process.code, "name": process.name, "subdomain": process.process}
    return {**own, **_sequence(process, None), "variants": said}


def blocks_of(process: Process, variant: Variant | None) -> list[CanonicalBlock]:
    """The blocks of a process as a variant of it takes them."""
    return [CanonicalBlock(block.code, block.kind, _steps(block, variant)) for block in process.blocks]


def _sequence(process: Process, variant: Variant | None) -> dict[str, Any]:
    codes = canonical_sequence(canonical_blocks(blocks_of(process, variant), ()))
    return {"canonical": list(codes), "fingerprint": fingerprint(codes)}


def _steps(block: Block, variant: Variant | None) -> tuple[str, ...]:
    changed = variant.steps if variant is not None and block.kind == "elastic" else None
    return tuple(step.code for step in (changed if changed is not None else block.steps))
