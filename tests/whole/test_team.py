"""HQ and two minions as real processes: routines go out, orders are carried out once, reports come back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from minion.config import Home
from tests.server import servers
from tests.whole.homes import run_process, write_routine, write_skill
from tests.whole.teams import Team, publish, put_ahead, soon, team

pytestmark = pytest.mark.heavy
QUICK = 'answer(text="did it for " + str(task["input"]))'


@pytest.fixture
def both(tmp_path: Path) -> Iterator[Team]:
    """HQ, alice and bob."""
    with team(tmp_path, "alice", "bob") as made:
        publish(made, "quick", QUICK)
        yield made


def create(made: Team, name: str, minion: str, **fields: object) -> str:
    """A routine of a minion, made as a Claude session makes it; its id once the minion goes by it."""
    said = {"repositories": [], "options": {"sandbox": "none", "report_to_hq": "steps"}, "pipeline": ["quick"]}
    answer = made.call("create_routine", name=name, minion=minion, **{**said, **fields})
    daemon = made.daemons[minion]
    assert soon(lambda: name in [each["name"] for each in daemon.ask("status")["routines"]]), daemon.log()
    return str(answer["id"])


@pytest.mark.promise("JOI-1")
def test_a_routine_made_from_claude_runs_on_its_own_minion_when_it_is_asked_for(both: Team) -> None:
    create(both, "greet", "alice")
    asked = both.call("run_routine", routine="greet", text="Ann")
    assert soon(lambda: both.reported(asked["run"])["state"] == "completed"), both.daemons["alice"].log()
    shown = both.reported(asked["run"])
    assert (shown["routine"], shown["trigger"], shown["conformance"]) == ("greet", "manual", "conformant")
    steps = [[step["code"] for step in block["steps"] if step["kind"] == "step"] for block in shown["blocks"]]
    assert steps == [["TSK-VALIDATE-TRIGGER"], ["SCR-CLONE-REPO"], ["LLM-QUICK"], ["SCR-PUSH-BRANCH"]]
    (run,) = both.runs_of("alice")
    assert (run["id"], both.runs_of("bob")) == (asked["run"], [])
    assert both.has("bob")


@pytest.mark.promise("JOI-1")
def test_a_routine_made_from_claude_fires_on_its_minions_cron_and_reports(tmp_path: Path) -> None:
    with team(tmp_path) as made:
        made.add("alice")
        ahead = tmp_path / "ahead"
        # A few seconds before a full minute.
        ahead.write_text(str(56 - datetime.now(UTC).second))
        made.start("alice", ahead=ahead)
        publish(made, "quick", QUICK)
        create(made, "minutely", "alice", cron_expression="* * * * *", timezone="UTC")
        listed = lambda: [run for run in made.call("list_runs")["runs"] if run["state"] == "completed"]  # noqa: E731
        assert soon(lambda: len(listed()) == 1, 90), made.daemons["alice"].log()
        assert (listed()[0]["trigger"], listed()[0]["routine"]) == ("schedule", "minutely")
        (slot,) = made.daemons["alice"].slots()
        assert (slot["state"], slot["run_id"]) == ("ran", listed()[0]["id"])


def half_an_hour_on() -> int:
    """The minute of the hour that comes in about half an hour, and not before."""
    return (datetime.now(UTC).minute + 31) % 60


@pytest.mark.promise("JOI-5")
def test_while_hq_is_away_for_a_day_every_slot_runs_and_every_report_comes_when_it_is_back(tmp_path: Path) -> None:
    with team(tmp_path) as made:
        made.add("alice")
        ahead = tmp_path / "ahead"
        put_ahead(ahead, 0)
        daemon = made.start("alice", ahead=ahead)
        publish(made, "quick", QUICK)
        # However long all this takes, each step of an hour brings one slot.
        # One step leads over midnight, and what was due before it is caught up too.
        options = {"sandbox": "none", "report_to_hq": "steps", "catch_up": "window", "catch_up_window_s": 7200}
        cron = f"{half_an_hour_on()} * * * *"
        create(made, "hourly", "alice", cron_expression=cron, timezone="UTC", options=options)
        made.kill_hq()
        for hour in range(1, 25):
            put_ahead(ahead, 3600 * hour)
            daemon.ask("reload")
            ended = lambda: [run for run in made.runs_of("alice") if run["state"] == "completed"]  # noqa: E731
            # The next one would be skipped while the daemon still tidies up behind a run that has its end.
            over = lambda: len(ended()) == hour and daemon.ask("live")["busy"] == 0  # noqa: B023, E731
            assert soon(over), daemon.log()
        assert daemon.ask("status")["hq"]["reports"] == 24
        assert daemon.ask("live")["hq"]["linked"] is False
        made.restart_hq()
        daemon.ask("reload")
        assert soon(lambda: daemon.ask("status")["hq"]["reports"] == 0), daemon.log()
        heard = made.call("list_runs", limit=100)["runs"]
        assert {run["id"] for run in heard} == {run["id"] for run in made.runs_of("alice")}
        assert [run["state"] for run in heard] == ["completed"] * 24
        slots = daemon.slots()
        assert (len(slots), {slot["state"] for slot in slots} <= {"ran", "late"}) == (24, True)


@pytest.mark.promise("JOI-5")
def test_a_network_that_is_cut_or_falls_silent_loses_and_doubles_nothing(both: Team) -> None:
    create(both, "greet", "alice")
    runs = []
    troubles = [(both.way.cut, "cut"), (both.way.mute, "silent"), (both.way.cut, "again")]
    for number, (trouble, text) in enumerate(troubles):
        runs.append(both.call("run_routine", routine="greet", text="before", client_key=f"a{number}")["run"])
        trouble()
        runs.append(both.call("run_routine", routine="greet", text=text, client_key=f"b{number}")["run"])
        both.way.heal()
        both.daemons["alice"].ask("reload")
    states = lambda: {run: both.reported(run)["state"] for run in runs}  # noqa: E731
    assert soon(lambda: set(states().values()) == {"completed"}, 120), (states(), both.daemons["alice"].log())
    assert sorted(run["id"] for run in both.runs_of("alice")) == sorted(runs)
    assert soon(lambda: both.daemons["alice"].ask("status")["hq"]["reports"] == 0)


MARKED = 'open(os.environ["MARK"], "a").write(task["input"] + "\\n")\nanswer(text="done")'


@pytest.mark.promise("JOI-6")
def test_each_of_them_killed_in_turn_loses_no_order_and_carries_out_none_twice(tmp_path: Path) -> None:
    with team(tmp_path, "alice", "bob") as made:
        publish(made, "mark", MARKED)
        done = tmp_path / "done"
        marked = {"environment": {"env": {"MARK": str(done)}}, "sandbox": "none", "report_to_hq": "steps"}
        for name in ("alice", "bob"):
            create(made, f"of-{name}", name, pipeline=["mark"], options=marked)
        runs = {}
        for number in range(12):
            name = ("alice", "bob")[number % 2]
            text = f"{name} {number}"
            runs[text] = made.call("run_routine", routine=f"of-{name}", text=text, client_key=text)["run"]
            if number % 3 == 0:
                made.kill_hq()
                made.restart_hq()
            else:
                made.daemons[name].kill()
                made.start(name)
            # What was asked before the kill, and asked again after it, is the same run.
            again = made.call("run_routine", routine=f"of-{name}", text=text, client_key=text)["run"]
            assert again == runs[text]
        for name in ("alice", "bob"):
            made.daemons[name].ask("reload")
        ended = ("completed", "interrupted")
        states = lambda: {text: made.reported(run)["state"] for text, run in runs.items()}  # noqa: E731
        assert soon(lambda: all(state in ended for state in states().values()), 150), states()
        told = done.read_text().split("\n")[:-1]
        assert len(told) == len(set(told))
        assert {text for text, state in states().items() if state == "completed"} <= set(told)
        for name in ("alice", "bob"):
            theirs = {run["id"]: run["state"] for run in made.runs_of(name)}
            assert theirs == {run: states()[text] for text, run in runs.items() if text.startswith(name)}
            assert run_process(made.homes[name], "verify").code == 0
        assert servers.hq(made.hq.home, "verify").returncode == 0


def waiting_at(made: Team) -> list[dict[str, Any]]:
    """What waits for a person at HQ."""
    found: list[dict[str, Any]] = servers.told(made.hq.home, "decisions")["decisions"]
    return found


def decided_on(home: Home) -> dict[str, Any]:
    """The newest decision of a minion."""
    newest: dict[str, Any] = run_process(home, "decisions", "--all", "--json").json()[-1]
    return newest


@pytest.mark.promise("INB-1")
def test_what_a_minion_holds_is_in_hqs_inbox_at_once_and_answered_there_for_it(tmp_path: Path) -> None:
    with team(tmp_path, "alice") as made:
        home, daemon = made.homes["alice"], made.daemons["alice"]
        write_skill(home, "quick", QUICK)
        write_routine(home, "strict", "quick", lock="strict")
        daemon.ask("reload")
        assert daemon.state_of(daemon.run("strict")) == "completed"
        for answer, other, code in (("approve", "reject", 3), ("reject", "approve", 0)):
            write_skill(home, "quick", QUICK + f"\n# {answer}\n")
            assert run_process(home, "run", "strict").code == 3
            assert soon(lambda: len(waiting_at(made)) == 1, 15), daemon.log()
            (held,) = waiting_at(made)
            evidence = held["evidence"]
            assert (held["kind"], evidence["minion"], evidence["routine"]) == ("hold", "alice", "strict")
            done = servers.hq(made.hq.home, "decide", held["id"], answer, "--yes")
            assert done.returncode == 0, done.stderr
            assert soon(lambda: decided_on(home)["answer"] is not None, 15), daemon.log()
            assert decided_on(home)["answer"] == answer
            assert decided_on(home)["answered_by"].endswith(" at HQ")
            assert waiting_at(made) == []
            # Who comes second is told so; only what was refused can still be allowed.
            assert run_process(home, "decide", held["subject"], other).code == code
        assert run_process(home, "run", "strict").code == 0
        assert servers.hq(made.hq.home, "verify").returncode == 0


@pytest.mark.promise("HQ-3")
def test_an_hq_that_is_told_to_stop_answers_those_who_wait_and_ends_in_good_order(both: Team) -> None:
    assert soon(lambda: both.linked("alice") and both.linked("bob"))
    assert both.hq.stop() == 0
    lines = [json.loads(line) for line in both.hq.log().splitlines() if line.startswith("{")]
    assert [line for line in lines if line["level"] == "error"] == []
    assert {line["status"] for line in lines if line.get("path") == "/v1/minion/poll"} <= {200}
