"""How often routines should have been due, counted piece by piece, and held against what is recorded."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from minion.daemon.timetable import Schedules
from minion.tui.expected import MOST, Account, Known, Memory, accounts, pieces_of
from server.contract.catch_up import stagger_s
from server.contract.digest import instant, parse_instant
from server.contract.schedule import restore_schedule, slots_between

NOW = datetime(2026, 1, 9, 8, 5, 12, tzinfo=UTC)
SINCE = datetime(2025, 12, 10, 23, 0, tzinfo=UTC)  # midnight in Berlin, 29 days before
ZONE = "Europe/Berlin"
NINE = "0 9 * * 1-5"


def told(at: datetime, *crons: str, **changes: Any) -> dict[str, Any]:
    """A revision of the routine `r`."""
    triggers = [{"type": "schedule", "cron": cron, "timezone": None} for cron in crons]
    return {
        "name": "r", "at": instant(at), "triggers": triggers, "timezone": ZONE, "paused": 0, "stagger_s": 0,
        "scheduled_by": "minion", **changes,
    }  # fmt: skip


def long_ago(*crons: str, **changes: Any) -> dict[str, Any]:
    """A revision from before the span."""
    return told(NOW - timedelta(days=90), *crons, **changes)


def due(cron: str, since: datetime = SINCE, until: datetime = NOW) -> list[datetime]:
    """When a schedule is due after `since`, of which the first midnight is part."""
    after = since - timedelta(seconds=1) if since == SINCE else since
    return [slot.at for slot in slots_between(restore_schedule(cron, ZONE), after, until, 100_000)[0]]


def kept(at: datetime, state: str = "ran", *, cron: str = NINE, count: int = 1) -> dict[str, Any]:
    """A record of the routine `r`."""
    return {
        "routine_id": "r", "routine": "r", "trigger": f"{cron}|{ZONE}", "due_at": instant(at), "state": state,
        "count": count,
    }  # fmt: skip


def account(
    revisions: Sequence[Mapping[str, Any]], slots: Sequence[Mapping[str, Any]] = (), *, now: datetime = NOW,
    up: datetime | None = NOW - timedelta(days=60), handled: Mapping[str, tuple[str, str | None]] | None = None,
    begun: Mapping[str, str] | None = None,
) -> Account:  # fmt: skip
    """The account of the routine `r`."""
    known = Known(
        {"r": revisions}, slots, {"r": handled or {}}, ZONE, None if up is None else instant(up), begun or {}
    )
    (made,) = accounts(known, since=SINCE, now=now, memory=Memory())
    return made


def bare(made: Account) -> list[datetime]:
    """The instants without a record."""
    return [fate.at for fate in made.fates if fate.slot is None]


def test_a_routine_of_which_every_slot_is_recorded_lacks_none() -> None:
    made = account([long_ago(NINE)], [kept(at) for at in due(NINE)])
    assert (made.expected, made.lacking, made.beside) == (22, 0, 0)
    assert made.recorded == {"ran": 22}


def test_a_slot_without_a_record_is_named() -> None:
    times = due(NINE)
    made = account([long_ago(NINE)], [kept(at) for at in times if at != times[7]])
    assert (made.expected, made.lacking, bare(made)) == (22, 1, [times[7]])


def test_every_state_counts_as_a_record() -> None:
    states = ["ran", "late", "skipped", "missed", "held", "due"]
    times = due(NINE)
    made = account([long_ago(NINE)], [kept(at, states[n % 6]) for n, at in enumerate(times)])
    assert made.lacking == 0
    assert sum(made.recorded.values()) == 22
    assert set(made.recorded) == set(states)


def test_nothing_is_expected_of_a_routine_before_it_was_added() -> None:
    added = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
    made = account([told(added, NINE)])
    assert bare(made) == due(NINE, added)
    assert made.since == added


def test_nothing_is_expected_before_a_daemon_first_ran() -> None:
    up = datetime(2026, 1, 7, 12, 0, tzinfo=UTC)
    assert bare(account([long_ago(NINE)], up=up)) == due(NINE, up)
    made = account([long_ago(NINE)], up=None)
    assert (made.expected, made.lacking) == (0, 0)


def test_nothing_is_expected_while_a_routine_is_paused_and_it_is_said_how_long() -> None:
    begins, ends = NOW - timedelta(days=20), NOW - timedelta(days=10)
    made = account([long_ago(NINE), told(begins, NINE, paused=1), told(ends, NINE)])
    assert bare(made) == [*due(NINE, SINCE, begins), *due(NINE, ends)]
    assert made.notes == ("was paused 10d",)


def test_a_changed_schedule_is_counted_piece_by_piece() -> None:
    changed = NOW - timedelta(days=10, hours=5)
    made = account([long_ago(NINE), told(changed, "0 7,19 * * *")])
    assert bare(made) == [*due(NINE, SINCE, changed), *due("0 7,19 * * *", changed)]
    assert made.notes == ("schedule changed 1×",)


def test_a_change_that_leaves_the_schedule_alone_is_none_and_loses_no_slot_at_its_edge() -> None:
    edge = due(NINE)[5]
    revisions = [long_ago(NINE), told(edge, NINE, stagger_s=0), told(edge + timedelta(seconds=1), NINE)]
    made = account(revisions, [kept(at) for at in due(NINE)])
    assert (made.expected, made.lacking, made.notes) == (22, 0, ())
    pieces = pieces_of(revisions, zone=ZONE, up=SINCE, begun=None, schedules=Schedules())
    assert len(pieces) == 1


def test_nothing_is_expected_of_a_routine_that_was_removed_or_is_scheduled_by_hq() -> None:
    gone = NOW - timedelta(days=10)
    for changes, says in (({"triggers": None}, "removed"), ({"scheduled_by": "hq"}, "at HQ")):
        made = account([long_ago(NINE), told(gone, NINE, **changes)])
        assert bare(made) == due(NINE, SINCE, gone)
        assert made.notes == (says,)


def test_a_routine_without_schedule_and_slots_has_no_account() -> None:
    known = Known({"r": [long_ago()]}, [], {}, ZONE, instant(SINCE))
    assert accounts(known, since=SINCE, now=NOW, memory=Memory()) == []


def test_a_routine_from_hq_counts_from_when_its_slots_are_this_minions() -> None:
    begins = NOW - timedelta(days=5)
    for kept_at in (begins - timedelta(days=2), begins + timedelta(days=2)):
        assert bare(account([told(kept_at, NINE)], begun={"r": instant(begins)})) == due(NINE, begins)


def test_one_record_of_slots_missed_together_stands_for_as_many() -> None:
    hourly, times = "0 * * * *", due("0 * * * *")
    made = account([long_ago(hourly)], [
        kept(times[199], "missed", cron=hourly, count=200), *(kept(at, cron=hourly) for at in times[200:]),
    ])  # fmt: skip
    assert (made.expected, made.lacking) == (len(times), 0)
    assert made.recorded == {"missed": 200, "ran": len(times) - 200}


def test_slots_missed_together_before_the_span_are_not_counted_in_it() -> None:
    hourly, times = "0 * * * *", due("0 * * * *")
    made = account([long_ago(hourly)], [kept(times[-1], "missed", cron=hourly, count=5000)])
    assert (made.expected, made.lacking, made.beside) == (len(times), 0, 0)
    assert made.recorded == {"missed": len(times)}


def test_a_record_of_slots_missed_together_hides_no_other_that_is_not_there() -> None:
    hourly, times = "0 * * * *", due("0 * * * *")
    others = [kept(at, cron=hourly) for at in times[200:] if at != times[300]]
    made = account([long_ago(hourly)], [kept(times[199], "missed", cron=hourly, count=200), *others])
    assert bare(made) == [times[300]]


def test_a_record_of_slots_missed_together_stands_for_no_more_than_it_says() -> None:
    hourly, times = "0 * * * *", due("0 * * * *")
    others = [kept(at, cron=hourly) for at in times[200:]]
    made = account([long_ago(hourly)], [kept(times[199], "missed", cron=hourly, count=120), *others])
    assert bare(made) == times[:80]


def test_slots_missed_together_are_those_of_their_own_schedule() -> None:
    other, times = "30 * * * *", due("0 * * * *")
    missed = kept(times[-1], "missed", cron="0 * * * *", count=len(times))
    assert bare(account([long_ago("0 * * * *", other)], [missed])) == due(other)


def test_slots_at_or_before_the_pruned_ones_are_not_counted() -> None:
    times = due(NINE)
    handled = {f"{NINE}|{ZONE}": (instant(NOW), instant(times[9]))}
    # One that is open is kept though younger ones were pruned: it is no record of what is counted.
    made = account([long_ago(NINE)], [kept(times[3], "held"), *(kept(at) for at in times[10:])], handled=handled)
    assert (made.expected, made.recorded, made.lacking) == (12, {"ran": 12}, 0)
    assert made.notes == ("older ones pruned",)


@pytest.mark.parametrize(("seconds", "lacking"), [(30, 0), (59, 0), (61, 1)])
def test_a_slot_need_not_have_its_record_in_the_minute_in_which_it_is_due(seconds: int, lacking: int) -> None:
    times = due(NINE)
    now = times[-1] + timedelta(seconds=seconds)
    assert account([long_ago(NINE)], [kept(at) for at in times[:-1]], now=now).lacking == lacking
    assert account([long_ago(NINE)], [kept(at) for at in times], now=now).expected == 22


def test_a_staggered_slot_has_its_record_that_much_later() -> None:
    revisions = [long_ago(NINE, stagger_s=86_399)]
    times = due(NINE)
    now = times[-1] + timedelta(minutes=5)
    assert account(revisions, [kept(at) for at in times[:-1]], now=now).lacking == 0


def test_a_staggered_slot_is_not_expected_where_the_routine_was_paused_before_it_came() -> None:
    wait = stagger_s("r", 600)
    assert wait > 2
    for seconds, expected in ((wait - 1, 21), (wait + 1, 22)):
        paused = due(NINE)[-1] + timedelta(seconds=seconds)
        revisions = [long_ago(NINE, stagger_s=600), told(paused, NINE, stagger_s=600, paused=1)]
        assert account(revisions, now=paused + timedelta(hours=1)).expected == expected


def test_two_schedules_that_are_due_at_once_have_a_record_each() -> None:
    revisions = [long_ago(NINE, "0 9 * * *")]
    made = account(revisions, [kept(at) for at in due("0 9 * * *")])
    assert made.expected == 22 + 30
    assert made.lacking == 22


def test_a_record_that_nothing_promised_is_counted_apart() -> None:
    times = due(NINE)
    made = account([long_ago(NINE)], [*(kept(at) for at in times), kept(NOW - timedelta(days=3, minutes=17))])
    assert (made.expected, made.lacking, made.beside) == (22, 0, 1)
    assert sum(made.recorded.values()) == 23


def test_what_nobody_has_seen_to_is_told_from_what_was_lost() -> None:
    times = due(NINE)
    handled = {f"{NINE}|{ZONE}": (instant(times[15]), None)}
    made = account([long_ago(NINE)], [kept(at) for at in times[:10]], handled=handled)
    words = [fate.why for fate in made.fates if fate.slot is None]
    assert words == ["it was seen to, but no record is kept"] * 6 + ["not seen to: no daemon was up since"] * 6


def test_a_zone_that_is_not_known_any_more_is_said_and_nothing_counted() -> None:
    made = account([long_ago(NINE, timezone="Mars/Olympus")])
    assert (made.expected, made.lacking) == (0, 0)
    assert "Mars/Olympus" in made.notes[0]


def test_a_schedule_of_every_minute_is_counted_exactly_and_looked_at_in_part() -> None:
    times = due("* * * * *")
    made = account([long_ago("* * * * *")], [kept(at, cron="* * * * *") for at in times[-500:]])
    # The newest is less than a minute old, and recorded.
    assert (made.expected, made.lacking) == (len(times), len(times) - 500)
    assert len(made.fates) == MOST
    assert made.known == times[-MOST]


def test_what_was_counted_is_remembered_within_its_minute_only() -> None:
    memory, known = Memory(), Known({"r": [long_ago(NINE)]}, [], {}, ZONE, instant(NOW - timedelta(days=60)))
    times = due(NINE)
    for now in (times[-1] - timedelta(seconds=30), times[-1] + timedelta(minutes=2)):
        (made,) = accounts(known, since=SINCE, now=now, memory=memory)
        assert made.expected == sum(at <= now for at in times)


@pytest.mark.parametrize("seed", range(12))
def test_pieces_agree_with_asking_of_each_instant_what_was_in_force_then(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - no secret
    crons = ("*/20 * * * *", "5 */3 * * *", NINE, "30 2 * * *")
    moments = sorted(SINCE + timedelta(seconds=chance.randrange(-200_000, 2_500_000)) for _ in range(9))
    revisions = []
    for at in moments:
        of = chance.choice(("minion", "minion", "minion", "hq"))
        crons_then = chance.sample(crons, chance.randrange(3))
        revisions.append(told(at, *crons_then, paused=chance.random() < 0.3, scheduled_by=of))
    up = SINCE + timedelta(days=chance.randrange(3))
    wanted = []
    for cron in crons:
        for at in due(cron):
            # A revision holds after its instant; what is due at that very instant is the one's before it.
            then = [said for said in revisions if max(parse_instant(said["at"]), up) < at]
            said = then[-1] if then else None
            named = said is not None and any(trigger["cron"] == cron for trigger in said["triggers"])
            if named and not said["paused"] and said["scheduled_by"] == "minion":
                wanted.append(at)
    known = Known({"r": revisions}, [], {}, ZONE, instant(up))
    made = accounts(known, since=SINCE, now=NOW + timedelta(seconds=90), memory=Memory())
    assert [at for each in made for at in bare(each)] == sorted(wanted)
