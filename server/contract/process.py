"""The process: the blocks, steps and variants that every run is held against, read from a file as data."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from importlib.resources import files
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from .documents import Document, DocumentPart
from .plain_words import shown, wrong
from .refusals import NotFound
from .spelling import ProcessCode, StepCode

_WORKFLOW: Final = re.compile(r"WF-[A-Z0-9]+(?:-[A-Z0-9]+)*")
_BLOCK: Final = re.compile(r"[0-9]{3}\.[0-9]{3}\.[0-9]{2}")
_VARIANT: Final = re.compile(r"V[0-9]{2}")
_WORD: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


def _spelled(pattern: re.Pattern[str], example: str) -> AfterValidator:
    def check(text: str) -> str:
        if pattern.fullmatch(text) is None:
            raise wrong(
                "bad_code", f"must be spelled as {example}, not {shown(text)}", "put the code in quotes"
            )
        return text

    return AfterValidator(check)


def _printable(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise wrong("bad_name", "must be one line of text", "write a short name")
    return text


WorkflowCode = Annotated[str, Field(max_length=100), _spelled(_WORKFLOW, "WF-ROUTINE-EXEC")]
BlockCode = Annotated[str, _spelled(_BLOCK, "040.001.01")]
VariantCode = Annotated[str, _spelled(_VARIANT, "V01")]
Word = Annotated[str, _spelled(_WORD, "internal")]
Title = Annotated[str, Field(max_length=200), AfterValidator(_printable)]
Share = Annotated[float, Field(ge=0, le=1)]


class Step(DocumentPart):
    """A step of a block (L4): its code, which is hashed, and its name, which people read."""

    code: StepCode
    name: Title


Steps = Annotated[tuple[Step, ...], Field(max_length=100)]


class Block(DocumentPart):
    """A block (L3). `rigid`: trusted code takes its one step. `elastic`: its steps are only the default."""

    code: BlockCode
    name: Title
    kind: Literal["rigid", "elastic"]
    steps: Steps = ()

    @model_validator(mode="after")
    def _rigid_has_one_step(self) -> Block:
        if self.kind == "rigid" and len(self.steps) != 1:
            raise wrong(
                "rigid_steps",
                f"must be exactly one step in a rigid block, not {len(self.steps)}",
                "keep one: a rigid block logs its one canonical step",
                at="steps",
            )
        return self


class Dimensions(DocumentPart):
    """What kind of execution a variant is for; `risk_tier` counts from 0 (harmless) to 5."""

    role: Word | None = None
    model_class: Word | None = None
    risk_tier: Annotated[int, Field(ge=0, le=5)] | None = None
    autonomy_level: Word | None = None
    data_sensitivity: Word | None = None
    slo_class: Word | None = None
    environment: Word | None = None


class PolicyOverrides(DocumentPart):
    """Where a variant departs from the policy; `confidence_floor` is a share of 1, gates stand by name."""

    confidence_floor: Share | None = None
    max_retries: Annotated[int, Field(ge=0, le=20)] | None = None
    human_approval_gates: Annotated[tuple[Title, ...], Field(max_length=20)] = ()


class CuriosityConfig(DocumentPart):
    """How far a variant may explore: shares of 1 (DESIGN §8)."""

    exploration_budget: Share | None = None
    novelty_threshold: Share | None = None
    information_gain_weight: Share | None = None


class Variant(DocumentPart):
    """A named way to run the process for one kind of trigger; `steps` replace the elastic block's default."""

    code: VariantCode
    name: Title
    trigger: Literal["schedule", "api", "github"]
    description: Title | None = None
    dimensions: Dimensions | None = None
    policy_overrides: PolicyOverrides | None = None
    curiosity_config: CuriosityConfig | None = None
    steps: Steps | None = None


class Process(Document):
    """A process (L2) of the classification (DESIGN §1, §5): its blocks in order, and its variants."""

    code: WorkflowCode
    name: Title
    process: ProcessCode
    blocks: Annotated[tuple[Block, ...], Field(min_length=1, max_length=50)]
    variants: Annotated[tuple[Variant, ...], Field(max_length=99)] = ()

    @model_validator(mode="after")
    def _fits_together(self) -> Process:
        _refuse_repeats("blocks", (block.code for block in self.blocks))
        _refuse_repeats("blocks.steps", (step.code for block in self.blocks for step in block.steps))
        _refuse_repeats("variants", (variant.code for variant in self.variants))
        stray = next((block for block in self.blocks if not block.code.startswith(self.process + ".")), None)
        if stray is not None:
            words = f"has {stray.code}, which is no block of {self.process}"
            raise wrong("foreign_block", words, f"begin every block's code with {self.process}", at="blocks")
        elastic = sum(block.kind == "elastic" for block in self.blocks)
        if not elastic:
            raise wrong(
                "no_elastic_block", "must have an elastic one", "say where the work is done", at="blocks"
            )
        for variant in self.variants:
            _check_variant(self, variant, elastic)
        return self


def _check_variant(process: Process, variant: Variant, elastic: int) -> None:
    if variant.steps is not None and elastic != 1:
        raise wrong(
            "unclear_block",
            f"gives steps to {variant.code}, but there are {elastic} elastic blocks",
            "keep one elastic block, or leave the steps out",
            at="variants",
        )
    # A rigid step inside an elastic block would let a variant move the safety envelope.
    rigid = {step.code for block in process.blocks if block.kind == "rigid" for step in block.steps}
    taken = next((step.code for step in variant.steps or () if step.code in rigid), None)
    if taken is not None:
        raise wrong(
            "rigid_step_in_variant",
            f"gives {variant.code} the step {taken}, which belongs to a rigid block",
            "leave it out: a variant changes the elastic block only",
            at="variants",
        )


def _refuse_repeats(where: str, codes: Iterable[str]) -> None:
    code, count = next(iter(Counter(codes).most_common(1)), ("", 0))
    if count > 1:
        raise _repeat(where, code)


def _repeat(where: str, code: str) -> PydanticCustomError:
    return wrong("duplicate_code", f"has the code {code} more than once", "give each its own code", at=where)


def admitted(process: Process) -> dict[str, Any]:
    """The plain JSON of a process, every field written out (null where nothing is said)."""
    return process.model_dump(mode="json")


def bundled_process(code: str) -> bytes:
    """The bytes of a process file that ships with the program, by its code such as WF-ROUTINE-EXEC.

    Raises `NotFound` for another code.
    """
    if _WORKFLOW.fullmatch(code):
        found = files("server.contract").joinpath("processes", code.lower() + ".yaml")
        if found.is_file():
            return found.read_bytes()
    raise NotFound(
        "unknown_process",
        f"There is no process {shown(code)} here.",
        hint="use WF-ROUTINE-EXEC, the bundled one",
    )
