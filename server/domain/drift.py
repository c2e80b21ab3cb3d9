"""What a run's departure from the canonical steps amounts to: nothing, a little, something new, or a breach.

Rules: DESIGN §8 "Drift verdict". Sequences are as in `contract/topology.py`: started steps, repeats collapsed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Literal

from server.contract.topology import Conformance

Drift = Literal["conformant", "benign", "novel", "violation"]
# Where a variant names no `novelty_threshold`: half of the steps may differ before a human looks first.
NOVELTY: Final = 0.5


def drift_verdict(
    conformance: Conformance, taken: Sequence[str], known: Iterable[Sequence[str]], *, novelty: float | None = None
) -> Drift:
    """The verdict on one run whose steps were `taken`; `known` are canonical sequences of its process's variants.

    `violation`: a rigid part differs. `conformant`: all as it should be, also as far as an early end let it come.
    Else `novel` when the steps are further from every known sequence than `novelty`, a share of 1, and `benign`.
    """
    if conformance == "violation":
        return "violation"
    if conformance in ("conformant", "incomplete"):
        return "conformant"
    most = NOVELTY if novelty is None else novelty
    return "novel" if min((distance(taken, each) for each in known), default=1.0) > most else "benign"


def distance(left: Sequence[str], right: Sequence[str]) -> float:
    """How far two sequences lie apart: how many codes to put in, take out or change at least, as a share of 1."""
    longest = max(len(left), len(right))
    return _edits(left, right) / longest if longest else 0.0


def _edits(left: Sequence[str], right: Sequence[str]) -> int:
    row = list(range(len(right) + 1))
    for number, code in enumerate(left, 1):
        before, row[0] = row[0], number
        for place, other in enumerate(right, 1):
            before, row[place] = row[place], min(row[place] + 1, row[place - 1] + 1, before + (code != other))
    return row[-1]
