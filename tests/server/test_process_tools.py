"""Where work belongs, and how a process may be run: found by code or by words, over MCP in both eras."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from server.catalogue.reading import bundled
from server.domain.places import Place, fitting
from tests.contract.test_process_document import SEED_V02
from tests.server.desks import LEDGER, REVIEWER, SESSION, Asker, play_as

OWN = """\
code: WF-SECOND
name: Second of its kind
process: "040.001"
blocks:
  - {code: "040.001.11", name: Work, kind: elastic}
variants:
  - {code: V01, name: Nightly, trigger: schedule, steps: [{code: LLM-CHECK, name: Check it}]}
"""


def found(text: str) -> list[tuple[str, str]]:
    """Kind and code of what fits a text, best first."""
    return [(place.kind, place.code) for place in fitting(bundled(), text)]


@pytest.mark.parametrize("mode", ["auto", "legacy"])
@pytest.mark.promise("PCF-1")
def test_a_step_is_found_with_its_path_from_domain_to_step(tmp_path: Path, mode: str) -> None:
    async def scene(asker: Asker) -> dict[str, Any]:
        return await asker.ask("find_process", text="push branch", limit=1)

    answer = play_as(tmp_path, scene, mode=mode)
    assert answer["matches"] == [{
        "kind": "step", "code": "SCR-PUSH-BRANCH", "name": "Push to claude/* branch",
        "path": {"L0": "040 AOP", "L1": "040.001 AOP-SESS", "L2": "WF-ROUTINE-EXEC", "L3": "040.001.04",
                 "L4": "SCR-PUSH-BRANCH"},
    }]  # fmt: skip
    assert answer["more"] > 0


def test_every_place_is_found_first_by_its_own_code() -> None:
    known = bundled()
    codes = [(place.kind, place.code) for text in ("0", "WF") for place in fitting(known, text)]
    codes += [("step", "SCR-CLONE-REPO"), ("variant", "WF-ROUTINE-EXEC.V02")]
    assert {"domain", "subdomain", "process", "variant", "block", "step"} <= {kind for kind, _ in codes}
    for kind, code in codes:
        if kind != "example":
            assert found(code)[0] == (kind, code)
            assert found(f" {code.lower()} ")[0] == (kind, code)


def test_a_code_finds_all_that_lies_below_it_from_top_to_bottom() -> None:
    below = found("AOP-SESS")
    assert below[:3] == [
        ("subdomain", "040.001"), ("process", "WF-ROUTINE-EXEC"), ("variant", "WF-ROUTINE-EXEC.V01"),
    ]  # fmt: skip
    assert {("block", "040.001.03"), ("step", "LLM-EXECUTE-PROMPT"), ("example", "040.001")} < set(below)
    assert ("subdomain", "040.002") not in below


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("alert triage", ("example", "040.001")),
        ("triage alerts", ("example", "040.001")),
        ("gap recording", ("block", "050.001.01")),
        ("Deployment", ("subdomain", "010.004")),
        ("human aproval", ("block", "050.001.04")),
        ("clone the repository", ("step", "SCR-CLONE-REPO")),
        ("github variant", ("variant", "WF-ROUTINE-EXEC.V03")),
    ],
)
def test_words_find_what_they_mean_though_they_are_inflected_or_slips(text: str, first: tuple[str, str]) -> None:
    assert found(text)[0] == first


@pytest.mark.parametrize("text", [" ", "–", "zebra", "999", "the of", "xq zebra giraffe lion routine"])
def test_what_fits_nothing_finds_nothing(text: str) -> None:
    assert found(text) == []


def test_a_long_text_of_many_words_is_answered_in_time() -> None:
    assert isinstance(fitting(bundled(), "abcd " * 40), list)


@pytest.mark.promise("PCF-1")
def test_list_variants_says_the_seeds_metadata_of_v02_to_the_letter(tmp_path: Path) -> None:
    async def scene(asker: Asker) -> dict[str, Any]:
        return await asker.ask("list_variants", process="WF-ROUTINE-EXEC")

    answer = play_as(tmp_path, scene, LEDGER)
    assert (answer["process"], answer["fingerprint"]) == ("WF-ROUTINE-EXEC", "T:36a61784")
    variants = {each["code"]: each for each in answer["variants"]}
    assert {code: each["trigger"] for code, each in variants.items()} == {
        "V01": "schedule", "V02": "api", "V03": "github",
    }  # fmt: skip
    assert {section: variants["V02"][section] for section in SEED_V02} == SEED_V02
    assert variants["V02"]["description"] == "API-triggered routine — fast SLO, context-driven"
    assert {each["fingerprint"] for each in variants.values()} == {"T:36a61784"}
    assert "dimensions" not in variants["V01"]


def test_a_variants_own_steps_make_its_own_sequence_and_fingerprint(tmp_path: Path) -> None:
    folder = tmp_path / "hq" / "processes"
    folder.mkdir(parents=True)
    (folder / "second.yaml").write_text(OWN, "utf-8")

    async def scene(asker: Asker) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        variants = await asker.ask("list_variants", process="wf-second.V01")
        refused = await asker.refused("list_variants", process="040.001")
        return variants, refused, await asker.ask("find_process", text="WF-SECOND")

    variants, refused, matches = play_as(tmp_path, scene)
    assert variants["canonical"] == ["LLM-EXECUTE-PROMPT"]
    assert [each["canonical"] for each in variants["variants"]] == [["LLM-CHECK"]]
    assert variants["fingerprint"] != variants["variants"][0]["fingerprint"]
    assert (refused["code"], refused["hint"]) == ("ambiguous_process", "name one of WF-ROUTINE-EXEC, WF-SECOND")
    assert matches["matches"][0]["file"] == "second.yaml"
    assert matches["matches"][-1]["path"]["L4"] == "LLM-CHECK"


def test_a_process_that_there_is_not_is_refused_with_those_there_are(tmp_path: Path) -> None:
    async def scene(asker: Asker) -> list[dict[str, Any]]:
        return [await asker.refused("list_variants", process=text) for text in ("WF-NONE", "010.002", "")]

    said = play_as(tmp_path, scene)
    assert {each["code"] for each in said} == {"unknown_process"}
    assert said[0]["hint"] == "use one of WF-GAP-ANNEAL, WF-ROUTINE-EXEC"


def test_sessions_and_ledgers_may_look_processes_up_and_others_do_not_see_the_tools(tmp_path: Path) -> None:
    async def tools(asker: Asker) -> set[str]:
        return set(await asker.tools()) & {"find_process", "list_variants"}

    assert [len(play_as(tmp_path, tools, who)) for who in (SESSION, LEDGER, REVIEWER)] == [2, 2, 0]


def test_a_place_says_what_more_its_file_says() -> None:
    by_name: dict[str, Place] = {place.name: place for place in fitting(bundled(), "040.001")}
    assert by_name["Alert triage"].says == "api: Sentry → trace → draft fix PR"
    assert by_name["Prompt Execution"].says == "elastic"
