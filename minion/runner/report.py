"""Validates the execution report: what the session claims, held against what the runner saw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from minion.engines.base import TaskResult
from server.contract.run import OUTCOMES, Outcome

SUMMARY_CHARACTERS: Final = 500
DETAILS_CHARACTERS: Final = 16_000
_RANK: Final[Mapping[str, int]] = {"success": 0, "partial": 1, "unknown": 2, "failure": 3}


class InvalidReport(Exception):
    """A report that does not say what it must; the message tells the session what to mend."""


@dataclass(frozen=True, slots=True)
class Report:
    """A validated report: one line of summary, Markdown details, and a note when the claim was lowered."""

    outcome: Outcome
    summary: str
    details: str
    note: str | None = None


def validate(claim: Mapping[str, Any] | None) -> Report:
    """The report in a session's claim. Raises `InvalidReport` naming the field that is wrong."""
    if claim is None:
        raise InvalidReport("No report was made: call it with outcome, summary and details.")
    unknown = sorted(set(claim) - {"outcome", "summary", "details"})
    if unknown:
        raise InvalidReport(f"The report has an unknown field {str(unknown[0])[:40]!r}.")
    outcome, summary, details = claim.get("outcome"), claim.get("summary"), claim.get("details", "")
    if outcome not in OUTCOMES:
        raise InvalidReport("The report's outcome must be success, partial, failure or unknown.")
    if not isinstance(summary, str) or not summary.strip() or not isinstance(details, str | None):
        raise InvalidReport("The report needs a summary of one line, and details as text.")
    line = " ".join(summary.split())
    return Report(outcome, _plain(line)[:SUMMARY_CHARACTERS], _plain(details or "")[:DETAILS_CHARACTERS])


def clamp(report: Report, results: Sequence[tuple[str, TaskResult]]) -> Report:
    """Lower a claim to what the runner saw: a failed skill is a failure, a skipped one at most partial."""
    failed = [name for name, result in results if result.state in ("failed", "cancelled")]
    skipped = [name for name, result in results if result.state == "skipped"]
    ceiling: Outcome = "failure" if failed else "partial" if skipped else "success"
    if _RANK[report.outcome] >= _RANK[ceiling]:
        return report
    cause = f"{(failed or skipped)[0]} {'failed' if failed else 'was skipped'}"
    note = f"the session claimed {report.outcome}; {cause}"
    return Report(ceiling, report.summary, report.details, note)


def _plain(text: str) -> str:
    """Text without control characters, so that a report cannot drive the reader's terminal."""
    return "".join(c for c in text if c in "\n\t" or (c >= " " and c != "\x7f" and not "\x80" <= c <= "\x9f"))
