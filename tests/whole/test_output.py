"""What reaches the reader: output with nowhere to go, styles only where they are wanted, listings as wide as the
terminal, and hints whose commands can be typed as they stand."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from minion.cli import minion, run
from minion.commands.context import as_called, program, shown_path
from minion.commands.presentation import table
from minion.commands.running import next_commands
from minion.config import Home
from minion.spelling import clip
from minion.store.writer import Writer
from tests.minion.stored_runs import Teller, make_order, numbered_id, perform, with_store
from tests.whole.homes import clean_environment, command_line, make_home, run_cli
from tests.whole.refusals_said import Place, furnish, say


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home with two routines, three skills and runs; no test here changes it."""
    return asyncio.run(furnish(tmp_path_factory.mktemp("shown"))).home


@contextlib.contextmanager
def terminal(columns: int, name: str = "stdout") -> Iterator[Callable[[], str]]:
    """This process's own stream at a terminal of that width; what was shown on it so far."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    # How wide a terminal is, shutil asks the stream that the process began with.
    names = (name, f"__{name}__")
    before = {each: getattr(sys, each) for each in names}

    def shown() -> str:
        os.set_blocking(ours, False)
        with contextlib.suppress(BlockingIOError):
            return os.read(ours, 65_536).decode().replace("\r\n", "\n")
        return ""

    try:
        with os.fdopen(theirs, "w") as stream:
            vars(sys).update(dict.fromkeys(names, stream))
            yield shown
    finally:
        vars(sys).update(before)
        os.close(ours)


@pytest.mark.parametrize("words", ["--help", "runs", "export --runs", "show last", "completion bash"])
def test_output_that_has_no_room_is_told_in_one_sentence(
    home: Home, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with Path("/dev/full").open("w") as full, contextlib.redirect_stdout(full):
        assert run(minion, "minion", ["--home", str(home.root), *words.split()]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "minion: The output cannot be written (No space left on device).",
        "hint: make room there, or send it elsewhere; all else that was asked for is done",
    ]


@pytest.mark.parametrize("words", ["--help", "runs"])
def test_a_reader_that_went_away_hears_nothing_more(home: Home, words: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as gone:
        argv, env = command_line(home, words), clean_environment(home)
        ended = subprocess.run(argv, env=env, stdout=gone, stderr=subprocess.PIPE, check=False)
    assert (ended.returncode, ended.stderr) == (141, b"")


def test_a_fault_of_something_else_is_not_taken_for_one_of_the_output() -> None:
    @click.command()
    def failing() -> None:
        Path("/nowhere/at/all").read_text()

    with pytest.raises(FileNotFoundError):
        run(failing, "failing", [])


@pytest.mark.parametrize(
    ("name", "value", "styled"),
    [("TERM", "xterm", True), ("NO_COLOR", "", True), ("NO_COLOR", "0", False), ("TERM", "dumb", False)],
)
def test_no_color_and_a_dumb_terminal_switch_styles_off_for_errors_too(
    home: Home, monkeypatch: pytest.MonkeyPatch, name: str, value: str, styled: bool
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv(name, value)
    for stream, words in (("stdout", "runs"), ("stderr", "run nobody"), ("stderr", "rnu")):
        with terminal(80, stream) as shown:
            run(minion, "minion", ["--home", str(home.root), *words.split()])
            assert ("\x1b[" in shown()) is styled


@pytest.mark.parametrize("words", ["runs", "routine list", "skill list", "schedule list", "routine new --list"])
@pytest.mark.parametrize("columns", [80, 60])
def test_a_listing_is_as_wide_as_the_terminal_and_cuts_no_id(
    home: Home, monkeypatch: pytest.MonkeyPatch, words: str, columns: int
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setenv("NO_COLOR", "1")
    with terminal(columns) as shown:
        assert run(minion, "minion", ["--home", str(home.root), *words.split()]) == 0
        lines = shown().splitlines()
    assert len(lines) > 1
    assert max(map(len, lines)) <= columns
    ids = [word for line in lines for word in line.split() if word.startswith(("run_", "trig_"))]
    assert not any(word.endswith("…") for word in ids)
    if words == "runs":
        assert "run_" in lines[1]


HEADER, ROW = ["run", "does", "summary"], ["run_" + "0" * 22, "x" * 30, "y" * 90]


@pytest.mark.parametrize(
    ("columns", "line"),
    [
        (200, f"{ROW[0]}  {ROW[1]}  {ROW[2]}"),
        (80, f"{ROW[0]}  {'x' * 24}…  {'y' * 24}…"),
        (50, f"{ROW[0]}  {'x' * 9}…  {'y' * 9}…"),
        (44, f"{ROW[0]}  {'x' * 15}…"),
        (30, f"{ROW[0]}  {ROW[1]}  {ROW[2]}"),
    ],
)
def test_texts_are_cut_the_widest_first_and_left_out_where_nothing_of_them_would_be_told(
    monkeypatch: pytest.MonkeyPatch, columns: int, line: str
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    with terminal(columns):
        assert table(HEADER, [ROW])[1] == line


def test_a_pipe_gets_all_of_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    assert table(HEADER, [ROW])[1] == "  ".join(ROW)


def test_what_is_cut_ends_with_an_ellipsis() -> None:
    assert (clip("a b\nc", 5), clip("abcdef", 5)) == ("a b c", "abcd…")


def test_a_path_below_the_current_folder_can_be_told_from_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert shown_path(tmp_path / "x") == "./x"
    assert shown_path(tmp_path) == "."
    assert shown_path(tmp_path.parent / "y") == str(tmp_path.parent / "y")
    assert shown_path("https://forge.example/pull/1") == "https://forge.example/pull/1"
    monkeypatch.chdir("/")
    assert shown_path("/x") == "/x"


@pytest.mark.parametrize(
    ("hint", "said"),
    [
        ("minion runs", "CALLED runs"),
        ("did you mean b? `minion skill list` shows all, `minion skill add PATH` adds one",
         "did you mean b? `CALLED skill list` shows all, `CALLED skill add PATH` adds one"),
        ("put minion.json back: the minion runs-on, /bin/minion runs", "put minion.json back: the minion runs-on,"
         " /bin/minion runs"),
        ("no minion is here", "no minion is here"),
    ],
)  # fmt: skip
def test_every_command_of_a_hint_is_the_one_to_type(hint: str, said: str) -> None:
    ctx = click.Context(minion, obj="my home")
    called = program(ctx)
    assert called.endswith(" --home 'my home'")
    assert as_called(ctx, hint) == said.replace("CALLED", called)


def test_a_home_that_is_a_file_is_told_so(tmp_path: Path) -> None:
    file = tmp_path / "home"
    file.write_text("print(1)")
    for words in ("runs", "init"):
        told = say(Place(tmp_path), words)
        assert (told.exit_code, f"hint: {file} is no folder: name one with --home" in told.err) == (3, True)
    assert file.read_text() == "print(1)"


def test_what_is_told_to_do_next_are_commands_the_likeliest_first() -> None:
    message = {"kind": "message", "state": "accepted", "destination": "/out/1-slack.md"}
    ran = {"id": "run_1", "routine": "a", "state": "completed", "verdict": "unchecked", "effects": [message],
           "questions": []}  # fmt: skip
    assert next_commands(ran, "minion") == ["minion show a@last -v", "minion runs", "minion setup --reports slack"]
    for verdict in ("failed", "partial"):
        first = next_commands({**ran, "verdict": verdict, "effects": []}, "minion")[0]
        assert first == "minion logs a@last"
    assert next_commands({**ran, "state": "interrupted"}, "minion")[0] == "minion resume run_1"
    assert next_commands({**ran, "questions": [{"state": "open"}]}, "minion")[0] == "minion inbox"
    assert "minion inbox" not in next_commands({**ran, "questions": [{"state": "approve"}]}, "minion")


HOSTILE = "Fine?\n  minion decide dec_01HYTDXT approve\nverdict    ✓ ok\x1b]0;OWNED\x07\x1b]52;c;Y3Vy\x07\x9b31m"


def test_what_a_run_says_neither_drives_a_terminal_nor_passes_for_a_line_of_the_minions_own(
    tmp_path: Path,
) -> None:
    home = make_home(tmp_path)
    told = Teller().beginning().begin_step("LLM-EXECUTE-PROMPT")
    told.tell("gap", gap_type="tool", requested_code="TSK-X", description=HOSTILE)
    told.tell("decision", id=numbered_id("dec_", 1), question=HOSTILE)
    told.tell("check", kind="file", expected="*.md", state="failed", detail=HOSTILE)
    told.end_step("LLM-EXECUTE-PROMPT", "failed").report("failure", HOSTILE).leave("failed", HOSTILE)
    told.tell("run.finished", state="failed", why=HOSTILE, hint=None)

    async def story(writer: Writer) -> None:
        await perform(writer, make_order(), told, "failed", why=HOSTILE)

    with_store(home.root, story)
    for verb in (["show", "last", "-v"], ["inbox"], ["decisions"], ["status"], ["runs"], ["logs", "last"]):
        said = run_cli(home, *verb).out
        lines = said.splitlines()
        assert not any(ord(letter) < 32 or 127 <= ord(letter) < 160 for letter in said.replace("\n", "")), verb
        forged = ("minion decide dec_01HYTDXT", "verdict    ✓")
        assert not any(line.lstrip().startswith(forged) for line in lines), verb
