"""`minion resume`: a person has an interrupted run go on, from where it was, whatever its routine says."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from minion.config import Home
from minion.store.local_db import read_only
from minion.store.run_history import breaches
from server.contract.refusals import Refused
from tests.conformance.engine_kit import reach
from tests.faults.kills import kill, runner_of
from tests.messages_api import Fault, scripted, text, use
from tests.waiting import wait_until
from tests.whole.daemons import DaemonAtWork, answers, daemon_up
from tests.whole.homes import (
    at_work,
    clean_environment,
    events_of,
    make_home,
    perform,
    performed,
    run_cli,
    run_of,
    steps_of,
    write_routine,
    write_secrets,
    write_skill,
)
from tests.whole.test_resume import COUNTED, WAITS, at, struck_at, tally
from tests.whole.webhooks import Webhook, webhook

pytestmark = pytest.mark.heavy
# Stages one effect that is allowed and one that is not; the other says what the run was given.
ONE = COUNTED + """
answer(text='one', effects=[{'kind': 'file', 'target': 'a.md', 'body': 'A'},
                            {'kind': 'message', 'target': 'elsewhere', 'body': 'no'}])
"""
SENDS = "answer(text='two', effects=[{'kind': 'message', 'target': 'team', 'body': task['input']}])"
REPORT = {"outcome": "success", "summary": "Seen."}
TWO = WAITS + COUNTED + SENDS


@pytest.fixture
def hook() -> Iterator[Webhook]:
    """The webhook that counts what was really sent."""
    with webhook() as server:
        yield server


@pytest.fixture
def home(tmp_path: Path, hook: Webhook) -> Home:
    """A home whose routine `work` says nothing of going on."""
    made = make_home(tmp_path)
    (tmp_path / "tally").mkdir()
    write_skill(made, "one", ONE)
    write_skill(made, "two", TWO)
    write_secrets(made, {"team_webhook": hook.url("/ok")})
    env = {"TALLY": str(tmp_path / "tally")}
    write_routine(made, "work", "one", "two", effects=["file:*.md", "message:team"], environment={"env": env})
    return made


@contextmanager
def clocked_daemon(home: Home, ahead: Path) -> Iterator[DaemonAtWork]:
    """A daemon whose clock is as many seconds ahead as the file says; killed with the block."""
    argv = [sys.executable, "-m", "tests.whole.clocked", str(home.root), str(ahead)]
    process = subprocess.Popen(
        argv, cwd=Path(__file__).parents[2], env=clean_environment(home), stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    daemon = DaemonAtWork(home, process)
    try:
        assert wait_until(lambda: answers(daemon), 30), daemon.log()
        yield daemon
    finally:
        daemon.kill()


def killed(home: Home, given: str = "hello") -> str:
    """A run of `work` whose runner was killed in its second skill; its id."""
    strikes = struck_at(at("step.started", code="LLM-TWO"), home=home, first=home.root.parent / "tally" / "begun")
    run = asyncio.run(perform(home, "work", given=given, on_event=strikes))
    assert run["state"] == "interrupted"
    return str(run["id"])


@pytest.mark.promise("RES-2")
def test_a_run_goes_on_by_hand_with_all_it_had_and_repeats_nothing(home: Home, hook: Webhook) -> None:
    run_id = killed(home)
    order = home.runs / run_id / "order.json"
    assert json.loads(order.read_text())["input"] == "hello"
    ended = run_cli(home, "resume", run_id[:14])
    # What was refused did not arrive: so it is with a run that was not interrupted.
    assert (ended.code, ended.err) == (1, f"work · run {run_id}\n")
    assert "✗ not-delivered · work" in ended.out
    run = run_of(home, run_id)
    assert (run["state"], run["conformance"], len(run["sessions"])) == ("completed", "conformant", 2)
    assert (tally(home, "one"), tally(home, "two"), hook.texts("/ok")) == (1, 1, ["hello"])
    assert [effect["state"] for effect in run["effects"]] == ["delivered", "refused", "delivered"]
    moves = [move["why"] for move in events_of(home, run, "run.moved") if move["from"] == "interrupted"]
    assert moves == ["resumed by a person"]
    # Nobody goes on with it any more, so what it was given on its way is let go of.
    assert json.loads(order.read_text())["input"] is None
    with read_only(home.store) as db:
        assert breaches(db) == []
    again = run_cli(home, "resume", "work@last")
    assert (again.code, again.out) == (3, "")
    assert f"The run {run_id} is completed, and only an interrupted one can go on." in again.err


@pytest.mark.promise("RES-2")
def test_a_run_whose_time_was_used_up_has_a_tenth_of_it_when_a_person_asks(home: Home, hook: Webhook) -> None:
    run_id = killed(home)

    async def left() -> float:
        async with at_work(home) as minion:
            order = await minion.take_up(run_id, anyway=False)
            await minion.supervisor.perform(replace(order, limits=replace(order.limits, wall_clock_s=30)))
            return order.limits.wall_clock_s

    # An order with less than it took already: its time is over.
    kept = home.runs / run_id / "order.json"
    said = json.loads(kept.read_text())
    kept.write_text(json.dumps(said | {"limits": said["limits"] | {"wall_clock_s": 0.01}}))
    assert asyncio.run(left()) == pytest.approx(0.001)
    assert run_of(home, run_id)["state"] == "completed"


@pytest.mark.parametrize("thing", ["order", "skill"])
def test_a_folder_that_is_not_as_it_was_is_refused_and_the_run_stays_as_it_is(home: Home, thing: str) -> None:
    run_id = killed(home)
    if thing == "order":
        (home.runs / run_id / "order.json").unlink()
        why = "its order was not kept"
    else:
        (home.runs / run_id / "skills" / "two" / "scripts" / "run.py").write_text("print('another')")
        why = "its copy of the skill two was changed"
    before = run_of(home, run_id)
    ended = run_cli(home, "resume", "last", "--json")
    assert (ended.code, ended.out) == (3, "")
    assert f"The run {run_id} cannot go on: {why}." in ended.err
    assert run_of(home, run_id) == before
    assert ended.err.endswith(" run work\n")

    async def again() -> str:
        async with at_work(home) as minion:
            with pytest.raises(Refused) as caught:
                await minion.take_up(run_id, anyway=True)
            assert minion.supervisor.under_way == []
            return caught.value.code

    assert asyncio.run(again()) == "not_resumable"


@pytest.mark.promise("RES-2")
def test_the_daemon_has_a_run_go_on_that_a_person_asks_for_and_the_command_waits_or_not(
    home: Home, hook: Webhook
) -> None:
    run_id = killed(home)
    alone = run_cli(home, "resume", run_id, "--detach")
    assert (alone.code, "No daemon runs this minion." in alone.err) == (3, True)
    with daemon_up(home) as daemon:
        ended = run_cli(home, "resume", run_id, "--detach", "--json")
        assert ended.json() == {"run": run_id, "routine": "work"}
        assert wait_until(lambda: daemon.state_of(run_id) == "completed", 30), daemon.log()
        second = killed_under(daemon, home)
        waited = run_cli(home, "resume", second, "--json")
        assert (waited.code, waited.json()["state"]) == (1, "completed")
        daemon.stop()
    assert hook.texts("/ok") == ["hello", "again"]


def killed_under(daemon: DaemonAtWork, home: Home) -> str:
    """A run under a daemon whose runner was killed in its second skill; its id."""
    begun = home.root.parent / "tally" / "begun"
    begun.unlink()
    run_id = str(daemon.ask("run", routine="work", input="again", detach=True)["run"])
    assert wait_until(begun.exists, 30)
    kill(runner_of(home.runs / run_id))
    assert wait_until(lambda: daemon.state_of(run_id) == "interrupted", 30)
    return run_id


@pytest.mark.promise("RES-2")
def test_a_session_that_the_api_stopped_goes_on_in_its_conversation(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    turns = (
        [text("Looking."), use("bash", command="echo seen")],
        [text("All was seen.")],
        [use("report_execution", outcome="success", summary="Seen.")],
    )
    # The second request and all its tries find the API overloaded; the wait between them is the API's to say.
    faults = [None, *[Fault(headers={"retry-after": "0"})] * 5]
    with scripted(*turns, faults=faults) as api:
        reach(home, api)
        write_routine(home, "asks", engine="messages", content="Look.")
        run = performed(home, "asks")
        assert (run["state"], run["hint"]) == ("interrupted", f"minion resume {run['id']}, a while later")
        ended = run_cli(home, "resume", "last", "--json")
        assert ended.code == 0, ended.err
        whole = ended.json()
        assert (whole["state"], whole["summary"]) == ("completed", "Seen.")
        # The first turn was not asked for again, and its tool was not called again.
        assert [code for code, *_ in steps_of(whole, "tool_call")] == ["bash", "report_execution"]
        assert "The run was interrupted here and goes on now." in json.dumps(api.asked[-1])


def test_without_the_key_a_run_of_the_api_stays_as_it_is_and_says_what_is_missing(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    with scripted(faults=[Fault(401, "authentication_error", "no")]) as api:
        reach(home, api)
        write_routine(home, "asks", engine="messages", content="Look.")
        run = performed(home, "asks")
        assert run["state"] == "interrupted"
        home.secrets_file.unlink()
        ended = run_cli(home, "resume", "last")
        assert (ended.code, ended.out) == (3, "")
        assert "The engine messages lacks the secret anthropic_api_key." in ended.err  # engine_missing
        assert run_of(home, run["id"]) == run


@pytest.mark.promise("RES-3")
def test_a_daemon_tries_a_run_again_by_itself_five_minutes_after_the_api_stopped_it(tmp_path: Path) -> None:
    home, ahead = make_home(tmp_path), tmp_path / "ahead"
    ahead.write_text("0")
    faults = [None, *[Fault(headers={"retry-after": "0"})] * 5]
    turns = ([use("bash", command="echo seen")], [text("Seen.")], [use("report_execution", **REPORT)])
    with scripted(*turns, faults=faults) as api:
        reach(home, api)
        write_routine(home, "asks", engine="messages", content="Look.", resume=True)
        with clocked_daemon(home, ahead) as daemon:
            run_id = daemon.run("asks")
            assert daemon.state_of(run_id) == "interrupted"
            before = len(api.asked)
        # The next daemon knows it too: what is due follows from when the run ended.
        ahead.write_text("290")
        with clocked_daemon(home, ahead) as daemon:
            daemon.ask("reload")
            assert (daemon.state_of(run_id), len(api.asked)) == ("interrupted", before)
            ahead.write_text("330")
            daemon.ask("reload")
            assert wait_until(lambda: daemon.state_of(run_id) == "completed", 40), daemon.log()
    assert events_of(home, run_of(home, run_id), "run.moved")[-2]["why"] == "resumed"
