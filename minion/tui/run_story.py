"""A run as its events tell it: what was said when, and the steps with their beginnings and ends.

The store has a step only once it has ended; events tell of it while it goes on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from minion.tui.event_words import Told, told
from server.contract.digest import parse_instant

# Inside another step; the others stand for themselves.
_INNER: Final = ("tool_call", "llm_response", "decision")


@dataclass(frozen=True, slots=True)
class Moment:
    """One event: its place in the run's log from 1 on, when, and in which block and step (a number)."""

    place: int
    at: datetime
    type: str
    block: str | None
    step: int | None
    data: Mapping[str, Any]
    told: Told


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a run; `inside` is the number of the step it belongs to, None for one that stands for itself.

    `began` None: it was skipped. `ended` None: it goes on. `first` and `last` are places in the log.
    """

    number: int
    code: str
    kind: str
    block: str | None
    state: str
    why: str | None
    began: datetime | None
    ended: datetime | None
    inside: int | None
    first: int
    last: int
    digest_in: str | None = None
    digest_out: str | None = None

    @property
    def key(self) -> str:
        """What stands for it in a list."""
        return f"step:{self.number}"


class Story:
    """Takes the events of a run in order, as they come."""

    def __init__(self) -> None:
        self._moments: list[Moment] = []
        self._steps: dict[int, Step] = {}
        self._open: list[int] = []
        self._effects: dict[str, str] = {}

    def take(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Go on with these. Raises `ValueError` for an instant that is none."""
        for event in events:
            self._take(event)

    @property
    def moments(self) -> tuple[Moment, ...]:
        """All that was said."""
        return tuple(self._moments)

    def steps(self, over: datetime | None) -> tuple[Step, ...]:
        """The steps in order; those without an end are interrupted in a run that is `over` since then."""
        found = [self._steps[number] for number in sorted(self._steps)]
        if over is None:
            return tuple(found)
        return tuple(
            replace(step, state="interrupted", ended=over, why="the run ended before it")
            if step.state == "running" else step
            for step in found
        )  # fmt: skip

    def _take(self, event: Mapping[str, Any]) -> None:
        data = event["data"] if isinstance(event["data"], dict) else {"": event["data"]}
        place, at, type_ = len(self._moments) + 1, parse_instant(event["at"]), str(event["type"])
        if type_ == "effect.staged":
            self._effects[str(data.get("id"))] = f"{data.get('kind')}:{data.get('target')}"
        number = self._step_of(event, data, type_)
        moment = Moment(
            place, at, type_, event["block"], number, data, told(type_, data, self._effects, event["block"])
        )
        self._moments.append(moment)
        if type_ == "step.started" and number is not None:
            self._begin(number, moment)
        elif type_ == "step.finished" and number is not None:
            self._end(number, moment)
        elif type_ == "run.moved" and data.get("to") == "interrupted":
            self._break_off(moment)

    def _step_of(self, event: Mapping[str, Any], data: Mapping[str, Any], type_: str) -> int | None:
        said = data.get("number")
        if type_.startswith("step.") and type(said) is int:
            return said
        # What the daemon says itself has no number of the runner's, and belongs to no step.
        return self._open[-1] if self._open and event["seq"] is not None else None

    def _begin(self, number: int, moment: Moment) -> None:
        kind = str(moment.data.get("kind") or "step")
        self._steps[number] = Step(
            number, str(moment.data.get("code")), kind, moment.block, "running", None, moment.at, None,
            self._open[-1] if self._open and kind in _INNER else None, moment.place, moment.place,
            _word(moment.data.get("digest_in")),
        )  # fmt: skip
        self._open.append(number)

    def _end(self, number: int, moment: Moment) -> None:
        data = moment.data
        step = self._steps.get(number)
        if step is None:  # never begun: an earlier one failed
            step = Step(
                number, str(data.get("code")), str(data.get("kind") or "step"), moment.block, "skipped", None,
                None, None, None, moment.place, moment.place, _word(data.get("digest_in")),
            )  # fmt: skip
        self._steps[number] = replace(
            step, state=str(data.get("state")), why=_word(data.get("why")), ended=moment.at, last=moment.place,
            digest_out=_word(data.get("digest_out")),
        )  # fmt: skip
        if number in self._open:
            self._open.remove(number)

    def _break_off(self, moment: Moment) -> None:
        for number in self._open:
            self._steps[number] = replace(
                self._steps[number], state="interrupted", ended=moment.at, why="the run ended before it",
                last=moment.place,
            )  # fmt: skip
        self._open.clear()


def within(step: Step, moments: Sequence[Moment]) -> list[Moment]:
    """What was said while a step went on, its own beginning and end left out."""
    last = step.last if step.ended is not None and step.last > step.first else len(moments)
    if step.began is None:
        return []
    return [moment for moment in moments[step.first : last]
            if not (moment.type.startswith("step.") and moment.step == step.number)]  # fmt: skip


def _word(value: Any) -> str | None:
    return None if value is None else str(value)
