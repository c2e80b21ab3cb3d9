"""write-daily-report counts what git says: every number here was worked out by hand."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.skills.repositories import (
    ADA,
    BEFORE,
    BOB,
    EVENING,
    MORNING,
    NOON,
    Repository,
    lines,
    numbers_of,
    report_on,
)
from tests.skills.tasks import run_skill


def share(name: str, commits: int, files: int, added: int, removed: int) -> dict[str, Any]:
    return {"name": name, "commits": commits, "files": files, "added": added, "removed": removed}


@pytest.mark.promise("SKL-2")
def test_commits_are_counted_by_author_and_area_since_the_given_instant(tmp_path: Path) -> None:
    shop = Repository(tmp_path)
    shop.write("src/cart.py", lines(10))
    shop.commit("Start", at=BEFORE)
    shop.write("src/cart.py", lines(10) + "more\n")
    shop.write("README.md", "hello\n")
    shop.commit("Explain the cart")
    shop.write("src/cart.py", lines(4))
    shop.write("src/pay.py", lines(3))
    shop.commit("Pay", who=BOB, at=EVENING)
    found = numbers_of(shop)
    assert (found["commits"], found["merges"], found["files"]) == (2, 0, 3)
    assert (found["added"], found["removed"]) == (1 + 1 + 3, 7)
    assert found["authors"] == [share("Bob Kahn", 1, 2, 3, 7), share("Ada Lovelace", 1, 2, 2, 0)]
    assert found["areas"] == [share("src/", 2, 2, 4, 7), share("(top level)", 1, 1, 1, 0)]
    assert found["first_commit_at"] == "2026-11-20T09:12:00.000Z"
    assert found["last_commit_at"] == "2026-11-20T17:47:00.000Z"


def test_the_period_begins_with_its_first_second_and_ends_before_its_last(tmp_path: Path) -> None:
    shop = Repository(tmp_path)
    for at in ("07:59:59", "08:00:00", "08:59:59", "09:00:00", "09:00:01"):
        shop.commit(at, at=f"2026-11-20T{at}+00:00")
    first = report_on(shop, since="2026-11-20T08:00:00.000Z", now="2026-11-20T09:00:00.000Z").result
    second = report_on(shop, since="2026-11-20T09:00:00.000Z", now="2026-11-20T10:00:00.000Z").result
    assert [first["data"]["commits"], second["data"]["commits"]] == [2, 2]
    within = report_on(shop, since="2026-11-20T08:00:00.000Z", now="2026-11-20T09:00:00.500Z").result
    assert within["data"]["commits"] == 3


def test_merges_are_counted_apart_and_change_nothing_themselves(tmp_path: Path) -> None:
    shop = Repository(tmp_path)
    shop.write("a.txt", lines(2))
    shop.commit("Start", at=BEFORE)
    shop.git("checkout", "-q", "-b", "side")
    shop.write("side/b.txt", lines(5))
    shop.commit("Side, some days ago", who=BOB, at="2026-11-15T10:00:00+00:00")
    shop.write("side/c.txt", lines(6))
    shop.commit("Side, today", who=BOB)
    shop.git("checkout", "-q", "main")
    shop.write("a.txt", lines(3))
    shop.commit("Main, today", at=NOON)
    shop.git("merge", "-q", "--no-ff", "-m", "Merge side", "side", at=EVENING)
    found = numbers_of(shop)
    assert (found["commits"], found["merges"], found["merged_from_before"]) == (2, 1, 1)
    assert (found["files"], found["added"], found["removed"]) == (2, 7, 0)
    assert [author["name"] for author in found["authors"]] == ["Bob Kahn", "Ada Lovelace"]
    assert "1 merge that brought in 1 earlier commit." in report_on(shop).result["text"]


def test_a_commit_on_two_branches_counts_once_and_other_branches_are_named(tmp_path: Path) -> None:
    shop = Repository(tmp_path)
    shop.commit("Start", at=BEFORE)
    shop.commit("Shared")
    for branch in ("feature/x", "feature/copy"):
        shop.git("branch", branch)
    shop.git("checkout", "-q", "feature/x")
    shop.commit("Only there", who=BOB, at=NOON)
    shop.commit("Only there too", who=BOB, at=EVENING)
    shop.git("checkout", "-q", "main")
    found = numbers_of(shop)
    assert found["commits"] == 1
    assert found["branches"] == [
        {"name": "feature/x", "commits": 2, "last_commit_at": "2026-11-20T17:47:00.000Z"}
    ]
    assert "- `feature/x`: 2 commits by Bob Kahn, last Fri 20 Nov 18:47" in report_on(shop).result["text"]


def test_a_renamed_file_is_one_file_and_only_its_changed_lines_count(tmp_path: Path) -> None:
    shop = Repository(tmp_path)
    shop.write("old/name.py", lines(40))
    shop.commit("Start", at=BEFORE)
    shop.write("old/name.py", lines(40) + "one\n")
    shop.commit("Edit under the old name")
    shop.git("mv", "old/name.py", "new.py")
    shop.commit("Rename", at=NOON)
    shop.write("new.py", lines(40) + "one\ntwo\n")
    shop.commit("Edit under the new name", at=EVENING)
    found = numbers_of(shop)
    assert (found["commits"], found["files"], found["added"], found["removed"]) == (3, 1, 2, 0)


def test_a_name_that_one_file_gives_up_and_another_takes_over_belongs_to_two_files(tmp_path: Path) -> None:
    shop = Repository(tmp_path)
    shop.write("a.py", lines(40, "alpha"))
    shop.write("b.py", lines(40, "beta"))
    shop.commit("Start")
    shop.git("rm", "-q", "b.py")
    shop.commit("b goes", at=NOON)
    shop.git("mv", "a.py", "b.py")
    shop.commit("a becomes b", at=EVENING)
    found = numbers_of(shop)
    assert (found["files"], found["added"], found["removed"]) == (2, 80, 40)


def test_a_binary_file_counts_as_a_file_without_lines(tmp_path: Path) -> None:
    shop = Repository(tmp_path)
    shop.write("logo.png", b"\x89PNG\x00\x01" * 50)
    shop.write("a.txt", lines(2))
    shop.commit("Logo")
    found = numbers_of(shop)
    assert (found["files"], found["binary_files"], found["added"], found["removed"]) == (2, 1, 2, 0)
    assert "1 binary file (no lines counted)." in report_on(shop).result["text"]


def test_the_mailmap_of_the_reported_commit_joins_two_addresses_of_one_person(tmp_path: Path) -> None:
    shop = Repository(tmp_path)
    shop.write(".mailmap", "Ada Lovelace <ada@example.org> <root@laptop>\n")
    shop.commit("Map")
    shop.commit("From the laptop", who="root <root@laptop>")
    assert [(item["name"], item["commits"]) for item in numbers_of(shop)["authors"]] == [("Ada Lovelace", 2)]


def test_names_and_paths_that_are_not_utf_8_are_counted_and_shown(tmp_path: Path) -> None:
    shop = Repository(tmp_path)
    shop.write(b"caf\xe9/menu\xff.txt", lines(2))
    shop.git("add", "-A")
    shop.call(["commit", "-q", "-m", "Menu"], "José".encode("latin-1"), "jose@example.org", MORNING, None)
    shop.write('new\nline/tab\tquote".txt', lines(3))
    shop.commit(b"caf\xe9 \xff\xfe done", at=NOON)
    found = numbers_of(shop)
    assert {author["name"] for author in found["authors"]} == {"José", "Ada Lovelace"}
    assert {area["name"]: area["added"] for area in found["areas"]} == {"café/": 2, "new line/": 3}
    assert report_on(shop).exit == 0


def test_two_repositories_are_counted_apart_and_together(tmp_path: Path) -> None:
    shop, docs = Repository(tmp_path, "shop"), Repository(tmp_path, "docs")
    shop.write("a", lines(1))
    shop.commit("One")
    shop.commit("Two", who=BOB)
    docs.write("b", lines(4))
    docs.commit("Three")
    data = report_on(shop, docs).result["data"]
    assert [(item["name"], item["commits"], item["added"]) for item in data["repositories"]] == [
        ("shop", 2, 1),
        ("docs", 1, 4),
    ]
    assert data["commits"] == 3
    assert data["summary"] == "reported 3 commits by 2 authors in 2 repositories"


def test_one_commit_with_a_wrong_clock_hides_nothing_behind_it(tmp_path: Path) -> None:
    shop = Repository(tmp_path)
    shop.commit("Good one")
    for count in range(8):
        shop.commit(f"Clock of 1971, {count}", at="1971-01-01T00:00:00+00:00")
    assert numbers_of(shop)["commits"] == 1


def test_the_changes_at_the_edge_of_a_shallow_clone_are_not_taken_for_new_files(tmp_path: Path) -> None:
    shop = Repository(tmp_path)
    shop.write("big.txt", lines(500))
    shop.commit("Start", at=BEFORE)
    shop.write("a.txt", lines(1))
    shop.commit("Edge")
    shop.write("a.txt", lines(2))
    shop.commit("Tip", at=NOON)
    shop.git("clone", "-q", "--bare", "--depth", "2", f"file://{shop.folder}", str(tmp_path / "cut.git"))
    cut = {"name": "shop", "path": "/", "history": str(tmp_path / "cut.git"), "branch": "main"}
    result = run_skill("write-daily-report", repositories=[cut]).result
    found = result["data"]["repositories"][0]
    assert (found["commits"], found["files"], found["added"]) == (2, 1, 1)
    assert "The changes of 1 commit at the edge of this shallow clone are not known." in result["text"]


@pytest.mark.heavy
def test_five_thousand_commits_are_counted_exactly(tmp_path: Path) -> None:
    shop = Repository(tmp_path)
    start = 1_795_165_200  # 2026-11-20T09:00:00Z
    stream = []
    for count in range(5_000):
        who = f"Person {count % 20} <p{count % 20}@example.org>"
        stream.append(
            f"commit refs/heads/main\ncommitter {who} {start + count} +0000\n"
            f"data <<END\nChange {count}\nEND\n"
            f"M 100644 inline area{count % 7}/file{count % 50}\ndata <<END\ncount {count}\nEND\n\n"
        )
    shop.git("fast-import", "--quiet", given="".join(stream).encode())
    ended = report_on(shop)
    found = ended.result["data"]["repositories"][0]
    # Each commit replaces the one line of its file: 350 files (7 areas, 50 names), 4,650 times an old one.
    assert (found["commits"], found["files"]) == (5_000, 350)
    assert (found["added"], found["removed"]) == (5_000, 4_650)
    assert (found["authors_count"], found["areas_count"]) == (20, 7)
    assert {author["commits"] for author in found["authors"]} == {250}
    assert "5,000 commits by 20 authors" in ended.result["text"]


def test_the_numbers_are_those_of_git_itself_on_a_tangled_history(tmp_path: Path) -> None:
    shop = Repository(tmp_path)
    for count in range(12):
        shop.git("checkout", "-q", "-B", f"topic{count % 3}")
        shop.write(f"d{count % 4}/f{count % 5}", lines(count * 3 % 11 + 1, f"v{count}"))
        shop.commit(
            f"Change {count}", who=(ADA, BOB)[count % 2], at=f"2026-11-20T{9 + count % 8:02}:00:00+00:00"
        )
        if count % 3 == 2:
            shop.git("checkout", "-q", "-B", "main")
    shop.git("checkout", "-q", "-B", "main")
    told = shop.git("log", "--no-merges", "--shortstat", "--format=", "main")
    added = sum(int(number) for number in re.findall(r"(\d+) insertion", told))
    removed = sum(int(number) for number in re.findall(r"(\d+) deletion", told))
    found = numbers_of(shop)
    assert (found["commits"], found["added"], found["removed"]) == (12, added, removed)
