"""What a minion says to HQ about a run: what `minion show RUN --json` prints, as a message of the wire."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from .documents import WireMessage, WirePart
from .plain_words import wrong
from .run import (
    CheckKind,
    Delivery,
    EffectKind,
    EffectState,
    Outcome,
    RunState,
    StepKind,
    StepState,
    Verdict,
)
from .spelling import AnyId, Moment, RunId, Slug, StepCode
from .topology import Conformance

_FINGERPRINT = re.compile(r"T:[0-9a-f]{8}")


def _fingerprint(text: str) -> str:
    if _FINGERPRINT.fullmatch(text) is None:
        raise wrong("bad_fingerprint", "must be T: and eight hex digits", "send the topology's fingerprint")
    return text


Fingerprint = Annotated[str, AfterValidator(_fingerprint)]


class ReportedStep(WirePart):
    """A step log. `code` is a step code for kind `step`, for other kinds what was called or answered."""

    code: str
    kind: StepKind
    state: StepState
    started_at: Moment | None = None
    ended_at: Moment | None = None
    why: str | None = None


class ReportedBlock(WirePart):
    """A block run with its steps in order; a block that was never entered has no start."""

    code: str
    name: str
    kind: Literal["rigid", "elastic"]
    state: StepState
    started_at: Moment | None = None
    ended_at: Moment | None = None
    steps: tuple[ReportedStep, ...] = ()


class ReportedEffect(WirePart):
    """An effect of the run: what, where to, how far it came and what was seen of it."""

    id: AnyId
    kind: EffectKind
    target: str
    state: EffectState
    detail: str | None = None


class ReportedSession(WirePart):
    """A session of the run; a resume opens another one."""

    id: AnyId
    engine: str
    sandbox: str
    opened_at: Moment


class ReportedCheck(WirePart):
    """One `expect` of the routine, whether it held, and what was seen."""

    kind: CheckKind
    expected: str
    state: Literal["passed", "failed"]
    detail: str | None = None


class ReportedGap(WirePart):
    """A capability that the run lacked."""

    id: AnyId
    gap_type: str
    requested_code: str
    description: str | None = None
    at: Moment


class RunReport(WireMessage):
    """One run. The four truths stand side by side (DESIGN §2); `revision` grows with every change of the run.

    `why` says why it ended as it did, where that needs saying. `topology` and `canonical` are step codes in order;
    `first_difference` is (block, expected, taken). `usage` counts by name (`…_ms` milliseconds, `tokens`,
    `dollars`). HQ takes each (id, revision) once.
    """

    id: RunId
    routine: Slug
    trigger: str
    state: RunState
    outcome: Outcome
    delivery: Delivery
    verdict: Verdict
    summary: str | None = None
    details: str | None = None
    why: str | None = None
    topology: tuple[StepCode, ...] = ()
    fingerprint: Fingerprint | None = None
    canonical: tuple[StepCode, ...] = ()
    canonical_fingerprint: Fingerprint | None = None
    conformance: Conformance | None = None
    first_difference: tuple[str, str | None, str | None] | None = None
    created_at: Moment
    started_at: Moment | None = None
    ended_at: Moment | None = None
    blocks: tuple[ReportedBlock, ...] = ()
    effects: tuple[ReportedEffect, ...] = ()
    usage: dict[str, Any] = Field(default_factory=dict)
    engine: str | None = None
    sandbox: str | None = None
    sessions: tuple[ReportedSession, ...] = ()
    checks: tuple[ReportedCheck, ...] = ()
    gaps: tuple[ReportedGap, ...] = ()
    delivery_target: str | None = None
    revision: Annotated[int, Field(ge=0)]
