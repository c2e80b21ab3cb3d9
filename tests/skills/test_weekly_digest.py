"""write-weekly-digest counts a week beside the one before: every number here was worked out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.skills.repositories import ADA, BOB, Repository, lines
from tests.skills.tasks import Ended, run_skill

pytestmark = pytest.mark.heavy

# Friday, 16:00 in Berlin, and the Friday before.
NOW = "2026-11-20T15:00:00.000Z"
SINCE = "2026-11-13T15:00:00.000Z"
LONG_AGO = "2026-10-01T10:00:00+00:00"
WEEK_BEFORE = "2026-11-10T10:00:00+00:00"
MONDAY = "2026-11-16T10:00:00+00:00"
TUESDAY = "2026-11-17T10:00:00+00:00"
SUNDAY = "2026-11-15T10:00:00+00:00"
NIGHT = "2026-11-17T21:30:00+00:00"


def digest(*repositories: Repository, **fields: Any) -> Ended:
    histories = [item.history() for item in repositories]
    return run_skill("write-weekly-digest", **{"now": NOW, "since": SINCE, "repositories": histories} | fields)


def numbers_of(*repositories: Repository, **fields: Any) -> dict[str, Any]:
    ended = digest(*repositories, **fields)
    assert ended.exit == 0, ended.log
    first = ended.result["data"]["repositories"][0]
    assert isinstance(first, dict)
    return first


def busy_week(folder: Path) -> Repository:
    """Ada since October, Bob since this week, a tag, a branch open since October."""
    shop = Repository(folder)
    shop.write("src/cart.py", lines(10))
    shop.commit("Start", at=LONG_AGO)
    shop.git("checkout", "-q", "-b", "old/idea")
    shop.commit("An idea", who="Cid <cid@example.org>", at=LONG_AGO)
    shop.git("checkout", "-q", "main")
    shop.write("src/cart.py", lines(12))
    shop.commit("The week before", at=WEEK_BEFORE)
    shop.write("src/cart.py", lines(12, "new"))
    shop.commit("feat: a new cart", at=MONDAY)
    shop.write("docs/guide.md", lines(3))
    shop.write("src/pay.py", lines(4))
    shop.commit("feat: pay", who=BOB, at=TUESDAY)
    shop.git("tag", "-a", "-m", "Release", "v1.2", at=TUESDAY)
    shop.write("src/pay.py", lines(5))
    shop.commit("fix: at night", who=BOB, at=NIGHT)
    return shop


@pytest.mark.promise("SKL-9")
def test_a_busy_week_reads_as_one_page(tmp_path: Path) -> None:
    shop = busy_week(tmp_path)
    first, second, third = (shop.git("rev-parse", f"HEAD~{back}")[:8] for back in (2, 1, 0))
    assert digest(shop).result["text"] == (
        "# The week in shop: 3 commits by 2 authors\n"
        "\n"
        "_Fri 13 Nov 16:00 to Fri 20 Nov 16:00, Europe/Berlin_\n"
        "\n"
        "**3 files, +20 −12 lines**.\n"  # noqa: RUF001
        "\n"
        "Compared with the week before: commits 1 → 3; authors 1 → 2; changed lines 2 → 32.\n"
        "\n"
        "- Authors: Bob Kahn 2 and Ada Lovelace 1; new here: Bob Kahn\n"
        "- Busiest: Tue 17 Nov with 2 commits; at night or on the weekend: 1 of 3\n"
        "- Tagged: `v1.2` (Tue 17 Nov)\n"
        "\n"
        "| Area    | Commits | Before | Files |   Lines |\n"
        "|---------|--------:|-------:|------:|--------:|\n"
        "| `src/`  |       3 |      1 |     2 | +17 −12 |\n"  # noqa: RUF001
        "| `docs/` |       1 |      0 |     1 |   +3 −0 |\n"  # noqa: RUF001
        "\n"
        "**Commits worth a look**\n"
        f"- {first} `feat: a new cart` (Ada Lovelace, +12 −12 in 1 file)\n"  # noqa: RUF001
        f"- {second} `feat: pay` (Bob Kahn, +7 −0 in 2 files)\n"  # noqa: RUF001
        f"- {third} `fix: at night` (Bob Kahn, +1 −0 in 1 file)\n"  # noqa: RUF001
        "\n"
        "**Most changed files**\n"
        "- `src/cart.py`: +12 −12 in 1 commit\n"  # noqa: RUF001
        "- `src/pay.py`: +5 −0 in 2 commits\n"  # noqa: RUF001
        "- `docs/guide.md`: +3 −0 in 1 commit\n"  # noqa: RUF001
        "\n"
        "**Longest not merged into `main`**\n"
        "- `old/idea` by Cid: open for 50 days, 1 commit, last 50 days ago\n"
    )


def test_the_numbers_of_the_data_are_those_of_the_text(tmp_path: Path) -> None:
    data = digest(busy_week(tmp_path)).result["data"]
    found = data["repositories"][0]
    assert data["summary"] == "wrote up the week in shop: 3 commits by 2 authors"
    assert (data["commits"], data["commits_before"]) == (3, 1)
    assert found["week"] == {"commits": 3, "merges": 0, "authors": 2, "files": 3, "added": 20, "removed": 12}
    assert found["before"] == {"commits": 1, "merges": 0, "authors": 1, "files": 1, "added": 2, "removed": 0}
    assert found["new_authors"] == ["Bob Kahn"]
    assert found["commits_by_day"] == {"2026-11-16": 1, "2026-11-17": 2}
    assert found["night_or_weekend"] == 1
    assert found["tags"] == [{"name": "v1.2", "at": "2026-11-17T10:00:00.000Z"}]
    assert [(area["name"], area["commits"], area["commits_before"]) for area in found["areas"]] == [
        ("src/", 3, 1),
        ("docs/", 1, 0),
    ]


@pytest.mark.parametrize(
    ("now", "before", "words"),
    [
        (2, 1, "before: commits 1 → 2; authors 1 → 1; changed lines 0 → 0."),
        (12, 9, "before: commits 9 → 12; "),
        (14, 10, "before: commits 10 → 14 (+40 %); "),
        (3, 12, "before: commits 12 → 3 (−75 %); "),  # noqa: RUF001
        (10, 10, "before: commits 10 → 10; "),
        (1, 0, "before: commits 0 → 1; authors 0 → 1; "),
        (0, 3, "before: commits 3 → 0; authors 1 → 0; "),
        (0, 0, "The week before had none either."),
    ],
)
def test_a_percentage_is_given_only_of_ten_or_more(tmp_path: Path, now: int, before: int, words: str) -> None:
    shop = Repository(tmp_path)
    shop.commit("Start", at=LONG_AGO)
    for at, number in ((WEEK_BEFORE, before), (MONDAY, now)):
        for count in range(number):
            shop.commit(f"{at} {count}", at=at)
    assert words in digest(shop).result["text"]


def test_the_two_weeks_meet_at_one_second_and_share_no_commit(tmp_path: Path) -> None:
    shop = Repository(tmp_path)
    for at in ("2026-11-06T14:59:59", "2026-11-06T15:00:00", "2026-11-13T14:59:59", "2026-11-13T15:00:00"):
        shop.commit(at, at=f"{at}+00:00")
    shop.commit("Now", at="2026-11-20T15:00:00+00:00")
    found = numbers_of(shop)
    assert (found["week"]["commits"], found["before"]["commits"]) == (1, 2)


@pytest.mark.parametrize(
    ("since", "begins"),
    [
        (SINCE, SINCE),
        ("2026-11-12T15:00:00.000Z", "2026-11-12T15:00:00.000Z"),
        # A second digest on one day, one after a long pause, and the first one of all.
        ("2026-11-20T14:00:00.000Z", SINCE),
        ("2026-09-01T15:00:00.000Z", SINCE),
        (None, SINCE),
    ],
)
def test_the_week_begins_with_the_last_digest_if_that_was_about_a_week_ago(
    tmp_path: Path, since: str | None, begins: str
) -> None:
    assert digest(Repository(tmp_path), since=since).result["data"]["since"] == begins


def test_an_author_who_only_was_away_is_not_new(tmp_path: Path) -> None:
    shop = Repository(tmp_path)
    shop.write(".mailmap", "Ada Lovelace <ada@example.org> <old@example.org>\n")
    shop.commit("Old", who="A. Lovelace <old@example.org>", at=LONG_AGO)
    shop.commit("Back again", who=ADA, at=MONDAY)
    shop.commit("First one", who=BOB, at=MONDAY)
    assert numbers_of(shop)["new_authors"] == ["Bob Kahn"]


def test_nights_and_weekends_are_those_of_the_routines_zone(tmp_path: Path) -> None:
    shop = Repository(tmp_path)
    for at in (SUNDAY, MONDAY, NIGHT, "2026-11-18T04:59:00+00:00", "2026-11-18T05:00:00+00:00"):
        shop.commit(at, at=at)
    assert numbers_of(shop)["night_or_weekend"] == 3
    assert numbers_of(shop, timezone="Asia/Tokyo")["night_or_weekend"] == 1
    assert "Busiest: Wed 18 Nov with 2 commits;" in digest(shop).result["text"]


def test_all_days_that_are_even_are_the_busiest(tmp_path: Path) -> None:
    shop = Repository(tmp_path)
    for at in (MONDAY, TUESDAY):
        shop.commit(at, at=at)
    assert "- Busiest: Mon 16 Nov and Tue 17 Nov with 1 commit each;" in digest(shop).result["text"]


def test_a_light_tag_counts_on_its_commits_day_and_an_old_one_does_not(tmp_path: Path) -> None:
    shop = Repository(tmp_path)
    shop.commit("Start", at=LONG_AGO)
    shop.git("tag", "light-old")
    shop.git("tag", "-a", "-m", "Late", "late", at=MONDAY)
    shop.commit("New", at=TUESDAY)
    shop.git("tag", "light-new")
    assert [tag["name"] for tag in numbers_of(shop)["tags"]] == ["light-new", "late"]


def test_open_branches_come_oldest_first_and_merged_ones_do_not(tmp_path: Path) -> None:
    shop = Repository(tmp_path)
    shop.commit("Start", at=LONG_AGO)
    for name, at in (("young", TUESDAY), ("gh-pages", LONG_AGO), ("old", WEEK_BEFORE), ("merged", MONDAY)):
        shop.git("checkout", "-q", "-b", name, "main")
        shop.commit(name, at=at)
    shop.git("checkout", "-q", "main")
    shop.git("merge", "-q", "--no-ff", "-m", "Merge", "merged", at=TUESDAY)
    found = numbers_of(shop)
    assert [(branch["name"], branch["commits"]) for branch in found["branches"]] == [("old", 1), ("young", 1)]
    assert (found["week"]["commits"], found["week"]["merges"]) == (1, 1)


def test_a_shallow_clone_claims_no_trend_and_nobody_new(tmp_path: Path) -> None:
    shop = busy_week(tmp_path)
    shop.git("clone", "-q", "--bare", "--depth", "2", f"file://{shop.folder}", str(tmp_path / "cut.git"))
    cut = {"name": "shop", "path": "/", "history": str(tmp_path / "cut.git"), "branch": "main"}
    result = run_skill("write-weekly-digest", now=NOW, since=SINCE, repositories=[cut]).result
    found = result["data"]["repositories"][0]
    assert (found["before"], found["new_authors"], result["data"]["commits_before"]) == (None, None, None)
    assert "The week before is not known: this clone is shallow." in result["text"]
    assert "the changes of 1 commit at the edge of this shallow clone are not known" in result["text"]
    assert "new here" not in result["text"] and "Before" not in result["text"]


def test_a_quiet_week_names_the_last_commit(tmp_path: Path) -> None:
    shop = Repository(tmp_path)
    shop.commit("The last thing", at=LONG_AGO)
    assert (
        "No commit on `main` this week; the last one on any branch was `The last thing` by Ada Lovelace, "
        "Thu 1 Oct 12:00 (50 days ago).\n"
    ) in digest(shop).result["text"]


@pytest.mark.parametrize("number", [1, 2, 3, 9])
def test_busy_repositories_stay_within_sixty_lines(tmp_path: Path, number: int) -> None:
    shop = Repository(tmp_path)
    shop.commit("Start", at=LONG_AGO)
    for count in range(10):
        shop.write(f"area{count}/file", lines(3))
        shop.commit(f"Change {count}", who=f"Person {count} <p@example.org>", at=MONDAY)
        shop.git("tag", f"v{count}")
    for count in range(8):
        shop.git("checkout", "-q", "-b", f"topic{count}", "main")
        shop.commit("Elsewhere", at=MONDAY)
    shop.git("checkout", "-q", "main")
    history = shop.history()
    named = [history | {"name": f"repository{count}"} for count in range(number)]
    result = run_skill("write-weekly-digest", now=NOW, since=SINCE, repositories=named).result
    assert result["data"]["commits"] == 10 * number
    assert len(result["text"].splitlines()) <= 60
    if number == 9:
        assert "- and 2 more repositories\n" in result["text"]
