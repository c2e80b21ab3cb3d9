"""The words of a task choose skills the same way every time, and the choice says which words made it."""

from __future__ import annotations

import pytest

from minion.routines.matching import SEND, Choice, Offer, choose
from minion.routines.phrased import _templates

OFFERS = [offer for offer, _ in _templates()]
SKILLS = [*{skill for offer in OFFERS for skill in offer.pipeline}, SEND]
OWN = Offer("label-issues", ("label-issues",), description="Label new issues of a tracker by area. Use for bugs.")


def chosen(task: str, *own: Offer) -> Choice:
    return choose(task, [*own, *OFFERS], [*SKILLS, *(offer.name for offer in own)])


@pytest.mark.promise("CLI-12")
@pytest.mark.parametrize(
    ("task", "template", "because"),
    [
        ("my team's commits to Slack", "morning-report", ("team", "commits")),
        ("MY TEAM\N{RIGHT SINGLE QUOTATION MARK}S COMMITS", "morning-report", ("team", "commits")),
        ("prepare the stand-up", "standup-prep", ("prepare", "stand-up")),
        ("tell me who is blocked", "standup-prep", ("blocked",)),
        ("what is unfinished today", "end-of-day-review", ("today", "unfinished")),
        ("review the day", "end-of-day-review", ("review", "day", "review the day")),
        ("sort the files in docs", "inbox-triage", ("sort", "files")),
        ("look for duplicates and invoices in the inbox", "inbox-triage", ("invoices", "duplicates", "inbox")),
        ("a digest of the week", "weekly-digest", ("week", "digest", "the week")),
        ("morning-report, as always, for the week", "morning-report", ("morning-report",)),
        ("weekly report", "weekly-digest", ("report", "weekly")),
    ],
)
def test_a_task_in_plain_words_finds_its_template(task: str, template: str, because: tuple[str, ...]) -> None:
    choice = chosen(task)
    assert choice.chosen is not None
    assert (choice.chosen.name, set(choice.because)) == (template, set(because))
    assert choice.pipeline == tuple(skill for skill in choice.chosen.pipeline if skill != SEND) + (
        (SEND,) if "lack" in task else ()
    )


@pytest.mark.parametrize(
    "task", ["check the weather", "release notes", "run the tests", "Täglicher Bericht", "", "!?"]
)
def test_words_that_fit_nothing_choose_nothing(task: str) -> None:
    choice = chosen(task)
    assert (choice.pipeline, choice.chosen, choice.because) == ((), None, ())


def test_what_comes_nearest_is_named_when_nothing_fits() -> None:
    assert [offer.name for offer in chosen("report").others] == ["morning-report", "weekly-digest"]
    assert [offer.name for offer in chosen("team report").others] == ["weekly-digest"]


@pytest.mark.promise("CLI-12")
@pytest.mark.parametrize(
    ("task", "sends"),
    [
        ("my commits", False),
        ("my commits to Slack", True),
        ("post my commits", True),
        ("my commits, but don't post them", False),
        ("my commits without sending anything to slack", False),
        ("send me an email with my commits", False),
        ("mail me my commits and post them to Slack", True),
    ],
)
def test_nothing_is_sent_that_nobody_asked_to_send(task: str, sends: bool) -> None:
    assert chosen(task).pipeline == (("write-daily-report", SEND) if sends else ("write-daily-report",))


def test_a_way_of_telling_people_that_is_not_there_is_named() -> None:
    assert chosen("e-mail my commits to me and to Discord").unmet == ("e-mail", "discord")


def test_words_that_mean_something_and_chose_nothing_are_named() -> None:
    assert chosen("only Ana's commits in api/ to #random").unused == ("only", "ana", "api", "random")
    assert chosen("my team's commits to Slack").unused == ()
    assert chosen("a digest of the week").unused == ()


def test_skills_named_outright_are_taken_in_their_order_and_nothing_else() -> None:
    choice = chosen(f"write-weekly-digest, then triage-folder and {SEND}, about my commits")
    assert (choice.pipeline, choice.chosen) == (("write-weekly-digest", "triage-folder", SEND), None)
    # The message alone is no task: what it is about still decides.
    assert chosen(f"commits, then {SEND}").pipeline[0] == "write-daily-report"


def test_a_skill_of_ones_own_is_found_by_its_name_and_by_two_words_of_its_description() -> None:
    assert chosen("label what came in", OWN).pipeline == ("label-issues",)
    assert chosen("bugs by area in the tracker", OWN).pipeline == ("label-issues",)
    assert chosen("areas", OWN).pipeline == ()
    assert chosen("label the issues and post it", OWN).pipeline == ("label-issues", SEND)


@pytest.mark.parametrize(
    ("task", "name"),
    [
        ("my team's commits to Slack", "team-commits"),
        ("the weekly digest of all the big repositories we have", "weekly-digest-big-repositories"),
        ("to be or not to be", "routine"),
        ("über alles", "alles"),
        ("a" * 90, "a" * 40),
    ],
)
def test_the_name_is_a_slug_of_the_words_that_mean_something(task: str, name: str) -> None:
    assert chosen(task).name == name
