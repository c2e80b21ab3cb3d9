"""`minion run`: performs a routine in the foreground, shows it live, prints what came of it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click

from minion.asking import ask
from minion.commands.completion import complete_input, complete_routine
from minion.commands.context import as_called, home_of, print_json, program, warn
from minion.commands.presentation import facts, headline, mark, rule, tree
from minion.config import Home
from minion.spelling import report_text
from minion.store.local_db import read_only
from minion.store.run_history import results_of, whole_run
from minion.terminal import can_rewrite, wants_styles
from server.contract.refusals import BadUse
from server.contract.run import EXIT_CODES

INPUT_CHARACTERS: Final = 65_536
_LONGEST_CHARACTER: Final = 4  # bytes, in UTF-8


@click.command("run")
@click.argument("routine", metavar="NAME", shell_complete=complete_routine)
@click.option("--engine", metavar="E", help="How to execute it, instead of what the routine says: script.")
@click.option(
    "--input",
    "text",
    metavar="TEXT|@FILE",
    shell_complete=complete_input,
    help="Text for this run; its skills take it as untrusted.",
)
@click.option("--repo", metavar="PATH|URL", help="The repository to work on this once.")
@click.option("--detach", is_flag=True, help="Print the run's id at once; the daemon performs it.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole run as one JSON document.")
@click.pass_context
def command(
    ctx: click.Context, routine: str, engine: str | None, text: str | None, repo: str | None, detach: bool,
    as_json: bool,
) -> int:  # fmt: skip
    """Run a routine now and wait for its end.

    NAME is a routine's name or id. The run is performed like any other: repositories cloned, skills in the
    sandbox, report appended, kept among the newest 200. A paused routine runs too: pausing stops its triggers,
    not you. Where a daemon runs the minion, it performs the run; else this command does. Ctrl-C stops the run in
    good order.

    \b
    Exit codes follow the verdict:
      0  ok, unchecked            1  failed, not-delivered
      4  partial, unknown, skipped (stopped)
      2  bad use and 3 refused: nothing was run

    \b
    Examples:
      minion run morning-report
      minion run triage --input @alert.json --json
      minion run morning-report --repo ~/src/shop
      minion run morning-report --detach
    """
    home = home_of(ctx)
    given = given_input(text)
    run_id = _perform(home, routine, engine=engine, given=given, repo=repo, detach=detach)
    if detach:
        if as_json:
            print_json({"run": run_id, "routine": routine})
        else:
            click.echo(run_id)
        return 0
    with read_only(home.store) as db:
        run, results = whole_run(db, run_id), results_of(db, run_id)
    if as_json:
        print_json(run)
    else:
        _print(run, results, ctx)
    return EXIT_CODES[run["verdict"]]


def given_input(text: str | None) -> str | None:
    """The text that `--input` means, a file's for `@FILE`. Raises `BadUse` when it is too long or not UTF-8."""
    if text is None:
        return None
    if text.startswith("@"):
        text = _file(text[1:])
    if len(text) > INPUT_CHARACTERS:
        raise _too_long()
    try:
        text.encode()
    except UnicodeEncodeError as error:  # a byte of the command line that is no UTF-8
        hint = "give it in a UTF-8 file: --input @FILE"
        raise BadUse("no_input", "The input is not UTF-8.", hint=hint) from error
    return text


def _file(name: str) -> str:
    try:
        # Not read whole before it is measured: /dev/zero is a file too.
        with Path(name).open("rb") as file:
            body = file.read(INPUT_CHARACTERS * _LONGEST_CHARACTER + 1)
        if len(body) > INPUT_CHARACTERS * _LONGEST_CHARACTER:
            raise _too_long()
        return body.decode()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        hint = "give the path of a text file behind the @, or the text itself"
        raise BadUse("no_input", f"{name} cannot be read ({why}).", hint=hint) from error


def _too_long() -> BadUse:
    hint = "shorten it, or put it into a file of the repository"
    return BadUse("long_input", f"The input is over {INPUT_CHARACTERS:,} characters.", hint=hint)


def _perform(
    home: Home, name: str, *, engine: str | None, given: str | None, repo: str | None, detach: bool
) -> str:
    """Have the routine run; the run's id. Without `detach` it has ended then."""
    progress = Progress()
    params = {"routine": name, "engine": engine, "input": given, "detach": detach, "repository": _here(repo)}
    with progress:
        answer = ask(
            home, "run", params, command=f"minion run {name}", alert=warn,
            on_event=None if detach else progress.take,
        )  # fmt: skip
    return str(answer["run"])


def _here(repo: str | None) -> str | None:
    """A repository as it is named from any folder: the daemon works in another one."""
    return repo if repo is None or "://" in repo or not Path(repo).exists() else str(Path(repo).resolve())


class Progress:
    """One line that tells what is under way, on a terminal only, wiped at the end."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty() and can_rewrite()
        self._plain = wants_styles() is False
        self._shown = False

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown:
            self._show("")

    def take(self, event: Mapping[str, Any]) -> None:
        """Say which run it is; then show the block or step that began."""
        if "type" not in event:
            click.echo(f"{event['routine']} · run {event['run']}", err=True)
            return
        words = _words_of(event["type"], event["block"], event["data"]) if self._live else ""
        if words:
            self._show(f"  {mark('running')}  {words}")

    def _show(self, line: str) -> None:
        self._shown = True
        # To wipe a line is no style: it is said where styles are off too.
        said = click.unstyle(line) if self._plain else line
        click.echo(f"\r\x1b[2K{said}", nl=False, err=True, color=True)


def _words_of(type_: str, block: str | None, data: Mapping[str, Any]) -> str:
    if type_ == "block.started":
        return f"{block} {data['name']}"
    if type_ == "step.started" and data["kind"] != "tool_call":
        return f"{block} {data['code']}"
    if type_ == "effect.intent":
        return f"{block} performing an effect"
    return ""


def _print(run: Mapping[str, Any], results: list[dict[str, Any]], ctx: click.Context) -> None:
    report = report_text(results)
    if report:
        click.echo("\n".join([rule("report"), "", *report, ""]))
    click.echo("\n".join([rule("what ran"), "", *tree(run), ""]))
    click.echo("\n".join([rule("what came of it"), "", headline(run), run["summary"] or "", "", *facts(run), ""]))
    hint = [f"{click.style('hint:', bold=True)} {as_called(ctx, run['hint'])}", ""] if run["hint"] else []
    click.echo("\n".join([rule("next"), "", *hint, *next_commands(run, program(ctx))]))


def next_commands(run: Mapping[str, Any], program_: str) -> list[str]:
    """What somebody may want to type after this run, the likeliest first; each line is a command."""
    lines = [f"{program_} show {run['routine']}@last -v", f"{program_} runs"]
    if run["verdict"] in ("failed", "partial"):
        lines.insert(0, f"{program_} logs {run['routine']}@last")
    if any(effect["state"] == "unknown" for effect in run["effects"]):
        lines.insert(0, f"{program_} effects --unsettled")
    messages = [effect for effect in run["effects"] if effect["kind"] == "message"]
    if any(e["state"] == "accepted" and "webhook" not in (e["destination"] or "") for e in messages):
        lines.append(f"{program_} setup --reports slack")
    return lines
