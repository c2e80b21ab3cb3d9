"""prepare-standup tells by person what was done, is in work and needs watching; numbers worked out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.skills.repositories import ADA, BOB, Repository, lines
from tests.skills.tasks import Ended, run_skill

pytestmark = pytest.mark.heavy

# Friday, 8:45 in Berlin; the last standup was the day before at the same time.
NOW = "2026-11-20T07:45:00.000Z"
SINCE = "2026-11-19T07:45:00.000Z"
YESTERDAY = "2026-11-19T14:00:00+00:00"
EARLIER = "2026-11-16T10:00:00+00:00"
LONG_AGO = "2026-10-01T10:00:00+00:00"
MARK = "TO" + "DO"


def standup(*repositories: Repository, **fields: Any) -> Ended:
    histories = [item.history() for item in repositories]
    return run_skill("prepare-standup", **{"now": NOW, "since": SINCE, "repositories": histories} | fields)


def people_of(*repositories: Repository, **fields: Any) -> dict[str, dict[str, Any]]:
    ended = standup(*repositories, **fields)
    assert ended.exit == 0, ended.log
    return {person["name"]: person for person in ended.result["data"]["people"]}


def team(folder: Path) -> Repository:
    """A small team's repository: Ada on main, Bob on a branch that conflicts, one branch long forgotten."""
    shop = Repository(folder)
    shop.write("src/cart.py", lines(5))
    shop.commit("Start", at=LONG_AGO)
    shop.git("checkout", "-q", "-b", "old/idea")
    shop.commit("An idea", who="Cid <cid@example.org>", at=LONG_AGO)
    shop.git("checkout", "-q", "-b", "feature/pay", "main")
    shop.write("src/cart.py", lines(5, "pay"))
    shop.commit("feat: begin to pay", who=BOB, at=EARLIER)
    shop.write("src/pay.py", f"# {MARK}: round\npass\n# {MARK}: tax\n")
    shop.commit("feat: pay", who=BOB, at=YESTERDAY)
    shop.git("checkout", "-q", "main")
    shop.write("src/cart.py", lines(7, "cart"))
    shop.commit("fix: the cart", at=YESTERDAY)
    return shop


@pytest.mark.promise("SKL-6")
def test_a_standup_reads_as_bullets_by_person(tmp_path: Path) -> None:
    assert standup(team(tmp_path)).result["text"] == (
        "# Standup: 2 commits by 2 people in shop\n"
        "\n"
        "_Thu 19 Nov 08:45 to Fri 20 Nov 08:45, Europe/Berlin_\n"
        "\n"
        "**Bob Kahn**\n"
        "- Yesterday: 1 commit (+3 −0), in `src/`: `feat: pay`\n"  # noqa: RUF001
        "- In progress: `feature/pay` (2 commits not in `main`, begun 4 days ago, last yesterday)\n"
        "- Watch: `feature/pay` conflicts with `main` in `src/cart.py`; added 2 lines marked to do\n"
        "\n"
        "**Ada Lovelace**\n"
        "- Yesterday: 1 commit (+7 −5), in `src/`: `fix: the cart`\n"  # noqa: RUF001
        "\n"
        "**Watch: 1 stale branch of people not named above**\n"
        "- `old/idea` by Cid, no commit for 49 days\n"
    )


def test_the_numbers_of_the_data_are_those_of_the_text(tmp_path: Path) -> None:
    data = standup(team(tmp_path)).result["data"]
    assert data["summary"] == "standup: 2 commits by 2 people in shop"
    assert (data["commits"], data["people_count"], data["conflicts_known"]) == (2, 2, True)
    bob = data["people"][0]
    assert (bob["commits"], bob["added"], bob["removed"], bob["marks_added"]) == (1, 3, 0, 2)
    assert bob["in_progress"] == [
        {
            "repository": "shop",
            "branch": "feature/pay",
            "owner": "Bob Kahn",
            "commits": 2,
            "first_commit_at": "2026-11-16T10:00:00.000Z",
            "last_commit_at": "2026-11-19T14:00:00.000Z",
            "conflicts": ["src/cart.py"],
        }
    ]
    assert [work["branch"] for work in data["stale_elsewhere"]] == ["old/idea"]


@pytest.mark.parametrize("said", ["only bob", "Just Bob Kahn", "only: Bob", "line\nonly: kahn\n"])
def test_the_input_may_name_one_author(tmp_path: Path, said: str) -> None:
    result = standup(team(tmp_path), input=said).result
    assert [person["name"] for person in result["data"]["people"]] == ["Bob Kahn"]
    assert result["text"].startswith("# Standup for Bob Kahn: 1 commit in shop\n")
    assert "Ada" not in result["text"] and "old/idea" not in result["text"]
    assert "  - `feat: pay`\n" in result["text"]


def test_the_routines_content_may_name_the_author_for_good_and_the_input_comes_first(tmp_path: Path) -> None:
    shop = team(tmp_path)
    mine = {"name": "standup", "content": "My standup.\n\n- only: Ada\n"}
    assert list(people_of(shop, routine=mine)) == ["Ada Lovelace"]
    assert list(people_of(shop, routine=mine, input="only Bob")) == ["Bob Kahn"]


def test_a_name_nobody_has_is_said_to_be_so_with_those_who_were_active(tmp_path: Path) -> None:
    ended = standup(team(tmp_path), input="only Zoe")
    assert ended.exit == 0
    assert "Nobody named `Zoe` made a commit since Thu 19 Nov 08:45" in ended.result["text"]
    assert "Active: Bob Kahn, Ada Lovelace." in ended.result["text"].replace(" and ", ", ")


def test_a_whole_name_is_preferred_to_a_part_of_one(tmp_path: Path) -> None:
    shop = Repository(tmp_path)
    for who in ("Ann Lee <a@example.org>", "Hannah Ray <h@example.org>"):
        shop.commit("Work", who=who, at=YESTERDAY)
    assert list(people_of(shop, input="only ann")) == ["Ann Lee"]
    assert list(people_of(shop, input="only hann")) == ["Hannah Ray"]


@pytest.mark.parametrize(
    ("since", "now", "begins", "label"),
    [
        (SINCE, NOW, "2026-11-19T07:45:00.000Z", "Yesterday"),
        # Monday after Friday's standup: the weekend belongs to it.
        ("2026-11-20T07:45:00.000Z", "2026-11-23T07:45:00.000Z", "2026-11-20T07:45:00.000Z", "Since Fri 20 Nov"),
        # The first standup ever: `since` is a week ago, the last working day is meant. In Berlin, that is.
        ("2026-11-13T07:45:00.000Z", NOW, "2026-11-18T23:00:00.000Z", "Yesterday"),
        ("2026-11-16T07:45:00.000Z", "2026-11-23T07:45:00.000Z", "2026-11-19T23:00:00.000Z", "Since Fri 20 Nov"),
        # A second standup on one day tells of the same working day again.
        ("2026-11-20T07:00:00.000Z", NOW, "2026-11-18T23:00:00.000Z", "Yesterday"),
        (None, NOW, "2026-11-18T23:00:00.000Z", "Yesterday"),
    ],
)
def test_the_period_begins_with_the_last_standup_or_the_last_working_day(
    tmp_path: Path, since: str | None, now: str, begins: str, label: str
) -> None:
    shop = Repository(tmp_path)
    shop.commit("Work", at="2026-11-20T07:46:00+00:00" if now != NOW else YESTERDAY)
    result = standup(shop, since=since, now=now).result
    assert result["data"]["since"] == begins
    assert f"- {label}: 1 commit" in result["text"]


def test_work_of_today_is_called_so(tmp_path: Path) -> None:
    shop = Repository(tmp_path)
    shop.commit("Early", at="2026-11-20T06:00:00+00:00")
    assert "- Today: 1 commit" in standup(shop).result["text"]
    shop.commit("Late", at=YESTERDAY)
    assert "- Yesterday and today: 2 commits" in standup(shop).result["text"]


def test_a_branch_is_stale_after_the_days_that_the_routine_says(tmp_path: Path) -> None:
    shop = team(tmp_path)
    bob = people_of(shop, routine={"name": "s", "content": "stale: 1"})["Bob Kahn"]
    assert [work["branch"] for work in bob["in_progress"]] == ["feature/pay"]
    told = standup(shop, now="2026-11-26T07:45:00.000Z", routine={"name": "s", "content": "stale: 3 days"})
    assert [work["branch"] for work in told.result["data"]["stale_elsewhere"]] == ["old/idea", "feature/pay"]
    assert standup(shop, input="stale: soon").exit == 2


def test_a_revert_is_watched_with_whose_work_it_took_back(tmp_path: Path) -> None:
    shop = Repository(tmp_path)
    shop.commit("feat: a wheel", who=BOB, at=YESTERDAY)
    shop.commit('Revert "feat: a wheel"', at=YESTERDAY)
    shop.commit('Revert "something older"', at=YESTERDAY)
    text = standup(shop).result["text"]
    assert "- Watch: reverted `something older`; reverted `feat: a wheel` by Bob Kahn\n" in text


def test_a_marked_line_that_was_moved_is_not_counted_as_added(tmp_path: Path) -> None:
    shop = Repository(tmp_path)
    shop.write("a.py", f"# {MARK} one\n# {MARK} two\n" + lines(30))
    shop.commit("Start", at=LONG_AGO)
    shop.write("a.py", lines(30) + f"    # {MARK} two\n# {MARK} three\n")
    shop.commit("Move one, drop one, add one", at=YESTERDAY)
    shop.write("b.py", f"++ {MARK} in a line that begins like a header\n{MARK}S\nMASTO{MARK}\n")
    shop.commit("Look-alikes", who=BOB, at=YESTERDAY)
    people = people_of(shop)
    assert (people["Ada Lovelace"]["marks_added"], people["Bob Kahn"]["marks_added"]) == (1, 1)


def test_a_clean_branch_has_no_conflict_and_the_history_gets_no_object(tmp_path: Path) -> None:
    shop = Repository(tmp_path)
    shop.write("a", lines(20))
    shop.commit("Start", at=EARLIER)
    shop.git("checkout", "-q", "-b", "side")
    shop.write("a", lines(20) + "end\n")
    shop.commit("Side", at=YESTERDAY)
    shop.git("checkout", "-q", "main")
    shop.write("a", "begin\n" + lines(20))
    shop.commit("Main", at=YESTERDAY)
    history = shop.history()
    before = sorted(Path(history["history"]).rglob("*"))
    person = run_skill("prepare-standup", now=NOW, since=SINCE, repositories=[history]).result["data"]["people"][0]
    assert [work["conflicts"] for work in person["in_progress"]] == [[]]
    assert sorted(Path(history["history"]).rglob("*")) == before


def test_a_merge_driver_of_the_history_is_not_started_for_a_trial_merge(tmp_path: Path) -> None:
    shop = team(tmp_path)
    history, trace = shop.history(), tmp_path / "trace"
    with (Path(history["history"]) / "config").open("a") as config:
        config.write(f'[merge "evil"]\n\tdriver = touch {trace}\n')
    (Path(history["history"]) / "info").mkdir(exist_ok=True)
    (Path(history["history"]) / "info" / "attributes").write_text("* merge=evil\n")
    ended = run_skill("prepare-standup", now=NOW, since=SINCE, repositories=[history])
    assert ended.result["data"]["people"][0]["in_progress"][0]["conflicts"] == ["src/cart.py"]
    assert not trace.exists()


def test_a_branch_without_a_common_ancestor_leaves_the_others_conflicts_known(tmp_path: Path) -> None:
    shop = team(tmp_path)
    shop.git("checkout", "-q", "--orphan", "pages")
    shop.commit("Site", at=YESTERDAY)
    shop.git("checkout", "-q", "main")
    people = people_of(shop)
    assert people["Bob Kahn"]["in_progress"][0]["conflicts"] == ["src/cart.py"]
    assert people["Ada Lovelace"]["in_progress"][0]["conflicts"] is None


def test_a_branch_merged_since_is_not_in_progress_and_its_commits_count_once(tmp_path: Path) -> None:
    shop = Repository(tmp_path)
    shop.commit("Start", at=LONG_AGO)
    shop.git("checkout", "-q", "-b", "side")
    shop.commit("Side", who=BOB, at=YESTERDAY)
    shop.git("checkout", "-q", "main")
    shop.git("merge", "-q", "--no-ff", "-m", "Merge side", "side", at=YESTERDAY)
    people = people_of(shop)
    assert (people["Bob Kahn"]["commits"], people["Bob Kahn"]["in_progress"]) == (1, [])
    assert (people["Ada Lovelace"]["commits"], people["Ada Lovelace"]["merges"]) == (0, 1)
    assert "**Ada Lovelace**\n- Yesterday: 1 merge\n" in standup(shop).result["text"]


def test_a_branch_that_took_main_in_is_its_owners_and_has_its_own_commits_only(tmp_path: Path) -> None:
    shop = Repository(tmp_path)
    shop.commit("Start", at=LONG_AGO)
    shop.git("checkout", "-q", "-b", "side")
    shop.commit("Side", who=BOB, at=EARLIER)
    shop.git("checkout", "-q", "main")
    shop.commit("Main", at=EARLIER)
    shop.git("checkout", "-q", "side")
    for count in range(3):
        shop.git("merge", "-q", "--no-ff", "-m", f"Take main in {count}", "main", at=YESTERDAY)
        shop.git("checkout", "-q", "main")
        shop.commit(f"More {count}", at=YESTERDAY)
        shop.git("checkout", "-q", "side")
    shop.git("checkout", "-q", "main")
    (work,) = people_of(shop)["Bob Kahn"]["in_progress"]
    assert (work["commits"], work["last_commit_at"]) == (1, "2026-11-16T10:00:00.000Z")


def test_programs_come_after_people_and_several_repositories_are_named(tmp_path: Path) -> None:
    shop, docs = Repository(tmp_path, "shop"), Repository(tmp_path, "docs")
    for count in range(3):
        shop.commit(f"Bump {count}", who="renovate[bot] <r@example.org>", at=YESTERDAY)
    docs.write("guide/a.md", "x\n")
    docs.commit("Guide", at=YESTERDAY)
    text = standup(shop, docs).result["text"]
    assert text.startswith("# Standup: 4 commits by 2 people in 2 repositories\n")
    assert "**Ada Lovelace**\n- Yesterday: 1 commit (+1 −0), in docs `guide/`: docs `Guide`\n" in text  # noqa: RUF001
    assert text.index("Ada Lovelace") < text.index("renovate[bot]")


def test_a_day_without_anything_names_the_last_commit(tmp_path: Path) -> None:
    shop = Repository(tmp_path)
    shop.commit("The last thing", at=LONG_AGO)
    result = standup(shop).result
    assert result["data"]["summary"] == "standup: nothing new in shop"
    assert "No commit since Thu 19 Nov 08:45, and no branch in work.\n" in result["text"]
    assert "The last commit was `The last thing` by Ada Lovelace, Thu 1 Oct 12:00 (50 days ago)." in result["text"]


def test_a_large_team_stays_within_sixty_lines(tmp_path: Path) -> None:
    shop = Repository(tmp_path)
    shop.write("a", lines(3))
    shop.commit("Start", at=LONG_AGO)
    for count in range(12):
        who = f"Person {count:02} <p@example.org>"
        shop.git("checkout", "-q", "-b", f"old{count}", "main")
        shop.commit("Old", who=f"Gone {count} <g@example.org>", at=LONG_AGO)
        shop.git("checkout", "-q", "-b", f"topic{count}", "main")
        shop.write("a", lines(3, f"v{count}"))
        shop.commit(f"Topic {count}", who=who, at=YESTERDAY)
    shop.git("checkout", "-q", "main")
    shop.write("a", f"# {MARK}\n")
    shop.commit("Main", who=ADA, at=YESTERDAY)
    result = standup(shop).result
    assert (result["data"]["people_count"], len(result["data"]["people"])) == (13, 13)
    assert "And 4 more people: 4 commits." in result["text"]
    assert "**Watch: 12 stale branches of people not named above**" in result["text"]
    assert "- and 9 more\n" in result["text"]
    assert len(result["text"].splitlines()) <= 60
