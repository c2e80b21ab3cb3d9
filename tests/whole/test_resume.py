"""Interrupted runs that go on: where they were, with what was completed, and no effect twice."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from minion.clock import utc_now
from minion.config import Home
from minion.daemon.closing import read_events
from minion.daemon.triggers import Trigger
from minion.store.local_db import read_only
from minion.store.run_history import breaches
from minion.wire import Event
from tests.faults.kills import kill, runner_of
from tests.faults.resumed_runs import open_and_go_on
from tests.waiting import wait_until
from tests.whole.daemons import daemon_up
from tests.whole.homes import (
    at_work,
    events_of,
    make_home,
    perform,
    performed,
    run_cli,
    run_of,
    run_once,
    steps_of,
    write_routine,
    write_secrets,
    write_skill,
)
from tests.whole.webhooks import Webhook, webhook

pytestmark = pytest.mark.heavy

# Each leaves a line in the workspace beside the run when it is really run.
COUNTED = "open(os.path.join(os.environ['TALLY'], task['skill']), 'a').write('x')\n"
ONE = COUNTED + "answer(text='one', data={'n': 1}, effects=[{'kind': 'file', 'target': 'a.md', 'body': 'A'}])"
TWO = COUNTED + """
seen = [(r['skill'], r['state'], r['text'], r['data'], r['effects']) for r in task['results']]
answer(text=json.dumps(seen), effects=[{'kind': 'message', 'target': 'team', 'body': task['input']}])
"""

# Waits for ever the first time, and says so by a file.
WAITS = """
import signal
begun = os.path.join(os.environ['TALLY'], 'begun')
if not os.path.exists(begun):
    open(begun, 'w').close()
    signal.pause()
"""


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


def struck_at(
    *wanted: Callable[[Event], bool], home: Home, first: Path | None = None
) -> Callable[[str, Event], None]:
    """Kills the runner at the first event that fits the first of these, then at the next one's, and so on.

    The first time it is waited for the file `first`.
    """
    left = list(wanted)

    def on_event(run_id: str, event: Event) -> None:
        if left and left[0](event):
            if first is not None and len(left) == len(wanted):
                assert wait_until(first.exists, 10)
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
    # In the second skill; when the report was made and nobody had kept it; before the file was written.
    write_skill(home, "two", WAITS + TWO)
    struck = (at("step.started", code="LLM-TWO"), at("report", filed_by="session"), at("effect.intent"))
    strikes = struck_at(*struck, home=home, first=home.root.parent / "tally" / "begun")
    run = asyncio.run(perform(home, "work", given="hello", on_event=strikes))
    assert (run["state"], run["verdict"], run["conformance"]) == ("completed", "ok", "conformant"), run
    assert run["topology"] == run["canonical"]
    assert [block["state"] for block in run["blocks"]] == ["completed"] * 4
    assert len({session["id"] for session in run["sessions"]}) == 4
    assert [(effect["kind"], effect["state"]) for effect in run["effects"]] == [
        ("file", "delivered"), ("message", "delivered"),
    ]  # fmt: skip
    assert hook.texts("/ok") == ["hello"]
    assert (tally(home, "one"), tally(home, "two")) == (1, 1)
    assert [(code, state) for code, state, _ in steps_of(run)] == [
        ("TSK-VALIDATE-TRIGGER", "completed"), ("SCR-CLONE-REPO", "completed"), ("LLM-ONE", "completed"),
        ("LLM-TWO", "interrupted"), ("LLM-TWO", "completed"),
        ("SCR-PUSH-BRANCH", "interrupted"), ("SCR-PUSH-BRANCH", "completed"),
    ]  # fmt: skip
    seen = json.loads(events_of(home, run, "skill.result")[-1]["text"])
    assert seen == [["one", "completed", "one", {"n": 1}, [{"kind": "file", "target": "a.md"}]]]
    assert [report["filed_by"] for report in events_of(home, run, "report")] == ["supervisor", "session"]
    moves = [(move["from"], move["to"]) for move in events_of(home, run, "run.moved")]
    assert moves.count(("interrupted", "running")) == 3
    # That the file had not been written was looked up before it was.
    (settled,) = events_of(home, run, "effect.settled")
    assert (settled["state"], settled["by"]) == ("failed", "read-back")
    assert intact(home)


@pytest.mark.heavy
@pytest.mark.promise("RES-1")
@pytest.mark.promise("EFF-1")
def test_a_message_that_nobody_can_look_up_is_left_unknown_and_said_and_the_rest_is_done(
    home: Home, hook: Webhook
) -> None:
    strikes = struck_at(at("effect.intent", means="webhook"), home=home)
    run = asyncio.run(perform(home, "work", given="hello", on_event=strikes))
    assert (run["state"], run["verdict"], len(run["sessions"])) == ("completed", "unknown", 2)
    assert [(effect["kind"], effect["state"]) for effect in run["effects"]] == [
        ("file", "delivered"), ("message", "unknown"),
    ]  # fmt: skip
    assert "a webhook cannot be read back" in run["effects"][1]["detail"]
    assert hook.texts("/ok") == []
    assert len(events_of(home, run, "effect.intent")) == 2
    assert run_cli(home, "effects", "--unsettled", "--json").json()[0]["run"] == run["id"]


async def abandoned(home: Home) -> str:
    """A run of `work` that is interrupted in its second skill as by a daemon that stops; its id."""
    write_skill(home, "two", WAITS + TWO)
    begun = home.root.parent / "tally" / "begun"
    async with at_work(home) as minion:
        running = asyncio.ensure_future(run_once(minion, "work", given="hello"))
        assert await asyncio.to_thread(wait_until, begun.exists, 30)
        await minion.supervisor.abandon_all("the minion was stopped")
        return await running


@pytest.mark.promise("RES-1")
def test_without_a_word_in_the_routine_nothing_goes_on(home: Home, hook: Webhook) -> None:
    routine(home, resume=False)
    write_skill(home, "two", "import signal; signal.pause()")
    strikes = struck_at(at("step.started", code="LLM-TWO"), home=home)
    run = asyncio.run(perform(home, "work", given="hello", on_event=strikes))
    assert (run["state"], run["verdict"], run["why"]) == (
        "interrupted", "unknown", "the runner ended before the run did (status -9)",
    )  # fmt: skip
    assert asyncio.run(open_and_go_on(home)) == []
    assert hook.texts("/ok") == []


def _no_order(folder: Path) -> None:
    (folder / "order.json").unlink()


def _other_skill(folder: Path) -> None:
    (folder / "skills" / "two" / "scripts" / "run.py").write_text("print('another')")


def _no_events(folder: Path) -> None:
    (folder / "events.ndjson").write_bytes(b"")


def _no_effects(folder: Path) -> None:
    shutil.rmtree(folder / "effects")


def _other_effect(folder: Path) -> None:
    (kept,) = (folder / "effects").iterdir()
    kept.write_text(kept.read_text().replace('"body":"A"', '"body":"B"'))


@pytest.mark.heavy
@pytest.mark.promise("RES-1")
@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (_no_order, "its order was not kept"),
        (_other_skill, "its copy of the skill two was changed"),
        (_no_events, "its events file lacks what the store has"),
        (_no_effects, "its effects are not all there"),
        (_other_effect, "its effects are not as they were kept"),
        (shutil.rmtree, "its order was not kept"),
    ],
    ids=["order", "skill", "events", "effects", "effect", "folder"],
)
def test_a_run_whose_folder_is_damaged_is_not_resumed_and_says_why(
    home: Home, hook: Webhook, damage: Callable[[Path], None], why: str
) -> None:
    run_id = asyncio.run(abandoned(home))
    damage(home.runs / run_id)
    assert asyncio.run(open_and_go_on(home)) == [run_id]
    run = run_of(home, run_id)
    assert (run["state"], run["why"]) == ("interrupted", f"the minion was stopped; not resumed: {why}")
    assert hook.texts("/ok") == []
    assert intact(home)


@pytest.mark.heavy
@pytest.mark.promise("RES-1")
def test_a_run_is_resumed_three_times_and_then_left_as_it_is(home: Home, hook: Webhook) -> None:
    write_skill(home, "two", "import signal; signal.pause()")
    always = struck_at(*[at("step.started", code="LLM-TWO")] * 9, home=home)
    run = asyncio.run(perform(home, "work", given="hello", on_event=always))
    ended = "the runner ended before the run did (status -9); not resumed: it was resumed 3 times"
    assert (run["state"], run["why"]) == ("interrupted", ended)
    assert (len(run["sessions"]), tally(home, "one"), hook.texts("/ok")) == (4, 1, [])
    assert run["summary"].startswith("Interrupted after 3 completed steps")
    assert intact(home)


@pytest.mark.heavy
@pytest.mark.promise("RES-1")
@pytest.mark.parametrize("death", ["kill", "stop"])
def test_the_next_daemon_goes_on_with_what_the_last_one_left_and_fires_no_slot_for_it(
    home: Home, hook: Webhook, death: str
) -> None:
    write_skill(home, "two", WAITS + TWO.replace("task['input']", "'hello'"))
    soon = f"{utc_now() + timedelta(seconds=3):%Y-%m-%dT%H:%M:%SZ}"
    routine(home, triggers=[{"type": "once", "at": soon}])
    with daemon_up(home) as daemon:
        assert wait_until((home.root.parent / "tally" / "begun").exists, 30), daemon.log()
        (slot,) = daemon.slots("work")
        run_id = slot["run_id"]
        if death == "kill":
            daemon.kill()
        else:
            daemon.ask("stop", grace_s=0)
            daemon.process.wait(30)
    with daemon_up(home) as daemon:
        assert wait_until(lambda: daemon.state_of(run_id) == "completed", 30), daemon.log()
        assert daemon.slots("work") == [slot]
        daemon.stop()
    run = run_of(home, run_id)
    assert (run["verdict"], run["conformance"], hook.texts("/ok")) == ("ok", "conformant", ["hello"])
    assert (tally(home, "one"), tally(home, "two")) == (1, 1)
    assert len(run_cli(home, "runs", "--json").json()) == 1
    assert intact(home)


@pytest.mark.heavy
def test_half_a_line_of_the_runner_that_died_does_not_stand_in_the_way(home: Home, hook: Webhook) -> None:
    run_id = asyncio.run(abandoned(home))
    events = home.runs / run_id / "events.ndjson"
    with events.open("ab") as file:
        file.write(b'{"at":"2026-')
    assert asyncio.run(open_and_go_on(home)) == [run_id]
    run = run_of(home, run_id)
    assert (run["state"], run["verdict"], hook.texts("/ok")) == ("completed", "ok", ["hello"])
    with read_only(home.store) as db:
        query = "SELECT count(seq), max(seq) FROM events WHERE run_id = ?"
        taken, last = db.execute(query, (run_id,)).fetchone()
    assert taken == last == len(events.read_bytes().splitlines()) == len(read_events(events))


@pytest.mark.heavy
def test_a_run_that_waits_to_go_on_can_be_called_off(home: Home, hook: Webhook) -> None:
    run_id = asyncio.run(abandoned(home))

    async def called_off() -> None:
        async with at_work(home) as minion:
            (run,) = await minion.supervisor.interrupted()
            going_on = asyncio.ensure_future(minion.supervisor.resume(run))
            while run_id not in minion.supervisor._between and not going_on.done():
                await asyncio.wait({going_on}, timeout=0.001)
            assert minion.supervisor.under_way == [run_id]
            assert minion.supervisor.cancel(run_id, "a person said so")
            await going_on
            assert minion.supervisor.under_way == []

    asyncio.run(called_off())
    run = run_of(home, run_id)
    assert (run["state"], run["verdict"], run["why"]) == ("cancelled", "skipped", "a person said so")
    assert asyncio.run(open_and_go_on(home)) == []
    assert hook.texts("/ok") == []
    assert intact(home)


@pytest.mark.heavy
def test_a_run_that_had_not_begun_when_the_minion_stopped_begins_at_the_next_start(
    home: Home, hook: Webhook
) -> None:
    async def stopped() -> str:
        async with at_work(home) as minion:
            trigger = Trigger("manual", "manual:1", utc_now(), "hello")
            order, lock = await minion.prepare("work", trigger, engine=None, repository=None)
            await minion.supervisor.open(order, lock)
            await minion.supervisor.abandon_all("the minion was stopped")
            return order.run_id

    run_id = asyncio.run(stopped())
    assert run_of(home, run_id)["state"] == "interrupted"
    assert asyncio.run(open_and_go_on(home)) == [run_id]
    assert (run_of(home, run_id)["verdict"], hook.texts("/ok")) == ("ok", ["hello"])


@pytest.mark.heavy
def test_a_run_that_failed_does_not_go_on(home: Home) -> None:
    write_skill(home, "two", "sys.exit(3)")
    assert performed(home, "work", given="x")["state"] == "failed"
    assert asyncio.run(open_and_go_on(home)) == []
