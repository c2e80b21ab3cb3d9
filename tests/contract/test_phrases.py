"""Schedules said in English and what is read from them, zone, task and words said back included."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from server.contract.phrases import read_phrase
from server.contract.phrases.said_back import describe
from server.contract.refusals import BadDocument
from server.contract.schedule import next_slots, parse_schedule
from tests.contract.phrase_table import HERE, NOW, READ


@pytest.mark.promise("DOC-5")
@pytest.mark.parametrize(("phrase", "expression", "zone"), READ)
def test_a_phrase_gives_its_schedule_and_says_it_back(phrase: str, expression: str, zone: str) -> None:
    reading = read_phrase(phrase, zone=HERE, now=NOW)
    assert (reading.expression, reading.zone, reading.task) == (expression, zone, None)
    assert reading.words == describe(expression, zone)
    assert parse_schedule(expression, zone, now=NOW).expression == expression


@pytest.mark.parametrize(
    ("phrase", "words"),
    [
        ("every Monday", "every Monday at 9:00, Europe/Berlin"),
        ("at 5", "every day at 5:00, Europe/Berlin"),
        ("nightly", "every day at 2:00, Europe/Berlin"),
        ("every evening at 6", "every day at 18:00, Europe/Berlin"),
        ("every 30 minutes between 9 and 17", "every 30 minutes from 9:00 to 16:30, Europe/Berlin"),
        ("every hour from 22 to 6", "every hour from 22:00 to 6:00 the next day, Europe/Berlin"),
        ("monthly on the 31st", "on the 31st of every month that has it at 9:00, Europe/Berlin"),
        ("every February 29", "every leap year on February 29 at 9:00, Europe/Berlin"),
        ("on March 1", "every year on March 1 at 9:00, Europe/Berlin"),
        ("next Friday at 10", "once, on Friday 2026-03-06 at 10:00, Europe/Berlin"),
        ("tomorrow", "once, on Thursday 2026-03-05 at 9:00, Europe/Berlin"),
        ("@weekly", "every Sunday at 0:00, Europe/Berlin"),
        ("9am in Seattle", "every day at 9:00, America/Los_Angeles"),
    ],
)
def test_what_a_phrase_left_open_is_said(phrase: str, words: str) -> None:
    assert read_phrase(phrase, zone=HERE, now=NOW).words == words


@pytest.mark.parametrize(
    ("text", "expression", "task"),
    [
        ("every weekday at 9: my team's commits to Slack", "0 9 * * 1-5", "my team's commits to Slack"),
        ("Every night at 2am: pull the top issue, fix it", "0 2 * * *", "pull the top issue, fix it"),
        ("every day at 9:30: report: with colons", "30 9 * * *", "report: with colons"),
        ("every hour at :15: check", "15 * * * *", "check"),
        ("0 */2 * * 1-5: triage", "0 */2 * * 1-5", "triage"),
        ("0 9 * * 1-5 in Tokyo: triage", "0 9 * * 1-5", "triage"),
        ("2026-12-01T09:00+01:00: once", "2026-12-01T09:00+01:00", "once"),
        ("every day at 9:   ", "0 9 * * *", None),
        ("every day at 9:00", "0 9 * * *", None),
        ("every weekday:15 things", "0 9 * * 1-5", "15 things"),
    ],
)
def test_the_task_begins_at_the_first_colon_outside_a_clock_time(
    text: str, expression: str, task: str | None
) -> None:
    reading = read_phrase(text, zone=HERE, now=NOW)
    assert (reading.expression, reading.task) == (expression, task)


def test_a_pause_is_no_fixed_time_and_a_list_of_hours_is() -> None:
    fixed = {
        phrase: parse_schedule(read_phrase(phrase, zone=HERE, now=NOW).expression, HERE, now=NOW).fixed_time
        for phrase in ("every 12 hours", "every 2 hours from 9 to 17", "at 0:00 and 12:00", "hourly", "at 9")
    }
    assert list(fixed.values()) == [False, False, True, False, True]


def test_a_delay_is_rounded_up_to_the_minute_and_keeps_its_instant_in_a_repeated_hour() -> None:
    before = datetime(2026, 10, 25, 0, 30, 0, 1, tzinfo=UTC)
    reading = read_phrase("in 1 hour", zone=HERE, now=before)
    assert reading.expression == "2026-10-25T02:31+01:00"
    assert reading.words == "once, on Sunday 2026-10-25 at 2:31 +01:00, Europe/Berlin"
    assert read_phrase(reading.words, zone="UTC", now=before) == reading
    [slot] = next_slots(parse_schedule(reading.expression, HERE, now=before), before, 5)
    assert slot.at == datetime(2026, 10, 25, 1, 31, tzinfo=UTC)


def test_tomorrow_is_the_next_date_of_the_zone_that_the_phrase_names() -> None:
    evening = datetime(2026, 3, 4, 20, 0, tzinfo=UTC)
    dates = [
        read_phrase(f"tomorrow at 9 in {place}", zone=HERE, now=evening).expression[:10]
        for place in ("Berlin", "Tokyo", "Honolulu")
    ]
    assert dates == ["2026-03-05", "2026-03-06", "2026-03-05"]


def test_on_a_friday_next_friday_is_a_week_away() -> None:
    friday = datetime(2026, 3, 6, 8, 0, tzinfo=UTC)
    assert read_phrase("next Friday at 10", zone=HERE, now=friday).expression == "2026-03-13T10:00"


def test_the_default_zone_may_be_named_even_where_its_name_is_an_abbreviation() -> None:
    assert read_phrase("every day at 9, CET", zone="CET", now=NOW).zone == "CET"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("60 9 * * *", "minute field has 60"),
        ("0 0 9 * * *", "seconds or years"),
        ("@reboot", "no shorthand"),
        ("today at 9", "in the past"),
        ("on 2020-01-01 at 9", "in the past"),
        ("2026-03-29 at 2:30", "does not exist"),
        ("every February 30", "never fires"),
    ],
)
def test_what_is_read_but_can_never_run_is_refused_as_any_schedule(text: str, said: str) -> None:
    with pytest.raises(BadDocument) as caught:
        read_phrase(text, zone=HERE, now=NOW)
    assert (caught.value.code, said in caught.value.sentence) == ("bad_schedule", True), caught.value


def test_a_default_zone_that_does_not_exist_is_refused_by_name() -> None:
    with pytest.raises(BadDocument, match="Europe/Berln") as caught:
        read_phrase("every day at 9 in Tokyo", zone="Europe/Berln", now=NOW)
    assert caught.value.code == "unknown_zone"
