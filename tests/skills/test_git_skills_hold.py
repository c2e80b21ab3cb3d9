"""What every skill that reads a history withstands: odd names, hostile text, broken clones, large histories."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.skills.repositories import MORNING, Repository, lines
from tests.skills.tasks import Ended, run_skill

SKILLS = ("prepare-standup", "review-the-day", "write-weekly-digest")
# Friday evening, and the Friday before: within every skill's period, MORNING is.
NOW = "2026-11-20T16:30:00.000Z"
SINCE = "2026-11-13T16:30:00.000Z"
HOSTILE = "**bold** [click](https://evil.example) \x1b[31mred\x1b[0m <!channel> `x` | # \u202egpj.exe @here"

pytestmark = [pytest.mark.heavy, pytest.mark.parametrize("skill", SKILLS)]


def run(skill: str, *repositories: Repository, **fields: Any) -> Ended:
    histories = [item.history() for item in repositories]
    return run_skill(skill, **{"now": NOW, "since": SINCE, "repositories": histories} | fields)


def text_of(skill: str, *repositories: Repository, **fields: Any) -> str:
    ended = run(skill, *repositories, **fields)
    assert ended.exit == 0, ended.log
    return str(ended.result["text"])


def test_what_it_prints_has_the_three_parts_and_a_summary(tmp_path: Path, skill: str) -> None:
    shop = Repository(tmp_path)
    shop.commit("One")
    result = run(skill, shop).result
    assert set(result) == {"text", "data"}
    assert result["data"]["commits"] == 1
    assert result["data"]["summary"] and "\n" not in result["data"]["summary"]
    assert result["text"].startswith("# ") and result["text"].endswith("\n")


def test_an_empty_repository_is_said_to_be_empty(tmp_path: Path, skill: str) -> None:
    assert "he repository has no commits yet" in text_of(skill, Repository(tmp_path))


def test_a_repository_whose_commits_all_lie_in_the_future_is_reported_on(tmp_path: Path, skill: str) -> None:
    shop = Repository(tmp_path)
    shop.commit("Later", at="2030-01-01T00:00:00+00:00")
    assert "ll commits are dated later than this page" in text_of(skill, shop)


def test_names_and_paths_that_are_not_utf_8_are_counted_and_shown(tmp_path: Path, skill: str) -> None:
    shop = Repository(tmp_path)
    shop.write(b"caf\xe9/menu\xff.py", lines(30))
    shop.git("add", "-A")
    shop.call(["commit", "-q", "-m", "Menu"], "José".encode("latin-1"), "jose@example.org", MORNING, None)
    shop.git("checkout", "-q", "-b", "ümlaut/ünd")
    shop.write('new\nline/tab\tquote".py', lines(30))
    shop.commit(b"caf\xe9 \xff\xfe done")
    shop.git("checkout", "-q", "main")
    text = text_of(skill, shop)
    assert "José" in text and "café" in text and "`ümlaut/ünd`" in text


def test_hostile_text_is_quoted_and_can_neither_style_nor_call_anybody(tmp_path: Path, skill: str) -> None:
    shop = Repository(tmp_path)
    shop.write("[x](http:|*_/a.py", lines(30))
    shop.commit(HOSTILE, who="[win](https://evil.example)|*x* <w@example.org>")
    shop.write("[x](http:|*_/a.py", lines(31))
    shop.commit(f'Revert "{HOSTILE}"', who="@channel <!here> <x@example.org>")
    shop.git("checkout", "-q", "-b", "_`pwn`_|<b>")
    shop.commit(f"wip {HOSTILE}", who="bob.kahn@example.org <bob@example.org>")
    shop.git("checkout", "-q", "main")
    ended = run(skill, shop)
    text = ended.result["text"]
    assert "`_'pwn'_¦<b>`" in text and "`[win](https://evil.example)¦*x*`" in text
    assert not any(ord(char) < 32 for char in text.replace("\n", ""))
    assert "\u202e" not in text and "\x1b" not in text and "<!" not in text
    assert all(line.count("`") % 2 == 0 for line in text.splitlines())
    assert b"example.org" not in ended.out
    earlier = {"skill": skill, "state": "completed", "text": text}
    body = run_skill("send-to-slack", results=[earlier]).result["effects"][0]["body"]
    assert "<!" not in body and "@here" not in body and "@channel" not in body


def test_a_shallow_clone_is_reported_on_without_taking_its_edge_for_new_files(tmp_path: Path, skill: str) -> None:
    shop = Repository(tmp_path)
    shop.write("big.py", lines(500))
    shop.commit("Start")
    shop.write("a.py", lines(1))
    shop.commit("Edge")
    shop.write("a.py", lines(2))
    shop.commit("Tip")
    shop.git("clone", "-q", "--bare", "--depth", "2", f"file://{shop.folder}", str(tmp_path / "cut.git"))
    cut = {"name": "shop", "path": "/", "history": str(tmp_path / "cut.git"), "branch": "main"}
    result = run_skill(skill, now=NOW, since=SINCE, repositories=[cut]).result
    assert result["data"]["commits"] == 2
    assert "+500" not in result["text"] and "+1 " in result["text"]


def test_one_commit_with_a_wrong_clock_hides_nothing_behind_it(tmp_path: Path, skill: str) -> None:
    shop = Repository(tmp_path)
    shop.commit("Good one")
    for count in range(8):
        shop.commit(f"Clock of 1971, {count}", at="1971-01-01T00:00:00+00:00")
    assert run(skill, shop).result["data"]["commits"] == 1


@pytest.mark.heavy
def test_six_thousand_commits_are_counted_exactly(tmp_path: Path, skill: str) -> None:
    shop = Repository(tmp_path)
    start = 1_795_132_800  # 2026-11-20T00:00:00Z
    stream = "".join(
        f"commit refs/heads/main\ncommitter Person {count % 20} <p@example.org> {start + count} +0000\n"
        f"data <<END\nChange {count}\nEND\n"
        f"M 100644 inline area{count % 7}/file{count % 50}.py\ndata <<END\ncount {count}\nEND\n\n"
        for count in range(6_000)
    )
    shop.git("fast-import", "--quiet", given=stream.encode())
    ended = run(skill, shop)
    assert ended.result["data"]["commits"] == 6_000
    assert "6,000 commits by 20" in ended.result["text"]
    assert len(ended.result["text"].splitlines()) <= 60


def test_without_git_it_fails_with_one_clear_sentence(tmp_path: Path, skill: str) -> None:
    ended = run(skill, Repository(tmp_path), search_path=str(tmp_path))
    assert (ended.exit, ended.out) == (1, b"")
    assert ended.log == "git is not installed here, and the report is made from git's history.\n"


def test_a_folder_that_is_no_repository_fails_with_one_sentence(tmp_path: Path, skill: str) -> None:
    for history in (tmp_path / "nowhere", tmp_path):
        place = {"name": "shop", "path": "/", "history": str(history), "branch": "main"}
        ended = run_skill(skill, now=NOW, since=SINCE, repositories=[place])
        assert (ended.exit, ended.out) == (1, b"")
        assert ended.log.startswith("The history of shop cannot be read: ")
        assert len(ended.log.splitlines()) == 1


def test_a_history_with_a_lost_object_fails_instead_of_reporting_less(tmp_path: Path, skill: str) -> None:
    shop = Repository(tmp_path)
    shop.write("a", "1\n")
    shop.commit("One")
    tree = shop.git("rev-parse", "HEAD^{tree}")
    history = shop.history()
    (Path(history["history"]) / "objects" / tree[:2] / tree[2:]).unlink()
    ended = run_skill(skill, now=NOW, since=SINCE, repositories=[history])
    assert (ended.exit, ended.out) == (1, b"")
    assert "cannot be read" in ended.log


def test_a_repository_cannot_make_it_run_a_program(tmp_path: Path, skill: str) -> None:
    shop = Repository(tmp_path)
    shop.write(".gitattributes", "*.txt diff=evil\n")
    shop.write("a.txt", "FIX" + "ME\n")
    shop.commit("One")
    history, program, trace = shop.history(), tmp_path / "evil", tmp_path / "trace"
    program.write_text(f"#!/bin/sh\ntouch {trace}\n")
    program.chmod(0o755)
    with (Path(history["history"]) / "config").open("a") as config:
        config.write(
            f"[core]\n\tfsmonitor = {program}\n\tpager = {program}\n[diff]\n\texternal = {program}\n"
            f'[diff "evil"]\n\ttextconv = {program}\n\tcommand = {program}\n[log]\n\tshowSignature = true\n'
        )
    (Path(history["history"]) / "info").mkdir(exist_ok=True)
    (Path(history["history"]) / "info" / "attributes").write_text("*.txt diff=evil\n")
    ended = run_skill(skill, now=NOW, since=SINCE, repositories=[history])
    assert ended.result["data"]["commits"] == 1
    assert not trace.exists()


def test_the_history_is_left_as_it_was(tmp_path: Path, skill: str) -> None:
    shop = Repository(tmp_path)
    shop.write("a", lines(3))
    shop.commit("One")
    for branch in ("x", "y"):
        shop.git("checkout", "-q", "-b", branch, "main")
        shop.write("a", lines(3, branch))
        shop.commit(branch)
    history = shop.history()

    def contents() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in Path(history["history"]).rglob("*") if path.is_file()}

    before = contents()
    assert run_skill(skill, now=NOW, since=SINCE, repositories=[history]).exit == 0
    assert contents() == before


@pytest.mark.parametrize(
    ("field", "value", "word"),
    [
        ("repositories", [], "repositories"),
        ("repositories", [{"name": "shop"}], "repositories[0].history"),
        ("repositories", [{"name": "shop", "history": "/", "branch": 7}], "repositories[0].branch"),
        ("now", "2026-11-21T09:00:00", "now"),
        ("since", "yesterday", "since"),
    ],
)
def test_a_task_that_says_too_little_is_refused_with_the_field_named(
    skill: str, field: str, value: object, word: str
) -> None:
    task: dict[str, Any] = {"repositories": [{"name": "shop", "history": "/nowhere"}], field: value}
    ended = run_skill(skill, **task)
    assert (ended.exit, ended.out) == (2, b"")
    assert word in ended.log and len(ended.log.splitlines()) == 1
