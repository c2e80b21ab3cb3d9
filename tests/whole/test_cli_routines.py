"""Routines at the command line: made, added, changed, shown and removed; a refusal leaves nothing half-written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from minion.config import Home
from tests.skills.repositories import Repository
from tests.whole.homes import make_home, performed, results_in, run_cli, write_routine, write_skill

COMMENTED = """\
# The team's own words stay as they are.
name: weekly   # every Monday
pipeline: [say]
sandbox: none
cron_expression: "0 9 * * 1"
content: |
  Look back at the week.
"""


@pytest.fixture
def shop(tmp_path: Path) -> Repository:
    """A repository that commands are called from."""
    shop = Repository(tmp_path)
    shop.write("src/a.txt", "a\n")
    shop.commit("Begin")
    return shop


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home with the skill `say` and no routine."""
    home = make_home(tmp_path)
    write_skill(home, "say", "print(task['routine']['content'])")
    return home


def given(folder: Path, name: str, content: str | dict[str, Any]) -> Path:
    """A routine file outside the home."""
    file = folder / name
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return file


def routine_files(home: Home) -> dict[str, str]:
    """The files in the home's routines folder, hidden ones too."""
    return {path.name: path.read_text() for path in home.routines.iterdir()}


def test_init_makes_a_home_once_and_says_what_is_in_it(tmp_path: Path, shop: Repository) -> None:
    home = Home(tmp_path / "fresh")
    ended = run_cli(home, "init", "--name", "my-desk", cwd=shop.folder / "src")
    assert (ended.code, ended.err) == (0, "")
    for words in ("my-desk is ready", "morning-report", "paused", str(shop.folder), "run morning-report"):
        assert words in ended.out
    again = run_cli(home, "init", "--json", "--name", "other")
    assert again.json() | {"minion_id": ""} == {
        "home": str(home.root),
        "minion_id": "",
        "name": "my-desk",
        "created": False,
    }
    routine = json.loads((home.routines / "morning-report.json").read_text())
    assert (routine["minion_id"], routine["repositories"]) == (again.json()["minion_id"], [str(shop.folder)])
    assert (routine["paused"], routine["cron_expression"]) == (True, "0 9 * * 1-5")
    assert home.root.stat().st_mode & 0o077 == 0


@pytest.mark.heavy
def test_init_outside_a_checkout_makes_a_routine_without_a_repository(tmp_path: Path) -> None:
    home = Home(tmp_path / "fresh")
    ended = run_cli(home, "init")
    assert "none: this folder is in no git checkout" in ended.out
    assert json.loads((home.routines / "morning-report.json").read_text())["repositories"] == []
    bad = run_cli(Home(tmp_path / "bad"), "init", "--name", "Not A Slug")
    assert (bad.code, (tmp_path / "bad").exists()) == (2, False)


@pytest.mark.promise("CLI-4")
def test_a_yaml_routine_is_added_with_its_comments_kept_and_its_repository_shown(
    home: Home, tmp_path: Path, shop: Repository
) -> None:
    file = given(tmp_path, "weekly.yaml", COMMENTED)
    ended = run_cli(home, "routine", "add", file, cwd=shop.folder / "src")
    assert (ended.code, ended.err) == (0, "")
    assert f"repositories  {shop.folder}\n" in ended.out
    assert "due           " in ended.out
    assert routine_files(home) == {
        "weekly.yaml": COMMENTED + f'repositories: ["{shop.folder}"]\n'
    }
    shown = run_cli(home, "routine", "show", "weekly", "--json").json()
    assert (shown["repositories"][0]["url"], shown["content"]) == (str(shop.folder), "Look back at the week.\n")
    assert (shown["revision"], shown["last_run"], shown["engine"]) == (1, None, None)
    run = performed(home, "weekly")
    assert results_in(home, run)[0]["text"] == "Look back at the week.\n\n"
    people = run_cli(home, "routine", "show", "weekly").out
    for words in (shown["id"], "Look back at the week.", "say → execution-report", str(shop.folder), run["id"]):
        assert words in people


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", '{"name": "a", "pipeline": ["say"], "content": "x", "sandbox": "none"}'),
        ("a", '{"name": "a", "pipeline": ["say"], "repositories": null, "sandbox": "none"}\n'),
        ("a.yml", "name: a\nrepositories:\npipeline: [say]\nsandbox: none\n"),
        ("a.yaml", "{name: a, pipeline: [say], sandbox: none}\n"),
        ("a.yaml", "---\nname: a\npipeline: [say]\nsandbox: none\nrepositories: null\n...\n"),
        ("a.yaml", "name: a\r\npipeline: [say]\r\nsandbox: none\r\nrepositories: ~\r\n"),
        ("a.yaml", "name: a\npipeline: [say]\nsandbox: none\ncontent: |\n  one\n  repositories:\n   two"),
    ],
)
def test_a_routine_may_be_written_in_any_way_that_yaml_and_json_allow(
    home: Home, tmp_path: Path, shop: Repository, name: str, content: str
) -> None:
    ended = run_cli(home, "routine", "add", given(tmp_path, name, content), "--json", cwd=shop.folder)
    assert (ended.code, ended.err) == (0, "")
    assert [item["url"] for item in ended.json()["repositories"]] == [str(shop.folder)]
    assert len(routine_files(home)) == 1
    assert performed(home, "a")["verdict"] == "unchecked"


def test_a_change_needs_replace_and_keeps_the_id_the_runs_and_one_file(home: Home, tmp_path: Path) -> None:
    first = {"name": "a", "pipeline": ["say"], "content": "one", "repositories": [], "sandbox": "none"}
    added = run_cli(home, "routine", "add", given(tmp_path, "a.json", first), "--json").json()
    same = run_cli(home, "routine", "add", given(tmp_path, "a.json", first), "--json")
    assert (same.code, same.json()["id"]) == (0, added["id"])
    run = performed(home, "a")
    before = routine_files(home)
    file = given(tmp_path, "a.yaml", "name: a\npipeline: [say]\ncontent: two\nrepositories: []\nsandbox: none\n")
    ended = run_cli(home, "routine", "add", file)
    assert (ended.code, ended.out, routine_files(home)) == (3, "", before)
    assert "There is a routine a with other content." in ended.err
    assert "hint: add --replace" in ended.err
    replaced = run_cli(home, "routine", "add", file, "--replace", "--json").json()
    assert (replaced["id"], replaced["content"]) == (added["id"], "two")
    assert list(routine_files(home)) == ["a.yaml"]
    listed = run_cli(home, "routine", "list", "--json").json()
    assert [(item["name"], item["revision"], item["last_run"]["id"]) for item in listed] == [("a", 2, run["id"])]


def test_a_removed_routine_is_gone_but_its_runs_and_id_stay(home: Home, tmp_path: Path) -> None:
    write_routine(home, "a", "say", content="x")
    run = performed(home, "a")
    kept = run_cli(home, "routine", "show", "a", "--json").json()
    assert run_cli(home, "routine", "remove", "a", "--json").json() == {"removed": "a"}
    assert (routine_files(home), run_cli(home, "routine", "list", "--json").json()) == ({}, [])
    assert run_cli(home, "run", "a").code == 2
    assert run_cli(home, "runs", "--routine", "a", "--json").json()[0]["id"] == run["id"]
    file = given(tmp_path, "a.json", {"name": "a", "pipeline": ["say"], "repositories": []})
    assert run_cli(home, "routine", "add", file, "--json").json()["id"] == kept["id"]


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home with one good routine, to which bad changes are offered."""
    home = make_home(tmp_path_factory.mktemp("refusing"))
    write_skill(home, "say", "print('x')")
    write_routine(home, "a", "say", content="good")
    performed(home, "a")
    return home


@pytest.mark.promise("DOC-2")
@pytest.mark.parametrize(
    ("edit", "words"),
    [
        ('{"name": "a", "pipeline": ["say"', "a.json"),
        ('{"name": "a", "pipeline": ["say"], "content": "bad", "surprise": 1}', "`surprise`"),
        ('{"name": "b", "pipeline": ["say"], "content": "bad"}', "holds the routine b"),
        ('{"name": "a", "pipeline": ["say"], "minion_id": "0f0f0f0f-0000-4000-8000-000000000000"}', "belongs to"),
    ],
)
def test_a_bad_edit_of_a_routines_file_keeps_the_last_good_version_in_force_and_says_so(
    refusing: Home, edit: str, words: str
) -> None:
    file = refusing.routines / "a.json"
    good = file.read_text()
    try:
        file.write_text(edit)
        ended = run_cli(refusing, "run", "a", "--json")
        assert (ended.code, ended.json()["verdict"]) == (0, "unchecked")
        alert = ended.err.splitlines()[0]
        assert words in alert
        assert "The last good version is in force" in alert
        # The user's edit is not touched, and the good version is still what is kept.
        assert file.read_text() == edit
        assert run_cli(refusing, "routine", "show", "a", "--json").json()["content"] == "good"
    finally:
        file.write_text(good)


def test_a_bad_file_that_was_never_good_is_refused(home: Home) -> None:
    (home.routines / "new.yaml").write_text("name: new\npipeline: [say]\ncron_expression: 7\n")
    ended = run_cli(home, "run", "new")
    assert (ended.code, ended.out) == (2, "")
    assert "`cron_expression`" in ended.err
    assert run_cli(home, "runs", "--json").json() == []


def test_a_good_edit_is_in_force_at_the_next_run(home: Home) -> None:
    write_routine(home, "a", "say", content="first")
    assert results_in(home, performed(home, "a"))[0]["text"] == "first\n"
    write_routine(home, "a", "say", content="second")
    assert results_in(home, performed(home, "a"))[0]["text"] == "second\n"
    assert run_cli(home, "routine", "show", "a", "--json").json()["revision"] == 2


@pytest.mark.heavy
def test_one_run_may_work_on_another_repository(home: Home, tmp_path: Path, shop: Repository) -> None:
    write_skill(home, "where", "print([place['name'] for place in task['repositories']], sorted(os.listdir('.')))")
    write_routine(home, "where", "where")
    ended = run_cli(home, "run", "where", "--json", "--repo", str(shop.folder / "src"))
    assert results_in(home, ended.json())[0]["text"] == "['shop'] ['src']\n"
    assert run_cli(home, "routine", "show", "where", "--json").json()["repositories"] == []
