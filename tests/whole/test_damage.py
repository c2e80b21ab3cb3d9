"""What was damaged or declared wrongly outside: a home opens all the same, and says what it will not run."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from minion.app import Minion
from minion.clock import utc_now
from minion.config import Home
from minion.daemon.triggers import Trigger
from minion.store.run_log import move, open_run
from minion.wire import Event
from server.contract.digest import instant
from tests.whole.homes import (
    at_work,
    make_home,
    performed,
    run_cli,
    run_of,
    run_once,
    write_routine,
    write_skill,
)


async def left_behind(home: Home, events: list[Event]) -> str:
    """A run whose owner and runner died together: recorded as running, its events kept and not taken in."""
    async with at_work(home) as minion:
        now = instant(utc_now())
        trigger = Trigger("manual", "k1", utc_now())
        order, lock = await minion.prepare("task", trigger, engine=None, repository=None)

        async def begin(db: Any) -> None:
            await open_run(db, order, folder=order.run_dir, lock=lock, now=now)
            for before, after in (("draft", "validated"), ("validated", "queued"), ("queued", "running")):
                await move(db, order.run_id, before, after, now=now)  # type: ignore[arg-type]

        await minion.writer.transact(begin)
        (Path(order.run_dir) / "events.ndjson").write_bytes(b"".join(event.line() for event in events))
    return order.run_id


async def opened_once(home: Home) -> None:
    """Own the home for a moment."""
    async with at_work(home):
        pass


def test_a_home_opens_although_the_events_of_a_dead_run_are_damaged(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    write_skill(home, "act", "print('done')")
    write_routine(home, "task", "act")
    now, one, two = instant(utc_now()), "040.001.01", "040.001.02"
    events = [
        Event(1, now, "block.started", one, {"name": "Trigger Validation", "kind": "rigid"}),
        Event(2, now, "block.started", two, {"name": "the kind is missing"}),
        Event(3, now, "run.finished", None, {"state": "completed", "why": None, "hint": None}),
    ]
    run_id = asyncio.run(left_behind(home, events))
    asyncio.run(opened_once(home))
    run = run_of(home, run_id)
    assert (run["state"], run["verdict"]) == ("interrupted", "unknown")
    assert [(block["code"], block["state"]) for block in run["blocks"]] == [(one, "interrupted")]


def test_a_skill_that_declares_the_step_of_a_rigid_block_is_refused_at_save_and_at_run(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    write_skill(home, "sly", "print('done')", code="SCR-PUSH-BRANCH")
    file = write_routine(home, "task", "sly")
    for arguments in (["routine", "add", str(file)], ["run", "task"]):
        ended = run_cli(home, *arguments)
        assert (ended.code, ended.out) == (3, "")
        assert "sly declares SCR-PUSH-BRANCH, the step of the rigid block 040.001.04" in ended.err
    assert run_cli(home, "runs", "--json").json() == []


def test_a_folder_whose_run_was_never_begun_is_cleared_away_and_one_with_events_is_kept(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    write_skill(home, "act", "print('done')")
    write_routine(home, "task", "act")
    asyncio.run(opened_once(home))
    empty, told = home.runs / "run_0100000000000000000000", home.runs / "run_0100000000000000000001"
    for folder in (empty, told):
        (folder / "skills").mkdir(parents=True)
    (told / "events.ndjson").write_text("")
    asyncio.run(opened_once(home))
    assert (empty.exists(), told.exists()) == (False, True)


def test_the_smallest_output_limit_leaves_the_report_whole(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    write_skill(home, "act", "print('done')")
    write_routine(home, "task", "act", limits={"output_bytes": 1})
    run = performed(home, "task")
    assert (run["state"], run["outcome"]) == ("completed", "success")


def test_a_cancel_after_the_last_block_comes_too_late_and_the_run_says_what_it_did(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    write_skill(home, "act", "answer(text='x', effects=[{'kind': 'file', 'target': 'a.md', 'body': 'x'}])")
    write_routine(home, "task", "act", effects=["file:*.md"])

    async def story() -> str:
        owners: list[Minion] = []

        def on_event(run_id: str, event: Event) -> None:
            if (event.type, event.block) == ("block.finished", "040.001.04"):
                owners[0].supervisor.cancel(run_id, "too late")

        async with at_work(home, on_event=on_event) as minion:
            owners.append(minion)
            return await run_once(minion, "task")

    run = run_of(home, asyncio.run(story()))
    assert (run["state"], run["delivery"], run["verdict"]) == ("completed", "delivered", "ok")
