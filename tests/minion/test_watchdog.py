"""The watchdog on a real store with a fixed clock: what opens an alert, what ends it, what pauses itself."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from minion.daemon.judgement import COULD_NOT_START, is_missed, rise
from minion.store.decisions import answer_decision, ask_about_lock
from minion.store.routines import forget_files, note_file
from minion.store.run_history import breaches
from minion.store.run_resume import STOPPED_BY_A_PERSON, note_overdue
from minion.store.slots import SlotState
from minion.store.watches import SlotEnded, begin_watching
from server.contract.refusals import Refused
from tests.minion.stored_runs import NOW, ROUTINE_ID, looking, open_store
from tests.minion.watched import NAME, Scene, played


@pytest.mark.promise("WAT-1")
def test_a_failure_is_told_once_and_so_is_the_recovery(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        first = await scene.run("failed")
        assert await scene.later() == [
            "minion desk: morning-report failed Mon 2026-01-05 09:05 +00:00: the door is shut."
            f" Look: minion why morning-report, minion show {first}"
        ]
        await scene.run("failed")
        await scene.run("timed_out")
        assert await scene.later() == []
        (alert,) = scene.alerts()
        assert "went wrong 3 times in a row" in alert["text"]
        assert [(told["state"], told["over"]) for told in alert["told"]] == [("sent", False)]
        await scene.run()
        assert await scene.later() == [
            "minion desk: morning-report is well again after 3 bad runs: its run of Mon 2026-01-05 09:05 +00:00 is"
            " unchecked."
        ]
        assert (scene.open(), await scene.later(86_400)) == ([], [])

    played(tmp_path, story)


def test_a_cancelled_run_is_neither_a_failure_nor_a_recovery(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        await scene.run("cancelled")
        assert await scene.later() == []
        await scene.run("failed")
        await scene.run("cancelled")
        await scene.later()
        assert scene.open() == [(NAME, "failing")]

    played(tmp_path, story)


def test_an_interrupted_run_counts_as_a_failure(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        await scene.run("interrupted")
        (text,) = await scene.later()
        assert "morning-report ended unknown" in text

    played(tmp_path, story)


def test_a_run_that_a_person_cut_off_by_stopping_the_minion_is_no_failure(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        await scene.run("interrupted", why=STOPPED_BY_A_PERSON)
        assert (await scene.later(), scene.open()) == ([], [])

    played(tmp_path, story)


@pytest.mark.promise("WAT-1")
def test_an_interrupted_run_that_may_go_on_counts_by_what_comes_of_it(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        await scene.routine("long", id=ROUTINE_ID, resume=True)
        run_id = await scene.run("interrupted", "long")
        assert (await scene.later(), scene.open()) == ([], [])
        scene.now += timedelta(hours=25)
        await scene.writer.transact(lambda db: note_overdue(db, now=scene.now))
        await scene.writer.transact(lambda db: note_overdue(db, now=scene.now))
        (text,) = await scene.later()
        assert "the door is shut; not resumed: it was interrupted over 24 hours ago" in text
        assert f"minion show {run_id}" in text
        with looking(scene.folder) as db:
            assert breaches(db) == []

    played(tmp_path, story)


@pytest.mark.promise("WAT-1")
def test_nobody_is_told_before_so_many_failures_as_the_routine_says(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        await scene.routine(watch={"failures": 3})
        await scene.run("failed")
        await scene.run("failed")
        await scene.run("cancelled")
        assert await scene.later() == []
        await scene.run("failed")
        (text,) = await scene.later()
        assert "went wrong 3 times in a row" in text
        await scene.run()
        await scene.later()
        await scene.run("failed")
        assert (await scene.later(), scene.open()) == ([], [])

    played(tmp_path, story)


@pytest.mark.promise("WAT-1")
def test_a_result_that_did_not_arrive_is_told_whatever_number_of_failures_is_let_pass(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        await scene.routine(watch={"failures": 5})
        run = await scene.undelivered()
        (text,) = await scene.later()
        assert "its result did not arrive: message:slack failed (d)" in text
        assert f"minion show {run}" in text
        await scene.run()
        (text,) = await scene.later()
        assert "is well again" in text

    played(tmp_path, story)


@pytest.mark.promise("WAT-1")
def test_missed_slots_are_told_once_until_one_runs(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        await scene.slot("missed", 1, why="missed 2: the minion slept")
        await scene.slot("missed", 2, why="missed 2: the minion slept")
        (text,) = await scene.later()
        assert "morning-report missed 2 slots, the newest of Mon 2026-01-05 02:00 +00:00" in text
        await scene.slot("missed", 3)
        assert await scene.later() == []
        await scene.slot("late", 4)
        (text,) = await scene.later()
        assert "its slot of Mon 2026-01-05 04:00 +00:00 was started, late" in text
        assert scene.open() == []

    played(tmp_path, story)


def test_a_slot_that_could_not_be_started_is_missed_and_one_that_was_skipped_on_purpose_is_not() -> None:
    def is_it(state: SlotState, why: str | None) -> bool:
        return is_missed(SlotEnded(NAME, state, 1, NOW, why))

    assert is_it("skipped", f"{COULD_NOT_START}There is no skill collect.")
    assert is_it("missed", None)
    assert not is_it("skipped", "its run before was still going")
    assert not is_it("skipped", "the minion was halted: moving house")
    assert not is_it("ran", None)


def test_a_good_run_by_hand_makes_up_for_a_missed_slot(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        await scene.slot("skipped", 1, why=f"{COULD_NOT_START}There is no skill collect.")
        (text,) = await scene.later()
        assert "was due Mon 2026-01-05 01:00 +00:00 and did not run: There is no skill collect." in text
        await scene.run()
        (text,) = await scene.later()
        assert "morning-report ran since" in text

    played(tmp_path, story)


@pytest.mark.promise("WAT-4")
def test_a_routine_pauses_itself_after_so_many_failures_and_says_why_until_it_is_resumed(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        await scene.routine(watch={"pause_after": 3, "failures": 9})
        for _ in range(3):
            assert scene.paused == []
            run = await scene.run("failed")
            await scene.dog.take_in()
        assert scene.paused == [NAME]
        (text,) = await scene.later()
        says = f"went wrong 3 times in a row; the newest run, {run}, failed: the door is shut."
        assert f"paused itself: it {says}" in text
        assert "minion schedule resume morning-report" in text
        await scene.run("failed")
        assert (await scene.later(), scene.paused) == ([], [NAME])
        await scene.routine(watch={"pause_after": 3, "failures": 9})
        assert await scene.later() == ["minion desk: morning-report was resumed."]
        await scene.run("failed")
        await scene.later()
        assert (scene.paused, scene.open()) == ([NAME], [])

    played(tmp_path, story)


@pytest.mark.promise("WAT-4")
def test_two_looks_at_once_have_a_routine_pause_itself_once(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        await scene.routine(watch={"pause_after": 1})
        await scene.run("failed")
        await asyncio.gather(scene.dog.take_in(), scene.dog.take_in())
        assert scene.paused == [NAME]

    played(tmp_path, story)


def test_a_kill_between_the_decision_to_pause_and_the_file_forgets_nothing(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        await scene.routine(watch={"pause_after": 1})
        await scene.run("failed")
        failed = scene.dog._look(reread=False)
        await scene.dog._hear()
        assert await failed == [NAME]
        scene.restart()
        await scene.later()
        assert (scene.paused, scene.open()) == ([NAME], [(NAME, "auto_paused"), (NAME, "failing")])

    played(tmp_path, story)


def test_a_routine_that_cannot_be_paused_is_told_of_once_for_each_failure_and_no_longer(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        scene.refuses = Refused("cannot_write", "The disk is full.", hint="make room")
        await scene.routine(watch={"pause_after": 2, "failures": 9})
        await scene.run("failed")
        await scene.run("failed")
        (text,) = await scene.later()
        assert "was to pause itself, but could not: The disk is full." in text
        scene.refuses = None
        assert (await scene.later(), scene.paused) == ([], [])
        await scene.run("failed")
        await scene.later()
        assert scene.paused == [NAME]

    played(tmp_path, story)


def test_a_rise_is_of_the_median_of_five_runs_over_that_of_at_least_five_before() -> None:
    def ratio(*dollars: float) -> float | None:
        found = rise([(each, 0) for each in dollars])
        return found[0] if found is not None else None

    assert ratio(*[1] * 5, *[3] * 4) is None
    assert ratio(*[1] * 5, *[3] * 5) == 3
    assert ratio(*[1] * 9, 100) == 1
    assert ratio(*[1] * 20, *[2] * 2, *[9] * 3) == 9
    assert ratio(*[0] * 10) is None
    assert rise([(0, 100)] * 5 + [(0, 400)] * 5) == (
        4, "its newest 5 runs took 400 tokens each (median), the 5 before them 100 tokens",
    )  # fmt: skip


def test_a_chronic_rise_of_costs_is_told_once(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        for dollars in [0.1] * 6 + [0.4] * 3:
            await scene.run(dollars=dollars)
            assert await scene.later() == []
        await scene.run(dollars=0.4)
        (text,) = await scene.later()
        assert "costs 4.0 times what it did: its newest 5 runs took $0.40 each (median)" in text
        await scene.run(dollars=0.4)
        assert await scene.later() == []
        for _ in range(3):
            await scene.run(dollars=0.1)
        (text,) = await scene.later()
        assert "costs no more than it did" in text

    played(tmp_path, story)


def test_a_bad_file_is_told_until_it_is_good_again_and_a_routine_that_is_gone_needs_nobody(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        for name in ("broken", NAME):
            scene.there.add(name)
            await scene.writer.transact(
                lambda db, name=name: note_file(db, name, name, "1", f"{name}.json is no JSON.")  # type: ignore[misc]
            )
        (text,) = await scene.later()
        assert "The file of broken is bad, and until it is mended it does not run: broken.json is no JSON." in text
        assert "The file of morning-report is bad, and until it is mended its last good version is in" in text
        await scene.writer.transact(lambda db: note_file(db, NAME, NAME, "2", None))
        await scene.writer.transact(lambda db: forget_files(db, ["broken"]))
        scene.there.discard("broken")
        scene.dog.stir(files=True)
        assert await scene.later() == ["minion desk: The file of morning-report is good again."]
        assert scene.open() == []

    played(tmp_path, story)


def test_a_question_of_a_run_is_told_and_a_decision_that_holds_the_routine_comes_before_it(
    tmp_path: Path,
) -> None:
    asks = (
        "INSERT INTO decisions (id, kind, routine_id, routine, question, subject, opened_at)"
        " VALUES ('dec_q', 'question', 'trig_x', ?, 'May it go?', '{}', ?)"
    )

    async def story(scene: Scene) -> None:
        await scene.writer.transact(lambda db: db.execute(asks, (NAME, NOW)))
        (text,) = await scene.later()
        assert f"{NAME} asks people: May it go?" in text
        held = await scene.writer.transact(
            lambda db: ask_about_lock(db, "trig_x", NAME, {"model": "b"}, ["model"], now=NOW)
        )
        (text,) = await scene.later()
        assert "waits for a decision: model changed" in text
        assert f"minion decide {held.id} approve" in text

    played(tmp_path, story)


def test_a_decision_that_waits_is_told_until_it_is_answered(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        decision = await scene.writer.transact(
            lambda db: ask_about_lock(db, "trig_x", NAME, {"model": "b"}, ["model"], now=NOW)
        )
        (text,) = await scene.later()
        assert f"waits for a decision: model changed since {NAME} last ran" in text
        assert f"minion decide {decision.id} approve" in text
        assert scene.alerts()[0]["decision"] == decision.id
        await scene.writer.transact(lambda db: answer_decision(db, decision.id, "approve", by="ada", now=NOW))
        (text,) = await scene.later()
        assert "waits no more: its decision was approved by ada" in text

    played(tmp_path, story)


def test_what_ended_before_anybody_watched_is_not_told(tmp_path: Path) -> None:
    async def story() -> None:
        async with open_store(tmp_path) as writer:
            scene = Scene(tmp_path, writer)
            await scene.routine()
            await scene.run("failed")
            await writer.transact(begin_watching)
            assert await scene.later() == []
            await scene.run("failed")
            await writer.transact(begin_watching)  # the next daemon
            assert len(await scene.later()) == 1

    asyncio.run(story())
