"""The NDJSON messages between the daemon and a runner: the order, events one way, answers the other.

Plain dataclasses, because neither side may import pydantic (DECISIONS "Protocols").
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from server.contract.digest import canonical_json
from server.contract.policy import Policy
from server.contract.quota import Limits
from server.contract.topology import CanonicalBlock

VERSION: Final = 1
EVENT_BYTES: Final = 262_144
# A body above this is written to a file of the run folder and named by path and digest in the event.
INLINE_BYTES: Final = 65_536
# One line of the order: the routine, its skills' instructions and the canonical steps.
ORDER_BYTES: Final = 16 * 1024 * 1024

EVENT_TYPES: Final = frozenset(
    {
        "session.opened", "block.started", "block.finished", "step.started", "step.finished", "skill.result",
        "effect.staged", "effect.intent", "effect.result", "check", "report", "gap", "decision", "usage", "log",
        "run.finished",
    }
)  # fmt: skip
# The runner goes on only after the daemon has committed these, and the usage of a model call.
ACKNOWLEDGED: Final = frozenset({"effect.intent", "report", "run.finished"})
ANSWER_TYPES: Final = frozenset({"ack", "cancel", "decision", "report"})


class WireError(Exception):
    """A line that is no message of this protocol."""


@dataclass(frozen=True, slots=True)
class OrderedSkill:
    """A skill as copied for one run: `path` is its folder, `script` relative to it, `pinned` bundled and known.

    What only a model needs: `instructions` (Markdown), `allowed_tools` (none named: all), `tools` (tool → step
    code) and the `model` that performs it.
    """

    name: str
    code: str
    path: str
    digest: str
    script: str | None
    pinned: bool
    effects: tuple[str, ...] = ()
    description: str = ""
    instructions: str = ""
    allowed_tools: tuple[str, ...] = ()
    tools: Mapping[str, str] = field(default_factory=dict)
    model: str | None = None


@dataclass(frozen=True, slots=True)
class OrderedRepository:
    """A repository a run works on: `local` when `url` is a path of this machine."""

    name: str
    url: str
    branch: str | None
    local: bool


@dataclass(frozen=True, slots=True)
class Order:
    """All a runner needs for one run, secrets excepted (it opens their file itself).

    `input` is text from outside the routine; `since` the last delivered report's instant; `blocks` the process
    with the canonical steps of this run; `forges` maps a host to its API; `parent_pid` is the process whose
    death ends the runner. `resumed` is None for a run that begins; for one that goes on it says how its effects
    stand, by their ids: those that are `staged` are still to be performed. `model` performs what names no other,
    `prices` are those that minion.json adds, `api_url` is the API's address where it is not the usual one.
    `policy` is that of the variant. `answers` are earlier runs' questions that people have answered since.
    """

    run_id: str
    session_id: str
    key: str
    trigger: str
    routine: Mapping[str, Any]
    routine_digest: str
    minion_id: str
    agent: str
    engine: str
    process: str
    variant: str
    blocks: tuple[CanonicalBlock, ...]
    block_names: Mapping[str, str]
    skills: tuple[OrderedSkill, ...]
    report_skill: OrderedSkill
    repositories: tuple[OrderedRepository, ...]
    limits: Limits
    sandbox: str
    effects: tuple[str, ...]
    since: str
    timezone: str
    run_dir: str
    outbox_dir: str
    secrets_file: str
    search_path: str
    input: str | None = None
    forges: Mapping[str, str] = field(default_factory=dict)
    passed_env: Mapping[str, str] = field(default_factory=dict)
    parent_pid: int = 0
    resumed: Mapping[str, str] | None = None
    report_token: str = field(default="", repr=False)
    model: str = ""
    prices: Mapping[str, Any] = field(default_factory=dict)
    api_url: str | None = None
    policy: Policy = field(default_factory=Policy)
    answers: tuple[Mapping[str, str], ...] = ()
    v: int = VERSION

    def line(self) -> bytes:
        """The order as one NDJSON line."""
        return canonical_json(asdict(self)).encode() + b"\n"

    @classmethod
    def read(cls, line: bytes) -> Order:
        """The order on a line. Raises `WireError` when it is not one of this version."""
        data = _object(line)
        if data.get("v") != VERSION:
            raise WireError(f"order of version {data.get('v')!r}, this runner speaks {VERSION}")
        try:
            data["blocks"] = tuple(
                CanonicalBlock(b["code"], b["kind"], tuple(b["steps"])) for b in data["blocks"]
            )
            data["skills"] = tuple(_skill(item) for item in data["skills"])
            data["report_skill"] = _skill(data["report_skill"])
            data["repositories"] = tuple(OrderedRepository(**item) for item in data["repositories"])
            data["limits"] = Limits.from_data(data["limits"])
            data["effects"] = tuple(data["effects"])
            data["policy"] = Policy.from_data(data.get("policy") or {})
            data["answers"] = tuple(data.get("answers") or ())
            return cls(**data)
        except (KeyError, TypeError) as error:
            raise WireError(f"incomplete order: {error}") from error


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened in a run; `seq` counts from 1 without gaps, `at` is a UTC instant."""

    seq: int
    at: str
    type: str
    block: str | None
    data: Mapping[str, Any]
    v: int = VERSION

    def line(self) -> bytes:
        """The event as one NDJSON line of at most `EVENT_BYTES`. Raises `WireError` when it is larger."""
        body = canonical_json(asdict(self)).encode() + b"\n"
        if len(body) > EVENT_BYTES:
            raise WireError(f"event {self.type} of {len(body)} bytes")
        return body

    @classmethod
    def read(cls, line: bytes) -> Event:
        """The event on a line. Raises `WireError` when the line is not one."""
        data = _object(line)
        if set(data) != {item.name for item in fields(cls)} or data["v"] != VERSION:
            raise WireError("not an event of this version")
        seq, data_type = data["seq"], data["type"]
        if type(seq) is not int or seq < 1 or not isinstance(data_type, str) or data_type not in EVENT_TYPES:
            raise WireError(f"unknown event {data_type!r}")
        well_typed = isinstance(data["at"], str) and isinstance(data["data"], dict)
        if not well_typed or not isinstance(data["block"], str | None):
            raise WireError("an event's fields have other types")
        return cls(**data)


def waits_for_ack(type_: str, data: Mapping[str, Any]) -> bool:
    """Whether the runner goes on after an event only when the daemon has committed it."""
    return type_ in ACKNOWLEDGED or (type_ == "usage" and "model" in data)


def kept_events(path: Path) -> Iterator[tuple[Event, int]]:
    """The events in a runner's file up to the first line that was not written whole, each with where it ends.

    One after another: a runner may have kept more of them than a process should hold.
    """
    end = 0
    with contextlib.suppress(FileNotFoundError, WireError), path.open("rb") as file:
        for number, line in enumerate(file, 1):
            event = Event.read(line)
            if not line.endswith(b"\n") or event.seq != number:
                return
            end += len(line)
            yield event, end


@dataclass(frozen=True, slots=True)
class Answer:
    """What the daemon says to a runner: `ack` of a `seq`, `cancel` with a `reason`, a `decision`, a `report`.

    The ack of a model call's usage has a `reason` when no further one may follow, and a hint as its `answer`. A
    report's `answer` is the JSON of what a session outside the tool host claimed over the socket.
    """

    type: str
    seq: int = 0
    reason: str = ""
    id: str = ""
    answer: str = ""

    def line(self) -> bytes:
        """The answer as one NDJSON line."""
        return canonical_json(asdict(self)).encode() + b"\n"

    @classmethod
    def read(cls, line: bytes) -> Answer:
        """The answer on a line. Raises `WireError` when the line is not one."""
        data = _object(line)
        type_ = data.get("type")
        if not isinstance(type_, str) or type_ not in ANSWER_TYPES:
            raise WireError(f"unknown answer {type_!r}")
        texts = (data.get(name, "") for name in ("reason", "id", "answer"))
        if type(data.get("seq", 0)) is not int or not all(isinstance(text, str) for text in texts):
            raise WireError("an answer's fields have other types")
        try:
            return cls(**data)
        except TypeError as error:
            raise WireError(str(error)) from error


def _skill(item: Mapping[str, Any]) -> OrderedSkill:
    lists = {name: tuple(item[name]) for name in ("effects", "allowed_tools") if name in item}
    return OrderedSkill(**{**item, **lists})


def _no_number(word: str) -> None:
    raise ValueError(f"{word} is no number of JSON")


def _object(line: bytes) -> dict[str, Any]:
    try:
        # What JSON and UTF-8 cannot hold (NaN, half of a surrogate pair) could never be written down again.
        data = json.loads(line, parse_constant=_no_number)
        canonical_json(data).encode()
    except (ValueError, RecursionError) as error:
        raise WireError("not a line of JSON") from error
    if not isinstance(data, dict):
        raise WireError("not a JSON object")
    return data
