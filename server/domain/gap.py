"""Gaps: what a run lacked. When it is urgent, and what may become of it.

Rules: DESIGN §8 "Gaps": the same (gap_type, requested_code) is one gap; three times is medium, five times high. A
human's approval of a proposal does not close it: it is `resolved` when the blocked run passes, or at first use.
"""

from __future__ import annotations

from typing import Final, Literal

Priority = Literal["low", "medium", "high"]
GapState = Literal["open", "researching", "proposed", "approved", "resolved", "declined"]
MEDIUM_AT: Final = 3
HIGH_AT: Final = 5
# While a gap is in one of these, who lacks the same again adds to it.
STILL_OPEN: Final[tuple[GapState, ...]] = ("open", "researching", "proposed", "approved")


def priority_of(frequency: int) -> Priority:
    """How urgent a gap is that was met so often."""
    return "high" if frequency >= HIGH_AT else "medium" if frequency >= MEDIUM_AT else "low"


def escalates(before: int, after: int) -> Priority | None:
    """The priority that a gap reaches as its frequency grows from `before` to `after`; None when it stays."""
    reached = priority_of(after)
    return reached if reached != priority_of(before) else None


def after_answer(approved: bool) -> GapState:
    """What a gap becomes when a human answers a proposal for it: one that is turned down leaves it lacked."""
    return "approved" if approved else "open"
