"""`status why next slots decisions decide halt unhalt cancel reload logs -f` where no daemon is up."""

from __future__ import annotations

import json
import os
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from minion.cli import minion
from minion.commands.completion import candidates
from minion.config import Config, held, write_private
from minion.store.decisions import Answer, answer_decision
from minion.store.local_db import read_only
from minion.store.overview import unsettled_effects
from minion.store.run_events import EventReader, run_events
from minion.store.writer import Writer
from server.contract.digest import canonical_json
from server.contract.refusals import Refused
from tests.minion.stored_runs import CODES, MINION_ID, Teller, make_order, start, take, with_store
from tests.minion.why_stories import (
    DOCUMENT,
    DUE,
    Step,
    asked_decision,
    bad_file,
    been_up,
    halted,
    kept,
    run,
    sent,
    slot,
)
from tests.whole.refusals_said import Place, Told, say

RUN = Teller().run_id


def place_of(folder: Path, *steps: Step) -> Place:
    """A home with the routine `morning-report` in its store, as these steps leave it."""
    place = Place(folder)
    for made in (place.home.root, place.home.routines, place.home.skills, place.home.runs, place.home.outbox):
        made.mkdir(mode=0o700)
    config = Config(MINION_ID, "tester", timezone="Europe/Berlin")
    write_private(place.home.config_file, canonical_json(config.as_data()))
    (place.home.routines / "morning-report.json").write_text(canonical_json(dict(DOCUMENT)))

    async def story(writer: Writer) -> None:
        for step in (kept(), *steps):
            await step(writer)

    with_store(place.home.root, story)
    return place


def printed(told: Told, status: int = 0) -> Any:
    assert (told.exit_code, told.err) == (status, "")
    return json.loads(told.out)


@pytest.mark.promise("DMN-1")
def test_status_without_a_daemon_says_so_and_how_everything_stands(tmp_path: Path) -> None:
    unknown = Teller().beginning().step("LLM-EXECUTE-PROMPT").report().leave().enter(CODES[3])
    unknown.intend(unknown.stage()).step("SCR-PUSH-BRANCH").leave()
    ids: list[str] = []
    steps = (been_up(), slot("held", decision="dec_1"), run(told=unknown), halted(), asked_decision(ids))
    place = place_of(tmp_path, *steps, bad_file("`limits` is not a known key."))
    told = say(place, "status")
    assert (told.exit_code, told.err) == (0, "")
    first = told.out.splitlines()[0]
    assert first == f"No daemon runs this minion, so nothing starts by itself: {called(place)} up"
    for words in (
        "nothing starts since", "the key leaked", "? unknown", "✗ problem: `limits` is not a known key.",
        f"decide {ids[0]} approve", f"effects {RUN}",
    ):  # fmt: skip
        assert words in told.out, words
    said = printed(say(place, "status --json"))
    assert (said["daemon"], said["pid"], said["running"]) == (None, None, [])
    assert said["halted"]["why"] == "the key leaked"
    (routine,) = said["routines"]
    assert (routine["state"], routine["last_run"]["id"], routine["paused"]) == ("problem", RUN, False)
    assert routine["next"] == said["next_due"] == printed(say(place, "next morning-report --json"))["next"][0]
    assert [item["id"] for item in said["decisions"]] == ids
    with read_only(place.home.store) as db:
        assert said["unknown_effects"] == unsettled_effects(db) != []


def test_status_shows_a_routine_whose_change_was_rejected_until_it_is_approved(tmp_path: Path) -> None:
    ids: list[str] = []

    def answered(answer: Answer, at: str) -> Step:
        async def step(writer: Writer) -> None:
            await writer.transact(lambda db: answer_decision(db, ids[0], answer, by="ada", now=at))

        return step

    rejected = answered("reject", "2026-01-05T09:10:00.000Z")
    place = place_of(tmp_path, been_up(), run(), asked_decision(ids), rejected)
    assert f"✗ rejected: {called(place)} decide {ids[0]} approve" in say(place, "status").out
    (routine,) = printed(say(place, "status --json"))["routines"]
    assert (routine["state"], routine["rejected"]) == ("rejected", ids[0])
    with_store(place.home.root, answered("approve", "2026-01-05T09:11:00.000Z"))
    (routine,) = printed(say(place, "status --json"))["routines"]
    assert (routine["state"], routine["rejected"]) == ("scheduled", None)


def called(place: Place) -> str:
    """How the program names itself in hints here."""
    return f"minion --home {place.home.root}"


@pytest.mark.promise("DMN-1")
def test_status_says_what_waits_and_what_runs_and_who_works_in_the_home(tmp_path: Path) -> None:
    going_on = run(2, told=Teller(2).beginning(), end=None)
    place = place_of(tmp_path, been_up(), slot("due"), run(), going_on)
    with held(place.home, "minion run morning-report"):
        said = printed(say(place, "status --json"))
        told = say(place, "status").out
    assert said["holder"] == {"pid": os.getpid(), "command": "minion run morning-report"}
    run_id = Teller(2).run_id
    assert [(item["run"], item["routine"]) for item in said["running"]] == [(run_id, "morning-report")]
    assert [(item["state"], item["last_run"]["id"]) for item in said["routines"]] == [("running", RUN)]
    assert said["waiting"] == [{"routine": "morning-report", "due": "2026-01-05T09:00+01:00", "run": None}]
    for words in (
        "in use     by `minion run morning-report`", f"running    morning-report  {run_id}", "● running",
    ):  # fmt: skip
        assert words in told, words
    # Nobody performs it any more: it is not said to run.
    assert printed(say(place, "status --json"))["running"] == []


def test_a_holder_that_was_killed_is_no_daemon(tmp_path: Path) -> None:
    place = place_of(tmp_path)
    (place.home.root / "lock").write_text(json.dumps({"pid": 2**22 + 1, "command": "minion up"}))
    assert printed(say(place, "status --json"))["daemon"] is None


def test_a_daemon_that_owns_the_home_and_does_not_answer_is_told_as_such(tmp_path: Path) -> None:
    place = place_of(tmp_path, been_up())
    with held(place.home, "minion up"):
        assert printed(say(place, "status --json"))["daemon"]["health"] == "silent"
        assert "does not answer" in say(place, "status").out
        assert printed(say(place, "why morning-report --json"), 1)["links"][1]["state"] == "broken"


def test_status_works_in_a_home_where_nothing_was_ever_kept(tmp_path: Path) -> None:
    place = place_of(tmp_path)
    place.home.store.unlink()
    assert "No routines yet" in say(place, "status").out
    said = printed(say(place, "status --json"))
    assert (said["routines"], said["alerts"], said["unknown_effects"]) == ([], [], [])


@pytest.mark.promise("DMN-1")
def test_status_says_of_a_routine_whose_file_is_gone_that_it_is_and_of_no_next_time(tmp_path: Path) -> None:
    place = place_of(tmp_path)
    (place.home.routines / "morning-report.json").unlink()
    (routine,) = printed(say(place, "status --json"))["routines"]
    assert (routine["state"], routine["next"], "its file is gone" in routine["problem"]) == ("problem", None, True)


@pytest.mark.promise("DMN-1")
def test_a_routine_whose_file_is_gone_is_told_as_such_wherever_it_is_named(tmp_path: Path) -> None:
    place = place_of(tmp_path)
    (place.home.routines / "morning-report.json").unlink()
    assert "✗ its file is gone" in say(place, "routine list").out
    assert printed(say(place, "routine list --json"))[0]["problem"].startswith("its file is gone")
    assert "does not fire: its file is gone" in say(place, "next morning-report").out
    said = printed(say(place, "next morning-report --json"))
    assert (said["fires"], said["why_not"].partition(";")[0]) == (False, "its file is gone from the home")
    refused = say(place, "run morning-report")
    assert (refused.exit_code, refused.code) == (2, "routine_file_gone")
    assert "The file of morning-report is gone from the home." in refused.err
    assert "routine remove morning-report" in refused.err


def test_next_merges_all_schedules_each_with_the_offset_of_its_zone(tmp_path: Path) -> None:
    triggers = [
        {"type": "schedule", "cron": "0 9 * * *", "timezone": "Europe/Berlin"},
        {"type": "schedule", "cron": "0 9 * * *", "timezone": "America/New_York"},
        {"type": "once", "at": "2020-01-01T00:00", "timezone": "UTC"},
    ]
    place = place_of(tmp_path, kept(triggers=triggers, stagger_s=60))
    said = printed(say(place, "next morning-report -n 800 --json"))
    instants = [datetime.fromisoformat(text) for text in said["next"]]
    assert (len(instants), instants) == (800, sorted(set(instants)))
    assert {at.hour for at in instants} == {9}
    assert {at.utcoffset() for at in instants} == {timedelta(hours=h) for h in (1, 2, -5, -4)}
    assert 0 <= said["stagger_s"] <= 60
    assert (said["fires"], said["why_not"]) == (False, "no daemon runs the minion")
    told = say(place, "next morning-report -n 2").out
    assert f"starts {said['stagger_s']} s after each" in told or said["stagger_s"] == 0
    assert len([line for line in told.splitlines() if "  in " in line]) == 2


def test_next_says_of_a_paused_one_that_it_is_and_of_one_on_demand_that_it_has_none(tmp_path: Path) -> None:
    place = place_of(tmp_path, kept(paused=True))
    assert "does not fire: it is paused" in say(place, "next morning-report").out
    said = printed(say(place, "next morning-report --json"))
    assert (len(said["next"]), said["paused"], said["fires"]) == (10, True, False)
    (tmp_path / "other").mkdir()
    demand = place_of(tmp_path / "other", kept(triggers=[]))
    assert "it runs when somebody asks for it" in say(demand, "next morning-report").out
    assert printed(say(demand, "next morning-report --json"))["next"] == []
    for number in ("0", "1001"):
        assert say(place, f"next morning-report -n {number}").exit_code == 2


def test_slots_say_what_became_of_each(tmp_path: Path) -> None:
    place = place_of(
        tmp_path, slot("late", settled="2026-01-05T10:03:00.000Z"), run(told=sent("delivered")),
        slot("missed", "missed 125: only the newest due slot is run", count=125),
    )  # fmt: skip
    said = printed(say(place, "slots --json"))
    assert [(item["state"], item["count"], item["run_id"], item["verdict"]) for item in said] == [
        ("missed", 125, None, None), ("late", 1, RUN, "ok")
    ]  # fmt: skip
    assert said[1]["late_ms"] == 7_380_000
    told = say(place, "slots").out
    for words in ("✗ missed 125", "only the newest due slot is run", "✓ late", "2 h 03 min", RUN):
        assert words in told, words
    assert [item["state"] for item in printed(say(place, "slots morning-report --state late --json"))] == ["late"]
    assert say(place, "slots --state ran").out == "No such slots.\n"
    codes = [say(place, words).code for words in ("slots --state lost", "slots nobody")]
    assert codes == ["bad_state", "no_such_routine"]


def test_decisions_are_listed_and_answered_with_the_name_of_who_did(tmp_path: Path) -> None:
    ids: list[str] = []
    place = place_of(tmp_path, asked_decision(ids))
    assert f"decide {ids[0]} approve    (or: reject)" in say(place, "decisions").out
    assert printed(say(place, f"decide {ids[0][:8]} approve --json"))["answer"] == "approve"
    assert say(place, "decisions").out == "Nothing waits for a person.\n"
    (answered,) = printed(say(place, "decisions --all --json"))
    assert (answered["answer"], bool(answered["answered_by"])) == ("approve", True)
    assert "approved by " in say(place, "decisions --all").out
    assert say(place, f"decide {ids[0]} reject").code == "decided"
    assert say(place, "decide dec_nothing approve").code == "no_such_decision"


def test_halt_and_unhalt_work_without_a_daemon_and_keep_their_reason(tmp_path: Path) -> None:
    place = place_of(tmp_path)
    assert "The minion is halted: too many mails." in say(place, "halt --why 'too many mails'").out
    assert (say(place, "run morning-report").code, printed(say(place, "status --json"))["halted"]["why"]) == (
        "halted", "too many mails"
    )  # fmt: skip
    since = printed(say(place, "status --json"))["halted"]["at"]
    assert "The minion is halted: too many mails." in say(place, "halt --let-finish").out
    assert printed(say(place, "status --json"))["halted"] == {"why": "too many mails", "at": since}
    assert say(place, "halt --why 'the key leaked'").exit_code == 0
    assert printed(say(place, "status --json"))["halted"] == {"why": "the key leaked", "at": since}
    assert "the key leaked" in say(place, "unhalt").out
    assert say(place, "unhalt").out == "The minion was not halted.\n"


@pytest.mark.promise("DMN-3")
def test_what_a_foreground_command_performs_is_stopped_there_and_the_refusal_says_how(tmp_path: Path) -> None:
    place = place_of(tmp_path, run(told=Teller().beginning(), end=None))
    with held(place.home, "minion run morning-report"):
        for words in ("cancel morning-report", "halt"):
            told = say(place, words)
            assert (told.code, told.exit_code) == ("home_held", 3)
            assert f"in use by `minion run morning-report` (process {os.getpid()})" in told.err
            assert f"Ctrl-C where it runs, or `kill -INT {os.getpid()}`" in told.err


def test_there_is_nothing_to_cancel_in_a_run_that_has_ended_and_nothing_to_reload_without_a_daemon(
    tmp_path: Path,
) -> None:
    place = place_of(tmp_path, run())
    assert (say(place, "cancel last").code, say(place, "cancel nobody").code) == ("not_running", "no_such_run")
    assert (say(place, "reload").code, say(place, "reload").exit_code) == ("no_daemon", 3)


@pytest.mark.promise("DMN-3")
def test_following_a_run_that_has_ended_shows_what_logs_shows(tmp_path: Path) -> None:
    place = place_of(tmp_path, run(told=sent("delivered")))
    assert say(place, "logs -f last").out == say(place, "logs last").out
    lines = [json.loads(line) for line in say(place, "logs -f last --json").out.splitlines()]
    events = printed(say(place, "logs last --json"))["events"]
    assert lines == [{"run": RUN, **event} for event in events]
    assert (say(place, "logs -f last --step 1").code, say(place, "logs -f last --step 1").exit_code) == (
        "follow_step", 2
    )  # fmt: skip


def test_events_read_bit_by_bit_are_those_read_at_once(tmp_path: Path) -> None:
    told = Teller().plain()
    read: list[dict[str, Any]] = []
    (tmp_path / "home").mkdir()

    async def story(writer: Writer) -> None:
        await start(writer, make_order())
        reader = EventReader(RUN)
        for event in [None, *told.events]:
            if event is not None:
                await take(writer, told, [event])
            with read_only(tmp_path / "home" / "minion.db") as db:
                read.extend(reader.more(db))
            assert event is None or reader.seq == event.seq
        with read_only(tmp_path / "home" / "minion.db") as db:
            assert reader.more(db) == []
            assert read == run_events(db, RUN)

    with_store(tmp_path / "home", story)
    assert {event["step"] for event in read} > {"LLM-EXECUTE-PROMPT", None}


@pytest.mark.promise("DMN-2")
def test_why_says_it_in_one_sentence_with_one_command_and_an_exit_code(tmp_path: Path) -> None:
    place = place_of(tmp_path, been_up(until=DUE), slot("ran"), run(told=sent("failed")))
    told = say(place, "why morning-report --at 2026-01-05T09:00")
    assert (told.exit_code, told.err) == (1, "")
    assert told.out.splitlines() == [
        "morning-report: It was due Mon 2026-01-05 09:00, and it ran, but message:slack was not delivered: d"
        f" ({RUN}).",
        f"hint: {called(place)} redeliver {RUN}",
    ]
    said = printed(say(place, "why morning-report --at 2026-01-05T09:00 --json"), 1)
    assert (said["at"], said["state"], said["fix"]) == (
        "2026-01-05T09:00:00+01:00", "broken", f"minion redeliver {RUN}"
    )  # fmt: skip
    verbose = say(place, "why morning-report --at 2026-01-05T09:00 -v").out.splitlines()
    assert [line.split()[2] for line in verbose[:-2]] == [
        "due", "daemon", "slot", "engine", "run", "outcome", "delivery"
    ]  # fmt: skip
    assert (say(place, "why nobody").code, say(place, "why morning-report --at soon").code) == (
        "no_such_routine", "bad_time"
    )  # fmt: skip


@pytest.mark.promise("DMN-2")
def test_why_of_all_routines_counts_a_paused_one_as_no_trouble(tmp_path: Path) -> None:
    place = place_of(tmp_path, kept(paused=True))
    told = say(place, "why")
    assert (told.exit_code, "– off" in told.out, "hint:" in told.out) == (0, True, False)
    assert say(place, "why morning-report").exit_code == 1
    assert printed(say(place, "why --json"))[0]["state"] == "off"


def test_why_knows_of_a_file_that_was_never_good_or_never_read(tmp_path: Path) -> None:
    place = place_of(tmp_path)
    (place.home.routines / "late.yaml").write_text("name: late\n")
    told = say(place, "why late")
    assert (told.exit_code, "no daemon has taken it in yet" in told.out) == (1, True)


@pytest.mark.promise("DMN-1")
def test_what_fires_is_said_where_a_routine_is_resumed(tmp_path: Path) -> None:
    place = place_of(tmp_path)
    file = place.folder / "b.json"
    file.write_text(canonical_json({
        "name": "b", "content": "x", "repositories": [], "cron_expression": "0 9 * * *", "paused": True
    }))  # fmt: skip
    added = say(place, "routine add b.json")
    assert f"fires         not by itself: it is paused; {called(place)} schedule resume b" in added.out
    resumed = say(place, "schedule resume b")
    assert f"fires         once the daemon is up: {called(place)} up" in resumed.out
    assert say(place, "halt").exit_code == 0
    assert "fires         not by itself: the minion is halted" in say(place, "schedule resume b").out


def test_a_shell_completes_what_waits_what_runs_and_what_can_become_of_a_slot(tmp_path: Path) -> None:
    ids: list[str] = []
    place = place_of(tmp_path, asked_decision(ids), run(told=Teller().beginning(), end=None))

    def offered(*words: str) -> list[str]:
        return [item.value for item in candidates(minion, ["--home", str(place.home.root), *words], "")]

    with held(place.home, "minion run morning-report"):
        assert offered("cancel") == ["morning-report@last", RUN]
    assert (offered("decide"), offered("decide", ids[0])) == (ids, ["approve", "reject"])
    assert offered("slots", "--state") == ["due", "held", "ran", "late", "skipped", "missed"]
    for verb in ("next", "why", "slots"):
        assert offered(verb) == ["morning-report"]


def test_who_is_kept_from_a_home_by_its_daemon_is_told_how_it_ends(tmp_path: Path) -> None:
    place = place_of(tmp_path)
    with held(place.home, "minion up"), pytest.raises(Refused) as caught, held(place.home, "minion uninstall"):
        pass
    assert (caught.value.code, "minion down" in caught.value.hint) == ("home_held", True)
