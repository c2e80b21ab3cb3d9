"""`minion setup`: asks for all that a minion needs to know, tries it for real, and keeps what changed."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any, Final

import click

from minion.commands.context import home_of, program
from minion.commands.questions import Questions
from minion.commands.setup_questions import Said, Sitting
from minion.commands.setup_summary import print_summary
from server.contract.redaction import Redactor
from server.contract.refusals import BadUse

_WEBHOOK: Final = re.compile(
    r"hooks\.slack(?:-gov)?\.com|/services/T\w+/B\w+|/api/webhooks/|webhook\.office\.com", re.IGNORECASE
)
# Only these take an address: anywhere else it is a secret that was put in the wrong place.
_TAKE_ADDRESSES: Final = ("--repo", "--alert-arg")


class WithoutSecrets(click.Command):
    """A command that refuses a secret among its arguments before anything could repeat it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Look at every argument, also at those that no option takes."""
        said = ctx.find_root().obj
        if not ctx.resilient_parsing and (_holds_secret(args) or (isinstance(said, str) and _looks_secret(said))):
            raise BadUse(
                "secret_in_argv",
                "A secret was given as an argument, where other processes and the shell's history see it.",
                hint="revoke it; give the new one with --slack-webhook-file FILE, - for stdin, or when asked",
            )
        return super().parse_args(ctx, args)


def _holds_secret(args: list[str]) -> bool:
    for before, word in zip(["", *args], args, strict=False):
        name, _, value = word.partition("=")
        if name == "--slack-webhook" or _looks_secret(word):
            return True
        takes = name in _TAKE_ADDRESSES if word.startswith("--") else before in _TAKE_ADDRESSES
        if "://" in (value if word.startswith("--") else word) and not takes:
            return True
    return False


def _looks_secret(word: str) -> bool:
    return _WEBHOOK.search(word) is not None or Redactor().text(word) != word


@click.command("setup", cls=WithoutSecrets)
@click.option("--name", metavar="NAME", help="The minion's name, a slug.")
@click.option("--timezone", metavar="ZONE", help="Its IANA time zone, such as Europe/Berlin.")
@click.option("--repo", metavar="PATH|URL", multiple=True, help="A repository it works on; repeat it; or `none`.")
@click.option("--reports", type=click.Choice(("outbox", "slack")), help="Where reports go.")
@click.option("--slack-webhook-file", "webhook_file", metavar="FILE", help="Slack's webhook; - for stdin.")
@click.option("--slack-webhook", metavar="VALUE", hidden=True, expose_value=False)
@click.option("--arrived", type=click.Choice(("yes", "no")), help="Whether the test message arrived.")
@click.option("--test-message/--no-test-message", default=None, help="Try Slack or the command: always, or never.")
@click.option("--engine", metavar="NAME", help="Which engine runs what names none: script, messages, auto.")
@click.option("--dollars-per-day", metavar="N|none", help="What all runs together may spend in a day.")
@click.option("--dollars-per-month", metavar="N|none", help="And in a month.")
@click.option("--alerts", type=click.Choice(("none", "slack", "command")), help="Who is told of failures.")
@click.option("--alert-arg", metavar="WORD", multiple=True, help="The alert command, word by word; repeat it.")
@click.option("--yes", is_flag=True, help="Ask nothing: take the flags, and for the rest what is in brackets.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def command(ctx: click.Context, /, as_json: bool, yes: bool, **flags: Any) -> None:
    """Set the minion up, or change how it is set up: six questions, each with its answer in brackets.

    Name, time zone, repositories, where reports go, which engine and who pays for it (with its key and caps of
    dollars, where it costs), who is told of failures.
    Enter keeps what is in brackets; a flag answers its question beforehand. Nothing is asked with --yes, or
    when this is no terminal. Nothing is written before the last answer; a home that exists keeps its id, its
    secrets and its routines, and only what is answered differently is changed. A daemon that is up goes by the
    new answers at once.

    Answers are tried: git asks each new repository, Slack gets a test message, the alert command is run once
    with one JSON document on its stdin (10 s, no shell). With flags, an answer that is refused (Slack does not
    take the message, git reads no such repository) ends it with nothing changed; at a terminal it is asked
    again. A message that Slack took and that did not arrive: exit code 1, reports stay where they were, all
    other answers are kept.

    Slack's incoming webhook is a secret: it is read from a file, from stdin or at a hidden prompt, never from
    an argument, and is kept in the home's secrets.json, which only you can read. So is the key of the API, which
    is asked for when the engine messages is chosen; where nobody can be asked, `minion secret set
    anthropic_api_key` gives it beforehand.

    \b
    Examples:
      minion setup
      minion setup --yes --name desk --repo ~/src/shop --repo ~/src/api
      minion setup --reports slack --slack-webhook-file ~/webhook
      minion setup --yes --reports slack --slack-webhook-file - --arrived yes
      minion setup --alerts command --alert-arg notify-send --alert-arg Failed
      minion setup --yes --engine messages --dollars-per-day 2
    """
    from minion.clock import utc_now
    from minion.commands.context import warn
    from minion.setup.answers import keep, standing

    home = home_of(ctx)
    before = standing(home, Path.cwd())
    asks = not yes and sys.stdin.isatty() and sys.stdout.isatty()
    sitting = Sitting(home, before, Said(**flags), Questions(asks=asks))
    wanted = sitting.answer_all()
    changed = keep(home, before, wanted, clock=utc_now, alert=warn)
    print_summary(home, sitting, changed, program=program(ctx), as_json=as_json)
    if sitting.doubt is not None:
        raise sitting.doubt
