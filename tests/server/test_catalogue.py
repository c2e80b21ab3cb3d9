"""The process classification: every code of the seed is there; one's own files add to it and change nothing."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
from pathlib import Path
from typing import Any

import pytest

from server.catalogue.reading import bundled, read_catalogue
from server.cli import main
from server.contract.topology import fingerprint
from server.domain.classification import Classification, all_steps, process_of
from tests.server.desks import desk_at

pytestmark = pytest.mark.promise("PCF-1")

# As the seed has them: code, second code.
DOMAINS = {"010": "SD", "020": "BAC", "030": "GOV", "040": "AOP", "050": "KMG"}
SUBDOMAINS = {
    "010.002": "SD-IMPL", "010.003": "SD-TEST", "010.004": "SD-DEPL", "020.003": "BAC-BRAIN", "030.001": "GOV-POL",
    "040.001": "AOP-SESS", "040.002": "AOP-HLTH", "050.001": "KMG-LESS",
}  # fmt: skip
EXAMPLES = {
    ("schedule", "Nightly bug triage", "020.003"), ("schedule", "Weekly docs drift", "010.004"),
    ("schedule", "Daily gap report", "050.001"), ("api", "Alert triage", "040.001"),
    ("api", "Deploy verification", "010.004"), ("api", "Feedback resolution", "020.003"),
    ("github", "PR code review", "010.003"), ("github", "Cross-SDK port", "010.002"),
    ("github", "Backport detection", "030.001"),
}  # fmt: skip

CODES = """\
domains:
  - {code: "060", short: FIN, name: Finance}
subdomains:
  - {code: "060.001", short: FIN-INV, name: Invoices}
  - {code: "040.003", short: AOP-CHAT, name: Chat}
examples:
  - {name: Monthly invoices, trigger: schedule, process: "060.001", does: Mail → ledger}
"""


def process(code: str = "WF-INVOICE", at: str = "060.001", *, block: str | None = None, step: str = "") -> str:
    """A process file with one elastic block and one step."""
    step = step or "{code: LLM-READ-INVOICE, name: Read it}"
    head = f'code: {code}\nname: Invoice run\nprocess: "{at}"\nblocks:\n'
    return f'{head}  - {{code: "{block or at + ".01"}", name: Read, kind: elastic, steps: [{step}]}}\n'


def with_files(folder: Path, **files: str) -> Classification:
    """The classification with these files of one's own; `__` stands for a dot in a name."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text, "utf-8")
    return read_catalogue(folder)


def left_out(known: Classification) -> list[tuple[str, str]]:
    return [(each.file, each.refusal.code) for each in known.left_out]


def hq(*line: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command line."""
    with pytest.raises(SystemExit) as ended:
        main(list(line))
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


def test_every_domain_and_subdomain_of_the_seed_is_there_and_no_other() -> None:
    known = bundled()
    assert {code: each.short for code, each in known.domains.items()} == DOMAINS
    assert {code: each.short for code, each in known.subdomains.items()} == SUBDOMAINS
    assert (known.domains["040"].name, known.subdomains["040.001"].name) == ("Agent Operations", "Routine")


def test_the_seeds_combinations_say_what_to_build_with_each() -> None:
    known = bundled()
    assert {(each.trigger, each.name, each.process) for each in known.examples} == EXAMPLES
    assert [each.does for each in known.examples if each.name == "Nightly bug triage"] == ["Linear → PR → Slack"]


def test_both_processes_of_the_seed_are_there_with_their_blocks() -> None:
    known = bundled()
    assert sorted(known.processes) == ["WF-GAP-ANNEAL", "WF-ROUTINE-EXEC"]
    anneal = known.processes["WF-GAP-ANNEAL"]
    assert [(block.name, block.kind) for block in anneal.blocks] == [
        ("Gap Recording", "rigid"), ("Prioritisation", "rigid"), ("Research", "elastic"),
        ("Human Approval", "rigid"), ("Publication", "rigid"),
    ]  # fmt: skip
    assert (anneal.process, known.processes["WF-ROUTINE-EXEC"].process) == ("050.001", "040.001")
    routine = [step.code for step in all_steps(known.processes["WF-ROUTINE-EXEC"])]
    assert fingerprint(routine) == "T:36a61784"


def test_ones_own_files_add_domains_subdomains_processes_and_examples(tmp_path: Path) -> None:
    known = with_files(tmp_path, a__yaml=process(), pcf__yaml=CODES, chat__yml=process(
        "WF-CHAT", "040.003", step="{code: SCR-CLONE-REPO, name: Git clone default branch}"
    ))  # fmt: skip
    assert left_out(known) == []
    assert known.own == {
        "060": "pcf.yaml", "060.001": "pcf.yaml", "040.003": "pcf.yaml", "WF-INVOICE": "a.yaml",
        "WF-CHAT": "chat.yml",
    }  # fmt: skip
    assert [each.code for each in known.processes_of("060.001")] == ["WF-INVOICE"]
    assert [each.name for each in known.examples_of("060.001")] == ["Monthly invoices"]
    assert known.processes["WF-ROUTINE-EXEC"] == bundled().processes["WF-ROUTINE-EXEC"]
    assert "WF-INVOICE" not in bundled().processes


@pytest.mark.parametrize(
    ("name", "text", "code", "says"),
    [
        ("p.yaml", process("WF-ROUTINE-EXEC", "010.002"), "code_taken", "`code` is WF-ROUTINE-EXEC, which"),
        ("p.yaml", process(at="040.001"), "code_taken", "`blocks[0].code` is 040.001.01, which the process"),
        ("p.yaml", process(at="010.001"), "unknown_parent", "`process` is 010.001, but no such"),
        ("p.yaml", process(at="010.002", step="{code: SCR-CLONE-REPO, name: Clone}"), "step_renamed",
         "`blocks.steps` names SCR-CLONE-REPO 'Clone', which is 'Git clone default branch'."),
        ("p.yaml", process(at="010.002", block="010.003.01"), "foreign_block", "p.yaml: `blocks` has 010.003.01"),
        ("p.yaml", "code: WF-X\nname: [", "not_yaml", "p.yaml line 3"),
        ("p.yaml", "", "document_empty", "p.yaml is empty."),
        ("pcf.yaml", 'domains: [{code: "040", short: OWN, name: x}]', "code_taken", "`domains[0].code` is 040"),
        ("pcf.yaml", 'domains: [{code: "070", short: AOP-SESS, name: x}]', "code_taken", "`domains[0].short` is"),
        ("pcf.yaml", 'subdomains: [{code: "040.001", short: X, name: x}]', "code_taken", "`subdomains[0].code`"),
        ("pcf.yaml", 'subdomains: [{code: "070.001", short: X, name: x}]', "unknown_parent", "is no domain 070."),
        ("pcf.yaml", 'examples: [{name: x, trigger: api, process: "070.001", does: y}]', "unknown_parent",
         "`examples[0].process` is 070.001"),
        ("pcf.yaml", "domains: [{code: 70, short: X, name: x}]", "wrong_type", "`domains[0].code` must be text"),
        ("pcf.yaml", 'domains: [{code: "7", short: X, name: x}]', "bad_code", "`domains[0].code` must be three"),
        ("pcf.yaml", 'domains: [{code: "070", short: x, name: x}]', "bad_code", "`domains[0].short` must be"),
        ("pcf.yaml", "processes: []", "unknown_key", "pcf.yaml: `processes` is not a known key."),
    ],
)  # fmt: skip
def test_a_file_that_says_something_wrong_is_left_out_with_file_and_field(
    tmp_path: Path, name: str, text: str, code: str, says: str
) -> None:
    known = with_files(tmp_path, **{name.replace(".", "__"): text, "z__yaml": process("WF-Z", "010.004")})
    assert left_out(known) == [(name, code)]
    (left,) = known.left_out
    assert says in left.refusal.sentence
    assert left.refusal.sentence.startswith(name)
    assert left.refusal.hint
    # Nothing of it counts, and what stands beside it does.
    assert known.own == {"WF-Z": "z.yaml"}
    assert known.domains == bundled().domains
    assert known.subdomains == bundled().subdomains


def test_of_two_files_with_one_code_the_first_counts_and_the_second_names_it(tmp_path: Path) -> None:
    known = with_files(tmp_path, a__yaml=process(at="010.002"), b__yaml=process(at="010.003"))
    assert (known.own, left_out(known)) == ({"WF-INVOICE": "a.yaml"}, [("b.yaml", "code_taken")])
    assert "which a.yaml has already" in known.left_out[0].refusal.sentence


def test_what_is_no_document_there_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").mkdir()
    (tmp_path / "q.yaml").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "r.yaml")  # whoever opened it would wait for ever
    known = with_files(tmp_path, README__md="# mine", __draft__yaml="x")
    assert left_out(known) == [(name, "process_unreadable") for name in ("p.yaml", "q.yaml", "r.yaml")]
    assert read_catalogue(tmp_path / "not there") == bundled()


def test_a_bad_file_does_not_keep_hq_from_starting_and_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with_files(tmp_path / "hq" / "processes", bad__yaml="code: WF-X", good__yaml=process(at="010.002"))

    async def begun() -> list[str]:
        async with desk_at(tmp_path) as desk:
            assert desk.processes == desk.classification.processes
            return sorted(desk.processes)

    with caplog.at_level(logging.WARNING):
        assert asyncio.run(begun()) == ["WF-GAP-ANNEAL", "WF-INVOICE", "WF-ROUTINE-EXEC"]
    (record,) = [each for each in caplog.records if each.name == "server.app"]
    assert "bad.yaml: `name` is missing" in record.getMessage()


def test_pcf_tree_shows_everything_without_a_home(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = tmp_path / "none"
    code, out, err = hq("--home", str(home), "pcf", "tree", capsys=capsys)
    assert (code, err, home.exists()) == (0, "", False)
    for words in (*DOMAINS.values(), *SUBDOMAINS, "WF-ROUTINE-EXEC", "WF-GAP-ANNEAL", ".V02", "040.001.03"):
        assert words in out
    lines = out.splitlines()
    assert lines[lines.index("  040.001 AOP-SESS  Routine") + 1] == "    WF-ROUTINE-EXEC  Routine Execution"


def test_pcf_tree_names_ones_own_files_and_those_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with_files(tmp_path / "processes", pcf__yaml=CODES, a__yaml=process(), bad__yaml="code: WF-X")
    code, out, err = hq("--home", str(tmp_path), "pcf", "tree", capsys=capsys)
    assert code == 0
    assert "  060.001 FIN-INV  Invoices  (from pcf.yaml)\n    WF-INVOICE  Invoice run  (from a.yaml)\n" in out
    assert err.startswith("left out: bad.yaml: `name` is missing.")
    _, out, _ = hq("--home", str(tmp_path), "pcf", "tree", "--json", capsys=capsys)
    said: dict[str, Any] = json.loads(out)
    assert [each["code"] for each in said["domains"]] == [*DOMAINS, "060"]
    (invoices,) = said["domains"][-1]["subdomains"]
    assert [(each["code"], each["file"]) for each in invoices["processes"]] == [("WF-INVOICE", "a.yaml")]
    assert [(each["file"], each["code"]) for each in said["left_out"]] == [("bad.yaml", "missing_field")]


def test_hq_process_knows_every_process(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with_files(tmp_path / "processes", a__yaml=process(at="010.002"), bad__yaml="code: WF-BAD")
    for said, shown in (
        ("WF-GAP-ANNEAL", "WF-GAP-ANNEAL  Gap Record → Self-Annealing  T:73cb8225"),
        ("wf-invoice", "WF-INVOICE  Invoice run  T:"),
        ("040.001", "WF-ROUTINE-EXEC  Routine Execution  T:36a61784"),
    ):
        code, out, err = hq("--home", str(tmp_path), "process", said, capsys=capsys)
        assert (code, err) == (0, "")
        assert out.startswith(shown)
    _, out, _ = hq("--home", str(tmp_path), "process", "WF-INVOICE", "--json", capsys=capsys)
    assert json.loads(out)["canonical"] == ["LLM-READ-INVOICE"]
    code, out, err = hq("--home", str(tmp_path), "process", "WF-BAD", capsys=capsys)
    assert (code, out) == (2, "")
    assert err.startswith("left out: bad.yaml")
    assert "hq: There is no process 'WF-BAD' here.\nhint: use one of WF-GAP-ANNEAL, WF-INVOICE" in err


def test_what_the_documentation_shows_is_taken_as_it_stands(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "processes.md").read_text(encoding="utf-8")
    process, codes = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    (tmp_path / "deploy.yaml").write_text(process, encoding="utf-8")
    (tmp_path / "pcf.yaml").write_text(codes, encoding="utf-8")
    known = read_catalogue(tmp_path)
    assert known.left_out == ()
    assert process_of(known, "WF-DEPLOY-VERIFY").process == "010.004"
