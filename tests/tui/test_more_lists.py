"""The inbox, skills, effects and why: what each lists, shows whole, decides and copies."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import pytest

from minion.tui.lines import paragraphs
from minion.tui.screens.asking import Deciding
from tests.minion.stored_runs import tamper
from tests.tui.list_steps import go, pane, seek, words
from tests.tui.list_stories import a_full_month
from tests.tui.piloting import Stage, home_with, on_stage, show
from tests.tui.stories import Shelf

pytestmark = pytest.mark.heavy


def test_the_inbox_lists_what_needs_a_person_and_shows_the_evidence(tmp_path: Path) -> None:
    async def seen(stage: Stage) -> None:
        assert "INBOX 3" in stage.text
        order = [re.sub(r" +", " ", line)[2:].split(" ")[1] for line in stage.lines if line.endswith("d decide")]
        assert order == ["hold", "effect", "rejected"]
        await stage.press("enter")
        assert f"- sha256:{'1' * 64}" in stage.text and f"+ sha256:{'2' * 64}" in stage.text
        await stage.press("down")
        assert "d says whether it arrived" in stage.text and "eff_" in stage.text
        await stage.press("down")
        assert "rejected by  alice" in stage.text

    on_stage(tmp_path, a_full_month, seen, keys=["5"])


@pytest.mark.heavy
def test_each_thing_in_the_inbox_is_decided_by_an_answer_that_is_typed(tmp_path: Path) -> None:
    async def seen(stage: Stage) -> None:
        for question in ("may it run with that?", "Did it arrive?", "Approve it after all?"):
            await stage.press("d")
            await stage.until(lambda: isinstance(stage.app.screen, Deciding))
            assert question in words(stage)
            await stage.press("escape", "down")

    on_stage(tmp_path, a_full_month, seen, keys=["5"])


def test_the_inbox_opens_at_the_decision_it_is_about_and_says_where_hqs_own_is(tmp_path: Path) -> None:
    home, config = home_with(tmp_path, a_full_month)
    tamper(home.root, "INSERT INTO meta VALUES ('hq', 'https://hq.example.org')")
    connection = sqlite3.connect(home.store)
    (refused,) = connection.execute("SELECT id FROM decisions WHERE answer = 'reject'").fetchone()
    connection.close()

    async def seen(stage: Stage) -> None:
        place = await go(stage, "inbox", refused)
        assert place.chosen == f"rejected:{refused}"
        assert "What waits at HQ: https://hq.example.org/decisions" in stage.text

    show(home, config, seen)


@pytest.mark.heavy
def test_skills_are_listed_with_their_users_and_a_broken_one_with_the_reason(tmp_path: Path) -> None:
    async def users(shelf: Shelf) -> None:
        await shelf.routine("morning-report", pipeline=["write-daily-report", "send-to-slack"])

    home, config = home_with(tmp_path, users)
    bad = home.skills / "look-at-logs"
    bad.mkdir(parents=True)
    (bad / "SKILL.md").write_text("no header at all\n")

    async def seen(stage: Stage) -> None:
        assert "SKILLS 8 · 1 cannot be used" in stage.text
        assert re.search(r"send-to-slack +bundled +script +message:slack +morning-repo", stage.text)
        await stage.press("enter")
        assert pane(stage) and "problem" not in stage.text
        place = await go(stage, "skills", "look-at-logs")
        assert re.search(r"▸ look-at-logs +own +✗ broken", stage.text)
        assert re.search(r"✗ look-at-logs.*\n.*hint: ", stage.text)  # why stands below it
        found = place.found
        place.look()
        await stage.settled()
        assert place.found is found  # no file has changed: nobody asks again whether it is good
        await stage.press("enter")
        assert "no header at all" in stage.text and "hint" in stage.text
        (bad / "SKILL.md").unlink()
        place.look()
        await stage.shows("SKILLS 7")

    show(home, config, seen, keys=["6"], size=(120, 40))


def test_effects_are_listed_with_the_unknown_ones_first_and_are_settled_from_there(tmp_path: Path) -> None:
    async def seen(stage: Stage) -> None:
        assert "1 unknown" in stage.text
        assert re.match(r"▸ \? unknown +message:slack +pr-review +Thu 09:05", stage.line("▸"))
        await stage.press("y")
        await stage.hears("There is nothing to copy here.")
        await stage.press("d")
        await stage.until(lambda: isinstance(stage.app.screen, Deciding))
        assert "Did it arrive? message:slack of pr-review" in stage.text
        await stage.press("escape", "down", "d")
        await stage.hears("Of this effect it is known what became of it.")

    on_stage(tmp_path, a_full_month, seen, keys=["7"])


def test_an_effect_shows_whole_what_takes_it_back_and_y_copies_that(tmp_path: Path) -> None:
    async def seen(stage: Stage) -> None:
        await seek(stage, "push:")
        await stage.press("enter")
        assert "undo" in stage.text and "git push shop --delete claude/review" in stage.text
        await stage.press("y")
        assert stage.app.clipboard == "git push shop --delete claude/review"

    on_stage(tmp_path, a_full_month, seen, keys=["7"], size=(80, 24))


def test_effects_are_those_of_one_run_or_open_at_one(tmp_path: Path) -> None:
    async def seen(stage: Stage) -> None:
        everything = await go(stage, "effects")
        third = everything.found[2]
        await go(stage, "effects", third["run"])
        assert f"EFFECTS {third['run']} 1" in stage.text
        place = await go(stage, "effects", third["id"])
        assert place.chosen == f"effect:{third['id']}"

    on_stage(tmp_path, a_full_month, seen)


@pytest.mark.parametrize("width", [80, 120])
def test_why_shows_every_word_of_every_link_and_y_copies_what_mends_it(tmp_path: Path, width: int) -> None:
    async def seen(stage: Stage) -> None:
        await go(stage, "why", "pr-review")
        said = "Its run failed: the engine was not there (run_0100000000000000000018)."
        assert words(stage).count(said) == 2  # the link, and what is to be said of it all
        await stage.press("y")
        assert stage.app.clipboard == "minion logs run_0100000000000000000018"
        await stage.pilot.resize_terminal(56, 30)
        await stage.settled()
        assert words(stage).count(said) == 2

    on_stage(tmp_path, a_full_month, seen, size=(width, 30))


def test_why_of_all_leads_to_each_one_and_one_that_is_not_there_is_refused(tmp_path: Path) -> None:
    async def seen(stage: Stage) -> None:
        await seek(stage, "pr-rev")
        assert "WHY 1 of 4" in stage.text
        await stage.press("enter")
        assert "WHY pr-review" in stage.text
        await go(stage, "why", "pr-reviw")
        assert "✗ There is no routine pr-reviw." in stage.text and "did you mean pr-review?" in stage.text

    on_stage(tmp_path, a_full_month, seen, keys=["8"])


def test_a_long_text_is_cut_before_it_is_shown_and_keeps_its_lines() -> None:
    shown = paragraphs("one\n\ttwo\x1b\n" + "x" * 10_000_000 + "\nlast", lines=5).plain
    assert shown.splitlines()[:2] == ["one", "    two"]
    assert len(shown) < 5 * 2000
    assert paragraphs("\n".join("abc"), lines=2).plain == "a\nb\n…"
