"""The command line: what each verb prints, for people and as one JSON document, and its exit code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from minion.config import Home, held
from server.contract.documents import admit
from server.contract.reports import RunReport
from tests.minion.tool_hosts import running_with
from tests.waiting import wait_until
from tests.whole.homes import (
    Ended,
    clean_environment,
    command_line,
    make_home,
    performed,
    run_cli,
    write_routine,
    write_skill,
)

STAGE = "answer(text='# Done', effects=[{'kind': 'file', 'target': 'a.md', 'body': 'x'}])"
REFUSED = "answer(text='#', effects=[{'kind': 'message', 'target': 'all of you', 'body': 'x'}])"


def furnished(folder: Path) -> Home:
    """A home with three routines: `task` does its input, `think` needs a model too, `wired` a connector."""
    home = make_home(folder)
    write_skill(home, "act", "exec(task['input'])")
    write_skill(home, "think")
    write_routine(home, "task", "act", effects=["file:*.md"], expect=[{"contains": "#"}], content="Context.")
    write_routine(home, "think", "act", "think")
    write_routine(home, "wired", "act", connectors=["linear"])
    return home


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A furnished home that tests run routines in."""
    return furnished(tmp_path_factory.mktemp("cli"))


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A furnished home that tests only read, once `runs` has filled it."""
    return furnished(tmp_path_factory.mktemp("read"))


@pytest.fixture(scope="module")
def runs(read: Home) -> dict[str, dict[str, Any]]:
    """One run of `read` for each verdict that one can have without waiting, and one that failed early."""
    return {
        "ok": performed(read, "task", given=STAGE),
        "failed": performed(read, "task", given="sys.exit(3)"),
        "not-delivered": performed(read, "task", given=REFUSED),
        "partial": performed(read, "think", given="print('thought')"),
        "failed-early": performed(read, "wired"),
    }


def one_document(ended: Ended) -> Any:
    """The command's JSON; nothing else may stand on stdout."""
    decoder = json.JSONDecoder()
    document, end = decoder.raw_decode(ended.out)
    assert ended.out[end:] == "\n"
    return document


@pytest.mark.promise("CLI-1")
def test_show_finds_a_run_by_id_prefix_name_and_last(read: Home, runs: dict[str, dict[str, Any]]) -> None:
    ok, early = runs["ok"], runs["failed-early"]
    newest = runs["not-delivered"]
    spoken = {
        ok["id"]: ok, ok["id"][:12]: ok, "task": newest, "task@last": newest, "think@last": runs["partial"],
        "last": early,
    }  # fmt: skip
    for text, run in spoken.items():
        shown = run_cli(read, "show", text, "--json")
        assert (shown.code, one_document(shown)["id"], shown.err) == (0, run["id"], "")


@pytest.mark.promise("CLI-1")
@pytest.mark.parametrize("text", ["run_", "run_99", "nobody", "nobody@last", "trig_01", "%", ""])
def test_a_run_that_is_not_there_or_not_the_only_one_is_bad_use_with_a_hint(
    read: Home, runs: dict[str, dict[str, Any]], text: str
) -> None:
    ended = run_cli(read, "show", text)
    assert (ended.code, ended.out) == (2, "")
    assert "hint:" in ended.err
    assert ended.err.count("\n") == 2


def test_what_show_prints_as_json_is_the_report_that_hq_takes(read: Home, runs: dict[str, dict[str, Any]]) -> None:
    for kind, run in runs.items():
        document = one_document(run_cli(read, "show", run["id"], "--json"))
        report = admit(RunReport, document, source=kind)
        assert (report.id, report.verdict) == (run["id"], kind.removesuffix("-early"))
        assert document["log_intact"] is True
        wanted = {"id", "routine", "trigger", "state", "outcome", "delivery", "verdict", "summary", "topology"}
        wanted |= {"fingerprint", "canonical", "started_at", "ended_at", "blocks", "effects", "usage", "engine"}
        wanted |= {"sandbox", "sessions", "checks", "gaps", "delivery_target"}
        assert wanted <= set(document)


def test_show_tells_people_the_verdict_what_it_rests_on_and_what_ran(
    read: Home, runs: dict[str, dict[str, Any]]
) -> None:
    shown = run_cli(read, "show", runs["ok"]["id"], "-v").out
    for words in ("✓ ok", "contains #", "file:a.md", "log        intact", "040.001.03", "LLM-ACT", "# Done"):
        assert words in shown
    assert f"taken      {' → '.join(runs['ok']['topology'])}" in shown
    assert "\x1b" not in shown
    failed = run_cli(read, "show", runs["failed"]["id"]).out
    assert "✗ failed" in failed
    assert "why        act: exit 3" in failed


@pytest.mark.promise("CLI-4")
def test_runs_lists_the_newest_first_and_filters_by_routine_state_and_number(
    read: Home, runs: dict[str, dict[str, Any]]
) -> None:
    ids = [run["id"] for run in reversed(runs.values())]

    def listed(*arguments: str) -> list[str]:
        ended = run_cli(read, "runs", "--json", *arguments)
        assert (ended.code, ended.err) == (0, "")
        return [run["id"] for run in one_document(ended)]

    assert listed() == ids
    assert listed("--limit", "2") == ids[:2]
    assert listed("--routine", "think") == [runs["partial"]["id"]]
    assert listed("--state", "completed", "--routine", "task") == [runs["not-delivered"]["id"], runs["ok"]["id"]]
    assert listed("--state", "ok") == [runs["ok"]["id"]]
    assert listed("--state", "running") == []
    table = run_cli(read, "runs").out.splitlines()
    assert len(table) == 6
    assert all(run_id in line for run_id, line in zip(ids, table[1:], strict=True))
    assert run_cli(read, "runs", "--state", "nonsense").code == 2
    assert run_cli(read, "runs", "--limit", "0").code == 2


@pytest.mark.promise("CLI-3")
@pytest.mark.promise("CLI-4")
@pytest.mark.parametrize(
    ("routine", "given", "code", "verdict"),
    [
        ("task", STAGE, 0, "ok"),
        ("think", "print('x')", 4, "partial"),
        ("task", "sys.exit(3)", 1, "failed"),
        ("task", "print('no heading')", 1, "failed"),
    ],
)
def test_a_run_ends_with_its_verdicts_exit_code_and_one_document(
    tmp_path: Path, home: Home, routine: str, given: str, code: int, verdict: str
) -> None:
    file = tmp_path / "input"
    file.write_text(given)
    ended = run_cli(home, "run", routine, "--json", "--input", f"@{file}")
    run = one_document(ended)
    assert (ended.code, run["verdict"]) == (code, verdict)
    assert ended.err == f"{routine} · run {run['id']}\n"
    admit(RunReport, run, source="minion run --json")


@pytest.mark.promise("CLI-3")
def test_what_cannot_be_understood_is_bad_use_with_one_sentence_and_one_hint(home: Home, tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"gr\xfc\xdfe")
    wrong = [
        ["nonsense"],
        ["run"],
        ["run", "nobody"],
        ["run", "../task"],
        ["run", "task", "--input", "@/no/such/file"],
        ["run", "task", "--input", f"@{tmp_path}/latin"],
        ["run", "task", "--input", b"gr\xfc\xdfe".decode("utf-8", "surrogateescape")],
        ["run", "task", "--input", "x" * 65_537],
        ["run", "task", "--repo", str(tmp_path)],
        ["run", "task", "--wrong"],
        ["routine", "show", "nobody"],
        ["routine", "remove", "nobody"],
        ["routine", "add", "/no/such/file.yaml"],
    ]
    for arguments in wrong:
        ended = run_cli(home, *arguments)
        assert (ended.code, ended.out) == (2, ""), arguments
        assert ended.err.startswith("minion: "), arguments
        assert ended.err.splitlines()[1].startswith("hint: "), arguments
        assert len(ended.err.splitlines()) == 2, arguments


@pytest.mark.promise("CLI-3")
@pytest.mark.parametrize("verb", [["runs"], ["show", "last"], ["run", "x"], ["routine", "list"]])
def test_without_a_home_every_verb_says_how_to_make_one(tmp_path: Path, verb: list[str]) -> None:
    ended = run_cli(Home(tmp_path / "nowhere"), *verb)
    assert (ended.code, ended.out) == (2, "")
    sentence, hint = ended.err.splitlines()
    assert sentence == f"minion: There is no minion in {tmp_path}/nowhere."
    assert (hint.startswith("hint: "), hint.endswith(" init")) == (True, True)
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.promise("STO-2")
@pytest.mark.promise("CLI-3")
@pytest.mark.parametrize("verb", [["runs"], ["show", "last"], ["run", "task"], ["routine", "list"]])
def test_a_store_that_cannot_be_read_is_refused_by_every_verb_and_kept(tmp_path: Path, verb: list[str]) -> None:
    home = make_home(tmp_path)
    write_skill(home, "say", "print('x')")
    write_routine(home, "task", "say")
    home.store.write_bytes(b"SQLite format 3\0" + b"not really" * 500)
    before = home.store.read_bytes()
    ended = run_cli(home, *verb)
    assert (ended.code, ended.out) == (3, "")
    assert str(home.store) in ended.err
    assert "hint:" in ended.err
    assert home.store.read_bytes() == before


@pytest.mark.promise("STO-4")
@pytest.mark.promise("CLI-3")
def test_a_home_that_another_process_holds_is_refused_with_the_holders_name(
    read: Home, runs: dict[str, dict[str, Any]]
) -> None:
    routine = next(iter(read.routines.glob("task.*")))
    before = run_cli(read, "runs", "--json").out
    with held(read, "minion run something-long"):
        for arguments in (["run", "task"], ["routine", "add", str(routine)], ["routine", "remove", "task"]):
            ended = run_cli(read, *arguments)
            assert (ended.code, ended.out) == (3, "")
            assert f"in use by `minion run something-long` (process {os.getpid()})" in ended.err
        # Reading needs no lock.
        assert run_cli(read, "runs", "--json").out == before
    assert run_cli(read, "run", "task", "--input", STAGE).code == 0


@pytest.mark.promise("RUN-9")
@pytest.mark.promise("CLI-3")
@pytest.mark.parametrize(
    ("number", "why"),
    [(signal.SIGINT, "stopped from the terminal"), (signal.SIGTERM, "ended by a signal (SIGTERM)")],
)
def test_a_signal_stops_a_run_in_good_order(
    home: Home, tmp_path: Path, number: signal.Signals, why: str
) -> None:
    begun, marker = tmp_path / "begun", f"stopped-{tmp_path.name}-{os.getpid()}"
    os.mkfifo(begun)
    script = "import subprocess; child = subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()', "
    script += f"{marker!r}]); open({str(begun)!r}, 'w').close(); child.wait()"
    argv = command_line(home, "run", "task", "--json", "--input", script)
    with subprocess.Popen(
        argv, env=clean_environment(home), stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    ) as process:
        try:
            begun.read_text()
            # Its command line shows a moment after its parent knows that it was started.
            assert wait_until(lambda: len(running_with(marker)) == 1, 10)
            process.send_signal(number)
            out, _ = process.communicate(timeout=60)
        finally:
            process.kill()  # a failure here must not leave the test waiting for a run without an end
    run = json.loads(out)
    assert (process.returncode, run["state"], run["verdict"]) == (4, "cancelled", "skipped")
    assert run["why"] == why
    assert run["summary"].startswith("Cancelled after 2 completed steps")
    assert [block["state"] for block in run["blocks"]] == ["completed", "completed", "cancelled", "skipped"]
    assert wait_until(lambda: not running_with(marker), 2)


def test_help_names_every_verb_and_the_exit_codes_without_a_home(tmp_path: Path) -> None:
    home = Home(tmp_path / "nowhere")
    ended = run_cli(home, "--help")
    verbs = ("init", "run", "runs", "show", "effects", "verify", "routine", "skill", "where")
    for word in (*verbs, "Exit codes:\n  0    ok or unchecked"):
        assert word in ended.out
    assert (ended.code, ended.err) == (0, "")
    for verb in (["init"], ["run"], ["runs"], ["show"], ["routine"], ["routine", "add"]):
        assert run_cli(home, *verb, "--help").code == 0
