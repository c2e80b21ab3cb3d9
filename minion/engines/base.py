"""The one Protocol of engines: a session that performs tasks in order and then claims the run's outcome."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from minion.wire import Order, OrderedSkill

if TYPE_CHECKING:  # the daemon, which knows results by these names, has no tool host
    from minion.sandbox.tool_client import ToolHost

TaskState = Literal["completed", "failed", "skipped", "cancelled"]


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
    result, for whoever looks into it.
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


@dataclass(frozen=True, slots=True)
class Workplace:
    """A repository as a task sees it: `path` its writable files, `history` a read-only bare clone."""

    name: str
    path: str
    history: str
    branch: str


@dataclass(frozen=True, slots=True)
class Stage:
    """What a session works with: the order, the tool host, and where things lie inside it.

    `redact` takes secrets out of a JSON value. Whatever a task said goes through it before anything is cut off:
    half a secret would not be known as one any more.
    """

    order: Order
    tools: ToolHost
    repositories: tuple[Workplace, ...]
    skill_paths: Mapping[str, str]
    scratch: str
    env: Mapping[str, str]
    python: str
    now: str
    redact: Callable[[Any], Any]


class Session(Protocol):
    """One session of a run: context carries over from task to task."""

    async def skill(
        self, skill: OrderedSkill, earlier: Sequence[tuple[str, TaskResult]], *, timeout_s: float
    ) -> TaskResult:
        """Perform one skill of the pipeline; `earlier` are all skills before it with their results."""
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
        """The session's claim `{outcome, summary, details}`, unchecked; None when it made none."""
        ...


class Engine(Protocol):
    """A way to execute elastic blocks."""

    name: str

    async def open(self, stage: Stage) -> Session:
        """Open the run's one session."""
        ...
