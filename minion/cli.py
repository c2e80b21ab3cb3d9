"""The `minion` command: loads a verb's module only when it is typed, and turns refusals into exit codes."""

from __future__ import annotations

import contextlib
import errno
import gc
import importlib
import os
import sys
from typing import TYPE_CHECKING, Any, Final, TextIO

import click

from minion.terminal import wants_styles
from server.contract.refusals import Refusal

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

# Every verb, in the order people meet them: its module and its one line. A new verb gets a line in its section.
_SECTIONS: Final[dict[str, dict[str, tuple[str, str]]]] = {
    "Begin": {
        "init": ("minion.commands.init", "Make this machine a minion: home, id and a first routine."),
        "setup": ("minion.commands.setup", "Set it up by questions: name, repositories, reports, alerts."),
        "secret": ("minion.commands.secret", "Keep secrets by name: the API's key, webhooks, tokens."),
        "doctor": ("minion.commands.doctor", "Run each thing a minion needs, and say what mends it."),
    },
    "Always on": {
        "up": ("minion.commands.up", "Have the minion stay up: routines run on their schedules."),
        "down": ("minion.commands.down", "Have the daemon end in good order."),
        "service": ("minion.commands.service", "Have the system start the minion by itself, and bring it back."),
        "status": ("minion.commands.status", "Show the daemon, what runs, what is due, what went wrong."),
        "tui": ("minion.commands.tui", "See, steer and trust this minion in the terminal."),
        "why": ("minion.commands.why", "Say why a routine did not run, or not well, and what mends it."),
        "alerts": ("minion.commands.alerts", "List what went wrong and is not over, and who was told."),
        "inbox": ("minion.commands.inbox", "Show all that needs a person, and the command for each."),
        "decisions": ("minion.commands.decisions", "List decisions, those that were answered too."),
        "decide": ("minion.commands.decide", "Answer what waits for a person: approve or reject."),
        "reload": ("minion.commands.reload", "Have the daemon read settings and routine files again, now."),
        "join": ("minion.commands.join", "Join an HQ: it gives routines, and hears what became of runs."),
        "leave": ("minion.commands.leave", "Leave the HQ that was joined; what it gave goes."),
        "halt": ("minion.commands.halt", "Stop everything: the kill switch."),
        "unhalt": ("minion.commands.unhalt", "Let a halted minion go on."),
    },
    "Routines": {
        "routine": ("minion.commands.routine", "Add, begin from a template, edit, list, show, remove."),
        "schedule": ("minion.commands.schedule", "Make a routine from a sentence; change when routines run."),
        "next": ("minion.commands.next", "Show when a routine is due next."),
        "skill": ("minion.commands.skill", "List, show, check, begin, add and remove skills."),
    },
    "Runs": {
        "run": ("minion.commands.run", "Run a routine now and wait for its end."),
        "resume": ("minion.commands.resume", "Go on with a run that was interrupted, where it was."),
        "forecast": ("minion.commands.forecast", "Say what a routine will cost and take, per run and month."),
        "runs": ("minion.commands.runs", "List the newest runs."),
        "show": ("minion.commands.show", "Show one run: report, steps, verdict, effects."),
        "logs": ("minion.commands.logs", "Show a run's log, of all its steps or of one; follow it."),
        "cancel": ("minion.commands.cancel", "Stop a run, from any terminal."),
        "slots": ("minion.commands.slots", "List when routines were due, and what became of it."),
        "effects": ("minion.commands.effects", "Show what a run did outside, and how to take it back."),
        "redeliver": ("minion.commands.redeliver", "Send again what a run made and could not deliver."),
        "cost": ("minion.commands.cost", "Show what runs used, by routine, skill or day."),
        "verify": ("minion.commands.verify", "Check that the log is intact."),
    },
    "Housekeeping": {
        "export": ("minion.commands.export", "Write out routines or runs: YAML, Markdown, JSON lines."),
        "import": ("minion.commands.importing", "Take in routines from such files."),
        "upgrade": ("minion.commands.upgrade", "Bring the store to this version; look first; take it back."),
        "where": ("minion.commands.where", "Say where everything lies."),
        "completion": ("minion.commands.completion", "Print the script that completes verbs and names."),
        "uninstall": ("minion.commands.uninstall", "Remove the program and the home; list what remains."),
    },
}
_VERBS: Final = {name: verb for section in _SECTIONS.values() for name, verb in section.items()}
# What no person types: the shells' completion asks it for candidates.
_HIDDEN: Final = {"__complete": "minion.commands.completion"}
EXAMPLES: Final = (
    "minion init",
    "minion run morning-report",
    "minion up",
    "minion why morning-report --at 9:00",
    "minion runs --state failed",
    "minion show morning-report@last -v",
    "minion routine new --template standup-prep",
)
# What stands below the commands and options, by section, as pairs.
_AFTERWORD: Final = {
    "Exit codes": (
        ("0", "ok or unchecked: what was asked is done"),
        ("1", "failed, not delivered, a broken log or link, or output with nowhere to go"),
        ("2", "bad use: a word, file or name that does not fit; nothing was changed"),
        ("3", "refused: well said, but not allowed here; nothing was changed"),
        ("4", "partial, unknown or stopped"),
        ("130", "broken off at a question"),
        ("141", "whoever read the output went away, as `head` does"),
    ),
    "Environment": (
        ("MINION_HOME", "the home, when --home is not given"),
        ("NO_COLOR", "with any value, or TERM=dumb: no colours, no bold"),
        ("VISUAL, EDITOR", "what `routine edit` opens a file with"),
    ),
    "Read on": (
        ("minion COMMAND --help", "what a command does, its options and examples"),
        ("minion where", "where home, routines, runs, store and secrets lie"),
        ("README.md", "routine files, skills, secrets, what a verdict means"),
    ),
}
_HOME_HELP: Final = "The minion's home [default: MINION_HOME, else the platform's data folder]."


class LazyGroup(click.Group):
    """A group whose verbs are imported one by one: `minion --help` costs no more than click itself."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """The verbs in the order people meet them."""
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The verb's command from its own module, None for an unknown verb."""
        module = _VERBS[cmd_name][0] if cmd_name in _VERBS else _HIDDEN.get(cmd_name)
        if module is None:
            return None
        # Imports leave no garbage; looking for some all the while takes a tenth of a short command.
        gc.disable()
        try:
            verb = importlib.import_module(module)
        finally:
            gc.enable()
        command: click.Command = verb.answer if cmd_name in _HIDDEN else verb.command
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb; a hint that names commands names them as this program was called, `--home` included."""
        try:
            return super().invoke(ctx)
        except Refusal as refusal:
            from minion.commands.context import as_called

            refusal.hint = as_called(ctx, refusal.hint)
            raise
        except click.UsageError as error:
            # The parser does not say whose option it was reading.
            verb = self.get_command(ctx, ctx.invoked_subcommand or "")
            if error.ctx is None and verb is not None:
                error.ctx = click.Context(verb, parent=ctx, info_name=ctx.invoked_subcommand)
            raise

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The verbs and options that begin so, from the table: completing a verb imports none."""
        from click.shell_completion import CompletionItem

        begun = [(name, line) for name, (_, line) in _VERBS.items() if name.startswith(incomplete)]
        verbs = [CompletionItem(name, help=line) for name, line in begun]
        return [*verbs, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The verbs first, then the few options that stand before them."""
        self.format_commands(ctx, formatter)
        click.Command.format_options(self, ctx, formatter)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """The verbs with their one line each, by section, without importing any of them."""
        widest = max(len(name) for name in _VERBS)
        for title, verbs in _SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(widest), line) for name, (_, line) in verbs.items()])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Examples, exit codes, environment, where to read on."""
        with formatter.section("Examples"):
            formatter.write("".join(f"{'':>{formatter.current_indent}}{line}\n" for line in EXAMPLES))
        for title, pairs in _AFTERWORD.items():
            with formatter.section(title):
                formatter.write_dl(pairs)


def _folders(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="dir")]


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option("--home", metavar="FOLDER", shell_complete=_folders, help=_HOME_HELP)
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
    """Run a click command; the exit code. One sentence and one hint on stderr for everything that is refused.

    Output that cannot be written is told so too; a reader that went away is told nothing.
    """
    # click puts others in their place, and exits, when a reader went away.
    streams = sys.stdout, sys.stderr
    try:
        status = _status(command, name, arguments)
        for stream in filter(None, streams):
            stream.flush()
        return status
    except SystemExit:
        trouble: OSError | None = None
    except OSError as error:
        if not _is_of_output(error):
            raise
        trouble = error
    sys.stdout, sys.stderr = streams
    for stream in filter(None, streams):
        _give_up(stream)
    if trouble is None or trouble.errno == errno.EPIPE:
        return _NO_READER
    says = f"The output cannot be written ({trouble.strerror})."
    with contextlib.suppress(OSError):
        _say(name, says, "make room there, or send it elsewhere; all else that was asked for is done")
    return 1


# What a shell says of a program that wrote to a pipe without a reader: 128 and the number of SIGPIPE.
_NO_READER: Final = 141


def _is_of_output(error: OSError) -> bool:
    """Whether a stream of this program took nothing: click wrote to it, or it was emptied at the end."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_code in (click.echo.__code__, run.__code__)


def _give_up(stream: TextIO) -> None:
    """Let what a broken stream holds go nowhere, so that the interpreter does not complain on its way out."""
    try:
        stream.flush()
    except OSError:
        with contextlib.suppress(OSError, ValueError):  # a stream that is no file has no descriptor
            nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


def _status(command: click.Command, name: str, arguments: list[str] | None) -> int:
    try:
        status: Any = command.main(arguments, prog_name=name, standalone_mode=False, color=wants_styles())
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
        where = context.command_path.rstrip() if context is not None else name
        # What somebody may have meant is looked for when it is needed only.
        from minion.commands.nearest import said_of

        _say(name, *said_of(error, where))
        return 2
    except (click.Abort, KeyboardInterrupt):
        click.echo("", err=True)
        return 130


def _say(name: str, sentence: str, hint: str) -> None:
    styles = wants_styles()
    click.echo(f"{click.style(name + ':', bold=True)} {sentence}", err=True, color=styles)
    click.echo(f"{click.style('hint:', bold=True)} {hint}", err=True, color=styles)
