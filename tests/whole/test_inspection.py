"""What an owner asks afterwards: where things lie, what was done outside, whether the log is intact."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from pathlib import Path

import pytest

from minion.config import Home
from minion.routines.template_list import templates
from tests.skills.repositories import Repository
from tests.whole.homes import Ended, make_home, performed, run_cli, write_routine, write_skill

STAGE = """
answer(text="done", effects=[{"kind": "file", "target": "a.md", "body": "x"},
                             {"kind": "message", "target": "team", "body": "hello"},
                             {"kind": "message", "target": "strangers", "body": "hello"}])
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home with one run that delivered a file, kept a message and was refused another."""
    made = make_home(tmp_path_factory.mktemp("inspected"))
    write_skill(made, "stage", STAGE)
    write_routine(made, "inspect", "stage", effects=["file:*.md", "message:team"])
    performed(made, "inspect")
    return made


def verified(home: Home, *arguments: str) -> Ended:
    """What `minion verify` says."""
    return run_cli(home, "verify", *arguments)


def test_where_names_every_place_and_those_that_are_not_there_yet(home: Home, tmp_path: Path) -> None:
    places = run_cli(home, "where", "--json").json()
    assert places["store"] == {"path": str(home.store), "exists": True}
    assert places["secrets"] == {"path": str(home.secrets_file), "exists": False}
    nowhere = run_cli(Home(tmp_path / "none"), "where")
    assert nowhere.code == 0
    assert f"{tmp_path / 'none'}   (not there yet)" in nowhere.out


def test_effects_say_what_was_done_what_was_not_and_how_to_take_it_back(home: Home) -> None:
    effects = run_cli(home, "effects", "inspect@last", "--json").json()
    assert [(e["kind"], e["target"], e["state"]) for e in effects] == [
        ("file", "a.md", "delivered"),
        ("message", "team", "accepted"),
        ("message", "strangers", "refused"),
    ]
    shown = run_cli(home, "effects", "last", cwd=home.root)
    file = home.outbox / "inspect" / "a.md"
    assert f"where  ./outbox/inspect/a.md\n    saw    1 bytes\n    undo   rm {file}" in shown.out
    assert "message:strangers is not on the routine's list of effects" in shown.out
    # The command that is shown really takes it back.
    assert os.system(f"rm {file}") == 0  # noqa: S605
    assert not file.exists()


@pytest.mark.promise("STO-3")
def test_an_intact_log_is_said_to_be_intact_with_what_was_looked_at(home: Home) -> None:
    whole, one = verified(home, "--json"), verified(home, "last", "--json")
    assert (whole.code, one.code) == (0, 0)
    assert (whole.json()["intact"], whole.json()["runs"], whole.json()["breaches"]) == (True, 1, [])
    assert one.json()["events"] == whole.json()["events"] > 20
    assert "log intact: 1 run, " in verified(home).out


@pytest.mark.promise("STO-3")
def test_an_altered_log_is_named_with_its_place_and_exits_one(home: Home, tmp_path: Path) -> None:
    copy = Home(tmp_path / "copy")
    shutil.copytree(home.root, copy.root)
    with sqlite3.connect(copy.store) as db:
        db.execute("DROP TRIGGER events_stand")
        db.execute("UPDATE events SET data = replace(data, 'done', 'gone') WHERE type = 'skill.result'")
    db.close()
    ended = verified(copy)
    assert ended.code == 1
    assert "log BROKEN" in ended.out
    found = verified(copy, "last", "--json").json()["breaches"]
    assert found[0]["chain"].endswith(" events")
    assert found[0]["position"] > 0


def test_a_routine_is_begun_from_a_template_for_the_checkout_around(home: Home, tmp_path: Path) -> None:
    shop = Repository(tmp_path, "shop")
    shop.write("a.txt", "1\n")
    shop.commit("Begin")
    listed = run_cli(home, "routine", "new", "--list", "--json").json()
    assert [each["name"] for each in listed] == [each.name for each in templates()]
    made = run_cli(home, "routine", "new", "--template", "standup-prep", "--name", "api-standup", cwd=shop.folder)
    assert made.code == 0, made.err
    kept = (home.routines / "api-standup.yaml").read_text()
    assert 'name: "api-standup"\n' in kept
    assert kept.startswith("#")
    document = run_cli(home, "routine", "show", "api-standup", "--json").json()
    assert [item["url"] for item in document["repositories"]] == [str(shop.folder)]
    again = run_cli(home, "routine", "new", "--template", "standup-prep", "--name", "api standup")
    assert (again.code, again.out) == (2, "")
    wrong = run_cli(home, "routine", "new", "--template", "standup")
    assert wrong.code == 2
    assert "did you mean standup-prep" in wrong.err
    assert json.loads(run_cli(home, "routine", "list", "--json").out)[0]["name"] == "api-standup"
