"""The life of a run: its states and legal moves, and the four truths from which the verdict is derived.

Rules: DESIGN §2 ("Four different truths, never mixed") and DECISIONS "Verdict and effects".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, get_args

from .refusals import IllegalMove

RunState = Literal[
    "draft", "validated", "queued", "running", "waiting",
    "completed", "failed", "cancelled", "timed_out", "interrupted", "violated",
]  # fmt: skip
Outcome = Literal["success", "partial", "failure", "unknown"]
Delivery = Literal["none", "accepted", "delivered", "failed", "unknown"]
Verdict = Literal[
    "ok", "unchecked", "not-delivered", "partial", "failed", "unknown",
    "running", "waiting", "late", "missed", "skipped",
]  # fmt: skip
StepState = Literal["running", "completed", "failed", "skipped", "interrupted", "cancelled"]
StepKind = Literal["step", "tool_call", "llm_response", "decision", "report"]
EffectKind = Literal["push", "pull_request", "comment", "message", "file"]
EffectState = Literal["staged", "withheld", "refused", "intended", "accepted", "delivered", "failed", "unknown"]
CheckKind = Literal["delivered", "file", "command", "contains"]

GapType = Literal["step", "block", "skill", "tool", "connector", "capability", "permission"]
GAP_TYPES: Final[tuple[str, ...]] = get_args(GapType)
OUTCOMES: Final[tuple[str, ...]] = get_args(Outcome)
EFFECT_KINDS: Final[tuple[str, ...]] = get_args(EffectKind)

_ENDS: Final = frozenset({"completed", "failed", "cancelled", "timed_out", "interrupted", "violated"})
LEGAL_MOVES: Final[dict[str, frozenset[str]]] = {
    "draft": frozenset({"validated", "failed", "cancelled", "interrupted"}),
    "validated": frozenset({"queued", "failed", "cancelled", "interrupted"}),
    "queued": frozenset({"running", "failed", "cancelled", "interrupted"}),
    "running": frozenset({"waiting"}) | _ENDS,
    "waiting": frozenset({"running", "cancelled", "timed_out", "interrupted"}),
    "interrupted": frozenset({"running"}),  # by resume only
    "completed": frozenset(),
    "failed": frozenset(),
    "cancelled": frozenset(),
    "timed_out": frozenset(),
    "violated": frozenset(),
}


def has_ended(state: RunState) -> bool:
    """Whether a run in `state` has ended; an interrupted one may still be resumed."""
    return state in _ENDS


def check_move(before: RunState, after: RunState) -> None:
    """Refuse a move that the table of legal moves does not have. Raises `IllegalMove`."""
    if after not in LEGAL_MOVES[before]:
        raise IllegalMove(
            "illegal_move",
            f"A run cannot go from {before} to {after}.",
            hint="report it with the run's id: this is a defect of the program",
        )


def way_to(before: RunState, after: RunState) -> tuple[RunState, ...] | None:
    """The shortest way of legal moves from one state to another, without the first; None where there is none."""
    ways: list[tuple[RunState, ...]] = [()]
    seen = {before}
    for way in ways:
        here = way[-1] if way else before
        if here == after:
            return way
        for each in get_args(RunState):
            if each in LEGAL_MOVES[here] and each not in seen:
                seen.add(each)
                ways.append((*way, each))
    return None


@dataclass(frozen=True, slots=True)
class Truths:
    """What is known of a run; `expects` pairs each `expect` check's kind with whether it passed."""

    state: RunState
    outcome: Outcome
    delivery: Delivery = "none"
    expects: tuple[tuple[CheckKind, bool], ...] = field(default=())
    effects_unknown: bool = False


def verdict_of(truths: Truths) -> Verdict:
    """The one word people see: the first row of the table that matches (DECISIONS "Verdict and effects").

    `late` and `missed` are words of slots, not of runs, and never come from here.
    """
    failed_expects = [kind for kind, passed in truths.expects if not passed]
    checked = truths.delivery == "delivered" or any(passed for _, passed in truths.expects)
    table: Sequence[tuple[bool, Verdict]] = (
        (truths.state == "waiting", "waiting"),
        (not has_ended(truths.state), "running"),
        (truths.state in ("failed", "timed_out", "violated"), "failed"),
        (truths.state == "cancelled", "skipped"),
        (truths.state == "interrupted" or truths.effects_unknown or truths.delivery == "unknown", "unknown"),
        (truths.outcome == "failure", "failed"),
        (any(kind != "delivered" for kind in failed_expects), "failed"),
        (bool(failed_expects), "not-delivered"),
        (truths.delivery == "failed", "not-delivered"),
        (truths.outcome == "partial", "partial"),
        (truths.outcome == "unknown", "unknown"),
        (checked, "ok"),
    )
    return next((verdict for matches, verdict in table if matches), "unchecked")


def delivery_of(effects: Sequence[EffectState]) -> Delivery:
    """The delivery of a run from the states of its effects: the worst one wins; none without effects."""
    order: Sequence[tuple[frozenset[str], Delivery]] = (
        (frozenset({"failed", "refused", "withheld"}), "failed"),
        (frozenset({"unknown", "intended"}), "unknown"),
        (frozenset({"staged"}), "none"),
        (frozenset({"accepted"}), "accepted"),
        (frozenset({"delivered"}), "delivered"),
    )
    return next((word for states, word in order if any(state in states for state in effects)), "none")


EXIT_CODES: Final[dict[str, int]] = {
    "ok": 0, "unchecked": 0,
    "failed": 1, "not-delivered": 1,
    "partial": 4, "unknown": 4, "skipped": 4, "late": 4, "missed": 4, "running": 0, "waiting": 0,
}  # fmt: skip
