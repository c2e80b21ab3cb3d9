"""The `minion` command: loads a verb's module only when it is typed, and turns refusals into exit codes."""

from __future__ import annotations

import gc
import importlib
import sys
from typing import Any, Final

import click

from server.contract.refusals import Refusal

_VERBS: Final[dict[str, tuple[str, str]]] = {
    "init": ("minion.commands.init", "Make this machine a minion: its home, its id and a first routine."),
    "run": ("minion.commands.run", "Run a routine now and wait for its end."),
    "runs": ("minion.commands.runs", "List the newest runs."),
    "show": ("minion.commands.show", "Show one run: report, steps, verdict, effects."),
    "effects": ("minion.commands.effects", "Show what a run did outside, and how to take it back."),
    "verify": ("minion.commands.verify", "Check that the log is intact."),
    "routine": ("minion.commands.routine", "Add, begin from a template, list, show and remove routines."),
    "skill": ("minion.commands.skill", "List, show, check, begin, add and remove skills."),
    "where": ("minion.commands.where", "Say where everything lies."),
}
EXIT_CODES: Final = """\
Exit codes: 0 ok or unchecked · 1 failed or not delivered · 2 bad use · 3 refused · 4 partial, unknown, stopped."""


class LazyGroup(click.Group):
    """A group whose verbs are imported one by one: `minion --help` costs no more than click itself."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """The verbs in the order people meet them."""
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The verb's command from its own module, None for an unknown verb."""
        if cmd_name not in _VERBS:
            return None
        # Imports leave no garbage; looking for some all the while takes a tenth of a short command.
        gc.disable()
        try:
            command: click.Command = importlib.import_module(_VERBS[cmd_name][0]).command
        finally:
            gc.enable()
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb; a hint that names a command names it as this program was called, `--home` included."""
        try:
            return super().invoke(ctx)
        except Refusal as refusal:
            if refusal.hint.startswith("minion "):
                from minion.commands.context import program

                refusal.hint = program(ctx) + refusal.hint.removeprefix("minion")
            raise

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """The verbs with their one line each, without importing any of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in _VERBS.items()])


@click.group(cls=LazyGroup, epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--home", metavar="FOLDER", help="Its home [default: MINION_HOME, else the platform's data folder].")
@click.version_option(package_name="minion-hq", prog_name="minion")
@click.pass_context
def minion(ctx: click.Context, home: str | None) -> None:
    """Routines of your own machine: standing work for Claude, run on time, inside an envelope, with a record."""
    ctx.obj = home


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with the documented code."""
    status = run(minion, "minion", arguments)
    # Nor need all that was loaded be searched through on the way out.
    gc.freeze()
    sys.exit(status)


def run(command: click.Command, name: str, arguments: list[str] | None = None) -> int:
    """Run a click command; the exit code. One sentence and one hint on stderr for everything that is refused."""
    try:
        status: Any = command.main(arguments, prog_name=name, standalone_mode=False)
        return status if isinstance(status, int) else 0
    except Refusal as refusal:
        _say(name, refusal.sentence, refusal.hint)
        return refusal.exit_code
    except click.exceptions.Exit as stopped:
        return stopped.exit_code
    except click.exceptions.NoArgsIsHelpError as help_:
        click.echo(help_.format_message(), err=True)
        return 2
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        where = context.command_path if context is not None else name
        sentence = error.format_message().replace("\n", " ")
        _say(name, sentence if sentence.endswith((".", "?")) else sentence + ".", f"{where} --help")
        return 2
    except (click.Abort, KeyboardInterrupt):
        click.echo("", err=True)
        return 130


def _say(name: str, sentence: str, hint: str) -> None:
    click.echo(f"{click.style(name + ':', bold=True)} {sentence}", err=True)
    click.echo(f"{click.style('hint:', bold=True)} {hint}", err=True)
