"""`minion setup` at a terminal: six questions, asked again after a wrong answer, and broken off at any of them."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from minion.commands.questions import Questions, one_of, words_of
from minion.config import Home
from minion.secrets_file import read_secrets
from server.contract.refusals import BadUse
from tests.skills.repositories import Repository
from tests.whole.homes import clean_environment, command_line, make_home
from tests.whole.sittings import contents, leaks
from tests.whole.terminals import END_OF_INPUT, INTERRUPT, Terminal, at_terminal

QUESTIONS = (
    "name of this minion [", "time zone [", "repositories it works on", "where reports go", "which one [",
    "who is told when a routine fails",
)  # fmt: skip


@contextmanager
def asked(home: Home, cwd: Path, *flags: str) -> Iterator[Terminal]:
    """`minion setup` at a terminal."""
    with at_terminal(command_line(home, "setup", *flags), env=clean_environment(home), cwd=cwd) as terminal:
        yield terminal


@pytest.mark.promise("CLI-6")
def test_a_newcomer_answers_six_questions_and_is_asked_again_after_a_wrong_answer(tmp_path: Path) -> None:
    home, shop = Home(tmp_path / "home"), Repository(tmp_path)
    with asked(home, shop.folder) as terminal:
        terminal.type("name of this minion [", "Two Words")
        terminal.wait_for("'Two Words' is no name")
        terminal.type("name of this minion [", "desk")
        terminal.type("time zone [Europe/Berlin]: ", "tokyo")
        terminal.wait_for("did you mean Asia/Tokyo?")
        terminal.type("time zone [Europe/Berlin]: ", "Asia/Tokyo")
        terminal.type("repositories it works on, paths or addresses with blanks between them [", "/nowhere")
        terminal.wait_for("/nowhere is in no git checkout")
        terminal.type(f"[{shop.folder}]: ", "")
        terminal.type("or slack [outbox]: ", "fax")
        terminal.wait_for("'fax' is none of the answers")
        terminal.type("or slack [outbox]: ", "")
        terminal.wait_for("claude-code  your Claude Code sign-in (not in this version)")
        terminal.type("which one [script]: ", "claude-code")
        terminal.wait_for("The engine claude-code is not in this version")
        terminal.type("which one [script]: ", "")
        assert not home.root.exists()
        terminal.type("none, slack or command [none]: ", "command")
        terminal.type("the command, run without a shell [", "false 'a b'")
        terminal.wait_for("ended with exit code 1")
        terminal.type("none, slack or command [none]: ", "command")
        terminal.type("the command, run without a shell [", "true 'a b")
        terminal.wait_for("A quote is not closed")
        terminal.type("the command, run without a shell [", "true 'a b'")
        assert terminal.ended() == 0
    # A person who is asked has no use for the name of a flag.
    assert "--name" not in terminal.shown
    config = json.loads(home.config_file.read_bytes())
    assert (config["name"], config["timezone"]) == ("desk", "Asia/Tokyo")
    assert config["repositories"] == [str(shop.folder)]
    assert config["notify"][0]["command"][1:] == ["a b"]
    assert json.loads((home.routines / "morning-report.json").read_bytes())["repositories"] == [str(shop.folder)]


@pytest.mark.promise("CLI-6")
def test_the_key_of_an_engine_is_asked_for_unseen_and_kept_where_only_its_owner_reads(tmp_path: Path) -> None:
    home, key = Home(tmp_path / "home"), "sk-ant-typed-unseen-0123456789"
    flags = ("--name", "desk", "--timezone", "UTC", "--repo", "none", "--reports", "outbox", "--alerts", "none")
    with asked(home, tmp_path, *flags) as terminal:
        terminal.type("which one [script]: ", "messages")
        terminal.type("not shown as you type: ", "")
        terminal.wait_for("The engine messages lacks the secret anthropic_api_key.")
        terminal.type("which one [script]: ", "messages")
        terminal.type("not shown as you type: ", key)
        terminal.type("may spend a day, or none for no cap [5]: ", "lots")
        terminal.wait_for("'lots' is no number of US dollars")
        terminal.type("may spend a day, or none for no cap [5]: ", "$2")
        terminal.type("may spend a month, or none for no cap [50]: ", "none")
        assert terminal.ended() == 0
    config = json.loads(home.config_file.read_bytes())
    assert (config["engine"], config["dollars_per_day"], config["dollars_per_month"]) == ("messages", 2.0, None)
    assert read_secrets(home.secrets_file) == {"anthropic_api_key": key}
    assert (key in terminal.shown, leaks(home, key)) == (False, [])


@pytest.mark.promise("CLI-6")
def test_enter_keeps_every_answer_and_a_flag_is_not_asked_about(tmp_path: Path) -> None:
    home = make_home(tmp_path, name="desk")
    (home.routines / "other.yaml").write_text("name: other\ncontent: x\n")
    before = contents(home)
    with asked(home, tmp_path, "--timezone", "Europe/Berlin") as terminal:
        for question in QUESTIONS:
            if question != "time zone [":
                terminal.type(question, "")
        assert terminal.ended() == 0
    assert ("time zone [" in terminal.shown, "stays as it was" in terminal.shown) == (False, True)
    assert contents(home) == before


@pytest.mark.promise("CLI-6")
def test_what_somebody_writes_while_the_questions_are_asked_stays(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    (home.routines / "other.yaml").write_text("name: other\ncontent: x\n")
    with asked(home, tmp_path) as terminal:
        for question in QUESTIONS[:-1]:
            terminal.type(question, "desk" if "name" in question else "")
        terminal.wait_for(QUESTIONS[-1])
        by_hand = json.loads(home.config_file.read_bytes()) | {"keep_runs": 7, "timezone": "Asia/Tokyo"}
        home.config_file.write_text(json.dumps(by_hand))
        terminal.type("[none]: ", "")
        assert terminal.ended() == 0
    assert json.loads(home.config_file.read_bytes()) == by_hand | {"name": "desk"}


@pytest.mark.promise("CLI-3")
@pytest.mark.promise("CLI-6")
@pytest.mark.parametrize(("key", "code"), [(INTERRUPT, 130), (END_OF_INPUT, 2)])
@pytest.mark.parametrize("fresh", [True, False])
def test_what_is_broken_off_at_the_last_question_wrote_nothing(
    tmp_path: Path, key: str, code: int, fresh: bool
) -> None:
    home = Home(tmp_path / "home") if fresh else make_home(tmp_path)
    before = contents(home)
    with asked(home, tmp_path) as terminal:
        for question in QUESTIONS[:-1]:
            terminal.type(question, "desk" if "name" in question else "")
        terminal.type(QUESTIONS[-1], key)
        assert terminal.ended() == code
    assert (contents(home), home.root.exists()) == (before, not fresh)
    assert ("nothing was changed" in terminal.shown) == (key == END_OF_INPUT)


@pytest.mark.promise("CLI-7")
@pytest.mark.parametrize(("key", "code"), [(INTERRUPT, 130), (END_OF_INPUT, 2)])
def test_the_hidden_question_can_be_broken_off_too(tmp_path: Path, key: str, code: int) -> None:
    home = Home(tmp_path / "home")
    flags = ("--name", "desk", "--timezone", "UTC", "--repo", "none", "--reports", "slack")
    with asked(home, tmp_path, *flags) as terminal:
        terminal.type("not shown as you type", "")
        terminal.wait_for("the address of an incoming webhook")
        terminal.type("not shown as you type", key)
        assert terminal.ended() == code
    assert not home.root.exists()


@pytest.mark.parametrize(
    ("asking", "code"),
    [
        (lambda: words_of("two 'words"), "open_quote"),
        (lambda: one_of("outbox", "slack")("fax"), "bad_choice"),
        (lambda: Questions(asks=False).agreed("did it arrive?", "maybe", default=True), "yes_or_no"),
        (lambda: Questions(asks=True).settle("name", None, "desk", str), "no_answer"),
    ],
)
def test_what_is_no_answer_is_bad_use_with_its_own_code(asking: Callable[[], object], code: str) -> None:
    before, sys.stdin = sys.stdin, io.TextIOWrapper(io.BytesIO())
    try:
        with pytest.raises(BadUse) as caught:
            asking()
    finally:
        sys.stdin = before
    assert caught.value.code == code
