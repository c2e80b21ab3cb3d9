"""The execution report at a run's end: asked for, held against what the runner saw, filed once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from minion.engines.base import Session, Stop, Stopped, TaskResult
from minion.runner.blocks import Walk
from minion.runner.budget import Budget
from minion.runner.link import DaemonLink
from minion.runner.report import InvalidReport, Report, clamp, validate
from minion.runner.resumed import Before
from server.contract.run import Outcome
from server.contract.topology import skill_code

REPORT: Final = "execution-report"


class ClosingReport:
    """The one report of a run; `filed` tells whether it was."""

    def __init__(self, walk: Walk, link: DaemonLink, budget: Budget, before: Before) -> None:
        self._walk = walk
        self._link = link
        self._budget = budget
        self._before = before
        self.filed = before.report is not None

    async def make(
        self, session: Session, results: Sequence[tuple[str, TaskResult]], facts: Mapping[str, Any]
    ) -> None:
        """Ask for the report; one reminder; without a valid one the outcome is unknown."""
        if self._before.report_ended:
            return
        code, names = skill_code(REPORT), [name for name, _ in results]
        async with self._walk.step(code, kind="report", given=names) as ending:
            if self._before.report is not None:
                ending.out = list(self._before.report)
                return
            report, trouble = await self._asked(session, results, facts)
            if trouble is not None:
                ending.state, ending.why = "failed", trouble
            ending.out = [report.outcome, report.summary]
            await self.file(report, by="session" if trouble is None else "runner")

    async def _asked(
        self, session: Session, results: Sequence[tuple[str, TaskResult]], facts: Mapping[str, Any]
    ) -> tuple[Report, str | None]:
        reminder: str | None = None
        for _ in range(2):
            try:
                # A session outside the tool host has reported over the socket by now.
                claim = self._link.claim or await session.report(
                    results, facts=facts, reminder=reminder, timeout_s=self._budget.left_for_report()
                )
                return clamp(validate(claim), results), None
            except InvalidReport as error:
                reminder = str(error)
            except Stopped as stopped:
                return _without_a_session(stopped.stop, results), stopped.stop.why
        # A skill that failed has failed, whoever says so or does not.
        return Report("unknown", "The session made no valid report.", "", reminder), reminder

    async def file(self, report: Report, *, by: str) -> None:
        """File a report; the run goes on when it is kept."""
        said = {
            "outcome": report.outcome,
            "summary": report.summary,
            "details": report.details,
            "note": report.note,
            "filed_by": by,
        }
        self.filed = True
        await self._walk.say("report", said)


def _without_a_session(stop: Stop, results: Sequence[tuple[str, TaskResult]]) -> Report:
    """What the runner itself can say where the session cannot be asked."""
    lines = [f"- {name}: {result.state}{f' ({result.why})' if result.why else ''}" for name, result in results]
    details = "\n".join((*lines, "", f"Hint: {stop.hint}."))
    outcome: Outcome = "failure" if any(result.state == "failed" for _, result in results) else "unknown"
    return Report(outcome, f"The session could not make its report: {stop.why.rstrip('.')}.", details)
