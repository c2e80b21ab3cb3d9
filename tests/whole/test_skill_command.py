"""`minion skill` as a person types it: begun, checked, packed, added, used by a routine, run, removed."""

from __future__ import annotations

import json
import stat
import zipfile
from pathlib import Path

import pytest

from minion.config import Home, held
from minion.skills.loader import load_skill
from server.contract.refusals import NotFound
from tests.whole.homes import Ended, make_home, results_in, run_cli, write_routine, write_skill

pytestmark = pytest.mark.heavy

GREETING = "json.dump({'text': 'hello'}, sys.stdout)"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A fresh home."""
    return make_home(tmp_path)


def header(name: str, *, requires: str = "", description: str = "Greets. Use it in tests.") -> str:
    """A SKILL.md."""
    ours = f'metadata:\n  minion-requires: "{requires}"\n' if requires else ""
    return f"---\nname: {name}\ndescription: {json.dumps(description)}\n{ours}---\n\n# {name}\n\nSay hello.\n"


def packed(folder: Path, name: str = "greet", *, says: str = "hello", top: str = "", requires: str = "") -> Path:
    """An archive of a skill whose script says one word; its files lie below `top`."""
    file = folder / f"{name}-{says}.zip"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(f"{top}SKILL.md", header(name, requires=requires))
        archive.writestr(f"{top}scripts/run.py", f"print({says!r})\n")
        archive.writestr(f"{top}assets/run.py", bytes(range(256)))
    return file


def refused(ended: Ended, code: int, *words: str) -> None:
    """It ended with this code, one sentence that has the words, one hint, and nothing on stdout."""
    assert (ended.code, ended.out) == (code, ""), ended
    sentence, hint = ended.err.strip().splitlines()
    assert hint.startswith("hint: ")
    assert all(word in sentence for word in words), sentence


def tidy(home: Home) -> list[str]:
    """What lies in the home's skills folder."""
    return sorted(entry.name for entry in home.skills.iterdir())


@pytest.mark.heavy
@pytest.mark.promise("SKL-5")
def test_a_skill_is_begun_packed_checked_added_and_run_by_a_routine(tmp_path: Path, home: Home) -> None:
    begun = run_cli(home, "skill", "new", "greet", "--dir", tmp_path, "--description", 'Says "hi": use it.')
    assert begun.code == 0, begun.err
    file = tmp_path / "greet.skill"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted((tmp_path / "greet").rglob("*")):
            archive.write(path, path.relative_to(tmp_path))
        archive.writestr("__MACOSX/greet/._SKILL.md", "x")
    checked = run_cli(home, "skill", "validate", file)
    assert (checked.code, "greet: 2 files" in checked.out) == (0, True)
    assert "runs scripts/run.py" in checked.out
    added = run_cli(home, "skill", "add", file, "--json").json()
    assert (added["name"], added["ignored"], added["changed"]) == ("greet", ["__MACOSX"], True)
    assert added["digest"] == load_skill(home, "greet").digest
    assert added["scripts_digest"].startswith("sha256:")
    routine = tmp_path / "hello.yaml"
    routine.write_text("name: hello\npipeline: [greet]\nrepositories: []\nsandbox: none\n")
    assert run_cli(home, "routine", "add", routine).code == 0
    run = run_cli(home, "run", "hello", "--json")
    assert (run.code, run.json()["verdict"]) == (0, "unchecked")
    assert results_in(home, run.json())[0]["text"].startswith("# greet\n")
    (listed,) = [item for item in run_cli(home, "skill", "list", "--json").json() if item["name"] == "greet"]
    assert (listed["routines"], listed["script"], listed["bundled"]) == (["hello"], "scripts/run.py", False)
    assert listed["description"] == 'Says "hi": use it.'


@pytest.mark.heavy
def test_a_skill_begun_in_the_home_runs_as_it_is(home: Home) -> None:
    assert run_cli(home, "skill", "new", "greet").code == 0
    write_routine(home, "hello", "greet")
    assert run_cli(home, "run", "hello").code == 0
    refused(run_cli(home, "skill", "new", "send-to-slack"), 3, "bundled")
    refused(run_cli(home, "skill", "new", "Bad_Name"), 2, "`name`")
    refused(run_cli(home, "skill", "new", "../evil", "--dir", "."), 2, "`name`")
    assert tidy(home) == ["greet"]


def test_a_folder_that_is_there_is_never_begun_over(tmp_path: Path, home: Home) -> None:
    (tmp_path / "greet").mkdir()
    refused(run_cli(home, "skill", "new", "greet", "--dir", tmp_path), 3, "is there already")
    assert list((tmp_path / "greet").iterdir()) == []
    refused(run_cli(home, "skill", "new", "greet", "--dir", tmp_path / "nowhere"), 2, "There is no folder")


@pytest.mark.heavy
def test_a_command_without_replace_never_hints_at_it_where_the_name_is_taken(home: Home) -> None:
    write_skill(home, "greet", "print('hi')")
    write_routine(home, "mine", "greet")
    assert run_cli(home, "run", "mine").code == 0
    for words in (("skill", "new", "greet"), ("routine", "new", "--template", "weekly-digest", "--name", "mine"),
                  ("schedule", "every day at 7: triage my inbox", "--yes", "--name", "mine")):  # fmt: skip
        ended = run_cli(home, *words)
        assert (ended.code, "with other content" in ended.err, "--replace" in ended.err) == (3, True, False)
        assert "choose another" in ended.err


@pytest.mark.heavy
@pytest.mark.promise("SKL-4")
def test_peer_defect_12_a_second_skill_of_one_name_never_overwrites_the_first(tmp_path: Path, home: Home) -> None:
    first, second = packed(tmp_path), packed(tmp_path, says="goodbye", top="other-folder/")
    assert run_cli(home, "skill", "add", first).code == 0
    before = load_skill(home, "greet").files
    refused(run_cli(home, "skill", "add", second), 3, "There is a skill greet with other content")
    assert load_skill(home, "greet").files == before
    again = run_cli(home, "skill", "add", first, "--json").json()
    assert (again["changed"], again["replaced"]) == (False, False)
    replaced = run_cli(home, "skill", "add", second, "--replace", "--json").json()
    assert (replaced["changed"], replaced["replaced"]) == (True, True)
    assert load_skill(home, "greet").files["scripts/run.py"] == b"print('goodbye')\n"
    assert tidy(home) == ["greet"]


@pytest.mark.promise("SKL-4")
def test_peer_defect_12_files_of_one_base_name_are_both_installed(tmp_path: Path, home: Home) -> None:
    assert run_cli(home, "skill", "add", packed(tmp_path)).code == 0
    files = load_skill(home, "greet").files
    assert (files["scripts/run.py"], files["assets/run.py"]) == (b"print('hello')\n", bytes(range(256)))
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (home.skills / "greet").rglob("*")}
    assert modes == {0o600, 0o700}


@pytest.mark.promise("SKL-5")
def test_peer_defect_12_a_run_whose_skill_lacks_what_it_requires_never_starts(tmp_path: Path, home: Home) -> None:
    write_skill(home, "greet", "print('x')")
    (home.skills / "greet" / "SKILL.md").write_text(header("greet", requires="send-to-slack wave"))
    file = write_routine(home, "hello", "greet")
    words = ("The skill greet requires the skill wave, which is not installed",)
    refused(run_cli(home, "run", "hello"), 3, *words)
    assert list(home.runs.iterdir()) == []
    assert run_cli(home, "runs", "--json").json() == []
    moved = file.rename(tmp_path / "hello.json")
    refused(run_cli(home, "routine", "add", moved, "--replace"), 3, *words)
    assert list(home.routines.iterdir()) == []
    assert run_cli(home, "skill", "add", packed(tmp_path, "wave")).code == 0
    assert run_cli(home, "routine", "add", moved, "--replace").code == 0
    assert run_cli(home, "run", "hello").code == 0


def test_a_skill_that_lacks_what_it_requires_is_not_added(tmp_path: Path, home: Home) -> None:
    refused(run_cli(home, "skill", "add", packed(tmp_path, requires="wave")), 3, "greet requires the skill wave")
    assert tidy(home) == []


def test_a_bad_skill_leaves_nothing_behind(tmp_path: Path, home: Home) -> None:
    bad = packed(tmp_path, "bad", top="bad/")
    with zipfile.ZipFile(bad, "a") as archive:
        archive.writestr("../evil", "x")
    refused(run_cli(home, "skill", "add", bad), 2, "bad-hello.zip: `../evil` has an empty part")
    (tmp_path / "wrong").mkdir()
    (tmp_path / "wrong" / "SKILL.md").write_text("---\nname: wrong\n---\n")
    refused(run_cli(home, "skill", "add", tmp_path / "wrong"), 2, "`description` is missing")
    refused(run_cli(home, "skill", "add", tmp_path / "nowhere.zip"), 2, "nowhere.zip cannot be read")
    refused(run_cli(home, "skill", "add", packed(tmp_path, "send-to-slack")), 3, "name of a bundled skill")
    assert tidy(home) == []
    assert not (home.skills.parent / "evil").exists()
    refused(run_cli(Home(tmp_path / "none"), "skill", "add", bad), 2, "There is no minion")


def test_validate_names_every_problem_and_what_happens_without_a_model(tmp_path: Path, home: Home) -> None:
    root = tmp_path / "greet"
    root.mkdir()
    (root / "link").symlink_to("/etc/passwd")
    (root / "a\\b").touch()
    (root / "SKILL.md").write_text("---\nname: other\nversion: 1\nmetadata:\n  minion-code: nope\n---\n")
    ended = run_cli(home, "skill", "validate", root)
    assert (ended.code, ended.err) == (2, "")
    said = [
        "`link` is a link", "has a backslash", "`description` is missing", "`version` is not a known key",
        "`minion-code` must be", "the folder is 'greet'", "skipped: needs a model",
    ]  # fmt: skip
    assert [words for words in said if words not in ended.out] == []
    told = run_cli(home, "skill", "validate", root, "--json")
    assert (told.code, told.json()["valid"], len(told.json()["problems"])) == (2, False, 3)
    assert all(each["hint"] for each in told.json()["problems"])
    assert not (home.skills / "greet").exists()


def test_an_archive_s_outer_folder_is_packaging_and_a_folder_has_its_skill_s_name(
    tmp_path: Path, home: Home
) -> None:
    assert run_cli(home, "skill", "validate", packed(tmp_path, top="greet-main/")).code == 0
    (tmp_path / "greet-main").mkdir()
    (tmp_path / "greet-main" / "SKILL.md").write_text(header("greet"))
    assert run_cli(home, "skill", "validate", tmp_path / "greet-main").code == 2


def test_list_tells_origin_need_effects_users_and_what_is_broken(home: Home) -> None:
    write_skill(home, "think", effects=["file:*.md"], code="LLM-THINK-HARD")
    write_skill(home, "broken", "print('x')")
    (home.skills / "broken" / "link").symlink_to("/etc/passwd")
    write_routine(home, "muse", "think", "send-to-slack")
    (home.routines / "bad.yaml").write_text("name: [")
    found = {item["name"]: item for item in run_cli(home, "skill", "list", "--json").json()}
    think = found["think"]
    assert (think["code"], think["script"], think["effects"]) == ("LLM-THINK-HARD", None, ["file:*.md"])
    assert (think["routines"], think["pinned"], think["problem"]) == (["muse"], False, None)
    slack = found["send-to-slack"]
    assert (slack["bundled"], slack["pinned"], slack["routines"]) == (True, True, ["muse"])
    assert "is a link" in found["broken"]["problem"]["sentence"]
    shown = run_cli(home, "skill", "list")
    assert shown.code == 0
    assert all(words in shown.out for words in ("needs a model", "broken: The skill in", "LLM-THINK-HARD", "muse"))


@pytest.mark.heavy
def test_show_gives_header_files_digest_and_the_head_and_no_control_characters(home: Home) -> None:
    folder = write_skill(home, "greet", "print('x')", effects=["file:*.md"])
    body = header("greet", description="Turns you \u001b[31mred.") + "line\x07\n" * 40
    (folder / "SKILL.md").write_text(body.replace("\\u001b", "\\e").replace("\x07", ""))
    ended = run_cli(home, "skill", "show", "greet")
    assert ended.code == 0, ended.err
    assert "\x1b" not in ended.out
    said = ("Turns you [31mred.", "scripts/run.py", load_skill(home, "greet").digest, "Say hello.", "more lines")
    assert [words for words in said if words not in ended.out] == []
    told = run_cli(home, "skill", "show", "greet", "--json").json()
    assert told["files"] == {name: len(body) for name, body in load_skill(home, "greet").files.items()}
    refused(run_cli(home, "skill", "show", "nobody"), 2, "There is no skill nobody")


@pytest.mark.heavy
def test_a_skill_in_use_is_removed_only_by_force_and_a_bundled_one_never(tmp_path: Path, home: Home) -> None:
    write_skill(home, "greet", "print('x')")
    write_routine(home, "hello", "greet")
    refused(run_cli(home, "skill", "remove", "greet"), 3, "used by the routine hello")
    (home.routines / "hello.json").unlink()
    assert run_cli(home, "skill", "add", packed(tmp_path, "wave", requires="greet")).code == 0
    refused(run_cli(home, "skill", "remove", "greet"), 3, "used by the skill wave")
    assert load_skill(home, "greet")
    assert run_cli(home, "skill", "remove", "greet", "--force", "--json").json() == {"removed": "greet"}
    with pytest.raises(NotFound):
        load_skill(home, "greet")
    refused(run_cli(home, "skill", "remove", "greet"), 2, "There is no skill greet")
    refused(run_cli(home, "skill", "remove", "send-to-slack", "--force"), 3, "is a bundled skill")
    assert run_cli(home, "skill", "remove", "wave").code == 0
    assert tidy(home) == []


@pytest.mark.promise("STO-4")
def test_a_home_that_another_process_owns_takes_and_loses_no_skill(tmp_path: Path, home: Home) -> None:
    write_skill(home, "greet", "print('x')")
    before = load_skill(home, "greet").digest
    asked: list[list[str | Path]] = [
        ["add", packed(tmp_path), "--replace"], ["add", packed(tmp_path, "wave")],
        ["remove", "greet"], ["new", "fresh"],
    ]  # fmt: skip
    with held(home, "a test that holds it"):
        for arguments in asked:
            refused(run_cli(home, "skill", *arguments), 3, "`a test that holds it`")
        assert run_cli(home, "skill", "list").code == 0
    assert (tidy(home), load_skill(home, "greet").digest) == (["greet"], before)
