"""What `minion export` writes is what `minion import` takes in; runs are written for reading alone."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minion.config import load_config
from minion.routines.portable import taken_apart
from server.contract.documents import load_document
from server.contract.layout import as_yaml
from server.contract.refusals import BadDocument
from tests.whole.homes import at_work, clean_environment, command_line, make_home, performed, write_skill
from tests.whole.refusals_said import Place, say

pytestmark = pytest.mark.heavy

COMMENTED = """\
# What the team asked for.
name: weekly
minion_id: null
content: |
  Look back at the week.

  - and say who is new
pipeline: [write-weekly-digest]   # no Slack
cron_expression: "0 16 * * 5"
repositories: []
expect:
  - contains: commits
"""
PLAIN = '{"name": "plain", "content": "Say: hello # not a comment", "repositories": []}'


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A home with a commented YAML routine, a JSON one, and one run."""
    place = Place(make_home(tmp_path_factory.mktemp("home")).root.parent)
    (place.folder / "weekly.yaml").write_text(COMMENTED)
    # Its owner's id is in the file, as in the one that `init` writes: it must not go along.
    ours = {"minion_id": load_config(place.home).minion_id}
    (place.folder / "plain.json").write_text(json.dumps(json.loads(PLAIN) | ours))
    write_skill(place.home, "own", "answer(text='hello')")
    (place.folder / "own.yaml").write_text("name: own\npipeline: [own]\nsandbox: none\nrepositories: []\n")
    for file in ("weekly.yaml", "plain.json", "own.yaml"):
        assert say(place, f"routine add {file}").exit_code == 0
    performed(place.home, "own")
    return place


@pytest.fixture
def other(tmp_path: Path) -> Place:
    """Another minion without routines, its store made."""
    home = make_home(tmp_path / "other")

    async def owned_once() -> None:
        async with at_work(home):
            pass

    asyncio.run(owned_once())
    return Place(home.root.parent)


def meaning(place: Place, name: str) -> dict[str, Any]:
    """What a kept routine says, but for what is this minion's own."""
    told = say(place, f"routine show {name} --json")
    assert told.exit_code == 0, told.err
    said: dict[str, Any] = json.loads(told.out)
    local = ("id", "minion_id", "revision", "last_run", "last_delivered_at", "file", "changed_at")
    content = (said["content"] or "").strip()  # Markdown has no blank lines around it
    return {key: value for key, value in said.items() if key not in local} | {"content": content}


@pytest.mark.promise("CLI-16")
@pytest.mark.parametrize(
    "format_", ["yaml", *(pytest.param(name, marks=pytest.mark.heavy) for name in ("markdown", "jsonl"))]
)
def test_a_routine_goes_to_another_minion_and_means_the_same_there(
    home: Place, other: Place, format_: str
) -> None:
    folder = other.folder / "files"
    told = say(home, f"export weekly plain --format {format_} --output {folder}/")
    assert (told.exit_code, told.out) == (0, "")
    suffix = {"yaml": ".yaml", "markdown": ".md", "jsonl": ".jsonl"}[format_]
    written = [folder / f"{name}{suffix}" for name in ("weekly", "plain")]
    assert sorted(folder.iterdir()) == sorted(written)
    ours = load_config(home.home).minion_id
    assert ours in (home.home.routines / "plain.json").read_text()
    assert not any(ours in file.read_text() for file in written)
    added = say(other, f"import {written[0]} {written[1]} --json")
    assert [item["name"] for item in json.loads(added.out)] == ["weekly", "plain"]
    for name in ("weekly", "plain"):
        assert meaning(other, name) == meaning(home, name)


@pytest.mark.heavy
@pytest.mark.promise("CLI-16")
def test_all_routines_go_through_a_pipe_with_their_comments(home: Place, other: Place) -> None:
    told = say(home, "export weekly plain")
    assert told.out.startswith(COMMENTED.removesuffix("\n") + "\n---\n")
    taken = subprocess.run(
        command_line(other.home, "import", "-", "--format", "yaml"),
        input=told.out.encode(), env=clean_environment(other.home), cwd=other.folder,
        capture_output=True, check=False,
    )  # fmt: skip
    assert (taken.returncode, taken.stderr) == (0, b"")
    assert meaning(other, "weekly") == meaning(home, "weekly")
    assert (other.home.routines / "weekly.yaml").read_text() == COMMENTED
    assert json.loads(say(home, "export plain --format jsonl").out) == json.loads(PLAIN)


@pytest.mark.heavy
def test_the_skills_of_ones_own_that_a_routine_needs_are_named(home: Place) -> None:
    told = say(home, "export own")
    assert (told.exit_code, "name: own" in told.out) == (0, True)
    assert "They need skills of your own, which are not in them: " in told.err
    assert "home/skills/own" in told.err
    assert say(home, "export weekly").err == ""


@pytest.mark.promise("CLI-16")
@pytest.mark.parametrize(
    ("name", "text", "code"),
    [
        ("a.yaml", "name: a\ncontent: x\nrepositories: []\n---\nname: b\npipelin: []\n", "unknown_key"),
        (
            "a.yaml",
            "name: a\ncontent: x\nrepositories: []\n---\nname: a\ncontent: y\nrepositories: []\n",
            "duplicate_name",
        ),
        ("a.yaml", "---\n# nothing\n---\n", "no_routines"),
        ("a.jsonl", '{"name": "a", "content": "x", "repositories": []}\n[1]\n', "bad_line"),
        ("a.jsonl", '{"verdict": "ok", "topology": []}\n', "run_is_no_routine"),
        ("a.jsonl", "{}\n" * 1_001, "too_many_routines"),
        ("a.md", "name: a\n", "no_header"),
        ("a.md", "---\nname: a\n---\n", "nothing_to_do"),
        ("a.md", "---\nname: [a\n---\nx\n", "not_yaml"),
        ("a.txt", "name: a\n", "no_format"),
        ("a.yaml", b"\xff\xfe", "not_utf8"),
        (
            "a.yaml",
            "name: a\nminion_id: 6f1c1e9e-4c5a-4d55-9d0e-0e6a0f6b9a11\ncontent: x\nrepositories: []",
            "other_minion",
        ),
    ],
)
def test_a_file_with_anything_wrong_in_it_is_taken_in_not_even_in_part(
    other: Place, name: str, text: str | bytes, code: str
) -> None:
    (other.folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    before = other.state()
    told = say(other, f"import {name}")
    assert (told.code, told.out) == (code, "")
    assert other.state() == before


def test_import_replaces_only_when_told_to(home: Place, other: Place) -> None:
    (other.folder / "a.md").write_text("---\nname: a\nrepositories: []\n---\n\nFirst.\n")
    assert say(other, "import a.md").exit_code == 0
    (other.folder / "b.md").write_text("---\nname: b\nrepositories: []\n---\n\nNew.\n")
    (other.folder / "a.md").write_text("---\nname: a\nrepositories: []\n---\n\nSecond.\n")
    before = other.state()
    assert say(other, "import b.md a.md").code == "routine_exists"
    assert other.state() == before
    assert say(other, "import b.md a.md --replace").exit_code == 0
    assert (meaning(other, "a")["content"], meaning(other, "b")["content"]) == ("Second.", "New.")
    assert say(other, "import nowhere.md").code == "no_file"


def test_runs_are_written_whole_with_their_events_and_seal_or_as_a_page(home: Place) -> None:
    (line,) = say(home, "export --runs").out.splitlines()
    run = json.loads(line)
    assert (run["routine"], run["verdict"], run["seal"]["verdict"]) == ("own", "unchecked", "unchecked")
    assert run["events"][0]["type"] == "run.opened"
    assert {"events", "steps", "state"} <= set(run["seal"])
    page = say(home, "export --runs own --format markdown").out
    for words in ("# own: unchecked\n", run["id"], "| LLM-OWN | completed |", "## Report\n\nhello\n"):
        assert words in page
    assert json.loads(say(home, f"export --runs {run['id']}").out)["id"] == run["id"]


@pytest.mark.parametrize(
    ("words", "code", "status"),
    [
        ("export nobody", "no_such_routine", 2),
        ("export --runs nobody", "no_such_run", 2),
        ("export --runs --format yaml", "bad_format", 2),
        ("export --format markdown", "one_in_markdown", 2),
        ("export -o weekly.yaml", "file_exists", 3),
        ("export -o plain.json/x.yaml", "cannot_write", 3),
    ],
)
def test_an_export_that_cannot_be_is_refused_and_writes_nothing(
    home: Place, words: str, code: str, status: int
) -> None:
    before = home.state()
    told = say(home, words)
    assert (told.code, told.exit_code, told.out) == (code, status, "")
    assert home.state() == before


def test_a_home_without_routines_or_with_a_lost_file_says_what_is_missing(other: Place) -> None:
    (other.folder / "a.yaml").write_text("name: a\ncontent: x\nrepositories: []\n")
    assert say(other, "import a.yaml").exit_code == 0
    assert say(other, "export --runs").code == "nothing_to_export"
    (other.home.routines / "a.yaml").unlink()
    assert say(other, "export").code == "no_file"


_TEXTS = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0"), max_size=40)
_VALUES = st.one_of(_TEXTS, st.lists(_TEXTS, max_size=3), st.booleans(), st.none(), st.integers(0, 99))


@pytest.mark.promise("CLI-16")
@given(st.dictionaries(st.from_regex(r"[a-z]{1,8}", fullmatch=True), _VALUES, min_size=1, max_size=5))
def test_any_document_is_written_as_yaml_that_reads_back_the_same(document: Mapping[str, Any]) -> None:
    assert load_document(as_yaml(document).encode(), source="r.yaml") == document


@given(_TEXTS)
def test_any_text_is_taken_apart_or_refused(text: str) -> None:
    for name, format_ in (("a.yaml", "yaml"), ("a.jsonl", "jsonl")):
        try:
            assert taken_apart(Path(name), text, format_)  # type: ignore[arg-type]
        except BadDocument as refusal:
            assert refusal.sentence.endswith(".")
