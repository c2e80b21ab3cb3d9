"""Each trigger of a routine has a schedule that can fire, or is refused by the name of its field."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from server.contract.documents import admit
from server.contract.refusals import BadDocument
from server.contract.routine import Routine, check_schedules

NOW = datetime(2026, 11, 2, tzinfo=UTC)


def routine(**fields: Any) -> Routine:
    return admit(Routine, {"name": "nightly", "content": "x"} | fields, source="r.yaml")


def test_schedules_come_in_the_order_of_the_triggers() -> None:
    found = check_schedules(
        routine(
            cron_expression="daily", triggers=[{"type": "once", "at": "2026-12-01T09:00", "timezone": "UTC"}]
        ),
        default_zone="Europe/Berlin",
        now=NOW,
    )
    assert [(each.expression, each.zone, each.one_shot) for each in found] == [
        ("0 9 * * *", "Europe/Berlin", False),
        ("2026-12-01T09:00", "UTC", True),
    ]


def test_a_time_that_is_no_instant_is_told_so_with_an_example_and_not_counted_in_fields() -> None:
    with pytest.raises(BadDocument) as caught:
        check_schedules(routine(triggers=[{"type": "once", "at": "yesterday"}]), default_zone="UTC", now=NOW)
    assert "must be an instant, such as 2026-12-01T09:00, not 'yesterday'" in caught.value.sentence


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"cron_expression": "0 25 * * *"}, "`cron_expression`"),
        ({"cron_expression": "0 0 30 2 *"}, "`cron_expression`"),
        ({"cron_expression": "2026-12-01T09:00"}, "`cron_expression`"),
        ({"timezone": "Mars/Olympus"}, "`timezone`"),
        ({"timezone": "Mars/Olympus", "cron_expression": "daily"}, "`timezone`"),
        ({"cron_expression": "daily", "triggers": [{"type": "schedule", "cron": "x"}]}, "`triggers[0].cron`"),
        ({"triggers": [{"type": "once", "at": "0 9 * * *"}]}, "`triggers[0].at`"),
        ({"triggers": [{"type": "once", "at": "2026-11-01T09:00"}]}, "`triggers[0].at`"),
        (
            {"triggers": [{"type": "schedule", "cron": "daily", "timezone": "Nowhere"}]},
            "`triggers[0].timezone`",
        ),
    ],
)
def test_a_schedule_that_cannot_fire_is_refused_by_its_field(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(BadDocument) as caught:
        check_schedules(routine(**fields), default_zone="UTC", now=NOW)
    assert field in caught.value.sentence
    assert caught.value.sentence.endswith(".")
    assert caught.value.hint
