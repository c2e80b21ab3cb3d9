"""Phrases to cron to words and back: the words always name the same slots, and hostile text ends soon."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from server.contract.cron import parse_cron
from server.contract.phrases import LONGEST_PHRASE, read_phrase
from server.contract.phrases.said_back import describe
from server.contract.refusals import BadDocument
from server.contract.schedule import Schedule, next_slots, parse_schedule
from tests.contract.phrase_table import NOW

_ZONES = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Etc/GMT-5", "GB-Eire"])
_SPEND = settings(deadline=None, database=None, max_examples=40)
# Naive on purpose: a one-shot is written in the local time of its zone.
_MOMENTS = st.datetimes(NOW.replace(tzinfo=None, month=4), NOW.replace(tzinfo=None, year=2100))

_NAMES = ["Monday", "tue", "Wednesdays", "Thu", "friday", "Saturday", "SUN"]
_HOURS = st.sampled_from(
    ["9", "9am", "17", "5 pm", "noon", "midnight", "half past 7", "quarter to 10", "06:05"]
)
_TIMES = st.one_of(
    _HOURS.map("at {}".format),
    st.tuples(st.integers(0, 23), st.integers(0, 23), st.integers(0, 59)).map(
        lambda given: f"at {given[0]}:{given[2]:02} and {given[1]}:{given[2]:02}"
    ),
    st.just(""),
)
_WEEKDAYS = st.one_of(
    st.sampled_from(
        ["every day", "daily", "on weekdays", "every weekday", "on weekends", "every day but Sunday"]
    ),
    st.lists(st.sampled_from(_NAMES), min_size=1, max_size=4).map(
        lambda names: "every " + " and ".join(names)
    ),
    st.tuples(st.sampled_from(_NAMES), st.sampled_from(_NAMES)).map(" to ".join),
)
_DATES = st.one_of(
    st.sampled_from(["monthly", "quarterly", "yearly", "weekly", "first day of the month", "every 2 months"]),
    st.sets(st.sampled_from(["1st", "2nd", "3rd", "15th", "28th", "31st"]), min_size=1).map(
        lambda days: "on the " + ", ".join(sorted(days))
    ),
    st.tuples(st.sampled_from(["January", "Mar", "may", "Dec"]), st.integers(1, 28)).map(
        lambda given: f"every year on {given[0]} {given[1]}"
    ),
    st.sampled_from(
        ["on the 13th or every Friday", "on the 1st of June and July", "every day in May to July"]
    ),
)
_PAUSES = st.one_of(
    st.sampled_from([1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30]).map("every {} minutes".format),
    st.sampled_from([1, 2, 3, 4, 6, 8, 12, 24]).map("every {} hours".format),
    st.sampled_from(["hourly", "every hour at :15 and :40", "every 2 hours at :05", "twice an hour"]),
    st.tuples(st.integers(0, 12), st.integers(13, 23), st.integers(1, 6)).map(
        lambda given: f"every {given[2]} hours between {given[0]} and {given[1]}"
    ),
    st.tuples(st.integers(0, 23), st.integers(0, 23), st.sampled_from([5, 10, 15, 30])).map(
        lambda given: f"every {given[2]} minutes from {given[0]}:00 to {given[1]}:00"
    ),
)
_PHRASES = st.one_of(
    st.tuples(st.one_of(_WEEKDAYS, _DATES), _TIMES).map(" ".join),
    st.tuples(_TIMES, _WEEKDAYS).map(" ".join),
    st.tuples(_PAUSES, st.one_of(st.just(""), _WEEKDAYS)).map(" ".join),
)


def _field(low: int, high: int) -> st.SearchStrategy[str]:
    value = st.integers(low, high)
    span = st.tuples(value, value).map(lambda ends: f"{min(ends)}-{max(ends)}")
    step = st.integers(1, max((high - low) // 2, 2))
    item = st.one_of(
        value.map(str),
        span,
        step.map("*/{}".format),
        st.tuples(span, step).map(lambda both: f"{both[0]}/{both[1]}"),
    )
    return st.one_of(st.just("*"), st.lists(item, min_size=1, max_size=3).map(",".join))


_CRON = st.tuples(_field(0, 59), _field(0, 23), _field(1, 31), _field(1, 12), _field(0, 7)).map(" ".join)


def _slots(schedule: Schedule) -> list[tuple[datetime, str]]:
    """Its next slots; of a daily schedule so many that a change of the clock is among them."""
    return [(slot.at, slot.nominal) for slot in next_slots(schedule, NOW, 40)]


def _same(one: str, other: str, zone: str) -> bool:
    first, second = (parse_schedule(text, zone, now=NOW) for text in (one, other))
    if first.one_shot or second.one_shot:
        return _slots(first) == _slots(second)
    left, right = parse_cron(first.expression), parse_cron(second.expression)
    days = [
        datetime(2028, 1, 1, tzinfo=UTC).date().replace(month=month, day=day)
        for month in range(1, 13)
        for day in range(1, 29)
    ]
    return (
        (left.minutes, left.hours, left.fixed_time) == (right.minutes, right.hours, right.fixed_time)
        and [left.fires_on(day) for day in days] == [right.fires_on(day) for day in days]
        and _slots(first) == _slots(second)
    )


@pytest.mark.promise("DOC-5")
@_SPEND
@given(phrase=_PHRASES, zone=_ZONES)
def test_a_phrase_that_is_read_is_said_in_words_that_give_the_same_slots(phrase: str, zone: str) -> None:
    try:
        reading = read_phrase(phrase, zone=zone, now=NOW)
    except BadDocument as refusal:
        assert refusal.code == "phrase"
        reject()
    again = read_phrase(reading.words, zone="Pacific/Auckland", now=NOW)
    assert (again.zone, again.words) == (zone, reading.words)
    assert _same(again.expression, reading.expression, zone)


@_SPEND
@given(expression=_CRON, zone=_ZONES)
def test_any_cron_line_is_described_and_read_back_equal_or_refused(expression: str, zone: str) -> None:
    try:
        schedule = parse_schedule(expression, zone, now=NOW)
    except BadDocument:
        reject()
    words = describe(schedule.expression, zone)
    assert words.endswith(f", {zone}") and words.isascii()
    try:
        again = read_phrase(words, zone="Pacific/Auckland", now=NOW)
    except BadDocument:
        assert words.startswith("whenever the clock shows")
    else:
        assert again.zone == zone
        assert _same(again.expression, schedule.expression, zone)


@_SPEND
@given(moment=_MOMENTS, zone=_ZONES)
def test_a_one_shot_is_described_and_read_back_as_the_same_instant(moment: datetime, zone: str) -> None:
    for text in (moment.isoformat(timespec="minutes"), moment.isoformat(timespec="seconds") + "+05:30"):
        try:
            schedule = parse_schedule(text, zone, now=NOW)
        except BadDocument:
            continue
        again = read_phrase(describe(schedule.expression, zone), zone="Pacific/Auckland", now=NOW)
        assert _slots(parse_schedule(again.expression, again.zone, now=NOW)) == _slots(schedule) != []


_WORDS = (
    "every each 2 7 9 17 9:30 9am :15 noon hour hours minutes day days week month other first last 1st 15th"
    " Monday Fri weekdays or and at on in of the to from between half quarter past January 1 2026-12-01"
    " tomorrow next twice a once Tokyo UTC CET morning night please banana not except - , * @daily +01:00"
    " end year leap"
)
_HOSTILE = st.one_of(
    st.text(max_size=200),
    st.lists(st.sampled_from(_WORDS.split()), max_size=12).map(" ".join),
    st.text(alphabet="0123456789:-/., amp*@", max_size=60),
)


@settings(deadline=None, database=None, max_examples=80)
@given(text=_HOSTILE)
def test_any_text_is_read_to_a_schedule_that_fires_or_refused(text: str) -> None:
    try:
        reading = read_phrase(text, zone="Asia/Tokyo", now=NOW)
    except BadDocument as refusal:
        assert refusal.code in ("phrase", "bad_schedule")
        assert refusal.hint and len(str(refusal)) < 2_000
    else:
        assert parse_schedule(reading.expression, reading.zone, now=NOW).expression == reading.expression
        assert reading.words == describe(reading.expression, reading.zone)


@pytest.mark.parametrize(
    "unit",
    [
        "9 and ",
        "1 ",
        "1 and ",
        "every ",
        "first Monday ",
        "wekday ",
        "in x ",
        "mon-",
        "(",
        "March 1 and ",
        "9:",
        "\u0301",
    ],
)
def test_a_long_repeat_is_answered_within_the_same_rules(unit: str) -> None:
    text = (unit * LONGEST_PHRASE)[:LONGEST_PHRASE]
    try:
        assert read_phrase(text, zone="UTC", now=NOW).words
    except BadDocument as refusal:
        assert len(str(refusal)) < 2_000
