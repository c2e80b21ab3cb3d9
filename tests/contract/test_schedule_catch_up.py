"""Catching up after a gap, and runs that overlap: what is run, what is missed, exactly counted (F7, F8)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Literal, get_args

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from server.contract.catch_up import CatchUp, CatchUpPolicy, catch_up, left_out, overlap_decision
from server.contract.schedule import Schedule, next_slots, parse_schedule, restore_schedule, slots_between
from tests.contract.zone_oracle import DAY, LINES, Line, due_slots, named_minutes, spans

ZONES = ("UTC", "Europe/Berlin", "Australia/Lord_Howe", "America/St_Johns", "Antarctica/Troll")
# 2010 has a transition over midnight in St John's.
YEAR = datetime(2010, 1, 1, tzinfo=UTC)


def at(text: str) -> datetime:
    """An aware UTC time."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def missed_since(
    expression: str, last: str, now: str, policy: CatchUpPolicy, window_s: int = 0, *, stagger: int = 0
) -> CatchUp:
    """What a routine in Berlin catches up."""
    schedule = restore_schedule(expression, "Europe/Berlin")
    return catch_up(schedule, at(last), at(now), policy=policy, window_s=window_s, stagger=stagger)


def nominal(answer: CatchUp) -> list[str]:
    """The nominal times of what is run."""
    return [slot.nominal for slot in answer.run]


def test_latest_runs_the_newest_due_slot_and_counts_the_others_as_missed() -> None:
    answer = missed_since("0 9,18 * * *", "2026-01-05T08:00", "2026-01-07T20:00", "latest")
    assert nominal(answer) == ["2026-01-07T18:00"]
    assert [slot.nominal for slot in answer.missed_slots] == [
        "2026-01-05T18:00",
        "2026-01-06T09:00",
        "2026-01-06T18:00",
        "2026-01-07T09:00",
    ]
    assert (answer.missed, answer.why) == (4, "only the newest due slot is run")


@pytest.mark.parametrize(
    ("now", "run"), [("2026-01-05T22:59", 1), ("2026-01-05T23:00", 0), ("2026-01-06T07:00", 0)]
)
def test_latest_ends_with_the_local_day_of_the_slot(now: str, run: int) -> None:
    answer = missed_since("0 9 * * *", "2026-01-05T00:00", now, "latest")
    assert (len(answer.run), answer.missed) == (run, 1 - run)
    assert ("day" in answer.why) is (run == 0)


def test_latest_runs_a_slot_of_a_skipped_day_on_the_day_that_took_its_place() -> None:
    apia = restore_schedule("0 9 * * *", "Pacific/Apia")
    answer = catch_up(apia, at("2011-12-29T20:00"), at("2011-12-30T12:00"), policy="latest", window_s=0)
    assert nominal(answer) == ["2011-12-30T09:00"]


def test_a_stagger_past_midnight_does_not_count_against_the_slot() -> None:
    late = missed_since("59 23 * * *", "2026-01-05T00:00", "2026-01-05T23:03", "latest", stagger=240)
    assert nominal(late) == ["2026-01-05T23:59"]


def test_a_staggered_slot_is_due_when_its_delay_is_over_and_never_twice() -> None:
    early = missed_since("0 9 * * *", "2026-01-05T07:00", "2026-01-05T08:03", "latest", stagger=240)
    assert (early.run, early.missed) == ((), 0)
    handled = early.handled_until.replace(tzinfo=None).isoformat()
    due = missed_since("0 9 * * *", handled, "2026-01-05T08:04", "latest", stagger=240)
    assert nominal(due) == ["2026-01-05T09:00"]
    handled = due.run[-1].at.astimezone(UTC).replace(tzinfo=None).isoformat()
    assert missed_since("0 9 * * *", handled, "2026-01-05T08:09", "latest", stagger=240).run == ()


def test_window_runs_every_slot_inside_it_oldest_first() -> None:
    answer = missed_since("@hourly", "2026-01-05T00:30", "2026-01-05T09:15", "window", 2 * 3600 + 900)
    assert nominal(answer) == ["2026-01-05T08:00", "2026-01-05T09:00", "2026-01-05T10:00"]
    assert answer.missed == 6
    assert answer.missed == 6
    assert left_out(answer.why)


def test_a_window_is_counted_from_when_a_staggered_slot_was_due() -> None:
    answer = missed_since("@hourly", "2026-01-05T00:30", "2026-01-05T03:10", "window", 3600, stagger=600)
    assert nominal(answer) == ["2026-01-05T03:00", "2026-01-05T04:00"]
    assert answer.missed == 1


def test_none_runs_nothing_and_says_what_was_missed() -> None:
    answer = missed_since("@hourly", "2026-01-05T00:30", "2026-01-05T03:15", "none", 3600)
    assert (answer.run, answer.missed, len(answer.missed_slots)) == ((), 3, 3)
    assert answer.missed == 3
    assert left_out(answer.why)


@pytest.mark.parametrize("policy", ["latest", "window"])
def test_over_a_hundred_due_slots_become_one_run_and_a_visible_number(policy: CatchUpPolicy) -> None:
    answer = missed_since("* * * * *", "2026-01-01T00:00", "2026-01-05T09:15", policy, 10**9)
    assert nominal(answer) == ["2026-01-05T10:15"]
    assert answer.missed == 4 * 1440 + 9 * 60 + 15 - 1
    assert len(answer.missed_slots) == 100
    assert answer.missed_slots[-1].nominal == "2026-01-05T10:14"
    assert left_out(answer.why)


def test_a_hundred_due_slots_in_the_window_are_all_run() -> None:
    answer = missed_since("* * * * *", "2026-01-05T00:00", "2026-01-05T01:40", "window", 10**9)
    assert (len(answer.run), answer.missed, answer.why) == (100, 0, "due 100, missed none")


def test_a_routine_that_has_only_just_begun_has_missed_nothing() -> None:
    daily = restore_schedule("0 9 * * *", "Europe/Berlin")
    now = at("2026-01-05T12:00")
    answer = catch_up(daily, None, now, policy="window", window_s=10**9, stagger=60)
    assert (answer.run, answer.missed, answer.missed_slots, answer.handled_until) == ((), 0, (), now)


def test_a_one_shot_slept_over_is_run_on_its_day_and_missed_after_it() -> None:
    once = "2026-01-05T09:00"
    assert nominal(missed_since(once, "2026-01-01T00:00", "2026-01-05T20:00", "latest")) == [once]
    gone = missed_since(once, "2026-01-01T00:00", "2026-01-06T20:00", "latest")
    assert (gone.run, gone.missed, gone.missed_slots[0].nominal) == ((), 1, once)


def test_a_clock_set_back_runs_nothing_again() -> None:
    answer = missed_since("* * * * *", "2026-01-05T09:00", "2026-01-05T06:00", "latest")
    assert (answer.run, answer.missed, answer.handled_until) == ((), 0, at("2026-01-05T09:00"))


def brute(line: Line, zone: str, last: datetime, until: datetime) -> list[tuple[datetime, str]]:
    """Everything due in (last, until], from a scan of every minute."""
    first, end = last.replace(tzinfo=None, minute=0), until.replace(tzinfo=None)
    minutes = named_minutes(line, first - 3 * DAY, end + 3 * DAY)
    stretches = spans(zone, first - 4 * DAY, end + 4 * DAY)
    return due_slots(line, minutes, stretches, last.replace(tzinfo=None), end)


@settings(deadline=None, database=None, max_examples=40)
@given(
    line=st.sampled_from(LINES),
    zone=st.sampled_from(ZONES),
    start=st.one_of(st.integers(0, 364 * 1440), st.integers(309 * 1440, 312 * 1440)),
    asleep=st.integers(0, 4 * 1440),
    policy=st.sampled_from(get_args(CatchUpPolicy)),
    window_s=st.sampled_from((0, 60, 3600, 86_400, 10**9)),
    stagger=st.sampled_from((0, 0, 59, 300, 7200)),
)
@example(LINES[4], "America/St_Johns", 309 * 1440, 2 * 1440, "window", 10**9, 300)
def test_what_is_run_and_what_is_missed_is_what_a_minute_scan_finds(
    line: Line, zone: str, start: int, asleep: int, policy: CatchUpPolicy, window_s: int, stagger: int
) -> None:
    schedule = restore_schedule(line.text, zone)
    last = YEAR + timedelta(minutes=start)
    reached = last + timedelta(minutes=asleep)
    now = reached + timedelta(seconds=stagger)
    due = brute(line, zone, last, reached)

    answer = catch_up(schedule, last, now, policy=policy, window_s=window_s, stagger=stagger)

    run = [(slot.at.astimezone(UTC), slot.nominal) for slot in answer.run]
    left = [(slot.at.astimezone(UTC), slot.nominal) for slot in answer.missed_slots]
    assert len(run) + answer.missed == len(due)
    assert not set(run) & set(left)
    assert left == [entry for entry in due if entry not in run][-100:]
    assert run == eligible(due, schedule, reached, policy, window_s)
    assert left_out(answer.why) is (answer.missed > 0)
    assert "missed " not in answer.why.removeprefix(f"due {len(answer.run)}, missed none")
    # Whatever "handled" is taken to be after a restart, nothing comes twice.
    for handled in (now, answer.handled_until):
        again = catch_up(schedule, handled, now, policy=policy, window_s=window_s, stagger=stagger)
        assert (again.run, again.missed) == ((), 0)


def eligible(
    due: list[tuple[datetime, str]], schedule: Schedule, reached: datetime, policy: str, window_s: int
) -> list[tuple[datetime, str]]:
    """The rules of DESIGN §6 once more, on plain pairs."""
    if policy == "none" or not due:
        return []
    if policy == "latest":
        [newest] = slots_between(schedule, due[-1][0] - timedelta(seconds=1), due[-1][0], 1)[0]
        midnight = slots_between(restore_schedule("0 0 * * *", schedule.zone), newest.at, reached, 0)[1]
        return due[-1:] if midnight == 0 else []
    fresh = [entry for entry in due if reached - entry[0] <= timedelta(seconds=window_s)]
    return fresh[-1:] if len(due) > 100 else fresh


@settings(deadline=None, database=None, max_examples=40)
@given(
    text=st.sampled_from([line.text for line in LINES]),
    zone=st.sampled_from(ZONES),
    jumps=st.lists(
        st.one_of(st.integers(-3 * 3600, 3 * 3600), st.integers(0, 40 * 86_400), st.just(365 * 86_400)),
        min_size=1,
        max_size=12,
    ),
    policy=st.sampled_from(get_args(CatchUpPolicy)),
    stagger=st.sampled_from((0, 17, 600)),
)
def test_however_the_clock_jumps_each_slot_is_run_or_missed_once(
    text: str, zone: str, jumps: list[int], policy: CatchUpPolicy, stagger: int
) -> None:
    schedule = restore_schedule(text, zone)
    begin = now = last = YEAR
    run: list[str] = []
    missed = 0
    for jump in jumps:
        now += timedelta(seconds=jump)
        answer = catch_up(schedule, last, now, policy=policy, window_s=6 * 3600, stagger=stagger)
        assert policy == "window" or len(answer.run) <= 1
        assert answer.handled_until >= last
        last = answer.handled_until
        run += [slot.key for slot in answer.run]
        missed += answer.missed
    assert len(run) == len(set(run))
    assert len(run) + missed == slots_between(schedule, begin, last, 0)[1]


def test_an_awake_scheduler_runs_every_slot_of_a_year_once() -> None:
    schedule = parse_schedule("*/30 1-3 * * *", "Europe/Berlin", now=YEAR)
    now, run = YEAR, list[str]()
    while len(run) < 1000:
        [due] = next_slots(schedule, now, 1)
        answer = catch_up(schedule, now, due.at, policy="latest", window_s=0)
        assert (answer.run, answer.missed) == ((due,), 0)
        run.append(due.key)
        now = due.at
    assert len(set(run)) == 1000


@pytest.mark.parametrize(
    ("policy", "running", "queued", "decision"),
    [
        ("skip", 0, 0, "start"),
        ("skip", 1, 0, "skip"),
        ("skip", 0, 1, "skip"),
        ("queue", 0, 0, "start"),
        ("queue", 1, 0, "queue"),
        ("queue", 0, 1, "queue"),
        ("queue", 1, 99, "queue"),
        ("queue", 1, 100, "skip"),
        ("allow", 0, 0, "start"),
        ("allow", 7, 3, "start"),
    ],
)
def test_a_due_slot_starts_waits_or_is_skipped_by_its_overlap_policy(
    policy: Literal["skip", "queue", "allow"], running: int, queued: int, decision: str
) -> None:
    assert overlap_decision(policy, running, queued) == decision


@settings(deadline=None, database=None, max_examples=40)
@given(
    policy=st.sampled_from(("skip", "queue", "allow")),
    moves=st.lists(st.sampled_from(("due", "due", "end")), max_size=300),
)
def test_overlapping_runs_stay_within_their_policy_and_no_slot_is_lost(
    policy: Literal["skip", "queue", "allow"], moves: list[str]
) -> None:
    waiting, started, skipped = list[int](), list[int](), list[int]()
    running = due = 0
    for move in moves:
        if move == "due":
            due += 1
            decision = overlap_decision(policy, running, len(waiting))
            if decision == "start":
                running += 1
                started.append(due)
            elif decision == "queue":
                waiting.append(due)
            else:
                skipped.append(due)
        elif running:
            running -= 1
            if waiting:
                running += 1
                started.append(waiting.pop(0))
        assert policy == "allow" or running <= 1
        assert len(waiting) <= 100
        assert policy == "queue" or not waiting
        assert policy != "allow" or not skipped
    assert sorted([*started, *waiting, *skipped]) == list(range(1, due + 1))
    assert started == sorted(started)
