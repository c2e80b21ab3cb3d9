"""What is said of a routine: what stands in its way, what should be known of it, who is told."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from server.contract.documents import admit
from server.contract.routine import Routine, admitted
from server.domain.explanation import (
    Facts,
    LastRun,
    explained,
    hindrance,
    known_zone,
    next_instants,
    told_when_it_fails,
    warnings,
)
from server.domain.revision import as_written, changed

NOW = datetime(2026, 10, 23, 9, tzinfo=UTC)
TRIG = "trig_0100000000000000000000"


def document_of(**said: Any) -> dict[str, Any]:
    """An admitted routine that says this, beside a prompt and a schedule."""
    plain = {"name": "nightly", "content": "Do it.", "cron_expression": "30 2 * * *", **said}
    return admitted(admit(Routine, plain, source="it"))


def facts(
    minion: str | None = "alice", *, left: bool = False, zone: str | None = "Europe/Berlin", **said: Any
) -> Facts:
    """Where a routine stands that says this."""
    return Facts("nightly", document_of(**said), minion, left, ["alice", "bob"] if minion else [], zone)


@pytest.mark.parametrize(
    ("case", "words"),
    [
        (facts(None, paused=True), "No minion has joined this HQ, so nothing starts it. It is paused, too."),
        (Facts("nightly", document_of(), None, False, ["a"], None), "No minion has it, so nothing starts it."),
        (facts(left=True), "Its minion alice has left this HQ."),
        (facts(paused=True), "It is paused."),
        (facts(cron_expression=None), "It has no schedule: it runs when somebody asks for it."),
        (facts(cron_expression=None, triggers=({"type": "once", "at": "2026-10-23T09:00Z"},)),
         "Its last instant is over: it is never due again."),
    ],
)  # fmt: skip
def test_the_first_thing_in_the_way_is_named_and_what_to_do(case: Facts, words: str) -> None:
    said = hindrance(case, next_instants(case, TRIG, NOW))
    assert said is not None
    assert said.sentence == words
    assert said.remedy
    assert hindrance(facts(), next_instants(facts(), TRIG, NOW)) is None


def test_next_instants_are_of_all_schedules_together_each_with_its_offset() -> None:
    case = facts(triggers=({"type": "once", "at": "2026-10-24T08:00", "timezone": "Asia/Tokyo"},))
    assert next_instants(case, TRIG, NOW) == [
        "2026-10-24T08:00:00+09:00", "2026-10-24T02:30:00+02:00", "2026-10-25T02:30:00+02:00",
    ]  # fmt: skip
    assert next_instants(facts(), TRIG, datetime(2026, 10, 25, 9, tzinfo=UTC), 1) == ["2026-10-26T02:30:00+01:00"]


@pytest.mark.parametrize(
    "prompt",
    [
        "Then call create_routine for each bug.", "Use /schedule for the next one.", "set up two routines",
        "Create a new routine for it.", "run: minion schedule add", "Schedule another nightly routine.",
    ],
)  # fmt: skip
def test_a_prompt_that_asks_for_routines_is_warned_about(prompt: str) -> None:
    assert "recurses" in warnings(facts(content=prompt))[0]


@pytest.mark.parametrize(
    "prompt",
    ["Do the routine checks.", "See docs/schedule.md.", "Report which routines failed.", "Create a report."],
)
def test_a_prompt_that_merely_speaks_of_routines_is_not(prompt: str) -> None:
    assert not [each for each in warnings(facts(content=prompt)) if "recurses" in each]


def test_warnings_name_what_lacks_and_what_nobody_looked_for() -> None:
    quiet = {"expect": ({"file": "a"},), "timezone": "Europe/Berlin"}
    assert warnings(facts(**quiet)) == []
    told = warnings(facts(zone=None, engine="script", sandbox="none", connectors=("linear",)))
    assert len(told) == 5
    assert "Nobody looked yet whether its connectors can be had: its minion will." in told
    both = warnings(facts(**quiet, pipeline=("a",), repositories=({"url": "https://example.org/a"},)))
    assert both == [
        "HQ has no skill a: its minion must have it itself.",
        "Nobody looked yet whether its repositories can be had: its minion will.",
    ]


def test_a_run_that_went_wrong_is_told_with_its_first_difference_and_a_good_one_without_a_task() -> None:
    def told(**said: Any) -> tuple[str, str]:
        plain: dict[str, Any] = {
            "id": "run_1", "state": "completed", "verdict": "ok", "at": "T", "why": None, "difference": None,
        }  # fmt: skip
        answer = explained(None, ["D"], LastRun(**{**plain, **said}))
        return answer.sentence, answer.remedy

    assert told() == ("It is due next D; its last run run_1 (T) worked.", "nothing needs doing")
    assert told(verdict="failed", state="failed", why="it broke.", difference=["B", None, "X"])[0] == (
        "It is due next D; its last run run_1 (T) failed: it broke; first difference in B: X was added."
    )
    assert told(verdict="failed", difference=["B", "Y", None])[0].endswith("Y was due, nothing was taken.")
    assert told(verdict="failed")[1] == "get_run run_1 shows its steps"


def test_who_is_told_in_words() -> None:
    assert told_when_it_fails([]) == "nobody will be told if this fails"
    assert told_when_it_fails([{"command": ["mail", "x"]}]) == "the command mail"


@pytest.mark.parametrize("text", ["Europe/Berlim", "", None, 7, "../etc/passwd"])
def test_a_zone_that_is_not_known_here_is_none(text: object) -> None:
    assert known_zone(text) is None
    assert known_zone("Europe/Berlin") == "Europe/Berlin"


def test_admitting_a_document_as_it_would_be_written_gives_it_again() -> None:
    triggers = ({"type": "schedule", "cron": "0 9 * * 1"}, {"type": "once", "at": "2026-12-01T09:00"})
    for zone in (None, "Europe/Berlin"):
        document = document_of(timezone=zone, triggers=triggers)
        assert len(document["triggers"]) == 3
        assert len(as_written(document)["triggers"]) == 2
        assert document_of(**as_written(document)) == document
        assert changed(document, {}) == as_written(document)
