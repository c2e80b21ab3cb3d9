"""review-the-day tells what a day leaves behind: every number here was worked out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.skills.repositories import BOB, Repository, lines
from tests.skills.tasks import Ended, run_skill

pytestmark = pytest.mark.heavy

# Friday, 17:30 in Berlin.
NOW = "2026-11-20T16:30:00.000Z"
BEFORE = "2026-11-18T10:00:00+00:00"
TODAY = "2026-11-20T09:00:00+00:00"
LATER = "2026-11-20T15:00:00+00:00"
MARK = "FIX" + "ME"


def review(*repositories: Repository, **fields: Any) -> Ended:
    return run_skill(
        "review-the-day", **{"now": NOW, "repositories": [item.history() for item in repositories]} | fields
    )


def numbers_of(*repositories: Repository, **fields: Any) -> dict[str, Any]:
    ended = review(*repositories, **fields)
    assert ended.exit == 0, ended.log
    first = ended.result["data"]["repositories"][0]
    assert isinstance(first, dict)
    return first


def busy_day(folder: Path) -> Repository:
    """A day on which Ada fixed and tested on main and Bob went on with a branch of the day before yesterday."""
    shop = Repository(folder)
    shop.write("src/cart.py", lines(30))
    shop.commit("Start", at=BEFORE)
    shop.git("checkout", "-q", "-b", "feature/pay")
    shop.write("src/pay.py", lines(4))
    shop.commit("feat: begin to pay", who=BOB, at=BEFORE)
    shop.write("src/pay.py", lines(4) + f"# {MARK}\n")
    shop.write("src/cart.py", lines(33))
    shop.commit("wip: pay", who=BOB, at=LATER)
    shop.git("checkout", "-q", "main")
    shop.write("src/cart.py", lines(30, "new"))
    shop.write("tests/test_cart.py", lines(2))
    shop.commit("fix: the cart", at=TODAY)
    return shop


@pytest.mark.promise("SKL-7")
def test_a_busy_day_reads_as_one_page_with_a_checklist(tmp_path: Path) -> None:
    shop = busy_day(tmp_path)
    wip = shop.git("rev-parse", "feature/pay")[:8]
    assert review(shop).result["text"] == (
        "# shop on Fri 20 Nov: 2 commits by 2 people\n"
        "\n"
        "_Fri 20 Nov 00:00 to 17:30, Europe/Berlin_\n"
        "\n"
        "**3 files, +36 −30 lines**; 1 commit on branches not merged yet.\n"  # noqa: RUF001
        "\n"
        "**Not merged into `main`**\n"
        "- `feature/pay`: 1 of 2 commits today by Bob Kahn, begun 2 days ago, last 16:00\n"
        "\n"
        "**Worth a second look**\n"
        "- `src/cart.py`: +33 −30 in 2 commits by Ada Lovelace and Bob Kahn\n"  # noqa: RUF001
        "\n"
        "**Changed by several people**\n"
        "- `src/cart.py`: Ada Lovelace and Bob Kahn\n"
        "\n"
        "**Tests beside code**\n"
        "- 2 files of code and 1 file of tests changed; 1 of 2 commits to code touched a test\n"
        f"- no test in {wip} `wip: pay` (Bob Kahn, 4 lines of code)\n"
        "\n"
        "**For tomorrow**\n"
        "- [ ] Finish or merge `feature/pay`\n"
        f"- [ ] Come back to {wip} `wip: pay`\n"
        "- [ ] Go through the 1 line added today that is marked to do\n"
        "- [ ] See whether 1 commit without a test needs one\n"
        "- [ ] Agree on `src/cart.py`: Ada Lovelace and Bob Kahn changed it\n"
        "- [ ] Read `src/cart.py` once more\n"
    )


def test_the_numbers_of_the_data_are_those_of_the_text(tmp_path: Path) -> None:
    shop = busy_day(tmp_path)
    result = review(shop).result
    found = result["data"]["repositories"][0]
    assert result["data"]["summary"] == "reviewed shop on Fri 20 Nov: 2 commits by 2 people"
    assert (found["commits"], found["files_count"], found["added"], found["removed"]) == (2, 3, 36, 30)
    assert (found["code_files"], found["test_files"], found["code_commits"]) == (2, 1, 2)
    assert found["unmerged"] == [{"name": "feature/pay", "commits": 2, "today": 1}]
    assert found["untested_commits"] == found["unfinished"] == [shop.git("rev-parse", "feature/pay")]
    assert (found["shared_files"], found["marks_added"]) == (["src/cart.py"], 1)
    assert len(result["data"]["checklist"]) == 6


def test_the_day_is_the_one_of_the_routines_zone(tmp_path: Path) -> None:
    shop = Repository(tmp_path)
    for at in ("2026-11-19T22:59:59", "2026-11-19T23:00:00", "2026-11-20T16:29:59", "2026-11-20T16:30:00"):
        shop.commit(at, at=f"{at}+00:00")
    assert numbers_of(shop)["commits"] == 2
    assert numbers_of(shop, timezone="Pacific/Auckland")["commits"] == 1
    assert numbers_of(shop, timezone="America/New_York")["commits"] == 1


def test_the_night_belongs_to_the_day_before_until_four(tmp_path: Path) -> None:
    shop = Repository(tmp_path)
    shop.commit("Friday", at=TODAY)
    assert review(shop, now="2026-11-21T02:59:00.000Z").result["text"].startswith("# shop on Fri 20 Nov: 1 commit")
    assert review(shop, now="2026-11-21T03:00:00.000Z").result["text"].startswith("# shop on Sat 21 Nov: no com")


@pytest.mark.parametrize(
    ("day", "begins"), [("2026-10-25", "2026-10-24T22:00:00"), ("2026-03-29", "2026-03-28T23:00:00")]
)
def test_a_day_on_which_the_clocks_change_begins_at_its_own_midnight(
    tmp_path: Path, day: str, begins: str
) -> None:
    shop = Repository(tmp_path)
    shop.commit("First second", at=f"{begins}+00:00")
    shop.commit("Evening", at=f"{day}T20:00:00+00:00")
    found = review(shop, now=f"{day}T21:00:00.000Z").result["data"]
    assert (found["commits"], found["since"]) == (2, f"{begins}.000Z")


def test_a_day_without_a_commit_says_so_and_sets_no_tasks(tmp_path: Path) -> None:
    shop = Repository(tmp_path)
    shop.commit("The last thing", at=BEFORE)
    assert review(shop).result["text"] == (
        "# shop on Fri 20 Nov: no commits\n"
        "\n"
        "_Fri 20 Nov 00:00 to 17:30, Europe/Berlin_\n"
        "\n"
        "No commit today on any branch; the last one was `The last thing` by Ada Lovelace, Wed 18 Nov 11:00 "
        "(2 days ago).\n"
    )
    assert review(shop).result["data"]["checklist"] == []


def test_a_branch_of_other_days_is_not_todays_unfinished_work(tmp_path: Path) -> None:
    shop = Repository(tmp_path)
    shop.commit("Start", at=BEFORE)
    shop.git("checkout", "-q", "-b", "old")
    shop.commit("Old", at=BEFORE)
    shop.git("checkout", "-q", "main")
    shop.commit("Today", at=TODAY)
    assert numbers_of(shop)["unmerged"] == []


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("src/a.py", "code"),
        ("Makefile", "neither"),
        ("docs/guide.md", "neither"),
        ("test_a.py", "test"),
        ("pkg/a_test.go", "test"),
        ("web/a.spec.ts", "test"),
        ("web/__tests__/a.js", "test"),
        ("src/CartTest.java", "test"),
        ("lib/a_spec.rb", "test"),
        ("tests/data.json", "test"),
        ("src/contest.py", "code"),
        ("src/latest.py", "code"),
    ],
)
def test_code_and_tests_are_told_by_their_paths(tmp_path: Path, path: str, kind: str) -> None:
    shop = Repository(tmp_path)
    shop.write(path, lines(3))
    shop.commit("One", at=TODAY)
    found = numbers_of(shop)
    expected = {"code": (1, 0, 1), "test": (0, 1, 0), "neither": (0, 0, 0)}[kind]
    assert (found["code_files"], found["test_files"], found["code_commits"]) == expected


def test_a_file_that_a_program_wrote_is_not_to_be_read_again(tmp_path: Path) -> None:
    shop = Repository(tmp_path)
    shop.write("package-lock.json", lines(900))
    shop.write("logo.png", b"\x89PNG\x00\x01" * 50)
    shop.write("src/a.py", lines(19))
    shop.commit("One", at=TODAY)
    text = review(shop).result["text"]
    assert "Worth a second look" not in text and "once more" not in text
    shop.write("src/a.py", lines(20))
    shop.commit("Two", at=TODAY)
    assert "- `src/a.py`: +20 −0 in 2 commits\n" in review(shop).result["text"]  # noqa: RUF001


def test_a_renamed_file_is_one_file_with_all_who_changed_it(tmp_path: Path) -> None:
    shop = Repository(tmp_path)
    shop.write("old.py", lines(40))
    shop.commit("Start", at=BEFORE)
    shop.write("old.py", lines(41))
    shop.commit("Edit", who=BOB, at=TODAY)
    shop.git("mv", "old.py", "new.py")
    shop.commit("Rename", at=LATER)
    found = numbers_of(shop)
    assert found["files"] == [
        {"path": "new.py", "added": 1, "removed": 0, "authors": ["Ada Lovelace", "Bob Kahn"]}
    ]
    assert found["shared_files"] == ["new.py"]


def test_merges_are_counted_apart(tmp_path: Path) -> None:
    shop = busy_day(tmp_path)
    shop.git("merge", "-q", "-s", "ours", "--no-ff", "-m", "Merge pay", "feature/pay", at=LATER)
    found = numbers_of(shop)
    assert (found["commits"], found["merges"], found["unmerged"]) == (2, 1, [])
    assert "lines**; 1 merge." in review(shop).result["text"]


@pytest.mark.parametrize("number", [1, 2, 7])
def test_busy_repositories_stay_within_sixty_lines(tmp_path: Path, number: int) -> None:
    shop = Repository(tmp_path)
    shop.commit("Start", at=BEFORE)
    for count in range(12):
        shop.git("checkout", "-q", "-b", f"topic{count}", "main")
        for area in range(6):
            shop.write(f"area{area}/file.py", lines(30, f"v{count}") + f"# {MARK}\n")
        shop.commit(f"wip {count}", who=f"Person {count} <p@example.org>", at=TODAY)
    history = shop.history() | {"branch": "main"}
    named = [history | {"name": f"repository{count}"} for count in range(number)]
    result = run_skill("review-the-day", now=NOW, repositories=named).result
    assert result["data"]["commits"] == 12 * number
    assert len(result["text"].splitlines()) <= 60
    assert "- [ ] " in result["text"]


def test_quiet_repositories_get_a_line_each(tmp_path: Path) -> None:
    busy, quiet, bare = (Repository(tmp_path, name) for name in ("busy", "quiet", "bare"))
    busy.commit("One", at=TODAY)
    quiet.commit("Old", at=BEFORE)
    last = review(quiet, busy, bare).result["text"].splitlines()[-2:]
    assert last[0].startswith("- quiet: no commit today on any branch; the last one was `Old` by Ada Lovelace")
    assert last[1] == "- bare: the repository has no commits yet"
