"""`why` walks the links from due to delivered and stops at the first broken one: each break told apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from minion.engines.registry import API_KEY
from minion.store.slots import prune_slots
from minion.store.watches import Watched, keep_watched
from minion.store.writer import Writer
from minion.why.chain import NAMES
from tests.minion.stored_runs import LATER, NOW, ROUTINE_ID, Teller
from tests.minion.why_stories import (
    UP,
    Step,
    asked_decision,
    bad_file,
    been_up,
    ends,
    explained,
    halted,
    kept,
    run,
    sent,
    slot,
)

RUN = Teller().run_id


@pytest.mark.promise("DMN-2")
def test_when_every_link_holds_it_says_when_it_ran_how_and_where_the_result_went(tmp_path: Path) -> None:
    chain = explained(tmp_path, kept(), been_up(), slot("ran"), run(told=sent("delivered")), at="9:00")
    assert chain.sentence == (
        "It was due Mon 2026-01-05 09:00, ran Mon 2026-01-05 10:00 and is ok; it was delivered to slack webhook."
    )
    assert [(link.name, link.state) for link in chain.links] == [(name, "holds") for name in NAMES]
    assert (chain.at, chain.end.fix) == ("2026-01-05T09:00:00+01:00", None)


def test_as_data_it_has_every_link_those_not_reached_too(tmp_path: Path) -> None:
    said = explained(tmp_path, kept(), been_up(), halted()).as_data()
    assert (said["state"], said["fix"], said["routine"]) == ("broken", "minion unhalt", "morning-report")
    states = {link["name"]: link["state"] for link in said["links"]}
    assert states == {"due": "holds", "daemon": "broken"} | dict.fromkeys(NAMES[2:], "not-reached")


# due

def test_a_routine_without_a_schedule_says_so(tmp_path: Path) -> None:
    for at in (None, "9:00"):
        chain = explained(tmp_path, kept(triggers=[], cron_expression=None), at=at)
        assert ends(chain) == ("due", "off", 'minion schedule update morning-report "every weekday at 9:00"')
        assert "no schedule" in chain.sentence


def test_a_routine_without_a_schedule_is_judged_by_its_newest_run(tmp_path: Path) -> None:
    told = Teller().beginning().begin_step("LLM-EXECUTE-PROMPT").end_step("LLM-EXECUTE-PROMPT", "failed")
    failed = run(told=told.leave("failed"), end="failed")
    chain = explained(tmp_path, kept(triggers=[], cron_expression=None), failed, daemon=None)
    assert ends(chain) == ("run", "broken", f"minion logs {RUN}")
    assert "in 040.001.03 Block 03, step LLM-EXECUTE-PROMPT" in chain.sentence


def test_a_time_at_which_it_is_never_due_names_those_around_it(tmp_path: Path) -> None:
    chain = explained(tmp_path, kept(), been_up(), at="2026-01-04T09:00")
    assert ends(chain) == ("due", "off", "minion why morning-report --at 2026-01-02T09:00")
    assert chain.sentence == (
        "It is not due at Sun 2026-01-04 09:00. Before that it was due Fri 2026-01-02 09:00."
        " After it, it is due Mon 2026-01-05 09:00."
    )
    assert explained(tmp_path, at="2026-01-01T08:00").end.fix == "minion next morning-report"


def test_a_paused_routine_says_since_when_and_one_that_paused_itself_says_why(tmp_path: Path) -> None:
    paused = (kept(), kept(at=LATER, paused=True), kept(at="2026-01-05T09:06:00.000Z", paused=True, content="x"))
    chain = explained(tmp_path, *paused, been_up())
    assert ends(chain) == ("due", "off", "minion schedule resume morning-report")
    assert chain.sentence == "It is paused since Mon 2026-01-05 10:05."
    itself = explained(tmp_path, alerts={"auto_paused": "morning-report paused itself: it failed 3 times."})
    assert ends(itself) == ("due", "broken", "minion schedule resume morning-report")
    assert itself.sentence == "It paused itself since Mon 2026-01-05 10:05: it failed 3 times."


def test_a_routine_that_paused_itself_says_why_before_anybody_was_told_of_it(tmp_path: Path) -> None:
    async def about_to(writer: Writer) -> None:
        watched = Watched(2, "the newest run, run_1, failed: exit 3.", "due")
        await writer.transact(lambda db: keep_watched(db, "morning-report", watched))

    chain = explained(tmp_path, kept(), been_up(), about_to, kept(at=LATER, paused=True))
    assert ends(chain) == ("due", "broken", "minion schedule resume morning-report")
    assert chain.sentence.endswith(": it went wrong 2 times in a row; the newest run, run_1, failed: exit 3.")


def test_a_slot_from_before_it_was_paused_is_told_all_the_same(tmp_path: Path) -> None:
    steps = (kept(), been_up(), slot("ran"), run(), kept(at=LATER, paused=True))
    assert explained(tmp_path, *steps, at="9:00").end.state == "holds"
    assert explained(tmp_path).end.name == "due"


def test_a_run_that_somebody_asked_for_and_that_failed_is_told_until_its_routine_was_paused_after_it(
    tmp_path: Path,
) -> None:
    told = Teller().beginning().begin_step("LLM-EXECUTE-PROMPT").end_step("LLM-EXECUTE-PROMPT", "failed")
    failed = run(told=told.leave("failed"), end="failed")
    assert explained(tmp_path, kept(paused=True), been_up(), failed).end.name == "run"
    again = (kept(at=LATER), kept(at="2026-01-05T09:06:00.000Z", paused=True))
    assert explained(tmp_path, *again).sentence == "It is paused since Mon 2026-01-05 10:06."


def test_a_routine_that_hq_schedules_says_so(tmp_path: Path) -> None:
    chain = explained(tmp_path, kept(scheduled_by="hq"))
    assert ends(chain) == ("due", "off", "minion routine edit morning-report")


def test_a_bad_file_is_named_with_what_is_wrong_in_it(tmp_path: Path) -> None:
    chain = explained(tmp_path, kept(), been_up(), bad_file("morning-report: `limits` is not a known key."))
    assert ends(chain) == ("due", "broken", "minion routine edit morning-report")
    assert "`limits` is not a known key" in chain.sentence


def test_a_routine_whose_file_is_gone_says_so(tmp_path: Path) -> None:
    chain = explained(tmp_path, kept(), been_up(), files=())
    assert ends(chain) == ("due", "broken", "minion routine remove morning-report")
    assert "its file is gone" in chain.sentence


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ((kept(at=LATER),), "it was not there yet: it was added Mon 2026-01-05 10:05"),
        ((kept(paused=True), kept(at=LATER)), "it was paused"),
        ((kept(triggers=[{"type": "schedule", "cron": "0 8 * * *", "timezone": None}]), kept(at=LATER)),
         "its schedule was another one"),
    ],
    ids=["added later", "paused then", "another schedule then"],
)  # fmt: skip
def test_an_instant_without_a_record_says_that_the_routine_was_another_one_then(
    tmp_path: Path, steps: tuple[Step, ...], words: str
) -> None:
    chain = explained(tmp_path, *steps, been_up(until="2026-01-05T09:30:00.000Z"), at="9:00")
    assert (chain.end.name, chain.end.state) == ("due", "off")
    assert words in chain.sentence


# daemon

def test_a_halted_minion_says_since_when_and_why(tmp_path: Path) -> None:
    chain = explained(tmp_path, kept(), been_up(), slot("ran"), run(), halted())
    assert ends(chain) == ("daemon", "broken", "minion unhalt")
    assert chain.sentence == "The minion is halted since Mon 2026-01-05 10:00: the key leaked."


def test_what_came_due_while_no_daemon_ran_says_what_bringing_one_up_does(tmp_path: Path) -> None:
    chain = explained(tmp_path, kept(), been_up(until="2026-01-02T08:00:00.000Z"), daemon=None)
    assert ends(chain) == ("daemon", "broken", "minion up")
    assert chain.sentence == (
        "It was due Mon 2026-01-05 09:00, and no daemon ran the minion. One that comes up now runs it late."
    )
    late = explained(tmp_path, daemon=None, now="2026-01-05T23:30:00.000Z")
    assert "does not make up for it (the local day" in late.sentence


def test_without_a_daemon_the_next_one_is_named_and_that_none_ever_ran(tmp_path: Path) -> None:
    chain = explained(tmp_path, kept(at=LATER), now=LATER, daemon=None)
    assert ends(chain) == ("daemon", "broken", "minion up")
    assert chain.sentence == (
        "No daemon runs the minion: what is due Tue 2026-01-06 09:00 would not start. None ever did."
    )


def test_a_slot_that_was_fine_does_not_hide_that_no_daemon_runs_now(tmp_path: Path) -> None:
    steps = (kept(), been_up(), slot("ran"), run())
    assert ends(explained(tmp_path, *steps, daemon=None)) == ("daemon", "broken", "minion up")
    assert explained(tmp_path, daemon=None, at="9:00").end.state == "holds"


@pytest.mark.parametrize(
    ("daemon", "words", "fix"),
    [
        (
            {**UP, "health": "silent", "trouble": ["it hangs"], "fix": "kill it"},
            "(process 4711) does not answer",
            "kill it",
        ),
        ({**UP, "trouble": ["The run store could not be written."]}, "could not be written", "minion doctor"),
        ({**UP, "stopping": True}, "is ending", "minion up"),
    ],
    ids=["silent", "in trouble", "stopping"],
)
def test_a_daemon_that_is_not_well_is_the_broken_link(
    tmp_path: Path, daemon: dict[str, object], words: str, fix: str
) -> None:
    chain = explained(tmp_path, kept(), been_up(), slot("ran"), run(), daemon=daemon)
    assert (ends(chain), words in chain.sentence) == (("daemon", "broken", fix), True)


def test_a_missed_slot_says_that_no_daemon_ran_then(tmp_path: Path) -> None:
    why = "the local day of the newest due slot is over"
    missed = slot("missed", why, noticed="2026-01-06T07:00:00.000Z")
    chain = explained(tmp_path, kept(), been_up(), missed, now="2026-01-06T07:01:00.000Z")
    assert ends(chain) == ("daemon", "broken", "minion run morning-report")
    assert chain.sentence == (
        "It was due Mon 2026-01-05 09:00, and no daemon ran the minion then."
        f" One noticed it Tue 2026-01-06 08:00: {why}."
    )
    down = explained(tmp_path, daemon=None, at="2026-01-05 09:00", now="2026-01-06T07:01:00.000Z")
    assert ends(down) == ("daemon", "broken", "minion up")


def test_slots_missed_together_are_found_by_any_of_their_times(tmp_path: Path) -> None:
    why = "only the newest due slot is run"
    steps = (kept("2025-06-01T00:00:00.000Z"), been_up("2025-06-01T00:00:00.000Z"), slot("missed", why, count=125))
    for at in ("2026-01-05T09:00", "2025-12-24T09:00"):
        chain = explained(tmp_path, *steps, at=at)
        assert (chain.end.name, "and 124 before it" in chain.sentence) == ("daemon", True)
        steps = ()


# slot

def test_a_late_start_holds_and_says_what_it_waited_for(tmp_path: Path) -> None:
    noticed = "2026-01-05T08:50:00.000Z"
    chain = explained(tmp_path, kept(), been_up(), slot("late", noticed=noticed, settled=NOW), run(), at="9:00")
    words = {link.name: link.words for link in chain.links}
    assert words["slot"] == "It started late, Mon 2026-01-05 10:00: no daemon ran the minion when it was due."
    assert (chain.end.state, "ran late, Mon 2026-01-05 10:00" in chain.sentence) == ("holds", True)


def test_a_late_start_that_waited_in_line_says_so(tmp_path: Path) -> None:
    chain = explained(tmp_path, kept(), been_up(), slot("late", settled=NOW), run(), at="9:00")
    assert "it waited for its turn" in {link.name: link.words for link in chain.links}["slot"]


@pytest.mark.parametrize(("end", "fix"), [(None, f"minion cancel {RUN}"), ("completed", f"minion show {RUN}")])
def test_a_slot_skipped_because_a_run_still_went_on_names_that_run(
    tmp_path: Path, end: str | None, fix: str
) -> None:
    later = "2026-01-05T09:01:00.000Z"
    skipped = slot("skipped", "its run before was still going", noticed=later, settled=later)
    chain = explained(tmp_path, kept(), been_up(), run(end=end), skipped, at="9:00")  # type: ignore[arg-type]
    assert ends(chain) == ("slot", "broken", fix)
    assert f"its run before was still going ({RUN})" in chain.sentence


def test_a_slot_skipped_by_a_halt_says_so_and_what_to_do_depends_on_whether_it_is_halted_still(
    tmp_path: Path,
) -> None:
    skipped = slot("skipped", "the minion was halted: the key leaked")
    chain = explained(tmp_path, kept(), been_up(), skipped, at="9:00")
    assert ends(chain) == ("slot", "broken", "minion run morning-report")
    assert "skipped: the minion was halted: the key leaked" in chain.sentence
    assert explained(tmp_path, halted(), at="9:00").end.fix == "minion unhalt"


def test_a_slot_that_waits_for_a_person_names_the_decision(tmp_path: Path) -> None:
    ids: list[str] = []
    explained(tmp_path, kept(), been_up(), asked_decision(ids))
    question = "skill a changed since morning-report last ran; may it run with that?"
    chain = explained(tmp_path, slot("held", question, decision=ids[0]))
    assert ends(chain) == ("slot", "broken", f"minion decide {ids[0]} approve")
    assert f"waits for a person: {question}" in chain.sentence


def test_a_slot_that_was_rejected_or_overtaken_names_the_decision(tmp_path: Path) -> None:
    why = "the change was rejected (dec_1)"
    chain = explained(tmp_path, kept(), been_up(), slot("skipped", why, decision="dec_1"))
    assert ends(chain) == ("slot", "broken", "minion decide dec_1 approve")
    assert why in chain.sentence


def test_a_slot_that_waits_its_turn_is_not_broken(tmp_path: Path) -> None:
    assert ends(explained(tmp_path, kept(), been_up(), slot("due"))) == ("slot", "pending", "minion status")


def test_a_slot_of_a_moment_ago_is_being_started_and_a_lost_one_is_broken(tmp_path: Path) -> None:
    steps = (kept(), been_up(until="2026-01-02T08:00:00.000Z"))
    assert explained(tmp_path, *steps, now="2026-01-05T08:00:02.000Z").end.state == "pending"
    assert ends(explained(tmp_path)) == ("slot", "broken", "minion slots morning-report")


def test_a_slot_that_could_not_be_started_says_what_it_was_refused_for(tmp_path: Path) -> None:
    why = "it could not be started: There is no skill write-poems."
    chain = explained(tmp_path, kept(), been_up(), slot("skipped", why))
    assert ends(chain) == ("slot", "broken", "minion run morning-report")
    assert "There is no skill write-poems." in chain.sentence


def test_what_became_of_a_pruned_slot_is_read_from_the_chain(tmp_path: Path) -> None:
    async def pruned(writer: Writer) -> None:
        await writer.transact(lambda db: prune_slots(db, ROUTINE_ID, keep=0))

    chain = explained(tmp_path, kept(), been_up(), slot("ran"), run(), pruned, at="9:00")
    assert chain.end.state == "holds"


# engine

def test_an_engine_that_is_not_there_is_its_own_link(tmp_path: Path) -> None:
    why = "it could not be started: The engine claude-code is not in this version."
    chain = explained(tmp_path, kept(engine="claude-code"), been_up(), slot("skipped", why))
    assert ends(chain) == ("engine", "broken", "minion routine edit morning-report")
    assert "The engine claude-code is not in this version." in chain.sentence


def test_an_engine_that_lacks_its_key_is_mended_by_giving_it_and_then_by_a_run(tmp_path: Path) -> None:
    why = f"it could not be started: The engine messages lacks the secret {API_KEY}."
    for number, changes in enumerate(({"engine": "messages"}, {"engine": "auto"})):
        folder = tmp_path / str(number)
        folder.mkdir()
        chain = explained(folder, kept(**changes), been_up(), slot("skipped", why))
        assert ends(chain) == ("engine", "broken", f"minion secret set {API_KEY}")
        assert f"lacks the secret {API_KEY}" in chain.sentence
        assert explained(folder, secrets=[API_KEY]).end.fix == "minion run morning-report"


def test_an_engine_that_lost_its_key_is_told_before_the_next_slot(tmp_path: Path) -> None:
    chain = explained(tmp_path, kept(at=LATER, engine="messages"), been_up(LATER, LATER), now=LATER)
    assert ends(chain) == ("engine", "broken", f"minion secret set {API_KEY}")
    assert "It is due next" not in chain.sentence
    assert f"The engine messages lacks the secret {API_KEY}." in chain.sentence
    assert explained(tmp_path, now=LATER, secrets=[API_KEY]).end.state != "broken"


def test_an_engine_that_auto_has_still_to_choose_stops_nothing(tmp_path: Path) -> None:
    chain = explained(tmp_path, kept(at=LATER), been_up(LATER, LATER), now=LATER, engine="auto")
    assert ("engine", "holds") in [(link.name, link.state) for link in chain.links]


def test_a_model_without_a_price_is_mended_in_the_routine_s_file(tmp_path: Path) -> None:
    why = "it could not be started: The model 'x' has no price here, so that nothing could cap what it costs."
    chain = explained(tmp_path, kept(engine="messages"), been_up(), slot("skipped", why))
    assert ends(chain) == ("slot", "broken", "minion routine edit morning-report")


def test_an_engine_that_is_not_there_is_told_before_the_first_slot(tmp_path: Path) -> None:
    chain = explained(tmp_path, kept(at=LATER), been_up(LATER, LATER), now=LATER, engine="claude-code")
    assert ends(chain) == ("engine", "broken", "minion setup --engine script")
