"""When a minion is silent and which slots are at risk: by when it was seen, when HQ looked, and what is due."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from server.contract.catch_up import stagger_s
from server.contract.digest import instant
from server.contract.routine import Routine, admitted
from server.domain.silence import (
    AWAY_S,
    GRACE_S,
    MOST_NAMED,
    RETURN_S,
    SILENT_AFTER_S,
    Awake,
    Given,
    awake,
    is_quiet,
    slots_at_risk,
    words_of_return,
    words_of_silence,
)

NINE = datetime(2026, 4, 1, 9, tzinfo=UTC)
LONG_AGO = NINE - timedelta(days=30)
ID = "trig_01" + "A" * 20


def at(hours: float = 0, **more: float) -> datetime:
    """So long after nine."""
    return NINE + timedelta(hours=hours, **more)


def given(cron: str = "0 * * * *", since: datetime = LONG_AGO, **said: Any) -> Given:
    """A routine with a schedule."""
    routine = Routine(name="nightly", content="Sum up.", cron_expression=cron, **said)
    return Given(ID, "nightly", admitted(routine), since)


def due(seen: datetime, hq: Awake, *routines: Given, named: dict[str, str] | None = None) -> list[str]:
    """When the slots at risk are due."""
    found = slots_at_risk(seen, hq, named, routines, zone=None)
    return [risk.as_data()["due"] for risk in found.slots]


def next_due(moment: datetime, grace_s: float = GRACE_S, routine: str = "nightly") -> dict[str, str]:
    """A slot that a minion named itself."""
    until = moment + timedelta(seconds=grace_s)
    return {"routine": routine, "due": instant(moment), "grace_until": instant(until)}


def test_a_minion_is_quiet_after_two_polls_and_a_try_and_not_a_second_before() -> None:
    for seconds, quiet in ((SILENT_AFTER_S - 1, False), (SILENT_AFTER_S, True)):
        assert is_quiet(NINE, Awake(LONG_AGO, at(seconds=seconds))) is quiet
    assert SILENT_AFTER_S > 2 * 25


def test_a_slot_is_at_risk_once_its_grace_is_over_and_only_of_a_quiet_minion() -> None:
    seen, slot = at(minutes=30), "2026-04-01T10:00:00Z"
    assert due(seen, Awake(LONG_AGO, at(1, seconds=GRACE_S - 1)), given()) == []
    assert due(seen, Awake(LONG_AGO, at(1, seconds=GRACE_S)), given()) == [slot]
    assert due(at(1, seconds=30), Awake(LONG_AGO, at(1, seconds=GRACE_S)), given()) == []
    # Whatever was due before it was seen it saw to itself.
    assert due(at(1), Awake(LONG_AGO, at(2)), given()) == []


def test_what_nobody_starts_is_not_at_risk() -> None:
    hq = Awake(LONG_AGO, at(5))
    assert due(NINE, hq, given(paused=True)) == []
    assert due(NINE, hq, given(since=at(5))) == []
    assert due(NINE, hq, given(since=at(3, minutes=1))) == ["2026-04-01T13:00:00Z"]


def test_a_stagger_and_the_zone_count_as_they_do_at_the_minion() -> None:
    late = timedelta(seconds=stagger_s(ID, 3600))
    assert late.total_seconds() > GRACE_S
    routine = given("30 12 * * *", timezone="Europe/Berlin", stagger_s=3600)
    slot = datetime(2026, 4, 1, 10, 30, tzinfo=UTC) + late
    assert due(NINE, Awake(LONG_AGO, slot + timedelta(seconds=GRACE_S - 1)), routine) == []
    (found,) = due(NINE, Awake(LONG_AGO, slot + timedelta(seconds=GRACE_S)), routine)
    assert (datetime.fromisoformat(found), found[-6:]) == (slot, "+02:00")


def test_the_slot_that_a_minion_named_counts_by_its_own_word_and_once() -> None:
    hq = Awake(LONG_AGO, at(1, minutes=10))
    assert due(NINE, hq, given(), named=next_due(at(1))) == ["2026-04-01T10:00:00Z"]
    assert due(NINE, hq, given(), named=next_due(at(1), grace_s=3600)) == []
    # One of its own routines, of which HQ knows nothing.
    assert due(NINE, hq, named=next_due(at(1), routine="mine")) == ["2026-04-01T10:00:00Z"]
    assert due(NINE, hq, named=next_due(at(2), routine="mine")) == []


def test_many_slots_are_counted_exactly_and_the_newest_named() -> None:
    found = slots_at_risk(NINE, Awake(LONG_AGO, at(24 * 20)), None, [given("*/5 * * * *")], zone=None)
    assert (len(found.slots), found.count) == (MOST_NAMED, 20 * 24 * 12 - 1)
    assert found.slots[-1].due == at(24 * 20, minutes=-5)


@pytest.mark.promise("HQM-3")
def test_hq_that_was_away_or_asleep_begins_anew() -> None:
    hq = awake(None, NINE, begins=False)
    assert hq == Awake(NINE, NINE)
    later = awake(hq, at(seconds=30), begins=False)
    assert later == Awake(NINE, at(seconds=30))
    assert awake(later, at(seconds=60), begins=True).since == at(seconds=60)
    assert awake(later, at(seconds=30 + AWAY_S), begins=False).since == NINE
    for moment in (at(seconds=31 + AWAY_S), at(8), NINE):  # its machine slept; its clock was set back
        assert awake(later, moment, begins=False) == Awake(moment, moment)


@pytest.mark.promise("HQM-3")
def test_slots_that_came_and_went_while_hq_was_away_are_not_at_risk() -> None:
    back = at(5, minutes=30)
    # Who found HQ away comes back before it is missed.
    soon = at(5, minutes=59, seconds=30)
    assert due(NINE, Awake(soon, soon + timedelta(seconds=RETURN_S - 1)), given()) == []
    assert due(NINE, Awake(soon, soon + timedelta(seconds=RETURN_S)), given()) == ["2026-04-01T15:00:00Z"]
    assert due(NINE, Awake(back, at(6, seconds=GRACE_S)), given()) == ["2026-04-01T15:00:00Z"]
    # Due while HQ was away, and out of its grace when it was back.
    assert due(NINE, Awake(at(5, seconds=30), at(5, minutes=30)), given()) == ["2026-04-01T14:00:00Z"]
    assert due(NINE, Awake(back, at(6)), named=next_due(at(5))) == []


def test_the_words_name_a_few_slots_and_count_the_rest() -> None:
    found = slots_at_risk(NINE, Awake(LONG_AGO, at(9)), None, [given(timezone="Europe/Berlin")], zone=None)
    said = words_of_silence("alice", NINE, [each.as_data() for each in found.slots], found.count)
    assert said.startswith("The minion alice is silent: HQ has not heard of it since 2026-04-01 09:00 UTC. ")
    assert "Due since then: 3 earlier, nightly at 2026-04-01 15:00 +02:00, " in said
    assert said.count("nightly at") == 5
    back = words_of_return("alice", instant(NINE), instant(at(9)))
    assert "from 2026-04-01 09:00 UTC to 2026-04-01 18:00 UTC" in back
