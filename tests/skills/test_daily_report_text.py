"""write-daily-report's text: what a team lead reads, and what a hostile repository cannot do to it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.skills.repositories import ADA, BEFORE, BOB, EVENING, NOON, Repository, lines, report_on
from tests.skills.tasks import run_skill

HOSTILE = "**bold** [click](https://evil.example) \x1b[31mred\x1b[0m <!channel> `x` | # \u202egpj.exe @here"


def test_a_small_day_reads_as_one_page(tmp_path: Path) -> None:
    shop = Repository(tmp_path)
    shop.write("src/cart.py", lines(3))
    shop.write("README.md", lines(1))
    first = shop.commit("feat: a cart", who=BOB)
    shop.write("src/cart.py", lines(5))
    second = shop.commit("fix: two more lines", at=EVENING)
    assert (
        report_on(shop).result["text"]
        == (
            "# shop: 2 commits by 2 authors\n"
            "\n"
            "_Fri 20 Nov 09:00 to Sat 21 Nov 10:00, Europe/Berlin_\n"
            "\n"
            "**2 files, +6 −0 lines**, busiest in `src/`. First commit Fri 20 Nov 10:12, last 18:47.\n"  # noqa: RUF001
            "\n"
            "| Author       | Commits | Files | Lines |\n"
            "|--------------|--------:|------:|------:|\n"
            "| Bob Kahn     |       1 |     2 | +4 −0 |\n"  # noqa: RUF001
            "| Ada Lovelace |       1 |     1 | +2 −0 |\n"  # noqa: RUF001
            "\n"
            "| Area        | Commits | Files | Lines |\n"
            "|-------------|--------:|------:|------:|\n"
            "| `src/`      |       2 |     1 | +5 −0 |\n"  # noqa: RUF001
            "| (top level) |       1 |     1 | +1 −0 |\n"  # noqa: RUF001
            "\n"
            "**Commits**\n"
            f"- {second[:8]} `fix: two more lines` (Ada Lovelace, +2 −0 in 1 file)\n"  # noqa: RUF001
            f"- {first[:8]} `feat: a cart` (Bob Kahn, +4 −0 in 2 files)\n"  # noqa: RUF001
        )
    )


def test_an_empty_period_names_the_last_commit_before_it(tmp_path: Path) -> None:
    shop = Repository(tmp_path)
    shop.commit("The last thing", at=BEFORE)
    result = report_on(shop).result
    assert result["text"].startswith("# shop: no commits\n")
    assert (
        "No commits since Fri 20 Nov 09:00; the last one was `The last thing` by Ada Lovelace, "
        "Thu 12 Nov 17:03 (8 days ago).\n"
    ) in result["text"]
    assert result["data"]["summary"] == "reported no commits in shop"


def test_an_empty_repository_is_said_to_be_empty(tmp_path: Path) -> None:
    result = report_on(Repository(tmp_path)).result
    assert "The repository has no commits yet." in result["text"]
    assert result["data"]["repositories"][0]["has_commits"] is False


def test_a_branch_that_is_not_there_is_replaced_by_heads_and_the_report_says_so(tmp_path: Path) -> None:
    shop = Repository(tmp_path)
    shop.commit("One")
    history = shop.history() | {"branch": "--upload-pack=touch"}
    result = run_skill("write-daily-report", repositories=[history]).result
    assert result["data"]["commits"] == 1
    assert "There is no branch `--upload-pack=touch`: this is `main`." in result["text"]


def test_a_hostile_subject_is_quoted_and_can_neither_style_nor_call_anybody(tmp_path: Path) -> None:
    shop = Repository(tmp_path)
    shop.write("a", "1\n")
    shop.commit(HOSTILE)
    text = report_on(shop).result["text"]
    line = next(line for line in text.splitlines() if "bold" in line)
    quoted = line.split("`")[1]
    assert quoted.startswith("**bold** [click](https://evil.example) red ‹!channel> 'x' ¦ #")  # noqa: RUF001
    assert line.count("`") == 2
    assert not any(ord(char) < 32 for char in text.replace("\n", ""))
    assert "\u202e" not in text and "\x1b" not in text and "<!" not in text


def test_a_hostile_subject_calls_nobody_in_slack_either(tmp_path: Path) -> None:
    shop = Repository(tmp_path)
    shop.commit(HOSTILE, who="@channel <!here> <x@example.org>")
    result = report_on(shop).result
    earlier = {"skill": "write-daily-report", "state": "completed", "text": result["text"]}
    body = run_skill("send-to-slack", results=[earlier]).result["effects"][0]["body"]
    assert "<!" not in body and "@here" not in body and "@channel" not in body


def test_hostile_names_of_people_folders_and_branches_stay_names(tmp_path: Path) -> None:
    shop = Repository(tmp_path)
    shop.write("[x](http:/evil|*_/a", "1\n")
    shop.write("b/a", "1\n")
    shop.commit("One", who="[win](https://evil.example)|*x* <w@example.org>")
    shop.commit("Two", who="Ada <ada@example.org>")
    shop.git("checkout", "-q", "-b", "_`pwn`_|<b>")
    shop.commit("Three")
    text = report_on(shop).result["text"]
    assert "| `[win](https://evil.example)¦*x*` |" in text
    assert "| `[x](http:/` " in text
    assert "- `_'pwn'_¦<b>`: 1 commit by Ada Lovelace" in text


def test_an_e_mail_address_is_never_shown_as_a_name(tmp_path: Path) -> None:
    shop = Repository(tmp_path)
    shop.commit("One", who="bob.kahn@example.org <bob.kahn@example.org>")
    shop.commit("Two", who="12345+octo@users.noreply.example.org <o@example.org>")
    ended = report_on(shop)
    assert b"example.org" not in ended.out
    assert [author["name"] for author in ended.result["data"]["repositories"][0]["authors"]] == [
        "bob.kahn",
        "octo",
    ]


def test_times_are_those_of_the_routines_zone(tmp_path: Path) -> None:
    shop = Repository(tmp_path)
    shop.commit("One", at=NOON)
    assert "Committed Fri 20 Nov 20:00." in report_on(shop, timezone="Asia/Tokyo").result["text"]
    unknown = report_on(shop, timezone="Mars/Base")
    assert "Committed Fri 20 Nov 11:00." in unknown.result["text"]
    assert "21 Nov 09:00, UTC_" in unknown.result["text"]
    assert unknown.log == "The zone Mars/Base is not known here; times are UTC.\n"


def test_many_authors_areas_and_commits_are_capped_and_the_rest_is_counted(tmp_path: Path) -> None:
    shop = Repository(tmp_path)
    for count in range(11):
        shop.write(f"area{count:02}/file", lines(count + 1))
        shop.commit(f"Change {count}", who=f"Person {count:02} <p@example.org>")
    text = report_on(shop).result["text"]
    assert "| and 3 more |       3 |     3 |  +6 −0 |" in text  # noqa: RUF001
    assert "| and 3 more |         |     3 |  +6 −0 |" in text  # noqa: RUF001
    assert "**Noteworthy** (8 of 11)" in text
    assert len(text.splitlines()) <= 60


def test_security_breaking_changes_and_reverts_come_before_large_commits(tmp_path: Path) -> None:
    shop = Repository(tmp_path)
    for count in range(10):
        shop.write("big.txt", lines(100, f"v{count}"))
        shop.commit(f"Large {count}")
    for count, subject in enumerate(("Fix CVE-2026-1234", "feat(api)!: drop v1", 'Revert "Large 3"')):
        shop.write("small.txt", lines(1, str(count)))
        shop.commit(subject)
    told = report_on(shop).result["data"]["repositories"][0]["noteworthy"]
    assert {item["why"] for item in told[:3]} == {"security", "breaking", "revert"}
    assert told[3]["why"] is None


def test_a_file_that_makes_up_most_of_the_lines_is_named(tmp_path: Path) -> None:
    shop = Repository(tmp_path)
    shop.write("package-lock.json", lines(900))
    shop.write("src/a", lines(20))
    shop.write("src/b", lines(20))
    shop.commit("Update")
    assert "`package-lock.json` alone is +900 −0 of that." in report_on(shop).result["text"]  # noqa: RUF001


@pytest.mark.parametrize("number", [2, 3, 9])
def test_several_busy_repositories_stay_within_sixty_lines(tmp_path: Path, number: int) -> None:
    busy = Repository(tmp_path)
    for count in range(10):
        busy.write(f"area{count}/file", lines(3))
        busy.commit(f"Change {count}", who=f"Person {count} <p@example.org>")
    for branch in ("x", "y", "z"):
        busy.git("checkout", "-q", "-b", branch, "main")
        busy.commit("Elsewhere")
    busy.git("checkout", "-q", "main")
    history = busy.history()
    named = [history | {"name": f"repository{count}"} for count in range(number)]
    text = run_skill("write-daily-report", repositories=named).result["text"]
    assert text.startswith(f"# {10 * number} commits by 10 authors in {number} repositories\n")
    assert len(text.splitlines()) <= 60


def test_quiet_repositories_get_a_line_each_after_the_busy_ones(tmp_path: Path) -> None:
    busy, quiet, bare = (Repository(tmp_path, name) for name in ("busy", "quiet", "bare"))
    busy.commit("One")
    quiet.commit("Old", at=BEFORE)
    lines_ = report_on(quiet, busy, bare).result["text"].splitlines()
    assert lines_[0] == "# 1 commit by 1 author in 1 of 3 repositories"
    assert lines_[-2].startswith("- quiet: no commits since Fri 20 Nov 09:00; the last one was `Old`")
    assert lines_[-1] == "- bare: the repository has no commits yet"


def test_work_on_other_branches_only_is_told_though_the_reported_one_was_quiet(tmp_path: Path) -> None:
    shop = Repository(tmp_path)
    shop.commit("Old", at=BEFORE)
    shop.git("checkout", "-q", "-b", "next")
    shop.commit("New", who=ADA)
    shop.git("checkout", "-q", "main")
    text = report_on(shop).result["text"]
    assert "No commits on `main` since" in text
    assert "- `next`: 1 commit by Ada Lovelace" in text


def test_without_git_the_skill_fails_with_one_clear_sentence(tmp_path: Path) -> None:
    shop = Repository(tmp_path)
    ended = run_skill("write-daily-report", repositories=[shop.history()], search_path=str(tmp_path))
    assert (ended.exit, ended.out) == (1, b"")
    assert ended.log == "git is not installed here, and the report is made from git's history.\n"


def test_a_folder_that_is_no_repository_fails_with_one_sentence(tmp_path: Path) -> None:
    for history in (tmp_path / "nowhere", tmp_path):
        place = {"name": "shop", "path": "/", "history": str(history), "branch": "main"}
        ended = run_skill("write-daily-report", repositories=[place])
        assert (ended.exit, ended.out) == (1, b"")
        assert ended.log.startswith("The history of shop cannot be read: ")
        assert len(ended.log.splitlines()) == 1


def test_a_history_with_a_lost_object_fails_instead_of_reporting_less(tmp_path: Path) -> None:
    shop = Repository(tmp_path)
    shop.write("a", "1\n")
    shop.commit("One")
    tree = shop.git("rev-parse", "HEAD^{tree}")
    history = shop.history()
    (Path(history["history"]) / "objects" / tree[:2] / tree[2:]).unlink()
    ended = run_skill("write-daily-report", repositories=[history])
    assert (ended.exit, ended.out) == (1, b"")
    assert "cannot be read" in ended.log


def test_a_repository_cannot_make_the_report_run_a_program(tmp_path: Path) -> None:
    shop = Repository(tmp_path)
    shop.write(".gitattributes", "*.txt diff=evil\n")
    shop.write("a.txt", "1\n")
    shop.commit("One")
    head, _, message = shop.git("cat-file", "commit", "HEAD").partition("\n\n")
    signature = "gpgsig -----BEGIN PGP SIGNATURE-----\n \n abcd\n -----END PGP SIGNATURE-----"
    signed = f"{head}\n{signature}\n\n{message}\n".encode()
    shop.git("reset", "-q", "--hard", shop.git("hash-object", "-t", "commit", "-w", "--stdin", given=signed))
    history = shop.history()
    program, trace = tmp_path / "evil", tmp_path / "trace"
    program.write_text(f"#!/bin/sh\ntouch {trace}\n")
    program.chmod(0o755)
    with (Path(history["history"]) / "config").open("a") as config:
        config.write(
            f"[core]\n\tfsmonitor = {program}\n\tpager = {program}\n[diff]\n\texternal = {program}\n"
            f'[diff "evil"]\n\ttextconv = {program}\n\tcommand = {program}\n'
            f"[log]\n\tshowSignature = true\n[gpg]\n\tprogram = {program}\n"
        )
    (Path(history["history"]) / "info").mkdir(exist_ok=True)
    (Path(history["history"]) / "info" / "attributes").write_text("*.txt diff=evil\n")
    ended = run_skill("write-daily-report", repositories=[history])
    assert ended.result["data"]["repositories"][0]["added"] == 2
    assert not trace.exists()


def test_the_history_is_left_as_it_was(tmp_path: Path) -> None:
    shop = Repository(tmp_path)
    shop.commit("One")
    history = shop.history()

    def contents() -> dict[str, tuple[int, int]]:
        return {
            os.path.join(folder, name): (status.st_mtime_ns, status.st_size)  # noqa: PTH118
            for folder, _, names in os.walk(history["history"])
            for name in names
            for status in [Path(folder, name).stat()]
        }

    before = contents()
    assert run_skill("write-daily-report", repositories=[history]).exit == 0
    assert contents() == before


@pytest.mark.parametrize(
    ("field", "value", "word"),
    [
        ("repositories", [], "repositories"),
        ("repositories", [{"name": "shop"}], "repositories[0].history"),
        ("since", None, "since"),
        ("since", "2026-11-21T09:00:00.000Z", "since"),
        ("now", "2026-11-21T09:00:00", "now"),
    ],
)
def test_a_task_that_says_too_little_is_refused_with_the_field_named(
    field: str, value: object, word: str
) -> None:
    task: dict[str, Any] = {"repositories": [{"name": "shop", "history": "/nowhere"}], field: value}
    ended = run_skill("write-daily-report", **task)
    assert (ended.exit, ended.out) == (2, b"")
    assert word in ended.log and len(ended.log.splitlines()) == 1
