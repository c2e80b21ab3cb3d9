"""Help: every command says what it does, with examples that parse; a slip is answered with the nearest."""

from __future__ import annotations

import inspect
import shlex
from collections.abc import Iterator

import click
import pytest

from minion.cli import EXAMPLES, minion, run
from minion.commands.nearest import ELSEWHERE, nearest
from server.cli import hq
from server.cli import main as hq_main

# What a terminal of 80 columns leaves to click.
WIDTH = 78


def commands_below(
    command: click.Command, context: click.Context
) -> Iterator[tuple[click.Command, click.Context]]:
    """A command and all those below it, hidden ones apart, each with its context."""
    yield command, context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None, name
            if not below.hidden:
                yield from commands_below(below, click.Context(below, parent=context, info_name=name))


def whole_tree() -> dict[str, tuple[click.Command, click.Context]]:
    """Every command of both programs by its path."""
    roots = ((minion, "minion"), (hq, "hq"))
    pairs = [
        pair
        for root, name in roots
        for pair in commands_below(root, _context(root, name))
    ]
    return {context.command_path: (command, context) for command, context in pairs}


def _context(root: click.Group, name: str) -> click.Context:
    return click.Context(root, info_name=name, terminal_width=WIDTH, **root.context_settings)


TREE = whole_tree()


def examples_of(path: str) -> list[str]:
    """The lines of the `Examples:` block of a command's help."""
    if path == "minion":
        return list(EXAMPLES)
    text = inspect.cleandoc(TREE[path][0].help or "").replace("\b\n", "")
    _, _, block = text.partition("Examples:\n")
    return [line.strip() for line in block.partition("\n\n")[0].splitlines()]


def reads(line: str) -> list[click.Command]:
    """Parse a command line down to its verb without performing it; the commands it went through."""
    program, *arguments = shlex.split(line, comments=True)
    root: click.Command = {"minion": minion, "hq": hq}[program]
    context, went = root.make_context(program, arguments), [root]
    while isinstance(context.command, click.Group):
        rest = [*context._protected_args, *context.args]
        if not rest and context.command.invoke_without_command:
            break
        name, below, rest = context.command.resolve_command(context, rest)
        assert below is not None
        context = below.make_context(name, rest, parent=context)
        went.append(below)
    return went


def said_to(*arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """The exit code of a command line that is no good, its sentence and its hint."""
    code = run(minion, "minion", list(arguments))
    out, err = capsys.readouterr()
    assert out == ""
    sentence, hint = err.splitlines()
    return code, sentence.removeprefix("minion: "), hint.removeprefix("hint: ")


@pytest.mark.promise("CLI-10")
@pytest.mark.parametrize("path", TREE)
def test_every_commands_help_says_what_it_does_with_examples_that_parse(path: str) -> None:
    command, context = TREE[path]
    shown = command.get_help(context)
    assert [line for line in shown.splitlines() if len(line) > 80] == []
    first = inspect.cleandoc(command.help or "").partition("\n\n")[0]
    assert first.endswith("."), f"the help of `{path}` begins with no sentence"
    assert "Examples:\n" in shown
    examples = examples_of(path)
    assert examples != []
    for line in examples:
        assert line.startswith(f"{path.split(' ')[0]} "), line
        assert command in reads(line), line


@pytest.mark.parametrize("path", [path for path, (command, _) in TREE.items() if isinstance(command, click.Group)])
def test_no_line_of_a_list_of_commands_is_cut_short(path: str) -> None:
    command, context = TREE[path]
    assert "..." not in command.get_help(context).replace("[ARGS]...", "")


def test_every_option_says_what_it_is_for() -> None:
    silent = [
        f"{path} {option.opts[0]}"
        for path, (command, context) in TREE.items()
        for option in command.get_params(context)
        if isinstance(option, click.Option) and not option.hidden and not option.help
    ]
    assert silent == []


def test_an_example_that_does_not_parse_is_seen() -> None:
    for line in ("minion rnu x", "minion runs --no-such-option", "minion runs --limit many", "minion show"):
        with pytest.raises(click.UsageError):
            reads(line)


@pytest.mark.promise("CLI-10")
@pytest.mark.parametrize(
    ("typed", "kind", "meant"),
    [
        (["rnu", "morning-report"], "command 'rnu'", "did you mean `minion run`?"),
        (["RUNS"], "command 'RUNS'", "did you mean `minion runs`?"),
        (["verfiy"], "command 'verfiy'", "did you mean `minion verify`?"),
        (["ls"], "command 'ls'", "did you mean `minion runs`?"),
        (["cron"], "command 'cron'", "did you mean `minion schedule`?"),
        (["rm", "x"], "command 'rm'", "did you mean `minion routine remove`?"),
        (["skill", "lst"], "command 'lst'", "did you mean `minion skill list`?"),
        (["skill", "install"], "command 'install'", "did you mean `minion skill add`?"),
        (["routine", "rm", "x"], "command 'rm'", "did you mean `minion routine remove`?"),
        (["xyzzy"], "command 'xyzzy'", "minion --help"),
        (["skill", "xyzzy"], "command 'xyzzy'", "minion skill --help"),
        (["runs", "--routin", "x"], "option '--routin'", "did you mean `minion runs --routine`?"),
        (["runs", "--xyzzy=1"], "option '--xyzzy'", "minion runs --help"),
        (["runs", "--home", "x"], "option '--home'", "put it before the command: minion --home …"),
        (["ru\x1bn\n"], "command 'run'", "did you mean `minion run`?"),
    ],
)
def test_what_is_not_there_is_answered_with_the_nearest(
    typed: list[str], kind: str, meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said_to(*typed, capsys=capsys) == (2, f"There is no {kind}.", meant)


def test_other_bad_use_points_to_the_commands_own_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert said_to("show", capsys=capsys) == (2, "Missing argument 'RUN'.", "minion show --help")


def test_every_word_of_other_tools_leads_to_a_command_that_is_there() -> None:
    for group, words in ELSEWHERE.items():
        command, context = TREE[group]
        assert isinstance(command, click.Group)
        own = command.list_commands(context)
        for word, target in words.items():
            assert word not in own, f"{word} is a command of its own"
            if not target.startswith("--"):
                path = target.partition(" --")[0]
                assert f"minion {path}" in TREE, target


@pytest.mark.parametrize(("word", "found"), [("sho", "show"), ("s", None), ("", None), ("effect", "effects")])
def test_the_nearest_is_a_beginning_or_a_slip_and_nothing_far(word: str, found: str | None) -> None:
    assert nearest(word, ["show", "skill", "effects"]) == found


@pytest.mark.promise("CLI-10")
@pytest.mark.parametrize(
    ("typed", "sentence", "hint"),
    [
        (["proces"], "There is no command 'proces'.", "did you mean `hq process`?"),
        (["process", "--jsn"], "There is no option '--jsn'.", "did you mean `hq process --json`?"),
        (["xyzzy"], "There is no command 'xyzzy'.", "hq --help"),
        (["serve", "--port", "many"], "--port takes a whole number from 0 to 65,535.", "hq serve --help"),
    ],
)
def test_hq_answers_with_the_nearest_too(
    typed: list[str], sentence: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        hq_main(typed)
    assert (ended.value.code, capsys.readouterr().err) == (2, f"hq: {sentence}\nhint: {hint}\n")
