"""How far a routine's runs under one variant can be relied on: the Beta(1,1) mean of those that ended.

Counted are the runs since the routine was changed, resumed, or let run by a person last: what is judged is what
runs now. One that a person stopped counts as neither; every outcome but a success that was not refuted is none.
Rule: DESIGN §8 "Confidence".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from minion.store.decisions import Decision, ask
from server.contract.policy import Policy

if TYPE_CHECKING:
    from aiosqlite import Connection

# Fewer runs than this say nothing yet.
FROM_RUNS: Final = 10
KIND: Final = "confidence"
_CLASSIFIED: Final = """
SELECT count(*) AS runs, coalesce(sum(outcome = 'success' AND verdict IN ('ok', 'unchecked')), 0) AS good
FROM runs WHERE routine_id = ?1 AND variant = ?2 AND verdict NOT IN ('running', 'waiting', 'skipped')
AND created_at > max(
    coalesce((SELECT changed_at FROM routines WHERE id = ?1), ''),
    coalesce((SELECT max(answered_at) FROM decisions
        WHERE routine_id = ?1 AND kind = 'confidence' AND answer = 'approve'), ''))
"""


@dataclass(frozen=True, slots=True)
class Confidence:
    """Of `runs` that ended, so many were `good`."""

    runs: int
    good: int

    @property
    def mean(self) -> float:
        """The mean of a Beta(1,1) prior after these runs."""
        return (self.good + 1) / (self.runs + 2)

    def below(self, policy: Policy) -> bool:
        """Whether it is below the floor of a policy that has one, and enough runs say so."""
        floor = policy.confidence_floor
        return floor is not None and self.runs >= FROM_RUNS and self.mean < floor


async def confidence_of(db: Connection, routine_id: str, variant: str) -> Confidence:
    """How a routine's runs under a variant went."""
    (row,) = await db.execute_fetchall(_CLASSIFIED, (routine_id, variant))
    return Confidence(int(row["runs"]), int(row["good"]))


def words(confidence: Confidence, routine: str, variant: str, floor: float) -> str:
    """What people are told of it, without a full stop."""
    share = f"{confidence.mean:.0%} sure by now, below the floor of {floor:.0%}"
    return f"{confidence.good} of the last {confidence.runs} runs of {routine} as {variant} went well ({share})"


async def ask_about_confidence(
    db: Connection, routine_id: str, routine: str, variant: str, confidence: Confidence, floor: float, *, now: str
) -> Decision:
    """The decision whether a routine may run all the same: the open or rejected one, else a new one."""
    subject = {"variant": variant, "floor": floor}
    what = f"{words(confidence, routine, variant, floor)}; may it run?"
    return await ask(db, KIND, routine_id, routine, what, subject, now=now)
