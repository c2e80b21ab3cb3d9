"""`minion run`: performs a routine in the foreground, shows it live, prints what came of it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from minion.commands.completion import complete_input, complete_routine
from minion.commands.context import home_of, print_json
from minion.commands.running import performed, tell_end
from minion.config import Home
from server.contract.refusals import BadUse, Refused

INPUT_CHARACTERS: Final = 65_536
_LONGEST_CHARACTER: Final = 4  # bytes, in UTF-8


@click.command("run")
@click.argument("routine", metavar="NAME", shell_complete=complete_routine)
@click.option("--engine", metavar="E", help="How to execute it, instead of what the routine says; or `auto`.")
@click.option("--model", metavar="M", help="Which model performs all of it, instead of what is said elsewhere.")
@click.option(
    "--input",
    "text",
    metavar="TEXT|@FILE",
    shell_complete=complete_input,
    help="Text for this run; its skills take it as untrusted.",
)
@click.option("--repo", metavar="PATH|URL", help="The repository to work on this once.")
@click.option("--detach", is_flag=True, help="Print the run's id at once; the daemon performs it.")
@click.option("--dry-run", "dry", is_flag=True, help="Show how it would begin and what would refuse it.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole run as one JSON document.")
@click.pass_context
def command(
    ctx: click.Context, routine: str, engine: str | None, model: str | None, text: str | None, repo: str | None,
    detach: bool, dry: bool, as_json: bool,
) -> int:  # fmt: skip
    """Run a routine now and wait for its end.

    NAME is a routine's name or id. The run is performed like any other: repositories cloned, skills in the
    sandbox, report appended, kept among the newest 200. A paused routine runs too: pausing stops its triggers,
    not you. Where a daemon runs the minion, it performs the run; else this command does. Ctrl-C stops the run in
    good order.

    --dry-run shows instead what the session would be told word for word, the tools it would be offered, what it
    could see and reach, what it may spend, and what would refuse it now. No model is called, nothing is kept, and
    it needs no daemon; exit 3 where the run would be refused.

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
      minion run triage --engine messages --model claude-haiku-5-5
      minion run morning-report --detach
      minion run triage --engine messages --dry-run
    """
    home = home_of(ctx)
    given = given_input(text)
    if dry:
        return _rehearse(home, routine, engine=engine, model=model, given=given, repo=repo, as_json=as_json)
    run_id = _perform(home, routine, engine=engine, model=model, given=given, repo=repo, detach=detach)
    return tell_end(ctx, run_id, detach=detach, as_json=as_json)


def _rehearse(
    home: Home, name: str, *, engine: str | None, model: str | None, given: str | None, repo: str | None,
    as_json: bool,
) -> int:  # fmt: skip
    from minion.clock import utc_now
    from minion.commands.rehearsing import print_rehearsal
    from minion.foresight.prospect import Wanted
    from minion.foresight.rehearsed import rehearsed

    said = rehearsed(home, name, Wanted(engine, model, _here(repo), given), now=utc_now())
    if as_json:
        print_json(said)
    else:
        print_rehearsal(said)
    return 0 if said["would_run"] else Refused.exit_code


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
    home: Home, name: str, *, engine: str | None, model: str | None, given: str | None, repo: str | None,
    detach: bool,
) -> str:
    """Have the routine run; the run's id. Without `detach` it has ended then."""
    params = {"routine": name, "engine": engine, "model": model, "input": given, "detach": detach}
    return performed(home, "run", params | {"repository": _here(repo)}, command=f"minion run {name}")


def _here(repo: str | None) -> str | None:
    """A repository as it is named from any folder: the daemon works in another one."""
    return repo if repo is None or "://" in repo or not Path(repo).exists() else str(Path(repo).resolve())
