"""`why` of a run: how it went, what it reports, whether it arrived as expected; and which instant is meant."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from minion.why.asked import read_asked
from server.contract.digest import parse_instant
from server.contract.refusals import BadUse
from tests.minion.stored_runs import CODES, LATER, NOW, Teller
from tests.minion.why_stories import ADDED, DUE, been_up, ends, explained, kept, moment, reported, run, sent, slot

RUN = Teller().run_id
BERLIN = ZoneInfo("Europe/Berlin")
DUE_AND = "It was due Mon 2026-01-05 09:00, and "


# run, outcome, delivery, expect

def test_a_routine_that_is_ready_says_when_it_runs(tmp_path: Path) -> None:
    chain = explained(tmp_path, kept(at=LATER), been_up(LATER, LATER), now=LATER)
    assert (chain.end.name, chain.end.state) == ("run", "pending")
    assert chain.sentence == "All is ready: it runs Tue 2026-01-06 09:00."


def test_a_failed_run_names_block_step_and_why(tmp_path: Path) -> None:
    told = Teller().beginning().step("LLM-EXECUTE-PROMPT", "failed").leave("failed", "exit 3")
    chain = explained(tmp_path, kept(), been_up(), slot("ran"), run(told=told, end="failed"))
    assert ends(chain) == ("run", "broken", f"minion logs {RUN}")
    assert chain.sentence == (
        f"{DUE_AND}its run failed in 040.001.03 Block 03, step LLM-EXECUTE-PROMPT: exit 3 ({RUN})."
    )


def test_a_run_whose_own_hint_is_a_command_gives_that_one(tmp_path: Path) -> None:
    step = run(told=Teller(), end="failed", why="its runner could not be started: no memory", hint="minion doctor")
    chain = explained(tmp_path, kept(), been_up(), slot("ran"), step)
    assert ends(chain) == ("run", "broken", "minion doctor")
    assert "could not be started: no memory" in chain.sentence


@pytest.mark.promise("MOD-3")
def test_a_run_that_can_go_on_says_what_goes_on_with_it(tmp_path: Path) -> None:
    hint = f"add credit to it, then minion resume {RUN}"
    step = run(told=Teller(), end="interrupted", why="The API account has no credit left.", hint=hint)
    chain = explained(tmp_path, kept(), been_up(), slot("ran"), step)
    assert ends(chain) == ("run", "broken", hint)


@pytest.mark.parametrize(
    ("end", "why", "words"),
    [
        ("timed_out", "timeout", "stopped at its time limit in 040.001.03"),
        ("cancelled", "the wrong branch", "was cancelled in 040.001.03 Block 03, step LLM-EXECUTE-PROMPT: the"),
        ("interrupted", "the minion was stopped", "was interrupted in 040.001.03"),
    ],
)
def test_a_run_that_was_stopped_says_how_and_where(tmp_path: Path, end: str, why: str, words: str) -> None:
    told = Teller().beginning().begin_step("LLM-EXECUTE-PROMPT")
    step = run(told=told, end=end, why=why)  # type: ignore[arg-type]
    chain = explained(tmp_path, kept(), been_up(), slot("ran"), step)
    assert (chain.end.name, words in chain.sentence) == ("run", True), chain.sentence


def test_a_run_that_goes_on_is_not_broken_and_can_be_followed(tmp_path: Path) -> None:
    step = run(told=Teller().beginning(), end=None)
    chain = explained(tmp_path, kept(), been_up(), slot("ran"), step)
    assert ends(chain) == ("run", "pending", f"minion logs -f {RUN}")
    assert chain.sentence == f"{DUE_AND}it runs since Mon 2026-01-05 10:00, at Block 03 ({RUN})."


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        ("partial", "did a part only"),
        ("failure", "reports failure"),
        ("unknown", "nobody knows whether it succeeded"),
    ],
)
def test_a_report_that_is_no_success_is_the_broken_link(tmp_path: Path, outcome: str, words: str) -> None:
    told = reported(outcome, "One of two mails.")
    chain = explained(tmp_path, kept(), been_up(), slot("ran"), run(told=told))
    assert ends(chain) == ("outcome", "broken", f"minion logs {RUN}")
    assert (words in chain.sentence, "One of two mails." in chain.sentence) == (True, True)


def test_a_message_that_did_not_arrive_is_named_with_why(tmp_path: Path) -> None:
    chain = explained(tmp_path, kept(), been_up(), slot("ran"), run(told=sent("failed")))
    assert ends(chain) == ("delivery", "broken", f"minion redeliver {RUN}")
    assert chain.sentence == f"{DUE_AND}it ran, but message:slack was not delivered: d ({RUN})."


def test_an_effect_of_which_nobody_knows_is_named(tmp_path: Path) -> None:
    told = Teller().beginning().step("LLM-EXECUTE-PROMPT").report().leave().enter(CODES[3])
    told.intend(told.stage()).step("SCR-PUSH-BRANCH").leave()
    chain = explained(tmp_path, kept(), been_up(), slot("ran"), run(told=told))
    assert chain.end.name == "delivery"
    assert chain.sentence.startswith(f"{DUE_AND}nobody knows whether message:slack arrived")


def test_an_expectation_that_did_not_come_true_is_named(tmp_path: Path) -> None:
    told = Teller().beginning().step("LLM-EXECUTE-PROMPT").report().leave().enter(CODES[3])
    told.tell("check", kind="file", expected="out/*.md", state="failed", detail="no such file")
    told.step("SCR-PUSH-BRANCH").leave()
    chain = explained(tmp_path, kept(), been_up(), slot("ran"), run(told=told))
    assert ends(chain) == ("expect", "broken", f"minion show {RUN}")
    assert "file out/*.md: no such file" in chain.sentence


def test_a_newer_run_that_somebody_asked_for_and_that_failed_comes_first(tmp_path: Path) -> None:
    told = Teller(2).beginning().step("LLM-EXECUTE-PROMPT", "failed").leave("failed", "exit 3")
    steps = (kept(), been_up(), slot("ran"), run(), run(2, told=told, end="failed"))
    assert explained(tmp_path, *steps).end.fix == f"minion logs {Teller(2).run_id}"
    assert explained(tmp_path, at="9:00").end.state == "holds"


# which instant is meant

def test_a_clock_time_means_the_newest_one_that_is_over() -> None:
    now = parse_instant(NOW)
    assert read_asked("9:00", BERLIN, now).wall.isoformat() == "2026-01-05T09:00:00"
    assert read_asked("10:00", BERLIN, now).wall.isoformat() == "2026-01-05T10:00:00"
    assert read_asked("10:01", BERLIN, now).wall.isoformat() == "2026-01-04T10:01:00"


def test_a_date_with_a_time_is_of_the_zone_unless_it_says_its_offset() -> None:
    now = parse_instant(NOW)
    for text in ("2026-01-05T09:00", "2026-01-05 09:00", "2026-01-05t08:00Z", "2026-01-05T10:00:30+02:00"):
        assert read_asked(text, BERLIN, now).instants == (parse_instant(DUE),), text


def test_a_repeated_hour_is_both_and_a_skipped_one_is_around_the_gap() -> None:
    now = parse_instant(NOW)
    twice = read_asked("2025-10-26T02:30", BERLIN, now).instants
    assert (len(twice), twice[1] - twice[0]) == (2, timedelta(hours=1))
    assert moment("2025-03-30T01:30:00+00:00") in read_asked("2025-03-30T02:30", BERLIN, now).instants


@pytest.mark.parametrize("text", ["9", "25:00", "nine", "2026-13-01T09:00", "", "9:00\x1b[2J"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(BadUse) as caught:
        read_asked(text, BERLIN, parse_instant(NOW))
    assert caught.value.code == "bad_time"


def test_a_time_that_the_clock_skips_finds_the_slot_that_ran_after_the_gap(tmp_path: Path) -> None:
    trigger = {"type": "schedule", "cron": "30 2 * * *", "timezone": "Europe/Berlin"}
    steps = (kept("2025-01-01T00:00:00.000Z", triggers=[trigger]), been_up("2025-01-01T00:00:00.000Z", ADDED))
    chain = explained(tmp_path, *steps, at="2025-03-30T02:30")
    assert chain.at == "2025-03-30T03:00:00+02:00"
