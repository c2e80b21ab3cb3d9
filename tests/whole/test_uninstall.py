"""`minion uninstall`: what it named goes and nothing else does; what remains outside is listed."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from minion.cli import minion, run
from minion.commands.uninstall import ask
from minion.config import Home, held
from minion.setup.home_removal import look_into, remove_home
from server.contract.refusals import BadUse, Refused
from tests.house.source_tree import ROOT
from tests.minion.stored_runs import CODES, Teller, make_order, perform, with_store
from tests.whole.homes import (
    Ended,
    clean_environment,
    command_line,
    make_home,
    performed,
    write_routine,
    write_secrets,
    write_skill,
)

BRANCH = "git push https://forge.example/shop.git --delete claude/nightly"
Told = Callable[..., Ended]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home with a routine, a skill, a secret, two runs that pushed, messaged and were cut off, and an outbox."""
    made = make_home(tmp_path, name="desk")
    write_skill(made, "say", "print(1)")
    write_routine(made, "nightly", "say")
    write_secrets(made, {"slack_webhook": "https://hooks.slack.example/services/T0/B0/very-secret"})
    (made.outbox / "nightly").mkdir()
    (made.outbox / "nightly" / "report.md").write_text("# Report\n")
    (made.runs / "run_1").mkdir()

    def told(number: int, state: str) -> Teller:
        teller = Teller(number).beginning().step("LLM-EXECUTE-PROMPT").report().leave().enter(CODES[3])
        push = teller.stage("push", "shop:claude/nightly")
        said = {"state": state, "detail": "d", "destination": "shop:claude/nightly", "reverse": BRANCH}
        teller.intend(push).tell("effect.result", id=push, **said)
        teller.perform("delivered").perform("refused", "strangers")
        kept = teller.stage("message", "team")
        teller.intend(kept).settle(kept, "accepted", f"{made.outbox}/nightly/run_1-team.md")
        note = teller.stage("file", "report.md")
        teller.intend(note).settle(note, "delivered", f"{made.outbox}/nightly/report.md")
        return teller.step("SCR-PUSH-BRANCH").leave()

    async def story(writer: Any) -> None:
        for number in (1, 2):
            await perform(writer, make_order(number, routine="nightly"), told(number, "delivered"))

    with_store(made.root, story)
    return made


@pytest.fixture
def told(home: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Told:
    """Calls `minion uninstall` for the home in this process, its user's folder an empty one of the test's."""
    monkeypatch.setenv("HOME", str(tmp_path))

    def call(*arguments: str, at: Path | None = None) -> Ended:
        code = run(minion, "minion", ["--home", str(at or home.root), "uninstall", *arguments])
        return Ended(code, *capsys.readouterr())

    return call


def files_of(home: Home) -> set[str]:
    """Every file and folder below the home's parent, those apart that come with being looked at."""
    passing = {"lock", "minion.db-wal", "minion.db-shm"}
    found = (path for path in home.root.parent.rglob("*") if path.name not in passing)
    return {str(path.relative_to(home.root.parent)) for path in found}


@pytest.mark.promise("CLI-9")
def test_uninstall_removes_the_home_it_named_and_lists_what_remains_outside(home: Home, told: Told) -> None:
    completion = home.root.parent / ".zfunc" / "_minion"
    completion.parent.mkdir()
    completion.write_text("#compdef minion\n")
    (home.root.parent / ".bashrc").write_text('eval "$(minion completion bash)"\n')
    ended = told("--yes", "--json")
    assert ended.code == 0
    said = ended.json()
    (gone,) = said["removed"]
    assert (gone["what"], gone["path"], gone["minion"]) == ("home", str(home.root), "desk")
    assert (gone["routines"], gone["runs"], gone["secrets"]) == (0, 2, ["slack_webhook"])
    assert (gone["files"] > 5, gone["bytes"] > 10_000) == (True, True)
    assert [(item["kind"], item["what"], item["undo"]) for item in said["outside"]] == [
        ("message", "slack webhook (by nightly, 2 times)", "it may have been read: delete it there"),
        ("push", "shop:claude/nightly (by nightly, 2 times)", BRANCH),
        ("secret", "slack_webhook", "it stays valid where it was made: revoke it there"),
        ("completion", str(completion), f"rm {completion}"),
        ("completion", f"{home.root.parent}/.bashrc", "take the line `minion completion …` out of it"),
    ]
    why = "the program runs from this checkout: delete that folder yourself"
    assert said["kept"] == [{"path": str(ROOT), "why": why}]
    assert "very-secret" not in ended.out + ended.err
    # The list is told before anything goes, and nothing beside the home went.
    assert BRANCH in ended.err
    assert files_of(home) == {".zfunc", ".zfunc/_minion", ".bashrc"}


@pytest.mark.promise("CLI-9")
def test_what_no_minion_put_into_the_home_stays_with_its_folder(home: Home, told: Told) -> None:
    (home.root / "notes.txt").write_text("mine\n")
    (home.root / "photos").mkdir()
    (home.root / "photos" / "a.jpg").write_text("a\n")
    (home.root / ".minion.json.123.part").write_text("{")
    said = told("--yes", "--json").json()
    assert [item["path"] for item in said["kept"][:2]] == [f"{home.root}/notes.txt", f"{home.root}/photos"]
    assert files_of(home) == {"home", "home/notes.txt", "home/photos", "home/photos/a.jpg"}
    # Called again there is nothing of a minion in it.
    again = told("--yes", "--json").json()
    assert (again["removed"], again["kept"][0]["why"]) == ([], "there is no minion in it: nothing to remove")
    assert (home.root / "notes.txt").read_text() == "mine\n"


@pytest.mark.promise("CLI-9")
def test_no_link_is_followed_out_of_the_home(home: Home, told: Told, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    shutil.move(home.outbox, disk)
    home.outbox.symlink_to(disk)
    (home.runs / "run_1" / "up").symlink_to(tmp_path)
    (home.skills / "say" / "scripts" / "run.py").unlink()
    (home.skills / "say" / "scripts" / "run.py").symlink_to(tmp_path / "precious")
    (tmp_path / "precious").write_text("!")
    said = told("--yes", "--json").json()
    assert {"path": str(disk), "why": "the home's outbox is a link to it: the link goes"} in said["kept"]
    assert files_of(home) == {"disk", "disk/nightly", "disk/nightly/report.md", "precious"}


def test_folders_that_forbid_writing_go_too_and_nothing_beyond_a_link_is_opened_up(home: Home, told: Told) -> None:
    outside = home.root.parent / "outside"
    outside.mkdir(mode=0o500)
    deep = home.runs / "run_1" / "workspace" / "deep"
    deep.mkdir(parents=True)
    (deep / "file").write_text("x")
    (deep / "out").symlink_to(outside)
    deep.chmod(0o500)
    deep.parent.chmod(0o000)
    assert told("--yes").code == 0
    assert not home.root.exists()
    assert outside.stat().st_mode & 0o777 == 0o500


@pytest.mark.promise("CLI-9")
def test_without_a_terminal_and_without_yes_it_says_what_would_go_and_changes_nothing(
    home: Home, told: Told
) -> None:
    before = files_of(home)
    with pytest.raises(BadUse) as refused:
        ask("desk", keep_data=False)
    assert refused.value.code == "not_confirmed"
    ended = told()
    assert ended.code == 2
    assert f"home  {home.root}  desk, 0 routines, 2 runs, " in ended.out
    assert "secrets: slack_webhook" in ended.out
    assert ended.err == (
        "minion: There is no terminal to ask on; nothing was removed.\nhint: minion uninstall --yes\n"
    ).replace("hint: minion", ended.err.splitlines()[1].partition(" uninstall")[0])
    assert files_of(home) == before


def test_the_data_is_kept_if_asked(home: Home, told: Told) -> None:
    before = files_of(home)
    ended = told("--keep-data", "--json")
    said = ended.json()
    assert (ended.code, said["removed"]) == (0, [])
    assert said["kept"][0] == {"path": str(home.root), "why": "its data is kept, with --keep-data"}
    assert files_of(home) == before


@pytest.mark.promise("CLI-9")
def test_a_home_that_another_process_holds_is_not_removed(home: Home, told: Told) -> None:
    before = files_of(home)
    with held(home, "minion run something-long"):
        ended = told("--yes")
    assert (ended.code, ended.out) == (3, "")
    assert "in use by `minion run something-long`" in ended.err
    assert files_of(home) == before


@pytest.mark.promise("CLI-9")
def test_a_folder_that_holds_more_than_a_minion_is_refused(home: Home, told: Told, tmp_path: Path) -> None:
    link, checkout, users = tmp_path / "link", tmp_path / "checkout", tmp_path
    link.symlink_to(home.root)
    checkout.mkdir()
    (checkout / ".git").mkdir()
    for folder in (checkout, users):
        shutil.copy(home.config_file, folder)
        (folder / "skills").mkdir()
    before = files_of(home)
    refused = {link: "is a link", checkout: "is a git checkout", users: "holds more than a minion"}
    for folder, what in refused.items():
        ended = told("--yes", at=folder)
        assert (ended.code, ended.out) == (3, "")
        assert ended.err.startswith(f"minion: {folder} {what} and is not removed.\nhint: ")
    assert files_of(home) == before


@pytest.mark.promise("CLI-9")
def test_a_removal_that_is_cut_off_anywhere_can_be_done_again(home: Home, tmp_path: Path) -> None:
    contents = look_into(home)
    assert contents is not None
    for number in range(1, len(contents.ours)):
        copy = Home(tmp_path / f"copy-{number}")
        shutil.copytree(home.root, copy.root)
        for entry in contents.ours[:number]:
            path = copy.root / entry.name
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        left = look_into(copy)
        assert left is not None, contents.ours[number - 1].name
        remove_home(left)
        assert not copy.root.exists()


def test_what_cannot_be_removed_is_named(home: Home, tmp_path: Path) -> None:
    contents = look_into(home)
    assert contents is not None
    (home.root / "late.txt").write_text("somebody was quicker\n")
    with pytest.raises(Refused, match=f"{home.root} cannot be removed .*not empty") as refused:
        remove_home(contents)
    assert refused.value.code == "not_removed"
    assert (home.root / "late.txt").exists()


def test_a_store_that_cannot_be_read_does_not_keep_anybody_here(home: Home, told: Told) -> None:
    home.store.write_bytes(b"SQLite format 3\0" + b"not really" * 500)
    said = told("--yes", "--json").json()
    assert said["outside"][0]["kind"] == "unknown"
    assert "cannot be read" in said["outside"][0]["what"]
    assert not home.root.exists()


def test_everything_that_init_and_a_run_put_into_a_home_is_known_as_its_own(tmp_path: Path) -> None:
    made = make_home(tmp_path)
    write_skill(made, "say", "print(1)")
    write_routine(made, "task", "say")
    performed(made, "task")
    contents = look_into(made)
    assert contents is not None
    assert contents.others == ()


@pytest.mark.promise("CLI-9")
@pytest.mark.parametrize(("answer", "code"), [("desk", 0), ("yes", 2)])
def test_on_a_terminal_it_asks_for_the_minions_name(home: Home, answer: str, code: int) -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        command_line(home, "uninstall"),
        env=clean_environment(home),
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        os.close(theirs)
        os.write(ours, f"{answer}\n".encode())
        _, err = process.communicate(timeout=60)
        os.close(ours)
    assert process.returncode == code
    assert b"Type desk to remove it" in err
    assert home.root.exists() == (code != 0)


def test_a_home_in_an_unsafe_place_is_refused_before_it_is_touched(home: Home, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(home.root)
    with pytest.raises(Refused) as refused:
        look_into(Home(tmp_path / "link"))
    assert refused.value.code == "unsafe_home"
    assert json.loads(home.config_file.read_text())["name"] == "desk"
