"""`minion schedule`: a sentence becomes a routine that somebody agreed to; times are read, shown and changed."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.skills.repositories import Repository
from tests.whole.homes import (
    clean_environment,
    command_line,
    make_home,
    performed,
    results_in,
    write_secrets,
    write_skill,
)
from tests.whole.refusals_said import Place, Told, say
from tests.whole.terminals import at_terminal

pytestmark = pytest.mark.heavy

COMMITS = 'schedule "every weekday at 9: my team\'s commits to Slack"'
TWO_SCHEDULES = """\
name: two
pipeline: [write-daily-report]
cron_expression: "0 9 * * *"
triggers: [{type: schedule, cron: "0 18 * * *"}]
repositories: []
"""


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A folder in no checkout, with a fresh home; the minion's zone is Europe/Berlin."""
    make_home(tmp_path)
    return Place(tmp_path)


def files(place: Place) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted(place.home.routines.iterdir())}


def printed(told: Told) -> dict[str, Any]:
    assert (told.exit_code, told.err) == (0, "")
    said: dict[str, Any] = json.loads(told.out)
    return said


@pytest.mark.promise("CLI-12")
def test_a_sentence_is_shown_as_cron_zone_and_three_instants_with_what_was_chosen_and_why(place: Place) -> None:
    before = place.state()
    said = printed(say(place, COMMITS + " --json"))
    assert (said["cron"], said["timezone"], said["saved"]) == ("0 9 * * 1-5", "Europe/Berlin", False)
    assert len(said["next"]) == 3
    assert all("T09:00:00+0" in instant for instant in said["next"])
    assert said["words"] == "every weekday at 9:00, Europe/Berlin"
    assert (said["routine"], said["template"]) == ("team-commits", "morning-report")
    assert said["pipeline"] == ["write-daily-report", "send-to-slack"]
    assert said["because"] == ["team", "commits"]
    assert said["cautions"] == [
        "No Slack webhook is kept yet: the message becomes a file in the outbox (minion setup).",
        "It has no repository to look at: name one with --repo.",
    ]
    told = say(place, COMMITS)
    for words in (
        "0 9 * * 1-5  (Europe/Berlin)",
        "the template morning-report, for “team”, “commits”",
        said["words"],
    ):
        assert words in told.out
    assert (told.code, told.exit_code, place.state()) == ("not_confirmed", 2, before)


@pytest.mark.promise("CLI-12")
def test_a_person_at_a_terminal_is_asked_and_no_means_no(place: Place) -> None:
    argv = command_line(place.home, "schedule", "fridays at 16: weekly digest")
    for answer, kept in (("n", []), ("", ["weekly-digest.yaml"])):
        with at_terminal(argv, env=clean_environment(place.home), cwd=place.folder) as terminal:
            terminal.type("Keep this routine? [Y/n]: ", answer)
            assert terminal.ended() == 0
        assert ("Nothing was kept." in terminal.shown) == (answer == "n")
        assert list(files(place)) == kept


@pytest.mark.heavy
def test_the_routine_that_was_agreed_to_is_a_file_people_can_read_and_it_runs(place: Place) -> None:
    shop = Repository(place.folder)
    shop.write("a.txt", "a\n")
    shop.commit("Open the shop")
    write_secrets(place.home, {"slack_webhook": "https://hooks.slack.example/T000/B000/0123456789"})
    said = printed(say(place, f"{COMMITS} --yes --json --repo {shop.folder}"))
    assert (said["saved"], said["cautions"], said["repositories"]) == (True, [], [str(shop.folder)])
    assert files(place) == {
        "team-commits.yaml": "# Made by minion schedule, from the template morning-report.\n"
        "name: team-commits\n"
        "content: my team's commits to Slack\n"
        "pipeline: [write-daily-report, send-to-slack]\n"
        'cron_expression: "0 9 * * 1-5"\n'
        "timezone: Europe/Berlin\n"
        f'repositories: ["{shop.folder}"]\n'
    }
    printed(say(place, f'schedule "every day at 8: triage my inbox" --yes --json --repo {shop.folder}'))
    assert "content: |-\n  triage my inbox\n\n  folder: inbox\n" in files(place)["triage-inbox.yaml"]
    run = performed(place.home, "triage-inbox", repository=str(shop.folder))
    assert (run["state"], results_in(place.home, run)[0]["skill"]) == ("completed", "triage-folder")


@pytest.mark.heavy
def test_a_name_that_is_taken_gets_a_number_and_a_given_one_is_kept_to(place: Place) -> None:
    sentence = 'schedule "every day at 8: triage my inbox" --yes --json'
    names = [printed(say(place, sentence))["routine"] for _ in range(2)]
    assert names == ["triage-inbox", "triage-inbox-2"]
    assert printed(say(place, f"{sentence} --name mine"))["routine"] == "mine"
    told = say(place, 'schedule "every day at 7: triage my inbox" --yes --name mine')
    assert (told.code, told.exit_code) == ("routine_exists", 3)
    told = say(place, f"{sentence} --name 'No slug'")
    assert (told.code, told.out) == ("bad_name", "")
    assert sorted(files(place)) == ["mine.yaml", "triage-inbox-2.yaml", "triage-inbox.yaml"]


@pytest.mark.heavy
def test_words_that_fit_nothing_become_a_prompt_and_the_caution_says_what_that_means(place: Place) -> None:
    said = printed(say(place, 'schedule "tomorrow at noon: check the weather" --yes --json'))
    assert (said["pipeline"], said["template"], said["cron"]) == ([], None, None)
    assert "they become a prompt" in said["cautions"][0]
    assert "no model to answer a prompt" in said["cautions"][1]
    assert "triggers: [{" in files(place)["check-weather.yaml"]


def test_what_the_words_ask_beyond_the_choice_is_said(place: Place) -> None:
    said = printed(say(place, 'schedule "daily at 9: only Ana\'s commits in api/" --json'))
    assert said["cautions"][0] == (
        "Chosen without only, ana, api: what the skill can be told stands in"
        " `minion skill show write-daily-report`."
    )


def test_a_skill_of_ones_own_is_offered_and_chosen(place: Place) -> None:
    write_skill(
        place.home, "label-issues", "answer(text='done')", description="Label issues by area. Use for bugs."
    )
    said = printed(say(place, 'schedule "hourly: label the new issues" --json'))
    assert (said["pipeline"], said["chosen"]) == (
        ["label-issues"],
        "your skill label-issues, for “label”, “issues”",
    )


@pytest.mark.parametrize(
    ("words", "code", "hint"),
    [
        ("'every fullmoon: x'", "phrase", "closest: every day at 9:00"),
        ("'first monday of the month: x'", "phrase", "every Monday"),
        ("'every day at 9'", "no_task", 'schedule "every weekday at 9: my team\'s commits to Slack"'),
        ("'0 0 30 2 *: x'", "bad_schedule", ""),
        ("'every day at 9:30: weekly'", "routine_there", 'schedule update weekly "every day at 9:30"'),
        ("delete weekly", "no_such_verb", "schedule remove --help"),
        ("'every day at 9: " + "x" * 1_990 + "'", "phrase", "a long task belongs"),
        ("resum", "no_such_verb", "schedule resume --help"),
        ("'every day at 9: x' --repo /nowhere", "no_repository", "name a folder"),
    ],
)
def test_a_sentence_that_cannot_be_taken_is_refused_with_the_way_on(
    place: Place, words: str, code: str, hint: str
) -> None:
    (place.home.routines / "weekly.yaml").write_text("name: weekly\ncontent: x\nrepositories: []\n")
    before = place.state()
    told = say(place, f"schedule {words}" if code == "no_such_verb" else f"schedule {words} --yes")
    assert (told.code, told.exit_code) == (code, 2)
    sentence, hinted = told.err.removeprefix("minion: ").splitlines()
    assert not sentence[0].islower() and sentence.endswith(".")
    assert hint in hinted
    assert place.state() == before


def test_times_alone_can_be_asked_for_and_quotes_forgotten(place: Place) -> None:
    assert printed(say(place, "schedule every day at 9 --json"))["cron"] == "0 9 * * *"
    said = printed(say(place, "schedule '30 8 * * 1-5 Asia/Tokyo' --json"))
    assert (said["cron"], said["timezone"], said["routine"]) == ("30 8 * * 1-5", "Asia/Tokyo", None)
    assert all("T08:30:00+09:00" in instant for instant in said["next"])


@pytest.mark.promise("CLI-13")
def test_an_update_changes_the_time_and_nothing_else_of_the_file(place: Place) -> None:
    source = place.folder / "weekly.yaml"
    told = "# ours\nname: weekly\npipeline: [write-weekly-digest]  # no Slack\n"
    text = told + "cron_expression: 0 9 * * 1\nrepositories: []\n"
    source.write_text(text)
    assert say(place, "routine add weekly.yaml").exit_code == 0
    assert say(place, "schedule update weekly '30 8 * * 1-5'").exit_code == 0
    zoned = text.replace("0 9 * * 1\n", '"30 8 * * 1-5"\n') + 'timezone: "Europe/Berlin"\n'
    assert files(place) == {"weekly.yaml": zoned}
    shown = say(place, "schedule update weekly 'fridays at 16 in Tokyo'")
    assert (shown.code, files(place)) == ("not_confirmed", {"weekly.yaml": zoned})
    assert "until now     every weekday at 8:30, Europe/Berlin" in shown.out
    assert printed(say(place, "schedule update weekly 'fridays at 16 in Tokyo' --json"))["saved"] is False
    assert printed(say(place, "schedule update weekly 'fridays at 16 in Tokyo' --yes --json"))["saved"] is True
    (listed,) = json.loads(say(place, "schedule list --json").out)
    assert (listed["words"], listed["timezone"]) == (["every Friday at 16:00, Asia/Tokyo"], "Asia/Tokyo")
    assert say(place, "schedule update weekly '2030-01-01T10:00' --yes").exit_code == 0
    (listed,) = json.loads(say(place, "schedule list --json").out)
    assert (listed["cron"], listed["next"]) == (None, ["2030-01-01T10:00:00+09:00"])
    assert say(place, "schedule update weekly @daily").exit_code == 0
    (listed,) = json.loads(say(place, "schedule list --json").out)
    assert (listed["cron"], listed["words"]) == ("0 0 * * *", ["every day at 0:00, Asia/Tokyo"])


def test_an_update_that_is_not_clear_changes_nothing(place: Place) -> None:
    (place.folder / "two.yaml").write_text(TWO_SCHEDULES)
    assert say(place, "routine add two.yaml").exit_code == 0
    before = place.state()
    several = say(place, "schedule update two '0 8 * * *'")
    assert (several.code, "routine edit two" in several.err) == ("several_schedules", True)
    assert say(place, "schedule update nobody '0 8 * * *'").code == "no_such_routine"
    assert place.state() == before
    (place.home.routines / "two.yaml").write_text(TWO_SCHEDULES.replace("triggers", "paused: false #"))
    assert say(place, "run two").exit_code in (0, 1)
    told = say(place, "schedule update two '8:30 on weekdays: something else' --yes")
    assert (told.code, 'update two "8:30 on weekdays"\n' in told.err) == ("task_in_update", True)
    assert "after a colon" not in say(place, "schedule update two '0 10 * *'").err
    assert say(place, "schedule update two '99 99 * * *' --yes").exit_code == 2


@pytest.mark.heavy
@pytest.mark.promise("CLI-13")
def test_pausing_and_resuming_touch_one_line_and_say_what_they_did(place: Place) -> None:
    printed(say(place, 'schedule "every day at 8: triage my inbox" --yes --json'))
    before = files(place)["triage-inbox.yaml"]
    assert say(place, "schedule pause triage-inbox").out == "triage-inbox is paused.\n"
    assert files(place) == {"triage-inbox.yaml": before + "paused: true\n"}
    assert say(place, "schedule pause triage-inbox").out == "triage-inbox was paused already.\n"
    assert "paused" in say(place, "schedule list").out
    resumed = printed(say(place, "schedule resume triage-inbox --json"))
    assert (resumed["paused"], resumed["changed"], len(resumed["next"])) == (False, True, 3)
    assert files(place) == {"triage-inbox.yaml": before + "paused: false\n"}
    assert "fires" in say(place, "schedule resume triage-inbox").out


@pytest.mark.heavy
def test_the_verbs_of_other_commands_work_here_too(place: Place) -> None:
    printed(say(place, 'schedule "every day at 8: triage my inbox" --yes --json'))
    assert "triage-inbox is removed" in say(place, "schedule remove triage-inbox").out
    assert say(place, "schedule run triage-inbox").code == "no_such_routine"
    assert say(place, "schedule list").out.startswith("No routines yet: ")
    assert json.loads(say(place, "schedule list --json").out) == []


@pytest.mark.heavy
def test_a_zone_that_the_machine_lost_leaves_the_listing_readable(place: Place) -> None:
    printed(say(place, 'schedule "every day at 8 in Tokyo: triage my inbox" --yes --json'))
    with sqlite3.connect(place.home.store) as db:
        db.execute("UPDATE routines SET document = replace(document, 'Asia/Tokyo', 'Asia/Nowhere')")
    db.close()
    told = say(place, "schedule list")
    assert (told.exit_code, "triage-inbox" in told.out) == (0, True)
