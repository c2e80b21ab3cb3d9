"""What is taken as a schedule, how it is normalised, and the sentence that refuses everything else."""

from __future__ import annotations

from datetime import UTC, date, datetime
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.contract.cron import parse_cron
from server.contract.refusals import BadDocument
from server.contract.schedule import next_slots, parse_schedule, restore_schedule

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def refused(expression: str, zone: str = "Europe/Berlin") -> BadDocument:
    """The refusal that `expression` meets."""
    with pytest.raises(BadDocument) as caught:
        parse_schedule(expression, zone, now=NOW)
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize(
    ("written", "normalised"),
    [
        ("0 9 * * 1-5", "0 9 * * 1-5"),
        ("  0\t9  *  *  MON-fri\n", "0 9 * * 1-5"),
        ("00 09 01 jan,Dec *", "0 9 1 1,12 *"),
        ("*/1 */2 * * 7", "* */2 * * 0"),
        ("0 0 * * 5-7", "0 0 * * 5-7"),
        ("5/15 * * * *", "5/15 * * * *"),
        ("@hourly", "0 * * * *"),
        ("@daily", "0 0 * * *"),
        ("@midnight", "0 0 * * *"),
        ("@weekly", "0 0 * * 0"),
        ("@monthly", "0 0 1 * *"),
        ("@Yearly", "0 0 1 1 *"),
        ("@annually", "0 0 1 1 *"),
        ("hourly", "0 * * * *"),
        ("daily", "0 9 * * *"),
        ("weekdays", "0 9 * * 1-5"),
        ("weekly", "0 9 * * 1"),
    ],
)
def test_an_accepted_expression_is_normalised_and_parses_to_itself(written: str, normalised: str) -> None:
    schedule = parse_schedule(written, "Europe/Berlin", now=NOW)
    assert (schedule.expression, schedule.zone, schedule.one_shot) == (normalised, "Europe/Berlin", False)
    assert parse_schedule(normalised, "Europe/Berlin", now=NOW) == schedule


@pytest.mark.parametrize(
    ("expression", "fixed"),
    [
        ("0 9,18 * * *", True),
        ("0-10 9-17 * * *", True),
        ("0 9 */2 * *", True),
        ("0 * * * *", False),
        ("* 9 * * *", False),
        ("*/30 9 * * *", False),
        ("0 9-17/2 * * *", False),
    ],
)
def test_fixed_time_means_neither_star_nor_slash_in_minute_and_hour(expression: str, fixed: bool) -> None:
    assert parse_schedule(expression, "UTC", now=NOW).fixed_time is fixed


@pytest.mark.promise("DOC-3")
@pytest.mark.parametrize(
    ("expression", "named"),
    [
        ("60 9 * * *", "minute"),
        ("0 24 * * *", "hour"),
        ("0 9 0 * *", "day of month"),
        ("0 9 32 * *", "day of month"),
        ("0 9 * 13 *", "month field"),
        ("0 9 * * 8", "day of week"),
        ("99 99 * * *", "minute"),
        ("10-5 9 * * *", "minute"),
        ("0 22-6 * * *", "hour"),
        ("0 9 * nov-feb *", "month field"),
        ("0 9 * * FRI-MON", "day of week"),
        ("0 9 * * FRI-SUN", "day of week"),
        ("*/0 9 * * *", "minute"),
        ("0 9-17/0 * * *", "hour"),
        ("*/90 * * * *", "minute"),
        ("0 */25 * * *", "hour"),
        ("*/ 9 * * *", "minute"),
        ("*/x 9 * * *", "minute"),
        ("1,,2 9 * * *", "minute"),
        ("*,5 9 * * *", "minute"),
        ("1-2-3 9 * * *", "minute"),
        ("-5 9 * * *", "minute"),
        ("5.5 9 * * *", "minute"),
        ("0 MON * * *", "hour"),
        ("0 9 * * JAN", "day of week"),
        ("0 9 MON * *", "day of month"),
        ("0 9 * MAY-x *", "month field"),
        ("0 9 L * *", "day of month"),
        ("0 9 15W * *", "day of month"),
        ("0 9 LW * *", "day of month"),
        ("0 9 ? * *", "day of month"),
        ("0 9 * * 5L", "day of week"),
        ("0 9 * * MON#2", "day of week"),
        ("H H * * *", "minute"),
        ("0~30 9 * * *", "minute"),
        ("0 0 30 2 *", "day of month"),
        ("0 0 30,31 2 *", "day of month"),
        ("0 0 31 4,6,9,11 *", "day of month"),
    ],
)
def test_a_wrong_field_is_refused_and_named(expression: str, named: str) -> None:
    refusal = refused(expression)
    assert (refusal.code, named in refusal.sentence) == ("bad_schedule", True), refusal.sentence


@pytest.mark.parametrize("expression", ["0 0 30 2 *", "0 0 31 2,4 *"])
def test_a_date_that_never_comes_is_said_to_never_fire(expression: str) -> None:
    assert "never fires" in refused(expression).sentence


def test_a_date_that_never_comes_is_no_obstacle_beside_a_weekday() -> None:
    schedule = parse_schedule("0 0 30 2 1", "UTC", now=NOW)
    assert [slot.nominal for slot in next_slots(schedule, NOW, 2)] == ["2027-02-01T00:00", "2027-02-08T00:00"]


def test_a_leap_day_is_awaited_over_the_years_without_one() -> None:
    slots = next_slots(parse_schedule("0 0 29 2 *", "UTC", now=NOW), datetime(2096, 3, 1, tzinfo=UTC), 2)
    assert [slot.nominal for slot in slots] == ["2104-02-29T00:00", "2108-02-29T00:00"]


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("", "0 fields"),
        ("9", "1 field "),
        ("0 9 * *", "4 fields"),
        ("0 0 9 * * *", "seconds or years"),
        ("0 0 9 * * * 2027", "seconds or years"),
        ("0 9 * * * * * *", "8 fields"),
        ("@reboot", "shorthand"),
        ("fortnightly", "1 field "),
        ("\u0663 9 * * *", "ASCII"),
        ("0 9 * * \uff11", "ASCII"),
        ("0 9 *\u00a0* *", "ASCII"),
        ("0 9 * *\n*", "ASCII"),
        ("0 9 * * 1\x00", "ASCII"),
        ("0 9 * * " + ",".join(["1"] * 100), "200"),
        ("2026-12-01", "no instant"),
        ("2026-12-01T09", "no instant"),
        ("2026-13-01T09:00", "no instant"),
        ("2026-12-01T09:00:00.5", "no instant"),
        ("2026-12-01T09:00+25:00", "no instant"),
        ("9999-12-31T23:59-12:00", "no instant"),
        ("0001-01-01T00:00+12:00", "no instant"),
        ("2026-12-01T09:00[Europe/Paris]", "no instant"),
    ],
)
def test_a_text_that_is_no_schedule_is_refused(expression: str, said: str) -> None:
    assert said in refused(expression).sentence


def test_dates_are_walked_both_ways_with_their_first_one_included() -> None:
    mondays = parse_cron("0 9 * * 1")
    monday = date(2026, 3, 2)
    assert list(islice(mondays.dates_from(monday), 2)) == [monday, date(2026, 3, 9)]
    assert list(islice(mondays.dates_back_from(monday), 2)) == [monday, date(2026, 2, 23)]


def test_a_refused_range_over_sunday_says_how_to_write_it() -> None:
    assert "`5-7`" in refused("0 9 * * FRI-SUN").hint
    assert "`22-23,0-6`" in refused("0 22-6 * * *").hint


@pytest.mark.parametrize(
    ("zone", "nearest"),
    [
        ("Europe/Berln", "Europe/Berlin"),
        ("europe/berlin", "Europe/Berlin"),
        ("New York", "America/New_York"),
        ("utc", "UTC"),
        ("", "?"),
        ("Europe", "?"),
        ("../../etc/passwd", "?"),
        ("/usr/share/zoneinfo/UTC", "?"),
        ("localtime", "?"),
        ("posix/UTC", "?"),
        ("Europe/Berlin\x00", "Europe/Berlin"),
        ("A" * 100_000, "?"),
        ("Z\u00fcrich", "Europe/Zurich"),
    ],
)
def test_an_unknown_zone_is_refused_with_the_nearest_known_one(zone: str, nearest: str) -> None:
    refusal = refused("0 9 * * *", zone)
    assert refusal.code == "unknown_zone"
    assert len(str(refusal)) < 500
    assert nearest.replace("?", "did you mean ") in refusal.hint


def test_a_one_shot_is_a_local_time_or_an_instant_with_an_offset() -> None:
    local = parse_schedule("2026-12-01 09:00", "Europe/Berlin", now=NOW)
    exact = parse_schedule("2026-12-01T08:00:00Z", "Europe/Berlin", now=NOW)
    assert (local.expression, exact.expression) == ("2026-12-01T09:00", "2026-12-01T09:00+01:00")
    assert local.one_shot and exact.one_shot and local.fixed_time
    for schedule in (local, exact):
        assert parse_schedule(schedule.expression, schedule.zone, now=NOW) == schedule
        [slot] = next_slots(schedule, NOW, 5)
        assert (slot.at.isoformat(), slot.nominal) == ("2026-12-01T09:00:00+01:00", "2026-12-01T09:00")
        assert next_slots(schedule, slot.at, 5) == []
    assert next_slots(local, NOW, 1)[0].key == "at|2026-12-01T09:00|Europe/Berlin"


def test_a_one_shot_in_a_repeated_hour_is_the_first_unless_its_offset_says_otherwise() -> None:
    instants = [
        next_slots(parse_schedule(text, "Europe/Berlin", now=NOW), NOW, 1)[0].at.isoformat()
        for text in ("2026-10-25T02:30", "2026-10-25T02:30+01:00")
    ]
    assert instants == ["2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+01:00"]


@pytest.mark.promise("DOC-3")
def test_a_one_shot_in_a_skipped_hour_is_refused() -> None:
    refusal = refused("2026-03-29T02:30")
    assert "does not exist" in refusal.sentence
    assert "2026-03-29T03:00+02:00" in refusal.hint
    assert parse_schedule("2026-03-29T03:00", "Europe/Berlin", now=NOW).one_shot


@pytest.mark.promise("DOC-3")
@pytest.mark.parametrize("text", ["2026-03-01T13:00", "2026-03-01T12:00Z", "2020-01-01T00:00"])
def test_a_one_shot_that_is_not_to_come_is_refused(text: str) -> None:
    assert "in the past" in refused(text).sentence


def test_a_one_shot_that_passed_while_the_daemon_was_down_can_be_loaded() -> None:
    schedule = restore_schedule("2026-02-01T09:00", "Europe/Berlin")
    slots = next_slots(schedule, datetime(2026, 1, 1, tzinfo=UTC), 1)
    assert [slot.nominal for slot in slots] == ["2026-02-01T09:00"]


_TEXTS = st.one_of(
    st.text(max_size=40),
    st.text(alphabet="0123456789*/,-LW#?@ MONJAsu:TZ+", max_size=40),
    st.lists(st.text(alphabet="01234*/,-", min_size=1, max_size=6), min_size=5, max_size=5).map(" ".join),
)


@settings(deadline=None, database=None, max_examples=200)
@given(expression=_TEXTS)
def test_any_text_is_either_a_schedule_that_fires_or_a_refusal(expression: str) -> None:
    try:
        schedule = parse_schedule(expression, "Asia/Tokyo", now=NOW)
    except BadDocument as refusal:
        assert refusal.code == "bad_schedule"
    else:
        assert next_slots(schedule, NOW, 1)
        assert parse_schedule(schedule.expression, "Asia/Tokyo", now=NOW) == schedule


@settings(deadline=None, database=None, max_examples=30)
@given(zone=st.text(max_size=20))
def test_any_text_is_either_a_zone_or_a_refusal(zone: str) -> None:
    try:
        assert parse_schedule("0 9 * * *", zone, now=NOW).zone == zone
    except BadDocument as refusal:
        assert refusal.code == "unknown_zone"
