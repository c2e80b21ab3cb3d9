"""The one conformance kit of engines: what a task does, said once, and how each engine is made to do it.

A test says what the tasks of a routine do (`Act`); `ScriptEngineKit` writes a script that does it, and
`MessagesEngineKit` a model that has it done by tools. Whatever holds of a run must hold of both.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from minion.config import Home
from tests.messages_api import MessagesApi, Said, scripted, text, use
from tests.whole.homes import make_home, write_routine, write_secrets, write_skill

KEY = "sk-ant-api03-conformance-kit-0000"
_TASK = re.compile(
    r"^# (?:Skill \d+ of \d+: (?P<skill>[a-z-]+)|(?P<prompt>Your task)|(?P<report>Execution report))", re.M
)


@dataclass(frozen=True)
class Act:
    """What one task does, in this order.

    It waits for ever, but only the first time (a file says that it began); says that it lacks something; stages
    effects; fails; says `says`, or with `repeats` all that the tasks before it said.
    """

    says: str = "done"
    stages: tuple[tuple[str, str, str], ...] = ()
    fails: str = ""
    waits: bool = False
    repeats: bool = False
    lacks: tuple[str, str, str] | None = None


@dataclass
class Ready:
    """A home whose routine `work` is ready to run, and where its tasks leave word."""

    home: Home
    begun: Path
    api: MessagesApi | None = None

    @property
    def has_begun(self) -> bool:
        """Whether the task that waits has come to its waiting."""
        return self.begun.exists()


class EngineKit(Protocol):
    """One engine under test."""

    name: str
    # A cap of its own that a task which goes on for ever passes, and a word of how that is said.
    cap: Mapping[str, float]
    capped: str

    def ready(self, folder: Path, acts: Mapping[str, Act], **fields: Any) -> Any:
        """A context: a home in `folder` whose routine `work` has these skills, in this order."""
        ...

    def endless(self, folder: Path, **fields: Any) -> Any:
        """A context: the same, with one skill that never comes to an end and uses up what it may."""
        ...


class ScriptEngineKit:
    """The `script` engine: a skill is a script."""

    name = "script"
    cap: Mapping[str, float] = {"disk_bytes": 4 * 1024 * 1024}
    capped = "on the disk"

    @contextmanager
    def ready(self, folder: Path, acts: Mapping[str, Act], **fields: Any) -> Iterator[Ready]:
        """Scripts that act."""
        home, begun = make_home(folder), folder / "begun"
        for name, act in acts.items():
            write_skill(home, name, None if act.lacks else _script(act, begun), code=_code(act))
        _work(home, self.name, acts, fields)
        yield Ready(home, begun)

    @contextmanager
    def endless(self, folder: Path, **fields: Any) -> Iterator[Ready]:
        """A script that writes and writes."""
        home = make_home(folder)
        fill = "n = 0\nwhile True:\n    open(f'f{n}', 'w').write('x' * 100_000)\n    n += 1\n"
        write_skill(home, "one", f"import os\n{fill}")
        _work(home, self.name, {"one": Act()}, fields)
        yield Ready(home, folder / "begun")


@dataclass
class MessagesEngineKit:
    """The `messages` engine: a skill is what it says, and a model on loopback does it."""

    name: str = "messages"
    cap: Mapping[str, float] = field(default_factory=lambda: {"turns": 6})
    capped: str = "6 turns"

    @contextmanager
    def ready(self, folder: Path, acts: Mapping[str, Act], **fields: Any) -> Iterator[Ready]:
        """A model that acts."""
        home, begun = make_home(folder), folder / "begun"
        for name in acts:
            write_skill(home, name)
        with scripted(model=ActingModel(acts, begun)) as api:
            reach(home, api)
            _work(home, self.name, acts, fields)
            yield Ready(home, begun, api)

    @contextmanager
    def endless(self, folder: Path, **fields: Any) -> Iterator[Ready]:
        """A model that looks and looks."""
        home = make_home(folder)
        write_skill(home, "one")

        def looks(asked: dict[str, Any]) -> Said:
            name, _ = _task(asked)
            return [reports("partial")] if name == "report" else [use("glob", pattern="*")]

        with scripted(model=looks) as api:
            reach(home, api)
            _work(home, self.name, {"one": Act()}, fields)
            yield Ready(home, folder / "begun", api)


class ActingModel:
    """Does what the acts say by tools, and reports success. `withholds`: it never makes the report."""

    def __init__(self, acts: Mapping[str, Act], begun: Path, *, withholds: bool = False) -> None:
        self._acts = acts
        self._begun = begun
        self._withholds = withholds
        self.waiting = threading.Event()

    def __call__(self, asked: dict[str, Any]) -> Said:
        """The next turn of the task that was told last."""
        name, turn = _task(asked)
        if name == "report":
            return [text("No.")] if self._withholds else [reports("success")]
        act = self._acts[name]
        if act.waits and not self._begun.exists():
            self._begun.touch()
            self.waiting.wait(60)
        turns: list[Said] = []
        if act.lacks is not None:
            type_, code, words = act.lacks
            turns.append([use("record_gap", gap_type=type_, requested_code=code, description=words)])
        staged = [use("stage_effect", kind=kind, target=target, body=body) for kind, target, body in act.stages]
        turns += [staged] if staged else []
        if act.fails:
            turns.append([use("report_step", code=f"LLM-{name.upper()}", state="failed", summary=act.fails)])
        words = "\n".join(_said(asked)) if act.repeats else act.says
        return turns[turn] if turn < len(turns) else [text(words)]


def reports(outcome: str, summary: str = "It went as it should.", details: str = "") -> dict[str, Any]:
    """The call that makes the report."""
    return use("report_execution", outcome=outcome, summary=summary, details=details)


def reach(home: Home, api: MessagesApi, **secrets: str) -> None:
    """Have a home's model API be this one, with a key for it."""
    said = json.loads(home.config_file.read_text())
    home.config_file.write_text(json.dumps({**said, "api_url": api.url}))
    write_secrets(home, {"anthropic_api_key": KEY, **secrets})


def _work(home: Home, engine: str, acts: Mapping[str, Act], fields: Mapping[str, Any]) -> None:
    # A skill that lacks something is one that needs a model: for `script` it stands without one.
    effects = {"effects": ["file:*.md"]}
    write_routine(home, "work", *acts, **{"engine": engine, **effects, **fields})


def _code(act: Act) -> str | None:
    return act.lacks[1] if act.lacks is not None else None


def _script(act: Act, begun: Path) -> str:
    lines = []
    if act.waits:
        lines += [
            "import signal", f"begun = {str(begun)!r}",
            "if not os.path.exists(begun):\n    open(begun, 'w').close()\n    signal.pause()",
        ]  # fmt: skip
    if act.fails:
        lines.append(f"sys.exit({act.fails!r})")
    effects = [{"kind": kind, "target": target, "body": body} for kind, target, body in act.stages]
    said = "'\\n'.join(r['text'] for r in task['results'])" if act.repeats else repr(act.says)
    lines.append(f"answer(text={said}, effects={effects!r})")
    return "\n".join(lines) + "\n"


def _task(asked: Mapping[str, Any]) -> tuple[str, int]:
    """The task that was told last, and how many turns the model has had in it."""
    name, turns = "", 0
    for message in asked["messages"]:
        if message["role"] == "assistant":
            turns += 1
        for block in message["content"]:
            for found in _TASK.finditer(block.get("text", "")) if message["role"] == "user" else ():
                name, turns = found["skill"] or ("prompt" if found["prompt"] else "report"), 0
    return name, turns


def _said(asked: Mapping[str, Any]) -> Iterator[str]:
    for message in asked["messages"]:
        if message["role"] == "assistant":
            yield from (block["text"] for block in message["content"] if block["type"] == "text")


KITS: tuple[EngineKit, ...] = (ScriptEngineKit(), MessagesEngineKit())
