"""Orders and reports cross the wire strictly typed, and lose nothing of a later protocol."""

from __future__ import annotations

import json
from typing import Any

import pytest

from server.contract.documents import admit
from server.contract.orders import Order
from server.contract.refusals import BadDocument
from server.contract.reports import RunReport

AT = "2026-12-01T09:00:00.000Z"
RUN = "run_01" + "A" * 20
ORDER: dict[str, Any] = {
    "protocol": 1,
    "id": "order-1",
    "kind": "run",
    "routine": "morning-report",
    "key": "slot|2026-12-01T09:00",
    "input": "text from outside",
    "issued_at": AT,
}
REPORT: dict[str, Any] = {
    "protocol": 1,
    "id": RUN,
    "routine": "morning-report",
    "trigger": "schedule",
    "state": "completed",
    "outcome": "success",
    "delivery": "delivered",
    "verdict": "ok",
    "summary": "Wrote it.",
    "details": None,
    "topology": ["TSK-VALIDATE-TRIGGER", "SCR-CLONE-REPO", "LLM-EXECUTE-PROMPT", "SCR-PUSH-BRANCH"],
    "fingerprint": "T:36a61784",
    "canonical": ["TSK-VALIDATE-TRIGGER", "SCR-CLONE-REPO", "LLM-EXECUTE-PROMPT", "SCR-PUSH-BRANCH"],
    "canonical_fingerprint": "T:36a61784",
    "conformance": "conformant",
    "first_difference": ["040.001.03", "LLM-EXECUTE-PROMPT", None],
    "created_at": AT,
    "started_at": AT,
    "ended_at": AT,
    "blocks": [
        {
            "code": "040.001.01",
            "name": "Trigger Validation",
            "kind": "rigid",
            "state": "completed",
            "started_at": AT,
            "ended_at": AT,
            "steps": [
                {
                    "code": "TSK-VALIDATE-TRIGGER",
                    "state": "completed",
                    "kind": "step",
                    "started_at": AT,
                    "ended_at": AT,
                    "why": None,
                    "later": [1],
                }
            ],
        }
    ],
    "effects": [
        {
            "id": "eff_01" + "A" * 20,
            "kind": "message",
            "target": "slack",
            "state": "delivered",
            "detail": None,
            "reverse": None,
        }
    ],
    "usage": {"wall_ms": 1200, "dollars": 0.01},
    "engine": "script",
    "sandbox": "bubblewrap",
    "sessions": [
        {"id": "session_01" + "A" * 20, "engine": "script", "sandbox": "bubblewrap", "opened_at": AT}
    ],
    "checks": [{"kind": "delivered", "expected": "slack", "state": "passed", "detail": "confirmed"}],
    "gaps": [
        {
            "id": "gap_01" + "A" * 20,
            "gap_type": "skill",
            "requested_code": "LLM-X",
            "description": "x",
            "at": AT,
        }
    ],
    "delivery_target": "slack",
    "revision": 7,
}


def test_an_order_survives_a_round_trip_with_the_keys_of_tomorrow() -> None:
    sent = ORDER | {"run": None, "priority": {"class": "fast"}}
    assert admit(Order, sent, source="HQ").model_dump(mode="json", exclude_unset=True) == sent


def test_a_report_survives_a_round_trip_with_the_keys_of_tomorrow() -> None:
    sent = REPORT | {"variant": "V01", "lock": {"skills": []}}
    received = admit(RunReport, json.loads(json.dumps(sent)), source="minion")
    assert received.model_dump(mode="json", exclude_unset=True) == sent


def test_a_run_that_has_only_begun_can_be_reported() -> None:
    report = {
        "id": RUN,
        "routine": "a",
        "trigger": "manual",
        "state": "queued",
        "outcome": "unknown",
        "delivery": "none",
        "verdict": "running",
        "created_at": AT,
        "revision": 0,
    }
    received = admit(RunReport, report, source="minion")
    assert (received.protocol, received.blocks, received.fingerprint) == (1, (), None)


@pytest.mark.parametrize(
    ("message", "field", "code"),
    [
        ({"kind": "explode"}, "`kind`", "unknown_choice"),
        ({"kind": "cancel"}, "`run`", "missing_field"),
        ({"routine": "../x"}, "`routine`", "bad_name"),
        ({"key": ""}, "`key`", "bad_key"),
        ({"key": "a\nb"}, "`key`", "bad_key"),
        ({"input": "x" * 65_537}, "`input`", "out_of_range"),
        ({"issued_at": "2026-12-01T09:00:00Z"}, "`issued_at`", "bad_instant"),
        ({"issued_at": "2026-13-01T09:00:00.000Z"}, "`issued_at`", "bad_instant"),
        ({"issued_at": "2026-12-01T09:00:00+00:00"}, "`issued_at`", "bad_instant"),
        ({"run": "run_1"}, "`run`", "bad_id"),
        ({"protocol": 3}, "`protocol`", "unknown_protocol"),
        ({"protocol": "1"}, "`protocol`", "wrong_type"),
    ],
)
def test_a_bad_order_is_refused_by_its_field(message: dict[str, Any], field: str, code: str) -> None:
    with pytest.raises(BadDocument) as caught:
        admit(Order, ORDER | message, source="HQ")
    assert caught.value.code == code
    assert field in caught.value.sentence
    assert caught.value.sentence.endswith(".")
    assert caught.value.hint


def test_an_order_to_cancel_names_its_run() -> None:
    assert admit(Order, ORDER | {"kind": "cancel", "run": RUN}, source="HQ").run == RUN


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ({"state": "done"}, "`state`"),
        ({"outcome": "ok"}, "`outcome`"),
        ({"delivery": "sent"}, "`delivery`"),
        ({"verdict": "completed"}, "`verdict`"),
        ({"fingerprint": "T:36A61784"}, "`fingerprint`"),
        ({"topology": ["RUN"]}, "`topology[0]`"),
        ({"revision": -1}, "`revision`"),
        ({"revision": 1.5}, "`revision`"),
        ({"first_difference": ["a"]}, "`first_difference"),
        ({"blocks": [REPORT["blocks"][0] | {"state": "violated"}]}, "`blocks[0].state`"),
        ({"blocks": [REPORT["blocks"][0] | {"steps": [{"code": "x"}]}]}, "`blocks[0].steps[0].kind`"),
        ({"effects": [REPORT["effects"][0] | {"kind": "shell"}]}, "`effects[0].kind`"),
        ({"checks": [REPORT["checks"][0] | {"state": "maybe"}]}, "`checks[0].state`"),
    ],
)
def test_a_bad_report_is_refused_by_its_field(message: dict[str, Any], field: str) -> None:
    with pytest.raises(BadDocument) as caught:
        admit(RunReport, REPORT | message, source="minion")
    assert field in caught.value.sentence
    assert caught.value.sentence.endswith(".")
    assert caught.value.hint


def test_a_fingerprint_of_another_form_is_refused_under_its_code() -> None:
    with pytest.raises(BadDocument) as caught:
        admit(RunReport, REPORT | {"fingerprint": "36a61784"}, source="minion")
    assert caught.value.code == "bad_fingerprint"
