"""Interrupted runs that go on: where they were, with what was completed, and no effect twice."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from minion.app import Minion
from minion.config import Home
from minion.store.local_db import read_only
from minion.store.run_history import breaches
from minion.wire import Event
from tests.faults.kills import kill, newest_run, runner_of
from tests.waiting import wait_until
from tests.whole.daemons import daemon_up
from tests.whole.homes import (
    at_work,
    events_of,
    make_home,
    perform,
    run_of,
    steps_of,
    write_routine,
    write_secrets,
    write_skill,
)
from tests.whole.webhooks import Webhook, webhook

# Each leaves a line in the workspace beside the run when it is really run.
COUNTED = "open(os.path.join(os.environ['TALLY'], task['skill']), 'a').write('x')\n"
ONE = COUNTED + "answer(text='one', data={'n': 1}, effects=[{'kind': 'file', 'target': 'a.md', 'body': 'A'}])"
TWO = COUNTED + """
seen = [(r['skill'], r['state'], r['text'], r['data'], r['effects']) for r in task['results']]
answer(text=json.dumps(seen), effects=[{'kind': 'message', 'target': 'team', 'body': task['input']}])
"""
Strike = Callable[[Minion, str], None]


@pytest.fixture
def hook() -> Iterator[Webhook]:
    """The webhook that counts what was really sent."""
    with webhook() as server:
        yield server


@pytest.fixture
def home(tmp_path: Path, hook: Webhook) -> Home:
    """A home whose routine `work` may go on after an interruption."""
    made = make_home(tmp_path)
    tally = tmp_path / "tally"
    tally.mkdir()
    write_skill(made, "one", ONE)
    write_skill(made, "two", TWO)
    write_secrets(made, {"team_webhook": hook.url("/ok")})
    routine(made)
    return made


def routine(home: Home, **fields: Any) -> None:
    """The routine `work`, with these fields instead of its own."""
    tally = str(home.root.parent / "tally")
    said = {"resume": True, "effects": ["file:*.md", "message:team"], "environment": {"env": {"TALLY": tally}}}
    write_routine(home, "work", "one", "two", **said | fields)


def tally(home: Home, skill: str) -> int:
    """How often a skill was really run."""
    path = home.root.parent / "tally" / skill
    return len(path.read_text()) if path.exists() else 0


def struck_at(*wanted: Callable[[Event], bool], home: Home) -> Callable[[str, Event], None]:
    """Kills the runner at the first event that fits the first of these, then at the next one's, and so on."""
    left = list(wanted)

    def on_event(run_id: str, event: Event) -> None:
        if left and left[0](event):
            del left[0]
            kill(runner_of(home.runs / run_id))

    return on_event


def at(type_: str, **data: Any) -> Callable[[Event], bool]:
    """An event of a type with these data."""
    return lambda event: event.type == type_ and all(event.data.get(name) == data[name] for name in data)


def intact(home: Home) -> bool:
    """Whether the whole log is."""
    with read_only(home.store) as db:
        return breaches(db) == []


@pytest.mark.promise("RES-1")
def test_a_run_whose_runner_dies_goes_on_where_it_was_and_repeats_nothing(home: Home, hook: Webhook) -> None:
    # In the second skill before it has a result, and again after its message was delivered.
    strikes = struck_at(at("step.started", code="LLM-TWO"), at("effect.result", state="delivered"), home=home)
    run = asyncio.run(perform(home, "work", given="hello", on_event=strikes))
    assert (run["state"], run["verdict"], run["conformance"]) == ("completed", "ok", "conformant"), run
    assert run["topology"] == run["canonical"]
    assert [block["state"] for block in run["blocks"]] == ["completed"] * 4
    assert len({session["id"] for session in run["sessions"]}) == 3
    assert [(effect["kind"], effect["state"]) for effect in run["effects"]] == [
        ("file", "delivered"), ("message", "delivered"),
    ]  # fmt: skip
    assert hook.texts("/ok") == ["hello"]
    assert tally(home, "one") == 1
    assert [(code, state) for code, state, _ in steps_of(run)] == [
        ("TSK-VALIDATE-TRIGGER", "completed"), ("SCR-CLONE-REPO", "completed"), ("LLM-ONE", "completed"),
        ("LLM-TWO", "interrupted"), ("LLM-TWO", "completed"),
        ("SCR-PUSH-BRANCH", "interrupted"), ("SCR-PUSH-BRANCH", "completed"),
    ]  # fmt: skip
    seen = json.loads(events_of(home, run, "skill.result")[-1]["text"])
    assert seen == [["one", "completed", "one", {"n": 1}, [{"kind": "file", "target": "a.md"}]]]
    assert [report["filed_by"] for report in events_of(home, run, "report")][-1] == "session"
    moves = [(move["from"], move["to"]) for move in events_of(home, run, "run.moved")]
    assert moves.count(("interrupted", "running")) == 2
    assert intact(home)
