"""What commands take as names, numbers and times, and what lists show first, where no daemon is up."""

from __future__ import annotations

from pathlib import Path

import pytest

from minion.store.slots import SlotRecord, claim
from minion.store.writer import Writer
from tests.minion.stored_runs import with_store
from tests.minion.why_stories import DUE, asked_decision, run, sent
from tests.whole.homes import run_cli
from tests.whole.refusals_said import say
from tests.whole.test_standing_commands import place_of, printed


def test_slots_are_listed_by_when_they_were_due_whenever_they_were_taken(tmp_path: Path) -> None:
    place = place_of(tmp_path)

    async def catch_up(writer: Writer) -> None:
        for routine in ("a", "b"):
            for hour in (7, 8):
                due = f"2026-01-05T0{hour}:00:00.000Z"
                record = SlotRecord(f"trig_{routine}", routine, "t", due, due, due, state="missed", why="so")
                await writer.transact(lambda db, slot=record: claim(db, slot, now=DUE))

    with_store(place.home.root, catch_up)
    listed = [(item["routine"], item["due_at"][12]) for item in printed(say(place, "slots --json"))]
    assert listed == [("b", "8"), ("a", "8"), ("b", "7"), ("a", "7")]
    assert printed(say(place, "slots -n 1 --json")) == printed(say(place, "slots --limit 1 --json"))
    assert [item["routine"] for item in printed(say(place, "slots -n 1 --json"))] == ["b"]


@pytest.mark.parametrize(
    "words", ["decide dec_ reject", "show run_", "next trig_", "effects settle eff_ delivered"]
)
def test_a_prefix_alone_names_nothing_though_there_is_one_thing_only(tmp_path: Path, words: str) -> None:
    place = place_of(tmp_path, asked_decision([]), run(told=sent("unknown")))
    told = say(place, words)
    assert (told.exit_code, told.code.startswith("no_such_")) == (2, True)


@pytest.mark.parametrize("seconds", ["nan", "inf", "-inf", "abc", "-1"])
def test_a_time_that_is_no_number_is_refused_as_a_count_is(tmp_path: Path, seconds: str) -> None:
    told = run_cli(place_of(tmp_path).home, "down", "--wait", seconds)
    assert (told.code, told.err.splitlines()[0]) == (2, "minion: --wait takes a number from 0 on.")


def test_why_says_of_seconds_that_they_are_not_taken(tmp_path: Path) -> None:
    told = say(place_of(tmp_path), "why morning-report --at 7:20:30")
    assert (told.code, "seconds, which are not taken" in told.err) == ("bad_time", True)
    assert "write 7:20" in told.err


@pytest.mark.parametrize("words", ["runs", "slots", "next morning-report"])
def test_every_list_takes_its_length_by_either_word(tmp_path: Path, words: str) -> None:
    place = place_of(tmp_path)
    assert [say(place, f"{words} {option} 1").exit_code for option in ("-n", "--limit")] == [0, 0]
