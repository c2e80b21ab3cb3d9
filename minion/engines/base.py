"""The one Protocol of engines: a session that performs tasks in order and then claims the run's outcome."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from minion.wire import Order, OrderedSkill
from server.contract.prices import Tokens
from server.contract.run import StepKind, StepState

if TYPE_CHECKING:  # the daemon, which knows results by these names, has no tool host
    from minion.sandbox.tool_client import ToolHost

TaskState = Literal["completed", "failed", "skipped", "cancelled"]


class Interruption(Exception):
    """The session cannot go on now, but may later: the run ends `interrupted` and can be resumed.

    Its message is one sentence; `hint` says what to do before, or how to go on.
    """

    def __init__(self, why: str, *, hint: str) -> None:
        super().__init__(why)
        self.why = why
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Stop:
    """Why the session may not call its model any more: a cap that is reached, and what raises it."""

    why: str
    hint: str


class Stopped(Exception):
    """The session may not call its model again, for the reason in `stop`."""

    def __init__(self, stop: Stop) -> None:
        super().__init__(stop.why)
        self.stop = stop


@dataclass(frozen=True, slots=True)
class Used:
    """What one model call used: the `model` that answered, tokens by kind, US dollars, 1 turn (0: it was cut)."""

    model: str
    tokens: Tokens
    dollars: float
    turns: int = 1


@dataclass(frozen=True, slots=True)
class StagedEffect:
    """An external write that a task asks for; the runner decides and performs it, never the task."""

    kind: str
    target: str
    body: str | None = None
    path: str | None = None
    title: str | None = None


@dataclass(frozen=True, slots=True)
class TaskResult:
    """What a task came to: its text and data for the next ones, its effects, and why it did not complete.

    `exit` is the script's exit status where there was one; `truncated` the bytes of output that were cut off;
    `gap` the (gap type, requested code, description) of a capability it lacked; `log` what it said beside its
    result, for whoever looks into it; `hint` what to do about a failure; `cost` what its model calls used.
    """

    state: TaskState
    text: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)
    effects: tuple[StagedEffect, ...] = ()
    why: str | None = None
    exit: int | None = None
    truncated: int = 0
    duration_ms: int = 0
    timed_out: bool = False
    gap: tuple[str, str, str] | None = None
    log: str = ""
    hint: str | None = None
    cost: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Workplace:
    """A repository as a task sees it: `path` its writable files, `history` a read-only bare clone."""

    name: str
    path: str
    history: str
    branch: str


class StepEnd(Protocol):
    """How a step that is under way will be said to have ended: completed, unless it is told or fails."""

    state: StepState | None
    why: str | None
    out: Any
    cost: Mapping[str, float]


class Ledger(Protocol):
    """What a session may ask of the trusted runner while it works: its run's log, its budget, its desk."""

    def step(
        self, code: str, *, kind: StepKind = "step", given: Any = None
    ) -> AbstractAsyncContextManager[StepEnd]:
        """One step of the run's log, started on entry and finished on the way out."""
        ...

    async def log(self, level: Literal["info", "warning", "error"], text: str) -> None:
        """Write a line to the run's log."""
        ...

    async def gap(self, gap_type: str, requested_code: str, description: str) -> None:
        """Record a capability that the run lacked."""
        ...

    async def ask(self, question: str) -> str:
        """Put a question to people into the minion's inbox; the decision's id. Nobody is waited for."""
        ...

    async def used(self, used: Used) -> None:
        """Have a model call counted, and kept, before the next one."""
        ...

    def stop_before_call(self, *, report: bool) -> Stop | None:
        """Why no model call may follow; None when one may. `report`: from what is kept back for the report."""
        ...

    def most_output(self, model: str, prompt: int) -> int:
        """The tokens that the next call may write, as far as the budget goes; `prompt` is what it will read."""
        ...

    def explore(self) -> Stop | None:
        """Count the turn under way as one off the canonical steps; why that may not be, when it may not."""
        ...

    def effect_refusal(self, wish: StagedEffect, *, ahead: int) -> str | None:
        """Why an effect would be refused after `ahead` others of the task under way; None when it would not."""
        ...

    def news(self) -> list[str]:
        """What happened since this was asked last that whoever works in the tool host should know, in lines."""
        ...


@dataclass(frozen=True, slots=True)
class ApiAccess:
    """How the model's API is reached: the key, which no representation shows, and the address if it is another."""

    key: str = field(repr=False)
    url: str | None = None


class Redact(Protocol):
    """Takes secrets out of a JSON value: those that are known and, with `shapes`, what only looks like one."""

    def __call__(self, value: Any, /, *, shapes: bool = True) -> Any:
        """The value without them."""
        ...


@dataclass(frozen=True, slots=True)
class Stage:
    """What a session works with: the order, the tool host, where things lie inside it, and the runner's ledger.

    `redact` takes secrets out of a JSON value. Whatever a task said goes through it before anything is cut off:
    half a secret would not be known as one any more. `api` is None where the run has no key.
    """

    order: Order
    tools: ToolHost
    repositories: tuple[Workplace, ...]
    skill_paths: Mapping[str, str]
    scratch: str
    env: Mapping[str, str]
    python: str
    now: str
    redact: Redact
    ledger: Ledger
    api: ApiAccess | None = None


class Session(Protocol):
    """One session of a run: context carries over from task to task."""

    async def skill(
        self, skill: OrderedSkill, earlier: Sequence[tuple[str, TaskResult]], *, timeout_s: float
    ) -> TaskResult:
        """Perform one skill of the pipeline; `earlier` are all skills before it with their results.

        Raises `Interruption` when it cannot go on now.
        """
        ...

    async def prompt(self, *, timeout_s: float) -> TaskResult:
        """Perform the routine's prompt, for a routine without a pipeline."""
        ...

    async def report(
        self,
        earlier: Sequence[tuple[str, TaskResult]],
        *,
        facts: Mapping[str, Any],
        reminder: str | None,
        timeout_s: float,
    ) -> Mapping[str, Any] | None:
        """The session's claim `{outcome, summary, details}`, unchecked; None when it made none.

        Raises `Stopped` when it can make none, for its budget or because its model cannot be asked: what was done
        is then delivered all the same.
        """
        ...

    async def close(self) -> None:
        """Let go of what the session holds outside the tool host; may be called often."""
        ...


class Engine(Protocol):
    """A way to execute elastic blocks."""

    name: str

    async def open(self, stage: Stage) -> Session:
        """Open the run's one session."""
        ...
