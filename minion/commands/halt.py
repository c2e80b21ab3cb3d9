"""`minion halt`: the kill switch; nothing starts until `minion unhalt`."""

from __future__ import annotations

import shlex

import click

from minion.asking import ask
from minion.commands.context import home_of, print_json, program, warn
from minion.commands.owner import naming_the_foreground
from minion.config import Home, load_config
from minion.daemon_client import SILENT, daemon_pid, way_out
from server.contract.refusals import Refused


@click.command("halt")
@click.option("--why", metavar="TEXT", help="What is said to people of it.")
@click.option("--let-finish", is_flag=True, help="What runs goes on to its end; only nothing new starts.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def command(ctx: click.Context, why: str | None, let_finish: bool, as_json: bool) -> None:
    """Stop everything: cancel what runs, and start nothing until `minion unhalt`.

    The kill switch. It works with a daemon and without one, and outlasts restarts of both. Slots that fall due
    meanwhile are skipped, with this as their reason; `minion run` is refused. The daemon itself stays up. A run
    that `minion run` performs in another terminal, without a daemon, is stopped there, with Ctrl-C. A daemon that
    hangs takes no halt: it has to be killed first, which ends its runs too, and the refusal says how. Halted
    again, a minion keeps its reason unless --why gives another.

    \b
    Examples:
      minion halt
      minion halt --why "the API key leaked"
      minion halt --let-finish
    """
    home = home_of(ctx)
    load_config(home)
    try:
        with naming_the_foreground(home):
            answer = ask(home, "halt", {"why": why, "let_finish": let_finish}, command="minion halt", alert=warn)
    except Refused as refusal:
        raise _not_halted(home, refusal, why) from refusal
    if as_json:
        print_json(answer)
        return
    click.echo(f"The minion is halted: {answer['why']}.")
    for run in answer["cancelled"]:
        click.echo(f"  cancelled  {run}")
    click.echo(f"  go on      {program(ctx)} unhalt")


def _not_halted(home: Home, refusal: Refused, why: str | None) -> Refused:
    """The refusal, which says of a daemon that hangs what stops everything all the same."""
    pid = daemon_pid(home)
    if refusal.code != "daemon_silent" or pid is None:
        return refusal
    says = f"The daemon (process {pid}) does not answer, so nothing is halted: {SILENT}."
    again = "minion halt" if why is None else f"minion halt --why {shlex.quote(why)}"
    return Refused(refusal.code, says, hint=way_out(pid, again))
