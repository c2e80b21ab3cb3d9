"""The `hq` command: loads a command's module only when it is typed, and turns refusals into exit codes."""

from __future__ import annotations

import contextlib
import difflib
import errno
import gc
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any, Final

import click

from server.contract.refusals import Refusal

# Every command, in the order people meet them: its module and its one line. A new one gets a line in its section.
_SECTIONS: Final[dict[str, dict[str, tuple[str, str]]]] = {
    "Serve": {
        "up": ("server.commands.up", "Have it all: HQ here, and this machine's minion joined to it."),
        "serve": ("server.commands.serve", "Answer over HTTP: MCP at /mcp, for programs that hold a token."),
        "mcp": ("server.commands.mcp", "Answer over stdin and stdout: for a Claude session of this machine."),
        "token": ("server.commands.token", "Create, list, rotate and revoke the tokens that let programs in."),
        "minions": ("server.commands.minions", "List the minions that have joined: seen, running, slots at risk."),
        "service": ("server.commands.service", "Have the system start `hq serve` by itself, and bring it back."),
        "status": ("server.commands.status", "Show the home, who owns it, where it answers, what it holds."),
    },
    "Decide": {
        "inbox": ("server.commands.inbox", "Show what waits for a person, the urgent first."),
        "decisions": ("server.commands.decisions", "List what waits for a person, and what became of it."),
        "decide": ("server.commands.decide", "Answer what waits for a person: approve, reject, send back."),
    },
    "Run": {
        "routine": ("server.commands.routine", "List, show, move, pause, run and delete routines."),
        "run": ("server.commands.run", "Run a routine now on its minion."),
        "cancel": ("server.commands.cancel", "Call a run off, also one under way on a minion."),
    },
    "Keep": {
        "verify": ("server.commands.verify", "Check that the log is whole and unchanged; keep a checkpoint."),
        "backup": ("server.commands.backup", "Copy the store while HQ goes on writing."),
        "restore": ("server.commands.restore", "Put a backup in the store's place; what was there is kept."),
    },
    "Look up": {
        "process": ("server.commands.process", "Show a process: blocks, canonical steps, variants."),
        "pcf": ("server.commands.pcf", "Show the process classification, your own processes in it."),
    },
}
_VERBS: Final = {name: verb for section in _SECTIONS.values() for name, verb in section.items()}
_HOME_HELP: Final = "HQ's home [default: HQ_HOME, else the platform's data folder]."
# What a shell says of a program that wrote to a pipe without a reader: 128 and the number of SIGPIPE.
_NO_READER: Final = 141


class LazyGroup(click.Group):
    """A group whose commands are imported one by one: `hq --help` costs no more than click itself."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """The commands in the order people meet them."""
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command from its own module, None for an unknown one."""
        if cmd_name not in _VERBS:
            return None
        command: click.Command = importlib.import_module(_VERBS[cmd_name][0]).command
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a hint that names commands names them with the `--home` of this call."""
        try:
            return super().invoke(ctx)
        except Refusal as refusal:
            from server.commands.context import as_called

            refusal.hint = as_called(ctx, refusal.hint)
            raise

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands first, then the few options that stand before them."""
        self.format_commands(ctx, formatter)
        click.Command.format_options(self, ctx, formatter)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """The commands with their one line each, by section, without importing any of them."""
        widest = max(len(name) for name in _VERBS)
        for title, verbs in _SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(widest), line) for name, (_, line) in verbs.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--home", metavar="FOLDER", help=_HOME_HELP)
@click.version_option(package_name="minion-hq", prog_name="hq")
@click.pass_context
def hq(ctx: click.Context, home: str | None) -> None:
    """HQ of your minions: where Claude sessions and people create routines, record runs and gaps, and audit them.

    `hq up` has all of it on this machine. One process at a time owns a home: `hq up`, `hq serve`, or the first
    `hq mcp`. While it does, the other commands go through it; what only reads, reads beside it.

    \b
    Examples:
      hq up
      hq token create --scope session --name laptop
      hq --home /srv/hq verify --against checkpoint.json
      hq backup hq-monday.db

    \b
    Exit codes:
      0  done
      1  failed: a broken log, a disk that refused
      2  bad use: a word, file or code that does not fit; nothing was changed
      3  refused: well said, but not allowed here; nothing was changed
      130  broken off at a question
      141  whoever read the output went away, as `head` does
    """
    ctx.obj = home


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with the documented code."""
    status = _unread(arguments)
    # Nor need all that was loaded be searched through on the way out: that takes a server seconds.
    gc.freeze()
    sys.exit(status)


def _unread(arguments: list[str] | None) -> int:
    """The exit code, also where nobody reads the output any more."""
    # click puts others in their place, and exits, when a reader went away.
    streams = sys.stdout, sys.stderr
    try:
        status = _status(arguments)
        for stream in filter(None, streams):
            stream.flush()
        return status
    except SystemExit:
        pass
    except OSError as error:
        if error.errno != errno.EPIPE:
            raise
    sys.stdout, sys.stderr = streams
    for stream in filter(None, streams):
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), stream.fileno())
    return _NO_READER


def _status(arguments: list[str] | None) -> int:
    try:
        status: Any = hq.main(arguments, prog_name="hq", standalone_mode=False)
        return status if isinstance(status, int) else 0
    except Refusal as refusal:
        click.echo(f"hq: {refusal.sentence}\nhint: {refusal.hint}", err=True)
        return refusal.exit_code
    except click.exceptions.Exit as stopped:
        return stopped.exit_code
    except click.exceptions.NoArgsIsHelpError as help_:
        click.echo(help_.format_message(), err=True)
        return 2
    except click.ClickException as error:
        sentence, hint = _said_of(error)
        click.echo(f"hq: {sentence}\nhint: {hint}", err=True)
        return 2
    except (click.Abort, KeyboardInterrupt):
        click.echo("", err=True)
        return 130


def _said_of(error: click.ClickException) -> tuple[str, str]:
    """One sentence and one hint; the nearest command or option where there is one."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    where = context.command_path.rstrip() if context is not None else "hq"
    if isinstance(error, click.exceptions.NoSuchCommand):
        group = context.command if context is not None else hq
        known = group.list_commands(error.ctx or click.Context(group)) if isinstance(group, click.Group) else []
        what, word = "command", error.command_name
        near: Sequence[str] | None = difflib.get_close_matches(word.lower(), known, n=1)
    elif isinstance(error, click.NoSuchOption):
        what, word, near = "option", error.option_name, error.possibilities
        if word.partition("=")[0] == "--home":
            return f"There is no {what} '--home'.", "put it before the command: hq --home …"
    elif isinstance(error, click.BadParameter) and error.param and isinstance(error.param.type, click.IntRange):
        kind, name = error.param.type, max(error.param.opts, key=len)
        return f"{name} takes a whole number from {kind.min:,} to {kind.max:,}.", f"{where} --help"
    else:
        sentence = " ".join(error.format_message().split())
        return sentence if sentence.endswith((".", "?")) else f"{sentence}.", f"{where} --help"
    meant = f"did you mean `{where} {near[0]}`?" if near else f"{where} --help"
    return f"There is no {what} {word[:40]!r}.", meant
