"""A process is data: rigid blocks stand, the elastic one and its variants are what may differ."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from server.contract.documents import admit, load_document
from server.contract.process import Process, admitted, bundled_process
from server.contract.refusals import BadDocument, NotFound
from server.contract.topology import fingerprint

BUNDLED: dict[str, Any] = load_document(bundled_process("WF-ROUTINE-EXEC"), source="wf-routine-exec.yaml")

# As the seed prints it, `variant_id` and the section names apart.
SEED_V02 = {
    "dimensions": {
        "role": "autonomous_responder",
        "model_class": "frontier",
        "risk_tier": 2,
        "autonomy_level": "autonomous",
        "data_sensitivity": "internal",
        "slo_class": "fast",
        "environment": "production",
    },
    "policy_overrides": {"confidence_floor": 0.75, "max_retries": 2, "human_approval_gates": []},
    "curiosity_config": {
        "exploration_budget": 0.05,
        "novelty_threshold": 0.9,
        "information_gain_weight": 0.1,
    },
}


def changed(*path: str | int, to: object) -> dict[str, Any]:
    document = copy.deepcopy(BUNDLED)
    here: Any = document
    for part in path[:-1]:
        here = here[part]
    here[path[-1]] = to
    return document


def test_the_bundled_process_is_the_seeds() -> None:
    kept = admitted(admit(Process, BUNDLED, source="wf-routine-exec.yaml"))
    assert (kept["code"], kept["process"]) == ("WF-ROUTINE-EXEC", "040.001")
    assert [(block["code"], block["name"], block["kind"]) for block in kept["blocks"]] == [
        ("040.001.01", "Trigger Validation", "rigid"),
        ("040.001.02", "Repo Clone & Env Setup", "rigid"),
        ("040.001.03", "Prompt Execution", "elastic"),
        ("040.001.04", "Output & Branch Push", "rigid"),
    ]
    steps = [step for block in kept["blocks"] for step in block["steps"]]
    assert [(step["code"], step["name"]) for step in steps] == [
        ("TSK-VALIDATE-TRIGGER", "Validate auth token"),
        ("SCR-CLONE-REPO", "Git clone default branch"),
        ("LLM-EXECUTE-PROMPT", "Run prompt + tools"),
        ("SCR-PUSH-BRANCH", "Push to claude/* branch"),
    ]
    assert fingerprint([step["code"] for step in steps]) == "T:36a61784"


def test_the_bundled_variants_are_the_seeds() -> None:
    variants = {each["code"]: each for each in admitted(admit(Process, BUNDLED, source="p.yaml"))["variants"]}
    assert {code: each["trigger"] for code, each in variants.items()} == {
        "V01": "schedule",
        "V02": "api",
        "V03": "github",
    }
    assert {section: variants["V02"][section] for section in SEED_V02} == SEED_V02
    assert variants["V02"]["description"] == "API-triggered routine — fast SLO, context-driven"


def test_admitting_what_was_kept_changes_nothing() -> None:
    kept = admitted(admit(Process, BUNDLED, source="p.yaml"))
    assert admitted(admit(Process, kept, source="p.json")) == kept


def test_an_elastic_block_may_be_empty_and_a_variant_may_fill_it() -> None:
    document = changed("blocks", 2, "steps", to=[])
    document["variants"][0]["steps"] = [
        {"code": "LLM-EXECUTE-PROMPT", "name": "Run"},
        {"code": "LLM-VERIFY-OUTPUT", "name": "Verify"},
    ]
    kept = admitted(admit(Process, document, source="p.yaml"))
    assert kept["blocks"][2]["steps"] == []
    assert [step["code"] for step in kept["variants"][0]["steps"]] == [
        "LLM-EXECUTE-PROMPT",
        "LLM-VERIFY-OUTPUT",
    ]


STEP = {"code": "LLM-X", "name": "x"}


@pytest.mark.parametrize(
    ("document", "field", "code"),
    [
        (changed("code", to="ROUTINE"), "`code`", "bad_code"),
        (changed("process", to="040"), "`process`", "bad_process"),
        (changed("blocks", 0, "steps", to=[]), "`blocks[0].steps`", "rigid_steps"),
        (
            changed("blocks", 0, "steps", to=[STEP, STEP | {"code": "LLM-Y"}]),
            "`blocks[0].steps`",
            "rigid_steps",
        ),
        (changed("blocks", 2, "kind", to="soft"), "`blocks[2].kind`", "unknown_choice"),
        (changed("blocks", 2, "steps", 0, "code", to="RUN"), "`blocks[2].steps[0].code`", "bad_step_code"),
        (changed("blocks", 2, "steps", 0, "code", to="SCR-CLONE-REPO"), "`blocks.steps`", "duplicate_code"),
        (changed("blocks", 1, "code", to="040.001.01"), "`blocks`", "duplicate_code"),
        (changed("blocks", 1, "code", to="040.002.02"), "`blocks`", "foreign_block"),
        (changed("blocks", to=BUNDLED["blocks"][:2]), "`blocks`", "no_elastic_block"),
        (changed("blocks", to=[]), "`blocks`", "out_of_range"),
        (changed("variants", 1, "code", to="V01"), "`variants`", "duplicate_code"),
        (changed("variants", 1, "code", to="V2"), "`variants[1].code`", "bad_code"),
        (changed("variants", 0, "trigger", to="cron"), "`variants[0].trigger`", "unknown_choice"),
        (
            changed("variants", 0, "steps", to=[BUNDLED["blocks"][3]["steps"][0]]),
            "`variants`",
            "rigid_step_in_variant",
        ),
        (
            changed("variants", 1, "policy_overrides", "confidence_floor", to=1.5),
            "`variants[1].policy_overrides.confidence_floor`",
            "out_of_range",
        ),
        (
            changed("variants", 1, "curiosity_config", "exploration", to=0.1),
            "`variants[1].curiosity_config.exploration`",
            "unknown_key",
        ),
        (changed("variants", 1, "dimensions", "risk_tier", to="2"), "dimensions.risk_tier`", "wrong_type"),
    ],
)
def test_a_process_that_does_not_hold_together_is_refused(document: object, field: str, code: str) -> None:
    with pytest.raises(BadDocument) as caught:
        admit(Process, document, source="p.yaml")
    assert caught.value.code == code
    assert field in caught.value.sentence
    assert caught.value.sentence.endswith(".")
    assert caught.value.hint


def test_steps_of_a_variant_need_one_elastic_block() -> None:
    document = changed("blocks", 2, "steps", to=[])
    document["blocks"].append({"code": "040.001.05", "name": "More", "kind": "elastic"})
    admit(Process, document, source="p.yaml")
    document["variants"][0]["steps"] = [STEP]
    with pytest.raises(BadDocument, match="2 elastic blocks") as caught:
        admit(Process, document, source="p.yaml")
    assert caught.value.code == "unclear_block"


@pytest.mark.parametrize("code", ["WF-NOTHING", "../wf-routine-exec", "wf-routine-exec", ""])
def test_only_a_bundled_code_opens_a_file(code: str) -> None:
    with pytest.raises(NotFound) as caught:
        bundled_process(code)
    assert (caught.value.code, bool(caught.value.hint)) == ("unknown_process", True)
