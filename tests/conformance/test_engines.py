"""What holds of a run whatever engine performs it: the conformance kit of engines, on each of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from minion.app import Minion
from minion.clock import utc_now
from minion.config import Home
from minion.daemon.closing import read_events
from minion.daemon.triggers import Trigger
from minion.store.local_db import read_only
from minion.store.run_history import breaches
from minion.wire import Event
from server.contract.run import has_ended
from tests.conformance.engine_kit import KITS, Act, EngineKit, Ready
from tests.faults.kills import kill, runner_of
from tests.waiting import wait_until
from tests.whole.homes import at_work, events_of, performed, results_in, run_of, steps_of

pytestmark = pytest.mark.heavy


@pytest.fixture(params=KITS, ids=[kit.name for kit in KITS])
def kit(request: pytest.FixtureRequest) -> EngineKit:
    """Each engine in turn."""
    found: EngineKit = request.param
    return found


def whole(home: Home, run: dict[str, Any]) -> None:
    """Whatever a run came to, its log is complete: every beginning has an end, and nothing was altered."""
    began = [event["number"] for event in events_of(home, run, "step.started")]
    ended = {event["number"]: event for event in events_of(home, run, "step.finished")}
    assert sorted(began) == sorted(number for number in ended if ended[number]["started_at"] is not None)
    assert len(set(began)) == len(began)
    assert all(event["agent"] == "tester" and event["digest_in"] for event in ended.values())
    assert all(event["state"] != "running" for event in ended.values())
    assert all(block["state"] != "running" for block in run["blocks"])
    kept = read_events(home.runs / run["id"] / "events.ndjson")
    assert [event.seq for event in kept] == list(range(1, len(kept) + 1))
    assert kept[-1].type == "run.finished"
    with read_only(home.store) as db:
        assert breaches(db) == []


@pytest.mark.promise("MOD-8")
def test_skills_are_performed_in_order_in_one_session_and_then_the_report(kit: EngineKit, tmp_path: Path) -> None:
    acts = {"one": Act(says="first"), "two": Act(says="second"), "three": Act(says="third")}
    with kit.ready(tmp_path, acts) as ready:
        run = performed(ready.home, "work")
    assert (run["state"], run["outcome"], run["engine"]) == ("completed", "success", kit.name), run
    assert [(one["skill"], one["state"], one["text"]) for one in results_in(ready.home, run)] == [
        ("one", "completed", "first"), ("two", "completed", "second"), ("three", "completed", "third"),
    ]  # fmt: skip
    assert len(run["sessions"]) == 1
    assert (run["conformance"], run["topology"]) == ("conformant", run["canonical"])
    assert [code for code, _, _ in steps_of(run)] == [
        "TSK-VALIDATE-TRIGGER", "SCR-CLONE-REPO", "LLM-ONE", "LLM-TWO", "LLM-THREE", "SCR-PUSH-BRANCH",
    ]  # fmt: skip
    assert [(code, state) for code, state, _ in steps_of(run, "report")] == [("LLM-EXECUTION-REPORT", "completed")]
    whole(ready.home, run)


def test_what_one_skill_said_the_next_one_knows(kit: EngineKit, tmp_path: Path) -> None:
    acts = {"one": Act(says="the roof leaks"), "two": Act(says="by the chimney"), "three": Act(repeats=True)}
    with kit.ready(tmp_path, acts) as ready:
        run = performed(ready.home, "work")
    said = results_in(ready.home, run)[2]["text"]
    assert "the roof leaks" in said
    assert "by the chimney" in said


def test_a_skill_that_fails_fails_the_run_and_skips_the_later_ones_and_is_reported(
    kit: EngineKit, tmp_path: Path
) -> None:
    stages = (("file", "never.md", "never"),)
    kept = Act(stages=(("file", "kept.md", "kept"),))
    acts = {"one": kept, "two": Act(fails="no roof", stages=stages), "three": Act()}
    with kit.ready(tmp_path, acts) as ready:
        run = performed(ready.home, "work")
    assert (run["state"], run["outcome"], run["verdict"]) == ("failed", "failure", "failed")
    assert [(code, state) for code, state, _ in steps_of(run)][2:5] == [
        ("LLM-ONE", "completed"), ("LLM-TWO", "failed"), ("LLM-THREE", "skipped"),
    ]  # fmt: skip
    assert "no roof" in run["why"]
    # What was completed is delivered, what was not is not.
    assert [(effect["target"], effect["state"]) for effect in run["effects"]] == [("kept.md", "delivered")]
    assert len(events_of(ready.home, run, "report")) == 1
    whole(ready.home, run)


def test_effects_are_performed_after_the_report_and_only_those_that_the_routine_allows(
    kit: EngineKit, tmp_path: Path
) -> None:
    stages = (("file", "day.md", "A good day."), ("push", "shop:claude/roof", "Mended."))
    with kit.ready(tmp_path, {"one": Act(stages=stages)}) as ready:
        run = performed(ready.home, "work")
    delivered = [effect for effect in run["effects"] if effect["state"] == "delivered"]
    assert [effect["target"] for effect in delivered] == ["day.md"]
    assert (ready.home.outbox / "work" / "day.md").read_text() == "A good day."
    assert all(effect["kind"] == "file" for effect in run["effects"] if effect["state"] not in ("refused",))
    kinds = [event.type for event in read_events(ready.home.runs / run["id"] / "events.ndjson")]
    assert kinds.index("report") < kinds.index("effect.intent") < kinds.index("effect.result")
    whole(ready.home, run)


def test_a_capability_that_is_lacked_is_recorded_as_a_gap(kit: EngineKit, tmp_path: Path) -> None:
    lacks = ("step", "LLM-SUMMARIZE-ALERT", "It needs alerts summed up.")
    with kit.ready(tmp_path, {"one": Act(lacks=lacks)}) as ready:
        run = performed(ready.home, "work")
    assert [(gap["gap_type"], gap["requested_code"]) for gap in run["gaps"]] == [lacks[:2]]
    whole(ready.home, run)


def test_a_run_is_cancelled_while_a_skill_is_at_work(kit: EngineKit, tmp_path: Path) -> None:
    with kit.ready(tmp_path, {"one": Act(waits=True), "two": Act()}) as ready:
        run = asyncio.run(_stopped(ready, lambda minion, run_id: minion.supervisor.cancel(run_id, "not today")))
    assert (run["state"], run["verdict"]) == ("cancelled", "skipped")
    assert run["why"] == "not today"
    assert [event["filed_by"] for event in events_of(ready.home, run, "report")] == ["supervisor"]
    whole(ready.home, run)


def test_a_skill_that_takes_too_long_is_stopped_and_the_report_is_made(kit: EngineKit, tmp_path: Path) -> None:
    limits = {"wall_clock_s": 8}
    with kit.ready(tmp_path, {"one": Act(waits=True), "two": Act()}, limits=limits) as ready:
        run = performed(ready.home, "work")
    assert (run["state"], run["verdict"]) == ("timed_out", "failed")
    assert run["outcome"] == "failure"
    ended = [(code, state) for code, state, _ in steps_of(run)]
    assert ended[2:4] == [("LLM-ONE", "failed"), ("LLM-TWO", "skipped")]
    assert "limits.wall_clock_s" in run["hint"]
    whole(ready.home, run)


def test_a_run_that_reaches_a_cap_is_stopped_there_and_says_which(kit: EngineKit, tmp_path: Path) -> None:
    with kit.endless(tmp_path, limits=dict(kit.cap)) as ready:
        run = performed(ready.home, "work")
    assert (run["state"], run["verdict"]) == ("failed", "failed")
    assert kit.capped in run["why"]
    (name,) = kit.cap
    assert f"raise limits.{name}" in run["hint"]
    assert len(events_of(ready.home, run, "report")) == 1
    whole(ready.home, run)


@pytest.mark.parametrize("where", ["in-a-skill", "after-the-report", "before-an-effect"])
@pytest.mark.promise("MOD-3")
def test_a_run_whose_runner_is_killed_goes_on_and_repeats_no_finished_skill(
    kit: EngineKit, tmp_path: Path, where: str
) -> None:
    stages = (("file", "one.md", "1"),)
    acts = {"one": Act(says="first", stages=stages), "two": Act(repeats=True, waits=where == "in-a-skill")}
    with kit.ready(tmp_path, acts, resume=True) as ready:
        run = performed(ready.home, "work", on_event=_kills_once(ready, where))
    assert (run["state"], run["outcome"]) == ("completed", "success"), run["why"]
    assert [(one["skill"], one["state"]) for one in results_in(ready.home, run)] == [
        ("one", "completed"), ("two", "completed"),
    ]  # fmt: skip
    assert "first" in results_in(ready.home, run)[1]["text"]
    assert len(run["sessions"]) == 2
    assert [(effect["target"], effect["state"]) for effect in run["effects"]] == [("one.md", "delivered")]
    assert run["topology"] == run["canonical"]
    # A step that was under way when the runner died has its end by the store, not by the runner.
    with read_only(ready.home.store) as db:
        assert breaches(db) == []


def _kills_once(ready: Ready, where: str) -> Callable[[str, Event], None]:
    """Kills the runner the first time that it comes to the place."""
    left = [where]

    def is_there(event: Event) -> bool:
        if where == "in-a-skill":
            return event.data.get("code") == "LLM-TWO" and wait_until(lambda: ready.has_begun, 20)
        return event.type == {"after-the-report": "report", "before-an-effect": "effect.intent"}[where]

    def on_event(run_id: str, event: Event) -> None:
        if left and is_there(event):
            left.clear()
            kill(runner_of(ready.home.runs / run_id))

    return on_event


async def _stopped(ready: Ready, stop: Callable[[Minion, str], object]) -> dict[str, Any]:
    """A run that is stopped as soon as its waiting task has begun; as it ended."""
    async with at_work(ready.home) as minion:
        trigger = Trigger("manual", "manual:stopped", utc_now())
        order, lock = await minion.prepare("work", trigger, engine=None, repository=None)
        running = asyncio.ensure_future(minion.supervisor.run(order, lock))
        while not ready.has_begun and not running.done():
            await asyncio.wait({running}, timeout=0.05)
        stop(minion, order.run_id)
        assert has_ended(await running)
    return run_of(ready.home, order.run_id)
